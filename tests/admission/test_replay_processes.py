"""
Processes that remember handshakes in the same file.
"""

from __future__ import annotations

import os
import signal
import sys
from typing import TYPE_CHECKING

from ..processes import ProcessOptions, ProcessTestCase, Running
from ..replay_memories import fingerprint

if TYPE_CHECKING:
    from typing_extensions import Unpack

#: Remembers what standard input names, and says what was new.
REMEMBER = """
import sys
from twisted.internet import reactor
from twisted.internet.defer import inlineCallbacks
from sodiumtwist.admission import ReplayDatabase

@inlineCallbacks
def main():
    for line in sys.stdin:
        if (yield database.remember(bytes.fromhex(line))):
            print("new", line, end="")
    print("done")

print("ready")
sys.stdin.readline()
database = ReplayDatabase(sys.argv[1])
reactor.callWhenRunning(main)
reactor.run()
"""


#: Does as a daemon does: goes elsewhere and forks, between the start and the first login.
FORK = """
import os, sys
from sodiumtwist.admission import ReplayDatabase
database = ReplayDatabase(sys.argv[1])
assert "twisted.internet.reactor" not in sys.modules
os.chdir("/")
if os.fork():
    os._exit(0)
from twisted.internet import reactor

def tell(new):
    print("new", new)
    return database.close().addCallback(lambda closed: reactor.stop())

reactor.callWhenRunning(lambda: database.remember(bytes(16)).addCallback(tell))
reactor.run()
print("stopped")
"""


#: Ends in the midst of a call.
END = """
import sqlite3, sys
from twisted.internet import reactor
from sodiumtwist.admission import ReplayDatabase
database = ReplayDatabase(sys.argv[1], timeout=600)
other = sqlite3.connect(sys.argv[1], isolation_level=None)
other.execute("BEGIN IMMEDIATE")
database.remember(bytes(16))
if sys.argv[2] == "run":
    reactor.callLater(0.1, reactor.stop)
    reactor.run()
print("the end")
"""


class ProcessTests(ProcessTestCase):
    """Real processes."""

    def start(self, program: str, *arguments: str, **keywords: Unpack[ProcessOptions]) -> Running:
        return self.run_process([sys.executable, "-c", program, *arguments], **keywords)

    def give(self, running: Running, *numbers: int) -> None:
        lines = "".join(f"{fingerprint(number).hex()}\n" for number in numbers)
        running.stdin.write(b"go\n" + lines.encode())
        running.stdin.close()

    def test_race(self) -> None:
        """Of several processes that want the same, at the same time, one gets it. They also make the file at once."""
        numbers = range(200)
        processes = [self.start(REMEMBER, self.path("replays"), stdin=-1) for _ in range(4)]
        for process in processes:
            process.wait_for("^ready$")
        for process in processes:
            self.give(process, *numbers)
        won = []
        for process in processes:
            process.wait_for("^done$")
            won += [line for line in process.output if line.startswith("new")]
            self.assertEqual(process.errors, [])
        self.assertEqual(sorted(won), sorted(f"new {fingerprint(number).hex()}" for number in numbers))

    def test_killed(self) -> None:
        """What a process remembered before it was killed is remembered."""
        process = self.start(REMEMBER, self.path("replays"), stdin=-1)
        self.give(process, 1, 2)
        process.wait_for("^done$")
        process.stop(signal.SIGKILL)
        again = self.start(REMEMBER, self.path("replays"), stdin=-1)
        self.give(again, 2, 3, 1)
        again.wait_for("^done$")
        self.assertEqual(again.output, ["ready", f"new {fingerprint(3).hex()}", "done"])

    def test_daemon(self) -> None:
        """It is well after a fork, from another directory, and installs no reactor before."""
        process = self.start(FORK, "replays")
        process.wait_for("^stopped$")
        self.assertEqual((process.output, process.errors), (["new True", "stopped"], []))
        self.assertEqual(os.listdir(self.directory), ["replays"])

    def test_end(self) -> None:
        """Nothing waits for the thread when a program ends, however it does."""
        for how in ("run", "fall off"):
            process = self.start(END, self.path("replays"), how)
            self.assertEqual(process.wait(), 0, process.errors)
            self.assertEqual((process.output, process.errors), (["the end"], []))
