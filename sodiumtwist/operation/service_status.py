"""
The status of a service that is one process.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from typing import Union

from twisted.internet.defer import Deferred, succeed
from zope.interface import implementer

from .. import __version__
from ..protocol.factories import SodiumServerFactory
from ..tunnel import TunnelFactory
from .exposition import process_values
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
    :param of_process: tells what the process takes of the machine.
    :param wall_clock: tells the seconds since the epoch.
    """

    def __init__(
        self,
        counted: list[Counted],
        lag: Lag,
        health: Callable[[], Health],
        of_process: Callable[[], Iterable[Value]] = process_values,
        wall_clock: Callable[[], float] = time.time,
    ) -> None:
        self._counted = counted
        self._lag = lag
        self._health = health
        self._of_process = of_process
        self._wall_clock = wall_clock

    async def _metrics(self) -> list[Value]:
        values = [
            Value("sodiumtwist_info", (("version", __version__),), 1),
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


def status_of(factory: SodiumServerFactory | TunnelFactory, lag: Lag, health: Callable[[], Health]) -> ServiceStatus:
    """
    Begin to count what a factory's connections do.

    :param factory: that of a service.
    :param lag: how late the reactor is.
    :param health: tells whether the service takes new clients.
    """
    counted: list[Counted]
    if isinstance(factory, TunnelFactory):
        counted = [TunnelMetrics(factory)]
    else:
        counted = [ServerMetrics(factory)]
        # Of --forward: what comes out of its streams is carried on.
        application = getattr(factory, "application", None)
        if isinstance(application, TunnelFactory):
            counted.append(TunnelMetrics(application, bounded=False))
    return ServiceStatus(counted, lag, health)
