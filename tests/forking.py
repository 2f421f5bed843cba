"""
Real processes of ``sodiumtwist`` and ``twistd`` without their imports, which take most of what a short one takes: one
process imports all that there is, and forks. What it has imported has not begun anything yet: no reactor, no threads.
Where the start of Python or the imports are the point, a process is started as ever.
"""

from __future__ import annotations

import atexit
import gc
import io
import json
import os
import select
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from functools import cache
from typing import IO, Any

#: What programs import when they run. None of it makes a reactor.
IMPORTED = (
    "sodiumtwist.__main__",
    "sodiumtwist.endpoints.strings",
    "sodiumtwist.programs.cli",
    "sodiumtwist.programs.commands",
    "sodiumtwist.programs.files",
    "sodiumtwist.programs.tap",
    "sodiumtwist.programs.tunneltap",
    "sodiumtwist.transfer.tree.client",
    "sodiumtwist.transfer.tree.server_end",
    "twisted.application.runner._runner",
    "twisted.internet.endpoints",
    "twisted.internet.epollreactor",
    "twisted.plugins.sodiumtwist_plugin",
    "twisted.scripts.twistd",
)

#: Variables that Python or the C library read when a process starts. One that differs takes a start.
READ_AT_START = ("PYTHON", "LC_", "LANG", "LD_", "MALLOC_", "GLIBC_")

#: Except for this one, for which a forked process opens its outputs anew.
UNBUFFERED = "PYTHONUNBUFFERED"

#: Seconds in which the process that forks has done so.
PATIENCE = 60.0


def _read_at_start(environment: Mapping[str, str]) -> dict[str, str]:
    read = {name: value for name, value in environment.items() if name.startswith(READ_AT_START)}
    read.pop(UNBUFFERED, None)
    # Where this process looks already, too.
    if set(read.get("PYTHONPATH", "").split(os.pathsep)) <= {*sys.path, ""}:
        read.pop("PYTHONPATH", None)
    return read


class Forked:
    """
    A process that was forked. It has what tests use of :class:`subprocess.Popen`.

    :ivar pid: its number.
    :ivar stdin: the pipe to its standard input, if it was to have one.
    :ivar stdout: the pipe from its standard output.
    :ivar stderr: the pipe from its standard error.
    :ivar returncode: its exit status, or the number of a signal below zero, once that is known.
    """

    def __init__(
        self,
        forking: Forking,
        program: Sequence[str],
        stdin: int,
        cwd: str,
        env: Mapping[str, str],
        session: bool = False,
        stderr: int = subprocess.PIPE,
    ) -> None:
        self._forking = forking
        self.returncode: int | None = None
        ours: list[IO[bytes] | None] = [None] * 3
        theirs = []
        for number, given in enumerate((stdin, subprocess.PIPE, stderr)):
            if given != subprocess.PIPE:
                theirs.append(os.open(os.devnull, os.O_RDWR) if given == subprocess.DEVNULL else os.dup(given))
                continue
            reading, writing = os.pipe()
            theirs.append(writing if number else reading)
            ours[number] = os.fdopen(reading, "rb") if number else os.fdopen(writing, "wb", buffering=0)
        self.stdin, self.stdout, self.stderr = ours
        try:
            asked = {"program": [*program], "in": cwd, "environment": dict(env), "session": session}
            self.pid: int = forking.ask(asked, theirs)
        finally:
            for descriptor in theirs:
                os.close(descriptor)
        self._end = os.pidfd_open(self.pid)

    def wait(self, timeout: float | None = None) -> int:
        """
        Wait for its end.

        :raises subprocess.TimeoutExpired: when that does not come in time.
        """
        if self.returncode is None:
            if not select.select([self._end], [], [], timeout)[0]:
                raise subprocess.TimeoutExpired(f"process {self.pid}", timeout or 0)
            self.returncode = self._forking.ask({"ended": self.pid}, [])
            os.close(self._end)
        return self.returncode

    def poll(self) -> int | None:
        """Return its status when it has ended."""
        with suppress(subprocess.TimeoutExpired):
            self.wait(0)
        return self.returncode

    def send_signal(self, number: int) -> None:
        """Send it a signal, if it is still there."""
        if self.poll() is None:
            os.kill(self.pid, number)

    def kill(self) -> None:
        """Kill it, if it is still there."""
        self.send_signal(signal.SIGKILL)


class Forking:
    """The process that forks others."""

    def __init__(self, environment: Mapping[str, str]) -> None:
        self.read_at_start = _read_at_start(environment)
        ours, theirs = socket.socketpair()
        with theirs:
            command = f"from {__name__} import be, fork_as_told; be(fork_as_told({theirs.fileno()}))"
            self._process = subprocess.Popen(
                [sys.executable, "-c", command],
                stdin=subprocess.DEVNULL,
                pass_fds=[theirs.fileno()],
                env={**environment, "PYTHONPATH": os.pathsep.join(map(os.path.abspath, sys.path))},
                # When the tests run in the background of a shell they ignore Ctrl-C, and processes would inherit that.
                preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
            )
        ours.settimeout(PATIENCE)
        self._socket = ours
        self._answers = ours.makefile("r")

    def ask(self, message: dict[str, Any], descriptors: list[int]) -> int:
        """Ask it for something. Descriptors go with it."""
        data = json.dumps(message).encode() + b"\n"
        sent = socket.send_fds(self._socket, [data], descriptors)
        self._socket.sendall(data[sent:])
        answer: int = json.loads(self._answers.readline())
        return answer

    def close(self) -> None:
        """End it, with all that it has started."""
        self._answers.close()
        self._socket.close()
        self._process.wait(PATIENCE)


@cache
def _forking(read_at_start: tuple[tuple[str, str], ...]) -> Forking:
    kept = {name: value for name, value in os.environ.items() if not name.startswith((*READ_AT_START, "COVERAGE_"))}
    process = Forking(kept | dict(read_at_start))
    atexit.register(process.close)
    return process


def fork(
    program: Sequence[str],
    stdin: int,
    cwd: str,
    env: Mapping[str, str],
    session: bool = False,
    stderr: int = subprocess.PIPE,
) -> Forked:
    """
    Start a program in a process that has its imports already. All tests of this process share the one that forks.

    :param program: ``twistd`` or the name of a module that is run as a program, and its arguments.
    :param stdin: a descriptor, or as :class:`subprocess.Popen` takes it.
    :param session: whether it gets a session of its own.
    :param stderr: as ``stdin``.
    """
    forking = _forking(tuple(sorted(_read_at_start(os.environ).items())))
    return Forked(forking, program, stdin, cwd, env, session, stderr)


def can_fork(env: Mapping[str, str]) -> bool:
    """Whether a process of that environment can be forked: it differs in nothing that is read at the start."""
    return hasattr(os, "pidfd_open") and _read_at_start(env) == _read_at_start(os.environ)


# In the process that forks


def fork_as_told(descriptor: int) -> dict[str, Any]:
    """Do what each line asks for, and answer it by one. In a forked process, return what it is to be."""
    for name in IMPORTED:
        __import__(name)
    gc.collect()
    gc.freeze()
    running: set[int] = set()
    asked = socket.socket(fileno=descriptor)
    while True:
        data, descriptors, _, _ = socket.recv_fds(asked, 1 << 20, 3)
        while data and not data.endswith(b"\n"):
            data += asked.recv(1 << 20)
        if not data:
            break
        message: dict[str, Any] = json.loads(data)
        if "program" in message:
            answer = os.fork()
            if not answer:
                asked.close()
                for number, given in enumerate(descriptors):
                    os.dup2(given, number)
                    os.close(given)
                return message
            running.add(answer)
            for given in descriptors:
                os.close(given)
        else:
            answer = os.waitstatus_to_exitcode(os.waitpid(message["ended"], 0)[1])
            running.remove(message["ended"])
        asked.sendall(b"%d\n" % answer)
    for pid in running:
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
    os._exit(0)


def be(message: dict[str, Any]) -> None:
    """In a forked process: be the program, and end as that does."""
    if message["session"]:
        os.setsid()
    os.environ.clear()
    os.environ.update(message["environment"])
    time.tzset()
    os.chdir(message["in"])
    for number, name in ((1, "stdout"), (2, "stderr")):
        raw = io.FileIO(number, "w", closefd=False)
        unbuffered = UNBUFFERED in os.environ
        stream = io.TextIOWrapper(
            raw if unbuffered else io.BufferedWriter(raw),
            encoding=getattr(sys, name).encoding,
            errors=getattr(sys, name).errors,
            line_buffering=number == 2,
            write_through=unbuffered,
        )
        setattr(sys, name, stream)
        setattr(sys, f"__{name}__", stream)
    sys.stdin = sys.__stdin__ = open(0, closefd=False)  # type: ignore[misc]
    program, *arguments = message["program"]
    if program == "twistd":
        from twisted.scripts.twistd import run

        sys.argv = ["-c", *arguments]
        run()
    else:
        import runpy

        sys.argv = [program, *arguments]
        sys.modules.pop(f"{program}.__main__", None)
        runpy.run_module(program, run_name="__main__", alter_sys=True)
