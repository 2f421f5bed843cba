"""
Tests of :mod:`sodiumtwist.core.keepalive`. Time is a number here.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import FrozenInstanceError
from typing import NoReturn

from twisted.trial.unittest import SynchronousTestCase

from sodiumtwist.core.errors import (
    AuthenticationTimeout,
    InactivityTimeout,
    LocalProtocolError,
    PongTimeout,
    UnexpectedPDU,
)
from sodiumtwist.core.keepalive import PING_JITTER, Keepalive, Timeouts

#: The shortest time that these tests can tell from none.
MOMENT = 1 / 1024


def never() -> NoReturn:
    """A draw that must not happen."""
    raise ValueError("drawn")


class TimeoutsTests(SynchronousTestCase):
    """
    The settings.
    """

    def test_defaults_are_the_reference_programs(self) -> None:
        self.assertEqual(Timeouts(), Timeouts(authentication=10, inactivity=180, ping_interval=60, outstanding_pongs=3))
        self.assertEqual(60 * PING_JITTER, 59)

    def test_invalid_times(self) -> None:
        for name in ("authentication", "inactivity", "ping_interval"):
            for seconds in (0, 0.0, -1, -0.001, math.nan, math.inf, -math.inf):
                error = self.assertRaises(LocalProtocolError, Timeouts, **{name: seconds})
                self.assertIn(name.replace("_", " "), str(error))
                self.assertIn(str(seconds), str(error))

    def test_invalid_count(self) -> None:
        for count in (0, -1):
            with self.assertRaises(LocalProtocolError):
                Timeouts(outstanding_pongs=count)

    def test_smallest(self) -> None:
        timeouts = Timeouts(0.001, 0.001, 0.001, 1)
        self.assertEqual(Keepalive(timeouts, 5).deadline(), 5.001)

    def test_frozen(self) -> None:
        with self.assertRaises(FrozenInstanceError):
            Timeouts().inactivity = 0  # type: ignore[misc]  # that is refused is what is tested


class AuthenticationTests(SynchronousTestCase):
    """
    10 seconds for the handshake.
    """

    def setUp(self) -> None:
        self.keepalive = Keepalive(Timeouts(), 1000, never)

    def test_deadline(self) -> None:
        self.assertEqual(self.keepalive.deadline(), 1010)

    def test_just_before(self) -> None:
        self.assertIs(self.keepalive.ping_due(1010 - MOMENT), False)

    def test_at_the_second(self) -> None:
        error = self.assertRaises(AuthenticationTimeout, self.keepalive.ping_due, 1010)
        self.assertIn("10 seconds", str(error))

    def test_nothing_puts_it_off(self) -> None:
        self.keepalive.heard_at = 1009
        self.keepalive.reading_paused()
        self.keepalive.writing_blocked(1009)
        self.assertEqual(self.keepalive.deadline(), 1010)
        self.keepalive.reading_resumed(1009)
        self.keepalive.writing_unblocked()
        self.assertEqual(self.keepalive.deadline(), 1010)
        with self.assertRaises(AuthenticationTimeout):
            self.keepalive.ping_due(1010)

    def test_authenticated_ends_it(self) -> None:
        self.keepalive.authenticated(1009)
        self.assertEqual(self.keepalive.deadline(), 1069)
        self.assertIs(self.keepalive.ping_due(1010), False)

    def test_settings(self) -> None:
        keepalive = Keepalive(Timeouts(authentication=2.5), 1000)
        self.assertEqual(keepalive.deadline(), 1002.5)
        self.assertIn("2.5 seconds", str(self.assertRaises(AuthenticationTimeout, keepalive.ping_due, 1002.5)))


class PingTests(SynchronousTestCase):
    """
    A PING after 60 seconds, then every 60 and up to 59 more.
    """

    def keepalive(self, draw: Callable[[], float], timeouts: Timeouts = Timeouts()) -> Keepalive:
        keepalive = Keepalive(timeouts, 1000, draw)
        keepalive.authenticated(1000)
        return keepalive

    def test_first(self) -> None:
        """It has no random part."""
        keepalive = self.keepalive(never)
        self.assertEqual(keepalive.deadline(), 1060)
        self.assertIs(keepalive.ping_due(1060 - MOMENT), False)
        self.assertEqual(keepalive.deadline(), 1060)

    def test_due(self) -> None:
        keepalive = self.keepalive(lambda: 0)
        self.assertIs(keepalive.ping_due(1060), True)
        self.assertIs(keepalive.ping_due(1060), False)

    def test_least_jitter(self) -> None:
        keepalive = self.keepalive(lambda: 0)
        keepalive.ping_due(1060)
        self.assertEqual(keepalive.deadline(), 1120)
        self.assertIs(keepalive.ping_due(1120 - MOMENT), False)
        self.assertIs(keepalive.ping_due(1120), True)
        self.assertEqual(keepalive.deadline(), 1180)

    def test_most_jitter(self) -> None:
        keepalive = self.keepalive(lambda: 1, Timeouts(inactivity=1000))
        keepalive.ping_due(1060)
        self.assertAlmostEqual(keepalive.deadline(), 1179, places=6)
        self.assertIs(keepalive.ping_due(1179 - MOMENT), False)
        self.assertIs(keepalive.ping_due(1179 + MOMENT), True)

    def test_jitter_between(self) -> None:
        keepalive = self.keepalive(lambda: 0.5, Timeouts(inactivity=1000))
        keepalive.ping_due(1060)
        self.assertAlmostEqual(keepalive.deadline(), 1060 + 60 + 29.5, places=6)

    def test_drawn_anew_each_time(self) -> None:
        draws = [1, 0]
        keepalive = self.keepalive(lambda: draws.pop(), Timeouts(inactivity=1000))
        keepalive.ping_due(1060)
        self.assertEqual(keepalive.deadline(), 1120)
        keepalive.ping_due(1120)
        self.assertAlmostEqual(keepalive.deadline(), 1239, places=6)
        self.assertEqual(draws, [])

    def test_the_default_draw_is_random(self) -> None:
        deadlines = set()
        for _ in range(20):
            keepalive = Keepalive(Timeouts(inactivity=1000), 1000)
            keepalive.authenticated(1000)
            keepalive.ping_due(1060)
            self.assertTrue(1120 <= keepalive.deadline() <= 1179)
            deadlines.add(keepalive.deadline())
        self.assertGreater(len(deadlines), 1)

    def test_interval_scales_jitter(self) -> None:
        keepalive = self.keepalive(lambda: 1, Timeouts(ping_interval=6))
        self.assertEqual(keepalive.deadline(), 1006)
        keepalive.ping_due(1006)
        self.assertAlmostEqual(keepalive.deadline(), 1006 + 6 + 5.9, places=6)

    def test_asked_late(self) -> None:
        """The next is counted from when this one leaves."""
        keepalive = self.keepalive(lambda: 0)
        self.assertIs(keepalive.ping_due(1100), True)
        self.assertEqual(keepalive.deadline(), 1160)


class PongTests(SynchronousTestCase):
    """
    Three unanswered PINGs.
    """

    def setUp(self) -> None:
        self.keepalive = Keepalive(Timeouts(), 1000, lambda: 0)
        self.keepalive.authenticated(1000)

    def ping(self, now: float) -> None:
        self.keepalive.heard_at = now
        self.assertIs(self.keepalive.ping_due(now), True)
        self.keepalive.ping_sent(now)

    def test_three_outstanding(self) -> None:
        for now in (1060, 1120, 1180):
            self.ping(now)
        self.keepalive.heard_at = 1239
        self.assertEqual(self.keepalive.deadline(), 1240)
        self.assertIs(self.keepalive.ping_due(1240 - MOMENT), False)
        error = self.assertRaises(PongTimeout, self.keepalive.ping_due, 1240)
        self.assertIn("3 PINGs", str(error))

    def test_one_pong_is_enough_for_one_more(self) -> None:
        for now in (1060, 1120, 1180):
            self.ping(now)
        self.keepalive.pong_received(1239)
        self.ping(1240)
        self.keepalive.heard_at = 1299
        with self.assertRaises(PongTimeout):
            self.keepalive.ping_due(1300)

    def test_answered(self) -> None:
        for now in range(1060, 3000, 60):
            self.ping(now)
            self.assertEqual(self.keepalive.pong_received(now + 1), 1)

    def test_latency_of_the_oldest(self) -> None:
        for now in (1001, 1003, 1010):
            self.keepalive.ping_sent(now)
        self.assertEqual([self.keepalive.pong_received(1020) for _ in range(3)], [19, 17, 10])

    def test_pong_that_nothing_asked_for(self) -> None:
        with self.assertRaises(UnexpectedPDU):
            self.keepalive.pong_received(1001)
        self.keepalive.ping_sent(1001)
        self.keepalive.pong_received(1002)
        with self.assertRaises(UnexpectedPDU):
            self.keepalive.pong_received(1003)

    def test_no_fourth(self) -> None:
        for _ in range(3):
            self.keepalive.ping_sent(1001)
        error = self.assertRaises(LocalProtocolError, self.keepalive.ping_sent, 1002)
        self.assertIn("3 PINGs", str(error))
        self.keepalive.pong_received(1003)
        self.keepalive.ping_sent(1004)
        self.assertEqual([self.keepalive.pong_received(1005) for _ in range(3)], [4, 4, 1])

    def test_settings(self) -> None:
        self.keepalive = Keepalive(Timeouts(outstanding_pongs=1), 1000, lambda: 0)
        self.keepalive.authenticated(1000)
        self.ping(1060)
        with self.assertRaises(LocalProtocolError):
            self.keepalive.ping_sent(1061)
        with self.assertRaises(PongTimeout):
            self.keepalive.ping_due(1120)


class InactivityTests(SynchronousTestCase):
    """
    180 seconds with nothing received, or nothing taken.
    """

    def setUp(self) -> None:
        self.keepalive = Keepalive(Timeouts(ping_interval=10_000), 995, never)
        self.keepalive.authenticated(1000)

    def test_from_authentication(self) -> None:
        self.assertEqual(self.keepalive.deadline(), 1180)
        self.assertIs(self.keepalive.ping_due(1180 - MOMENT), False)
        error = self.assertRaises(InactivityTimeout, self.keepalive.ping_due, 1180)
        self.assertIn("180 seconds", str(error))
        self.assertIn("received", str(error))

    def test_from_what_was_heard_last(self) -> None:
        self.keepalive.heard_at = 1179
        self.assertEqual(self.keepalive.deadline(), 1359)
        self.assertIs(self.keepalive.ping_due(1359 - MOMENT), False)
        with self.assertRaises(InactivityTimeout):
            self.keepalive.ping_due(1359)

    def test_comes_before_a_ping(self) -> None:
        """When both are due, the peer is gone."""
        keepalive = Keepalive(Timeouts(ping_interval=180), 1000, never)
        keepalive.authenticated(1000)
        with self.assertRaises(InactivityTimeout):
            keepalive.ping_due(1180)

    def test_reading_paused(self) -> None:
        self.keepalive.reading_paused()
        self.assertEqual(self.keepalive.deadline(), math.inf)
        self.assertIs(self.keepalive.ping_due(100_000), False)

    def test_reading_resumed(self) -> None:
        self.keepalive.reading_paused()
        self.keepalive.reading_resumed(2000)
        self.assertEqual(self.keepalive.deadline(), 2180)
        self.assertIs(self.keepalive.ping_due(2180 - MOMENT), False)
        with self.assertRaises(InactivityTimeout):
            self.keepalive.ping_due(2180)

    def test_resumed_without_pause_is_nothing_heard(self) -> None:
        self.keepalive.reading_resumed(1100)
        self.assertEqual(self.keepalive.deadline(), 1180)

    def test_paused_twice(self) -> None:
        self.keepalive.reading_paused()
        self.keepalive.reading_paused()
        self.keepalive.reading_resumed(1100)
        self.keepalive.reading_resumed(1150)
        self.assertEqual(self.keepalive.deadline(), 1280)

    def test_no_ping_while_reading_is_paused(self) -> None:
        keepalive = Keepalive(Timeouts(), 1000, lambda: 0)
        keepalive.authenticated(1000)
        keepalive.reading_paused()
        self.assertEqual(keepalive.deadline(), math.inf)
        self.assertIs(keepalive.ping_due(1060), False)
        keepalive.reading_resumed(1070)
        self.assertEqual(keepalive.deadline(), 1060)
        self.assertIs(keepalive.ping_due(1070), True)
        self.assertEqual(keepalive.deadline(), 1130)

    def test_writing_blocked(self) -> None:
        self.keepalive.writing_blocked(1005)
        self.keepalive.heard_at = 1100
        self.assertEqual(self.keepalive.deadline(), 1185)
        self.assertIs(self.keepalive.ping_due(1185 - MOMENT), False)
        error = self.assertRaises(InactivityTimeout, self.keepalive.ping_due, 1185)
        self.assertIn("180 seconds", str(error))
        self.assertIn("took nothing", str(error))

    def test_writing_blocked_counts_from_the_first(self) -> None:
        self.keepalive.writing_blocked(1005)
        self.keepalive.writing_blocked(1050)
        self.keepalive.heard_at = 1100
        self.assertEqual(self.keepalive.deadline(), 1185)

    def test_writing_unblocked(self) -> None:
        self.keepalive.writing_blocked(1005)
        self.keepalive.writing_unblocked()
        self.keepalive.heard_at = 1100
        self.assertEqual(self.keepalive.deadline(), 1280)
        self.assertIs(self.keepalive.ping_due(1185), False)

    def test_blocked_again(self) -> None:
        self.keepalive.writing_blocked(1005)
        self.keepalive.writing_unblocked()
        self.keepalive.writing_blocked(1100)
        self.keepalive.heard_at = 1200
        self.assertEqual(self.keepalive.deadline(), 1280)

    def test_writing_blocked_while_reading_is_paused(self) -> None:
        """A peer that takes nothing is not excused by our not reading."""
        self.keepalive.reading_paused()
        self.keepalive.writing_blocked(1005)
        self.assertEqual(self.keepalive.deadline(), 1185)
        with self.assertRaises(InactivityTimeout):
            self.keepalive.ping_due(1185)

    def test_settings(self) -> None:
        keepalive = Keepalive(Timeouts(inactivity=7.5), 1000)
        keepalive.authenticated(1000)
        self.assertEqual(keepalive.deadline(), 1007.5)
        self.assertIn("7.5 seconds", str(self.assertRaises(InactivityTimeout, keepalive.ping_due, 1007.5)))


class OverduePingTests(SynchronousTestCase):
    """A PING that fell due while nothing was read."""

    def resume(self, outstanding: int) -> Keepalive:
        keepalive = Keepalive(Timeouts(), 0, lambda: 0)
        keepalive.authenticated(0)
        for now in range(60, 60 * outstanding + 1, 60):
            keepalive.heard_at = now
            self.assertTrue(keepalive.ping_due(now))
            keepalive.ping_sent(now)
        keepalive.reading_paused()
        keepalive.reading_resumed(500)
        return keepalive

    def test_pongs_may_lie_unread(self) -> None:
        """With PINGs unanswered the peer has an interval's time: its PONGs may have come meanwhile."""
        keepalive = self.resume(3)
        self.assertFalse(keepalive.ping_due(559))
        keepalive.heard_at = 559
        self.assertRaises(PongTimeout, keepalive.ping_due, 560)

    def test_nothing_outstanding(self) -> None:
        """With none unanswered it is sent now."""
        self.assertTrue(self.resume(0).ping_due(500))
