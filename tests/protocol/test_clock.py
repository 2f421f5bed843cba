"""
The clock of deadlines, when somebody sets the wall clock. The reactor of these tests has one of each kind.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from twisted.internet import asyncioreactor, epollreactor, pollreactor, reactor, selectreactor
from twisted.internet.base import ReactorBase
from twisted.internet.error import AlreadyCalled, AlreadyCancelled
from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import Clock
from twisted.python import runtime
from twisted.trial.unittest import SynchronousTestCase
from zope.interface.verify import verifyObject

from sodiumtwist import InactivityTimeout, Limits, PongTimeout
from sodiumtwist.core.wire import WINDOW
from sodiumtwist.protocol.clock import LOOK_INTERVAL, SET_BACK, SteadyClock, count_steadily, steady_clock

from ..pair import MemoryTransport, Pair, RecordingServer, build, make_client_factory, make_server_factory
from ..wall_clock import WallReactor


class SteadyClockTests(SynchronousTestCase):
    """Timers."""

    def setUp(self) -> None:
        self.reactor = WallReactor()
        self.clock = self.reactor.steady
        self.called: list[tuple[float, object]] = []

    def note(self, what: object = None) -> None:
        self.called.append((self.clock.seconds(), what))

    def test_interface(self) -> None:
        verifyObject(IReactorTime, self.clock)
        self.clock.callLater(0, self.note, what=1)
        self.reactor.let_pass(0.25)
        self.assertEqual(self.called, [(0.25, 1)])

    def test_step_forward(self) -> None:
        """Nothing goes off too early, however often the clock is set; and everything in time."""
        self.clock.callLater(10, self.note)
        for _ in range(3):
            self.reactor.set_and_wake(3600)
            self.reactor.let_pass(3)
        self.assertEqual(self.called, [])
        self.reactor.let_pass(1)
        self.assertEqual(self.called, [(10, None)])

    def test_step_back(self) -> None:
        """The thread notices it, though nothing else happens, and timers go off in time."""
        self.clock.callLater(10, self.note)
        self.reactor.set_and_wake(-3600)
        self.reactor.watch()
        self.reactor.let_pass(9)
        self.assertEqual(self.called, [(10, None)])

    def test_step_back_after_the_deadline(self) -> None:
        """What is overdue by then goes off at once, an interval late."""
        self.clock.callLater(0.25, self.note)
        self.reactor.set_and_wake(-3600)
        self.reactor.watch()
        self.reactor.advance(0)
        self.assertEqual(self.called, [(LOOK_INTERVAL, None)])

    def test_forward_and_back(self) -> None:
        """Timers that were set while the clock was ahead don't wait for it to come there again."""
        self.clock.callLater(1000, self.note, "before")
        self.reactor.set_and_wake(3600)
        self.clock.callLater(10, self.note, "between")
        self.reactor.set_and_wake(-3600)
        self.reactor.watch()
        self.reactor.let_pass(1000)
        self.assertEqual(self.called, [(10, "between"), (1000, "before")])

    def test_new_timer_notices(self) -> None:
        """Where much happens, nobody has to wait for the thread."""
        self.clock.callLater(0.25, self.note)
        self.reactor.set_and_wake(-3600)
        self.clock.callLater(60, self.note)
        self.reactor.let_pass(0.25)
        self.assertEqual(self.called, [(0.25, None)])

    def test_slow_drift(self) -> None:
        """A clock that falls behind little by little makes no timer later than a step would."""
        self.clock.callLater(100, self.note)
        for _ in range(50):
            self.reactor.set_by(-SET_BACK / 10)
            self.reactor.watch()
        self.reactor.let_pass(50 + SET_BACK)
        [(when, _)] = self.called
        self.assertLessEqual(when, 100 + SET_BACK)
        self.assertEqual(self.reactor.woken, 4)

    def test_changed_timers(self) -> None:
        """Cancelled, put off and brought forward, as with any timer of Twisted's, whatever the wall clock does."""
        cancelled, late, early, later = (self.clock.callLater(10, self.note, name) for name in "clem")
        cancelled.cancel()
        self.assertRaises(AlreadyCancelled, cancelled.cancel)
        self.reactor.set_and_wake(3600)
        late.reset(20)
        early.reset(5)
        later.delay(40)
        later.delay(-10)
        self.assertEqual([call.getTime() for call in (late, early, later)], [20, 5, 40])
        self.assertEqual(set(self.clock.getDelayedCalls()), {late, early, later})
        self.reactor.set_and_wake(-7200)
        self.reactor.watch()
        self.reactor.let_pass(50)
        self.assertEqual(self.called, [(5, "e"), (20, "l"), (40, "m")])
        self.assertRaises(AlreadyCalled, late.cancel)
        self.assertFalse(late.active())
        self.assertEqual((self.clock.getDelayedCalls(), self.reactor.getDelayedCalls()), ([], []))

    def test_one_thread(self) -> None:
        """It is started with the first timer, and sleeps while there is none."""
        self.assertEqual(self.reactor.threads, [])
        for _ in range(2):
            self.clock.callLater(1, self.note).cancel()
            self.assertEqual(len(self.reactor.threads), 1)
            self.assertTrue(self.clock._wanted.is_set())
            self.reactor.watch()
            self.assertFalse(self.clock._wanted.is_set())
        self.assertEqual(self.reactor.woken, 0)

    def test_timer_while_the_thread_falls_asleep(self) -> None:
        """It is not overlooked."""
        self.clock.callLater(1, self.note).cancel()
        clear = self.clock._wanted.clear

        def clear_late() -> None:
            self.clock.callLater(2, self.note)
            clear()

        self.patch(self.clock._wanted, "clear", clear_late)
        self.reactor.watch()
        self.assertTrue(self.clock._wanted.is_set())

    def test_fork(self) -> None:
        """A process that was forked has none of the threads, so it starts one of its own."""
        self.clock.callLater(1, self.note)
        self.patch(self.clock, "_process", 1)
        self.clock.callLater(1, self.note)
        self.assertEqual(len(self.reactor.threads), 2)

    def test_real_thread(self) -> None:
        """It wakes a reactor that sleeps."""
        wall, woken = [1000.0], []

        class Sleeping(Clock):
            def seconds(self) -> float:
                return wall[0] + time.monotonic()

            def callFromThread(self, work: Callable[[], object]) -> None:
                woken.append(work)
                wall[0] += 1e6  # all is well again

        clock = SteadyClock(Sleeping(), sleep=lambda seconds: time.sleep(0.001))
        clock.callLater(60, self.note)
        wall[0] -= 3600
        limit = time.monotonic() + 60
        while not woken and time.monotonic() < limit:
            time.sleep(0.001)
        self.assertEqual(len(woken), 1)
        for call in clock.getDelayedCalls():
            call.cancel()


class ChoiceTests(SynchronousTestCase):
    """Which clock it is."""

    def test_reactor(self) -> None:
        """A reactor's wall clock is not used. One reactor has one steady clock, however many ask for it."""
        clock = steady_clock(reactor)
        self.assertIsInstance(clock, SteadyClock)
        self.assertIs(clock.seconds, time.monotonic)
        self.assertIs(steady_clock(reactor), clock)

    def test_others(self) -> None:
        """Any other clock stays as it is: a test's, an application's, and a reactor's that is steady."""
        steady = type("Steady", (Clock,), {"seconds": staticmethod(time.monotonic)})()
        for clock in (Clock(), WallReactor().steady, steady):
            self.assertIs(steady_clock(clock), clock)

    def test_factories(self) -> None:
        """They choose it, also of a reactor that was given."""
        for clock in (None, reactor):
            self.assertIs(make_server_factory(clock).clock, steady_clock(reactor))
            self.assertIs(make_client_factory(clock).clock, steady_clock(reactor))
        given = Clock()
        self.assertIs(make_server_factory(given).clock, given)


class CountSteadilyTests(SynchronousTestCase):
    """Programs' own reactors, of each kind that Twisted has for this system."""

    def reactors(self) -> list[Any]:
        made: list[Any] = []
        for kind in (
            selectreactor.SelectReactor,
            pollreactor.PollReactor,
            epollreactor.EPollReactor,
            asyncioreactor.AsyncioSelectorReactor,
        ):
            before = set(reactor.getReaders())
            made.append(kind())
            self.addCleanup(self.close, made[-1])
            self.assertEqual(set(reactor.getReaders()), before)
        return made

    def close(self, made: Any) -> None:
        for reader in made.removeAll() + list(made._internalReaders):
            reader.connectionLost(None)
        if hasattr(made, "_poller") and hasattr(made._poller, "close"):
            made._poller.close()

    def test_all_that_reactors_do(self) -> None:
        """Timers old and new, how long to sleep, what is due: nothing asks for the wall clock any more."""
        steady = [0.0]
        for made in self.reactors():
            called: list[str] = []
            steady[0] = 5
            before = [made.callLater(delay, called.append, f"before {delay}") for delay in (20, 10)]
            made.timeout()
            before.append(made.callLater(30, called.append, "before 30"))
            count_steadily(made, lambda: steady[0])
            self.assertEqual(made.seconds(), 5)
            made.callLater(15, called.append, "behind")
            before[2].reset(40)
            self.assertEqual(round(made.timeout()), 10)
            for now, done in ((14, 0), (16, 1), (19, 1), (21, 2), (26, 3), (44, 3), (46, 4)):
                steady[0] = now
                made.runUntilCurrent()
                self.assertEqual(called, ["before 10", "behind", "before 20", "before 30"][:done], (made, now))

    def test_only_wall_clocks_and_before_it_runs(self) -> None:
        """An application that runs already may reckon with its clock; and another clock has its reasons."""
        for running, seconds in ((True, runtime.seconds), (False, Clock().seconds)):
            made = ReactorBase.__new__(ReactorBase)
            made.running, made.seconds = running, seconds
            count_steadily(made)
            self.assertIs(made.seconds, seconds)


class ConnectionTests(SynchronousTestCase):
    """Connections within an application whose reactor counts by the wall clock."""

    def setUp(self) -> None:
        self.reactor = WallReactor()
        self.clock = self.reactor.steady
        self.server_factory = make_server_factory(self.clock, limits=Limits(failures_per_login=1, failure_seconds=60))

    def connect(self) -> Pair:
        pair = Pair(self.server_factory, make_client_factory(self.clock))
        pair.flush()
        return pair

    def live(self, pair: Pair, seconds: int) -> None:
        for _ in range(seconds):
            self.reactor.let_pass(1)
            pair.flush()

    def test_forward_ends_nothing(self) -> None:
        """Neither a connection at rest nor one that logs in nor a stranger; and PINGs go on, with the true times."""
        stranger = build(self.server_factory, RecordingServer)
        stranger.makeConnection(MemoryTransport(stranger))
        pair = self.connect()
        for _ in range(5):
            self.reactor.set_and_wake(3600)
            self.reactor.let_pass(1)
        self.assertEqual((pair.server.why, pair.client.why, stranger.why), (None, None, None))
        pinging = pair.client.ping()
        self.reactor.set_and_wake(200)
        self.reactor.let_pass(0.5)
        pair.flush()
        self.assertEqual(self.successResultOf(pinging), 0.5)
        self.live(pair, 600)
        self.assertEqual((pair.server.why, pair.client.why), (None, None))

    def test_back_holds_nothing_up(self) -> None:
        """A stranger leaves in time, a silent client too, and who failed may try again."""
        stranger = build(self.server_factory, RecordingServer)
        transport = MemoryTransport(stranger)
        stranger.makeConnection(transport)
        pair = self.connect()
        wrong = Pair(self.server_factory, make_client_factory(self.clock, passphrase="wrong", login="w"))
        wrong.flush()
        self.assertEqual(len(self.server_factory.admission._by_login.blocked), 1)
        self.reactor.set_and_wake(-3600)
        self.reactor.watch()
        self.reactor.let_pass(10)
        self.assertTrue(transport.disconnecting)
        self.reactor.let_pass(50)
        self.assertEqual(len(self.server_factory.admission._by_login.blocked), 0)
        self.reactor.let_pass(180)
        pair.step()
        self.assertIn(pair.server.why, (InactivityTimeout, PongTimeout))

    def test_closing(self) -> None:
        """Who closes waits as long as it should for a peer that does not, whichever way the clock is set."""
        for step in (3600, -3600):
            pair = self.connect()
            while not pair.server_transport.producer_paused:
                pair.server.send_data(bytes(WINDOW))
            pair.server.close()
            self.reactor.set_and_wake(step)
            self.reactor.watch()
            self.reactor.let_pass(178)
            self.assertFalse(pair.server_transport.aborting, step)
            self.reactor.let_pass(1)
            self.assertTrue(pair.server_transport.aborting, step)
