"""
One worker's share of what is there once: its sockets, what all workers count together, and its part of limits.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any, TypeVar

from ..admission.limits import Limits
from ..admission.shared_counts import SharedCounts, open_memory
from ..transfer.shared_turn import SharedTurn
from ..tunnel import TunnelLimits
from .adopting import AdoptingReactor
from .orders import FIRST_SOCKET, SHARED, Orders

AnyLimits = TypeVar("AnyLimits", Limits, TunnelLimits)


class Share:
    """
    One worker's share.

    :param orders: what the worker is told.
    :param counts: what all workers count together; ``None`` to open the memory that it has inherited.
    :ivar count: tells how many connections there are, where nobody else notes that.
    """

    count: Callable[[], int] | None = None

    def __init__(self, orders: Orders, counts: SharedCounts | None = None) -> None:
        self.orders = orders
        self.counts = counts or SharedCounts(open_memory(SHARED), orders.count, orders.number - 1)

    def reactor_for(self, place: int, reactor: Any) -> AdoptingReactor:
        """
        Give what an endpoint for servers listens with.

        :param place: which of them, from 0.
        :param reactor: the one that runs.
        """
        return AdoptingReactor(reactor, FIRST_SOCKET + place, self.orders.families[place], self)

    def turn(self) -> SharedTurn:
        """Give the worker's turn at what takes one upload at a time."""
        return SharedTurn(SHARED, self.counts)

    def ahead(self) -> float:
        """See :class:`~sodiumtwist.protocol.ports.Balance`."""
        if self.count is not None:
            self.counts.note(self.count(), 0)
        return self.counts.ahead(time.monotonic())

    def accepted(self, count: int) -> None:
        """See :class:`~sodiumtwist.protocol.ports.Balance`."""
        self.counts.accepted(count, time.monotonic())

    def of(self, limits: AnyLimits) -> AnyLimits:
        """
        Give the worker's part of limits that are not counted together: of lines in the log, of what waits for clients
        that do not read, and of the connections of a tunnel.
        """
        names = ("connections", "lines") if isinstance(limits, TunnelLimits) else ("stranger_lines", "client_lines")
        parts = {name: -(-getattr(limits, name) // self.orders.count) for name in names}
        if isinstance(limits, Limits):
            parts["unread"] = -(-limits.unread // self.orders.count)
        return replace(limits, **parts)
