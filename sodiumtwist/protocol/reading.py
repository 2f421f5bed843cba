"""
Why nothing is read from a transport.
"""

from __future__ import annotations

#: The reasons; any number of them may hold at once. The application has paused.
APPLICATION = 1
#: The peer does not take what is sent to it, so that answers would pile up.
WRITING = 2
#: A login is not decided on, and something has come behind it.
LOGIN = 4
#: The connection is over for the application. This one does not keep the transport from reading: the peer's end is
#: still to be seen.
OVER = 8


class Reading:
    """
    Keeps the reasons not to read, and whether the transport knows.

    :ivar reasons: the sum of those that hold; while it is not 0 no event is taken.
    :ivar paused: whether the transport was told to read nothing.
    """

    __slots__ = ("paused", "reasons")

    def __init__(self) -> None:
        self.reasons = 0
        self.paused = False

    def stop(self, reason: int) -> None:
        """There is a reason."""
        self.reasons |= reason

    def allow(self, reason: int) -> None:
        """There no longer is."""
        self.reasons &= ~reason

    def regulate(self) -> bool:
        """
        Bring :attr:`paused` in line with the reasons. Once the connection is over it stays as it is.

        :return: whether it has changed, so that the transport is to be told.
        """
        if self.reasons & OVER or self.paused == bool(self.reasons):
            return False
        self.paused = not self.paused
        return True

    def read_on(self) -> bool:
        """
        Read whatever the reasons: what comes is dropped, and the end of it is seen.

        :return: whether the transport is to be told.
        """
        paused, self.paused = self.paused, False
        return paused
