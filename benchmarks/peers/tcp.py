"""
Twisted's TCP, without encryption.
"""

from __future__ import annotations

from typing import Any

from twisted.internet.endpoints import TCP4ClientEndpoint
from twisted.internet.protocol import Factory

from ..child import HOST, run_in_reactor, serve_in_reactor
from ..payloads import payload
from ..tasks import CROWD, Task
from .crowding import crowd
from .streams import CountingServer, connect_answered, work


def serve(directory: str, answer_size: int = 0) -> None:
    answer = payload(answer_size)

    def start(reactor: Any) -> dict[str, Any]:
        port = reactor.listenTCP(0, Factory.forProtocol(lambda: CountingServer(answer)), backlog=1024, interface=HOST)
        return {"port": port.getHost().port}

    serve_in_reactor(start)


def run(directory: str, server: dict[str, Any], task: dict[str, Any]) -> dict[str, Any]:
    what = Task(**task)

    def endpoint(reactor: Any, source: str = HOST) -> TCP4ClientEndpoint:
        return TCP4ClientEndpoint(reactor, HOST, server["port"], bindAddress=(source, 0))

    if what.workload == CROWD:
        return run_in_reactor(
            lambda reactor: crowd(reactor, lambda source: connect_answered(endpoint(reactor, source)), what)
        )
    return run_in_reactor(lambda reactor: work(endpoint(reactor), what))
