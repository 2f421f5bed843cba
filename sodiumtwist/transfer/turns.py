"""
Who may write to what takes one upload at a time.
"""

from __future__ import annotations

import errno
from collections import Counter
from collections.abc import Callable
from typing import Any

from twisted.internet.defer import Deferred, succeed
from twisted.internet.interfaces import IDelayedCall

from ..describe import describe_size

#: How many uploads may wait for their turn.
QUEUE = 32

#: Seconds in which the one whose turn it is must send something while another waits; and not more than a sixth of the
#: time for which that one does. When more wait it is so much shorter, down to one part in :data:`HOLD_PARTS`. So all
#: get their turn in time, also behind many that send nothing: 30 s · (1 + 1/2 + … + 1/15 + 17/15) are 134 of 180.
HOLD = 30.0
HOLD_PARTS = 15

#: How many bytes a second it must send. A byte now and then would hold it for ever as well.
HOLD_RATE = 1024


class Turn:
    """
    One upload's turn, which it waits for or has.

    :ivar login: whose it is.
    :ivar size: how many bytes were sent in it.
    :ivar busy: whether the stream has something to take. Then it is not the sender who is slow.
    :ivar give_way: called when it must end, with the reason.
    """

    def __init__(self, login: str) -> None:
        self.login = login
        self.size = 0
        self.busy = True
        self.give_way: Callable[[str], object] = lambda why: None
        self._granted: Deferred[Turn] | None = None
        self._timer: IDelayedCall | None = None


class Turns:
    """
    Gives turns, one at a time. Those who wait get theirs in the order in which they came, but none for the login that
    just had one while another login waits.

    :param name: what it is about, for errors.
    :param clock: an ``IReactorTime``.
    :param patience: seconds after which waiting fails.
    :param elsewhere: counts those who wait in other processes; ``None`` where there are none.
    """

    def __init__(self, name: str, clock: Any, patience: float, elsewhere: Callable[[], int] | None = None) -> None:
        self._name = name
        self._clock = clock
        self._patience = patience
        self._elsewhere = elsewhere
        self._hold = min(HOLD, patience / 6)
        self._holder: Turn | None = None
        self._waiting: list[Turn] = []
        self._watch: IDelayedCall | None = None
        # Since when the holder is watched, and what it had sent by then.
        self._since = 0.0
        self._size_before = 0

    @property
    def taken(self) -> bool:
        """Whether one has to wait."""
        return self._holder is not None

    def take(self, login: str) -> Deferred[Turn]:
        """
        Ask for a turn.

        :return: fires with it; fails with an ``OSError``. It may be cancelled.
        :raises OSError: when too many wait already.
        """
        turn = Turn(login)
        if self._holder is None:
            self._holder = turn
            # Nothing tells when somebody begins to wait elsewhere.
            if self._elsewhere is not None:
                self._begin_watch()
            return succeed(turn)
        if len(self._waiting) >= QUEUE:
            self._make_room(login)
        granted: Deferred[Turn] = Deferred(lambda _: self._leave(turn))
        turn._granted = granted
        turn._timer = self._clock.callLater(
            self._patience, self._refuse, turn, f"another upload held it for {self._patience:g} seconds"
        )
        self._waiting.append(turn)
        if self._watch is None:
            self._begin_watch()
        else:
            self._hurry(self._watch)
        return granted

    def release(self, turn: Turn) -> None:
        """End a turn; the next one begins."""
        if turn is not self._holder:
            return
        turn.give_way = lambda why: None  # no circle
        self._holder = None
        self._stop_looking()
        if not self._waiting:
            return
        others = [waiting for waiting in self._waiting if waiting.login != turn.login]
        following = self._holder = others[0] if others else self._waiting[0]
        self._leave(following)
        if self._waiting or self._elsewhere is not None:
            self._begin_watch()
        assert following._granted is not None
        following._granted.callback(following)

    def _make_room(self, login: str) -> None:
        """Turn somebody away of the login that has most in the queue, when this one has fewer."""
        count = Counter(waiting.login for waiting in self._waiting)
        greediest, most = count.most_common(1)[0]
        if count[login] + 1 >= most:
            raise OSError(errno.EBUSY, f"{QUEUE} uploads wait for it already", self._name)
        last = next(waiting for waiting in reversed(self._waiting) if waiting.login == greediest)
        self._refuse(last, "others wait for it who had less of it")

    def _refuse(self, turn: Turn, why: str) -> None:
        self._leave(turn)
        assert turn._granted is not None
        turn._granted.errback(OSError(errno.EBUSY, why, self._name))

    def _leave(self, turn: Turn) -> None:
        self._waiting.remove(turn)
        timer, turn._timer = turn._timer, None
        if timer is not None and timer.active():
            timer.cancel()
        if not self._waiting and self._elsewhere is None:
            self._stop_looking()

    # Who holds it, and sends nothing

    def _begin_watch(self) -> None:
        assert self._holder is not None
        self._since, self._size_before = self._clock.seconds(), self._holder.size
        self._watch = self._clock.callLater(self._time(), self._look)

    def _time(self) -> float:
        """How many seconds the holder has to send something."""
        return self._hold / min(max(1, self._others()), HOLD_PARTS)

    def _others(self) -> int:
        """Count those who wait."""
        return len(self._waiting) + (0 if self._elsewhere is None else self._elsewhere())

    def _hurry(self, watch: IDelayedCall) -> None:
        """One more waits: the holder has less time."""
        watch.reset(max(0.0, self._since + self._time() - self._clock.seconds()))

    def _stop_looking(self) -> None:
        watch, self._watch = self._watch, None
        if watch is not None and watch.active():
            watch.cancel()

    def _look(self) -> None:
        holder = self._holder
        assert holder is not None  # else nobody looks
        sent, seconds = holder.size - self._size_before, self._clock.seconds() - self._since
        self._begin_watch()
        if self._others() and not holder.busy and sent < HOLD_RATE * seconds:
            holder.give_way(f"it sent {describe_size(sent)} in {seconds:.3g} seconds, while others waited")
