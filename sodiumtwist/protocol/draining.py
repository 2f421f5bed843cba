"""
How a server stops: its clients are told, what was asked is answered, and who takes too long is told why it ends.
"""

from __future__ import annotations

from collections.abc import Set

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IDelayedCall, IReactorTime

from ..core.connection import Code
from ..core.errors import LocalProtocolError
from .server import SodiumServerProtocol

#: Seconds for which a server that is about to stop waits for its clients to finish.
DRAIN_TIMEOUT = 10.0

#: Seconds between two looks whether all of them have.
DRAIN_POLL = 0.01

#: Seconds that whoever takes longer gets to read that it is over.
CUT_TIME = 1.0

STOPPING = "the server is stopping"


class Draining:
    """
    The last seconds of all connections of one server.

    :param ends: those that are connected; each leaves the set when it is gone.
    :param clock: tells the time.
    :param timeout: how many seconds they get to finish.
    :ivar done: fires when nothing is waited for any more. To cancel it cuts them off.
    """

    def __init__(self, ends: Set[SodiumServerProtocol], clock: IReactorTime, timeout: float) -> None:
        self.done: Deferred[None] = Deferred(lambda done: self.cut())
        self._ends = ends
        self._clock = clock
        self._until = clock.seconds() + timeout
        self._was_cut = False
        self._looking: IDelayedCall | None = None
        # Each leaves the set when it ends.
        for end in list(ends):
            if end.version == 1:
                end.leave_untold(LocalProtocolError(STOPPING))
            else:
                end.drain()
        self._look()

    def cut(self) -> None:
        """Wait no longer: tell who is left that it is over."""
        if self._looking is not None and not self._was_cut:
            self._looking.cancel()
            self._cut_off()

    def _look(self) -> None:
        self._looking = None
        if not any(end.is_finishing for end in self._ends):
            self._finish()
        elif self._clock.seconds() < self._until:
            self._looking = self._clock.callLater(DRAIN_POLL, self._look)
        else:
            self._cut_off()

    def _cut_off(self) -> None:
        self._was_cut = True
        self._until = self._clock.seconds() + CUT_TIME
        # The second time this breaks off what has not taken that yet.
        for end in list(self._ends):
            end.abort_with(Code.SHUTTING_DOWN, STOPPING, LocalProtocolError(STOPPING))
        self._look()

    def _finish(self) -> None:
        # Strangers, too: of them nothing is known that could be finished.
        for end in list(self._ends):
            end.abort(LocalProtocolError(STOPPING))
        if not self.done.called:
            self.done.callback(None)
