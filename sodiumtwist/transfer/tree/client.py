"""
A client's end of the file dialogue: stores, fetches and lists files, one after the other on one connection.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from twisted.internet.defer import CancelledError, Deferred, fail, inlineCallbacks
from twisted.python.failure import Failure

from ...core.connection import Code
from ...core.errors import (
    ClosedByPeer,
    ClosedHere,
    LocalProtocolError,
    RemoteProtocolError,
    RequestError,
    RequestFailed,
)
from ...interfaces import Peer
from ...protocol.asking import AskingInOrder
from ...protocol.base import ANSWERS_NOTHING
from ...protocol.client import SodiumClientProtocol
from ...protocol.requests import CLOSED_HERE, RequestClient
from ..sender import UploadSender
from ..sources import Source
from .channel import ASKED_AT_ONCE
from .disk_thread import DiskThread, thread_of_reactor
from .messages import (
    Announce,
    FetchFiles,
    Finish,
    Found,
    ListFolder,
    Listing,
    Place,
    SetTimes,
    StoreFiles,
    Trouble,
    decode_answer,
    decode_request,
    encode,
)
from .report import Report
from .sending import Sending, Stream
from .walking import Walk

if TYPE_CHECKING:
    from .storing import Rules


@dataclass(frozen=True)
class Fetched:
    """
    What a fetch has come to, beside what the report was told.

    :ivar missing: which paths the server has not sent, and why.
    :ivar finish: what the server has said at the end: what it has left out.
    """

    missing: Sequence[Trouble]
    finish: Finish


class FileClient(RequestClient, UploadSender):
    """
    Stores, fetches and lists files on a server of version 2. One store or fetch at a time. To cancel one that is under
    way breaks the connection off, for the other end can't be told of that alone.

    :param make_thread: makes the thread for the disk; ``None`` for one that tells the global reactor what it has done.
    :ivar lost: fires when the connection is gone, and the disk has done all that was under way.
    :ivar stopping: whether the server has said that it is about to stop.
    """

    _streams = _begins = False
    _stays = True

    def __init__(self, make_thread: Callable[[], DiskThread] | None = None) -> None:
        RequestClient.__init__(self, respond=self._asked, concurrency=ASKED_AT_ONCE)
        self.lost = Deferred()
        self._make_thread = make_thread or thread_of_reactor
        self._work: Sending | _Fetch | None = None

    # For the application to call

    @inlineCallbacks
    def store(
        self,
        found: Walk | Stream,
        report: Report | None = None,
        dry: bool = False,
        digests: bool = False,
        resume: bool = True,
    ) -> Generator[Deferred[Any], Any, Place]:
        """
        Store files. Where the server does not keep files under their names, nothing is sent: see
        :meth:`send_stream`.

        :param found: what to send: a walk over it, or a stream. It is closed at the end, where it was sent.
        :param report: is told how it gets on.
        :param dry: whether nothing is sent, and the report only told what would be.
        :param digests: whether the digests of what is stored are wanted.
        :param resume: whether what is there already may be used.
        :return: fires with where they are, when all are settled. Fails with a :exc:`NotDone`, as
            :meth:`~sodiumtwist.protocol.requests.RequestEnd.request` does. Close the connection then: the server may
            still wait for the rest.
        """
        self._check_free()
        self._begins = True
        try:
            place: Place = yield self._ask(StoreFiles(dry, digests, resume), Place)
        finally:
            self._begins = False
        if self._closing is not None:
            raise ClosedHere(CLOSED_HERE)
        if place.keeps == "files":
            thread = self._make_thread()
            self._work = sending = Sending(self, thread, found, report, dry, digests)
            try:
                yield sending.start()
            except CancelledError:
                self._give_up()
                raise
            finally:
                thread.close()
                self._done()
        return place

    def send_stream(self, source: Source, progress: Callable[[int], object] = lambda size: None) -> Deferred[None]:
        """
        Send one stream in the dialogue of DATA, to a server that has a place for one, or throws it away. There is one
        for each connection.

        :param source: where the bytes come from.
        :param progress: called for each acknowledgement, with the number of bytes that it confirms.
        :return: fires when all is acknowledged. Fails with why the connection was lost, or with the ``OSError`` of a
            source that can't be read. :attr:`acknowledged` and :attr:`seconds` tell how it got on.
        """
        try:
            self._check_free()
            if not self.is_authenticated:
                raise LocalProtocolError("the client is not let in yet, or the connection is over")
        except LocalProtocolError:
            return fail()
        self._streams = True
        self._prepare(source, progress)
        self._begin()
        return self.finished

    @inlineCallbacks
    def fetch(
        self,
        paths: Sequence[bytes],
        into: str,
        existing: str = "rename",
        report: Report | None = None,
        dry: bool = False,
        digests: bool = False,
        resume: bool = True,
        sync: bool = True,
    ) -> Generator[Deferred[Any], Any, Fetched]:
        """
        Fetch files.

        :param paths: of files and folders, as the server shares them; an empty one is all of that.
        :param into: a folder that is there.
        :param existing: what becomes of a file whose name is taken: ``rename``, ``replace`` or ``refuse``.
        :param report: is told how it gets on.
        :param dry: whether nothing is fetched, and the report only told what would be.
        :param digests: whether the digests of what is stored are wanted.
        :param resume: whether what is there already may be used.
        :param sync: whether the disk shall have what is settled.
        :return: fires when all are settled, and the disk is done with them. Fails as :meth:`store` does.
        """
        self._check_free()
        # Not at the top: who sends does without what stores.
        from .storing import Rules

        rules = Rules(existing=existing, sync=sync, dry=dry, digests=digests, resume=resume)
        paths = [path.rstrip(b"/") for path in paths]
        self._work = work = _Fetch(self, self._make_thread(), paths, into, rules, report)
        try:
            found: Found = yield self._ask(FetchFiles(paths), Found)
            finish: Finish = yield work.finished
        except CancelledError:
            self._give_up()
            raise
        finally:
            yield work.close()
            self._done()
        return Fetched(found.missing, finish)

    def list(self, path: bytes = b"", after: bytes = b"") -> Deferred[Listing]:
        """
        List a folder of the server's.

        :param path: as the server shares it; empty for all.
        :param after: the last name of the part before this one.
        :return: fires with one part. While it has :attr:`~sodiumtwist.transfer.tree.messages.Listing.more`, the name
            of its last entry leads to the next one. Fails as :meth:`store` does.
        """
        try:
            self._check_version()
        except LocalProtocolError:
            return fail()
        return self._ask(ListFolder(path.rstrip(b"/"), after), Listing).addCallback(self._check_part, after)

    def close(self, timeout: float | None = None) -> Deferred[None]:  # type: ignore[override]
        """
        Close in order, see :meth:`~sodiumtwist.protocol.requests.RequestEnd.close`. A store or fetch that is under way
        is given up. What has come of it is kept, to go on with it another time.
        """
        if self._work is not None:
            self._work.lost(Failure(ClosedHere(CLOSED_HERE)))
        return super().close(timeout)

    def _check_version(self) -> None:
        if isinstance(self._asking, AskingInOrder):
            # There a request would be DATA, and a server might store it.
            raise LocalProtocolError("files have names in version 2 of the protocol alone")

    def _check_free(self) -> None:
        self._check_version()
        if self._begins or self._work is not None or self._streams:
            raise LocalProtocolError("one store or fetch at a time; another one takes another connection")

    def _give_up(self) -> None:
        if self._work is not None:
            self._work.lost(Failure(CancelledError()))
        if not self._lifecycle.over:
            self.abort_with(Code.CANCELLED, "it was given up", ClosedHere("it was given up"))

    def _done(self) -> None:
        self._work = None
        if self.stopping:
            self._end_if_idle()

    def _ask(self, message: Any, kind: type[Any]) -> Deferred[Any]:
        asked: Deferred[Any] = self.request(encode(message))
        return asked.addCallbacks(self._read, self._say_failure, callbackArgs=(kind,))

    def _read(self, payload: bytes, kind: type[Any]) -> Any:
        try:
            return decode_answer(kind, payload)
        except RemoteProtocolError as error:
            raise self._break(error) from None

    def _check_part(self, listing: Listing, after: bytes) -> Listing:
        # Whoever asks for one part after the other would come to no end, or miss what follows.
        if listing.more and not (listing.entries and listing.entries[-1].name > after):
            raise self._break(RemoteProtocolError("a part of a list behind which the next one can't be asked for"))
        return listing

    def _say_failure(self, reason: Failure) -> Failure:
        error = reason.value
        if isinstance(error, RequestFailed) and error.text == ANSWERS_NOTHING:
            # As one with streams: it knows of no requests at all.
            return Failure(RequestFailed(Code.NOT_SUPPORTED, "what it serves is something else than files"))
        return reason

    def _break(self, error: RemoteProtocolError) -> RemoteProtocolError:
        """The server breaks the rules, or knows nothing of them."""
        if not self._lifecycle.over:
            self.abort_with(Code.PROTOCOL_BROKEN, str(error)[:1000], error)
        return error

    # What the server asks

    def _asked(self, peer: Peer, payload: bytes) -> Deferred[bytes]:
        try:
            message = decode_request(payload)
        except RemoteProtocolError as error:
            raise self._break(error) from None
        work = self._work
        if not isinstance(work, _Fetch) or not isinstance(message, (Announce, SetTimes, Finish)):
            raise RequestError(Code.NOT_SUPPORTED, "nothing is being fetched that this could belong to")
        try:
            return work.asked(message)
        except RemoteProtocolError as error:
            raise self._break(error) from None

    # What the base calls

    def authenticated(self) -> None:
        """Nothing is sent by itself."""

    def payload_received(self, payload: bytes) -> None:
        if self._streams:
            UploadSender.payload_received(self, payload)
        elif self._work is not None:
            self._work.data_received(payload)
        else:
            super().payload_received(payload)

    def drain_received(self) -> None:
        self.stopping = True
        super().drain_received()
        if isinstance(self._work, Sending):
            self._work.wind_up(ClosedByPeer("the server is about to stop"))

    def _idle(self) -> bool:
        return not (self._begins or self._work is not None or self._is_streaming) and super()._idle()

    @property
    def _is_streaming(self) -> bool:
        return self._streams and not self.finished.called

    def end_received(self) -> None:
        # Nothing more comes of what is under way. Where it was closed here, the disk may still work for that.
        if self._closing is None and (self._work is not None or self._is_streaming):
            self.abort(ClosedByPeer("the server has closed the connection"))
        SodiumClientProtocol.end_received(self)

    def connection_lost(self, reason: Failure) -> None:
        self._respond = None  # which has us
        work = self._work
        if self._streams:
            UploadSender.connection_lost(self, reason)
            return
        why = reason if self._end is None else Failure(self._end)
        if isinstance(work, _Fetch):
            work.lost(why)
            work.closed.addBoth(lambda _: self.lost.callback(None))
        else:
            if work is not None:
                work.lost(why)
            self.lost.callback(None)


class _Fetch:
    """
    A fetch that is under way.

    :ivar finished: fires with what the server says at the end, when all is settled; fails when the connection ends.
    :ivar closed: fires when the disk has done all for it.
    """

    def __init__(
        self,
        end: FileClient,
        thread: DiskThread,
        paths: Sequence[bytes],
        into: str,
        rules: Rules,
        report: Report | None,
    ) -> None:
        self.finished: Deferred[Finish] = Deferred()
        self.closed: Deferred[None] = Deferred()
        # Who asks for all takes what comes.
        self._names = None if b"" in paths else {path.rpartition(b"/")[2] for path in paths}
        self._thread = thread
        # The server does not know of a dry run: what would come is refused.
        from .receiving import Receiving
        from .storing import Storing

        self._receiving = Receiving(end, thread, Storing(into, rules), None, report, takes_nothing=rules.dry)
        self._asked_all = self._closing = False

    def asked(self, message: Announce | SetTimes | Finish) -> Deferred[bytes]:
        """
        Answer what the server asks.

        :raises RemoteProtocolError: when it sends something else than what was asked for, or more behind its end.
        """
        if self._asked_all:
            raise RemoteProtocolError("the server goes on behind its end")
        # Otherwise a server could put any file into the folder, such as one that a shell there reads.
        if isinstance(message, Announce):
            self._check(entry.path for entry in message.entries)
        elif isinstance(message, SetTimes):
            self._check(path for path, _ in message.folders)
        else:
            self._asked_all = True
        # Another Deferred: to cancel it, as the end of the connection does, stops nothing.
        answer: Deferred[bytes] = Deferred()
        working = self._receiving.asked(message)
        working.addCallbacks(self._tell, self._failed, callbackArgs=(answer, message), errbackArgs=(answer,))
        return answer

    def _check(self, paths: Iterable[bytes]) -> None:
        if self._names is not None and not {path.partition(b"/")[0] for path in paths} <= self._names:
            raise RemoteProtocolError("the server sends something else than what was asked for")

    def _tell(self, result: bytes, answer: Deferred[bytes], message: object) -> None:
        if not answer.called:
            answer.callback(result)
        if isinstance(message, Finish) and not self._closing:
            self.finished.callback(message)

    def _failed(self, reason: Failure, answer: Deferred[bytes]) -> None:
        if not answer.called:
            answer.errback(reason)
        self.lost(reason)

    def data_received(self, payload: bytes) -> None:
        """Take in pieces of files."""
        self._receiving.data_received(payload)

    def lost(self, reason: Failure) -> None:
        """Nothing more comes, or can be taken."""
        if not self._closing and not self.finished.called:
            self.finished.errback(reason)

    def close(self) -> Deferred[None]:
        """Have the disk do what is left to do, and no more: what is whole is kept, and what can be resumed."""
        self._closing = True
        # Where it has ended before the server's first answer, nobody has waited for this.
        self.finished.addErrback(lambda _: None)
        return self._receiving.lost().addBoth(self._closed)

    def _closed(self, result: object) -> None:
        self._thread.close()
        self.closed.callback(None)
