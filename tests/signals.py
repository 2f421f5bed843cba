"""
What signals do in the process of the tests, which must not stay so.
"""

from __future__ import annotations

import signal

from twisted.trial.unittest import SynchronousTestCase

from sodiumtwist.programs.interrupts import ENDING_SIGNALS

CHANGED = (*ENDING_SIGNALS, signal.SIGUSR1)


def as_at_start(case: SynchronousTestCase) -> None:
    """Let signals do what they do when a program starts, until the test is over."""
    for number in CHANGED:
        case.addCleanup(signal.signal, number, signal.getsignal(number))
        signal.signal(number, signal.SIG_DFL)
    signal.signal(signal.SIGINT, signal.default_int_handler)


def come(number: signal.Signals) -> None:
    """Do what the process would do when a signal came that has a function."""
    what = signal.getsignal(number)
    assert callable(what), f"{number.name} would be {what}"
    what(number, None)
