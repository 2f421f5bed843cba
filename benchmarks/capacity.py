"""
What the page on capacity tells: what a core does, from the figures of one run, and how many machines a task takes.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

from sodiumtwist.core.keepalive import Timeouts

from .pages import Figures, find, paragraph, simple_table
from .plan import GIB
from .tables import number

KIB = 1024.0

#: How many connections a process had at most when it was measured.
CONNECTIONS = 10_000


@dataclass(frozen=True)
class Place:
    """
    Where a figure is.

    :ivar table: its key.
    :ivar row: its key.
    :ivar how: it was measured.
    """

    table: str
    row: str
    how: str


@dataclass(frozen=True)
class Measure:
    """
    What a core does.

    :ivar what: it is.
    :ivar unit: of the figure.
    :ivar places: that may have it; the first one that is there counts.
    """

    what: str
    unit: str
    places: tuple[Place, ...]


_MANY = f"{CONNECTIONS:,} connections"

#: A server had a core for itself. What the clients took is not in it.
MEASURES: Mapping[str, Measure] = {
    "logins": Measure(
        "Fresh logins",
        "/s",
        (
            Place("workers-logins", "one process", "by processor time"),
            Place("scale-accept", f"sodiumtwist-{CONNECTIONS}", "32 at once"),
            Place("connections", "sodiumtwist", "one behind the other"),
        ),
    ),
    "alone": Measure(
        "Requests that come alone", "/s", (Place("serial", "sodiumtwist", "100 bytes, on one connection"),)
    ),
    "crowded": Measure(
        "Requests that come together", "/s", (Place("in-flight", "sodiumtwist", "100 bytes, 128 at once"),)
    ),
    "few": Measure(
        "Bytes of few connections", "MB/s", (Place("bulk-65536", "sodiumtwist", "64 KiB each, on one connection"),)
    ),
    "many": Measure("Bytes of many connections", "MB/s", (Place("scale-throughput-sodium", str(CONNECTIONS), _MANY),)),
    "files": Measure("Files", "MB/s", (Place("send", "sodiumtwist", "one of 1 GiB, on a RAM disk, not synced"),)),
    "memory": Measure(
        "Memory of an idle connection", "KiB", (Place("scale-memory", f"sodiumtwist-{CONNECTIONS}", _MANY),)
    ),
}


@dataclass(frozen=True)
class Machine:
    """
    One of those that are counted.

    :ivar cores: each with a process.
    :ivar memory: in bytes, for connections.
    :ivar network: in bits a second, in each direction.
    """

    cores: int = 16
    memory: float = 32 * GIB
    network: float = 25e9


@dataclass(frozen=True)
class Task:
    """
    What is to be done.

    :ivar what: it is.
    :ivar cores: that it keeps busy.
    :ivar connections: how many there are.
    :ivar memory: in bytes.
    :ivar network: in bits a second.
    """

    what: str
    cores: float
    connections: int
    memory: float
    network: float = 0.0

    @property
    def processes(self) -> int:
        """How many it takes."""
        return max(math.ceil(self.cores), math.ceil(self.connections / CONNECTIONS))

    def machines(self, machine: Machine) -> tuple[int, str]:
        """
        Tell how many it takes, and what of them there must be so much of.
        """
        needs = {
            "cores": math.ceil(self.cores) / machine.cores,
            "processes": self.processes / machine.cores,
            "memory": self.memory / machine.memory,
            "network": self.network / machine.network,
        }
        most = max(needs, key=lambda name: needs[name])
        return math.ceil(needs[most]), most


def _row(figures: Figures, key: str, name: str) -> Any:
    table = find(figures, key)
    rows = table["rows"] if table else []
    return next((row for row in rows if row["key"] == name and row["median"] is not None), None)


def measured(figures: Figures) -> dict[str, tuple[Any, Place]]:
    """
    Find what a core does.

    :return: the row and its place, by the names of :data:`MEASURES`; what that run has not is not there.
    """
    found = {}
    for name, measure in MEASURES.items():
        rows = [(_row(figures, place.table, place.row), place) for place in measure.places]
        there = [(row, place) for row, place in rows if row is not None]
        if there:
            found[name] = there[0]
    return found


def tasks(figures: Figures) -> list[Task]:
    """Make the tasks of the page, as far as that run has figures for them."""
    found = measured(figures)
    does = {name: row["median"] for name, (row, _) in found.items()}
    clients, rate, made = 1_000_000, 100e9, []
    memory = clients * does.get("memory", 0.0) * KIB
    if "memory" in does and "alone" in does and found["alone"][0]["cpu"] is not None:
        # A PING and its PONG take no more than a request and its answer. What both ends take is charged to one.
        pings = clients / Timeouts().ping_interval * found["alone"][0]["cpu"] / 1000
        made.append(Task(f"{clients:,} clients that are idle", pings, clients, memory))
    if "logins" in does:
        made.append(Task("They all log in within a minute", clients / 60 / does["logins"], clients, memory))
    if "alone" in does:
        made.append(Task("Each has a request every 10 s", clients / 10 / does["alone"], clients, memory))
    for name, what in ("many", "many connections"), ("few", "few connections"), ("files", "files, beside their disks"):
        if name in does:
            connections = CONNECTIONS if name == "many" else 0
            memory = connections * does.get("memory", 0.0) * KIB
            made.append(Task(f"100 Gbit/s of {what}", rate / 8e6 / does[name], connections, memory, rate))
    return made


def _core(figures: Figures) -> Iterator[str]:
    """What a core does."""
    lines = []
    for name, (row, place) in measured(figures).items():
        measure = MEASURES[name]
        lines.append([measure.what, f"{number(row['median'])} {measure.unit}", place.how, place.table])
    if not lines:
        yield from paragraph("That run has none of it.")
        return
    yield from simple_table(
        "What one process does, with a core for itself", ["What", "How much", "How", "Table"], lines
    )
    for key, what in ("workers-logins", "logins"), ("workers-requests", "requests"):
        row = _row(figures, key, "2 workers")
        if row is not None and row["ratio"]:
            # It says how many times as fast the first row is.
            times = 1 / row["ratio"]["median"]
            yield from paragraph(f"Two workers on two cores did {times:.2f} times as many {what} as one process.")


def _machines(figures: Figures, machine: Machine) -> Iterator[str]:
    """How many machines the tasks take."""
    lines = []
    for task in tasks(figures):
        count, most = task.machines(machine)
        memory = f"{number(task.memory / GIB)} GiB" if task.memory else ""
        lines.append([task.what, number(task.cores), str(task.processes), memory, str(count), most])
    if not lines:
        yield from paragraph("That run has no figures for it.")
        return
    yield from paragraph(
        f"A machine here has {machine.cores} cores, {machine.memory / GIB:.0f} GiB for connections, and a network of "
        f"{machine.network / 1e9:.0f} Gbit/s each way; a process has {CONNECTIONS:,} connections at most."
    )
    head = ["Task", "Busy cores", "Processes", "Memory", "Machines", "For their"]
    yield from simple_table("Machines, without one to spare", head, lines)


def capacity(figures: Figures, machine: Machine = Machine()) -> dict[str, Callable[[], Iterable[str]]]:
    """
    Make all that the page takes from one run.

    :param figures: what ``--json`` wrote.
    :param machine: what is counted.
    :return: for each part's name what makes its lines.
    """
    return {"capacity-core": partial(_core, figures), "capacity-machines": partial(_machines, figures, machine)}
