"""
Real processes for tests: servers and clients. Whoever waits for what they do waits with a limit.
"""

from __future__ import annotations

import io
import os
import queue
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import redirect_stderr, redirect_stdout
from typing import IO, TYPE_CHECKING, TypedDict
from unittest.mock import patch

from twisted.trial.unittest import SynchronousTestCase

from sodiumtwist.programs.cli import main

from .forking import Forked, can_fork, fork

if TYPE_CHECKING:
    from typing_extensions import Unpack

#: Seconds after which a test gives up waiting. As long as all goes well, nothing takes nearly so long.
PATIENCE = 60.0

SECRET = "11" * 32
PUBLIC = "7b4e909bbe7ffe44c465a220037d608ee35897d31ef972f07f74892cb0f73f13"

# twistd ends itself by the signal that it got, which leaves coverage no time to save what it has measured.
_SAVING = (
    "import coverage, os; kill = os.kill; ours = coverage.Coverage.current(); "
    "os.kill = (lambda *to: (ours.save(), kill(*to))) if ours else kill; "
    if "COVERAGE_PROCESS_CONFIG" in os.environ
    else ""
)
TWISTD = [sys.executable, "-c", f"{_SAVING}from twisted.scripts.twistd import run; run()"]
TWIST = [sys.executable, "-m", "twisted"]
SODIUMTWIST = [sys.executable, "-m", "sodiumtwist"]


class ProcessOptions(TypedDict, total=False):
    """How a process is started: the arguments of :class:`subprocess.Popen` of these names."""

    stdin: int
    env: Mapping[str, str]
    cwd: str
    start_new_session: bool
    preexec_fn: Callable[[], object]


def with_place(arguments: Sequence[str]) -> list[str]:
    """The arguments of a server whose test does not care where uploads go, as no server starts without a place."""
    if {"-f", "--file", "-d", "--directory", "--forward", "--discard", "--share"} & set(arguments):
        return [*arguments]
    return ["--discard", *arguments]


def clean_environment(**extra: str) -> dict[str, str]:
    """Copy the environment without the variables that our programs read, and with ``extra``."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("SODIUMTWIST_")}
    # Unbuffered, so that a line can be waited for while the process runs.
    return {**kept, "PYTHONUNBUFFERED": "1", **extra}


def unmeasured(**extra: str) -> dict[str, str]:
    """The environment for programs whose coverage is of no interest, and would slow them down or load more."""
    return {name: value for name, value in clean_environment(**extra).items() if name != "COVERAGE_PROCESS_CONFIG"}


def forked_program(command: list[str]) -> list[str]:
    """The program and the arguments of a command that can be forked; nothing for others."""
    for program, start in (("sodiumtwist", SODIUMTWIST), ("twistd", TWISTD)):
        if command[: len(start)] == start:
            return [program, *command[len(start) :]]
    return []


class Running:
    """
    A process whose output is collected while it runs.

    :ivar output: lines of standard output so far.
    :ivar errors: lines of standard error so far.
    :param forked: whether ``sodiumtwist`` and ``twistd`` may have their imports already, see :mod:`tests.forking`.
    """

    def __init__(self, command: list[str], forked: bool = False, **keywords: Unpack[ProcessOptions]) -> None:
        # Not the terminal of who runs the tests.
        keywords.setdefault("stdin", subprocess.DEVNULL)
        keywords.setdefault("env", clean_environment())
        prepare = keywords.pop("preexec_fn", None)
        self.process: Forked | subprocess.Popen[bytes]

        def before_exec() -> None:
            # When the tests run in the background of a shell they ignore Ctrl-C, and processes would inherit that.
            signal.signal(signal.SIGINT, signal.SIG_DFL)
            if prepare is not None:
                prepare()

        program = forked_program(command)
        if forked and program and not prepare and can_fork(keywords["env"]):
            cwd = os.path.abspath(keywords.get("cwd", "."))
            session = keywords.get("start_new_session", False)
            self.process = fork(program, keywords["stdin"], cwd, keywords["env"], session)
        else:
            keywords["preexec_fn"] = before_exec
            self.process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, **keywords)
        self.output: list[str] = []
        self.errors: list[str] = []
        self._news: queue.Queue[None] = queue.Queue()
        self._readers = [
            threading.Thread(target=self._collect, args=(self.process.stdout, self.output)),
            threading.Thread(target=self._collect, args=(self.process.stderr, self.errors)),
        ]
        for reader in self._readers:
            reader.start()

    def _collect(self, stream: IO[bytes], lines: list[str]) -> None:
        for line in stream:
            lines.append(line.decode("utf-8", "replace").rstrip("\n"))
            self._news.put(None)
        stream.close()
        self._news.put(None)

    @property
    def stdin(self) -> IO[bytes]:
        """Its standard input. The test must have made a pipe for it."""
        assert self.process.stdin is not None
        return self.process.stdin

    @property
    def pid(self) -> int:
        return self.process.pid

    def wait_for(self, pattern: str) -> re.Match[str]:
        """Wait until a line of either output matches."""
        limit = time.monotonic() + PATIENCE
        while True:
            # Asked before the lines are looked at: what the readers add until they end is then seen as well.
            over = not any(reader.is_alive() for reader in self._readers)
            for line in [*self.output, *self.errors]:
                if found := re.search(pattern, line):
                    return found
            if over or time.monotonic() > limit:
                raise AssertionError(f"no line matches {pattern!r} in {self.output + self.errors}")
            try:
                self._news.get(timeout=1)
            except queue.Empty:
                pass

    def wait(self) -> int:
        """Wait until it has ended and all its output is collected."""
        status = self.process.wait(PATIENCE)
        for reader in self._readers:
            reader.join(PATIENCE)
        return status

    def stop(self, number: int = signal.SIGTERM) -> int:
        """Send a signal and wait for the end."""
        if self.process.poll() is None:
            self.process.send_signal(number)
        return self.wait()

    def peak_memory(self) -> int:
        """Its largest resident size in bytes so far."""
        return self._memory("VmHWM:")

    def memory(self) -> int:
        """Its resident size in bytes now."""
        return self._memory("VmRSS:")

    def processor_time(self) -> float:
        """The seconds of processor time that it has used so far."""
        with open(f"/proc/{self.pid}/stat") as status:
            # The name of the program stands in parentheses and may hold blanks.
            fields = status.read().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def _memory(self, field: str) -> int:
        with open(f"/proc/{self.pid}/status") as status:
            for line in status:
                if line.startswith(field):
                    return int(line.split()[1]) * 1024
        raise AssertionError("the kernel does not tell")


def wait_until(condition: Callable[[], object], what: str) -> None:
    """Look again and again until a condition holds."""
    limit = time.monotonic() + PATIENCE
    while not condition():
        if time.monotonic() > limit:
            raise AssertionError(f"waited in vain for {what}")
        time.sleep(0.01)


class ProcessTestCase(SynchronousTestCase):
    """
    Has a directory of its own, and ends each process that it started.

    :cvar forked: whether ``sodiumtwist`` and ``twistd`` have their imports already, see :mod:`tests.forking`. Not where
        it matters how they start.
    """

    forked = True

    def setUp(self) -> None:
        self.directory = tempfile.mkdtemp(prefix="sodiumtwist-test-")
        self.addCleanup(shutil.rmtree, self.directory, ignore_errors=True)

    def path(self, *names: str) -> str:
        return os.path.join(self.directory, *names)

    def make_file(self, name: str, size: int, mode: int = 0o600) -> str:
        """Make a file whose bytes show it when one is lost or moved."""
        path = self.path(name)
        with open(path, "wb") as file:
            block = os.urandom(min(size, 1 << 20))
            for start in range(0, size, 1 << 20):
                # Each MiB begins with its position.
                piece = start.to_bytes(8, "big") + block[8:]
                file.write(piece[: size - start])
        os.chmod(path, mode)
        return path

    def read(self, name: str) -> bytes:
        with open(self.path(name), "rb") as file:
            return file.read()

    def run_process(self, command: list[str], **keywords: Unpack[ProcessOptions]) -> Running:
        keywords.setdefault("cwd", self.directory)
        running = Running(command, self.forked, **keywords)
        self.addCleanup(running.stop, signal.SIGKILL)
        return running

    def call(self, *arguments: str, **variables: str) -> tuple[int, list[str], list[str]]:
        """
        Run ``sodiumtwist`` in this process, where one of its own would show nothing more: the command must not get as
        far as the reactor.

        :param variables: of the environment, besides those of :func:`clean_environment`.
        :return: the status, and the lines of both outputs.
        """
        printed, said, status = io.StringIO(), io.StringIO(), 0
        before = os.getcwd()
        try:
            os.chdir(self.directory)
            with redirect_stdout(printed), redirect_stderr(said):
                with patch.dict(os.environ, clean_environment(**variables), clear=True):
                    main([*arguments])
        except SystemExit as ended:
            status = int(ended.code or 0)
        finally:
            os.chdir(before)
        return status, printed.getvalue().splitlines(), said.getvalue().splitlines()

    def start_server(self, *options: str, **keywords: Unpack[ProcessOptions]) -> Running:
        """
        Start ``twistd sodium`` with a known key on a free port. From then on ``endpoint`` names that port.
        """
        command = [*TWISTD, "-n", "--pidfile=", "sodium", "--key", SECRET]
        server = self.run_process([*command, "--endpoint", "tcp:0:interface=127.0.0.1", *options], **keywords)
        self.find_endpoint(server)
        return server

    def find_endpoint(self, server: Running) -> None:
        """Set ``endpoint`` to the port that the server's log tells."""
        port = server.wait_for(r"listening on 127\.0\.0\.1:(\d+)")[1]
        self.endpoint = f"tcp:127.0.0.1:{port}"

    def start_client(
        self, command: str, *options: str, key: str = PUBLIC, **keywords: Unpack[ProcessOptions]
    ) -> Running:
        """Start ``sodiumtwist send`` or ``ping``, for the server that was started last."""
        return self.run_process(
            [*SODIUMTWIST, command, "--key", key, "--endpoint", self.endpoint, *options], **keywords
        )

    def assert_one_line(self, lines: list[str], pattern: str) -> None:
        """Check that there is exactly one line, and that it matches."""
        self.assertEqual(len(lines), 1, lines)
        self.assertRegex(lines[0], pattern)
