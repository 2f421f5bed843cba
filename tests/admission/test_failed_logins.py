"""
Counting what fails, for more than there is room for.
"""

from __future__ import annotations

from twisted.internet.task import Clock
from twisted.logger import formatEvent
from twisted.trial.unittest import SynchronousTestCase

from sodiumtwist.admission import count_min_sketch, failed_logins
from sodiumtwist.admission.count_min_sketch import CountMinSketch
from sodiumtwist.admission.failed_logins import FailedLogins
from sodiumtwist.admission.summed_lines import SummedLines

from ..logs import logged

SIZE = 10


class FullTableTests(SynchronousTestCase):
    """Others fail, so that the table is full."""

    def setUp(self) -> None:
        self.patch(failed_logins, "FAILURE_TABLE_SIZE", SIZE)
        self.clock = Clock()
        self.events = logged(self)
        self.numbers = iter(range(10**9))
        lines = SummedLines("lines", 1_000_000, lambda: self.clock)
        self.failed_logins = FailedLogins("as", 20, 60.0, lambda: self.clock, lines)
        self.addCleanup(self.failed_logins.stop)

    def fail_often(self, key: str, times: int) -> list[bool]:
        """Fail; return whether that blocked it, for each."""
        return [self.failed_logins.failed(key) for _ in range(times)]

    def crowd(self, others: int = 3 * SIZE, failures: int = 1) -> None:
        """Others fail that never failed before."""
        for _ in range(others):
            self.fail_often(f"x{next(self.numbers)}", failures)

    def log(self) -> list[str]:
        """The lines since the last call."""
        lines = [formatEvent(event) for event in self.events]
        self.events.clear()
        return lines

    def test_others_in_between(self) -> None:
        """They do not make it forgotten, however often they fail, and whether they come first or later."""
        for others in range(0, 2 * SIZE, SIZE - 1):
            for failures in (1, 19):
                self.failed_logins.stop()
                self.crowd(others, failures)
                blocked = []
                for _ in range(20):
                    blocked += self.fail_often("ann", 1)
                    self.crowd(SIZE + 1, failures)
                self.assertEqual(blocked, [False] * 19 + [True])
                self.assertTrue(self.failed_logins.blocks("ann"))

    def test_in_turn(self) -> None:
        """More than there is room for, each once, and again: all are blocked in the end."""
        keys = [f"{number}" for number in range(3 * SIZE)]
        for turn in range(20):
            self.assertEqual([self.failed_logins.failed(key) for key in keys], [turn == 19] * len(keys))
        self.assertTrue(all(map(self.failed_logins.blocks, keys)))
        self.assertFalse(self.failed_logins.blocks("ann"))

    def test_a_key_of_the_table(self) -> None:
        """With a full table, too, one more failure of what is in it makes nobody forgotten."""
        keys = [f"{number}" for number in range(SIZE)]
        for _ in range(19):
            for key in keys:
                self.failed_logins.failed(key)
        self.assertEqual(list(self.failed_logins._tallies), keys)

    def test_blocked(self) -> None:
        """Others that are blocked do not end a block, nor is it too late for another one. Two lines tell of them."""
        self.fail_often("ann", 20)
        self.crowd(2 * SIZE, 20)
        self.assertEqual(len(self.failed_logins.blocked), SIZE)
        self.assertTrue(self.failed_logins.blocks("ann"))
        self.assertEqual(self.fail_often("bob", 21), [False] * 19 + [True, False])
        self.assertTrue(self.failed_logins.blocks("bob"))
        lines = self.log()
        self.assertEqual(len(lines), SIZE + 1)
        self.assertEqual(
            lines[-1], "logins as 10 others are refused already; those as more are, too, without a line each"
        )
        self.clock.advance(60)
        self.assertEqual(len(self.log()), SIZE)
        self.assertTrue(self.failed_logins.blocks("bob"))
        self.clock.advance(60)
        self.assertFalse(self.failed_logins.blocks("bob"))
        self.assertEqual(self.log(), ["logins as all others are checked again; 12 had no line of their own"])

    def test_room_again(self) -> None:
        """What failed while there was no room still counts."""
        self.crowd(SIZE)
        self.fail_often("ann", 10)
        self.assertNotIn("ann", self.failed_logins._tallies)
        self.clock.advance(60)
        self.assertEqual(self.fail_often("ann", 10), [False] * 9 + [True])

    def test_time(self) -> None:
        """Each counts for as long as in the table at least, and for twice as long at most."""
        for pause, counts in ((59.9, True), (120, False)):
            self.failed_logins.stop()
            self.crowd(SIZE)
            self.clock.advance(30)
            self.crowd(1)
            self.clock.advance(20)
            self.fail_often("ann", 19)
            self.clock.advance(pause)
            self.assertEqual(self.fail_often("ann", 1), [counts])
        self.assertEqual(self.failed_logins._crowd._sketches, [])

    def test_shorter_time(self) -> None:
        """Where the time was made shorter, nobody is counted for longer than it, whoever failed before them."""
        self.fail_often("old", 1)
        self.clock.advance(1)
        self.failed_logins.change(20, 10.0)
        self.fail_often("ann", 19)
        self.clock.advance(10)
        self.assertEqual(self.fail_often("ann", 20), [False] * 19 + [True])
        self.assertEqual([call.getTime() - self.clock.seconds() for call in self.clock.getDelayedCalls()], [10.0])

    def test_memory(self) -> None:
        """Two sketches at most."""
        for _ in range(20):
            self.crowd()
            self.clock.advance(31)
            self.assertLessEqual(len(self.failed_logins._crowd._sketches), 2)
            self.assertLessEqual(len(self.failed_logins._tallies), SIZE)

    def test_stop(self) -> None:
        """All is forgotten."""
        self.crowd(2 * SIZE, 20)
        self.fail_often("ann", 20)
        self.failed_logins.stop()
        self.assertEqual(self.clock.getDelayedCalls(), [])
        self.assertFalse(self.failed_logins.blocks("ann"))
        self.assertEqual(self.fail_often("ann", 20), [False] * 19 + [True])


class SketchTests(SynchronousTestCase):
    """Estimates."""

    def test_estimates(self) -> None:
        """Never too low; and of 2,500 others' no more than a few too high, by little. Larger ones take more."""
        self.patch(count_min_sketch, "WIDTH", 1 << 13)
        sketch = CountMinSketch()
        for number in range(2_500):
            self.assertGreaterEqual(sketch.add(f"{number}"), 1)
        self.assertEqual(sketch.add("ann", 19), 19)
        self.assertEqual(sketch.add("ann"), 20)
        self.assertEqual(sketch.count("ann"), 20)
        off = sum(sketch.count(f"{number}") - 1 for number in range(2_500))
        self.assertLess(off, 250)
        self.assertLess(max(sketch.count(f"other {number}") for number in range(1_000)), 5)

    def test_secret(self) -> None:
        """Nobody can know who shares counters with whom."""
        self.assertNotEqual(CountMinSketch().places("ann"), CountMinSketch().places("ann"))
