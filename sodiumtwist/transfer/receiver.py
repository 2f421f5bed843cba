"""
The server's end that receives a file, and how both ends talk about it.

The client sends a file as DATA, in order. The server answers each DATA with an acknowledgement
(:func:`~sodiumtwist.transfer.acknowledgements.acknowledgement`) when its bytes are written. The reference programs
do the same.

A closed connection does not tell whether all was sent. So within these rules an upload may be *framed*: when its
first DATA is empty, it must end with another empty DATA. Before the server acknowledges that last one, the disk has
the upload, and it stands in its place. All acknowledgements before it say only that the bytes were written: handed to
the operating system. A framed upload without it counts as broken off. Our own client frames its uploads; the
reference server has nothing to write for the two empty DATA. The reference client does not frame: its upload ends
when it closes.

In version 2 the dialogue is the same. An upload without frame then ends by END; a transport that goes without that has
been cut. A client is told by ABORT why its upload can't be stored. And a client of version 2 may ask for the dialogue
of files, see :mod:`sodiumtwist.transfer.tree.messages`: then DATA are part of that.
"""

from __future__ import annotations

import errno
from collections import deque
from collections.abc import Callable
from enum import Enum, auto
from typing import Any

from twisted.internet.defer import CancelledError, Deferred, maybeDeferred
from twisted.internet.error import ConnectionDone
from twisted.internet.interfaces import IDelayedCall
from twisted.python.failure import Failure

from ..admission.networks import network
from ..core.connection import Code
from ..core.errors import LocalProtocolError, UnexpectedPDU
from ..core.keys import KeyPair
from ..core.wire import PDU_OVERHEAD
from ..describe import describe_limit, describe_os_error
from ..protocol.factories import SodiumServerFactory
from ..protocol.lifecycle import Stage
from ..protocol.sockets import READ_SIZE
from .acknowledgements import acknowledgement
from .discarding import hello_message
from .disk import words_for_peer
from .stores import Store
from .tree.disk_thread import DiskThread, thread_of_reactor
from .tree.place import NO_FILES, Files
from .tree.server_end import FileServerEnd
from .tree.serving import Threads
from .uploads import Upload

#: How many bytes may wait, roughly, while others are being written. Then nothing more is received.
WRITE_BEHIND = 1024 * 1024

#: How many DATA are acknowledged together while more of them are there to be read. Each is written when it is read:
#: with several in memory, the process would ask for that memory and give it back again and again.
TOGETHER = 8

#: Seconds until an acknowledgement leaves at the latest that waits for those of the next DATA: what is there to be read
#: may be something else, as PADDING is.
LATEST = 1.0

#: Why an upload broke off when something here closed the connection, in order.
CLOSED_HERE = "the connection was closed on this side"

#: Why a framed upload broke off when the connection ended in order.
LEFT_EARLY = "the client left before its end"

#: Errors that say that there is no room. What came of the upload goes then: it would keep all others out.
NO_ROOM = (errno.ENOSPC, errno.EDQUOT)


class Phase(Enum):
    """
    Where an upload is. In the last row something is under way, and nothing else is begun.
    """

    NONE, READY, OVER = auto(), auto(), auto()
    OPENING, WRITING, FINISHING, ABANDONING = auto(), auto(), auto(), auto()


_READY = Phase.READY

#: From where an upload may go where.
_TURNS = {
    Phase.NONE: (Phase.OPENING,),
    Phase.OPENING: (Phase.READY,),
    Phase.READY: (Phase.WRITING, Phase.FINISHING, Phase.ABANDONING),
    Phase.WRITING: (Phase.READY,),
    Phase.FINISHING: (Phase.OVER, Phase.READY),
    Phase.ABANDONING: (Phase.OVER,),
    Phase.OVER: (),
}


class UploadFactory(SodiumServerFactory):
    """
    Makes the server's ends of uploads. Behind the store it takes the arguments of
    :class:`~sodiumtwist.protocol.factories.SodiumServerFactory`.

    :param store: where uploads go. When it keeps none, the message of the hello ends by saying so.
    :param files: what is done with files in version 2; ``None`` for nothing.
    :param make_thread: makes the thread for the disk of one client's files; ``None`` for one that tells the global
        reactor what it has done.
    :raises LocalProtocolError: also when that leaves no room for the message.
    :ivar receiving: the ends whose upload has begun and is not in its place yet, or that store, fetch or list files.
        They may outlive their connection, while a pipe or the disk takes what was received.
    :ivar threads: those for the disk.
    """

    def __init__(
        self,
        store: Store,
        *arguments: Any,
        files: Files | None = None,
        make_thread: Callable[[], DiskThread] | None = None,
        **keywords: Any,
    ) -> None:
        self.store = store
        super().__init__(*arguments, **keywords)
        self.protocol = UploadReceiver
        store.lines = self.admission.lines.uploads
        self.files = files or NO_FILES
        self.threads = Threads(make_thread or thread_of_reactor)
        self.receiving: set[UploadReceiver] = set()

    def _take(self, pair: KeyPair, checker: Any, authorized_keys: Any, message: str) -> None:
        super()._take(pair, checker, authorized_keys, hello_message(message, self.store.keeps))


class UploadReceiver(FileServerEnd):
    """
    Receives one upload into the store of its factory, an :class:`UploadFactory`; or does with files what the client
    asks for.

    Nothing is opened before the first DATA. While it is being opened, which may mean to wait for others, nothing more
    is received. What comes while something is being written waits; when a mebibyte waits, nothing more is received.
    """

    factory: UploadFactory

    _phase = Phase.NONE
    _upload: Upload | None = None
    #: Fires when the upload is opened; to be cancelled.
    _opening: Deferred[Any] | None = None
    #: Goes on for as long as it takes though all is acknowledged by then: to set it for each would take longer.
    _latest: IDelayedCall | None = None
    _looping = False
    _paused = False
    _framed = False
    #: Whether the empty DATA that ends a framed upload has come.
    _end_received = False
    #: Version 2: whether the client has said that no DATA follows.
    _client_ended = False
    #: Why the connection ended; ``None`` while it lives.
    _lost_for: Failure | None = None
    #: Why the upload is not whole; ``None`` as long as it may be.
    _why_broken: str | None = None
    #: Whether what came of a broken upload is kept.
    _keeps = True

    def __init__(self) -> None:
        self._waiting: deque[bytes] = deque()
        self._waiting_size = 0
        #: The sizes of the DATA that are stored, and whose acknowledgement waits for those of the next.
        self._unconfirmed: list[int] = []
        #: With how many of them to look whether more is there to be read. So many reads have come.
        self._look_at = 1

    def payload_received(self, payload: bytes) -> None:
        if self._session is not None and self._session.begun:
            self._session.data_received(payload)
            return
        if self._end_received:
            raise UnexpectedPDU("a DATA after the end of its upload")
        # The first DATA tells whether the upload is framed.
        if self._phase is Phase.NONE:
            if self.version == 2 and self.factory.files.directory is not None:
                # Those of version 1 are in no login's folder, and so count for no quota.
                error = UnexpectedPDU(
                    "files are stored here, by sodiumtwist send, and no streams are handed on; a DATA came before a "
                    "store was asked for"
                )
                self.break_off(Code.NOT_SUPPORTED, str(error), error)
                return
            self.factory.receiving.add(self)
            self._framed = not payload
        elif self._framed and not payload:
            self._end_received = True
            self._go_on()
            return
        elif self._phase is _READY and not self._looping:
            # As nearly always: nothing is under way, so nothing waits.
            self._begin_writing(self._upload, [payload], len(payload))  # type: ignore[arg-type]  # it is opened
            return
        self._waiting.append(payload)
        # With the overhead, so that a great many tiny payloads are bounded, too.
        self._waiting_size += len(payload) + PDU_OVERHEAD
        self._go_on()
        if self._waiting_size >= WRITE_BEHIND or self._phase is Phase.OPENING:
            self._paused = True
            self.pauseProducing()

    # Step by step

    def _go_on(self) -> None:
        """Take the next steps, until one takes time or there is nothing to do."""
        # A step may be over at once, and then calls this again. The loop goes on with the next step: thousands of
        # payloads, each stored by a call within the call before, would be too deep.
        if self._looping:
            return
        self._looping = True
        try:
            while self._phase in (Phase.NONE, Phase.READY) and self._begin_step():
                pass
        finally:
            self._looping = False
        # It may have been stopped for what is stored by now.
        if self._paused and self._waiting_size < WRITE_BEHIND and self._phase is not Phase.OPENING:
            self._paused = False
            if self._lost_for is None:
                self.resumeProducing()

    def _begin_step(self) -> bool:
        """
        Decide what to do next, and begin it. Nothing is under way now.

        :return: whether there was something to do.
        """
        if self._why_broken is not None:
            self._begin_abandoning()
        elif self._waiting:
            if self._upload is None:
                self._begin_opening()
            else:
                self._write_waiting(self._upload)
        elif self._end_received:
            self._begin_finishing()
        elif self._lost_for is None and not self._client_ended:
            return False
        # Here an upload without frame has ended in order: any other end is a reason why it is broken.
        else:
            self._begin_finishing()
        return True

    def _enter(self, phase: Phase) -> None:
        assert phase in _TURNS[self._phase], (self._phase, phase)
        self._phase = phase

    def _begin_opening(self) -> None:
        login = self.peer.login
        assert login is not None  # clients have one
        self._enter(Phase.OPENING)
        self._opening = maybeDeferred(self.factory.store.open, login)
        self._opening.addCallbacks(self._opened, self._step_failed).addErrback(self._mistaken)

    def _opened(self, upload: Upload) -> None:
        self._upload = upload
        upload.make_way = self._make_way
        self._enter(Phase.READY)
        if self._paused and self._lost_for is None and self._below.peer_has_left:
            # It has left while it waited, unread, so nobody has noticed.
            self._why_broken = LEFT_EARLY
            self._drop_waiting()
            self.abort()
        self._go_on()

    def _write_waiting(self, upload: Upload) -> None:
        # All at once, which is quicker. But a pipe may take one of them now and the next much later, and the client
        # should hear of the first without waiting for the last.
        count = 1 if upload.one_by_one else len(self._waiting)
        batch = [self._waiting.popleft() for _ in range(count)]
        size = sum(map(len, batch))
        self._waiting_size -= size + count * PDU_OVERHEAD
        self._begin_writing(upload, batch, size)

    def _begin_writing(self, upload: Upload, batch: list[bytes], size: int) -> None:
        self._enter(Phase.WRITING)
        if upload.size + size > self.factory.store.max_upload:
            self._keeps = False
            limit = describe_limit(self.factory.store.max_upload)
            self._step_failed(Failure(OSError(errno.EFBIG, f"it is larger than {limit}, see --max-upload")))
            return
        try:
            written = upload.write_now(batch, size)
        except Exception:
            self._step_failed(Failure())
            return
        if written:
            self._stored(batch)
        else:
            writing = upload.write(batch)
            writing.addCallbacks(self._written, self._step_failed, callbackArgs=(batch,)).addErrback(self._mistaken)

    def _written(self, _: None, batch: list[bytes]) -> None:
        self._stored(batch)
        self._go_on()

    def _stored(self, batch: list[bytes]) -> None:
        self._enter(Phase.READY)
        self._unconfirmed += map(len, batch)
        count = len(self._unconfirmed)
        if count < self._look_at:
            return
        # Several leave in one record where more is there already. What a pipe takes next may take it long.
        if count < TOGETHER and self._upload is not None and not self._upload.one_by_one:
            reads = self._below.unread() // READ_SIZE
            if reads:
                self._look_at = min(count + reads, TOGETHER)
                if self._latest is None:
                    self._latest = self._clock.callLater(LATEST, self._acknowledge_at_last)
                return
        self._acknowledge()

    def _acknowledge_at_last(self) -> None:
        self._latest = None
        self._acknowledge()

    def _acknowledge(self) -> None:
        """Acknowledge what is stored and was not acknowledged yet."""
        sizes, self._unconfirmed = self._unconfirmed, []
        self._look_at = 1
        # The connection may be gone, or be closing, by now.
        if self.is_authenticated and not self._lifecycle.over and self._lifecycle.stage is not Stage.ENDING:
            for size in sizes:
                self.send_data(acknowledgement(size))

    def _begin_finishing(self) -> None:
        assert self._upload is not None
        self._enter(Phase.FINISHING)
        finishing = maybeDeferred(self._upload.finish)
        finishing.addCallbacks(self._finished, self._step_failed).addErrback(self._mistaken)

    def _finished(self, outcome: str) -> None:
        what = f"upload of {self.peer.login!r}"
        self._note_upload("stored")
        line = "upload of {login} from {peer}: {outcome}"
        self._settle(what, self._log.info, line, event="upload_stored", outcome=outcome)
        # Only now: that of the end tells the client that the upload is in its place.
        if self._end_received:
            self._unconfirmed.append(0)
        self._acknowledge()
        self._answer_end()

    def _begin_abandoning(self) -> None:
        self._enter(Phase.ABANDONING)
        upload = self._upload
        # It was not even opened.
        if upload is None:
            self._abandoned("nothing")
            return
        end: Callable[[], Deferred[str]] = upload.abandon if self._keeps else upload.remove
        maybeDeferred(end).addCallbacks(self._abandoned, self._abandon_failed).addErrback(self._mistaken)

    def _abandoned(self, outcome: str) -> None:
        line = "upload of {login} from {peer} broke off: {reason}; kept {outcome}"
        what = f"an upload broke off: {self._why_broken}"
        self._note_upload("broken_off")
        self._settle(what, self._log.warn, line, event="upload_broken", reason=self._why_broken, outcome=outcome)
        self._answer_end()

    def _note_upload(self, outcome: str) -> None:
        observer = self.factory.observer
        if observer is not None:
            stored = self._upload.size if outcome == "stored" and self._upload is not None else 0
            observer.uploaded(outcome, 1, stored)

    def _abandon_failed(self, reason: Failure) -> None:
        self._abandoned(f"what there is, for it cannot be put in order: {_describe(reason)}")

    def _settle(self, what: str, tell: Callable[..., object], line: str, **fields: object) -> None:
        """It is over with the upload: let it go, and say so."""
        self._enter(Phase.OVER)
        # No circle: the upload knows us, too.
        self._upload = self._opening = None
        if self._latest is not None:
            self._latest.cancel()
            self._latest = None
        self.factory.receiving.discard(self)
        if self._may_log(what):
            tell(line, login=repr(self.peer.login), peer=self._describe_peer(), **fields)
        # Its connection may have been the last, and was over before.
        if not self.factory.connections and not self.factory.receiving:
            self.factory.admission.nobody_left()

    def _step_failed(self, reason: Failure) -> None:
        """The upload can't be opened, written or put in its place: the session ends."""
        # Stores fail with an OSError, and give_up() cancels. Anything else is a mistake in a store: show where.
        if not reason.check(OSError, CancelledError) and self._may_log_failure(reason):
            self._log.failure(
                "cannot store an upload from {peer}", reason, event="storage_failed", peer=self._describe_peer()
            )
        elif isinstance(reason.value, OSError) and reason.value.errno in NO_ROOM:
            self._keeps = False
        why = _describe(reason)
        # When give_up() caused this failure, its reason stands.
        if self._why_broken is None:
            self._why_broken = why
        self._drop_waiting()
        self._enter(Phase.READY)
        # When the connection is gone already, the end of the upload says why.
        if self._lost_for is None and not self._lifecycle.over:
            error = reason.value
            self._end_session(why, error, *self._told(error))
        self._go_on()

    def _told(self, error: BaseException | None) -> tuple[Code, str]:
        """
        Say to the client why its upload can't be stored: no paths of ours, no names of options.

        :param error: what a step failed with.
        """
        if isinstance(error, OSError):
            # Too many wait for their turn, which is no fault of the storage's.
            return (Code.NO_ROOM if error.errno == errno.EBUSY else Code.STORAGE), words_for_peer(error)
        if isinstance(error, CancelledError) and self._why_broken is not None:
            return Code.STORAGE, self._why_broken
        return Code.APPLICATION_FAILED, "the application failed"

    def _mistaken(self, reason: Failure) -> None:
        """What follows from a step went wrong, which it never should."""
        self._application_failed(reason, reason.value)

    def _end_session(self, why: str, error: BaseException | None, code: Code, text: str) -> None:
        # The client is told first how far it came.
        self._acknowledge()
        if self._may_log(f"cannot store an upload: {why}"):
            self._log.error(
                "cannot store an upload of {login} from {peer}: {reason}",
                event="upload_not_stored",
                login=repr(self.peer.login),
                peer=self._describe_peer(),
                reason=why,
            )
        self.abort_with(code, text, error)

    def _may_log(self, what: str) -> bool:
        """Tell whether a line about the upload is written; if not, it is summed up."""
        return self.factory.admission.lines.uploads.write(what, network(self.peer.address))

    def _drop_waiting(self) -> None:
        self._waiting.clear()
        self._waiting_size = 0

    # How it ends

    def end_received(self) -> None:
        # Where it was closed here, DATA before this may have been dropped.
        if self._lifecycle.stage is Stage.OPEN:
            self._client_ended = True
            if self._framed and not self._end_received:
                self.give_up(LEFT_EARLY)
            elif self._phase is Phase.READY:
                self._go_on()
        super().end_received()

    def _uploads(self) -> bool:
        return self._phase not in (Phase.NONE, Phase.OVER)

    def _idle(self) -> bool:
        return not self._uploads() and super()._idle()

    def _answer_end(self) -> None:
        """The upload is over: if the client has said its end, it is waiting for ours."""
        if self._client_ended:
            self._end_if_idle()

    def _waits_for_rest(self) -> bool:
        # No client that has left waits for its turn, see connection_lost(), whatever it sent by then.
        return self._phase is not Phase.OPENING

    def _before_connection_lost(self, reason: Failure, peer_left: bool) -> None:
        # Only its client ends an upload, not whatever closes the transport, as limits of Twisted's do.
        if reason.check(ConnectionDone) and (self._below.is_closing or not peer_left):
            self._why_broken = self._why_broken or CLOSED_HERE
        super()._before_connection_lost(reason, peer_left)

    def connection_lost(self, reason: Failure) -> None:
        super().connection_lost(reason)
        self._lost_for = reason
        # Nothing ever came.
        if self._phase is Phase.NONE:
            return
        # A step may be under way, in a pipe perhaps for minutes. It is only worth waiting for when the upload can still
        # become whole. One that was not even opened is given up, too: no dead session waits for its turn, or for a
        # FIFO's reader. Behind END all has come, whatever the transport did then.
        if self._why_broken is not None or not (reason.check(ConnectionDone) or self._client_ended):
            self.give_up(reason.getErrorMessage())
        elif self._upload is None or (self._framed and not self._end_received):
            self.give_up(LEFT_EARLY)
        else:
            self._go_on()

    def give_up(self, why: str) -> None:
        """
        Stop waiting for the store: the upload breaks off, unless it has not begun, or its end is under way.

        :param why: for the log.
        """
        if self._phase in (Phase.NONE, Phase.FINISHING, Phase.ABANDONING, Phase.OVER):
            return
        self._acknowledge()
        if self._why_broken is None:
            self._why_broken = why
        self._drop_waiting()
        # Either way the step fails, and the next one abandons the upload.
        if self._phase is Phase.OPENING and self._opening is not None:
            self._opening.cancel()
        elif self._phase is Phase.WRITING and self._upload is not None:
            self._upload.interrupt()
        else:
            self._go_on()

    def _make_way(self, why: str) -> None:
        """Others wait for what this upload holds and does not use."""
        self._end_session(why, LocalProtocolError(why), Code.STORAGE, why)
        # The end of the connection has done it, unless that came before.
        self.give_up(why)


def _describe(reason: Failure) -> str:
    return describe_os_error(reason.value) if isinstance(reason.value, OSError) else reason.getErrorMessage()
