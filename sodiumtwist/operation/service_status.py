"""
The status of a service that is one process.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from typing import Union

from twisted.internet.defer import Deferred, succeed
from zope.interface import implementer

from .lag import Lag
from .metrics import ServerMetrics, TunnelMetrics
from .status import Clients, Health, IStatus
from .values import Value

Counted = Union[ServerMetrics, TunnelMetrics]


@implementer(IStatus)
class ServiceStatus:
    """
    Tells it of this process.

    :param counted: what counts the service's clients first, whose clients the page shows; behind it what else counts.
    :param lag: how late the reactor is.
    :param health: tells whether the service takes new clients.
    :param release: of this package.
    :param of_process: tells what the process takes of the machine.
    :param wall_clock: tells the seconds since the epoch.
    """

    def __init__(
        self,
        counted: list[Counted],
        lag: Lag,
        health: Callable[[], Health],
        release: str,
        of_process: Callable[[], Iterable[Value]],
        wall_clock: Callable[[], float] = time.time,
    ) -> None:
        self._counted = counted
        self._lag = lag
        self._health = health
        self._release = release
        self._of_process = of_process
        self._wall_clock = wall_clock

    async def _metrics(self) -> list[Value]:
        values = [
            Value("sodiumtwist_info", (("version", self._release),), 1),
            Value("sodiumtwist_draining", (), self._health().draining),
            *self._lag.values(),
            *self._of_process(),
        ]
        for counted in self._counted:
            more = counted.values()
            values += await more if isinstance(more, Deferred) else more
        return values

    def metrics(self) -> Deferred[list[Value]]:
        """Tell all numbers, see :class:`~sodiumtwist.operation.status.IStatus`."""
        return Deferred.fromCoroutine(self._metrics())

    def clients(self) -> Deferred[Clients]:
        """Tell who is connected, see :class:`~sodiumtwist.operation.status.IStatus`."""
        return succeed(self._counted[0].clients(self._wall_clock()))

    def health(self) -> Deferred[Health]:
        """Tell whether new clients are taken, see :class:`~sodiumtwist.operation.status.IStatus`."""
        return succeed(self._health())
