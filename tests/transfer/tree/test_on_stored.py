"""
The command that a server runs for each stored file.
"""

from __future__ import annotations

import errno
import os
import shutil
import signal
import sys
from hashlib import blake2b
from typing import Any

from twisted.internet import reactor as global_reactor
from twisted.internet.defer import Deferred, inlineCallbacks
from twisted.internet.error import ProcessDone, ProcessTerminated
from twisted.internet.task import Clock, deferLater
from twisted.logger import formatEvent
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase, TestCase

from sodiumtwist.admission.summed_lines import SummedLines
from sodiumtwist.core.errors import LocalProtocolError
from sodiumtwist.transfer.tree import on_stored
from sodiumtwist.transfer.tree.on_stored import (
    AT_ONCE,
    LAST_LINE,
    LAST_WORDS,
    ON_STORED_SECONDS,
    STOPPING,
    OnStored,
    digest_of,
    read_command,
)

from ...logs import logged
from ...threads import HereAndNow

DIGEST = bytes.fromhex("0f" * 32)


def state_of(pid: int) -> str:
    """The letter that Linux has for what a process does; empty when there is none."""
    try:
        with open(f"/proc/{pid}/stat") as status:
            return status.read().rpartition(")")[2].split()[0]
    except OSError:
        return ""


class Process:
    """
    A process that runs until the test ends it.

    :ivar signals: that it got.
    :ivar closed: whether nothing is read from it any more.
    """

    def __init__(self, protocol: Any, words: list[str], environment: dict[bytes, bytes], pid: int) -> None:
        self.protocol = protocol
        self.words = words
        self.environment = environment
        self.pid: int | None = pid
        self.signals: list[str] = []
        self.closed = False

    def signalProcess(self, name: str) -> None:
        self.signals.append(name)

    def loseConnection(self) -> None:
        self.closed = True

    def exit(self, status: int = 0, ended_by: int | None = None) -> None:
        """It has ended. Its standard error may be open."""
        self.pid = None
        self.reason = Failure(ProcessTerminated(status or None, ended_by) if status or ended_by else ProcessDone(0))
        self.protocol.processExited(self.reason)

    def end(self, status: int = 0, ended_by: int | None = None) -> None:
        """It has ended, and nothing has its standard error open."""
        self.exit(status, ended_by)
        self.protocol.processEnded(self.reason)


class ProcessReactor(Clock):
    """
    A reactor whose processes run when the test says so.

    :ivar processes: all that were begun.
    :ivar refusal: what is raised in place of beginning one.
    """

    def __init__(self) -> None:
        super().__init__()
        self.processes: list[Process] = []
        self.refusal: Exception | None = None

    def spawnProcess(
        self, protocol: Any, program: str, words: list[str], environment: dict[bytes, bytes], childFDs: dict[int, Any]
    ) -> None:
        assert program == words[0]
        assert (
            childFDs[2] == "r"
            and childFDs[0] == childFDs[1]
            and os.path.samestat(os.fstat(childFDs[0]), os.stat(os.devnull))
        )
        if self.refusal is not None:
            raise self.refusal
        # A number that no process has.
        process = Process(protocol, words, environment, (1 << 30) + len(self.processes))
        self.processes.append(process)
        protocol.makeConnection(process)


class OnStoredTests(SynchronousTestCase):
    """:class:`OnStored`, with processes that the test ends."""

    def setUp(self) -> None:
        self.events = logged(self)
        self.reactor = ProcessReactor()
        self.patch(on_stored, "DiskThread", HereAndNow)
        self.patch(shutil, "which", lambda name: f"/bin/{name}")
        self.patch(os, "environ", {"PATH": "/bin", "SODIUMTWIST_KEY": "secret", "SODIUMTWIST_PASSPHRASE": "secret"})
        self.on_stored = self.make()

    def make(self, **keywords: Any) -> OnStored:
        return OnStored(self.reactor, ("/bin/scan", "a b", "$(rm)"), "/up", **keywords)

    def store(
        self, path: str = "/up/ann/photos/a.jpg", login: str = "ann", digest: bytes | None = DIGEST
    ) -> Deferred[str]:
        return self.on_stored(login, path, digest, 1234)

    @property
    def process(self) -> Process:
        return self.reactor.processes[-1]

    def said(self) -> list[str]:
        return [formatEvent(event) for event in self.events if event["log_namespace"].endswith("OnStored")]

    def test_words_and_environment(self) -> None:
        """The words are as they were given, and what it is about is in the environment, without our secrets."""
        told = self.store("/up/ann/photos/$(rm -r) 'x.jpg\udcff")
        self.assertEqual(self.process.words, ["/bin/setsid", "/bin/scan", "a b", "$(rm)"])
        self.assertEqual(
            self.process.environment,
            {
                b"PATH": b"/bin",
                b"SODIUMTWIST_PATH": b"/up/ann/photos/$(rm -r) 'x.jpg\xff",
                b"SODIUMTWIST_NAME": b"photos/$(rm -r) 'x.jpg\xff",
                b"SODIUMTWIST_LOGIN": b"ann",
                b"SODIUMTWIST_DIGEST": DIGEST.hex().encode(),
                b"SODIUMTWIST_SIZE": b"1234",
            },
        )
        self.assertNoResult(told)
        self.process.end()
        self.assertEqual(self.successResultOf(told), "")
        self.assertEqual((self.said(), self.reactor.getDelayedCalls()), ([], []))

    def test_names(self) -> None:
        """A name is what the client has called the file; what came without one has the name that we made."""
        for directory, path, name in [
            ("/up", "/up/ann/x", b"x"),
            ("/up/", "/up/ann/a/x", b"a/x"),
            ("/up", "/up/20261128T073930Z-ann-47f789a9", b"20261128T073930Z-ann-47f789a9"),
            ("/up", "/upper/ann/x", b"x"),
            (None, "/srv/out.tar", b"out.tar"),
        ]:
            OnStored(self.reactor, ["/bin/scan"], directory)("ann", path, DIGEST, 1)
            self.assertEqual(self.process.environment[b"SODIUMTWIST_NAME"], name)

    def test_failures(self) -> None:
        """They are told without what is not the client's to know, which the log has."""
        for status, ended_by, why in [(3, None, "it ended with status 3"), (0, 15, "it was ended by signal 15")]:
            self.events.clear()
            told = self.store("/up/ann/a\n.jpg")
            self.process.protocol.errReceived(b"reading /etc/scan\nno \x1b[1m such ")
            self.process.protocol.errReceived(b"thing\n\n")
            self.process.end(status, ended_by)
            self.assertEqual(
                self.successResultOf(told), f"it is stored, but what the server does then has failed: {why}"
            )
            self.assertEqual(
                self.said(),
                [
                    "the command of --on-stored failed for /up/ann/a\\n.jpg of 'ann': "
                    f"{why}; it said: no ?[1m such thing"
                ],
            )

    def test_bounded_words(self) -> None:
        """Of what it says no more is kept than is shown."""
        self.store()
        for _ in range(100):
            self.process.protocol.errReceived(b"x" * 1000)
        self.process.end(1)
        (line,) = self.said()
        self.assertTrue(line.endswith(f"it said: {'x' * LAST_LINE}"), line)

    def test_summed_up(self) -> None:
        """Many failures are a few lines."""
        self.on_stored.lines = lines = SummedLines("lines about uploads", 2, lambda: self.reactor)
        for _ in range(5):
            self.store()
            self.process.end(1)
        self.assertEqual(len(self.said()), 2)
        lines.stop()

    def test_too_long(self) -> None:
        """What takes too long is killed, with its group."""
        killed: list[tuple[int, int]] = []
        self.patch(os, "killpg", lambda pid, number: killed.append((pid, number)))
        told = self.store()
        self.reactor.advance(ON_STORED_SECONDS - 1)
        self.assertEqual(self.process.signals, [])
        self.reactor.advance(1)
        self.assertEqual((killed, self.process.signals), ([(self.process.pid, signal.SIGKILL)], ["KILL"]))
        self.process.end(0, 9)
        self.assertIn("it took longer than 300 seconds", self.successResultOf(told))
        self.assertEqual(self.reactor.getDelayedCalls(), [])

    def test_seconds(self) -> None:
        """The time can be set; without sense it is refused."""
        self.on_stored = self.make(seconds=2.5)
        told = self.store()
        self.reactor.advance(2.5)
        self.assertEqual(self.process.signals, ["KILL"])
        self.process.end(0, 9)
        self.assertIn("longer than 2.5 seconds", self.successResultOf(told))
        for wrong in (0, -1, float("nan"), float("inf")):
            self.assertRaises(LocalProtocolError, self.make, seconds=wrong)

    def test_left_in_background(self) -> None:
        """What it leaves behind is not waited for, though that has its standard error."""
        told = self.store()
        self.process.exit()
        self.reactor.advance(LAST_WORDS - 0.1)
        self.assertFalse(self.process.closed)
        self.reactor.advance(0.1)
        self.assertTrue(self.process.closed)
        self.process.protocol.processEnded(self.process.reason)
        self.assertEqual(self.successResultOf(told), "")

    def test_at_once(self) -> None:
        """So many run at once; and of two logins each has its turn, however many files one has."""
        for number in range(AT_ONCE + 3):
            self.store(f"/up/ann/{number}")
        self.store("/up/bob/x", login="bob")
        self.assertEqual((len(self.reactor.processes), self.on_stored.unfinished), (AT_ONCE, AT_ONCE + 4))
        for process in self.reactor.processes:
            process.end()
            running = [each for each in self.reactor.processes if each.pid is not None]
            self.assertLessEqual(len(running), AT_ONCE)
        self.assertEqual(self.on_stored.unfinished, 0)
        names = [process.environment[b"SODIUMTWIST_NAME"] for process in self.reactor.processes]
        self.assertEqual(names, [b"0", b"1", b"2", b"3", b"4", b"x", b"5", b"6"])
        self.assertTrue(self.on_stored.is_idle)

    def test_queue(self) -> None:
        """What waits is bounded."""
        self.patch(on_stored, "QUEUE", 2)
        told = [self.store() for _ in range(AT_ONCE + 3)]
        self.assertIn("2 files wait for it already", self.successResultOf(told.pop()))
        for each in told:
            self.assertNoResult(each)

    def test_queue_of_others(self) -> None:
        """Where too many wait, it is the login that has most which loses one."""
        self.patch(on_stored, "QUEUE", 2)
        running = [self.store() for _ in range(AT_ONCE)]
        greedy = [self.store() for _ in range(2)]
        others = [self.store(login="bob"), self.store(login="cid")]
        self.assertIn("2 files wait for it already", self.successResultOf(greedy.pop()))
        # Each has one, and one of them has to lose it.
        self.assertIn("2 files wait for it already", self.successResultOf(greedy.pop()))
        for process in self.reactor.processes[:]:
            process.end()
        for process in self.reactor.processes[AT_ONCE:]:
            process.end()
        self.assertEqual([self.successResultOf(each) for each in running + others], [""] * (AT_ONCE + 2))
        self.assertTrue(self.on_stored.is_idle)

    def test_cannot_begin(self) -> None:
        """What can't be begun is a failure as any other, however much of it there is."""
        for refusal, why in [
            (OSError(errno.EAGAIN, "no more processes"), "it can't be begun: no more processes"),
            (TypeError("NUL"), "it can't be begun: NUL"),
        ]:
            self.reactor.refusal = None
            running = [self.store() for _ in range(AT_ONCE)]
            told = [self.store() for _ in range(sys.getrecursionlimit())]
            self.reactor.refusal = refusal
            for process in self.reactor.processes[-AT_ONCE:]:
                process.end()
            for each in running:
                self.assertEqual(self.successResultOf(each), "")
            for each in told:
                self.assertIn(why, self.successResultOf(each))
            self.assertTrue(self.on_stored.is_idle)
            self.assertEqual(self.reactor.getDelayedCalls(), [])

    def test_digest(self) -> None:
        """Where nobody has it, the digest is made; a file that is gone, or is something else, is told."""
        path = self.mktemp()
        with open(path, "wb") as file:
            file.write(b"x" * 3_000_000)
        self.store(path, digest=None)
        expected = blake2b(b"x" * 3_000_000, digest_size=32).hexdigest()
        self.assertEqual(self.process.environment[b"SODIUMTWIST_DIGEST"], expected.encode())
        os.symlink(path, f"{path}.link")
        for wrong, why in [(f"{path}.gone", "No such file"), (f"{path}.link", "Too many levels of symbolic links")]:
            told = self.store(wrong, digest=None)
            self.assertIn(f"the file can't be read: {why}", self.successResultOf(told))
        self.assertEqual(len(self.reactor.processes), 1)

    def test_fifo(self) -> None:
        """A FIFO in the place of the file holds up nobody."""
        path = self.mktemp()
        os.mkfifo(path)
        self.assertEqual(digest_of(os.fsencode(path)), blake2b(b"", digest_size=32).digest())

    def test_finish(self) -> None:
        """One waits until nothing runs, but not for ever; to cancel is to wait no longer."""
        self.assertIsNone(self.successResultOf(self.on_stored.finish(10)))
        self.store()
        finished = self.on_stored.finish(10)
        self.reactor.advance(9)
        self.assertNoResult(finished)
        self.process.end()
        self.assertIsNone(self.successResultOf(finished))
        self.store()
        finished = self.on_stored.finish(10)
        self.reactor.advance(10)
        self.assertIsNone(self.successResultOf(finished))
        self.assertFalse(self.on_stored.is_idle)
        self.process.end()
        self.assertTrue(self.on_stored.is_idle)
        self.assertEqual(self.reactor.getDelayedCalls(), [])

    def test_stop(self) -> None:
        """What runs is killed, and nothing more is begun."""
        told = [self.store() for _ in range(AT_ONCE + 1)]
        finished = self.on_stored.finish(10)
        self.on_stored.stop()
        self.assertIn(STOPPING, self.successResultOf(told.pop()))
        self.assertNoResult(finished)
        for process in self.reactor.processes:
            self.assertEqual(process.signals, ["KILL"])
            process.end(0, 9)
        for each in (*told, self.store()):
            self.assertIn(STOPPING, self.successResultOf(each))
        self.assertIsNone(self.successResultOf(finished))
        self.assertTrue(self.on_stored.is_idle)
        self.assertEqual(len(self.reactor.processes), AT_ONCE)

    def test_stop_while_digest_is_made(self) -> None:
        """No command is begun for a file whose digest is there too late."""
        digests: list[Deferred[bytes]] = []

        def call(work: object) -> Deferred[bytes]:
            digests.append(Deferred())
            return digests[-1]

        self.patch(HereAndNow, "call", staticmethod(call))
        told = [self.store(digest=None) for _ in range(AT_ONCE + 1)]
        # Those whose digests are made count as well.
        self.assertEqual(len(digests), AT_ONCE)
        self.on_stored.stop()
        self.assertFalse(self.on_stored.is_idle)
        for digest in digests:
            digest.callback(DIGEST)
        for each in told:
            self.assertIn(STOPPING, self.successResultOf(each))
        self.assertTrue(self.on_stored.is_idle)
        self.assertEqual(self.reactor.processes, [])

    def test_over_is_not_killed(self) -> None:
        """The number of what has ended may be another process's."""
        killed: list[int] = []
        self.patch(os, "killpg", lambda pid, number: killed.append(pid))
        self.store()
        self.process.exit()
        self.on_stored.stop()
        self.assertEqual((killed, self.process.signals), ([], []))

    def test_without_setsid(self) -> None:
        """Where the system has no such program, Python does it."""
        self.patch(shutil, "which", lambda name: None)
        self.store()
        self.assertEqual(self.process.words[0], sys.executable)
        self.assertEqual(self.process.words[-3:], ["/bin/scan", "a b", "$(rm)"])


class CommandTests(SynchronousTestCase):
    """:func:`read_command`"""

    def setUp(self) -> None:
        self.where = os.path.realpath(self.mktemp())
        os.mkdir(self.where)
        self.addCleanup(os.chdir, os.getcwd())
        os.chdir(self.where)
        for name, mode in [("run", 0o700), ("text", 0o600)]:
            with open(name, "w"):
                os.chmod(name, mode)

    def test_words(self) -> None:
        """Words as a shell has them, and the program's whole path."""
        self.patch(os, "environ", {"PATH": f"/nowhere:{self.where}"})
        program = os.path.join(self.where, "run")
        for text, words in [
            ("run", (program,)),
            ("./run 'a b' $x ; y", (program, "a b", "$x", ";", "y")),
            (f'{program} ""', (program, "")),
        ]:
            self.assertEqual(read_command(text), words)

    def test_mistakes(self) -> None:
        """What can't be run is told at once."""
        self.patch(os, "environ", {"PATH": f"/nowhere:{self.where}"})
        if os.geteuid() == 0:
            self.addCleanup(os.seteuid, 0)
            os.chmod(self.where, 0o755)
        for text, why in [
            ("", "the command is empty"),
            ("''", "the command is empty"),
            ("run '", "no closing quotation"),
            ("missing", "there is no program 'missing'"),
            ("./missing", "there is no program './missing'"),
            (".", "there is no program '.'"),
            ("text", f"'text' can't be run; run: chmod +x {self.where}/text"),
        ]:
            error = self.assertRaises(LocalProtocolError, read_command, text)
            self.assertIn(why, str(error))


class ProcessTests(TestCase):
    """Real processes."""

    def make(self, text: str, seconds: float = 60) -> OnStored:
        return OnStored(global_reactor, read_command(text), None, seconds)

    @inlineCallbacks
    def test_run(self) -> Any:
        """It runs, with its environment, no input, and an output that goes nowhere; its last words are in the log."""
        events = logged(self)
        out = os.path.abspath(self.mktemp())
        run = self.make(f"sh -c 'cat; env >{out}; echo lost; echo first >&2; printf last >&2; exit 7'")
        told = yield run("ann", "/up/$(x)\udcff", DIGEST, 5)
        self.assertIn("it ended with status 7", told)
        with open(out, "rb") as file:
            lines = file.read().split(b"\n")
        for setting in (b"SODIUMTWIST_PATH=/up/$(x)\xff", b"SODIUMTWIST_SIZE=5", b"SODIUMTWIST_LOGIN=ann"):
            self.assertIn(setting, lines)
        (line,) = [formatEvent(event) for event in events if event["log_namespace"].endswith("OnStored")]
        self.assertIn("it said: last", line)

    @inlineCallbacks
    def test_group_is_killed(self) -> Any:
        """All that it has started goes with it; where Python makes the group, too."""
        for which in (shutil.which, lambda name: None):
            out = os.path.abspath(self.mktemp())
            run = self.make(f"sh -c 'sleep 60 & echo $! >{out}.new; mv {out}.new {out}; wait'")
            self.patch(shutil, "which", which)
            told = run("ann", "/up/x", DIGEST, 5)
            while not os.path.exists(out):
                yield deferLater(global_reactor, 0.01)
            run.stop()
            self.assertIn(STOPPING, (yield told))
            with open(out, "rb") as file:
                number = int(file.read())
            # Nobody may have taken note of its end, whose parent is gone.
            while state_of(number) not in ("", "Z"):
                yield deferLater(global_reactor, 0.01)
