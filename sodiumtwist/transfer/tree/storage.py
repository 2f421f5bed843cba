"""
A store that is under way on a server.
"""

from __future__ import annotations

import os
from collections.abc import Callable

from twisted.internet.defer import Deferred
from twisted.python.failure import Failure

from ...core.errors import ClosedByPeer
from .disk_thread import DiskThread
from .messages import Announce, Finish, SetTimes, Settled
from .receiving import Receiving
from .storing import Rules, Storing
from .work import Holder, Work

#: Called with path, digest and size of a file that is stored. Gives what the client is to be told of that.
Stored = Callable[[bytes, bytes, int], "Deferred[str]"]


class Storage(Work):
    """
    One store.

    :param session: whose.
    :param thread: for the disk.
    :param folder: where the files go. It is made when the first of them is announced.
    :param rules: for storing them.
    :param stored: called for each file that is stored; ``None`` when nobody is to know.
    """

    line, done = "files of {login} from {peer}: {outcome}, in {where}", "stored"

    def __init__(self, session: Holder, thread: DiskThread, folder: str, rules: Rules, stored: Stored | None) -> None:
        super().__init__(session, thread, folder)
        self._stored = stored
        called = None if stored is None else self._call_stored
        self._receiving = Receiving(session.end, thread, Storing(folder, rules), called, self.tally)

    def _call_stored(self, settled: Settled, path: bytes) -> Deferred[str]:
        assert self._stored is not None
        return self._stored(os.path.join(os.fsencode(self.where), path), settled.digest, settled.size)

    def asked(self, message: Announce | SetTimes | Finish) -> Deferred[bytes]:
        """Answer what the sender asks."""
        working = self._receiving.asked(message)
        if isinstance(message, Finish):
            working.addCallbacks(self._finished, self._not_finished)
        return working

    def _finished(self, answer: bytes) -> bytes:
        self.close("")
        return answer

    def _not_finished(self, reason: Failure) -> Failure:
        self.close(reason.getErrorMessage())
        return reason

    def lost(self, reason: Failure) -> None:
        # The client of a server that is about to stop may not ask any more, so it can't say that it is done.
        left = self.session.end.is_draining and self._receiving.is_settled and reason.check(ClosedByPeer)
        self.close("" if left else reason.getErrorMessage())

    def data_received(self, payload: bytes) -> None:
        self._receiving.data_received(payload)

    def _end_disk_work(self) -> Deferred[None]:
        return self._receiving.lost()
