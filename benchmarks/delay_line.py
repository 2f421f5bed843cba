"""
A proxy with a delay: bytes that come in leave again after some time, in each direction.

Meanwhile it takes all that comes, so it does not limit the throughput. But it can be given the rate of a link. Then
bytes leave one after the other at that rate, and only a bounded number of them may wait, as in a router. A receiver
that takes no more holds up the sender.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from typing import Any

from twisted.internet.endpoints import TCP4ClientEndpoint, connectProtocol
from twisted.internet.protocol import Factory, Protocol

from sodiumtwist.protocol.producers import WriteGate

from .child import HOST, serve_in_reactor

READ_SIZE = 131000

#: How many bytes may wait for the link, as the seconds that it needs for them. Then no more are taken.
QUEUE_SECONDS = 0.05


class Direction:
    """
    One direction of a connection.

    :param clock: an ``IReactorTime``.
    :param source: the transport that bytes come from.
    :param sink: the transport that they go to.
    :param delay: seconds.
    :param rate: bytes per second; 0 for no limit.
    """

    def __init__(self, clock: Any, source: Any, sink: Any, delay: float, rate: float) -> None:
        self._clock = clock
        self._source = source
        self._sink = sink
        self._delay = delay
        self._rate = rate
        self._line: deque[tuple[float, bytes]] = deque()
        self._call: Any = None
        self._free_at = 0.0
        self._blocked = self._queue_full = self._ended = False
        sink.registerProducer(WriteGate(self._block, self._unblock), True)

    def take(self, data: bytes) -> None:
        """Bytes came in."""
        now = self._clock.seconds()
        leaves = now
        if self._rate:
            self._free_at = leaves = max(now, self._free_at) + len(data) / self._rate
            if leaves - now > QUEUE_SECONDS and not self._queue_full:
                self._queue_full = True
                # Again when half of it has left, so that reading is not stopped and begun with each piece.
                self._clock.callLater(leaves - now - QUEUE_SECONDS / 2, self._queue_has_room)
        self._line.append((leaves + self._delay, data))
        self._regulate()
        self._go_on()

    def end(self) -> None:
        """No more bytes will come."""
        self._ended = True
        self._go_on()

    def _queue_has_room(self) -> None:
        self._queue_full = False
        self._regulate()

    def _block(self) -> None:
        self._blocked = True
        self._regulate()

    def _unblock(self) -> None:
        self._blocked = False
        self._go_on()
        self._regulate()

    def _regulate(self) -> None:
        if self._blocked or self._queue_full:
            self._source.pauseProducing()
        else:
            self._source.resumeProducing()

    def _due(self) -> None:
        self._call = None
        self._go_on()

    def _go_on(self) -> None:
        """Send what is due, and set a timer for the rest."""
        now = self._clock.seconds()
        while self._line and not self._blocked and self._line[0][0] <= now:
            self._sink.write(self._line.popleft()[1])
        if self._line and self._call is None and not self._blocked:
            self._call = self._clock.callLater(self._line[0][0] - now, self._due)
        # The end takes as long as the bytes before it. A transport may wait for its producer before it closes.
        if self._ended and not self._line:
            self._sink.unregisterProducer()
            self._sink.loseConnection()


class _End(Protocol):
    """An end of one of the two connections."""

    transport: Any

    onward: Direction | None = None

    def connectionMade(self) -> None:
        self.transport.setTcpNoDelay(True)
        self.transport.bufferSize = READ_SIZE

    def dataReceived(self, data: bytes) -> None:
        assert self.onward is not None
        self.onward.take(data)

    def connectionLost(self, reason: Any = None) -> None:
        if self.onward is not None:
            self.onward.end()


class _Near(_End):
    """The end of the client's connection."""

    def connectionMade(self) -> None:
        super().connectionMade()
        # Until there is somewhere to send what comes.
        self.transport.pauseProducing()
        factory = self.factory
        where = TCP4ClientEndpoint(factory.clock, HOST, factory.port)
        connectProtocol(where, _End()).addCallbacks(self._joined, lambda _: self.transport.abortConnection())

    def _joined(self, far: _End) -> None:
        factory = self.factory
        way = (factory.clock, self.transport, far.transport, factory.delay, factory.rate)
        self.onward = Direction(*way)
        far.onward = Direction(way[0], way[2], way[1], *way[3:])
        self.transport.resumeProducing()


class DelayLine(Factory):
    """
    Makes the ends of the clients' connections.

    :param clock: the reactor.
    :param port: the port on which the server listens.
    :param delay: seconds in each direction.
    :param rate: bytes per second in each direction; 0 for no limit.
    """

    protocol = _Near
    noisy = False

    def __init__(self, clock: Any, port: int, delay: float, rate: float) -> None:
        self.clock = clock
        self.port = port
        self.delay = delay
        self.rate = rate


def serve(ports: Mapping[str, int], delay: float, rate: float) -> None:
    """
    Run a proxy for each of several servers. The parent is told the proxies' ports, by the same names.

    :param ports: the ports on which the servers listen, by any names.
    :param delay: seconds in each direction.
    :param rate: bytes per second in each direction; 0 for no limit.
    """

    def start(reactor: Any) -> dict[str, Any]:
        return {
            name: reactor.listenTCP(0, DelayLine(reactor, port, delay, rate), interface=HOST).getHost().port
            for name, port in ports.items()
        }

    serve_in_reactor(start)
