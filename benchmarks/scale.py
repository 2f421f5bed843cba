"""
Many connections at once: how much they send together, what memory an idle one takes, and how long it takes to
accept them. Plain TCP is measured in the same run.
"""

from __future__ import annotations

import resource
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict

from .plan import KIB, Plan
from .processes import Child
from .tables import PER_GIB, Figure, NotInstalled, Row, Table, in_turn, progress
from .tasks import CROWD, Task

PEERS = {"sodiumtwist": "peers.sodium", "Twisted TCP": "peers.tcp"}

#: Their keys in ``--json``.
KEYS = {"sodiumtwist": "sodiumtwist", "Twisted TCP": "tcp"}

SIZE = 64 * KIB

#: With fewer connections than this, the memory of one can't be told from what else changes.
MEASURABLE = 1_000

#: Descriptors that a process needs besides those for connections.
OTHER_DESCRIPTORS = 100

#: Seconds to wait before the memory is read, in which nothing is sent.
QUIET = 0.5


class Crowds:
    """
    Measures throughput, and keeps what is learnt besides it.

    :param total: bytes that all connections send together.
    :ivar accepted: seconds until all connections are accepted, by peer and number of connections.
    :ivar memory: bytes that a connection takes, by peer and number of connections.
    """

    def __init__(self, total: int) -> None:
        self._total = total
        self.accepted: dict[tuple[str, int], list[float]] = {}
        self.memory: dict[tuple[str, int], list[float]] = {}

    def measure(self, name: str, count: int) -> Figure:
        """
        Hold connections, and send by all of them.

        :param name: of the peer.
        :param count: how many connections.
        :return: MB in a second, and the processor time.
        """
        task = Task(CROWD, SIZE, count, max(1, self._total // SIZE // count))
        module = PEERS[name]
        with Child(module, "serve", directory="") as server:
            told = server.hear()
            before = self._resident(server)
            asked = {"directory": "", "server": told, "task": asdict(task), "watched": [server.process.pid]}
            with Child(module, "run", **asked) as client:
                self.accepted.setdefault((name, count), []).append(client.hear()["connected"])
                time.sleep(QUIET)
                if before and count >= MEASURABLE:
                    used = (self._resident(server) - before) / count
                    self.memory.setdefault((name, count), []).append(used)
                client.say_go()
                return Figure.of_bytes(SIZE * count * task.each, **client.hear())

    def _resident(self, server: Child) -> int:
        try:
            return server.resident()
        except NotInstalled:
            return 0


def affordable(crowds: tuple[int, ...]) -> list[int]:
    """
    Lower the crowds for which a process has not enough descriptors, and say so.

    :param crowds: numbers of connections.
    """
    most = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    if most == resource.RLIM_INFINITY:
        return list(crowds)
    most -= OTHER_DESCRIPTORS
    for count in crowds:
        if count > most:
            print(f"\nscale: {count:,} connections become {most:,}: a process may open no more (ulimit -Hn)")
    return sorted({min(count, most) for count in crowds})


def run(plan: Plan) -> Iterator[Table]:
    """
    Take all figures of this module.

    :param plan: how much to measure.
    """
    counts = affordable(plan.crowds)
    crowds = Crowds(plan.crowd_bytes)
    throughput = {
        name: Table(
            f"scale-throughput-{module.partition('.')[2]}",
            f"scale, throughput in total: {name}, to that of {counts[0]:,}",
            "MB/s",
            upside_down=True,
            cpu_unit=PER_GIB,
        )
        for name, module in PEERS.items()
    }
    # First the crowds that are measured in each round, then the large ones.
    for usual in (True, False):
        chosen = [count for count in counts if (count <= plan.crowd_rounds_to) is usual]
        if not chosen:
            continue
        progress(f"scale, {', '.join(f'{count:,}' for count in chosen)} connections")
        # Both peers in turn for each number, though each peer has a table of its own.
        both = Table("", "", "")
        measure = {f"{name} {count}": _measuring(crowds, name, count) for count in chosen for name in PEERS}
        in_turn(both, measure, plan.rounds if usual else 1, warm_up=usual and plan.warm_up)
        rows = iter(both.rows)
        for count in chosen:
            for name in PEERS:
                row = next(rows)
                label = f"{count:,} connection{'s' * (count > 1)}"
                throughput[name].rows.append(Row(label, row.samples, row.note, str(count), row.cpu))
                throughput[name].failed |= both.failed
                throughput[name].busy = throughput[name].busy or both.busy
    yield from throughput.values()
    yield _accepting(crowds, plan, counts)
    if crowds.memory:
        yield _memory(crowds, plan)


def _measuring(crowds: Crowds, name: str, count: int) -> Callable[[], Figure]:
    return lambda: crowds.measure(name, count)


def _counted(samples: list[float], count: int, plan: Plan) -> list[float]:
    """Leave out the sample of the warm-up."""
    return samples[1:] if plan.warm_up and count <= plan.crowd_rounds_to else samples


def _accepting(crowds: Crowds, plan: Plan, counts: list[int]) -> Table:
    table = Table("scale-accept", "scale, connections accepted, 32 being made at once", "connections/s", compared=False)
    for count in counts:
        for name in PEERS:
            samples = _counted(crowds.accepted.get((name, count), []), count, plan)
            rates = [count / seconds for seconds in samples]
            table.rows.append(Row(f"{name}, {count:,}", rates, key=f"{KEYS[name]}-{count}"))
    return table


def _memory(crowds: Crowds, plan: Plan) -> Table:
    title = "scale, memory of the server for each idle authenticated connection"
    table = Table("scale-memory", title, "KiB", compared=False, better="less")
    for count in sorted({count for _, count in crowds.memory}):
        both = []
        for name in PEERS:
            both.append([used / KIB for used in _counted(crowds.memory.get((name, count), []), count, plan)])
            table.rows.append(Row(f"{name}, {count:,}", both[-1], key=f"{KEYS[name]}-{count}"))
        ours, plain = both
        more = [a - b for a, b in zip(ours, plain, strict=False)]
        table.rows.append(Row(f"the difference, {count:,}", more, key=f"difference-{count}"))
    return table
