"""
Both ends of the protocol of :mod:`benchmarks.peers.counting`, for Twisted's endpoints.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, cast

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IStreamClientEndpoint
from twisted.internet.protocol import Factory, Protocol

from ..payloads import payload
from ..tasks import BULK, CONNECTIONS, Task
from .asking import measured, repeat
from .counting import ECHO, SIZE, Asker, Counter
from .producing import Repeated


class CountingServer(Protocol):
    """
    The server's end.

    :param answer: as for :class:`~benchmarks.peers.counting.Counter`.
    """

    transport: Any

    def __init__(self, answer: bytes = b"") -> None:
        self._answer = answer

    def connectionMade(self) -> None:
        self.transport.setTcpNoDelay(True)
        self.dataReceived = Counter(self.transport.write, self._answer).receive  # type: ignore[method-assign]


class CountingClient(Protocol):
    """
    The client's end.

    :ivar closed: fires when the connection is gone.
    """

    transport: Any

    def connectionMade(self) -> None:
        self.transport.setTcpNoDelay(True)
        self.closed: Deferred[None] = Deferred()
        self._waiting: Deferred[None] | None = None
        self._receive: Callable[[bytes], None]

    def dataReceived(self, data: bytes) -> None:
        self._receive(data)

    def connectionLost(self, reason: Any = None) -> None:
        if self._waiting is not None:
            self._waiting.errback(reason)
        self.closed.callback(None)

    def _wait(self) -> Deferred[None]:
        self._waiting = Deferred()
        return self._waiting

    def _done(self) -> None:
        waiting, self._waiting = self._waiting, None
        assert waiting is not None
        waiting.callback(None)

    def send_all(self, data: bytes, count: int) -> Deferred[None]:
        """
        Send a payload many times.

        :param data: the payload.
        :param count: how many times.
        :return: fires when the server has confirmed all.
        """
        confirmed = bytearray()

        def receive(data: bytes) -> None:
            confirmed.extend(data)
            if len(confirmed) == SIZE.size:
                self._done()

        self._receive = receive
        waiting = self._wait()
        self.transport.write(SIZE.pack(len(data) * count))
        Repeated(self.transport, self.transport.write, data, count).start()
        return waiting

    def begin_echo(self) -> None:
        """Tell the server that requests follow from now on."""
        self.transport.write(ECHO)

    def ask_all(self, data: bytes, count: int, window: int) -> Deferred[None]:
        """
        Make requests.

        :param data: the payload of each.
        :param count: how many.
        :param window: how many may be unanswered.
        :return: fires when all are answered.
        """
        waiting = self._wait()
        self._receive = lambda data: asker.receive(data)
        asker = Asker(self.transport.write, data, count, window, self._done)
        return waiting

    def close(self) -> Deferred[None]:
        """
        Close.

        :return: fires when the connection is closed.
        """
        self.transport.loseConnection()
        return self.closed


async def _connect(endpoint: IStreamClientEndpoint) -> CountingClient:
    return cast(CountingClient, await endpoint.connect(Factory.forProtocol(CountingClient)))


async def connect_answered(endpoint: IStreamClientEndpoint) -> CountingClient:
    """
    Connect.

    :return: the client, when the server has said something: then it has accepted the connection.
    """
    client = await _connect(endpoint)
    await client.send_all(b"?", 1)
    return client


async def work(endpoint: IStreamClientEndpoint, task: Task) -> dict[str, Any]:
    """
    Do a task.

    :param endpoint: where the server is.
    :param task: what to do.
    """
    data = payload(task.size)

    async def once() -> None:
        client = await _connect(endpoint)
        client.begin_echo()
        await client.ask_all(data, 1, 1)
        await client.close()

    if task.workload == CONNECTIONS:
        return await repeat(once, task)
    client = await _connect(endpoint)
    if task.workload == BULK:
        return await measured(lambda count: client.send_all(data, count), task)
    client.begin_echo()
    return await measured(lambda count: client.ask_all(data, count, task.window), task)
