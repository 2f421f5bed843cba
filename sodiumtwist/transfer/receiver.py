"""
The server's end that receives a file, and how both ends talk about it.

The client sends a file as DATA, in order. The server answers each DATA with an acknowledgement
(:func:`~sodiumtwist.transfer.acknowledgements.acknowledgement`) when its bytes are written. The reference programs
do the same.

A closed connection does not tell whether all was sent. So within these rules an upload may be *framed*: when its
first DATA is empty, it must end with another empty DATA. The server puts the upload in its place before it
acknowledges that last one. A framed upload without it counts as broken off. Our own client frames its uploads; the
reference server has nothing to write for the two empty DATA. The reference client does not frame: its upload ends
when it closes.
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
from .discarding import hello_message
from .stores import Store
from .uploads import Upload

#: How many bytes may wait, roughly, while others are being written. Then nothing more is received.
WRITE_BEHIND = 1024 * 1024

#: Why a framed upload broke off when the connection ended in order.
LEFT_EARLY = "the client left before its end"


class UploadFactory(SodiumServerFactory):
    """
    Makes the server's ends of uploads. Behind the store it takes the arguments of
    :class:`~sodiumtwist.protocol.factories.SodiumServerFactory`.

    :param store: where uploads go. When it keeps none, the message of the hello ends by saying so.
    :raises LocalProtocolError: also when that leaves no room for the message.
    :ivar receiving: the ends whose upload has begun and is not in its place yet. They may outlive their
        connection, while a pipe takes what was received.
    """

    def __init__(self, store: Store, *arguments: Any, **keywords: Any) -> None:
        super().__init__(*arguments, **keywords)
        self.message = hello_message(self.message, store.keeps)
        self.protocol = UploadReceiver
        self.store = store
        self.receiving: set[UploadReceiver] = set()


class UploadReceiver(SodiumServerProtocol):
    """
    Receives one upload into the store of its factory, an :class:`UploadFactory`.

    Nothing is opened before the first DATA. What comes while something is being written waits. When a mebibyte
    waits, nothing more is received.
    """

    factory: UploadFactory
    peer: Peer  # nothing is received before it is there

    _upload: Upload | None = None
    #: The step under way in the store: opening the upload, or writing to it.
    _storing: Deferred[None] | None = None
    _looping = False
    _framed = False
    #: Whether the empty DATA that ends a framed upload has come.
    _end_received = False
    #: Why the connection ended; ``None`` while it lives.
    _lost_for: Failure | None = None
    #: Why the upload is not whole; ``None`` as long as it may be.
    _why_broken: str | None = None

    def __init__(self) -> None:
        self._waiting: deque[bytes] = deque()
        self._waiting_size = 0

    def payload_received(self, payload: bytes) -> None:
        if self._end_received:
            raise UnexpectedPDU("a DATA after the end of its upload")
        # The first DATA tells whether the upload is framed.
        if self not in self.factory.receiving:
            self.factory.receiving.add(self)
            self._framed = not payload
        elif self._framed and not payload:
            self._end_received = True
        self._waiting.append(payload)
        # With the overhead, so that a great many tiny payloads are bounded, too.
        self._waiting_size += len(payload) + PDU_OVERHEAD
        if self._waiting_size >= WRITE_BEHIND:
            self.pauseProducing()
        self._store_waiting()

    def _store_waiting(self) -> None:
        """Store what waits, step by step, until a step takes time or nothing waits."""
        # A step may be over at once, and _step_over() then calls this again. The loop goes on with the next step:
        # thousands of payloads, each stored by a call within the call before, would be too deep.
        if self._looping:
            return
        self._looping = True
        while self._waiting and self._storing is None:
            self._begin_step()
        self._looping = False

    def _begin_step(self) -> None:
        """Open the upload, or write what waits to it."""
        if self._upload is None:
            assert self.peer.login is not None  # clients have one
            storing = self.factory.store.open(self.peer.login).addCallback(self._opened)
        else:
            # All at once, which is quicker. But a pipe may take one of them now and the next much later, and the client
            # should hear of the first without waiting for the last.
            count = 1 if self._upload.one_by_one else len(self._waiting)
            batch = [self._waiting.popleft() for _ in range(count)]
            self._waiting_size -= sum(len(payload) + PDU_OVERHEAD for payload in batch)
            storing = self._upload.write(batch).addCallback(self._written, batch)
        # Set before the callbacks are added: they may be called at once, and clear it.
        self._storing = storing
        storing.addErrback(self._step_failed)
        storing.addCallback(self._step_over)

    def _opened(self, upload: Upload) -> None:
        self._upload = upload

    def _written(self, _: None, batch: list[bytes]) -> None:
        # Before the acknowledgements: the last one tells the client that the upload is in its place.
        if self._end_received and not self._waiting:
            self._finish_upload()
        # The connection may be gone, or be closing, by now.
        if self.is_authenticated and not self._lifecycle.over:
            for payload in batch:
                self.send_data(acknowledgement(len(payload)))

    def _step_failed(self, reason: Failure) -> None:
        """The upload can't be opened, written or put in its place: the session ends."""
        self._waiting.clear()
        why = describe_os_error(reason.value) if isinstance(reason.value, OSError) else reason.getErrorMessage()
        # Stores fail with an OSError, and give_up() cancels. Anything else is a mistake in a store: show where.
        if not reason.check(OSError, CancelledError):
            self._log.failure("cannot store an upload from {peer}", reason, peer=self._describe_peer())
        # When give_up() caused this failure, its reason stands.
        if self._why_broken is None:
            self._why_broken = why
        # When the connection is gone already, _finish_or_abandon() logs why.
        if self._lost_for is None and not self._lifecycle.over:
            self._log.error(
                "cannot store an upload of {login} from {peer}: {reason}",
                login=ascii(self.peer.login),
                peer=self._describe_peer(),
                reason=why,
            )
            self.abort(reason.value)

    def _step_over(self, _: None) -> None:
        """A step is over, well or not: go on with the next one, or end the upload."""
        self._storing = None
        # Also behind a connection that ended in order: what had come by then belongs to the upload.
        if self._waiting and (self._lost_for is None or self._lost_for.check(ConnectionDone)):
            self._store_waiting()
        elif self._lost_for is not None:
            self._finish_or_abandon()
        if self._lost_for is None and self._waiting_size < WRITE_BEHIND:
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
        self._lost_for = reason
        if self._storing is None:
            self._finish_or_abandon()
        # A step is under way, in a pipe perhaps for minutes. It is only worth waiting for when the upload can still
        # become whole. One that was not even opened is given up, too: no dead session waits for its turn, or for a
        # FIFO's reader.
        elif not reason.check(ConnectionDone):
            self.give_up(reason.getErrorMessage())
        elif self._upload is None or (self._framed and not self._end_received):
            self.give_up(LEFT_EARLY)

    def give_up(self, why: str) -> None:
        """
        Stop waiting for the store: the upload breaks off.

        :param why: for the log.
        """
        self._waiting.clear()
        if self._storing is not None:
            if self._why_broken is None:
                self._why_broken = why
            # Either way the step fails, and _step_over() does the rest.
            if self._upload is None:
                self._storing.cancel()
            else:
                self._upload.interrupt()

    def _finish_or_abandon(self) -> None:
        """The connection is gone and no step is under way: finish the upload or abandon it."""
        # It never began, or it is in its place already.
        if self not in self.factory.receiving:
            return
        self.factory.receiving.discard(self)
        assert self._lost_for is not None
        why = self._why_broken or self._lost_for.getErrorMessage()
        if self._why_broken is None and self._lost_for.check(ConnectionDone):
            # A framed upload whose end had come would be in its place by now.
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
