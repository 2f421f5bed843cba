"""
A server's end of the file dialogue: what one client asks of files, one store or fetch after the other.
"""

from __future__ import annotations

import os
import resource
from collections import Counter
from collections.abc import Callable
from functools import partial

from twisted.internet.defer import Deferred
from twisted.python.failure import Failure

from ...core.connection import Code
from ...core.errors import NotDone, RemoteProtocolError, RequestError, UnexpectedPDU
from ..disk import words_for_peer
from .delivery import Delivery
from .disk_thread import DiskThread
from .listing import list_folder
from .messages import (
    FetchFiles,
    ListFolder,
    Listing,
    Place,
    StoreFiles,
    decode_request,
    encode,
)
from .names import BadName
from .place import Files
from .storage import Storage
from .storing import Rules
from .work import ServingEnd, Work

#: How many connections of one server may have a thread for the disk at once.
SESSIONS = 256

#: Fewer where file descriptors are scarce: one for so many that the process may have.
SESSION_DESCRIPTORS = 10


class Threads:
    """
    The threads for the disk of all connections of a server, of which there are so many at most. Those of one login are
    no more than are free for others.

    :param make: makes one.
    """

    def __init__(self, make: Callable[[], DiskThread]) -> None:
        self._make = make
        self._of_logins: Counter[str] = Counter()

    def take(self, login: str) -> DiskThread:
        """
        Give one.

        :param login: of the client.
        :raises RequestError: when there is none.
        """
        descriptors = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
        most = SESSIONS if descriptors == resource.RLIM_INFINITY else min(SESSIONS, descriptors // SESSION_DESCRIPTORS)
        if most - self._of_logins.total() < max(1, self._of_logins[login]):
            raise RequestError(Code.NO_ROOM, "too many clients store or fetch files, try again later")
        self._of_logins[login] += 1
        return self._make()

    def give_back(self, thread: DiskThread, login: str) -> None:
        """It has done all that it was asked to do."""
        thread.close()
        self._of_logins[login] -= 1
        if not self._of_logins[login]:
            del self._of_logins[login]


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
        self._work: Work | None = None
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
            stored = None if self.files.on_stored is None else self._stored
            self._work = Storage(self, self._take_thread(), folder, self._rules(message), stored)
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

    def _stored(self, path: bytes, digest: bytes, size: int) -> Deferred[str]:
        assert self.files.on_stored is not None
        return self.files.on_stored(self._login, path, digest, size)

    def _shared(self) -> str:
        shared = self.files.shared_with(self._login)
        if shared is None:
            raise RequestError(Code.NOT_SUPPORTED, "this server shares no files")
        return shared

    def _fetch(self, message: FetchFiles) -> Deferred[bytes]:
        self._may_begin()
        shared = self._shared()
        work = Delivery(self, self._take_thread(), shared, self.files.share_per_login)
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
            self._thread = self._threads.take(self._login)
        self._uses += 1
        if self._uses == 1:
            self.end.files_changed()
        return self._thread

    def _free_thread(self) -> None:
        self._uses -= 1
        if not self._uses:
            thread, self._thread = self._thread, None
            assert thread is not None
            self._threads.give_back(thread, self._login)
            self.end.files_changed()

    def over(self, work: Work) -> None:
        """A store or fetch is over; the disk may still work for it. The next one may begin."""
        if self._work is work:
            self._work = None

    def closed(self) -> None:
        """The disk has done all for one of them."""
        self._free_thread()


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
