"""
A file that is copied by whole programs, from a RAM disk to the same: ``sodiumtwist send`` to
``twistd sodium --file``, and scp.
"""

from __future__ import annotations

import filecmp
import os
import pwd
import re
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack

from sodiumtwist import KeyPair

from .child import HOST
from .payloads import payload
from .plan import MIB, Plan
from .processes import ENDING, PATIENCE, ROOT
from .tables import Failed, NotInstalled, Table, in_turn, progress

RAM_DISK = "/dev/shm"

TWISTD = [sys.executable, "-c", "from twisted.scripts.twistd import run; run()"]

#: The ciphers of OpenSSH that may be its fastest one, which depends on the processor.
CIPHERS = ("aes128-gcm@openssh.com", "aes256-gcm@openssh.com", "chacha20-poly1305@openssh.com", "aes128-ctr")

SSHD_CONFIGURATION = """
ListenAddress {host}:{port}
HostKey {directory}/host
AuthorizedKeysFile {directory}/user.pub
PidFile none
StrictModes no
PasswordAuthentication no
KbdInteractiveAuthentication no
PermitRootLogin prohibit-password
Subsystem sftp internal-sftp
"""


class Program:
    """
    A server that says on standard output or error when it is ready. As a context manager it ends with the block.

    :param command: what to run.
    :param ready: a pattern for the line that says so.
    :param environment: variables in addition to our own.
    :ivar found: the match of the pattern.
    :raises Failed: when it ends or takes too long before it is ready.
    """

    def __init__(self, command: list[str], ready: str, **environment: str) -> None:
        self._output = tempfile.TemporaryFile()
        self._process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=self._output,
            stderr=self._output,
            cwd=ROOT,
            env={**os.environ, "PYTHONUNBUFFERED": "1", **environment},
        )
        limit = time.monotonic() + PATIENCE
        while True:
            over = self._process.poll() is not None or time.monotonic() > limit
            self._output.seek(0)
            text = self._output.read().decode("utf-8", "replace")
            found = re.search(ready, text)
            if found:
                self.found = found
                return
            if over:
                self.end()
                raise Failed((text.strip().splitlines() or ["no output"])[-1])
            time.sleep(0.02)

    def __enter__(self) -> Program:
        return self

    def __exit__(self, *error: object) -> None:
        self.end()

    def end(self) -> None:
        """Stop it."""
        if self._process.poll() is None:
            self._process.terminate()
        try:
            self._process.wait(ENDING)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._output.close()


class Copying:
    """
    One file that is copied by several programs.

    :param directory: a directory on a RAM disk.
    :param size: of the file, in bytes.
    """

    def __init__(self, directory: str, size: int) -> None:
        self.directory = directory
        self.source = os.path.join(directory, "source")
        self.target = os.path.join(directory, "target")
        self._size = size
        block = payload(MIB)
        with open(self.source, "wb") as file:
            for start in range(0, size, MIB):
                file.write(block[: size - start])

    def copy(self, command: list[str], **environment: str) -> float:
        """
        Copy it.

        :param command: what copies ``source`` to ``target``.
        :param environment: variables in addition to our own.
        :return: MB in a second, from the start of the process to its end.
        :raises Failed: when it ends with an error, or the copy differs.
        """
        began = time.perf_counter()
        try:
            done = subprocess.run(
                command,
                stdin=subprocess.DEVNULL,
                capture_output=True,
                text=True,
                timeout=PATIENCE,
                cwd=ROOT,
                env={**os.environ, **environment},
            )
        except subprocess.TimeoutExpired:
            raise Failed(f"it took more than {PATIENCE:g} seconds") from None
        seconds = time.perf_counter() - began
        if done.returncode:
            raise Failed((done.stderr.strip().splitlines() or [f"status {done.returncode}"])[-1])
        if not filecmp.cmp(self.source, self.target, shallow=False):
            raise Failed("the copy differs")
        # So that the next one can't pass for copied because it is there already.
        os.unlink(self.target)
        return self._size / seconds / 1e6


class Scp:
    """
    scp to an sshd of our own, on a loopback port, with throw-away keys.

    :param copying: the file.
    :param stack: ends the sshd.
    :ivar cipher: the fastest cipher, when it is known.
    """

    cipher: str | None = None

    def __init__(self, copying: Copying, stack: ExitStack) -> None:
        self._copying = copying
        self._stack = stack
        self._port: int | None = None

    def _find(self, program: str) -> str:
        # sshd is not in the PATH of most users. It insists on being called by its full path.
        path = shutil.which(program, path=f"{os.environ.get('PATH', os.defpath)}:/usr/local/sbin:/usr/sbin")
        if path is None:
            raise NotInstalled(program)
        return os.path.abspath(path)

    def _start(self) -> int:
        sshd, _, keygen = self._find("sshd"), self._find("scp"), self._find("ssh-keygen")
        directory = self._copying.directory
        for name in ("host", "user"):
            making = [keygen, "-q", "-t", "ed25519", "-N", "", "-C", "", "-f", os.path.join(directory, name)]
            subprocess.run(making, check=True, stdin=subprocess.DEVNULL, timeout=PATIENCE)
        with socket.socket() as probe:
            probe.bind((HOST, 0))
            port: int = probe.getsockname()[1]
        configuration = os.path.join(directory, "sshd_config")
        with open(configuration, "w", encoding="utf-8") as file:
            file.write(SSHD_CONFIGURATION.format(host=HOST, port=port, directory=directory))
        with open(os.path.join(directory, "host.pub"), encoding="utf-8") as file:
            key = file.read()
        with open(os.path.join(directory, "known"), "w", encoding="utf-8") as file:
            file.write(f"[{HOST}]:{port} {key}")
        try:
            self._stack.enter_context(Program([sshd, "-D", "-e", "-f", configuration], "Server listening on"))
        except Failed as failure:
            raise NotInstalled(f"sshd does not run here: {failure}") from None
        return port

    def copy(self) -> float:
        """
        Copy the file; the first time by each cipher, to find the fastest.

        :return: MB in a second.
        :raises NotInstalled: when there is no sshd, or none that runs.
        """
        if self._port is None:
            self._port = self._start()
        if self.cipher is None:
            offered = subprocess.run([self._find("ssh"), "-Q", "cipher"], capture_output=True, text=True).stdout.split()
            try:
                rates = {cipher: self._copy(cipher) for cipher in CIPHERS if cipher in offered}
            except Failed as failure:
                raise NotInstalled(f"scp to an sshd of our own does not work here: {failure}") from None
            self.cipher = max(rates, key=lambda cipher: rates[cipher])
        return self._copy(self.cipher)

    def _copy(self, cipher: str) -> float:
        directory = self._copying.directory
        options = [
            f"UserKnownHostsFile={directory}/known",
            "StrictHostKeyChecking=yes",
            "IdentitiesOnly=yes",
            "BatchMode=yes",
        ]
        user = pwd.getpwuid(os.getuid()).pw_name
        command = [self._find("scp"), "-q", "-F", os.devnull, "-P", str(self._port), "-i", f"{directory}/user"]
        for option in options:
            command += ["-o", option]
        command += ["-c", cipher, self._copying.source, f"{user}@{HOST}:{self._copying.target}"]
        return self._copying.copy(command)


def _sending(copying: Copying, stack: ExitStack) -> Callable[[], float]:
    pair = KeyPair.generate()
    server: Program | None = None

    def send() -> float:
        nonlocal server
        if server is None:
            # scp does not wait for the disk either.
            options = ["--endpoint", f"tcp:0:interface={HOST}", "--file", copying.target, "--no-sync"]
            command = [*TWISTD, "-n", "--pidfile=", "sodium", *options]
            pattern = rf"listening on {re.escape(HOST)}:(\d+)"
            server = stack.enter_context(Program(command, pattern, SODIUMTWIST_KEY=pair.secret.hex()))
        command = [sys.executable, "-m", "sodiumtwist", "send", "--key", pair.public.hex()]
        return copying.copy([*command, "--endpoint", f"tcp:{HOST}:{server.found[1]}", copying.source])

    return send


def run(plan: Plan) -> Iterator[Table]:
    """
    Take all figures of this module.

    :param plan: how much to measure.
    """
    directory = RAM_DISK if os.access(RAM_DISK, os.W_OK) else None
    with tempfile.TemporaryDirectory(prefix="sodiumtwist-bench-", dir=directory) as place, ExitStack() as stack:
        # The source, a copy, and as much again to spare: a RAM disk that is full takes memory from everybody.
        size = min(plan.file_bytes, shutil.disk_usage(place).free // 4)
        progress(f"send, a file of {size // MIB} MiB")
        copying = Copying(place, size)
        scp = Scp(copying, stack)
        kind = "a RAM disk" if directory else "a disk"
        table = Table("send", f"a file of {size // MIB} MiB, from {kind} to it, whole processes, not synced", "MB/s")
        measure = {"sodiumtwist send": _sending(copying, stack), "scp": scp.copy}
        in_turn(table, measure, plan.rounds, plan.warm_up)
        if scp.cipher and not table.rows[1].note:
            table.rows[1].note = scp.cipher
        yield table
