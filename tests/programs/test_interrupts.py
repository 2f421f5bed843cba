"""
What signals do to programs. No signal is sent here but where the kernel is asked what comes of it.
"""

from __future__ import annotations

import errno
import os
import signal
import threading
from typing import Any

from twisted.internet.testing import MemoryReactorClock
from twisted.trial.unittest import SynchronousTestCase

from sodiumtwist.admission.passwords import set_password
from sodiumtwist.programs import interrupts
from sodiumtwist.programs.interrupts import (
    ENDING_SIGNALS,
    SECOND_LOOK,
    TERMINAL_LOOK,
    end_in_order,
    exit_on_signals,
    has_terminal,
    take_hangup,
    wait_for_reactor,
)

from ..admission.test_passwords import cheap
from ..signals import as_at_start, come


class StartingReactor(MemoryReactorClock):
    """
    A reactor that does not run yet.

    :ivar called: what is to be called when it runs.
    :ivar interrupts: the signals that its function for Ctrl-C got.
    """

    def __init__(self) -> None:
        super().__init__()
        self.called: list[tuple[Any, ...]] = []
        self.interrupts: list[int] = []

    def callFromThread(self, *call: Any) -> None:
        self.called.append(call)

    def sigInt(self, number: int, frame: object) -> None:
        self.interrupts.append(number)


class SignalTests(SynchronousTestCase):
    """What a service does about signals."""

    def setUp(self) -> None:
        as_at_start(self)
        self.came: list[object] = []

    def reactors(self, number: int, frame: object) -> None:
        self.came.append(number)

    def start(self) -> None:
        """Do what a reactor does when it starts."""
        signal.signal(signal.SIGTERM, self.reactors)
        if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
            signal.signal(signal.SIGINT, self.reactors)

    def reload(self) -> None:
        self.came.append("reload")

    def test_hangup(self) -> None:
        """Without a terminal it has files read again, each time, out of the reactor."""
        for started_with_one in (False, True):
            self.patch(interrupts, "has_terminal", lambda there=started_with_one: there)
            as_at_start(self)
            self.start()
            reactor = StartingReactor()
            end_in_order(reactor, self.reload, lambda: self.came.append("told"))
            for _ in range(2):
                come(signal.SIGHUP)
                self.assertEqual(self.came, [])
                ((call,),) = reactor.called
                call()
                reactor.advance(SECOND_LOOK)
                self.assertEqual(self.came, ["reload"])
                self.came.clear()
                reactor.called.clear()
            come(signal.SIGTERM)
            self.assertEqual(self.came, [signal.SIGTERM])
            self.came.clear()

    def test_terminal_closes(self) -> None:
        """It does what SIGTERM does, with its own number, when it was told; also when the terminal goes behind it."""
        for late in (False, True):
            as_at_start(self)
            self.start()
            there = [True]
            self.patch(interrupts, "has_terminal", lambda there=there: there[0])
            reactor = StartingReactor()
            end_in_order(reactor, self.reload, lambda: self.came.append("told"))
            there[0] = late
            come(signal.SIGHUP)
            ((call,),) = reactor.called
            call()
            there[0] = False
            reactor.advance(SECOND_LOOK)
            self.assertEqual(self.came, [*["reload"] * late, "told", signal.SIGHUP])
            # It is one of those that count once.
            come(signal.SIGTERM)
            self.assertEqual(self.came[-1], signal.SIGHUP)
            self.came.clear()

    def test_terminal_that_has_closed(self) -> None:
        """Long ago, and nobody said so: SIGHUP has files read again, and nothing is looked at any more."""
        self.start()
        there = [True]
        self.patch(interrupts, "has_terminal", lambda: there[0])
        for looks in (1, 2, 3):
            as_at_start(self)
            self.start()
            there[0] = True
            reactor = StartingReactor()
            end_in_order(reactor, self.reload, lambda: self.came.append("told"))
            reactor.advance(TERMINAL_LOOK)
            there[0] = False
            for _ in range(looks):
                reactor.advance(TERMINAL_LOOK)
            come(signal.SIGHUP)
            reactor.called.pop()[0]()
            # It may have closed a moment before the first of these looks.
            self.assertEqual(self.came, ["told", signal.SIGHUP] if looks == 1 else ["reload"])
            self.came.clear()
        self.assertEqual(reactor.getDelayedCalls(), [])

    def test_terminal_closes_at_the_end(self) -> None:
        """When another signal has come, it ends nothing a second time."""
        self.start()
        there = [True]
        self.patch(interrupts, "has_terminal", lambda: there[0])
        reactor = StartingReactor()
        end_in_order(reactor, self.reload, lambda: self.came.append("told"))
        come(signal.SIGHUP)
        reactor.called.pop()[0]()
        come(signal.SIGTERM)
        there[0] = False
        reactor.advance(SECOND_LOOK)
        self.assertEqual(self.came, ["reload", signal.SIGTERM])

    def test_has_terminal(self) -> None:
        """It has none without one, and when that is gone; another fault says nothing of it."""
        for error, there in ((0, True), (errno.ENXIO, False), (errno.EIO, False), (errno.ENOENT, False)):
            self.patch(os, "open", lambda *arguments, error=error: self.opened(error))
            self.assertEqual(has_terminal(), there)
        self.patch(os, "open", lambda *arguments: self.opened(errno.EMFILE))
        self.assertTrue(has_terminal())

    @staticmethod
    def opened(error: int) -> int:
        if error:
            raise OSError(error, os.strerror(error))
        return os.dup(0)

    def test_first_counts(self) -> None:
        """Of several the first one counts, whichever they are. Behind it, SIGHUP has nothing read again."""
        for first in (signal.SIGINT, signal.SIGTERM):
            as_at_start(self)
            self.start()
            end_in_order(StartingReactor(), self.reload, lambda: None)
            self.came.clear()
            come(first)
            for later in ENDING_SIGNALS:
                come(later)
            self.assertEqual(self.came, [first])

    def test_another(self) -> None:
        """A further one is told of, out of the reactor; that a terminal closes is none."""
        self.start()
        reactor = StartingReactor()

        def note_another() -> None:
            """Stand in for what a service does."""

        end_in_order(reactor, self.reload, lambda: None, note_another)
        come(signal.SIGTERM)
        self.assertEqual(reactor.called, [])
        for number in (signal.SIGHUP, signal.SIGTERM, signal.SIGINT):
            come(number)
        self.assertEqual(reactor.called, [(note_another,)] * 2)

    def test_at_once(self) -> None:
        """Two that came before Python looks are no fault: it would complain of one that is ignored by then."""
        self.start()
        end_in_order(StartingReactor(), self.reload, lambda: None)
        complaints: list[object] = []
        self.patch(__import__("sys"), "unraisablehook", complaints.append)
        both = {signal.SIGTERM, signal.SIGINT}
        signal.pthread_sigmask(signal.SIG_BLOCK, both)
        for number in both:
            os.kill(os.getpid(), number)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, both)
        self.assertEqual((len(self.came), complaints), (1, []))

    def test_ignored(self) -> None:
        """What is ignored, as by nohup, stays so; so does what is somebody else's."""
        for other in (signal.SIG_IGN, lambda number, frame: None):
            signal.signal(signal.SIGHUP, other)
            self.start()
            take_hangup(self.reactors)
            self.assertIs(signal.getsignal(signal.SIGHUP), other)
        signal.signal(signal.SIGHUP, signal.SIG_IGN)
        wait_for_reactor(StartingReactor())
        end_in_order(StartingReactor(), self.reload, lambda: None)
        self.assertIs(signal.getsignal(signal.SIGHUP), signal.SIG_IGN)

    def test_command_without_reactor(self) -> None:
        """What ends it undoes what it has begun: no half of a file of logins stays."""
        where = self.mktemp()
        os.mkdir(where)
        for number in (signal.SIGTERM, signal.SIGHUP):
            as_at_start(self)
            exit_on_signals()
            self.patch(os, "fsync", lambda fd, number=number: come(number))
            error = self.assertRaises(SystemExit, set_password, os.path.join(where, "users"), "ann", cheap("secret"))
            self.assertEqual((error.code, os.listdir(where)), (128 + number, []))
        signal.signal(signal.SIGHUP, signal.SIG_IGN)
        exit_on_signals()
        self.assertIs(signal.getsignal(signal.SIGHUP), signal.SIG_IGN)

    def test_no_log_to_begin_anew(self) -> None:
        """SIGUSR1, which whatever rotates logs sends, kills nothing; where twistd has taken it, it keeps it."""
        self.start()
        end_in_order(StartingReactor(), self.reload, lambda: None)
        self.assertIs(signal.getsignal(signal.SIGUSR1), signal.SIG_IGN)
        signal.signal(signal.SIGUSR1, self.reactors)
        end_in_order(StartingReactor(), self.reload, lambda: None)
        self.assertEqual(signal.getsignal(signal.SIGUSR1), self.reactors)

    def test_somebody_elses_signals(self) -> None:
        """A reactor that takes no signals, or runs in another thread, has them left alone."""
        end_in_order(StartingReactor(), self.reload, lambda: None)
        self.assertIs(signal.getsignal(signal.SIGHUP), signal.SIG_DFL)
        self.start()
        faults: list[Exception] = []

        def elsewhere() -> None:
            try:
                end_in_order(StartingReactor(), self.reload, lambda: None)
            except Exception as fault:
                faults.append(fault)

        thread = threading.Thread(target=elsewhere)
        thread.start()
        thread.join()
        self.assertEqual(faults, [])
        self.assertIs(signal.getsignal(signal.SIGHUP), signal.SIG_DFL)

    def test_before_the_reactor(self) -> None:
        """What comes while a service listens and no reactor runs comes again when it does. No moment is left out."""
        reactor = StartingReactor()
        wait_for_reactor(reactor)
        for number in ENDING_SIGNALS:
            come(number)
        self.start()
        # Before the reactor's "after startup".
        for number in (signal.SIGHUP, signal.SIGINT):
            come(number)
        again = (*ENDING_SIGNALS, signal.SIGHUP, signal.SIGINT)
        self.assertEqual(reactor.called, [(os.kill, os.getpid(), number) for number in again])
        self.assertEqual(self.came, [])
        end_in_order(reactor, self.reload, lambda: None)
        come(signal.SIGINT)
        self.assertEqual(reactor.interrupts, [signal.SIGINT])
        # As SIGTERM, which the reactor takes in any case.
        as_at_start(self)
        wait_for_reactor(reactor)
        self.start()
        end_in_order(reactor, self.reload, lambda: None)
        come(signal.SIGHUP)
        reactor.called.pop()[0]()
        self.assertEqual(self.came, ["reload"])
