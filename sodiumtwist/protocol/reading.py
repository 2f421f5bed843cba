"""
Why an application gets nothing now, what is kept for it meanwhile, and when nothing is read for that.
"""

from __future__ import annotations

from collections import deque

from ..core.events import Event
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
#: Version 2: the connection was closed here. DATA that still come are dropped; all else goes on, up to the peer's end.
CLOSED = 32
#: Version 2: the peer is owed so many PONGs that nothing more of it is looked at.
CHOKED = 64

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
        self._ahead: deque[bytes | Event] | None = None

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
        # Behind CLOSED nothing is kept, so nothing needs room.
        return (self.room > 0 or self.reasons & CLOSED > 0) and not self.reasons & (LOGIN | OVER | CHOKED)

    def hold(self, payload: bytes) -> None:
        """Keep the payload of a DATA for later."""
        self.hold_event(payload)
        self.room -= len(payload) + PDU_OVERHEAD

    def hold_event(self, event: bytes | Event) -> None:
        """Keep for later what comes behind DATA, and must not overtake them."""
        if self._ahead is None:
            self._ahead = deque()
        self._ahead.append(event)
        self.reasons |= BEHIND

    def release(self) -> bytes | Event:
        """Take out what was kept first."""
        assert self._ahead is not None
        payload = self._ahead.popleft()
        if type(payload) is bytes:
            self.room += len(payload) + PDU_OVERHEAD
        if not self._ahead:
            self._ahead = None
            self.reasons &= ~BEHIND
        return payload

    @property
    def last(self) -> bytes | Event | None:
        """What was kept last."""
        return self._ahead[-1] if self._ahead else None

    def close(self) -> list[Event]:
        """
        DATA are dropped from now on, those that were kept among them.

        :return: what was kept beside DATA.
        """
        held: list[Event] = []
        for event in self._ahead or ():
            if isinstance(event, bytes):
                self.room += len(event) + PDU_OVERHEAD
            else:
                held.append(event)
        self._ahead = None
        self.reasons = (self.reasons | CLOSED) & ~(BEHIND | APPLICATION)
        return held

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
