"""
The third tier: servers and clients as separate processes, over loopback.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass, field
from typing import Any

from .certificate import make_certificate
from .plan import Plan
from .processes import Child, run
from .tables import NotInstalled, Table, in_turn, progress
from .tasks import BULK, CONNECTIONS, IN_FLIGHT, SERIAL, Task


@dataclass(frozen=True)
class Peer:
    """
    One of the programs that are compared.

    :ivar key: its name on the command line.
    :ivar name: its name in tables.
    :ivar module: its module in :mod:`benchmarks.peers`.
    :ivar workloads: the workloads that it takes part in.
    :ivar has_server: whether it needs a server process.
    :ivar options: further arguments for its ``run``.
    :ivar notes: remarks for the tables, by workload.
    """

    key: str
    name: str
    module: str
    workloads: tuple[str, ...] = (BULK, SERIAL, IN_FLIGHT, CONNECTIONS)
    has_server: bool = True
    options: dict[str, Any] = field(default_factory=dict)
    notes: dict[str, str] = field(default_factory=dict)


#: The others are compared to the first one.
PEERS = (
    Peer("sodiumtwist", "sodiumtwist", "sodium"),
    Peer("early", "sodiumtwist, early request", "sodium", (CONNECTIONS,), options={"early": True}),
    Peer("tls", "Twisted TLS", "tls"),
    Peer("amp", "AMP over Twisted TLS", "amp", notes={BULK: "values of 65535 bytes, the most it takes"}),
    Peer("zeromq", "ZeroMQ CURVE", "zeromq"),
    Peer("asyncio", "asyncio TLS", "asyncio_tls"),
    Peer("transit", "magic-wormhole transit", "transit"),
    Peer("secretstream", "secretstream alone, one core", "secretstream", (BULK,), has_server=False),
    Peer("tcp", "Twisted TCP, not encrypted", "tcp"),
)


class Servers:
    """
    The server processes. Each is started when it is needed for the first time.

    :param stack: ends them.
    :param directory: a directory with what they need.
    :ivar remarks: what they say of how they make connections, by module.
    """

    def __init__(self, stack: ExitStack, directory: str) -> None:
        self._stack = stack
        self._directory = directory
        self._told: dict[str, dict[str, Any] | NotInstalled] = {}
        self.remarks: dict[str, str] = {}

    def find(self, module: str) -> dict[str, Any]:
        """
        Tell where a server listens.

        :param module: its module in :mod:`benchmarks.peers`.
        :raises NotInstalled: when something that it needs is missing.
        :raises Failed: when it did not start.
        """
        if module not in self._told:
            child = self._stack.enter_context(Child(f"peers.{module}", "serve", directory=self._directory))
            try:
                self._told[module] = child.hear()
                self.remarks[module] = self._told[module].get("note", "")  # type: ignore[union-attr]
            except NotInstalled as missing:
                self._told[module] = missing
        told = self._told[module]
        if isinstance(told, NotInstalled):
            raise told
        return told

    def measure(self, peer: Peer, task: Task, server: dict[str, Any] | None = None) -> float:
        """
        Let a client do a task.

        :param peer: whose client.
        :param task: what to do.
        :param server: where the server is; ``None`` for where :meth:`find` tells.
        :return: the seconds that it took.
        :raises NotInstalled: when something that it needs is missing.
        :raises Failed: when the server did not start or the client fails.
        """
        if server is None:
            server = self.find(peer.module) if peer.has_server else {}
        told = run(f"peers.{peer.module}", directory=self._directory, server=server, task=asdict(task), **peer.options)
        return float(told["seconds"])


def _workloads(plan: Plan) -> Iterator[tuple[str, str, str, Task, float]]:
    """Return for each table its key, title, unit and task, and what divided by the task's seconds is a figure."""
    for label, size in (("64 KiB", 65536), ("128 KiB", 131070)):
        count = max(1, plan.bulk_bytes // size)
        yield f"bulk-{size}", f"bulk, {label} PDUs", "MB/s", Task(BULK, size, count), size * count / 1e6
    task = Task(SERIAL, 100, plan.serial_requests)
    yield "serial", "100-byte requests, one at a time", "requests/s", task, task.count
    task = Task(IN_FLIGHT, 100, plan.in_flight_requests)
    yield "in-flight", "100-byte requests, 128 in flight", "requests/s", task, task.count
    task = Task(CONNECTIONS, 100, plan.connections)
    yield "connections", "fresh authenticated connections", "connections/s", task, task.count


def run_workloads(plan: Plan, names: Sequence[str], keys: Sequence[str] | None = None) -> Iterator[Table]:
    """
    Take the figures of some workloads.

    :param plan: how much to measure.
    :param names: the workloads.
    :param keys: the keys of the peers; ``None`` for all of them.
    """
    peers = [peer for peer in PEERS if keys is None or peer.key in keys]
    with tempfile.TemporaryDirectory(prefix="sodiumtwist-bench-") as directory, ExitStack() as stack:
        make_certificate(directory)
        servers = Servers(stack, directory)

        def measuring(peer: Peer, task: Task, amount: float) -> Callable[[], float]:
            return lambda: amount / servers.measure(peer, task)

        for key, title, unit, task, amount in _workloads(plan):
            taking_part = [peer for peer in peers if task.workload in peer.workloads]
            if task.workload in names and taking_part:
                progress(title)
                measure = {peer.name: measuring(peer, task, amount) for peer in taking_part}
                table = in_turn(Table(key, title, unit), measure, plan.rounds, plan.warm_up)
                for peer, row in zip(taking_part, table.rows, strict=True):
                    row.note = row.note or peer.notes.get(task.workload, "")
                    if task.workload == CONNECTIONS:
                        row.note = row.note or servers.remarks.get(peer.module, "")
                yield table
