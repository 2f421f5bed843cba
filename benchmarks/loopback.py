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
from .tables import PER_GIB, PER_PAYLOAD_BYTE, Figure, NotInstalled, Table, in_turn, progress
from .tasks import ANSWER_SIZE, ANSWERS, BULK, CONNECTIONS, IN_FLIGHT, SERIAL, Task


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
    workloads: tuple[str, ...] = (BULK, SERIAL, IN_FLIGHT, ANSWERS, CONNECTIONS)
    has_server: bool = True
    options: dict[str, Any] = field(default_factory=dict)
    notes: dict[str, str] = field(default_factory=dict)


AMP_NOTE = "values of 65535 bytes, the most it takes"

#: The others are compared to the first one.
PEERS = (
    Peer("sodiumtwist", "sodiumtwist", "sodium"),
    Peer("sodiumtwist-1", "sodiumtwist, version 1", "sodium", options={"version": 1}),
    Peer("early", "sodiumtwist, early request", "sodium", (CONNECTIONS,), options={"early": True}),
    Peer("uvloop", "sodiumtwist on uvloop", "on_uvloop"),
    Peer("tls", "Twisted TLS", "tls"),
    Peer("amp", "AMP over Twisted TLS", "amp", notes={BULK: AMP_NOTE, ANSWERS: AMP_NOTE}),
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
    """

    def __init__(self, stack: ExitStack, directory: str) -> None:
        self._stack = stack
        self._directory = directory
        self._children: dict[tuple[str, int], Child] = {}
        self._told: dict[tuple[str, int], dict[str, Any] | NotInstalled] = {}

    def find(self, module: str, answer_size: int = 0) -> dict[str, Any]:
        """
        Tell where a server listens.

        :param module: its module in :mod:`benchmarks.peers`.
        :param answer_size: bytes of each answer; 0 when requests are sent back.
        :raises NotInstalled: when something that it needs is missing.
        :raises Failed: when it did not start.
        """
        which = (module, answer_size)
        if which not in self._told:
            arguments = {"directory": self._directory, "answer_size": answer_size}
            child = self._stack.enter_context(Child(f"peers.{module}", "serve", **arguments))
            try:
                self._told[which] = child.hear()
            except NotInstalled as missing:
                self._told[which] = missing
            self._children[which] = child
        told = self._told[which]
        if isinstance(told, NotInstalled):
            raise told
        return told

    def note(self, module: str) -> str:
        """Return what a server says of how connections are made; empty when it says nothing, or there is none."""
        told = self._told.get((module, 0), {})
        return "" if isinstance(told, NotInstalled) else str(told.get("note", ""))

    def measure(self, peer: Peer, task: Task, server: dict[str, Any] | None = None) -> dict[str, Any]:
        """
        Let a client do a task.

        :param peer: whose client.
        :param task: what to do.
        :param server: where the server is; ``None`` for where :meth:`find` tells.
        :return: what it took, see :meth:`benchmarks.usage.Meter.read`.
        :raises NotInstalled: when something that it needs is missing.
        :raises Failed: when the server did not start or the client fails.
        """
        which = (peer.module, ANSWER_SIZE if task.workload == ANSWERS else 0)
        found = self.find(*which) if peer.has_server else {}
        return run(
            f"peers.{peer.module}",
            watched=[self._children[which].process.pid] if peer.has_server else [],
            directory=self._directory,
            server=found if server is None else server,
            task=asdict(task),
            **peer.options,
        )


def _workloads(plan: Plan) -> Iterator[tuple[Table, Task]]:
    """Return each table and its task."""
    for label, size in (("64 KiB", 65536), ("128 KiB", 131070)):
        task = Task(BULK, size, max(1, plan.bulk_bytes // size))
        table = Table(f"bulk-{size}", f"bulk, {label} PDUs", "MB/s", cpu_unit=PER_GIB, wire_unit=PER_PAYLOAD_BYTE)
        yield table, task
    for title, unit, task in (
        ("100-byte requests, one at a time", "requests", Task(SERIAL, 100, plan.serial_requests)),
        ("100-byte requests, 128 in flight", "requests", Task(IN_FLIGHT, 100, plan.in_flight_requests)),
        ("64 KiB answers to 100-byte requests, 16 in flight", "answers", Task(ANSWERS, 100, plan.answers)),
        ("fresh authenticated connections", "connections", Task(CONNECTIONS, 100, plan.connections)),
    ):
        cpu_unit, wire_unit = f"s per 1,000 {unit}", f"bytes per {unit[:-1]}"
        yield Table(task.workload, title, f"{unit}/s", cpu_unit=cpu_unit, wire_unit=wire_unit), task


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

        def measuring(peer: Peer, task: Task) -> Callable[[], Figure]:
            if task.workload == BULK:
                return lambda: Figure.of_bytes(task.size * task.count, **servers.measure(peer, task))
            return lambda: Figure.of_pieces(task.count, **servers.measure(peer, task))

        for table, task in _workloads(plan):
            taking_part = [peer for peer in peers if task.workload in peer.workloads]
            if task.workload in names and taking_part:
                progress(table.title)
                measure = {peer.key: measuring(peer, task) for peer in taking_part}
                in_turn(table, measure, plan.rounds, plan.warm_up, {peer.key: peer.name for peer in taking_part})
                for peer, row in zip(taking_part, table.rows, strict=True):
                    row.note = row.note or peer.notes.get(task.workload, "")
                    if task.workload == CONNECTIONS:
                        row.note = row.note or servers.note(peer.module)
                yield table
