"""
A server's end of the file dialogue: what one client asks of files, one store or fetch after the other.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from functools import partial
from typing import Protocol, Union

from twisted.internet.defer import Deferred
from twisted.python.failure import Failure

from ...core.connection import Code
from ...core.errors import ClosedByPeer, NotDone, RemoteProtocolError, RequestError, UnexpectedPDU
from ...describe import describe_os_error, printable
from ..disk import words_for_peer
from .channel import Channel
from .disk_thread import DiskThread
from .folders import Folders
from .listing import list_folder
from .messages import (
    Announce,
    FetchFiles,
    Finish,
    Found,
    ListFolder,
    Listing,
    Place,
    SetTimes,
    Settled,
    StoreFiles,
    Trouble,
    decode_request,
    encode,
)
from .names import BadName, show_path, split_path
from .place import Files
from .receiving import Receiving
from .report import STORED, THERE, FileResult, Report
from .roots import open_root
from .sending import Sending
from .storing import Rules, Storing
from .walking import NOT_THERE, Root, Walk

#: How many connections of one server may have a thread for the disk at once.
SESSIONS = 256


class ServingEnd(Channel, Protocol):
    """
    What a :class:`FileSession` needs of the connection's end.
    """

    @property
    def is_stopping(self) -> bool:
        """Whether nothing new is begun any more."""

    def break_off(self, code: int, text: str, error: BaseException) -> None:
        """Close the connection and tell the client why, unless it is over."""

    def files_over(self, line: str, warns: bool, **fields: object) -> None:
        """Say in the log what became of files, with fields ``login`` and ``peer``."""

    def files_failed(self, reason: Failure) -> None:
        """Something went wrong that never should: show where, in the log."""

    def files_changed(self) -> None:
        """The session has become busy, or no longer is."""


class Threads:
    """
    The threads for the disk of all connections of a server, of which there are so many at most.

    :param make: makes one.
    """

    def __init__(self, make: Callable[[], DiskThread]) -> None:
        self._make = make
        self._count = 0

    def take(self) -> DiskThread:
        """
        Give one.

        :raises RequestError: when there is none.
        """
        if self._count >= SESSIONS:
            raise RequestError(Code.NO_ROOM, "too many clients store or fetch files, try again later")
        self._count += 1
        return self._make()

    def give_back(self, thread: DiskThread) -> None:
        """It has done all that it was asked to do."""
        thread.close()
        self._count -= 1


class Tally(Report):
    """
    What became of the files of one store or fetch, for the log.
    """

    def __init__(self) -> None:
        self._done = self._size = self._there = self._failed = 0
        self._name, self._why = b"", ""

    def settled(self, result: FileResult) -> None:
        if result.outcome == STORED:
            self._done += 1
            self._size += result.size
            self._name = result.name or result.path
        elif result.outcome == THERE:
            self._there += 1
        else:
            self._failed += 1
            self._why = result.text

    def describe(self, done: str) -> str:
        """Say it in a line; ``done`` is what was done with them."""
        what = show_path(self._name) if self._done == 1 else f"{self._done} files"
        parts = [f"{done} {what}, {self._size} bytes"]
        if self._there:
            parts.append(f"{self._there} were there already")
        if self._failed:
            parts.append(f"{self._failed} were not, the last one for: {printable(self._why)}")
        return "; ".join(parts)


class FileSession:
    """
    What one client asks of files. It may store and fetch as often as it likes, one after the other.

    Its work on the disk is done in a thread of its own, which begins with what needs it and ends with that. What is
    under way there when the connection ends goes on, see :attr:`busy`.

    :param end: the connection's.
    :param login: of the client.
    :param files: what the server does with files.
    :param place: where the client's files go; ``None`` where the server takes none.
    :param threads: those of all connections.
    :ivar begun: whether anything was stored or fetched under names: DATA are the files' from then on.
    """

    begun = False

    def __init__(self, end: ServingEnd, login: str, files: Files, place: Place | None, threads: Threads) -> None:
        self.end = end
        self.files = files
        self._login = login
        self._place = place
        self._threads = threads
        self._thread: DiskThread | None = None
        #: For how much of what is under way the thread is needed.
        self._uses = 0
        self._work: Storage | Delivery | None = None
        self._unanswered: set[Deferred[bytes]] = set()
        self._over = False

    @property
    def busy(self) -> bool:
        """Whether a store or fetch is under way, or the disk works for one that is over."""
        return self._uses > 0

    def asked(self, payload: bytes) -> bytes | Deferred[bytes]:
        """
        Answer a request.

        :return: the answer, or a Deferred of it. To cancel that stops nothing.
        :raises RequestError: when it can't be done, which the client is told.
        :raises RemoteProtocolError: when the request breaks the rules. The connection is closed then.
        """
        try:
            message = decode_request(payload)
        except RemoteProtocolError as error:
            self._break(error)
            raise
        if isinstance(message, StoreFiles):
            return self._store(message)
        if isinstance(message, FetchFiles):
            return self._fetch(message)
        if isinstance(message, ListFolder):
            return self._list(message)
        if not isinstance(self._work, Storage):
            raise RequestError(Code.NOT_SUPPORTED, "nothing is being stored that this could belong to")
        return self._answer(self._work.asked(message))

    def data_received(self, payload: bytes) -> None:
        """Take in a DATA. Where nothing is under way, it is wrong."""
        if self._work is None:
            self._break(UnexpectedPDU("a DATA, and no files are being stored or fetched"))
        else:
            self._work.data_received(payload)

    def lost(self, reason: Failure) -> None:
        """Nothing more comes from the client: the connection is over, or it has said its end."""
        self._over = True
        if self._work is not None:
            self._work.lost(reason)
        # It waits for them before it closes.
        unanswered, self._unanswered = self._unanswered, set()
        for answer in unanswered:
            answer.errback(RequestError(Code.CANCELLED, "it was broken off"))

    # What the client may ask

    def _may_begin(self) -> None:
        if self._work is not None:
            raise RequestError(Code.NO_ROOM, "one store or fetch at a time; another one takes another connection")
        if self._over or self.end.is_stopping:
            raise RequestError(Code.SHUTTING_DOWN, "the connection is about to end")

    def _store(self, message: StoreFiles) -> bytes:
        self._may_begin()
        if self._place is None:
            raise RequestError(Code.NOT_SUPPORTED, "this server takes no files")
        folder = self.files.folder_of(self._login)
        if folder is not None:
            self._work = Storage(self, self._take_thread(), folder, self._rules(message))
            self.begun = True
        return encode(self._place)

    def _rules(self, message: StoreFiles) -> Rules:
        files = self.files
        return Rules(
            existing=files.existing,
            max_size=files.max_size,
            sync=files.sync,
            dry=message.dry,
            digests=message.digests or files.on_stored is not None,
            resume=message.resume,
            room=None if files.room is None else files.room(self._login),
        )

    def stored(self, settled: Settled, path: bytes) -> Deferred[str]:
        """
        A file is stored: do what the server does then.

        :param settled: which, and how.
        :param path: where it is.
        :return: fires with what the client is to be told.
        """
        assert self.files.on_stored is not None
        return self.files.on_stored(self._login, path, settled.digest, settled.size)

    def _shared(self) -> str:
        shared = self.files.shared_with(self._login)
        if shared is None:
            raise RequestError(Code.NOT_SUPPORTED, "this server shares no files")
        return shared

    def _fetch(self, message: FetchFiles) -> Deferred[bytes]:
        self._may_begin()
        shared = self._shared()
        work = Delivery(self, self._take_thread(), shared)
        self._work = work
        self.begun = True
        found = work.find(message.paths)
        # Behind the answer, which leaves within that call.
        answer = self._answer(found)
        found.addCallback(lambda _: work.begin())
        return answer

    def _list(self, message: ListFolder) -> Deferred[bytes]:
        shared = self._shared()
        listed = self._take_thread().call(partial(_list_now, shared, self.files.share_per_login, message))
        answer = self._answer(listed)
        listed.addCallback(lambda _: self._free_thread())
        return answer

    def _answer(self, working: Deferred[bytes]) -> Deferred[bytes]:
        """
        Make what the client is answered of what the disk does.

        :return: another Deferred. To cancel it, as the end of the connection does, stops nothing.
        """
        answer: Deferred[bytes] = Deferred(self._unanswered.discard)
        self._unanswered.add(answer)
        working.addCallbacks(self._tell, self._tell_failure, callbackArgs=(answer,), errbackArgs=(answer,))
        return answer

    def _tell(self, result: bytes, answer: Deferred[bytes]) -> None:
        if answer in self._unanswered:
            self._unanswered.discard(answer)
            answer.callback(result)

    def _tell_failure(self, reason: Failure, answer: Deferred[bytes]) -> None:
        error: BaseException | None = reason.value
        if isinstance(error, RemoteProtocolError):
            self._break(error)
        elif isinstance(error, OSError):
            # No paths of ours.
            reason = Failure(RequestError(Code.STORAGE, words_for_peer(error)))
        if answer in self._unanswered:
            self._unanswered.discard(answer)
            answer.errback(reason)
        elif not isinstance(error, (OSError, NotDone, RequestError)):
            self.end.files_failed(reason)

    def _break(self, error: RemoteProtocolError) -> None:
        self.end.break_off(Code.PROTOCOL_BROKEN, str(error), error)

    # The thread

    def _take_thread(self) -> DiskThread:
        if self._thread is None:
            self._thread = self._threads.take()
        self._uses += 1
        if self._uses == 1:
            self.end.files_changed()
        return self._thread

    def _free_thread(self) -> None:
        self._uses -= 1
        if not self._uses:
            thread, self._thread = self._thread, None
            assert thread is not None
            self._threads.give_back(thread)
            self.end.files_changed()

    def over(self, work: Work) -> None:
        """A store or fetch is over; the disk may still work for it. The next one may begin."""
        if self._work is work:
            self._work = None

    def closed(self, line: str, why: str, **fields: object) -> None:
        """
        The disk has done all for it.

        :param line: for the log.
        :param why: it has ended too early; nothing when it has not.
        """
        broke_off = f"; it broke off: {why}" if why else ""
        self.end.files_over(line + "{broke_off}", bool(why), broke_off=broke_off, **fields)
        self._free_thread()


class Storage:
    """
    A store that is under way.

    :param session: whose.
    :param thread: for the disk.
    :param folder: where the files go. It is made when the first of them is announced.
    :param rules: for storing them.
    """

    def __init__(self, session: FileSession, thread: DiskThread, folder: str, rules: Rules) -> None:
        self._session = session
        self._folder = os.fsencode(folder)
        self._tally = Tally()
        self._over = False
        stored = None if session.files.on_stored is None else self._stored
        self._receiving = Receiving(session.end, thread, Storing(folder, rules), stored, self._tally)

    def _stored(self, settled: Settled, path: bytes) -> Deferred[str]:
        return self._session.stored(settled, os.path.join(self._folder, settled.name or path))

    def asked(self, message: Announce | SetTimes | Finish) -> Deferred[bytes]:
        """Answer what the sender asks."""
        working = self._receiving.asked(message)
        if isinstance(message, Finish):
            working.addCallback(self._finished)
        return working

    def _finished(self, answer: bytes) -> bytes:
        self._close("")
        return answer

    def data_received(self, payload: bytes) -> None:
        """Take in pieces of files."""
        self._receiving.data_received(payload)

    def lost(self, reason: Failure) -> None:
        """Nothing more comes."""
        self._close(reason.getErrorMessage())

    def _close(self, why: str) -> None:
        if not self._over:
            self._over = True
            self._session.over(self)
            self._receiving.lost().addBoth(self._closed, why)

    def _closed(self, result: Failure | None, why: str) -> None:
        if isinstance(result, Failure):
            self._session.end.files_failed(result)
        outcome, where = self._tally.describe("stored"), os.fsdecode(self._folder)
        self._session.closed("files of {login} from {peer}: {outcome}, in {where}", why, outcome=outcome, where=where)


class Delivery:
    """
    A fetch that is under way.

    :param session: whose.
    :param thread: for the disk.
    :param shared: what may be fetched.
    """

    def __init__(self, session: FileSession, thread: DiskThread, shared: str) -> None:
        self._session = session
        self._thread = thread
        self._shared = shared
        self._tally = Tally()
        self._over = False
        self._folders: Folders | None = None
        self._walk: Walk | None = None
        self._sending: Sending | None = None

    def find(self, paths: list[bytes]) -> Deferred[bytes]:
        """
        Look what of it is there.

        :return: the answer for the client.
        """
        return self._thread.call(partial(self._find, paths)).addErrback(self._not_found)

    def _not_found(self, reason: Failure) -> Failure:
        error = reason.value
        self._close(describe_os_error(error) if isinstance(error, OSError) else reason.getErrorMessage())
        return reason

    def _find(self, paths: list[bytes]) -> bytes:
        """Do that, in the thread."""
        try:
            self._folders = open_root(self._shared)
        except FileNotFoundError:
            if not self._session.files.share_per_login:
                raise
            # Nobody has put anything there for this login.
            self._walk = Walk([])
            return encode(Found([Trouble(path, NOT_THERE) for path in paths]))
        roots, missing = [], []
        for path in paths:
            try:
                roots.append(Root.shared(self._folders, split_path(path) if path else ()))
            except BadName as error:
                missing.append(Trouble(path, str(error)))
        walk = Walk(roots)
        missing += walk.missing()
        self._walk = walk
        return encode(Found(missing))

    def begin(self) -> None:
        """The client knows what was found, or that it can't be looked for. Send it."""
        if self._over:
            return
        assert self._walk is not None
        self._sending = Sending(self._session.end, self._thread, self._walk, self._tally)
        self._sending.start().addCallbacks(lambda _: self._close(""), self._failed)

    def data_received(self, payload: bytes) -> None:
        """Take in what became of files."""
        if self._sending is not None:
            self._sending.data_received(payload)
        else:
            error = UnexpectedPDU("a DATA about files before any was sent")
            self._session.end.break_off(Code.PROTOCOL_BROKEN, str(error), error)

    def lost(self, reason: Failure) -> None:
        """Nothing more comes."""
        self._close(reason.getErrorMessage())
        if self._sending is not None:
            self._sending.lost(reason)

    def _failed(self, reason: Failure) -> None:
        if self._over:
            return
        end, error = self._session.end, reason.value
        self._close(reason.getErrorMessage())
        # The client can't know that nothing more comes.
        if isinstance(error, RemoteProtocolError):
            end.break_off(Code.PROTOCOL_BROKEN, str(error), error)
        elif isinstance(error, NotDone):
            end.break_off(Code.CANCELLED, "it was broken off, for the other end does not go on", error)
        elif isinstance(error, OSError):
            end.break_off(Code.STORAGE, words_for_peer(error), error)
        else:
            end.files_failed(reason)
            end.break_off(Code.APPLICATION_FAILED, "the application failed", error or ClosedByPeer())

    def _close(self, why: str) -> None:
        if not self._over:
            self._over = True
            self._session.over(self)
            self._thread.call(self._close_folders).addBoth(self._closed, why)

    def _close_folders(self) -> None:
        if self._sending is None and self._walk is not None:
            self._walk.close()
        if self._folders is not None:
            self._folders.close()

    def _closed(self, result: Failure | None, why: str) -> None:
        if isinstance(result, Failure):
            self._session.end.files_failed(result)
        outcome = self._tally.describe("sent")
        self._session.closed(
            "files for {login} at {peer}: {outcome}, from {where}", why, outcome=outcome, where=self._shared
        )


Work = Union[Storage, Delivery]


def _list_now(shared: str, per_login: bool, message: ListFolder) -> bytes:
    """List a folder, in the thread."""
    try:
        return encode(list_folder(shared, message.path, message.after))
    except FileNotFoundError:
        # Nobody has put anything there for this login.
        if per_login and not message.path and not os.path.lexists(shared):
            return encode(Listing([]))
        raise
    except BadName as error:
        raise RequestError(Code.STORAGE, str(error)) from None
