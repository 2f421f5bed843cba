"""
The client's end that sends a file.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from time import perf_counter

from twisted.internet.defer import Deferred
from twisted.python.failure import Failure

from ..core.errors import ClosedByPeer, RemoteProtocolError, UnexpectedPDU
from ..core.wire import PDU_OVERHEAD
from ..protocol.client import SodiumClientProtocol
from ..protocol.producers import WriteGate
from .acknowledgements import acknowledges
from .sources import Source

#: How many bytes a sender has on their way at first without an acknowledgement. They take no memory here: what the
#: transport does not take is not read from the source. So it may be large, and what is far away is reached soon.
FIRST_WINDOW = 64 * 1024 * 1024

#: To how many that may grow. It doubles with each round trip as long as it is what holds the sender up.
LARGEST_WINDOW = 1024 * 1024 * 1024


class UploadSender(SodiumClientProtocol):
    """
    Sends one source as a framed upload, see :mod:`sodiumtwist.transfer.receiver`. The number of bytes on their way
    is bounded.

    :param source: where the bytes come from.
    :param progress: called for each acknowledgement, with the number of bytes that it confirms.
    :ivar acknowledged: bytes that the server has confirmed so far.
    :ivar finished: fires when all is acknowledged. Fails with why the connection was lost, or with the ``OSError``
        of a source that can't be read.
    :ivar lost: fires when the connection is gone.
    :ivar seconds: the time from the server's hello to the last acknowledgement.
    :ivar stopping: whether the server has said that it is about to stop.
    """

    seconds = 0.0
    stopping = False

    #: Whether the connection stays when all is acknowledged.
    _stays = False

    def __init__(self, source: Source, progress: Callable[[int], object] = lambda size: None) -> None:
        self.lost: Deferred[None] = Deferred()
        self._prepare(source, progress)

    def _prepare(self, source: Source, progress: Callable[[int], object]) -> None:
        self.acknowledged = 0
        self.finished: Deferred[None] = Deferred()
        self._source = source
        self._progress = progress
        self._in_flight: deque[int] = deque()
        self._in_flight_size = 0
        self._window = FIRST_WINDOW
        # The window has kept us from sending where the transport took more, and at least half of it is used since.
        self._held_up = False
        self._transport_full = False
        self._at_end = False

    def authenticated(self) -> None:
        self._begin()

    def _begin(self) -> None:
        self._began = perf_counter()
        # A transport that is gone takes nothing for good, so stopping is like being full.
        self.registerProducer(WriteGate(self._transport_blocked, self._transport_ready, self._transport_blocked), True)
        self._source.start(self._send_chunk, self._source_ended)
        # The empty DATA that says: this upload is framed.
        self._send(b"")
        self._read_if_allowed()

    def _transport_blocked(self) -> None:
        self._transport_full = True
        self._source.pause()

    def _transport_ready(self) -> None:
        self._transport_full = False
        self._read_if_allowed()

    def _read_if_allowed(self) -> None:
        if not self._transport_full and not self._at_end:
            if self._in_flight_size < self._window:
                self._source.resume()
            else:
                self._held_up = True

    def _send(self, payload: bytes) -> None:
        self._in_flight.append(len(payload))
        # With the overhead, so that a great many tiny payloads are bounded, too.
        self._in_flight_size += len(payload) + PDU_OVERHEAD
        self.send_data(payload)

    def _send_chunk(self, payload: bytes) -> None:
        size = len(payload)
        # What _send() does, without the call.
        self._in_flight.append(size)
        self._in_flight_size += size + PDU_OVERHEAD
        self.send_data(payload)
        if self._in_flight_size >= self._window:
            self._source.pause()
            self._held_up = self._held_up or not self._transport_full

    def _source_ended(self, error: OSError | None) -> None:
        self._at_end = True
        self._source.close()
        # The empty DATA says that this is all of it. After an error the connection is cut instead: an upload that is
        # not whole must not end like one that is.
        if error is None:
            self._send(b"")
        else:
            self.abort(error)

    @property
    def is_unanswered(self) -> bool:
        """Whether not even the empty DATA was acknowledged, with which an upload begins."""
        return not self.acknowledged and bool(self._in_flight) and self._in_flight[0] == 0

    def payload_received(self, payload: bytes) -> None:
        if not self._in_flight:
            raise UnexpectedPDU("the server acknowledged more than was sent")
        size = self._in_flight.popleft()
        if not acknowledges(payload, size):
            raise RemoteProtocolError("the server answers, but not as one that receives uploads does")
        self.acknowledged += size
        if 2 * self._in_flight_size < self._window:
            self._held_up = False
        elif self._held_up:
            # The window is what holds us up, and the network would take more. Whether the transport is full just now
            # does not tell: one that is quicker than its socket fills it each time. Each acknowledgement adds what it
            # confirms, so that one round trip doubles the window.
            self._window = min(self._window + size + PDU_OVERHEAD, LARGEST_WINDOW)
        self._in_flight_size -= size + PDU_OVERHEAD
        self._progress(size)
        if self._at_end and not self._in_flight:
            self.seconds = perf_counter() - self._began
            # In this order: close() may end the connection at once, and connection_lost() would then take the upload
            # for one that failed.
            self.finished.callback(None)
            if not self._stays:
                self.close()
        else:
            self._read_if_allowed()

    def drain_received(self) -> None:
        # What is under way goes on: the server leaves it some time.
        self.stopping = True

    def end_received(self) -> None:
        # There will be no further acknowledgement.
        if not self.finished.called:
            self.abort(ClosedByPeer("the server has closed the connection"))
        super().end_received()

    def connection_lost(self, reason: Failure) -> None:
        self._source.close()
        if not self.finished.called:
            self.finished.errback(reason)
        self.lost.callback(None)
