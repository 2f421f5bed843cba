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

#: How many uploads may wait for their turn.
QUEUE = 64

#: Seconds in which the one whose turn it is must send something while others wait; and not more than a third of their
#: patience, so that they get their turn.
HOLD = 60.0

#: How many bytes that must be. A byte now and then would hold it for ever as well.
HOLD_LEAST = 64 * 1024


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
    """

    def __init__(self, name: str, clock: Any, patience: float) -> None:
        self._name = name
        self._clock = clock
        self._patience = patience
        self._hold = min(HOLD, patience / 3)
        self._holder: Turn | None = None
        self._waiting: list[Turn] = []
        self._watch: IDelayedCall | None = None

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
            self._look_later()
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
        if self._waiting:
            self._look_later()
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
        if not self._waiting:
            self._stop_looking()

    # Who holds it, and sends nothing

    def _look_later(self) -> None:
        assert self._holder is not None
        self._watch = self._clock.callLater(self._hold, self._look, self._holder.size)

    def _stop_looking(self) -> None:
        watch, self._watch = self._watch, None
        if watch is not None and watch.active():
            watch.cancel()

    def _look(self, before: int) -> None:
        holder = self._holder
        assert holder is not None  # else nobody waits
        self._look_later()
        if not holder.busy and holder.size - before < HOLD_LEAST:
            holder.give_way(f"it sent fewer than {HOLD_LEAST} bytes in {self._hold:g} seconds while others waited")
