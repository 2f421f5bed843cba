"""
Workers as processes: real sockets, signals and deaths. What each part does has tests of its own.
"""

from __future__ import annotations

import os
import signal
import urllib.request

from ..processes import ProcessTestCase, Running, wait_until


def workers_of(server: Running) -> list[int]:
    """The numbers of a server's workers' processes that run."""
    with open(f"/proc/{server.pid}/task/{server.pid}/children") as file:
        return [int(number) for number in file.read().split()]


class WorkerProcessTests(ProcessTestCase):
    def start_workers(self, *options: str) -> Running:
        """Start a server with two workers, and wait until both serve."""
        server = self.start_server("--workers", "2", *options)
        server.wait_for("worker 1 serves")
        server.wait_for("worker 2 serves")
        return server

    def ask(self, server: Running, path: str) -> str:
        """Get a page of the site."""
        where = server.wait_for(r"metrics, health and a page are at (127\.0\.0\.1:\d+)")[1]
        with urllib.request.urlopen(f"http://{where}{path}", timeout=60) as answer:
            return str(answer.read(), "utf-8")

    def test_life(self) -> None:
        """
        Two processes serve one port, and no secret is on their command lines. One that is killed is replaced; the
        others go on. SIGTERM ends all.
        """
        server = self.start_workers("--discard", "--passphrase", "geheim", "-e", "unix:sock:mode=600", "--metrics", "0")
        first, second = workers_of(server)
        for pid in (first, second):
            for name in ("cmdline", "environ"):
                with open(f"/proc/{pid}/{name}", "rb") as file:
                    self.assertNotIn(b"geheim", file.read())
        # With no other worker, each serves.
        for stopped in (first, second):
            os.kill(stopped, signal.SIGSTOP)
            self.assertEqual(self.start_client("ping", "--passphrase", "geheim", "-c", "1").wait(), 0)
            os.kill(stopped, signal.SIGCONT)
        self.assertEqual(self.ask(server, "/healthz"), "ok\n")
        numbers = self.ask(server, "/metrics")
        self.assertIn("\nsodiumtwist_workers 2.0\n", numbers)
        self.assertIn("\nsodiumtwist_connections_accepted_total 2.0\n", numbers)
        os.kill(first, signal.SIGKILL)
        server.wait_for("worker 1 is lost after .* seconds: it was ended by SIGKILL; another one starts in 0.1 seconds")
        wait_until(lambda: sum("worker 1 serves" in line for line in server.output) == 2, "another worker 1")
        self.assertEqual(os.stat(self.path("sock")).st_mode & 0o777, 0o600)
        others = workers_of(server)
        os.kill(second, signal.SIGSTOP)
        self.assertEqual(self.start_client("ping", "--passphrase", "geheim", "-c", "1").wait(), 0)
        os.kill(second, signal.SIGCONT)
        server.stop()
        self.assertEqual([pid for pid in others if os.path.exists(f"/proc/{pid}")], [])
        self.assertFalse(os.path.exists(self.path("sock")))
        log = "\n".join(server.output + server.errors)
        self.assertIn("is authenticated as 'username'", log)
        self.assertNotIn("Traceback", log)
        self.assertNotIn("geheim", log)

    def test_supervisor_killed(self) -> None:
        """Workers do not stay behind without it."""
        server = self.start_workers("--discard")
        others = workers_of(server)
        server.stop(signal.SIGKILL)
        wait_until(lambda: not any(os.path.exists(f"/proc/{pid}") for pid in others), "the workers' end")
