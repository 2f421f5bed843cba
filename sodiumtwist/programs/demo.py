"""
``sodiumtwist demo``: starts a real server in a process of its own, and sends it a file.
"""

from __future__ import annotations

import hashlib
import os
import random
import re
import sys
import tempfile
from contextlib import suppress
from typing import Any

from twisted.internet.defer import CancelledError, Deferred, TimeoutError
from twisted.internet.error import ProcessExitedAlready
from twisted.internet.protocol import ProcessProtocol
from twisted.internet.task import deferLater
from twisted.python.failure import Failure

from ..contacts.keyfiles import write_key_file
from ..core.keys import KeyPair
from ..describe.fingerprints import fingerprint
from ..protocol.factories import VERSION
from .exits import EXIT_BROKEN, EXIT_USAGE, CommandFailed
from .files import look_at, send_found
from .options import DEFAULT_LOGIN, DEFAULT_PASSPHRASE
from .output import print_line, print_text
from .progress import Told
from .sessions import Session
from .settings import Credentials, SendSettings

#: The size of the sample in bytes.
SAMPLE_SIZE = 32 * 1024 * 1024

#: Seconds that the server may take to start.
START_TIMEOUT = 30.0

#: Seconds that the server may take to end; then it is killed.
KILL_AFTER = 5.0

#: Seconds between two looks whether the server has ended.
KILL_POLL = 0.02

BETWEEN_TWO_MACHINES = """\
The same between two machines:
 on the one that receives, whose name or address is HOST
   sodiumtwist keygen --output server.key
   sodiumtwist invite ann --key-file server.key --keys keys.txt --endpoint HOST:5555
   twistd -n sodium --key-file server.key --authorized-keys keys.txt --auth none --endpoint tcp:5555 \\
       --directory uploads --share uploads --share-per-login
 on the one that sends, with the line that 'invite' has printed
   sodiumtwist join 'sodium://...' home
   sodiumtwist send PATH... home:"""


class _Server(ProcessProtocol):
    """
    Watches the server's process.

    :ivar port: fires with the server's port when the server listens; fails when it ends before that.
    :ivar ended: whether the process is gone.
    """

    def __init__(self) -> None:
        self.port: Deferred[int] = Deferred()
        self.ended = False
        self._output = b""

    def outReceived(self, data: bytes) -> None:
        # The rest of the log is of no use here. Kept, it would grow.
        if self.port.called:
            return
        self._output += data
        # With the end of the line: output comes in pieces, and half a number is a number, too.
        found = re.search(rb"listening on 127\.0\.0\.1:(\d+)\n", self._output)
        if found:
            self.port.callback(int(found[1]))

    def errReceived(self, data: bytes) -> None:
        # Here a server that can't start says why.
        self._output += data

    def processEnded(self, reason: Failure) -> None:
        self.ended = True
        if not self.port.called:
            last = self._output.decode("utf-8", "replace").strip().rpartition("\n")[2]
            self.port.errback(CommandFailed(EXIT_BROKEN, f"the server did not start: {last}"))


async def demo(reactor: Any, path: str | None) -> None:
    """
    Run the demonstration.

    :param path: of the file to send; ``None`` for a sample.
    :raises CommandFailed: when something did not go well, or can't be printed.
    :raises CancelledError: when this was cancelled. The server has ended then, and the temporary files are gone.
    """
    # Outside of all else, so that the directory goes last: a server that still runs could write into it.
    with tempfile.TemporaryDirectory(prefix="sodiumtwist-demo-") as directory:
        if path is None:
            path = os.path.join(directory, "sample")
            _write_sample(path)
        # It is read twice, to send it and to compare. A FIFO would be empty the second time.
        elif not os.path.isfile(path):
            raise CommandFailed(EXIT_USAGE, f"{path} is not a file; the demo sends a regular file")
        pair = KeyPair.generate()
        key_file = os.path.join(directory, "server.key")
        write_key_file(key_file, pair)
        uploads = os.path.join(directory, "uploads")
        # In the foreground, so that it is a child of ours, which shows its log and can be ended.
        arguments = ["-n", "--pidfile=", "sodium", "--key-file", key_file, "--directory", uploads]
        # Loopback alone: anywhere else a server refuses the default passphrase.
        arguments += ["--endpoint", "tcp:0:interface=127.0.0.1"]
        server = _Server()
        # The twistd of this Python, which need not be on the path.
        command = [sys.executable, "-c", "from twisted.scripts.twistd import run; run()", *arguments]
        process = reactor.spawnProcess(server, sys.executable, command, env=_server_environment(), path=directory)
        try:
            try:
                port = await server.port.addTimeout(START_TIMEOUT, reactor)
            except TimeoutError:
                raise CommandFailed(EXIT_BROKEN, f"the server did not start within {START_TIMEOUT:g} seconds") from None
            print_line(f"server    twistd in process {process.pid}, on 127.0.0.1:{port}")
            print_line(f"          public key {pair.public.hex()}")
            print_line(f"          fingerprint {fingerprint(pair.public)}")
            credentials = Credentials(DEFAULT_LOGIN, DEFAULT_PASSPHRASE, default_passphrase=True, pair=None)
            settings = SendSettings(f"tcp:127.0.0.1:{port}", pair.public, credentials, VERSION, (path,))
            session, told = Session(reactor, settings), Told()
            try:
                await send_found(session, settings, look_at(settings, reactor, told), told)
            finally:
                told.close()
            print_line(f"client    {told.describe(session.seconds)}, by protocol version {VERSION}")
            if told.failed:
                raise CommandFailed(EXIT_BROKEN, "the file did not arrive")
            compare(path, os.path.join(uploads, DEFAULT_LOGIN), told.size)
        finally:
            await _stop(reactor, process, server)
    print_text(BETWEEN_TWO_MACHINES)


def _server_environment() -> dict[str, str]:
    # A key there, beside our --key-file, would be one too many; a passphrase there would not be ours.
    return {name: value for name, value in os.environ.items() if not name.startswith("SODIUMTWIST_")}


def _write_sample(path: str) -> None:
    # From a fixed seed: each run sends the same.
    noise = random.Random("sodiumtwist")
    with open(path, "wb") as sample:
        for _ in range(SAMPLE_SIZE // 1024 // 1024):
            sample.write(noise.randbytes(1024 * 1024))


def _digest(path: str, size: int) -> str:
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        while chunk := file.read(min(size, 1024 * 1024)):
            digest.update(chunk)
            size -= len(chunk)
    return digest.hexdigest()


def compare(path: str, uploads: str, size: int) -> None:
    """
    Compare what arrived with what was sent, and print the result.

    :param path: of the file that was sent. What it has beyond ``size`` was added to it meanwhile.
    :param uploads: the login's folder in the server's directory.
    :param size: how many bytes were sent.
    :raises CommandFailed: when they differ, or the result can't be printed.
    """
    names = os.listdir(uploads)
    if len(names) != 1:
        raise CommandFailed(EXIT_BROKEN, f"{len(names)} files arrived where one was sent")
    upload = os.path.join(uploads, names[0])
    arrived, expected = _digest(upload, size), _digest(path, size)
    if arrived != expected or os.stat(upload).st_size != size:
        raise CommandFailed(EXIT_BROKEN, f"SHA-256 differs: sent {expected}, arrived {arrived}")
    print_line(f"arrived   as {os.path.join(os.path.basename(uploads), names[0])}")
    print_line(f"          with the same SHA-256 {arrived}")


async def _stop(reactor: Any, process: Any, server: _Server) -> None:
    """
    End the server, and wait until it has ended: 5 seconds after SIGTERM, then 5 seconds after SIGKILL.

    :raises CancelledError: when this was cancelled. It is raised at the end; until then this goes on.
    """
    cancelled = False
    for signal_name in ("TERM", "KILL"):
        # Ctrl-C on the terminal goes to the server, too: it may have ended already.
        with suppress(ProcessExitedAlready):
            process.signalProcess(signal_name)
        limit = reactor.seconds() + KILL_AFTER
        while not server.ended and reactor.seconds() < limit:
            try:
                await deferLater(reactor, KILL_POLL)
            # Another Ctrl-C must not leave the server behind.
            except CancelledError:
                cancelled = True
    if cancelled:
        raise CancelledError()
