"""
A fetch that is under way on a server.
"""

from __future__ import annotations

from functools import partial

from twisted.internet.defer import Deferred
from twisted.python.failure import Failure

from ...core.connection import Code
from ...core.errors import ClosedByPeer, NotDone, RemoteProtocolError, UnexpectedPDU
from ...describe import describe_os_error
from ..disk import words_for_peer
from .disk_thread import DiskThread
from .folders import Folders
from .messages import Found, Trouble, encode
from .names import BadName, split_path
from .roots import open_root
from .sending import Sending
from .walking import NOT_THERE, Root, Walk
from .work import Holder, Work


class Delivery(Work):
    """
    One fetch.

    :param session: whose.
    :param thread: for the disk.
    :param shared: the folder of what may be fetched.
    :param may_lack: whether that may be missing: then nothing is there.
    """

    line, done = "files for {login} at {peer}: {outcome}, from {where}", "sent"

    def __init__(self, session: Holder, thread: DiskThread, shared: str, may_lack: bool) -> None:
        super().__init__(session, thread, shared)
        self._may_lack = may_lack
        self._folders: Folders | None = None
        self._walk: Walk | None = None
        self._sending: Sending | None = None

    def find(self, paths: list[bytes]) -> Deferred[bytes]:
        """
        Look what of it is there.

        :param paths: what the client wants.
        :return: the answer for the client.
        """
        return self.thread.call(partial(self._find, paths)).addErrback(self._not_found)

    def _not_found(self, reason: Failure) -> Failure:
        error = reason.value
        self.close(describe_os_error(error) if isinstance(error, OSError) else reason.getErrorMessage())
        return reason

    def _find(self, paths: list[bytes]) -> bytes:
        """In the thread."""
        try:
            self._folders = open_root(self.where)
        except FileNotFoundError:
            if not self._may_lack:
                raise
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
        if self.is_over:
            return
        assert self._walk is not None
        self._sending = Sending(self.session.end, self.thread, self._walk, self.tally)
        self._sending.start().addCallbacks(lambda _: self.close(""), self._failed)

    def data_received(self, payload: bytes) -> None:
        if self._sending is not None:
            self._sending.data_received(payload)
        else:
            error = UnexpectedPDU("a DATA about files before any was sent")
            self.session.end.break_off(Code.PROTOCOL_BROKEN, str(error), error)

    def lost(self, reason: Failure) -> None:
        super().lost(reason)
        if self._sending is not None:
            self._sending.lost(reason)

    def _failed(self, reason: Failure) -> None:
        if self.is_over:
            return
        end, error = self.session.end, reason.value
        self.close(reason.getErrorMessage())
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

    def _end_disk_work(self) -> Deferred[None]:
        return self.thread.call(self._close_folders)

    def _close_folders(self) -> None:
        """In the thread."""
        if self._sending is None and self._walk is not None:
            self._walk.close()
        if self._folders is not None:
            self._folders.close()
