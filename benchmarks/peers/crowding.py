"""
Many connections of one client process.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from time import perf_counter
from typing import Any

from twisted.internet.defer import DeferredList, ensureDeferred, gatherResults
from twisted.internet.task import Cooperator
from twisted.internet.threads import deferToThread

from ..child import tell, wait_to_go
from ..payloads import payload
from ..tasks import Task
from ..usage import Meter

#: How many connections may be in the making at once.
CONNECTING = 32

#: How many connections come from one source address, which has a limited number of ports. Then the next one is used.
PER_SOURCE = 1_000


async def crowd(reactor: Any, connect: Callable[[str], Awaitable[Any]], task: Task) -> dict[str, Any]:
    """
    Make connections, tell the seconds that this took, wait for the parent, and send by all of them.

    :param reactor: unused but for what connections need.
    :param connect: called with the address to connect from; has a client when the server has accepted
        it, whose ``send_all`` sends a payload many times and waits until all is confirmed.
    :param task: ``CROWD``.
    :return: what sending took.
    """
    clients: list[Any] = []

    async def connect_one(number: int) -> None:
        clients.append(await connect(f"127.0.0.{1 + number // PER_SOURCE}"))

    began = perf_counter()
    numbers = (ensureDeferred(connect_one(number)) for number in range(task.count))
    cooperator = Cooperator()
    await DeferredList([cooperator.coiterate(numbers) for _ in range(CONNECTING)], fireOnOneErrback=True)
    tell(connected=perf_counter() - began)
    await deferToThread(wait_to_go)
    data = payload(task.size)
    meter = Meter()
    await gatherResults([ensureDeferred(client.send_all(data, task.each)) for client in clients])
    return meter.read()
