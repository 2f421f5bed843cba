"""
What a client's process is asked to do.
"""

from __future__ import annotations

from dataclasses import dataclass

BULK, SERIAL, IN_FLIGHT, ANSWERS, CONNECTIONS = "bulk", "serial", "in-flight", "answers", "connections"
UPLOAD, STOP_AND_WAIT, CROWD, PING = "upload", "stop-and-wait", "crowd", "ping"

#: How many requests are unanswered at once. In other workloads it is one.
WINDOWS = {IN_FLIGHT: 128, ANSWERS: 16}

#: The size of an answer in ``ANSWERS``, in bytes. In other workloads, answers are what was asked.
ANSWER_SIZE = 65536


@dataclass(frozen=True)
class Task:
    """
    Work for a client, which tells what it took, see :meth:`benchmarks.usage.Meter.read`. For the first five workloads,
    a tenth of the work is done once more before that, as a warm-up.

    :ivar workload: ``BULK``: send ``count`` payloads, until the server has confirmed all bytes.
        ``SERIAL``: make ``count`` requests, one at a time. ``IN_FLIGHT``: make ``count`` requests, 128 at once.
        ``ANSWERS``: the same, 16 at once, to a server whose answers have 64 KiB.
        ``CONNECTIONS``: ``count`` times connect, authenticate, have one request answered, close.
        ``UPLOAD``: as ``sodiumtwist send`` does, ``count`` chunks. ``STOP_AND_WAIT``: as ``BULK``, but each
        payload waits until the one before is confirmed. ``CROWD``: hold ``count`` connections, and when told
        to go send ``each`` payloads by each of them. ``PING``: ``count`` of them, one at a time; it tells the
        median.
    :ivar size: of a payload, in bytes.
    :ivar count: how many.
    :ivar each: how many payloads each connection of a ``CROWD`` sends.
    """

    workload: str
    size: int
    count: int
    each: int = 1

    @property
    def warm_up(self) -> int:
        """How many are done before the measured time."""
        return max(1, self.count // 10)

    @property
    def window(self) -> int:
        """How many requests are unanswered at once."""
        return WINDOWS.get(self.workload, 1)
