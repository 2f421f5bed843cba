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
from typing import Any

from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.error import ConnectionDone
from twisted.python.failure import Failure

from ..core.errors import UnexpectedPDU
from ..core.wire import PDU_OVERHEAD
from ..describe import describe_os_error
from ..interfaces import Peer
from ..protocol.factories import SodiumServerFactory
from ..protocol.server import SodiumServerProtocol
from .acknowledgements import acknowledgement
from .stores import Store
from .uploads import Upload

#: How many bytes a receiver takes beyond what is being written, roughly.
WRITE_BEHIND = 1024 * 1024

LEFT_EARLY = "the client left before its end"


class UploadFactory(SodiumServerFactory):
    """
    Makes the server's ends of uploads.

    The arguments are those of :class:`~sodiumtwist.protocol.factories.SodiumServerFactory`, behind the store.

    :param store: where uploads go.
    :ivar receiving: the ends whose upload has begun and is not put in its place yet; they may
        outlive their connection while a pipe takes what was received.
    """

    def __init__(self, store: Store, *arguments: Any, **keywords: Any) -> None:
        super().__init__(*arguments, **keywords)
        self.protocol = UploadReceiver
        self.store = store
        self.receiving: set[UploadReceiver] = set()


class UploadReceiver(SodiumServerProtocol):
    """
    Receives one upload into the store of its factory, an :class:`UploadFactory`.

    Nothing is opened before the first DATA. What comes while something is being written waits;
    with a mebibyte waiting nothing more is received.
    """

    factory: UploadFactory
    peer: Peer  # nothing is received before it is there

    _upload: Upload | None = None
    _working: Deferred[None] | None = None
    _looping = False
    _framed = False
    _end_seen = False
    _reason: Failure | None = None
    _broken: str | None = None

    def __init__(self) -> None:
        self._waiting: deque[bytes] = deque()
        self._waiting_size = 0

    def payload_received(self, payload: bytes) -> None:
        if self._end_seen:
            raise UnexpectedPDU("a DATA after the end of its upload")
        if self not in self.factory.receiving:
            self.factory.receiving.add(self)
            self._framed = not payload
        elif self._framed and not payload:
            self._end_seen = True
        self._waiting.append(payload)
        self._waiting_size += len(payload) + PDU_OVERHEAD
        if self._waiting_size >= WRITE_BEHIND:
            self.pauseProducing()
        self._work()

    def _work(self) -> None:
        """Write what waits, unless something is being written already."""
        if self._looping:
            return
        self._looping = True
        while self._waiting and self._working is None:
            self._work_once()
        self._looping = False

    def _work_once(self) -> None:
        if self._upload is None:
            assert self.peer.login is not None  # clients have one
            working = self.factory.store.open(self.peer.login).addCallback(self._opened)
        else:
            count = 1 if self._upload.one_by_one else len(self._waiting)
            batch = [self._waiting.popleft() for _ in range(count)]
            self._waiting_size -= sum(len(payload) + PDU_OVERHEAD for payload in batch)
            working = self._upload.write(batch).addCallback(self._written, batch)
        self._working = working
        working.addErrback(self._failed)
        working.addCallback(self._go_on)

    def _opened(self, upload: Upload) -> None:
        self._upload = upload

    def _written(self, _: None, batch: list[bytes]) -> None:
        if self._end_seen and not self._waiting:
            self._finish_upload()
        if self.is_authenticated and not self._lifecycle.over:
            for payload in batch:
                self.send_data(acknowledgement(len(payload)))

    def _failed(self, reason: Failure) -> None:
        self._waiting.clear()
        why = describe_os_error(reason.value) if isinstance(reason.value, OSError) else reason.getErrorMessage()
        if not reason.check(OSError, CancelledError):
            self._log.failure("cannot store an upload from {peer}", reason, peer=self._describe_peer())
        if self._broken is None:
            self._broken = why
        if self._reason is None and not self._lifecycle.over:
            self._log.error(
                "cannot store an upload of {login} from {peer}: {reason}",
                login=ascii(self.peer.login),
                peer=self._describe_peer(),
                reason=why,
            )
            self.abort(reason.value)

    def _go_on(self, _: None) -> None:
        self._working = None
        if self._waiting and (self._reason is None or self._reason.check(ConnectionDone)):
            self._work()
        elif self._reason is not None:
            self._conclude()
        if self._reason is None and self._waiting_size < WRITE_BEHIND:
            self.resumeProducing()

    def _finish_upload(self) -> None:
        assert self._upload is not None
        outcome = self._upload.finish()
        self.factory.receiving.discard(self)
        self._log.info(
            "upload of {login} from {peer}: {outcome}",
            login=ascii(self.peer.login),
            peer=self._describe_peer(),
            outcome=outcome,
        )

    def connection_lost(self, reason: Failure) -> None:
        self._reason = reason
        if self._working is None:
            self._conclude()
        elif not reason.check(ConnectionDone):
            self.give_up(reason.getErrorMessage())
        elif self._upload is None or (self._framed and not self._end_seen):
            self.give_up(LEFT_EARLY)

    def give_up(self, why: str) -> None:
        """Wait no longer for whatever takes what was received; the upload breaks off."""
        self._waiting.clear()
        if self._working is not None:
            if self._broken is None:
                self._broken = why
            if self._upload is None:
                self._working.cancel()
            else:
                self._upload.interrupt()

    def _conclude(self) -> None:
        """The connection is gone and nothing is being written: finish the upload or abandon it."""
        if self not in self.factory.receiving:
            return
        self.factory.receiving.discard(self)
        assert self._reason is not None
        why = self._broken or self._reason.getErrorMessage()
        if self._broken is None and self._reason.check(ConnectionDone):
            if self._framed:
                why = LEFT_EARLY
            else:
                try:
                    self._finish_upload()
                    return
                except OSError as error:
                    why = describe_os_error(error)
        outcome = "nothing" if self._upload is None else self._upload.abandon()
        self._log.warn(
            "upload of {login} from {peer} broke off: {reason}; kept {outcome}",
            login=ascii(self.peer.login),
            peer=self._describe_peer(),
            reason=why,
            outcome=outcome,
        )
