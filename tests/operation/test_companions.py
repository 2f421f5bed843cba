"""
Companions: when a service tells them what.
"""

from __future__ import annotations

from twisted.internet.defer import Deferred
from twisted.internet.endpoints import serverFromString
from twisted.internet.protocol import Factory, Protocol
from twisted.internet.testing import MemoryReactorClock
from twisted.trial.unittest import SynchronousTestCase

from sodiumtwist.operation.companions import Companion
from sodiumtwist.programs.listening import ListeningService


class Told(Companion):
    """Notes what it is told."""

    def __init__(self, reactor: MemoryReactorClock) -> None:
        self.reactor = reactor
        self.heard: list[tuple[str, int]] = []
        self.left: Deferred[None] = Deferred()

    def _note(self, what: str) -> None:
        self.heard.append((what, len(self.reactor.tcpServers)))

    def prepare(self) -> None:
        self._note("prepare")

    def started(self) -> None:
        self._note("started")

    def stopping(self) -> None:
        self._note("stopping")

    def stopped(self) -> Deferred[None]:
        self._note("stopped")
        return self.left


class Failing(Companion):
    def started(self) -> None:
        raise ValueError("it does not start")


class CompanionTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.reactor = MemoryReactorClock()
        endpoint = serverFromString(self.reactor, "tcp:5555")
        self.service = ListeningService(
            "sodium", [("tcp:5555", endpoint)], Factory.forProtocol(Protocol), self.reactor, {}
        )

    def test_order(self) -> None:
        """It is told before and behind all, and waited for at the end."""
        told = Told(self.reactor)
        self.service.companions.append(told)
        self.service.privilegedStartService()
        self.service.startService()
        self.assertEqual(told.heard, [("prepare", 0), ("started", 1)])
        stopping = self.service.stopService()
        self.assertEqual([what for what, _ in told.heard], ["prepare", "started", "stopping", "stopped"])
        self.assertNoResult(stopping)
        told.left.callback(None)
        self.successResultOf(stopping)

    def test_one_that_fails(self) -> None:
        """It has its line in the log; the others are told all the same."""
        told = Told(self.reactor)
        self.service.companions += [Failing(), told]
        self.service.startService()
        (failure,) = self.flushLoggedErrors(ValueError)
        self.assertEqual(failure.getErrorMessage(), "it does not start")
        self.assertEqual([what for what, _ in told.heard], ["prepare", "started"])
