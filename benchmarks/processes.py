"""
Starts processes and hears what they tell. Nothing waits longer than a limit.
"""

from __future__ import annotations

import json
import os
import select
import subprocess
import sys
import tempfile
import time
from types import TracebackType
from typing import Any

from .tables import Failed, NotInstalled

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))

#: Seconds that a process may take for one thing that it is asked to do.
PATIENCE = 120.0

#: Seconds that a process may take to end.
ENDING = 10.0


class Child:
    """
    A process that runs :mod:`benchmarks.child`. As a context manager, it ends with the block.

    :param module: the module's name in this package.
    :param verb: ``serve`` or ``run``.
    :param arguments: the keyword arguments for that.
    """

    def __init__(self, module: str, verb: str, **arguments: Any) -> None:
        self._name = f"{module} {verb}"
        self._errors = tempfile.TemporaryFile()
        self._heard = b""
        self.process = subprocess.Popen(
            [sys.executable, "-m", "benchmarks.child", module, verb, json.dumps(arguments)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._errors,
            cwd=ROOT,
            bufsize=0,
        )

    def __enter__(self) -> Child:
        return self

    def __exit__(self, kind: type | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.end()

    def hear(self, patience: float = PATIENCE) -> dict[str, Any]:
        """
        Wait for what it tells next.

        :param patience: seconds.
        :raises NotInstalled: when it tells that something is missing.
        :raises Failed: when it ends, or tells nothing in time.
        """
        assert self.process.stdout is not None
        limit = time.monotonic() + patience
        while b"\n" not in self._heard:
            left = limit - time.monotonic()
            if left <= 0 or not select.select([self.process.stdout], [], [], left)[0]:
                raise Failed(f"{self._name} said nothing for {patience:g} seconds")
            data = os.read(self.process.stdout.fileno(), 65536)
            if not data:
                raise Failed(f"{self._name}: {self._last_error()}")
            self._heard += data
        line, _, self._heard = self._heard.partition(b"\n")
        said: dict[str, Any] = json.loads(line)
        if "missing" in said:
            raise NotInstalled(said["missing"])
        return said

    def say_go(self) -> None:
        """Let it go on when it waits, see :func:`benchmarks.child.wait_to_go`."""
        assert self.process.stdin is not None
        self.process.stdin.write(b"\n")

    def _last_error(self) -> str:
        self._errors.seek(0)
        lines = self._errors.read().decode("utf-8", "replace").strip().splitlines()
        return lines[-1] if lines else "ended"

    def resident(self) -> int:
        """
        Tell how much memory it has now, in bytes.

        :raises NotInstalled: on systems that do not tell.
        """
        try:
            with open(f"/proc/{self.process.pid}/statm", encoding="ascii") as file:
                return int(file.read().split()[1]) * os.sysconf("SC_PAGESIZE")
        except FileNotFoundError:
            raise NotInstalled("/proc") from None

    def end(self) -> None:
        """Close its standard input, and wait until it has ended."""
        assert self.process.stdin is not None and self.process.stdout is not None
        self.process.stdin.close()
        try:
            self.process.wait(ENDING)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        self.process.stdout.close()
        self._errors.close()


def run(module: str, **arguments: Any) -> dict[str, Any]:
    """
    Let a new process do one thing.

    :param module: the module's name in this package.
    :param arguments: the keyword arguments for its ``run``.
    :return: what it tells.
    """
    with Child(module, "run", **arguments) as child:
        return child.hear()
