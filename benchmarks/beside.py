"""
How soon a PING is answered, alone and beside a connection that sends as fast as it can.
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

#: How many payloads the other connection has to send: more than it can while PINGs are measured.
ENDLESS = 10**9

#: The largest payload. With it, others wait the longest.
SIZE = 128 * KIB - 2


def ping(count: int, beside: bool) -> float:
    """
    Send PINGs, one after the other, from a separate process.

    :param count: how many.
    :param beside: whether another connection sends to the same server as fast as it can.
    :return: the median time until a PING is answered, in milliseconds.
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
    Take all figures of this module.

    :param plan: how much to measure.
    """
    progress("ping, alone and beside bulk")
    table = Table("ping", "a PING, until it is answered, at the median", "ms", compared=False, better="less")
    ways = {
        "alone": partial(ping, plan.pings, False),
        "beside a connection that sends flat out": partial(ping, plan.pings, True),
    }
    yield in_turn(table, ways, plan.rounds, plan.warm_up)
