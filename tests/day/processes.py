"""
What the system tells of a process and of those that it has started.
"""

from __future__ import annotations

import os
import time
from collections import Counter
from contextlib import suppress

#: How often a process is looked at, to find what stays; and seconds between two looks.
LOOKS, BETWEEN = 5, 0.03


def family(pid: int) -> list[int]:
    """Find a process, and all that it has started and that are still there."""
    found = [pid]
    for one in found:
        with suppress(OSError):
            for thread in os.listdir(f"/proc/{one}/task"):
                with open(f"/proc/{one}/task/{thread}/children") as file:
                    found += map(int, file.read().split())
    return found


def memory(pid: int) -> int:
    """Tell how much memory a process and those that it has started have to themselves, in bytes."""
    size = 0
    for one in family(pid):
        with suppress(OSError), open(f"/proc/{one}/status") as file:
            for line in file:
                # What they share was there when they were forked.
                if line.startswith("RssAnon:"):
                    size += int(line.split()[1]) * 1024
    return size


def descriptors(pid: int) -> Counter[str]:
    """
    Count the open descriptors of a process and of those that it has started.

    :return: how many there are of each kind: of files by their paths, of others by their kinds.
    """
    kinds: Counter[str] = Counter()
    for one in family(pid):
        with suppress(OSError):
            for number in os.listdir(f"/proc/{one}/fd"):
                with suppress(OSError):
                    kinds[os.readlink(f"/proc/{one}/fd/{number}").partition(":[")[0]] += 1
    return kinds


def lasting_descriptors(pid: int) -> Counter[str]:
    """
    Count the open descriptors as :func:`descriptors` does, without those that are soon closed, such as of a balancer
    that asks how the process is.
    """
    found = descriptors(pid)
    for _ in range(LOOKS - 1):
        time.sleep(BETWEEN)
        # Of each kind the least.
        found &= descriptors(pid)
    return found


def processor_time(pid: int) -> float:
    """Tell how many seconds of processor time a process and those that it has started have used so far."""
    ticks = 0
    for one in family(pid):
        with suppress(OSError), open(f"/proc/{one}/stat") as file:
            fields = file.read().rpartition(")")[2].split()
            ticks += sum(map(int, fields[11:15]))
    return ticks / os.sysconf("SC_CLK_TCK")
