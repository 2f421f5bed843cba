"""
Programs of ours for tests that need many real processes. Each of them takes half a second for its imports; so one
process imports all that there is, and forks. What it has imported has not begun anything yet: no reactor, no threads.
"""

from __future__ import annotations

import atexit
import importlib
import json
import os
import resource
import signal
import subprocess
import sys
import time
from functools import cache
from typing import Any

from ...processes import PATIENCE, unmeasured, wait_until

#: What programs import when they run. None of it makes a reactor.
IMPORTED = (
    "sodiumtwist.programs.cli",
    "sodiumtwist.programs.files",
    "sodiumtwist.programs.tap",
    "sodiumtwist.transfer.tree.server_end",
    "sodiumtwist.transfer.tree.client",
    "twisted.internet.epollreactor",
    "twisted.internet.endpoints",
    "twisted.scripts.twistd",
    "twisted.plugins.sodiumtwist_plugin",
)


class Forked:
    """
    A process that was forked.

    :ivar pid: its number.
    """

    def __init__(self, forking: Forking, pid: int, place: str) -> None:
        self._forking = forking
        self._place = place
        self._status: int | None = None
        self.pid = pid

    def lines(self, kind: str = "out") -> list[str]:
        """What it has written so far."""
        with open(f"{self._place}.{kind}", encoding="utf-8", errors="replace") as file:
            return file.read().splitlines()

    @property
    def output_path(self) -> str:
        """Where its standard output goes."""
        return f"{self._place}.out"

    def forget(self) -> None:
        """Remove what it has written. It has ended."""
        for kind in ("out", "err"):
            os.unlink(f"{self._place}.{kind}")

    @property
    def errors(self) -> list[str]:
        """What it has written to standard error so far."""
        return self.lines("err")

    @property
    def events(self) -> list[dict[str, Any]]:
        """What it has told by ``--json`` so far."""
        # The last line may not be whole.
        with open(f"{self._place}.out", "rb") as file:
            return [json.loads(line) for line in file.read().split(b"\n")[:-1]]

    @property
    def stored(self) -> list[str]:
        """The names of files that it has told to be stored."""
        return [event["name"] for event in self.events if event.get("outcome") == "stored"]

    @property
    def written(self) -> int:
        """How many bytes it has written so far, to files and elsewhere."""
        with open(f"/proc/{self.pid}/io") as file:
            return next(int(line.split()[1]) for line in file if line.startswith("wchar:"))

    def wait_for_written(self, size: int) -> None:
        """Wait until it has written so many bytes more."""
        before = self.written
        wait_until(lambda: self.written >= before + size, f"{size} bytes")

    def wait_for(self, text: str, count: int = 1) -> str:
        """
        Wait until something stands in so many lines.

        :return: the last one.
        """
        limit = time.monotonic() + PATIENCE
        while True:
            over = self.ended or time.monotonic() > limit
            lines = [*self.lines(), *self.errors]
            found = [line for line in lines if text in line]
            if len(found) >= count:
                return found[-1]
            if over:
                raise AssertionError(f"{text!r} does not stand in {count} lines; the last ones are {lines[-4:]}")
            time.sleep(0.01)

    @property
    def ended(self) -> bool:
        """Whether it has ended."""
        if self._status is None:
            self._status = self._forking.ask({"look": self.pid})
        return self._status is not None

    def kill(self, number: int = signal.SIGKILL) -> None:
        """Send a signal, if it is still there."""
        if not self.ended:
            os.kill(self.pid, number)

    def wait(self) -> int:
        """
        Wait for its end.

        :return: its exit status; of a signal, the number below zero.
        """
        wait_until(lambda: self.ended, f"the end of {self.pid}")
        assert self._status is not None
        return self._status


class Forking:
    """
    The process that forks others.
    """

    def __init__(self) -> None:
        self._count = 0
        command = [sys.executable, "-c", f"import {__name__} as forked; forked.fork_as_told()"]
        self._process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env=unmeasured(PYTHONPATH=os.pathsep.join(os.path.abspath(path) for path in sys.path)),
            text=True,
        )

    def ask(self, message: dict[str, Any]) -> Any:
        """Ask it something."""
        assert self._process.stdin is not None and self._process.stdout is not None
        self._process.stdin.write(json.dumps(message) + "\n")
        self._process.stdin.flush()
        return json.loads(self._process.stdout.readline())

    def start(
        self, directory: str, program: str, *arguments: str, without_rights: bool = False, largest_file: int = 0
    ) -> Forked:
        """
        Start a program.

        :param directory: where it runs, and where its output goes.
        :param program: ``sodiumtwist`` or ``twistd``; or a module whose ``main`` takes the arguments.
        :param without_rights: whether what others may not do is refused, whoever runs the tests.
        :param largest_file: how many bytes each file that it writes may have; 0 for no limit.
        """
        self._count += 1
        place = os.path.join(directory, f"output-{self._count}")
        for kind in ("out", "err"):
            open(f"{place}.{kind}", "xb").close()
        message: dict[str, Any] = {"start": program, "arguments": arguments, "in": directory, "place": place}
        message |= {"without rights": without_rights, "largest file": largest_file}
        return Forked(self, self.ask(message), place)

    def close(self) -> None:
        """End it, with all that it has started."""
        assert self._process.stdin is not None and self._process.stdout is not None
        self._process.stdin.close()
        self._process.wait(PATIENCE)
        self._process.stdout.close()


@cache
def forking() -> Forking:
    """The one that all tests of this process share."""
    process = Forking()
    atexit.register(process.close)
    return process


def fork_as_told() -> None:
    """What that process does: each line of standard input asks for something, and is answered by one."""
    for name in IMPORTED:
        __import__(name)
    running: set[int] = set()
    for line in sys.stdin:
        message = json.loads(line)
        if "start" in message:
            pid = os.fork()
            if not pid:
                _run(message)
            running.add(pid)
            answer: int | None = pid
        else:
            pid, status = os.waitpid(message["look"], os.WNOHANG)
            answer = os.waitstatus_to_exitcode(status) if pid else None
            running.discard(pid)
        print(json.dumps(answer), flush=True)
    for pid in running:
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)


def _run(message: dict[str, Any]) -> None:
    """In a forked process: be the program."""
    status = 1
    try:
        signal.signal(signal.SIGINT, signal.default_int_handler)
        if message["largest file"]:
            resource.setrlimit(resource.RLIMIT_FSIZE, (message["largest file"],) * 2)
        if message["without rights"]:
            _give_up_rights()
        os.chdir(message["in"])
        with open(os.devnull) as nothing:
            os.dup2(nothing.fileno(), 0)
        for number, kind in ((1, "out"), (2, "err")):
            with open(f"{message['place']}.{kind}", "ab") as file:
                os.dup2(file.fileno(), number)
        sys.stdout = os.fdopen(1, "w", buffering=1, closefd=False)
        sys.stderr = os.fdopen(2, "w", buffering=1, closefd=False)
        sys.argv = [message["start"], *message["arguments"]]
        if message["start"] == "twistd":
            from twisted.scripts.twistd import run

            run()
        elif message["start"] == "sodiumtwist":
            from sodiumtwist.programs.cli import main

            main(message["arguments"])
        else:
            importlib.import_module(message["start"]).main(message["arguments"])
        status = 0
    except SystemExit as ended:
        status = ended.code if isinstance(ended.code, int) else int(ended.code is not None)
        if isinstance(ended.code, str):
            print(ended.code, file=sys.stderr)
    except BaseException:
        import traceback

        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status)


def _give_up_rights() -> None:
    """Take from root what others do not have: to pass over the rights of files. See capabilities(7)."""
    if os.geteuid() != 0:
        return
    import ctypes
    from struct import pack_into, unpack_from

    libc = ctypes.CDLL(None, use_errno=True)
    header = ctypes.create_string_buffer(8)
    pack_into("=Ii", header, 0, 0x20080522, 0)  # the third version, of this process
    sets = ctypes.create_string_buffer(24)
    if libc.capget(header, sets):
        raise OSError(ctypes.get_errno(), "capget")
    # CAP_DAC_OVERRIDE and CAP_DAC_READ_SEARCH.
    pack_into("=I", sets, 0, unpack_from("=I", sets)[0] & ~0b110)
    if libc.capset(header, sets):
        raise OSError(ctypes.get_errno(), "capset")
