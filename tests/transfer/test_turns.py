"""
Who may write to what takes one upload at a time.
"""

from __future__ import annotations

from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from sodiumtwist.transfer.turns import HOLD, HOLD_PARTS, HOLD_RATE, QUEUE, Turn, Turns


class TurnTests(SynchronousTestCase):
    """:class:`Turns`"""

    def setUp(self) -> None:
        self.clock = Clock()
        self.turns = Turns("it", self.clock, 180)
        self.given_way: list[str] = []

    def take(self, login: str = "a") -> Turn:
        """Have a turn, and use it."""
        turn = self.successResultOf(self.turns.take(login))
        self.use(turn)
        return turn

    def use(self, turn: Turn) -> None:
        turn.busy = False
        turn.give_way = self.given_way.append

    def tearDown(self) -> None:
        """Who has nobody waiting behind has no timer either."""
        if not self.turns._waiting:
            self.assertEqual(self.clock.getDelayedCalls(), [])

    def why(self, waiting: Deferred[Turn]) -> str:
        return str(self.failureResultOf(waiting, OSError).value.strerror)

    def test_in_turn(self) -> None:
        """One after the other, in the order in which they came; who leaves has no turn."""
        first = self.take()
        second, third, fourth = (self.turns.take("a") for _ in range(3))
        third.cancel()
        self.failureResultOf(third, CancelledError)
        self.assertNoResult(second)
        self.turns.release(first)
        # Once is enough.
        self.turns.release(first)
        self.assertNoResult(fourth)
        self.turns.release(self.successResultOf(second))
        self.turns.release(self.successResultOf(fourth))
        self.assertFalse(self.turns.taken)

    def test_other_logins_first(self) -> None:
        """Whoever has many waiting does not keep out who has one."""
        first = self.take("a")
        more = [self.turns.take("a") for _ in range(3)]
        other = self.turns.take("b")
        self.turns.release(first)
        self.turns.release(self.successResultOf(other))
        self.turns.release(self.successResultOf(more[0]))
        self.assertNoResult(more[2])
        self.successResultOf(more[1])

    def test_queue(self) -> None:
        """So many may wait. One more takes the place of the last of the login that has most."""
        self.take("a")
        waiting = [self.turns.take("a") for _ in range(QUEUE)]
        error = self.assertRaises(OSError, self.turns.take, "a")
        self.assertEqual(error.strerror, f"{QUEUE} uploads wait for it already")
        others = [self.turns.take("b") for _ in range(QUEUE // 2)]
        self.assertRaises(OSError, self.turns.take, "b")
        for turned_away in waiting[QUEUE // 2 :]:
            self.assertEqual(self.why(turned_away), "others wait for it who had less of it")
        self.assertNoResult(waiting[QUEUE // 2 - 1])
        self.assertNoResult(others[-1])
        self.assertEqual(len(self.turns._waiting), QUEUE)

    def test_patience(self) -> None:
        """Waiting has an end."""
        first = self.take()
        second = self.turns.take("a")
        for _ in range(180):
            first.size += HOLD_RATE
            self.clock.advance(1)
        self.assertEqual(self.why(second), "another upload held it for 180 seconds")
        self.assertEqual(self.given_way, [])

    def test_gives_way(self) -> None:
        """Who holds it and sends next to nothing while others wait, gives way."""
        turn = self.take()
        self.clock.advance(10_000)
        waiting = self.turns.take("a")
        for _ in range(int(HOLD) - 1):
            turn.size += 1
            self.clock.advance(1)
        self.assertEqual(self.given_way, [])
        self.clock.advance(1)
        self.assertEqual(self.given_way, ["it sent 29 B in 30 seconds, while others waited"])
        self.turns.release(turn)
        self.successResultOf(waiting)

    def test_each_in_its_turn(self) -> None:
        """The time of the next begins with its turn, and behind it the same holds."""
        first = self.take()
        second, third = self.turns.take("a"), self.turns.take("a")
        self.clock.advance(HOLD / 2 - 1)
        self.turns.release(first)
        following = self.successResultOf(second)
        self.use(following)
        self.clock.advance(HOLD - 1)
        self.assertEqual(self.given_way, [])
        self.clock.advance(1)
        self.assertEqual(len(self.given_way), 1)
        self.turns.release(following)
        self.successResultOf(third)

    def test_nobody_waits(self) -> None:
        """As long as nobody waits, one may hold it and be silent; and when the last one leaves, again."""
        self.take()
        waiting = self.turns.take("a")
        waiting.cancel()
        self.failureResultOf(waiting, CancelledError)
        self.clock.advance(10_000)
        self.assertEqual(self.given_way, [])

    def test_elsewhere(self) -> None:
        """Who waits in another process waits as well as one here, whether it came before or behind the turn's begin."""
        elsewhere = 0
        self.turns = Turns("it", self.clock, 180, lambda: elsewhere)
        turn = self.take()
        self.clock.advance(10 * HOLD)
        self.assertEqual(self.given_way, [])
        elsewhere = 1
        self.clock.advance(HOLD)
        self.assertEqual(self.given_way, ["it sent 0 B in 30 seconds, while others waited"])
        waiting = self.turns.take("b")
        waiting.cancel()
        self.failureResultOf(waiting, CancelledError)
        self.clock.advance(HOLD)
        self.assertEqual(len(self.given_way), 2)
        self.turns.release(turn)

    def test_sends(self) -> None:
        """Who sends goes on; so does who has to wait for a slow reader."""
        turn = self.take()
        self.turns.take("a").addErrback(lambda reason: None)
        turn.size += int(HOLD_RATE * HOLD)
        self.clock.advance(HOLD)
        turn.busy = True
        self.clock.advance(HOLD)
        self.assertEqual(self.given_way, [])

    def test_little_patience(self) -> None:
        """Where waiting ends soon, the turn does, too: those who wait must have a chance."""
        self.turns = Turns("it", self.clock, 3)
        turn = self.take()
        waiting = self.turns.take("a")
        self.clock.advance(0.5)
        self.assertEqual(len(self.given_way), 1)
        self.turns.release(turn)
        self.successResultOf(waiting)

    def test_behind_many(self) -> None:
        """Whoever comes last gets its turn in time, though all before send nothing."""

        def begin(turn: Turn) -> None:
            turn.busy = False
            turn.give_way = lambda why: self.turns.release(turn)

        self.turns.take("a").addCallback(begin)
        for _ in range(QUEUE - 1):
            self.turns.take("a").addCallback(begin)
        last = self.turns.take("a")
        self.clock.pump([0.1] * 1360)
        self.successResultOf(last)

    def test_hurry(self) -> None:
        """The more wait, the shorter the time; what has passed of it counts."""
        turn = self.take()
        waiting = [self.turns.take("a")]
        self.clock.advance(20)
        turn.size += 20 * HOLD_RATE - 1
        self.assertEqual(self.given_way, [])
        waiting.append(self.turns.take("a"))
        self.clock.advance(0)
        self.assertEqual(self.given_way, ["it sent 20.5 kB in 20 seconds, while others waited"])
        waiting += [self.turns.take("a") for _ in range(QUEUE - 2)]
        self.clock.advance(HOLD / HOLD_PARTS - 0.1)
        self.assertEqual(len(self.given_way), 1)
        self.clock.advance(0.1)
        self.assertEqual(len(self.given_way), 2)
