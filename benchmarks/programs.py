"""
Whole programs, ours and others', that serve while something is measured.
"""

from __future__ import annotations

import os
import re
import shutil
import socket
import subprocess
import sys
import tempfile
import time

from sodiumtwist import KeyPair

from .child import HOST
from .processes import ENDING, PATIENCE, ROOT
from .tables import Failed, NotInstalled

TWISTD = [sys.executable, "-c", "from twisted.scripts.twistd import run; run()", "-n", "--pidfile="]

#: The key of our servers.
PAIR = KeyPair.from_secret(bytes(range(32)))

#: What our servers say when they listen, with where.
LISTENING = rf"listening on {re.escape(HOST)}:(\d+)"


def find(name: str) -> str:
    """
    Find a program.

    :return: its full path, by which sshd insists on being called.
    :raises NotInstalled: when there is none.
    """
    # Servers are not in the PATH of most users.
    path = shutil.which(name, path=f"{os.environ.get('PATH', os.defpath)}:/usr/local/sbin:/usr/sbin")
    if path is None:
        raise NotInstalled(name)
    return os.path.abspath(path)


def free_port() -> int:
    """Find a port for a program that can't choose one and tell."""
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        port: int = probe.getsockname()[1]
        return port


class Program:
    """
    A server. As a context manager it ends with the block.

    :param command: what to run.
    :param ready: a pattern for the line of output that says that it is ready, or the port at which it is when it takes
        connections.
    :param environment: variables in addition to our own.
    :ivar process: its process.
    :ivar found: what the first group of the pattern has found.
    :raises Failed: when it ends or takes too long before it is ready.
    """

    def __init__(self, command: list[str], ready: str | int, **environment: str) -> None:
        self.found = ""
        self._ready = ready
        self._output = tempfile.TemporaryFile()
        self.process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=self._output,
            stderr=self._output,
            cwd=ROOT,
            env={**os.environ, "PYTHONUNBUFFERED": "1", **environment},
        )
        limit = time.monotonic() + PATIENCE
        while True:
            over = self.process.poll() is not None or time.monotonic() > limit
            self._output.seek(0)
            text = self._output.read().decode("utf-8", "replace")
            if self._is_ready(text):
                return
            if over:
                self.end()
                raise Failed((text.strip().splitlines() or ["no output"])[-1])
            time.sleep(0.02)

    def _is_ready(self, text: str) -> bool:
        if isinstance(self._ready, int):
            with socket.socket() as probe:
                return not probe.connect_ex((HOST, self._ready))
        match = re.search(self._ready, text)
        if match and match.re.groups:
            self.found = match[1]
        return match is not None

    def __enter__(self) -> Program:
        return self

    def __exit__(self, *error: object) -> None:
        self.end()

    def end(self) -> None:
        """Stop it."""
        if self.process.poll() is None:
            self.process.terminate()
        try:
            self.process.wait(ENDING)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        self._output.close()


def run_to_end(command: list[str], **environment: str) -> str:
    """
    Run a program to its end.

    :param command: what to run.
    :param environment: variables in addition to our own.
    :return: what it has written to standard output.
    :raises Failed: when it ends with an error, or takes too long.
    """
    # Users have compiled modules; whoever sets this variable would have them compiled each time.
    ours = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    try:
        done = subprocess.run(
            command,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=PATIENCE,
            cwd=ROOT,
            env={**ours, **environment},
        )
    except subprocess.TimeoutExpired:
        raise Failed(f"it took over {PATIENCE:g} seconds") from None
    if done.returncode:
        said = done.stderr.decode("utf-8", "replace").strip()
        raise Failed((said.splitlines() or [f"status {done.returncode}"])[-1])
    return done.stdout.decode("utf-8", "replace")
