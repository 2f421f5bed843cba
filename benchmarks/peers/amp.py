"""
Twisted's AMP over its TLS.

An AMP value has at most 65535 bytes, so all payloads of bulk and the large answers have that size, whatever the task
says. Payloads of bulk are not answered one by one; a question behind them asks how much has come.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any, cast

from twisted.internet.protocol import Factory
from twisted.protocols.amp import AMP, MAX_VALUE_LENGTH, Command, Integer, String

from ..child import run_in_reactor, serve_in_reactor
from ..payloads import payload
from ..tasks import BULK, CONNECTIONS, Task
from .asking import ask_all, measured, repeat
from .producing import Repeated
from .tls import endpoint, listen


class Echo(Command):
    """A request that is sent back, or answered by what the server has been given."""

    arguments = [(b"payload", String())]
    response = [(b"payload", String())]


class Take(Command):
    """A piece of bulk."""

    arguments = [(b"payload", String())]
    requiresAnswer = False


class Taken(Command):
    """Asks how many bytes of bulk have come."""

    response = [(b"size", Integer())]


class Server(AMP):
    """The server's end."""

    transport: Any

    noisy = False

    def __init__(self, answer: bytes) -> None:
        super().__init__()
        self._size = 0
        self._answer = answer

    def connectionMade(self) -> None:
        super().connectionMade()
        self.transport.setTcpNoDelay(True)

    @Echo.responder
    def echo(self, payload: bytes) -> dict[str, bytes]:
        return {"payload": self._answer or payload}

    @Take.responder
    def take(self, payload: bytes) -> dict[str, bytes]:
        self._size += len(payload)
        return {}

    @Taken.responder
    def taken(self) -> dict[str, int]:
        size, self._size = self._size, 0
        return {"size": size}


class Client(AMP):
    """The client's end."""

    transport: Any

    noisy = False

    def connectionMade(self) -> None:
        super().connectionMade()
        self.transport.setTcpNoDelay(True)


async def _send_all(client: Client, data: bytes, count: int) -> None:
    await Repeated(client.transport, lambda data: client.callRemote(Take, payload=data), data, count).start()
    taken = await client.callRemote(Taken)
    if taken["size"] != len(data) * count:
        raise ValueError(f"{len(data) * count} bytes came as {taken['size']}")


async def _work(reactor: Any, directory: str, port: int, task: Task) -> dict[str, Any]:
    where, factory = endpoint(reactor, directory, port), Factory.forProtocol(Client)
    data = payload(min(task.size, MAX_VALUE_LENGTH))

    async def once() -> None:
        client = cast(Client, await where.connect(factory))
        await client.callRemote(Echo, payload=data)
        client.transport.loseConnection()

    if task.workload == CONNECTIONS:
        return await repeat(once, task)
    client = cast(Client, await where.connect(factory))
    if task.workload == BULK:
        count = max(1, task.count * task.size // len(data))
        # As much in all as the task says.
        told = await measured(lambda count: _send_all(client, data, count), replace(task, count=count))
        share = task.count * task.size / (count * len(data))
        return {name: taken and taken * share for name, taken in told.items()}
    return await ask_all(lambda: client.callRemote(Echo, payload=data), task)


def serve(directory: str, answer_size: int = 0) -> None:
    answer = payload(min(answer_size, MAX_VALUE_LENGTH))
    serve_in_reactor(lambda reactor: listen(reactor, directory, Factory.forProtocol(lambda: Server(answer))))


def run(directory: str, server: dict[str, Any], task: dict[str, Any]) -> dict[str, Any]:
    return run_in_reactor(lambda reactor: _work(reactor, directory, server["port"], Task(**task)))
