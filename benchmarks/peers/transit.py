"""
magic-wormhole's transit, with which it sends files. Here the connection is always a direct one.

Both ends know the key already. In real use a mailbox server helps them agree on one.
"""

from __future__ import annotations

from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IConsumer
from twisted.internet.protocol import Factory
from wormhole.transit import InboundConnectionFactory, TransitReceiver, TransitSender
from zope.interface import implementer

from ..child import HOST, run_in_reactor, serve_in_reactor
from ..payloads import payload
from ..tasks import BULK, CONNECTIONS, Task
from .asking import ask_all, measured, repeat
from .counting import SIZE
from .producing import Repeated

KEY = bytes(range(32))


@implementer(IConsumer)
class Answering:
    """
    Counts or sends back the records of one connection, as :mod:`benchmarks.peers.zeromq` does messages.

    :param connection: from which they come.
    :param answer: answers each record; when it is empty, it is sent back.
    """

    def __init__(self, connection: Any, answer: bytes) -> None:
        self._connection = connection
        self._answer = answer
        self._announced = self._left = 0

    def registerProducer(self, producer: Any, streaming: bool) -> None:
        pass

    def unregisterProducer(self) -> None:
        pass

    def write(self, record: bytes) -> None:
        if self._left:
            self._left -= len(record)
            if not self._left:
                self._connection.send_record(SIZE.pack(self._announced))
        elif len(record) == SIZE.size:
            (self._announced,) = SIZE.unpack(record)
            self._left = self._announced
        else:
            self._connection.send_record(self._answer or record)


@implementer(IConsumer)
class Asking:
    """
    Sends records and hands out those that come.

    :param connection: by which.
    """

    def __init__(self, connection: Any) -> None:
        self._connection = connection
        self._unanswered: list[Deferred[bytes]] = []
        connection.connectConsumer(self)

    def registerProducer(self, producer: Any, streaming: bool) -> None:
        pass

    def unregisterProducer(self) -> None:
        pass

    def write(self, record: bytes) -> None:
        self._unanswered.pop(0).callback(record)

    def wait(self) -> Deferred[bytes]:
        """Return a Deferred that fires with the next record that nobody else waits for."""
        waiting: Deferred[bytes] = Deferred()
        self._unanswered.append(waiting)
        return waiting

    def ask(self, data: bytes) -> Deferred[bytes]:
        """Send a record; fires with the one that answers it."""
        self._connection.send_record(data)
        return self.wait()

    async def send_all(self, data: bytes, count: int) -> None:
        """Send a record ``count`` times, and wait until the server has confirmed all."""
        confirmed = self.ask(SIZE.pack(len(data) * count))
        Repeated(self._connection, self._connection.send_record, data, count).start()
        if await confirmed != SIZE.pack(len(data) * count):
            raise ValueError("the server confirmed something else")


class Accepting(Factory):
    """
    Makes a receiver for each connection. Transit itself has one for each transfer.

    :param reactor: the reactor for the receivers.
    :param answer: answers each record; when it is empty, it is sent back.
    """

    noisy = False

    def __init__(self, reactor: Any, answer: bytes) -> None:
        self._reactor = reactor
        self._answer = answer

    def buildProtocol(self, address: Any) -> Any:
        receiver = TransitReceiver(None, no_listen=True, reactor=self._reactor)
        receiver.set_transit_key(KEY)
        factory = InboundConnectionFactory(receiver)
        factory.whenDone().addCallback(
            lambda connection: connection.connectConsumer(Answering(connection, self._answer))
        )
        return factory.buildProtocol(address)


async def _connect(reactor: Any, port: int) -> Any:
    sender = TransitSender(None, no_listen=True, reactor=reactor)
    sender.set_transit_key(KEY)
    await sender.get_connection_hints()
    sender.add_connection_hints([{"type": "direct-tcp-v1", "priority": 0.0, "hostname": HOST, "port": port}])
    return await sender.connect()


async def _work(reactor: Any, port: int, task: Task) -> dict[str, Any]:
    data = payload(task.size)

    async def once() -> None:
        connection = await _connect(reactor, port)
        await Asking(connection).ask(data)
        connection.close()

    if task.workload == CONNECTIONS:
        return await repeat(once, task)
    client = Asking(await _connect(reactor, port))
    if task.workload == BULK:
        return await measured(lambda count: client.send_all(data, count), task)
    return await ask_all(lambda: client.ask(data), task)


def serve(directory: str, answer_size: int = 0) -> None:
    def start(reactor: Any) -> dict[str, Any]:
        port = reactor.listenTCP(0, Accepting(reactor, payload(answer_size)), backlog=1024, interface=HOST)
        return {"port": port.getHost().port}

    serve_in_reactor(start)


def run(directory: str, server: dict[str, Any], task: dict[str, Any]) -> dict[str, Any]:
    return run_in_reactor(lambda reactor: _work(reactor, server["port"], Task(**task)))
