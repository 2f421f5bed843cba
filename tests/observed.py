"""
Servers whose log is watched, for tests of who is let in.
"""

from __future__ import annotations

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from sodiumtwist import SodiumServerFactory

from .logs import logged, refusals
from .pair import MemoryTransport, RecordingServer, build


class ObservedTestCase(SynchronousTestCase):
    """Has a clock, and collects what is logged."""

    def setUp(self) -> None:
        self.clock = Clock()
        self.events = logged(self)

    def refusals(self) -> list[str]:
        return refusals(self.events)

    def connect(self, factory: SodiumServerFactory, host: str = "192.0.2.1") -> tuple[RecordingServer, MemoryTransport]:
        """Connect a server's end whose peer says nothing."""
        end = build(factory, RecordingServer)
        transport = MemoryTransport(end, host)
        end.makeConnection(transport)
        return end, transport

    def settle(self, transport: MemoryTransport) -> None:
        """Close a transport if its protocol has asked for that."""
        if transport.disconnecting or transport.aborting:
            transport.lose(transport.farewell)
