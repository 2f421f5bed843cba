"""
Files over the protocol: the server's end that receives one, the client's end that sends one.

The client sends a file as DATA in order; the server answers each with an acknowledgement
(:func:`acknowledgement`), after its bytes were written. That is how the reference programs do it.

A closed connection does not tell whether all was sent. So an upload may be *framed*, within the
same rules: when its first DATA is empty, it must end with another empty DATA. The server puts the
upload in its place before it acknowledges that one, and treats a framed upload without it as
broken off. Our own client frames its uploads; to the reference server the two empty DATA are
nothing to write. The reference client does not frame: its upload ends when it closes.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from time import perf_counter
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.error import ConnectionDone
from twisted.python.failure import Failure

from .core.errors import RemoteProtocolError, UnexpectedPDU
from .producers import WriteGate
from .protocol import SodiumClientProtocol, SodiumServerProtocol
from .sources import Source
from .uploads import Upload

#: The size of an acknowledgement's payload in bytes.
ACKNOWLEDGEMENT_SIZE = 32

#: How many DATA a sender has on their way without an acknowledgement, at most.
IN_FLIGHT_LIMIT = 128


def acknowledgement(size: int) -> bytes:
    """
    Make the payload that acknowledges a DATA: a line of text, then NUL up to 32 bytes.

    :param size: of the acknowledged payload, in bytes.
    """
    return (b"DATA OK: RECEIVED %d BYTES" % size).ljust(ACKNOWLEDGEMENT_SIZE, b"\0")


def acknowledges(payload: bytes, size: int) -> bool:
    """
    Tell whether a payload acknowledges a DATA of ``size`` bytes. What follows the text's NUL is
    not looked at: the reference server leaves arbitrary bytes there.
    """
    return payload.partition(b"\0")[0] == acknowledgement(size).rstrip(b"\0")


class UploadReceiver(SodiumServerProtocol):
    """
    Receives one upload into the store of its factory.

    ``factory.store`` is a :class:`~sodiumtwist.uploads.Store`. Nothing is opened before the first
    DATA. While a payload is being written nothing more is received.
    """

    _upload: Upload | None = None
    _working: Deferred[Any] | None = None
    _framed = False
    _ended = False

    def payload_received(self, payload: bytes) -> None:
        if self._ended:
            raise UnexpectedPDU("a DATA after the end of its upload")
        upload = self._upload
        if upload is None:
            self._framed = not payload
            working = self.factory.store.open(self.login)
            working.addCallback(self._opened)
            working.addCallback(lambda opened: opened.write(payload))
            end = False
        else:
            working = upload.write(payload)
            end = self._framed and not payload
        self._working = working
        working.addCallback(self._written, len(payload), end)
        working.addErrback(self._failed)
        if self._working is not None:
            self.pauseProducing()

    def _opened(self, upload: Upload) -> Upload:
        self._upload = upload
        return upload

    def _written(self, _: object, size: int, end: bool) -> None:
        if self._working is None:
            return
        if end:
            self._finish_upload()
        self._working = None
        self.send_data(acknowledgement(size))
        self.resumeProducing()

    def _failed(self, reason: Failure) -> None:
        if self._working is None:
            return
        self._working = None
        if reason.check(OSError):
            self._log.error(
                "an upload of {login} from {peer} failed: {reason}",
                login=ascii(self.login),
                peer=self._peer(),
                reason=_os_error_text(reason.value),
            )
        else:
            self._log.failure("an upload from {peer} failed", reason, peer=self._peer())
        self.abort(reason.value)

    def _finish_upload(self) -> None:
        assert self._upload is not None
        outcome = self._upload.finish()
        self._ended = True
        self._upload = None
        self._log.info(
            "upload of {login} from {peer}: {outcome}", login=ascii(self.login), peer=self._peer(), outcome=outcome
        )

    def connection_lost(self, reason: Failure) -> None:
        working, self._working = self._working, None
        if working is not None:
            working.cancel()
        if self._upload is None:
            return
        why = reason.getErrorMessage()
        if reason.check(ConnectionDone) and working is None:
            if not self._framed:
                try:
                    self._finish_upload()
                    return
                except OSError as error:
                    why = _os_error_text(error)
            else:
                why = "the client left before the end"
        outcome = self._upload.abandon()
        self._upload = None
        self._log.warn(
            "upload of {login} from {peer} broke off: {reason}; kept {outcome}",
            login=ascii(self.login),
            peer=self._peer(),
            reason=why,
            outcome=outcome,
        )


def _os_error_text(error: OSError) -> str:
    text = error.strerror or str(error)
    return f"{error.filename}: {text}" if error.filename else text


class UploadSender(SodiumClientProtocol):
    """
    Sends one source as a framed upload, with a bounded number of DATA on their way.

    :param source: where the bytes come from.
    :param progress: called with the number of bytes each acknowledgement confirms.
    :ivar acknowledged: bytes confirmed by the server so far.
    :ivar finished: fires when all is acknowledged; fails with the reason of the loss, or with the
        ``OSError`` that reading gave.
    :ivar lost: fires when the connection is gone.
    :ivar seconds: from the server's hello to the last acknowledgement.
    """

    seconds = 0.0

    def __init__(self, source: Source, progress: Callable[[int], Any] = lambda size: None) -> None:
        self.acknowledged = 0
        self.finished: Deferred[None] = Deferred()
        self.lost: Deferred[None] = Deferred()
        self._source = source
        self._progress = progress
        self._in_flight: deque[int] = deque()
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
        if not self._transport_full and not self._at_end and len(self._in_flight) < IN_FLIGHT_LIMIT:
            self._source.resume()

    def _send(self, payload: bytes) -> None:
        self._in_flight.append(len(payload))
        self.send_data(payload)

    def _deliver(self, payload: bytes) -> None:
        self._send(payload)
        if len(self._in_flight) >= IN_FLIGHT_LIMIT:
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
            raise RemoteProtocolError(f"the server's answer does not acknowledge the {size} bytes that were sent")
        self.acknowledged += size
        self._progress(size)
        if self._at_end and not self._in_flight:
            self.seconds = perf_counter() - self._began
            self.close()
            self.finished.callback(None)
        else:
            self._feed()

    def connection_lost(self, reason: Failure) -> None:
        self._source.close()
        if not self.finished.called:
            self.finished.errback(reason)
        self.lost.callback(None)
