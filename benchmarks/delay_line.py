"""
A proxy that takes its time: what comes in leaves again after a delay, each way.

It takes what it gets while it waits, so that it limits nobody's throughput, unless it is given the
rate of a link: then bytes leave one after the other at that rate, and what has to wait for it is
bounded, as in a router. A receiver that takes no more holds up the sender.
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

#: Seconds for which bytes may wait for a link's rate; then no more are taken.
QUEUE_SECONDS = 0.05


class Direction:
    """
    One way through.

    :param clock: an ``IReactorTime``.
    :param source: the transport from which bytes come.
    :param sink: the transport to which they go.
    :param delay: in seconds.
    :param rate: in bytes per second; 0 for no limit.
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
                self._clock.callLater(leaves - now - QUEUE_SECONDS / 2, self._queue_has_room)
        self._line.append((leaves + self._delay, data))
        self._regulate()
        self._go_on()

    def end(self) -> None:
        """No more will come."""
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
        """Let out what is due, and come back when the next is."""
        now = self._clock.seconds()
        while self._line and not self._blocked and self._line[0][0] <= now:
            self._sink.write(self._line.popleft()[1])
        if self._line and self._call is None and not self._blocked:
            self._call = self._clock.callLater(self._line[0][0] - now, self._due)
        if self._ended and not self._line:
            self._sink.unregisterProducer()
            self._sink.loseConnection()


class _End(Protocol):
    """One of the two connections."""

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
    """That of the client."""

    def connectionMade(self) -> None:
        super().connectionMade()
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
    Makes the client's ends.

    :param clock: the reactor.
    :param port: where the server listens.
    :param delay: each way, in seconds.
    :param rate: each way, in bytes per second; 0 for no limit.
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
    :param ports: where servers listen, by any names; what is told has the proxy's ports by these.
    :param delay: as for :class:`DelayLine`.
    :param rate: likewise.
    """

    def start(reactor: Any) -> dict[str, Any]:
        return {
            name: reactor.listenTCP(0, DelayLine(reactor, port, delay, rate), interface=HOST).getHost().port
            for name, port in ports.items()
        }

    serve_in_reactor(start)
