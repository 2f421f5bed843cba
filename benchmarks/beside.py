"""
What a connection that sends flat out leaves to others: how soon a PING is answered beside it, and alone.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict
from functools import partial

from .plan import KIB, Plan
from .processes import Child
from .tables import Table, in_turn, progress
from .tasks import BULK, PING, Task

PEER = "peers.sodium"

#: More than is sent meanwhile, in payloads.
ENDLESS = 10**9

#: The largest payload, with which others wait the longest.
SIZE = 128 * KIB - 2


def ping(count: int, beside: bool) -> float:
    """
    Send PINGs, one after the other, from a process of their own.

    :param count: how many.
    :param beside: whether another connection sends flat out to the same server.
    :return: the median of the milliseconds until they are answered.
    """
    with Child(PEER, "serve", directory="") as server:
        told = server.hear()
        if not beside:
            return _ping(told, count)
        flood = Task(BULK, SIZE, ENDLESS)
        with Child(PEER, "run", directory="", server=told, task=asdict(flood)) as flooding:
            try:
                return _ping(told, count)
            finally:
                flooding.process.kill()


def _ping(told: dict[str, object], count: int) -> float:
    with Child(PEER, "run", directory="", server=told, task=asdict(Task(PING, 0, count))) as client:
        return float(client.hear()["seconds"]) * 1000


def run(plan: Plan) -> Iterator[Table]:
    """
    Measure it.

    :param plan: how much.
    """
    progress("ping, alone and beside bulk")
    table = Table("ping", "a PING, until it is answered, at the median", "ms", compared=False)
    ways = {
        "alone": partial(ping, plan.pings, False),
        "beside a connection that sends flat out": partial(ping, plan.pings, True),
    }
    yield in_turn(table, ways, plan.rounds, plan.warm_up)
