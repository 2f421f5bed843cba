"""
What is logged while a test runs.
"""

from __future__ import annotations

from collections.abc import Iterable

from twisted.logger import ILogObserver, LogEvent, formatEvent, globalLogPublisher
from twisted.trial.unittest import SynchronousTestCase
from zope.interface import implementer


@implementer(ILogObserver)
class Observer:
    """
    Keeps events.

    :ivar events: the events so far.
    """

    def __init__(self) -> None:
        self.events: list[LogEvent] = []

    def __call__(self, event: LogEvent) -> None:
        self.events.append(event)


def logged(case: SynchronousTestCase) -> list[LogEvent]:
    """
    Collect what is logged until the test is over.

    :return: a list that grows with each event.
    """
    observer = Observer()
    globalLogPublisher.addObserver(observer)
    case.addCleanup(globalLogPublisher.removeObserver, observer)
    return observer.events


#: Lines of connections that come and go as they should.
USUAL = frozenset({"client_connected", "client_admitted", "tunnel_opened"})


def unusual(events: Iterable[LogEvent]) -> list[str]:
    """Pick the lines that tell more than that connections came, and went as they should."""
    return [
        formatEvent(event)
        for event in events
        if event.get("event") not in USUAL and event.get("outcome") not in ("closed", "stopped")
    ]


def refusals(events: Iterable[LogEvent]) -> list[str]:
    """Pick the lines that say who was refused and why."""
    return [formatEvent(event) for event in events if "refused" in (event.get("log_format") or "")]
