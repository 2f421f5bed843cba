"""
Many strangers at once, with real processes over loopback: honest clients get through, memory and log stay small.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import resource
import subprocess
import sys
from collections.abc import Callable, Sequence
from typing import Any
from unittest import SkipTest

from sodiumtwist.operation.logs import LogLimits
from sodiumtwist.programs.options import DEFAULT_LOGIN

from .. import crowd
from ..processes import PUBLIC, SECRET, TWISTD, ProcessTestCase, Running, unmeasured, wait_until

SILENT = 5_000
NOISY = 2_000
STRANGERS = SILENT + NOISY

HONEST = 50
HONEST_SIZE = 2_000_000

#: What a server may take with its honest clients alone, in bytes; and beyond it for each stranger that it holds.
MEMORY = 90_000_000
STRANGER_MEMORY = 12_000

#: A server's lines in the log for other things than clients that are let in: that it starts, that a limit is reached,
#: that somebody has connected.
OTHER_LINES = 50

#: Descriptors that a process has besides connections and uploads.
OTHER_DESCRIPTORS = 50

#: Descriptors that one process needs at most: strangers, honest clients, and their uploads.
DESCRIPTORS = STRANGERS + 2 * HONEST + OTHER_DESCRIPTORS

#: Where strangers come from, so that none of these addresses has more than a server takes from one.
HOSTS = [f"127.0.1.{number}" for number in range(1, 15)]

PATIENT = ("--auth-timeout", "600")


def descriptors(count: int) -> Callable[[], None]:
    """
    Make what gives a process so many descriptors, to be called in it.

    :raises SkipTest: when it can't have as many here.
    """
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    if most != resource.RLIM_INFINITY and most < count:
        raise SkipTest(f"a process needs {count} descriptors, and the limit (ulimit -Hn) is {most}")
    return lambda: resource.setrlimit(resource.RLIMIT_NOFILE, (count, count))


#: What a program tells of a step.
Answer = dict[str, Any]


class LoadTestCase(ProcessTestCase):
    """Has a server, strangers, and honest clients."""

    def start_loaded_server(self, *options: str, count: int = DESCRIPTORS) -> Running:
        """Start a server that can queue all that connect at once, with ``count`` descriptors."""
        command = [*TWISTD, "-n", "--pidfile=", "sodium", "--key", SECRET, "--directory", "uploads", *options]
        server = self.run_process(
            [*command, "--endpoint", "tcp:0:interface=127.0.0.1:backlog=4096"],
            preexec_fn=descriptors(count),
            env=unmeasured(),
        )
        self.find_endpoint(server)
        return server

    def start_strangers(self, count: int = DESCRIPTORS) -> Running:
        """Start a process that connects when it is asked to, with ``count`` descriptors."""
        port = self.endpoint.rpartition(":")[2]
        return self.run_process(
            [sys.executable, crowd.__file__, "strangers", port],
            stdin=subprocess.PIPE,
            preexec_fn=descriptors(count),
            env=unmeasured(),
        )

    def start_honest(self, count: int = HONEST, size: int = HONEST_SIZE) -> Running:
        """Start a process that sends ``count`` files at once when it is asked to."""
        paths = [self.make_file(f"in-{number}", size) for number in range(count)]
        honest = self.run_process(
            [sys.executable, crowd.__file__, "senders", self.endpoint, PUBLIC, *paths],
            stdin=subprocess.PIPE,
            preexec_fn=descriptors(2 * count + OTHER_DESCRIPTORS),
            env=unmeasured(),
        )
        honest.wait_for("ready")
        return honest

    def ask(self, program: Running, **request: int | Sequence[str]) -> Callable[[], Answer]:
        """Ask a program of :mod:`tests.crowd` for a step; return what waits for its answer."""
        seen = len(program.output)
        program.stdin.write(json.dumps(request).encode() + b"\n")
        program.stdin.flush()

        def answer() -> Answer:
            wait_until(lambda: len(program.output) > seen or program.process.poll() is not None, "an answer")
            self.assertGreater(len(program.output), seen, program.errors)
            told: Answer = json.loads(program.output[seen])
            return told

        return answer

    def wait_for_open(self, strangers: Running, most: int) -> Answer:
        """Wait until the server has closed all but ``most``; return the strangers' counts."""
        counts: Answer = {}

        def few() -> bool:
            counts.update(self.ask(strangers)())
            return bool(counts["open"] <= most)

        wait_until(few, f"{most} strangers to be left")
        return counts

    def descriptors_of(self, server: Running) -> int:
        return len(os.listdir(f"/proc/{server.pid}/fd"))

    def send_strangers_away(self, strangers: Running, server: Running) -> None:
        strangers.stdin.close()
        self.assertEqual((strangers.wait(), strangers.errors), (0, []))
        wait_until(lambda: self.descriptors_of(server) < OTHER_DESCRIPTORS, "the strangers' descriptors")

    def refused(self, server: Running) -> int:
        """How many lines say that a stranger was refused, and how many more the sums have."""
        lines = [line for line in server.output if "refused 127.0.1." in line]
        sums = [int(found[1]) for line in server.output if (found := re.search(r" (\d+) more refusals in ", line))]
        return len(lines) + sum(sums)

    def assert_answers(self) -> None:
        pinged = self.start_client("ping", "--count", "1")
        self.assertEqual((pinged.wait(), pinged.errors), (0, []))

    def assert_all_arrived(self, sent: Answer, rounds: int = 1) -> None:
        """All that honest clients sent, in so many rounds, is in the uploads, and nothing else is."""
        self.assertEqual(sent["failures"], [])
        inputs = [name for name in os.listdir(self.directory) if name.startswith("in-")]
        self.assertEqual(len(sent["seconds"]), len(inputs))
        uploads = [f"uploads/{DEFAULT_LOGIN}/{name}" for name in os.listdir(self.path(f"uploads/{DEFAULT_LOGIN}"))]
        self.assertEqual(self.digests(uploads), self.digests(inputs * rounds))

    def digests(self, names: list[str]) -> list[str]:
        return sorted(hashlib.sha256(self.read(name)).hexdigest() for name in names)

    def assert_quiet_log(self, server: Running, limit: int) -> None:
        self.assertLess(len(server.output), limit)
        self.assertEqual(server.errors, [])
        self.assertFalse([line for line in server.output if "Traceback" in line or "Unhandled" in line])


class LoadTests(LoadTestCase):
    """Thousands of strangers, some silent and some not, while files are sent."""

    def test_default_limits(self) -> None:
        """A thousand are held, more take their place; none has an answer, and no honest client is hurt."""
        server = self.start_loaded_server(*PATIENT)
        honest = self.start_honest()
        strangers = self.start_strangers()
        self.ask(strangers, hosts=HOSTS, silent=SILENT // 2, noisy=NOISY // 2)()
        self.wait_for_open(strangers, 1000)
        more = self.ask(strangers, hosts=HOSTS, silent=SILENT // 2, noisy=NOISY // 2)
        sent = self.ask(honest)()
        more()
        counts = self.wait_for_open(strangers, 1000)
        self.assert_all_arrived(sent)
        self.assertEqual((counts["received"], counts["closed"], counts["failed"]), (0, 0, 0))
        self.assertLess(server.peak_memory(), MEMORY + 1000 * STRANGER_MEMORY)
        self.assert_quiet_log(server, 3 * HONEST + OTHER_LINES)
        self.assert_answers()
        self.send_strangers_away(strangers, server)
        self.assert_answers()
        server.stop()
        turned_away = sum(
            int(found[1])
            for line in server.output
            if (found := re.search(r"no longer 1000 unauthenticated connections; (\d+) were turned away", line))
        )
        self.assertEqual(turned_away + self.refused(server), STRANGERS)
        self.assert_quiet_log(server, 3 * HONEST + 2 * OTHER_LINES)

    def test_raised_limits(self) -> None:
        """All are held at once, each for a few kilobytes."""
        server = self.start_loaded_server(
            *PATIENT,
            "--limit",
            f"unauthenticated={STRANGERS + HONEST}",
            "--limit",
            f"per-address={STRANGERS}",
            count=2 * DESCRIPTORS,  # of which strangers may take half
        )
        honest = self.start_honest()
        strangers = self.start_strangers()
        self.assert_all_arrived(self.ask(honest)())
        before = server.memory()
        self.ask(strangers, hosts=HOSTS[:1], silent=SILENT)()
        self.assert_held(server, SILENT, before)
        counts = self.ask(strangers, hosts=HOSTS, noisy=NOISY)()
        self.assert_held(server, STRANGERS, before)
        self.assertEqual((counts["open"], counts["received"]), (STRANGERS, 0))
        self.assert_all_arrived(self.ask(honest)(), 2)
        self.assertEqual(self.ask(strangers)()["open"], STRANGERS)
        self.assertLess(server.peak_memory(), MEMORY + STRANGERS * STRANGER_MEMORY)
        self.assert_answers()
        self.assert_quiet_log(server, 6 * HONEST + OTHER_LINES)
        self.send_strangers_away(strangers, server)
        self.assert_answers()
        server.stop()
        self.assertEqual(self.refused(server), STRANGERS)
        self.assert_quiet_log(server, 6 * HONEST + 2 * OTHER_LINES)

    def assert_held(self, server: Running, count: int, before: int) -> None:
        """The server has so many connections; each takes little memory, of which it had ``before`` without."""
        wait_until(lambda: self.descriptors_of(server) >= count, "all to be accepted")
        self.assertLess(server.memory() - before, count * STRANGER_MEMORY)

    def test_one_address(self) -> None:
        """One address fills its own share, and is a line in the log; others come in."""
        server = self.start_loaded_server(*PATIENT, "--limit", f"unauthenticated={STRANGERS}")
        honest = self.start_honest(size=20_000)
        strangers = self.start_strangers()
        self.ask(strangers, hosts=HOSTS[:1], silent=2000, noisy=1000)()
        counts = self.wait_for_open(strangers, 1000)
        self.assertEqual((counts["open"], counts["reset"], counts["received"]), (1000, 2000, 0))
        self.assert_all_arrived(self.ask(honest)())
        server.wait_for(r"1000 connections from 127\.0\.1\.1: that is the limit")
        self.assert_quiet_log(server, 3 * HONEST + OTHER_LINES)
        self.send_strangers_away(strangers, server)
        server.wait_for(r"no longer 1000 connections from 127\.0\.1\.1; 2000 were turned away")


class DescriptorTests(LoadTestCase):
    """A server with fewer descriptors than its limits would need."""

    def test_survived(self) -> None:
        """Whom it can't take is closed; it waits for descriptors without work, and with some it goes on."""
        server = self.start_loaded_server("--auth-timeout", "4", count=100)
        honest = self.start_honest(count=1)
        strangers = self.start_strangers(300 + OTHER_DESCRIPTORS)
        self.ask(strangers, hosts=HOSTS, silent=200, noisy=100)()
        self.wait_for_open(strangers, 100)
        worked = server.processor_time()
        self.wait_for_open(strangers, 0)
        self.assertLess(server.processor_time() - worked, 1)
        self.assert_all_arrived(self.ask(honest)())
        self.assert_answers()
        self.send_strangers_away(strangers, server)
        # Of each that it can't take Twisted says three lines, of which so many of a kind are written.
        self.assert_quiet_log(server, 3 * LogLimits().lines + 2 * OTHER_LINES)

    def test_usual_number(self) -> None:
        """With the 1,024 that many systems give, and the default limits, strangers do not take what others need."""
        server = self.start_loaded_server(*PATIENT, count=1024)
        server.wait_for(r"1024 file descriptors: the limits are 4\d\d connections, 4\d\d of them not authenticated")
        honest = self.start_honest()
        strangers = self.start_strangers()
        self.ask(strangers, hosts=HOSTS, silent=1000, noisy=300)()
        self.wait_for_open(strangers, 480)
        self.assert_all_arrived(self.ask(honest)())
        self.assert_answers()
