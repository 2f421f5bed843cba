"""
How long a connection that was closed in order waits for its peer.
"""

from __future__ import annotations

from collections.abc import Callable

from twisted.internet.error import ConnectionAborted
from twisted.internet.interfaces import IDelayedCall, IReactorTime

from .sockets import TransportBelow

#: What ``ConnectionLost`` says of a stream that closed in order, but without its end.
NO_END = "the connection closed without the end of its stream"

#: Seconds after which a connection that was closed in order, with all sent and nothing more received,
#: waits no longer for the peer to close, too.
LINGER = 5.0

#: Seconds until the second look whether a peer has taken all that was handed over. It is twice as long until each
#: further one.
FIRST_LOOK = 0.01

#: To how many seconds that may grow.
LAST_LOOK = 1.0


class BrokenOff(ConnectionAborted):
    """Broken off behind what was sent"""


class Farewell:
    """
    The timers of closing: made when it begins, ended when the transport has ended.

    :param clock: sets them.
    :param below: the transport.
    :param patience: how many seconds may pass without progress.
    :param leave: called when all is said, to close the transport.
    :param give_up: called when patience is over, to break off.
    :ivar heard: whether something came since it was last looked at.
    :ivar lingers: whether the peer is waited for to close, too, once all is handed over; version 1 decides that later.
    """

    __slots__ = (
        "_below",
        "_call",
        "_clock",
        "_give_up",
        "_leave",
        "_left",
        "_not_taken",
        "_patience",
        "_pause",
        "_until",
        "heard",
        "lingers",
    )

    def __init__(
        self,
        clock: IReactorTime,
        below: TransportBelow,
        patience: float,
        leave: Callable[[], None],
        give_up: Callable[[], None],
    ) -> None:
        self._clock = clock
        self._below = below
        self._patience = patience
        self._leave = leave
        self._give_up = give_up
        self._call: IDelayedCall | None = None
        self._not_taken: Callable[[], int] = below.unsent
        self._left = 0
        self._until = self._pause = 0.0
        self.heard = False
        self.lingers = False

    def wait(self) -> None:
        """Something is to be handed over, or was: patience begins anew."""
        self._time(self._patience, self._give_up)

    def expect(self, not_taken: Callable[[], int]) -> None:
        """
        The peer is to say its end, behind what it has yet to take. Patience begins anew as long as it takes some.

        :param not_taken: tells how many bytes that is.
        """
        self._not_taken = not_taken
        self._left = not_taken()
        self._until = self._clock.seconds() + self._patience
        self._look_for_its_end_later()

    def _look_for_its_end_later(self) -> None:
        self._time(min(LINGER, self._until - self._clock.seconds()), self._look_for_its_end)

    def note_progress(self) -> None:
        """Look whether the peer, whose end is expected, has taken some of what it has to."""
        left = self._not_taken()
        if left < self._left:
            # The least that ever was: what is added meanwhile, as PONGs and answers to what is asked now, is no
            # progress when it is taken. Else a peer could keep us for ever.
            self._left = left
            self._until = self._clock.seconds() + self._patience

    def _look_for_its_end(self) -> None:
        self.note_progress()
        if self._clock.seconds() >= self._until:
            self._give_up()
        else:
            self._look_for_its_end_later()

    def linger(self, least: int = 0) -> None:
        """
        All was handed over, and our direction is shut.

        :param least: how many bytes, at least, count as not taken yet: what has just left is taken later.
        """
        self._begin_to_look()
        self._left = max(least, self._left)
        if self.lingers:
            # The peer has said all, or is to be heard no longer.
            self._patience = LINGER
            self._until = self._clock.seconds() + LINGER
        self._look_later()

    def deliver(self) -> None:
        """
        All was handed over: leave as soon as the peer's system has it, not earlier. A reset drops what it has not, and
        so does a socket that is closed with bytes unread.
        """
        self._begin_to_look()
        self._pause = FIRST_LOOK
        # At the next turn: transports like TLS hold what is written in this one.
        self._time(0, self._look_often)

    def _begin_to_look(self) -> None:
        self._left = self._below.unsent()
        self._until = self._clock.seconds() + self._patience

    def _patience_is_over(self) -> bool:
        """Tell whether the peer has taken nothing for too long."""
        now, left = self._clock.seconds(), self._below.unsent()
        if left < self._left:
            self._until = now + self._patience
        self._left = left
        return now >= self._until

    def _look(self) -> None:
        """Look how closing goes on: the peer may still take what a socket holds, or send what is dropped."""
        over = self._patience_is_over()
        quiet, self.heard = not self.heard, False
        if quiet and not self._left:
            self.wait()
            self._leave()
        elif over:
            self._give_up()
        else:
            self._look_later()

    def _look_later(self) -> None:
        self._time(min(LINGER, self._patience), self._look)

    def _look_often(self) -> None:
        over = self._patience_is_over()
        if not self._left:
            self.wait()
            self._leave()
        # A peer that ends, and then resets what comes for it, takes no more. The reactor tells of that only whoever
        # writes.
        elif over or self._below.is_broken:
            self._give_up()
        else:
            self._time(self._pause, self._look_often)
            self._pause = min(2 * self._pause, LAST_LOOK)

    def _time(self, seconds: float, over: Callable[[], None]) -> None:
        self.end()
        # Before it is judged, the reactor gets a turn to read and write: the process may have stood still, and not
        # the peer.
        self._call = self._clock.callLater(seconds, self._grant_turn, over)

    def _grant_turn(self, over: Callable[[], None]) -> None:
        self._call = self._clock.callLater(0, over)

    def end(self) -> None:
        """Wait no longer."""
        if self._call is not None and self._call.active():
            self._call.cancel()
        self._call = None
