"""
Processes that are forked are as those that are started.
"""

from __future__ import annotations

import os
import signal
import subprocess

from .forking import can_fork, fork
from .processes import SODIUMTWIST, TWISTD, ProcessTestCase, clean_environment, unmeasured

#: A module that tells what its process has.
TELLING = """
import os, signal, sys
told = [sys.argv[1:], os.getcwd(), os.environ.get("TOLD"), __name__, os.getsid(0) == os.getpid()]
told += [signal.getsignal(signal.SIGINT) is signal.default_int_handler, "twisted.internet.reactor" in sys.modules]
print(told, flush=True)
print(sys.stdin.read(), end="", file=sys.stderr)
sys.exit(7)
"""


class ForkedTests(ProcessTestCase):
    """What a forked process has, and how it ends."""

    def test_as_told(self) -> None:
        """Arguments, folder, environment, streams, a session of its own, the status; and no reactor yet."""
        with open(self.path("telling.py"), "w") as file:
            file.write(TELLING)
        for session in (False, True):
            process = fork(["telling", "a", "b c"], subprocess.PIPE, self.directory, unmeasured(TOLD="x"), session)
            assert process.stdin and process.stdout and process.stderr
            process.stdin.write(b"asked")
            process.stdin.close()
            told = [["a", "b c"], os.path.realpath(self.directory), "x", "__main__", session, True, False]
            self.assertEqual(process.stdout.read().decode(), f"{told}\n")
            self.assertEqual((process.stderr.read(), process.wait(), process.poll()), (b"asked", 7, 7))
            process.stdout.close()
            process.stderr.close()

    def test_like_a_start(self) -> None:
        """The same command, forked and started, prints the same and has the same status."""
        for command, status in (
            ([*SODIUMTWIST, "--help"], 0),
            ([*SODIUMTWIST, "ping", "--nonsense"], 1),
            ([*TWISTD, "-n", "sodium", "--nonsense"], 1),
        ):
            found = []
            for self.forked in (True, False):
                running = self.run_process(command)
                found.append((running.wait(), running.output, running.errors))
            self.assertEqual(found[0], found[1])
            self.assertEqual(found[0][0], status)

    def test_signals(self) -> None:
        """It can be waited for, not for ever; it ends by the signal that it gets, and gets none afterwards."""
        server = self.start_server("--discard")
        self.assertRaises(subprocess.TimeoutExpired, server.process.wait, 0.01)
        self.assertIsNone(server.process.poll())
        self.assertEqual(server.stop(signal.SIGKILL), -signal.SIGKILL)
        server.process.send_signal(signal.SIGTERM)

    def test_which(self) -> None:
        """Not where it would have another Python, or other streams, than one that is started."""
        self.assertTrue(can_fork(clean_environment(HOME="/", SODIUMTWIST_KEY="k", PYTHONPATH=os.pathsep.join([""]))))
        for variables in ({"PYTHONPATH": self.directory}, {"PYTHONIOENCODING": "latin-1"}, {"LC_ALL": "xx"}):
            self.assertFalse(can_fork(clean_environment(**variables)), variables)
