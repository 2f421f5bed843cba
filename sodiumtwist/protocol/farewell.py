"""
How long a connection that was closed in order waits for its peer.
"""

from __future__ import annotations

from collections.abc import Callable

from twisted.internet.interfaces import IDelayedCall, IReactorTime

from .sockets import TransportBelow

#: Seconds after which a connection that was closed in order, with all sent and nothing more received,
#: waits no longer for the peer to close, too.
LINGER = 5.0


class Farewell:
    """
    The timers of closing: made when it begins, ended when the transport has ended.

    :param clock: sets them.
    :param below: the transport.
    :param patience: how many seconds may pass without progress.
    :param leave: called when all is said, to close the transport.
    :param give_up: called when patience is over, to break off.
    :ivar heard: whether something came since it was last looked at.
    """

    __slots__ = ("_below", "_call", "_clock", "_give_up", "_leave", "_left", "_patience", "_until", "heard")

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
        self._left = 0
        self._until = 0.0
        self.heard = False

    def wait(self) -> None:
        """Something is to be handed over, or was: patience begins anew."""
        self._time(self._patience, self._give_up)

    def linger(self) -> None:
        """All was handed over, and our direction is shut."""
        self._left = self._below.unsent()
        self._until = self._clock.seconds() + self._patience
        self._time(LINGER, self._look)

    def _look(self) -> None:
        """Look how closing goes on: the peer may still take what a socket holds, or send what is dropped."""
        now, left = self._clock.seconds(), self._below.unsent()
        if left < self._left:
            self._until = now + self._patience
        quiet, self.heard, self._left = not self.heard, False, left
        if quiet and not left:
            self.wait()
            self._leave()
        elif now >= self._until:
            self._give_up()
        else:
            self._time(LINGER, self._look)

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
