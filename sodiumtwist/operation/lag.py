"""
How late the reactor is. What keeps it busy for long keeps all clients waiting.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator

from twisted.internet.interfaces import IDelayedCall, IReactorTime

from .histograms import Histogram
from .values import Value

#: Seconds between two looks.
LAG_INTERVAL = 0.5

#: Of how many looks, the last ones, the page shows the latest.
LAG_LOOKS = 120

#: In seconds.
LAG_BOUNDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)


class Lag:
    """
    Looks twice a second how late it is.

    :param clock: whose timers are late.
    """

    def __init__(self, clock: IReactorTime) -> None:
        self._clock = clock
        self._seen = Histogram(LAG_BOUNDS)
        self._lately: deque[float] = deque(maxlen=LAG_LOOKS)
        self._timer: IDelayedCall | None = None
        self._due = 0.0

    @property
    def latest(self) -> float:
        """By how many seconds it was late at most, in the last minute."""
        return max(self._lately, default=0.0)

    def start(self) -> None:
        """Begin to look."""
        if self._timer is None:
            self._look_later()

    def stop(self) -> None:
        """Look no longer."""
        timer, self._timer = self._timer, None
        if timer is not None:
            timer.cancel()

    def _look_later(self) -> None:
        self._due = self._clock.seconds() + LAG_INTERVAL
        self._timer = self._clock.callLater(LAG_INTERVAL, self._look)

    def _look(self) -> None:
        late = max(0.0, self._clock.seconds() - self._due)
        self._seen.note(late)
        self._lately.append(late)
        self._look_later()

    def values(self) -> Iterator[Value]:
        """Tell what was seen."""
        return self._seen.values("sodiumtwist_event_loop_lag_seconds")
