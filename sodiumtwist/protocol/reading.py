"""
Why an application gets nothing now, what is kept for it meanwhile, and when nothing is read for that.
"""

from __future__ import annotations

from collections import deque

from ..core.wire import PDU_OVERHEAD

#: The reasons; any number of them may hold at once. The application has paused.
APPLICATION = 1
#: The peer does not take what is sent to it, so that answers would pile up.
WRITING = 2
#: A login is not decided on, and something has come behind it.
LOGIN = 4
#: The connection is over for the application. This one does not keep the transport from reading: the peer's end is
#: still to be seen.
OVER = 8
#: What was read ahead waits; it comes first. With this reason alone it is delivered.
BEHIND = 16

#: With DATA of so many bytes read ahead for an application that has paused, its overhead included, nothing more is
#: read. Up to there PINGs and PONGs are found between the DATA, and the peer's end behind it.
READ_AHEAD = 65536


class Reading:
    """
    Keeps the reasons why the application gets nothing, the DATA that were read ahead, and what the transport knows.

    :ivar reasons: the sum of those that hold; while it is not 0 no event is taken from what comes as it comes.
    :ivar room: for how many bytes more may be read ahead. None before authentication: a stranger makes us hold
        nothing.
    :ivar paused: whether the transport was told to read nothing.
    :ivar deaf: whether that is so because the application has paused.
    """

    __slots__ = ("_ahead", "deaf", "paused", "reasons", "room")

    def __init__(self) -> None:
        self.reasons = self.room = 0
        self.paused = self.deaf = False
        self._ahead: deque[bytes] | None = None

    def stop(self, reason: int) -> None:
        """There is a reason."""
        self.reasons |= reason

    def allow(self, reason: int) -> None:
        """There no longer is."""
        self.reasons &= ~reason

    @property
    def stopped(self) -> bool:
        """Whether the application gets nothing; else it gets what was read ahead, and what comes."""
        return bool(self.reasons & ~BEHIND)

    @property
    def may_read_ahead(self) -> bool:
        """Whether events may be taken although the application gets nothing."""
        return self.room > 0 and not self.reasons & (LOGIN | OVER)

    def hold(self, payload: bytes) -> None:
        """Keep the payload of a DATA for later."""
        if self._ahead is None:
            self._ahead = deque()
        self._ahead.append(payload)
        self.room -= len(payload) + PDU_OVERHEAD
        self.reasons |= BEHIND

    def release(self) -> bytes:
        """Take out the payload that was kept first."""
        assert self._ahead is not None
        payload = self._ahead.popleft()
        self.room += len(payload) + PDU_OVERHEAD
        if not self._ahead:
            self._ahead = None
            self.reasons &= ~BEHIND
        return payload

    def finish(self) -> None:
        """The connection is over for the application; what was kept is dropped."""
        self._ahead = None
        self.reasons = (self.reasons | OVER) & ~BEHIND

    def regulate(self) -> bool:
        """
        Bring :attr:`paused` and :attr:`deaf` in line with the reasons. Once the connection is over they stay as they
        are.

        :return: whether one has changed, so that others are to be told.
        """
        if self.reasons & OVER:
            return False
        paused = self.stopped and not self.may_read_ahead
        deaf = paused and bool(self.reasons & APPLICATION)
        changed = paused is not self.paused or deaf is not self.deaf
        self.paused, self.deaf = paused, deaf
        return changed

    def read_on(self) -> bool:
        """
        Read whatever the reasons: what comes is dropped, and the end of it is seen.

        :return: whether the transport is to be told.
        """
        paused, self.paused = self.paused, False
        return paused
