"""
Tests of :mod:`sodiumtwist.core.keepalive`. Time is a number here.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import FrozenInstanceError, replace
from typing import NoReturn

from twisted.trial.unittest import SynchronousTestCase

from sodiumtwist.core.errors import (
    AuthenticationTimeout,
    InactivityTimeout,
    LocalProtocolError,
    PongTimeout,
    UnexpectedPDU,
)
from sodiumtwist.core.keepalive import PING_JITTER, STOPPED_PING_INTERVAL, Keepalive, Timeouts

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
        timeouts = Timeouts(0.001, 0.002, 0.001, 1)
        self.assertEqual(Keepalive(timeouts, 5).deadline(), 5.001)

    def test_pings_follow_the_inactivity_time(self) -> None:
        """Where no interval was given: three fit, as with the defaults, and it grows no longer than the default."""
        for inactivity, interval in ((3.0, 1.0), (4, 4 / 3), (179.97, 59.99), (180, 60), (1000, 60), (0.3, 0.1)):
            self.assertAlmostEqual(Timeouts(inactivity=inactivity).ping_interval, interval, places=9)

    def test_that_it_was_not_given_is_kept(self) -> None:
        """Whoever changes the inactivity time of such settings gets PINGs that follow."""
        self.assertEqual(replace(replace(Timeouts(), inactivity=3), inactivity=90).ping_interval, 30)
        self.assertEqual(replace(Timeouts(ping_interval=20), inactivity=60).ping_interval, 20)
        with self.assertRaises(LocalProtocolError):
            replace(Timeouts(ping_interval=20), inactivity=30)

    def test_two_intervals_at_least(self) -> None:
        for inactivity, interval in ((2.0, 1.0), (4, 1), (4, 2), (120, 60), (3600, 1800)):
            self.assertEqual(Timeouts(inactivity=inactivity, ping_interval=interval).ping_interval, interval)

    def test_contradictions(self) -> None:
        """They are refused, with the numbers and with what would do."""
        for inactivity, interval, words in (
            (3, 60, ("60 to 119 seconds", "time of 3 seconds", "at least 120", "at most 1.5")),
            (119, 60.0, ("60 to 119 seconds", "at least 120", "at most 59.5")),
            (1.9, 1, ("1 to 1.98333 seconds", "at least 2 ", "at most 0.95")),
        ):
            error = self.assertRaises(LocalProtocolError, Timeouts, inactivity=inactivity, ping_interval=interval)
            for each in words:
                self.assertIn(each, str(error))
        error = self.assertRaises(LocalProtocolError, Timeouts, ping_interval=91)
        self.assertIn("time of 180 seconds", str(error))

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
        self.keepalive.reading_paused(1009)
        self.keepalive.writing_blocked(1009)
        self.assertEqual(self.keepalive.deadline(), 1010)
        self.keepalive.reading_resumed(1009)
        self.keepalive.writing_unblocked(1009)
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

    def test_jitter_leaves_time_for_the_answer(self) -> None:
        """However it is drawn: a third of the inactivity time."""
        for draw, seconds in ((0.0, 60), (0.2, 71.8), (1.0, 80)):
            keepalive = self.keepalive(lambda draw=draw: draw, Timeouts(inactivity=120, ping_interval=60))  # type: ignore[misc]
            keepalive.ping_due(1060)
            self.assertAlmostEqual(keepalive.deadline(), 1060 + seconds, places=6)

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


class Awake:
    """
    One end whose timer runs on time, and a peer that shows life when the test says so.

    :param now: when it is authenticated.
    :param draw: the share of the jitter.
    :ivar pings: when its PINGs left.
    """

    def __init__(self, timeouts: Timeouts, now: float = 1000, draw: float = 0.0) -> None:
        self.now = now
        self.pings: list[float] = []
        self.keepalive = Keepalive(timeouts, now, lambda: draw)
        self.keepalive.authenticated(now)

    def hear(self) -> None:
        """Something valid comes."""
        self.keepalive.heard_at = self.now

    def live(self, seconds: float) -> None:
        """Some seconds pass, in which it looks at its deadlines when they are reached."""
        end = self.now + seconds
        while (deadline := self.keepalive.deadline()) <= end:
            assert deadline >= self.now
            self.now = deadline
            if self.keepalive.ping_due(self.now):
                self.keepalive.ping_sent(self.now)
                self.pings.append(self.now)
            # Or its timer would never rest.
            assert self.keepalive.deadline() > self.now
        self.now = end


class PongTests(SynchronousTestCase):
    """
    PONGs, and the PINGs that they answer: the application's, and ours.
    """

    def setUp(self) -> None:
        self.keepalive = Keepalive(Timeouts(), 1000, lambda: 0)
        self.keepalive.authenticated(1000)

    def show_life(self, now: float) -> None:
        """One of ours leaves."""
        self.keepalive.heard_at = now
        self.assertIs(self.keepalive.ping_due(now), True)
        self.keepalive.ping_sent(now)

    def test_latency_of_the_oldest(self) -> None:
        for now in (1001, 1003, 1010):
            self.keepalive.ping_sent(now)
        self.assertEqual([self.keepalive.pong_received(1020) for _ in range(3)], [(19, True), (17, True), (10, True)])

    def test_pong_that_nothing_asked_for(self) -> None:
        with self.assertRaises(UnexpectedPDU):
            self.keepalive.pong_received(1001)
        self.keepalive.ping_sent(1001)
        self.keepalive.pong_received(1002)
        with self.assertRaises(UnexpectedPDU):
            self.keepalive.pong_received(1003)

    def test_no_fourth_of_the_application(self) -> None:
        for _ in range(3):
            self.keepalive.check_ping()
            self.keepalive.ping_sent(1001)
        error = self.assertRaises(LocalProtocolError, self.keepalive.check_ping)
        self.assertIn("3 PINGs", str(error))
        self.keepalive.pong_received(1003)
        self.keepalive.check_ping()
        self.keepalive.ping_sent(1004)
        self.assertEqual([self.keepalive.pong_received(1005)[0] for _ in range(3)], [4, 4, 1])

    def test_counted_apart(self) -> None:
        """Three of the application's keep none of ours from leaving, nor do they end anything; nor the other way."""
        for now in (1060, 1120, 1180, 1240, 1300):
            while True:
                try:
                    self.keepalive.check_ping()
                except LocalProtocolError:
                    break
                self.keepalive.ping_sent(now)
            self.show_life(now)
        order = []
        while True:
            try:
                order.append(self.keepalive.pong_received(1301)[1])
            except UnexpectedPDU:
                break
        self.assertEqual(order, [True] * 3 + [False] * 5)
        self.keepalive.ping_sent(1302)

    def test_in_the_order_of_the_stream(self) -> None:
        self.keepalive.ping_sent(1059)
        self.show_life(1060)
        self.keepalive.ping_sent(1061)
        pongs = [self.keepalive.pong_received(1070) for _ in range(3)]
        self.assertEqual(pongs, [(11, True), (10, False), (9, True)])

    def test_a_due_one_is_sent_once(self) -> None:
        """The next is the application's again."""
        self.assertIs(self.keepalive.ping_due(1060), True)
        self.keepalive.ping_sent(1060)
        self.keepalive.ping_sent(1060)
        self.assertEqual([self.keepalive.pong_received(1061)[1] for _ in range(2)], [False, True])

    def test_unanswered_ones_are_bounded(self) -> None:
        """A peer that answers none of ours, and lives, costs no memory; each may still be answered."""
        for number in range(1, 501):
            self.show_life(1000 + 60 * number)
        self.assertLessEqual(len(self.keepalive._unanswered), 3)
        self.assertLessEqual(len(self.keepalive._unheard), 3)
        latencies = [self.keepalive.pong_received(31_000)[0] for _ in range(500)]
        self.assertEqual(latencies[:2], [29_940, 29_880])
        self.assertRaises(UnexpectedPDU, self.keepalive.pong_received, 31_000)

    def test_answered(self) -> None:
        for now in range(1060, 3000, 60):
            self.show_life(now)
            self.assertEqual(self.keepalive.pong_received(now + 1), (1, False))


class PongTimeoutTests(SynchronousTestCase):
    """
    Three PINGs of ours, and nothing heard since the first of them.
    """

    def setUp(self) -> None:
        self.end = Awake(Timeouts(inactivity=1000, ping_interval=60))

    def test_when_the_fourth_is_due(self) -> None:
        self.end.live(240 - MOMENT)
        self.assertEqual(self.end.pings, [1060, 1120, 1180])
        error = self.assertRaises(PongTimeout, self.end.live, MOMENT)
        self.assertIn("3 PINGs", str(error))

    def test_whatever_was_heard_counts(self) -> None:
        """A PONG may lie behind much that comes slowly; who sends is not gone."""
        for _ in range(20):
            self.end.live(179)
            self.end.hear()
        self.assertEqual(len(self.end.pings), 179 * 20 // 60)

    def test_from_what_was_heard_last(self) -> None:
        self.end.live(61)
        self.end.hear()
        self.end.live(299 - 61)
        self.assertRaises(PongTimeout, self.end.live, 1)
        self.assertEqual(self.end.now, 1300)

    def test_not_while_nothing_is_read(self) -> None:
        """Their PONGs may lie unread. Afterwards the peer has all its time."""
        self.end.keepalive.reading_paused(1000)
        self.end.live(5000)
        self.end.keepalive.reading_resumed(self.end.now)
        self.end.pings.clear()
        self.assertRaises(PongTimeout, self.end.live, 1000)
        self.assertEqual(len(self.end.pings), 3)

    def test_not_while_nothing_is_taken(self) -> None:
        """No PING gets through."""
        self.end.live(180)
        self.end.keepalive.writing_blocked(1180)
        self.end.live(1000 - MOMENT)
        self.assertRaises(InactivityTimeout, self.end.live, MOMENT)

    def test_settings(self) -> None:
        end = Awake(Timeouts(inactivity=1000, ping_interval=60, outstanding_pongs=1))
        end.live(119)
        end.keepalive.ping_sent(1119)
        self.assertRaises(LocalProtocolError, end.keepalive.check_ping)
        error = self.assertRaises(PongTimeout, end.live, 1)
        self.assertIn("1 PINGs", str(error))


class InactivityTests(SynchronousTestCase):
    """
    180 seconds with nothing received, or nothing taken.
    """

    def setUp(self) -> None:
        self.end = Awake(Timeouts())
        self.keepalive = self.end.keepalive

    def assert_gone_in(self, seconds: float, why: str, end: Awake | None = None) -> None:
        """Nothing happens any more; the peer counts as gone in so many seconds, not earlier."""
        end = end or self.end
        end.live(seconds - MOMENT)
        error = self.assertRaises(InactivityTimeout, end.live, MOMENT)
        self.assertIn(why, str(error))

    def test_from_authentication(self) -> None:
        self.assert_gone_in(180, "nothing valid was received for 180 seconds")

    def test_from_what_was_heard_last(self) -> None:
        for heard in (1, 59, 60, 61, 119, 120, 179):
            self.setUp()
            self.end.live(heard)
            self.end.hear()
            self.assert_gone_in(180, "received")

    def test_whatever_is_drawn(self) -> None:
        for draw in (0.0, 0.3, 1.0):
            for timeouts in (Timeouts(), Timeouts(inactivity=2, ping_interval=1), Timeouts(inactivity=3)):
                end = Awake(timeouts, draw=draw)
                end.live(0.9 * timeouts.inactivity)
                end.hear()
                self.assert_gone_in(timeouts.inactivity, "received", end)

    def test_settings(self) -> None:
        self.assert_gone_in(7.5, "7.5 seconds", Awake(Timeouts(inactivity=7.5)))

    def test_nobody_is_gone_who_was_not_asked(self) -> None:
        """When we stood still, a PING goes first, and has a third of the time for its answer."""
        self.end.now = 1200
        self.assertIs(self.keepalive.ping_due(1200), True)
        self.keepalive.ping_sent(1200)
        self.assert_gone_in(60, "received")

    def test_asked_before_we_stood_still(self) -> None:
        """Then it was. What it has answered meanwhile is to be read before this is judged."""
        self.end.live(120)
        self.assertEqual(self.end.pings, [1060, 1120])
        with self.assertRaises(InactivityTimeout):
            self.keepalive.ping_due(1500)

    def test_an_idle_peer_lives(self) -> None:
        """Whatever settings are accepted, PONGs that take less than a third of the inactivity time keep it alive."""
        for timeouts in (
            Timeouts(),
            Timeouts(inactivity=3),
            Timeouts(inactivity=2.0, ping_interval=1.0),
            Timeouts(inactivity=4, ping_interval=1),
            Timeouts(inactivity=1000),
        ):
            for draw in (0.0, 0.5, 1.0):
                end = Awake(timeouts, draw=draw)
                for _ in range(50):
                    end.live(end.keepalive.deadline() - end.now)
                    end.live(min(timeouts.inactivity * 0.33, timeouts.ping_interval))
                    end.hear()

    # Nothing is read, for the application takes nothing

    def test_reading_paused(self) -> None:
        """Silence does not count, and PINGs go on."""
        self.end.live(59)
        self.keepalive.reading_paused(1059)
        self.end.live(100_000)
        self.assertGreater(len(self.end.pings), 100_000 / 60 - 2)

    def test_reading_resumed(self) -> None:
        self.keepalive.reading_paused(1000)
        self.end.live(1000)
        self.keepalive.reading_resumed(2000)
        self.assert_gone_in(180, "received")

    def test_resumed_without_pause_is_nothing_heard(self) -> None:
        self.end.live(100)
        self.keepalive.reading_resumed(1100)
        self.assert_gone_in(80, "received")

    def test_paused_twice(self) -> None:
        self.keepalive.reading_paused(1000)
        self.keepalive.reading_paused(1050)
        self.end.live(100)
        self.keepalive.reading_resumed(1100)
        self.end.live(50)
        self.keepalive.reading_resumed(1150)
        self.assert_gone_in(130, "received")

    # The peer takes nothing

    def test_writing_blocked(self) -> None:
        self.end.live(5)
        self.keepalive.writing_blocked(1005)
        self.assert_gone_in(180, "took nothing of what was sent for 180 seconds")

    def test_writing_blocked_and_life_shown(self) -> None:
        """Who PINGs and takes nothing is slow."""
        self.end.live(5)
        self.keepalive.writing_blocked(1005)
        for _ in range(100):
            self.end.live(119)
            self.end.hear()
        self.assert_gone_in(180, "took nothing")

    def test_writing_blocked_counts_from_the_first(self) -> None:
        self.keepalive.writing_blocked(1000)
        self.end.live(100)
        self.keepalive.writing_blocked(1100)
        self.assert_gone_in(80, "took nothing")

    def test_writing_unblocked(self) -> None:
        """It has taken some: that is life, and it can be asked again."""
        self.end.live(5)
        self.keepalive.writing_blocked(1005)
        self.end.live(170)
        self.keepalive.writing_unblocked(1175)
        self.assert_gone_in(180, "received")

    def test_unblocked_without_block_is_no_life(self) -> None:
        self.end.live(100)
        self.keepalive.writing_unblocked(1100)
        self.assert_gone_in(80, "received")

    def test_blocked_again(self) -> None:
        self.keepalive.writing_blocked(1000)
        self.keepalive.writing_unblocked(1000)
        self.end.live(100)
        self.keepalive.writing_blocked(1100)
        self.assert_gone_in(180, "took nothing")

    def test_one_ping_waits(self) -> None:
        """More would pile up with what is not taken. It leaves when something is, and then others do."""
        self.keepalive.writing_blocked(1000)
        for _ in range(10):
            self.end.live(100)
            self.end.hear()
        self.assertEqual(self.end.pings, [1060])
        self.keepalive.writing_unblocked(self.end.now)
        self.end.live(100)
        self.assertEqual(self.end.pings, [1060, 2020, 2080])
        self.keepalive.writing_blocked(self.end.now)
        self.end.live(100)
        self.assertEqual(self.end.pings[3:], [2140])

    def test_blocked_while_nothing_is_read(self) -> None:
        """Nothing can be known then: the signs of its life lie unread."""
        self.keepalive.reading_paused(1000)
        self.keepalive.writing_blocked(1005)
        self.end.live(100_000)
        self.assertEqual(len(self.end.pings), 1)
        self.keepalive.reading_resumed(self.end.now)
        self.assert_gone_in(180, "took nothing")


class StoppedPingTests(SynchronousTestCase):
    """
    How often an end PINGs that reads nothing. Its peer gets no PONGs, and how long it waits is not told.
    """

    def pings(self, seconds: float, timeouts: Timeouts = Timeouts()) -> Awake:
        """An end that is paused after so many seconds in which it heard no PING."""
        end = Awake(timeouts, 0)
        end.live(seconds)
        end.keepalive.reading_paused(end.now)
        end.pings.clear()
        return end

    def test_nothing_known(self) -> None:
        end = self.pings(0.01)
        end.live(10)
        self.assertEqual(len(end.pings), 10)
        self.assertEqual(STOPPED_PING_INTERVAL, 1)

    def test_none_came_so_far(self) -> None:
        """So its interval is longer, and its patience longer than two of them."""
        end = self.pings(20)
        end.live(100)
        self.assertEqual(end.pings, [40, 60, 80, 100, 120])

    def test_at_our_own_interval_at_most(self) -> None:
        end = self.pings(150)
        end.live(120)
        self.assertEqual(end.pings, [180, 240])
        end = self.pings(0.1, Timeouts(inactivity=1, ping_interval=0.5))
        end.live(2)
        self.assertEqual(end.pings, [0.5, 1.0, 1.5, 2.0])

    def test_as_often_as_the_peer(self) -> None:
        """The shortest time between two PINGs of it that we saw; what lay unread may make it shorter, never longer."""
        end = Awake(Timeouts(), 0)
        for now in (10, 15, 28):
            end.live(now - end.now)
            end.keepalive.ping_received(now)
            end.hear()
        end.keepalive.reading_paused(28)
        end.live(20)
        self.assertEqual(end.pings, [33, 38, 43, 48])

    def test_what_lay_unread_tells_nothing(self) -> None:
        """That no PING was seen while nothing was read does not mean that none came."""
        end = self.pings(3)
        end.live(100)
        end.keepalive.reading_resumed(end.now)
        end.live(1)
        end.keepalive.reading_paused(end.now)
        end.pings.clear()
        end.live(12)
        self.assertEqual(len(end.pings), 3)

    def test_a_short_pause(self) -> None:
        """The next PING is not later for it."""
        end = self.pings(0.5)
        end.keepalive.reading_resumed(0.7)
        end.live(100)
        self.assertLessEqual(end.pings[0], 60)


class StrictTests(SynchronousTestCase):
    """
    Where each PONG counts: it is late three intervals after its PING, whatever else is heard.
    """

    def setUp(self) -> None:
        self.keepalive = Keepalive(Timeouts(), 1000, lambda: 0)
        self.keepalive.authenticated(1000, strict=True)

    def play(self, until: float) -> float:
        """Hear something all the time, and send PINGs where they are due."""
        now = 1000.0
        while now < until:
            now = min(now + 10, until)
            self.keepalive.heard_at = now
            if self.keepalive.ping_due(now):
                self.keepalive.ping_sent(now)
        return now

    def test_late(self) -> None:
        """The first PING leaves at 1060."""
        self.play(1239)
        self.assertEqual(self.keepalive.deadline(), 1240)
        error = self.assertRaises(PongTimeout, self.play, 1240)
        self.assertIn("180 seconds", str(error))

    def test_not_strict(self) -> None:
        self.keepalive.authenticated(1000)
        self.play(2000)

    def test_answered(self) -> None:
        """Each has its own time."""
        self.play(1239)
        self.keepalive.pong_received(1239)
        self.play(1299)
        self.assertRaises(PongTimeout, self.play, 1300)

    def test_another_answered(self) -> None:
        """“A PONG is late when its PING has waited for three intervals”, also where those of later PINGs came."""
        self.play(1130)
        self.keepalive.pong_received(1130, 1)
        self.play(1239)
        self.assertRaises(PongTimeout, self.play, 1240)

    def test_more_passed_over_than_there_are(self) -> None:
        self.play(1130)
        self.assertRaises(UnexpectedPDU, self.keepalive.pong_received, 1130, 2)

    def test_the_applications_own(self) -> None:
        self.keepalive.ping_sent(1010)
        self.play(1189)
        self.assertRaises(PongTimeout, self.play, 1190)

    def test_peer_that_reads_nothing(self) -> None:
        """Its application has paused, for hours perhaps; that it lives is seen by its own PINGs."""
        self.play(1230)
        self.keepalive.ping_received(1230)
        self.play(1409)
        self.assertRaises(PongTimeout, self.play, 1410)

    def test_nothing_is_read(self) -> None:
        """Then no PONG can come; its time begins anew when it could."""
        self.keepalive.ping_sent(1010)
        self.keepalive.reading_paused(1020)
        self.play(1500)
        self.keepalive.reading_resumed(1500)
        self.assertIs(self.keepalive.ping_due(1679), True)
        self.assertRaises(PongTimeout, self.keepalive.ping_due, 1680)

    def test_nothing_is_read_there(self) -> None:
        """A peer whose application takes nothing says by PINGs, or by what has no content, that it lives."""
        for show in (self.keepalive.ping_received, self.keepalive.life_received):
            self.setUp()
            self.play(1230)
            show = getattr(self.keepalive, show.__name__)
            show(1230)
            self.play(1409)
            self.assertRaises(PongTimeout, self.play, 1410)

    def test_pings_enough(self) -> None:
        """Where nothing is read, PINGs that are not answered have a limit; life is shown all the same."""
        self.keepalive.reading_paused(1000)
        for place in range(200):
            now = 1001 + 60 * place
            self.assertIs(self.keepalive.ping_due(now), True)
            self.assertIs(self.keepalive.has_pings_enough, place >= 32)
            if self.keepalive.has_pings_enough:
                self.keepalive.life_sent()
            else:
                self.keepalive.ping_sent(now)
        self.keepalive.reading_resumed(13_000)
        self.assertIs(self.keepalive.has_pings_enough, False)

    def test_nothing_leaves(self) -> None:
        self.keepalive.ping_sent(1010)
        self.keepalive.writing_blocked(1020)
        self.play(1500)
        self.keepalive.writing_unblocked(1500)
        self.assertIs(self.keepalive.ping_due(1679), True)
        self.assertRaises(PongTimeout, self.keepalive.ping_due, 1680)
