"""
What a server logged, for tests of whom it lets in.
"""

from __future__ import annotations

from typing import Any

from twisted.internet.address import IPv4Address
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from .logs import logged, refusals
from .pair import MemoryTransport


class ObservedTestCase(SynchronousTestCase):
    """Has a clock, and what was logged."""

    def setUp(self) -> None:
        self.clock = Clock()
        self.events = logged(self)

    def refusals(self) -> list[str]:
        return refusals(self.events)

    def connect(self, factory: Any, host: str = "192.0.2.1") -> tuple[Any, MemoryTransport]:
        """A server's end with nobody at the other one."""
        end = factory.buildProtocol(IPv4Address("TCP", host, 4711))
        transport = MemoryTransport(end)
        transport.getPeer = lambda: IPv4Address("TCP", host, 4711)  # type: ignore[method-assign]
        end.makeConnection(transport)
        return end, transport

    def settle(self, transport: MemoryTransport) -> None:
        """Have a transport that is to be closed be so."""
        if transport.disconnecting or transport.aborting:
            transport.lose(transport.farewell)
