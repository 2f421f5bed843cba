"""
Lines of the log that others can cause.
"""

from __future__ import annotations

from twisted.internet.task import Clock
from twisted.logger import formatEvent
from twisted.trial.unittest import SynchronousTestCase

from sodiumtwist.admission import summed_lines
from sodiumtwist.admission.summed_lines import LINES_PERIOD, SummedLines

from ..logs import logged

BEGINS = "more than 3 knocks in a minute: from here on a line a minute sums them up"


class SummedLinesTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.clock = Clock()
        self.clock.advance(1000)
        self.lines = SummedLines("knocks", 3, lambda: self.clock)
        self.events = logged(self)

    def knock(self, count: int, reason: str = "too loud", where: str | None = "192.0.2.1") -> int:
        """Knock so often; return how many lines that writes."""
        return sum(self.lines.write(reason, where) for _ in range(count))

    def log(self) -> list[str]:
        """The lines since the last call."""
        texts = [formatEvent(event) for event in self.events]
        self.events.clear()
        return texts

    def test_few(self) -> None:
        """They are written, and no timer is set for them; the next minute has as many."""
        for _ in range(3):
            self.assertEqual(self.knock(3), 3)
            self.clock.advance(LINES_PERIOD + 1)
        self.assertEqual((self.log(), self.clock.getDelayedCalls()), ([], []))

    def test_flood(self) -> None:
        """The first are written, the others are one line a minute, as long as it goes on."""
        self.assertEqual(self.knock(1003), 3)
        self.assertEqual(self.log(), [BEGINS])
        for _ in range(3):
            self.clock.advance(LINES_PERIOD)
            (line,) = self.log()
            self.assertEqual(line, "1000 more knocks in 60.0 s, from 1 address; most often: too loud")
            self.assertEqual(self.knock(1000), 0)

    def test_flood_ends(self) -> None:
        """Its last minute is told, too; then lines are written again."""
        self.knock(5)
        self.clock.advance(LINES_PERIOD)
        self.assertEqual(len(self.log()), 2)
        self.clock.advance(LINES_PERIOD)
        self.assertEqual(self.knock(3), 3)
        self.assertEqual((self.log(), self.clock.getDelayedCalls()), ([], []))

    def test_stopped(self) -> None:
        """The sum is written at once, and what comes later in the next one; no timer is left."""
        self.knock(5)
        self.lines.stop()
        self.assertEqual(self.log(), [BEGINS, "2 more knocks in 0.0 s, from 1 address; most often: too loud"])
        self.assertEqual(self.knock(100), 0)
        self.assertEqual(self.clock.getDelayedCalls(), [])
        self.lines.stop()
        self.assertEqual(self.log()[1:], ["100 more knocks in 0.0 s, from 1 address; most often: too loud"])
        self.knock(7)
        self.clock.advance(LINES_PERIOD + 1)
        # Nobody calls when the minute is over, so the next one does.
        self.knock(1)
        self.assertEqual(self.log()[1:2], ["7 more knocks in 61.0 s, from 1 address; most often: too loud"])
        self.lines.stop()
        self.lines.start()
        self.clock.advance(2 * LINES_PERIOD)
        self.assertEqual(self.knock(4), 3)
        self.assertEqual(len(self.clock.getDelayedCalls()), 1)

    def test_addresses_and_reasons(self) -> None:
        self.knock(3)
        for number in range(10):
            self.knock(1, "once", f"192.0.2.{number}")
        self.knock(11, "often", None)
        self.lines.stop()
        self.assertEqual(self.log()[1], "21 more knocks in 0.0 s, from 10 addresses; most often: often; then: once")

    def test_rare_reasons(self) -> None:
        """What many do does not hide the few that have another trouble; but a line does not get long by many."""
        for reasons, told in ((2, "a; then: b"), (5, "a; then: b; then: c")):
            self.knock(3)
            for at, reason in enumerate("abcde"[:reasons]):
                self.knock(100 if not at else 10 - at, reason)
            self.lines.stop()
            self.assertTrue(self.log()[1].endswith(f"from 1 address; most often: {told}"))
            self.clock.advance(LINES_PERIOD + 1)

    def test_no_address(self) -> None:
        self.knock(4, where=None)
        self.lines.stop()
        self.assertEqual(self.log()[1], "1 more knocks in 0.0 s; most often: too loud")

    def test_bounded(self) -> None:
        """However many addresses and reasons there are, little is kept, and the most frequent reason is told."""
        self.patch(summed_lines, "SUMMED_APART", 5)
        self.knock(3)
        for number in range(100):
            self.knock(1, f"reason {number}", f"192.0.2.{number}")
            self.knock(1, "often")
            self.assertLessEqual(max(len(self.lines._addresses), len(self.lines._reasons)), 5)
        self.lines.stop()
        self.assertEqual(self.log()[1], "200 more knocks in 0.0 s, from at least 5 addresses; most often: often")

    def test_all_different(self) -> None:
        self.patch(summed_lines, "SUMMED_APART", 2)
        self.knock(3)
        for number in range(3):
            self.knock(1, f"reason {number}")
        self.lines.stop()
        self.assertIn("most often: of many kinds", self.log()[1])

    def test_clock_set_back(self) -> None:
        """Nothing stays counted for as long as the clock was set back."""
        self.knock(5)
        self.log()
        self.clock.rightNow -= 500
        self.assertEqual(self.knock(1), 1)
        self.assertEqual(len(self.log()), 1)
