"""
A real server of Redis, for tests that need one. It listens on a UNIX socket in a folder of its own.
"""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time

from .outside import find_program
from .processes import PATIENCE


class RedisServer:
    """
    A process of ``redis-server``, or none.

    :param options: of it, as its command line has them.
    :raises SkipTest: when it is not installed.
    :ivar url: where it is.
    """

    def __init__(self, *options: str) -> None:
        self._program = find_program("redis-server", "redis-server")
        # Short: the path of a socket is.
        self._folder = tempfile.mkdtemp(prefix="sodiumtwist-redis-")
        self._socket = os.path.join(self._folder, "s")
        self._options = options
        self._process: subprocess.Popen[bytes] | None = None
        self.url = f"unix://{self._socket}"
        self.start()

    def start(self) -> None:
        """Start it, with nothing in it."""
        words = ["--port", "0", "--unixsocket", self._socket, "--save", "", "--dir", self._folder, *self._options]
        self._process = subprocess.Popen(
            [self._program, *words], stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        limit = time.monotonic() + PATIENCE
        while not self._listens():
            assert time.monotonic() < limit and self._process.poll() is None, "redis-server does not start"
            time.sleep(0.005)

    def _listens(self) -> bool:
        with socket.socket(socket.AF_UNIX) as trial:
            return trial.connect_ex(self._socket) == 0

    def _signal(self, number: int) -> None:
        assert self._process is not None
        self._process.send_signal(number)

    def pause(self) -> None:
        """Let it answer nothing, and take what comes."""
        self._signal(signal.SIGSTOP)

    def go_on(self) -> None:
        """Let it answer again."""
        self._signal(signal.SIGCONT)

    def kill(self) -> None:
        """End it as a power cut does, if it runs."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None
        if os.path.exists(self._socket):
            os.unlink(self._socket)

    def remove(self) -> None:
        """End it, and leave nothing."""
        self.kill()
        shutil.rmtree(self._folder)
