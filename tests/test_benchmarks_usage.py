"""
What figures cost, and what else a machine does meanwhile, read from what the system tells.
"""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time

from twisted.trial.unittest import SynchronousTestCase

from benchmarks import usage
from benchmarks.busy import Times, describe_load, describe_others, now, worked
from benchmarks.tables import Failed
from benchmarks.tunnels import PLAIN_SIZE, requests_per_second
from benchmarks.usage import Meter, counted_bytes, ended_children_seconds, loopback_bytes, processor_seconds, watch

DEVICES = """Inter-|   Receive                                                |  Transmit
 face |bytes    packets errs drop fifo frame compressed multicast|bytes    packets errs drop fifo colls carrier
  eth0: 99999999    9999    0    0    0     0          0         0 99999999    9999    0    0    0     0       0
    lo: 1000520      10    0    0    0     0          0         0 1000520      10    0    0    0     0       0
"""


class UsageTests(SynchronousTestCase):
    """Processor time and bytes on the wire."""

    def test_headers(self) -> None:
        """Of loopback alone, and without the headers of packets."""
        self.assertEqual(counted_bytes(DEVICES), 1_000_000)
        self.assertIsNone(counted_bytes("".join(DEVICES.splitlines(keepends=True)[:3])))

    def test_children(self) -> None:
        """The time of children that have ended, whatever the program calls itself."""
        stat = "17 (a) R 1) S 1 17 17 0 -1 4194304 100 200 0 0 11 22 300 400 20 0 1 0 1234 5678 99"
        self.assertEqual(ended_children_seconds(stat), 700 / os.sysconf("SC_CLK_TCK"))

    def test_threads_end(self) -> None:
        """A thread that is gone before it is asked for its children takes nothing from the time of the process."""
        if processor_seconds(os.getpid()) is None:
            return
        read = usage._read

        def read_no_thread(path: str) -> str:
            if path.endswith("children"):
                raise FileNotFoundError(path)
            return read(path)

        self.patch(usage, "_read", read_no_thread)
        self.assertGreaterEqual(processor_seconds(os.getpid()) or 0.0, time.process_time() - 0.01)

    def test_all_of_them(self) -> None:
        """Both the process that asks and those it watches count, with their children; what is gone counts nothing."""
        clocks = {os.getpid(): [1.0, 3.0], 7: [10.0, 11.0]}
        self.patch(usage, "processor_seconds", lambda process: clocks[process].pop(0))
        self.addCleanup(watch, ())
        watch([7])
        self.assertEqual(Meter().read()["cpu"], 3.0)

    def test_unknown(self) -> None:
        """Where the system does not tell, there is the time alone."""
        self.patch(usage, "processor_seconds", lambda process: None)
        self.patch(usage, "loopback_bytes", lambda: None)
        told = Meter().read()
        self.assertGreater(told.pop("seconds"), 0)
        self.assertEqual(told, {"cpu": None, "wire": None})

    def test_this_system(self) -> None:
        """What this one tells: the time of a child, before and after it has ended, and bytes that a socket has sent."""
        before = processor_seconds(os.getpid())
        if sys.platform != "linux":
            self.assertIsNone(before)
            return
        assert before is not None
        code = "import time\nwhile time.process_time() < 0.1: pass\nprint(flush=True); input()"
        busy = [sys.executable, "-S", "-c", code]
        with subprocess.Popen(busy, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as child:
            assert child.stdout is not None
            child.stdout.readline()
            running = processor_seconds(os.getpid())
            assert running is not None
            self.assertGreater(running - before, 0.09)
            child.communicate(b"\n")
        ended = processor_seconds(os.getpid())
        assert ended is not None
        # It counts the time of what has ended in hundredths of seconds.
        self.assertGreater(ended - running, -0.03)
        if (sent := loopback_bytes()) is not None:
            with socket.create_server(("127.0.0.1", 0)) as server:
                with socket.create_connection(server.getsockname()) as client, server.accept()[0] as accepted:
                    client.sendall(bytes(50_000))
                    left = 50_000
                    while left:
                        left -= len(accepted.recv(left))
            now_sent = loopback_bytes()
            assert now_sent is not None
            self.assertGreaterEqual(now_sent - sent, 50_000)


class BusyTests(SynchronousTestCase):
    """A machine that does other things."""

    QUIET = Times(100.0, 50.0, 5.0, 1.0, 20.0)

    def describe(self, seconds: float, work: float, interrupts: float, stolen: float, ours: float) -> str:
        """Say what happened in some seconds on two cores."""
        quiet = self.QUIET
        later = Times(
            quiet.wall + seconds,
            quiet.work + work,
            quiet.interrupts + interrupts,
            quiet.stolen + stolen,
            quiet.ours + ours,
        )
        return describe_others(quiet, later, 2)

    def test_quiet(self) -> None:
        """What is ours is no remark, and neither are interrupts, whoever has their time."""
        self.assertEqual(self.describe(10, 18.0, 1.0, 0.1, 17.5), "")
        self.assertEqual(self.describe(10, 15.0, 3.0, 0.1, 17.5), "")
        self.assertEqual(self.describe(0, 0.0, 0.0, 0.0, 0.0), "")

    def test_others(self) -> None:
        self.assertEqual(self.describe(10, 18.0, 1.0, 0.0, 13.0), "other programs took 25% of the cores")
        # Interrupts are in our time here.
        self.assertEqual(self.describe(10, 13.0, 4.0, 0.0, 14.0), "other programs took 15% of the cores")

    def test_stolen(self) -> None:
        said = "other programs took 50% of the cores, other machines of the same host took 10%"
        self.assertEqual(self.describe(10, 15.0, 0.0, 2.0, 5.0), said)

    def test_unknown(self) -> None:
        """Where the system does not tell, nothing is claimed."""
        self.assertEqual(describe_others(None, self.QUIET, 2), "")
        self.assertEqual(describe_others(self.QUIET, None, 2), "")

    def test_stat(self) -> None:
        """User, nice and system are work; idle and waiting are not."""
        tick = 1 / os.sysconf("SC_CLK_TCK")
        told = worked("cpu  100 20 3 99999 8888 5 6 7 0 0")
        self.assertEqual(told, (123 * tick, 11 * tick, 7 * tick))

    def test_this_system(self) -> None:
        """It tells, or not; work only grows."""
        before = now()
        after = now()
        if before is None or after is None:
            self.assertFalse(os.path.exists("/proc/stat"))
            return
        self.assertGreaterEqual(after.work, before.work)
        self.assertLessEqual(abs(before.wall - time.monotonic()), 60)

    def test_load(self) -> None:
        self.assertEqual(describe_load(0.5, 2), "")
        self.assertEqual(describe_load(1.25, 2), "the load was 1.25 before the run began")


class RedisTests(SynchronousTestCase):
    """What redis-benchmark says."""

    def test_figures(self) -> None:
        """With titles, as it has written since 6.2, and without."""
        titles = '"test","rps","avg_latency_ms"\n'
        self.assertEqual(requests_per_second(titles + '"GET","38461.54","0.5"\n'), 38461.54)
        self.assertEqual(requests_per_second('"GET","125000.00"\n'), 125000.0)

    def test_others(self) -> None:
        error = self.assertRaises(Failed, requests_per_second, "ERROR: no such thing\n")
        self.assertEqual(str(error), "redis-benchmark said 'ERROR: no such thing'")

    def test_size(self) -> None:
        """A request and its answer, of which a tunnel's clients and its redis have each one."""
        self.assertEqual(PLAIN_SIZE, 41)
