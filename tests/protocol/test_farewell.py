"""
How long a connection that was closed waits for its peer.
"""

from __future__ import annotations

from typing import cast

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from sodiumtwist.protocol.farewell import LINGER, Farewell
from sodiumtwist.protocol.sockets import TransportBelow

PATIENCE = 60.0


class Below:
    """
    A transport that holds what the test says.

    :ivar left: how many bytes it has not sent yet.
    :ivar is_broken: whether the system knows that its peer takes no more.
    """

    left = 0
    is_broken = False

    def unsent(self) -> int:
        return self.left

    def held(self) -> int:
        return 0


class FarewellTests(SynchronousTestCase):
    """Its timers."""

    def setUp(self) -> None:
        self.clock = Clock()
        self.below = Below()
        self.calls: list[tuple[str, float]] = []
        self.farewell = Farewell(
            self.clock,
            cast(TransportBelow, self.below),
            PATIENCE,
            lambda: self.calls.append(("leave", self.clock.seconds())),
            lambda: self.calls.append(("give up", self.clock.seconds())),
        )

    def run_until(self, seconds: float) -> None:
        """Let time pass, a second at once."""
        while self.clock.seconds() < seconds:
            self.clock.advance(1)

    def test_made(self) -> None:
        """Nothing is waited for yet."""
        self.assertEqual(self.clock.getDelayedCalls(), [])
        self.farewell.end()
        self.assertEqual(self.calls, [])

    def test_patience_ends(self) -> None:
        """Then it is broken off, once, and no timer is left."""
        self.farewell.wait()
        self.run_until(PATIENCE - 1)
        self.assertEqual(self.calls, [])
        self.run_until(1000)
        self.assertEqual(self.calls, [("give up", PATIENCE)])
        self.assertEqual(self.clock.getDelayedCalls(), [])
        self.farewell.end()

    def test_expecting_an_end(self) -> None:
        """Patience lasts while the peer takes what was sent; PINGs that go on behind that make no difference."""
        self.below.left = 50
        self.farewell.expect(lambda: self.below.left)
        while self.below.left:
            self.run_until(self.clock.seconds() + PATIENCE - 10)
            self.below.left -= 10
        self.assertEqual(self.calls, [])
        since = self.clock.seconds()
        for _ in range(30):
            self.below.left = 0 if self.below.left else 88
            self.run_until(self.clock.seconds() + LINGER + 1)
        ((what, when),) = self.calls
        self.assertEqual(what, "give up")
        self.assertLessEqual(when, since + PATIENCE + 2 * LINGER)
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_patience_begins_anew(self) -> None:
        """With each progress; there is one timer at a time."""
        for _ in range(5):
            self.farewell.wait()
            self.assertEqual(len(self.clock.getDelayedCalls()), 1)
            self.clock.advance(PATIENCE - 1)
        self.assertEqual(self.calls, [])
        self.clock.advance(1)
        self.assertEqual(len(self.calls), 1)

    def test_nobody_takes_it(self) -> None:
        """What the system can't deliver any more is not waited for: nothing else would tell of that for long."""
        self.below.left = 1
        self.farewell.deliver()
        self.clock.pump([0.1] * 20)
        self.assertEqual(self.calls, [])
        self.below.is_broken = True
        self.run_until(10)
        ((what, when),) = self.calls
        self.assertEqual(what, "give up")
        self.assertLess(when, 4)
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_end(self) -> None:
        """Nothing is called any more."""
        for begin in (self.farewell.wait, self.farewell.linger):
            begin()
            self.farewell.end()
            self.farewell.end()
            self.assertEqual(self.clock.getDelayedCalls(), [])
        self.run_until(1000)
        self.assertEqual(self.calls, [])

    def test_late(self) -> None:
        """A timer that comes late grants the reactor a turn, in which it may find what the peer has done."""
        self.farewell.wait()
        self.clock.callLater(PATIENCE + 1, self.farewell.wait)  # the transport takes more
        self.clock.advance(1000)
        self.assertEqual(self.calls, [])
        self.clock.advance(PATIENCE)
        self.assertEqual(self.calls, [("give up", 1000 + PATIENCE)])
        self.setUp()
        self.farewell.linger()
        self.clock.callLater(LINGER + 1, lambda: setattr(self.farewell, "heard", True))
        self.clock.advance(PATIENCE - 1)
        self.assertEqual(self.calls, [])
        self.clock.advance(LINGER)
        self.assertEqual(self.calls, [("leave", PATIENCE - 1 + LINGER)])

    def test_lingers(self) -> None:
        """With all sent and nothing heard it leaves soon. If the transport does not end then, it is broken off."""
        self.farewell.linger()
        self.run_until(LINGER - 1)
        self.assertEqual(self.calls, [])
        self.run_until(LINGER)
        self.assertEqual(self.calls, [("leave", LINGER)])
        self.run_until(1000)
        self.assertEqual(self.calls, [("leave", LINGER), ("give up", LINGER + PATIENCE)])

    def test_ended_in_leaving(self) -> None:
        """A transport that ends at once, and whoever is told of it, leave no timer."""
        self.farewell = Farewell(
            self.clock,
            cast(TransportBelow, self.below),
            PATIENCE,
            lambda: self.farewell.end(),
            lambda: self.fail("gave up"),
        )
        self.farewell.linger()
        self.run_until(LINGER)
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_the_peer_still_sends(self) -> None:
        """As long as something comes it does not leave, but not for longer than patience lasts."""
        self.farewell.linger()
        for _ in range(3):
            self.farewell.heard = True
            self.clock.advance(LINGER)
            self.assertFalse(self.farewell.heard)
        self.assertEqual(self.calls, [])
        self.clock.advance(LINGER)
        self.assertEqual(self.calls, [("leave", 4 * LINGER)])

    def test_the_peer_sends_for_ever(self) -> None:
        self.farewell.linger()
        while self.clock.seconds() < 2 * PATIENCE:
            self.farewell.heard = True
            self.clock.advance(1)
        self.assertEqual(self.calls, [("give up", PATIENCE)])
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_a_slow_peer(self) -> None:
        """It is waited for as long as it takes some of what a socket holds."""
        self.below.left = 1000
        self.farewell.linger()
        for _ in range(9):
            self.below.left -= 100
            # The last look within patience.
            self.run_until(self.clock.seconds() + PATIENCE - LINGER)
        self.assertEqual(self.calls, [])
        self.below.left = 0
        self.run_until(self.clock.seconds() + LINGER)
        self.assertEqual([call for call, _ in self.calls], ["leave"])

    def test_a_peer_that_takes_no_more(self) -> None:
        """Patience begins anew with each look that finds less, the first one too, and with no other."""
        for takes in (1, 3):
            self.setUp()
            self.below.left = 1000
            self.farewell.linger()
            for _ in range(takes):
                self.below.left -= 100
                self.run_until(self.clock.seconds() + LINGER)
            self.run_until(1000)
            self.assertEqual(self.calls, [("give up", takes * LINGER + PATIENCE)])

    def test_a_peer_that_takes_nothing(self) -> None:
        """It is waited for until patience is over, and no longer, heard or not; taking more to send is no progress."""
        for heard in (False, True):
            self.setUp()
            self.below.left = 1000
            self.farewell.linger()
            while self.clock.seconds() < 2 * PATIENCE:
                self.below.left += 1
                self.farewell.heard = heard
                self.clock.advance(1)
            self.assertEqual(self.calls, [("give up", PATIENCE)])
