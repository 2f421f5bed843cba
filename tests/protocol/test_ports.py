"""
Listening ports that several processes have.
"""

from __future__ import annotations

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from sodiumtwist.protocol.ports import ACCEPTED_AT_ONCE, LEAD, STAND_BACK, leave_to_others


class FakePort:
    """A port that notes when it accepts."""

    def __init__(self) -> None:
        self.reading, self.accepted = True, 0
        self.connected, self.disconnecting = True, False
        self.numberAccepts, self.sessionno = 100, 0

    def doRead(self) -> None:
        self.accepted += 1
        self.sessionno += 3

    def stopReading(self) -> None:
        self.reading = False

    def startReading(self) -> None:
        self.reading = True


class FakeBalance:
    """What would be known of other processes."""

    def __init__(self) -> None:
        self.more, self.taken = 0.0, 0

    def ahead(self) -> float:
        return self.more

    def accepted(self, count: int) -> None:
        self.taken += count


class TurnTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.clock, self.port, self.balance = Clock(), FakePort(), FakeBalance()
        leave_to_others(self.port, self.balance, self.clock)  # type: ignore[arg-type]

    def test_even(self) -> None:
        """Who is not ahead accepts, a few at once."""
        self.balance.more = LEAD
        self.port.doRead()
        self.assertEqual((self.port.accepted, self.port.numberAccepts), (1, ACCEPTED_AT_ONCE))
        self.assertEqual(self.balance.taken, 3)

    def test_ahead(self) -> None:
        """Who is ahead leaves it to others for a moment, and then accepts: they may hang."""
        self.balance.more = LEAD + 1
        for accepted in range(3):
            self.port.doRead()
            self.assertEqual((self.port.accepted, self.port.reading), (accepted, False))
            self.clock.advance(STAND_BACK)
            self.assertTrue(self.port.reading)
            self.port.doRead()
            self.assertEqual(self.port.accepted, accepted + 1)

    def test_closed_meanwhile(self) -> None:
        """A port that is closed is read no more."""
        self.balance.more = LEAD + 1
        self.port.doRead()
        self.port.disconnecting = True
        self.clock.advance(STAND_BACK)
        self.assertFalse(self.port.reading)
