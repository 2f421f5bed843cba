"""
The status of a service that is several processes: what each of them tells, in one.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from twisted.internet.defer import Deferred, succeed
from zope.interface import implementer

from .status import SHOWN_CLIENTS, Client, Clients, Health, IStatus
from .values import COUNTER, HISTOGRAM, Value, metric_of, sum_up
from .workers import Workers

#: What is told of the process that supervises. It has no clients, and its limits are not in force.
_OWN = ("process_", "sodiumtwist_info", "sodiumtwist_draining")


def _packed(clients: Clients) -> dict[str, Any]:
    return {"count": clients.count, "shown": [vars(client) for client in clients.shown]}


def _unpacked(sent: dict[str, Any]) -> Clients:
    return Clients(sent["count"], [Client(**client) for client in sent["shown"]])


async def tell(status: IStatus, what: str) -> object:
    """
    Tell, in a worker, what its supervisor asks.

    :param status: of the worker.
    :param what: ``metrics`` or ``clients``.
    :return: what can be sent as JSON.
    """
    if what == "metrics":
        return await status.metrics()
    return _packed(await status.clients())


@implementer(IStatus)
class WorkersStatus:
    """
    Tells it of all workers. One that does not answer in time is told of as it was when it last did. What was counted by
    one that is lost still counts: a sum that became smaller would look as if all had begun anew.

    :param workers: those.
    :param own: tells it of this process.
    :param health: tells whether the service takes new clients.
    """

    def __init__(self, workers: Workers, own: IStatus, health: Callable[[], Health]) -> None:
        self._workers = workers
        self._own = own
        self._health = health
        # What each process told last, by its number.
        self._told: dict[int, list[Value]] = {}
        self._lost: list[Value] = []

    async def _metrics(self) -> list[Value]:
        own = [value for value in await self._own.metrics() if value.name.startswith(_OWN)]
        told = await self._workers.ask("metrics")
        self._told.update({pid: [Value.read(value) for value in values] for pid, values in told.items()})
        for pid in self._told.keys() - self._workers.pids():
            counted = [value for value in self._told.pop(pid) if metric_of(value.name)[1].kind in (COUNTER, HISTOGRAM)]
            self._lost = sum_up([self._lost, counted])
        own += [
            Value("sodiumtwist_workers", (), self._workers.serving),
            Value("sodiumtwist_workers_lost_total", (), self._workers.lost),
        ]
        return sum_up([own, self._lost, *self._told.values()])

    def metrics(self) -> Deferred[list[Value]]:
        """Tell all numbers, see :class:`~sodiumtwist.operation.status.IStatus`."""
        return Deferred.fromCoroutine(self._metrics())

    async def _clients(self) -> Clients:
        told = [_unpacked(clients) for clients in (await self._workers.ask("clients")).values()]
        shown = sorted((client for clients in told for client in clients.shown), key=lambda client: client.since)
        return Clients(sum(clients.count for clients in told), shown[:SHOWN_CLIENTS])

    def clients(self) -> Deferred[Clients]:
        """Tell who is connected, see :class:`~sodiumtwist.operation.status.IStatus`."""
        return Deferred.fromCoroutine(self._clients())

    def health(self) -> Deferred[Health]:
        """Tell whether new clients are taken, see :class:`~sodiumtwist.operation.status.IStatus`."""
        return succeed(self._health())
