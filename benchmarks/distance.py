"""
Transfers through a proxy that adds a delay in each direction: an upload, one DATA at a time, and plain TCP.

A line without a limit takes whatever it gets, and so the figures tell how quick the processes are. A line with
1 Gbit/s shows whether they fill it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Any

from sodiumtwist.protocol.sockets import CHUNK_SIZE

from .loopback import Peer, Servers
from .plan import Plan
from .processes import Child
from .tables import PER_GIB, PER_PAYLOAD_BYTE, Figure, Table, in_turn, progress
from .tasks import BULK, STOP_AND_WAIT, UPLOAD, Task

LARGEST = 131070

OURS = Peer("sodiumtwist", "sodiumtwist", "sodium")
PLAIN = Peer("tcp", "Twisted TCP", "tcp")

#: Names of the rows.
UPLOADING, ONE_BY_ONE, TCP = "sodiumtwist, upload", "one DATA at a time", "Twisted TCP, not encrypted"

#: Keys of the rows.
KEYS = {UPLOADING: "sodiumtwist", ONE_BY_ONE: "one-by-one", TCP: "tcp"}


def _tasks(delay: float, total: int, stop_and_wait: float) -> dict[str, tuple[Peer, Task]]:
    few = max(5, min(500, int(stop_and_wait / (2 * delay + 0.001))))
    chunks = max(1, total // CHUNK_SIZE)
    return {
        UPLOADING: (OURS, Task(UPLOAD, CHUNK_SIZE, chunks)),
        ONE_BY_ONE: (OURS, Task(STOP_AND_WAIT, LARGEST, min(few, chunks))),
        TCP: (PLAIN, Task(BULK, CHUNK_SIZE, chunks)),
    }


def run(plan: Plan) -> Iterator[Table]:
    """
    Take all figures of this module.

    :param plan: how much to measure.
    """
    with ExitStack() as stack:
        servers = Servers(stack, "")
        ports = {name: port for name, port in servers.find(OURS.module).items()}
        ports["tcp"] = servers.find(PLAIN.module)["port"]
        for rate, total, line in ((0.0, plan.distance_bytes, "no limit"), (plan.link_rate, plan.link_bytes, "a link")):
            for delay in plan.delays:
                progress(f"distance, {delay * 1000:g} ms, {line}")
                yield _at(servers, ports, delay, rate, _tasks(delay, total, plan.stop_and_wait_seconds), plan)


def _at(
    servers: Servers, ports: dict[str, int], delay: float, rate: float, tasks: dict[str, tuple[Peer, Task]], plan: Plan
) -> Table:
    with Child("delay_line", "serve", ports=ports, delay=delay, rate=rate) as proxy:
        through: dict[str, Any] = proxy.hear()

        def measuring(peer: Peer, task: Task) -> Callable[[], Figure]:
            server = {"port": through["tcp"]} if peer is PLAIN else through

            def measure() -> Figure:
                told, size = servers.measure(peer, task, server), task.size * task.count
                # What the proxy carries is on the interface twice.
                wire = told["wire"] and told["wire"] / 2
                return Figure.of_bytes(size, **{**told, "wire": wire})

            return measure

        measure = {KEYS[name]: measuring(peer, task) for name, (peer, task) in tasks.items()}
        line = f"{rate / 1e6:g} MB/s" if rate else "no limit"
        key = f"distance-{'link' if rate else 'open'}-{delay * 1000:g}"
        table = Table(key, f"distance, {delay * 1000:g} ms each way, {line}", "MB/s")
        table.cpu_unit, table.wire_unit = PER_GIB, PER_PAYLOAD_BYTE
        return in_turn(table, measure, plan.rounds, plan.warm_up, {key: name for name, key in KEYS.items()})
