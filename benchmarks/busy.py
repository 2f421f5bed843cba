"""
Notices what else the machine does while figures are taken: figures of a busy machine are worth little.

The system tells how long its processors have worked in all. What our own processes have not used of it, others have. A
virtual machine also tells how long it had to wait for the real one.
"""

from __future__ import annotations

import os
import time
from dataclasses import dataclass

from .usage import processor_seconds

#: The share of all cores that others may take while a table is measured, and the share that may be stolen, before
#: that is said. Below it lies what a quiet system does for itself, and what comes of counting in hundredths of seconds.
BUSY_SHARE = 0.05

#: The load for each core, in the minute before, from which on that is said.
BUSY_LOAD = 0.25


@dataclass(frozen=True)
class Times:
    """
    What the processors have done so far, in seconds.

    :ivar wall: the time.
    :ivar work: of all processes.
    :ivar interrupts: for interrupts, which the system counts apart.
    :ivar stolen: what a machine of this one's host has had instead.
    :ivar ours: what this process and its children have worked.
    """

    wall: float
    work: float
    interrupts: float
    stolen: float
    ours: float


def worked(stat: str) -> tuple[float, float, float]:
    """
    Read how long all processors have worked.

    :param stat: the text of ``/proc/stat``, see proc(5).
    :return: seconds of work, for interrupts, and stolen.
    """
    user, nice, system, _idle, _wait, interrupt, soft, stolen = (int(ticks) for ticks in stat.split()[1:9])
    second = os.sysconf("SC_CLK_TCK")
    return (user + nice + system) / second, (interrupt + soft) / second, stolen / second


def now() -> Times | None:
    """Tell what the processors have done so far; ``None`` on systems that do not tell."""
    ours = processor_seconds(os.getpid())
    try:
        with open("/proc/stat", encoding="ascii") as file:
            work, interrupts, stolen = worked(file.readline())
    except OSError:
        return None
    return None if ours is None else Times(time.monotonic(), work, interrupts, stolen, ours)


def describe_others(before: Times | None, after: Times | None, cores: int) -> str:
    """
    Say what else the machine has done.

    :param before: when measuring began.
    :param after: when it ended.
    :param cores: how many there are.
    :return: a remark; empty when the machine was quiet, or nobody knows.
    """
    if before is None or after is None:
        return ""
    work, ours = after.work - before.work, after.ours - before.ours
    # Some systems take the time for interrupts off the process that they interrupt, and some do not. It is ours for the
    # most part, as nothing else should use the network.
    if ours > work:
        work += after.interrupts - before.interrupts
    whole = max(after.wall - before.wall, 1e-9) * cores
    others, stolen = (work - ours) / whole, (after.stolen - before.stolen) / whole
    said = []
    if others > BUSY_SHARE:
        said.append(f"other programs took {others:.0%} of the cores")
    if stolen > BUSY_SHARE:
        said.append(f"other machines of the same host took {stolen:.0%}")
    return ", ".join(said)


def describe_load(load: float, cores: int) -> str:
    """
    Say how busy the machine was before.

    :param load: of the last minute.
    :param cores: how many there are.
    :return: a remark; empty when it was quiet.
    """
    return f"the load was {load:.2f} before the run began" if load > BUSY_LOAD * cores else ""
