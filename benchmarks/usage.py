"""
What work costs besides its time: the processor's, bytes on the wire, and memory.

Processor time is read from the system, of both ends: a client's process asks for its own and for the server's, before
the measured time and behind it. It is user and system time together, of all threads, and of children.

Bytes are those that the loopback interface counts, without the headers of IP and TCP. So they are right for any
program, however its sockets are made, and wrong while other programs use that interface, too. A connection that is
made or closed adds at most some tens of bytes to that, for the headers of its first packets are longer.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Sequence
from contextlib import suppress
from typing import Any

#: Bytes of the headers of IPv4 and of TCP, the latter with the time stamps that systems put into each packet.
HEADERS = 20 + 32

INTERFACE = "lo"

#: Which processes' time counts besides that of a client: the server's.
_servers: list[int] = []


def watch(servers: Sequence[int]) -> None:
    """
    Tell a client's process whose processor time counts besides its own.

    :param servers: the numbers of processes.
    """
    _servers[:] = servers


def _read(path: str) -> str:
    with open(path, encoding="ascii", errors="replace") as file:
        return file.read()


def processor_seconds(process: int) -> float | None:
    """
    Tell the processor time of a process and of its children, whether these have ended or not.

    :param process: its number.
    :return: seconds; ``None`` on systems that do not tell.
    """
    if sys.platform != "linux":
        return None
    try:
        # The number of the clock of a process, as clock_getcpuclockid() makes it. /proc has it in hundredths.
        seconds = time.clock_gettime(~process << 3 | 2) + ended_children_seconds(_read(f"/proc/{process}/stat"))
        tasks = os.listdir(f"/proc/{process}/task")
    except OSError:
        # It has ended, and its parent has been told its time.
        return 0.0
    for task in tasks:
        # Threads come and go meanwhile.
        with suppress(OSError):
            for child in _read(f"/proc/{process}/task/{task}/children").split():
                seconds += processor_seconds(int(child)) or 0.0
    return seconds


def ended_children_seconds(stat: str) -> float:
    """
    Tell the processor time of children that have ended.

    :param stat: the text of ``/proc/PID/stat``, see proc(5).
    """
    # The name of the program, in parentheses, may have anything in it.
    fields = stat.rpartition(")")[2].split()
    return (int(fields[13]) + int(fields[14])) / os.sysconf("SC_CLK_TCK")


def peak_memory(process: int) -> int | None:
    """
    Tell the most memory that a process has had.

    :param process: its number.
    :return: bytes that were resident; ``None`` on systems that do not tell, and when it has ended.
    """
    with suppress(OSError):
        for line in _read(f"/proc/{process}/status").splitlines():
            name, _, value = line.partition(":")
            if name == "VmHWM":
                return int(value.split()[0]) * 1024
    return None


def counted_bytes(devices: str) -> int | None:
    """
    Tell how many bytes packets have carried over loopback.

    :param devices: the text of ``/proc/net/dev``.
    :return: ``None`` when it does not tell of that interface.
    """
    for line in devices.splitlines():
        name, _, counters = line.partition(":")
        if name.strip() == INTERFACE:
            size, packets = map(int, counters.split()[:2])
            return size - packets * HEADERS
    return None


def loopback_bytes() -> int | None:
    """Tell how many bytes packets have carried over loopback; ``None`` on systems that do not tell."""
    try:
        return counted_bytes(_read("/proc/net/dev"))
    except OSError:
        return None


def _all_seconds(processes: Sequence[int]) -> float | None:
    all_of_them = [processor_seconds(process) for process in processes]
    return None if None in all_of_them else sum(seconds for seconds in all_of_them if seconds is not None)


class Meter:
    """
    Measures from now on.

    :param processes: whose processor time counts; ``None`` for this process and those of :func:`watch`.
    """

    def __init__(self, processes: Sequence[int] | None = None) -> None:
        self._processes = [os.getpid(), *_servers] if processes is None else processes
        self._wire, self._cpu = loopback_bytes(), _all_seconds(self._processes)
        self._began = time.perf_counter()

    def read(self) -> dict[str, Any]:
        """
        Tell what it took until now.

        :return: ``seconds``, and, each ``None`` where the system does not tell, ``cpu`` in seconds and ``wire`` in
            bytes.
        """
        seconds = time.perf_counter() - self._began
        cpu, wire = _all_seconds(self._processes), loopback_bytes()
        return {
            "seconds": seconds,
            "cpu": None if cpu is None or self._cpu is None else cpu - self._cpu,
            "wire": None if wire is None or self._wire is None else wire - self._wire,
        }
