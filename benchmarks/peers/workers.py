"""
What several processes of one server are given to do: fresh logins, and requests through streams to an echo.
"""

from __future__ import annotations

from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.endpoints import TCP4ClientEndpoint
from twisted.internet.protocol import Factory, Protocol

from sodiumtwist import KeyPair, SodiumClientEndpoint, SodiumClientFactory, SodiumClientProtocol

from ..child import HOST, run_in_reactor, serve_in_reactor, tell, wait_to_go
from ..payloads import payload
from .asking import in_flight

LOGIN, PASSPHRASE = "username", "passphrase"

#: The bytes of a request, and of its answer.
SIZE = 128

#: How many logins, and how many requests, are under way at once, of one client's process.
LOGINS, STREAMS = 24, 48


class Echo(Protocol):
    def dataReceived(self, data: bytes) -> None:
        self.transport.write(data)  # type: ignore[union-attr]


class Asker(Protocol):
    """Sends as many bytes again and again, each time when they have come back."""

    def __init__(self) -> None:
        self._missing = 0
        self._answered: Deferred[None] = Deferred()

    def ask(self, data: bytes) -> Deferred[None]:
        self._missing, self._answered = len(data), Deferred()
        self.transport.write(data)  # type: ignore[union-attr]
        return self._answered

    def dataReceived(self, data: bytes) -> None:
        self._missing -= len(data)
        if not self._missing:
            self._answered.callback(None)


def serve() -> None:
    serve_in_reactor(
        lambda reactor: {"port": reactor.listenTCP(0, Factory.forProtocol(Echo), interface=HOST).getHost().port}
    )


async def _log_in(reactor: Any, port: int, key: bytes, count: int) -> None:
    endpoint = TCP4ClientEndpoint(reactor, HOST, port)

    async def once() -> None:
        client = SodiumClientProtocol()
        await endpoint.connect(SodiumClientFactory(key, LOGIN, PASSPHRASE, lambda: client))
        await client.when_authenticated()
        client.close()

    await in_flight(lambda: Deferred.fromCoroutine(once()), count, LOGINS)


async def _ask(reactor: Any, port: int, key: bytes, count: int) -> None:
    endpoint = SodiumClientEndpoint(TCP4ClientEndpoint(reactor, HOST, port), key, LOGIN, PASSPHRASE)
    askers: list[Any] = [await endpoint.connect(Factory.forProtocol(Asker)) for _ in range(STREAMS)]
    data = payload(SIZE)

    def ask() -> Deferred[None]:
        asker = askers.pop()
        asked: Deferred[None] = asker.ask(data)
        return asked.addCallback(lambda _: askers.append(asker))

    await in_flight(ask, max(1, count // 10), STREAMS)
    # All streams are there: the time that counts begins.
    tell(ready=True)
    wait_to_go()
    await in_flight(ask, count, STREAMS)
    for asker in askers:
        asker.transport.loseConnection()


def run(what: str, port: int, key: str, count: int) -> dict[str, Any]:
    public = KeyPair.from_hex(key).public

    async def work(reactor: Any) -> dict[str, Any]:
        if what == "logins":
            await _log_in(reactor, port, public, max(1, count // 10))
            tell(ready=True)
            wait_to_go()
            await _log_in(reactor, port, public, count)
        else:
            await _ask(reactor, port, public, count)
        return {"done": True}

    return run_in_reactor(work)
