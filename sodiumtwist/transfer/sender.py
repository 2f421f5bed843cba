"""
The client's end that sends a file.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from time import perf_counter

from twisted.internet.defer import Deferred
from twisted.python.failure import Failure

from ..core.errors import RemoteProtocolError, UnexpectedPDU
from ..core.wire import PDU_OVERHEAD
from ..protocol.client import SodiumClientProtocol
from ..protocol.producers import WriteGate
from .acknowledgements import acknowledges
from .sources import Source

#: How many bytes a sender has on their way without an acknowledgement: so many at first, and more while
#: that is what holds it up, doubling with each round trip, up to the most. They take no memory here: what the transport
#: does not take is not read from the source.
FIRST_WINDOW = 64 * 1024 * 1024


LARGEST_WINDOW = 1024 * 1024 * 1024


class UploadSender(SodiumClientProtocol):
    """
    Sends one source as a framed upload, with a bounded number of bytes on their way.

    :param source: where the bytes come from.
    :param progress: called with the number of bytes each acknowledgement confirms.
    :ivar acknowledged: bytes confirmed by the server so far.
    :ivar finished: fires when all is acknowledged; fails with the reason of the loss, or with the
        ``OSError`` that reading gave.
    :ivar lost: fires when the connection is gone.
    :ivar seconds: from the server's hello to the last acknowledgement.
    """

    seconds = 0.0

    def __init__(self, source: Source, progress: Callable[[int], object] = lambda size: None) -> None:
        self.acknowledged = 0
        self.finished: Deferred[None] = Deferred()
        self.lost: Deferred[None] = Deferred()
        self._source = source
        self._progress = progress
        self._in_flight: deque[int] = deque()
        self._in_flight_size = 0
        self._window = FIRST_WINDOW
        self._transport_full = False
        self._at_end = False

    def authenticated(self) -> None:
        self._began = perf_counter()
        self.registerProducer(WriteGate(self._pause, self._resume, self._pause), True)
        self._source.start(self._deliver, self._source_ended)
        self._send(b"")
        self._feed()

    def _pause(self) -> None:
        self._transport_full = True
        self._source.pause()

    def _resume(self) -> None:
        self._transport_full = False
        self._feed()

    def _feed(self) -> None:
        if not self._transport_full and not self._at_end and self._in_flight_size < self._window:
            self._source.resume()

    def _send(self, payload: bytes) -> None:
        self._in_flight.append(len(payload))
        self._in_flight_size += len(payload) + PDU_OVERHEAD
        self.send_data(payload)

    def _deliver(self, payload: bytes) -> None:
        self._send(payload)
        if self._in_flight_size >= self._window:
            self._source.pause()

    def _source_ended(self, error: OSError | None) -> None:
        self._at_end = True
        self._source.close()
        if error is None:
            self._send(b"")
        else:
            self.abort(error)

    def payload_received(self, payload: bytes) -> None:
        if not self._in_flight:
            raise UnexpectedPDU("the server acknowledged more than was sent")
        size = self._in_flight.popleft()
        if not acknowledges(payload, size):
            raise RemoteProtocolError("the server answers, but not as one that receives uploads does")
        self.acknowledged += size
        if 2 * self._in_flight_size >= self._window and not self._transport_full:
            # More than half of it is used, and not because the network takes no more.
            self._window = min(self._window + size + PDU_OVERHEAD, LARGEST_WINDOW)
        self._in_flight_size -= size + PDU_OVERHEAD
        self._progress(size)
        if self._at_end and not self._in_flight:
            self.seconds = perf_counter() - self._began
            self.finished.callback(None)
            self.close()
        else:
            self._feed()

    def connection_lost(self, reason: Failure) -> None:
        self._source.close()
        if not self.finished.called:
            self.finished.errback(reason)
        self.lost.callback(None)
