"""
A file that is copied by whole programs, from a RAM disk to the same: ``sodiumtwist send`` to
``twistd sodium``, scp, and rsync to its daemon without encryption. :mod:`benchmarks.trees` has them copy many.
"""

from __future__ import annotations

import filecmp
import os
import pwd
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from functools import partial
from typing import Any

from .child import HOST
from .payloads import payload
from .plan import MIB, Plan
from .processes import PATIENCE
from .programs import LISTENING, PAIR, TWISTD, Program, find, free_port, run_to_end
from .tables import PER_GIB, PER_PAYLOAD_BYTE, Failed, Figure, NotInstalled, Table, in_turn, progress
from .usage import Meter, peak_memory

RAM_DISK = "/dev/shm"

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


RSYNCD_CONFIGURATION = """
pid file =
use chroot = no
uid = {user}
gid = {group}

[here]
path = {directory}
read only = no
"""


class Copying:
    """
    One file that is copied by several programs.

    :param directory: a directory on a RAM disk.
    :param size: of the file, in bytes.
    :ivar source: what is copied.
    :ivar target: where to.
    :ivar tree: whether that is a folder.
    """

    tree = False

    def __init__(self, directory: str, size: int) -> None:
        self.directory = directory
        self.source = os.path.join(directory, "source")
        self.target = os.path.join(directory, "target")
        self._size = size
        self._make()

    def _make(self) -> None:
        block = payload(MIB)
        with open(self.source, "wb") as file:
            for start in range(0, self._size, MIB):
                file.write(block[: self._size - start])

    def copy(self, command: list[str], find_copy: Callable[[], str] | None = None, **environment: str) -> Figure:
        """
        Copy it.

        :param command: what copies ``source`` to ``target``.
        :param find_copy: tells where the copy is, where that is not ``target``.
        :param environment: variables in addition to our own.
        :return: how fast, from the start of the process to its end, and what else that took, servers included.
        :raises Failed: when it ends with an error, or the copy differs.
        """
        # This process waits meanwhile, and so do the servers that have no part in it: all of them are our children.
        meter = Meter([os.getpid()])
        run_to_end(command, **environment)
        told = meter.read()
        self.clear(self.target if find_copy is None else find_copy())
        return self._figure(**told)

    def clear(self, copied: str) -> None:
        """
        Remove a copy, so that the next one can't pass for copied because it is there already.

        :raises Failed: when it is not like the source.
        """
        # The cache believes in times, which programs keep.
        filecmp.clear_cache()
        if not self._equal(copied):
            raise Failed("the copy differs")
        self._remove(copied)

    def _equal(self, copied: str) -> bool:
        return os.path.isfile(copied) and filecmp.cmp(self.source, copied, shallow=False)

    def _remove(self, copied: str) -> None:
        os.unlink(copied)

    def _figure(self, **told: Any) -> Figure:
        return Figure.of_bytes(self._size, **told)


class Scp:
    """
    scp to an sshd of our own, on a loopback port, with throw-away keys.

    :param copying: the file or folder.
    :param stack: ends the sshd.
    :ivar cipher: the fastest cipher, when it is known.
    """

    cipher: str | None = None

    def __init__(self, copying: Copying, stack: ExitStack) -> None:
        self._copying = copying
        self._stack = stack
        self._port: int | None = None

    def _start(self) -> int:
        sshd, _, keygen = find("sshd"), find("scp"), find("ssh-keygen")
        directory = self._copying.directory
        for name in ("host", "user"):
            making = [keygen, "-q", "-t", "ed25519", "-N", "", "-C", "", "-f", os.path.join(directory, name)]
            subprocess.run(making, check=True, stdin=subprocess.DEVNULL, timeout=PATIENCE)
        port = free_port()
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

    def copy(self) -> Figure:
        """
        Copy it; the first time by each cipher, to find the fastest.

        :return: how fast, and what else it took.
        :raises NotInstalled: when there is no sshd, or none that runs.
        """
        if self._port is None:
            self._port = self._start()
        if self.cipher is None:
            offered = subprocess.run([find("ssh"), "-Q", "cipher"], capture_output=True, text=True).stdout.split()
            known = [cipher for cipher in CIPHERS if cipher in offered]
            if self._copying.tree:
                # Many small files take long, and not for the cipher's sake.
                del known[1:]
            try:
                rates = {cipher: self._copy(cipher) for cipher in known}
            except Failed as failure:
                raise NotInstalled(f"scp to an sshd of our own does not work here: {failure}") from None
            self.cipher = max(rates, key=lambda cipher: rates[cipher].value)
        return self._copy(self.cipher)

    def _copy(self, cipher: str) -> Figure:
        directory = self._copying.directory
        options = [
            f"UserKnownHostsFile={directory}/known",
            "StrictHostKeyChecking=yes",
            "IdentitiesOnly=yes",
            "BatchMode=yes",
        ]
        user = pwd.getpwuid(os.getuid()).pw_name
        command = [find("scp"), "-q", "-F", os.devnull, "-P", str(self._port), "-i", f"{directory}/user"]
        for option in options:
            command += ["-o", option]
        command += ["-r"] * self._copying.tree
        command += ["-c", cipher, self._copying.source, f"{user}@{HOST}:{self._copying.target}"]
        return self._copying.copy(command)


class Rsync:
    """
    rsync to a daemon of our own, on a loopback port, without encryption.

    :param copying: the file or folder.
    :param stack: ends the daemon.
    """

    def __init__(self, copying: Copying, stack: ExitStack) -> None:
        self._copying = copying
        self._stack = stack
        self._port: int | None = None

    def _start(self) -> int:
        directory, port = self._copying.directory, free_port()
        configuration = os.path.join(directory, "rsyncd.conf")
        with open(configuration, "w", encoding="utf-8") as file:
            file.write(RSYNCD_CONFIGURATION.format(directory=directory, user=os.getuid(), group=os.getgid()))
        command = [find("rsync"), "--daemon", "--no-detach", f"--address={HOST}", f"--port={port}"]
        self._stack.enter_context(Program([*command, f"--config={configuration}"], port))
        return port

    def copy(self) -> Figure:
        """
        Copy it.

        :return: how fast, and what else it took.
        :raises NotInstalled: when there is no rsync.
        """
        if self._port is None:
            self._port = self._start()
        target = f"rsync://{HOST}:{self._port}/here/{os.path.basename(self._copying.target)}"
        # What is in a folder, with times and rights as ours keeps them.
        source = ["--archive", f"{self._copying.source}/"] if self._copying.tree else [self._copying.source]
        return self._copying.copy([find("rsync"), "--whole-file", *source, target])


class Sodiumtwist:
    """
    ``sodiumtwist send`` to a ``twistd sodium``.

    :param copying: the file or folder.
    :param stack: ends the server.
    :param directory: whether the server stores files under their names; otherwise it has a place for one.
    """

    def __init__(self, copying: Copying, stack: ExitStack, directory: bool = False) -> None:
        self._copying = copying
        self._stack = stack
        self._directory = f"{copying.target}s" if directory else ""
        self._server: Program | None = None

    def _command(self, version: int) -> list[str]:
        """What sends it. The first call starts the server."""
        if self._server is None:
            place = ["--file", self._copying.target]
            if self._directory:
                os.mkdir(self._directory)
                place = ["--directory", self._directory]
            # The others do not wait for the disk either.
            options = ["--endpoint", f"tcp:0:interface={HOST}", *place, "--no-sync"]
            server = Program([*TWISTD, "sodium", *options], LISTENING, SODIUMTWIST_KEY=PAIR.secret.hex())
            self._server = self._stack.enter_context(server)
        command = [sys.executable, "-m", "sodiumtwist", "send", "--protocol", str(version), "--key", PAIR.public.hex()]
        return [*command, "--endpoint", f"tcp:{HOST}:{self._server.found}", self._copying.source]

    def _find(self) -> str:
        """Where the copy is: under its name, in the folder of the one login."""
        if not self._directory:
            return self._copying.target
        login = next(iter(os.listdir(self._directory)), "")
        return os.path.join(self._directory, login, os.path.basename(self._copying.source))

    def copy(self, version: int) -> Figure:
        """
        Copy it.

        :param version: of the protocol.
        :return: how fast, and what else it took.
        """
        return self._copying.copy(self._command(version), self._find)

    def client_memory(self) -> float:
        """
        Copy it.

        :return: the most memory that the client had, in MB.
        """
        said = run_to_end([sys.executable, "-c", PEAK_OF, *self._command(2)])
        self._copying.clear(self._find())
        return int(said.split()[-1]) / 1e6

    def server_memory(self) -> float:
        """
        Tell of all that was copied until now.

        :return: the most memory that the server had, in MB.
        :raises NotInstalled: on systems that do not tell.
        """
        peak = None if self._server is None else peak_memory(self._server.process.pid)
        if peak is None:
            raise NotInstalled("the system does not tell")
        return peak / 1e6


#: A program that runs another, and tells the most memory that that had, in bytes, in its last line.
PEAK_OF = """
import resource, subprocess, sys
status = subprocess.call(sys.argv[1:])
unit = 1 if sys.platform == "darwin" else 1024
print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss * unit)
sys.exit(status)
"""


def memory(key: str, what: str, ours: Sodiumtwist) -> Table:
    """
    Measure the most memory that both our ends have. The server has served all rounds of the speed.

    :param key: of the table.
    :param what: is copied.
    :param ours: copies it.
    """
    table = Table(key, f"most memory, {what}, sodiumtwist", "MB", compared=False, better="less")
    # The server's is that of its whole life, so one round is all there is.
    return in_turn(table, {"client": ours.client_memory, "server": ours.server_memory}, 1, False)


#: Names of the rows, by their keys.
NAMES = {
    "sodiumtwist": "sodiumtwist send",
    "sodiumtwist-directory": "sodiumtwist send, stored under its name",
    "sodiumtwist-1": "sodiumtwist send, version 1",
    "scp": "scp",
    "rsync": "rsync daemon, not encrypted",
}


def tell_cipher(table: Table, scp: Scp) -> None:
    """Note which cipher scp was measured with."""
    for row in table.rows:
        if row.key == "scp" and not row.note:
            row.note = scp.cipher or ""


def ram_disk() -> str | None:
    """A directory on a RAM disk; ``None`` without one."""
    return RAM_DISK if os.access(RAM_DISK, os.W_OK) else None


def run(plan: Plan, keys: Sequence[str] | None = None) -> Iterator[Table]:
    """
    Take all figures of this module.

    :param plan: how much to measure.
    :param keys: the keys of the programs; ``None`` for all of them.
    """
    if keys is not None and not set(keys) & set(NAMES):
        return
    directory = ram_disk()
    with tempfile.TemporaryDirectory(prefix="sodiumtwist-bench-", dir=directory) as place, ExitStack() as stack:
        # The source, a copy, and as much again to spare: a RAM disk that is full takes memory from everybody.
        size = min(plan.file_bytes, shutil.disk_usage(place).free // 4)
        progress(f"send, a file of {size // MIB} MiB")
        copying = Copying(place, size)
        ours, scp, rsync = Sodiumtwist(copying, stack), Scp(copying, stack), Rsync(copying, stack)
        by_name = Sodiumtwist(copying, stack, directory=True)
        ways: dict[str, Callable[[], Figure]] = {
            "sodiumtwist": partial(ours.copy, 2),
            "sodiumtwist-directory": partial(by_name.copy, 2),
            "sodiumtwist-1": partial(ours.copy, 1),
            "scp": scp.copy,
            "rsync": rsync.copy,
        }
        kind = "a RAM disk" if directory else "a disk"
        title = f"a file of {size // MIB} MiB, from {kind} to it, whole processes, not synced"
        table = Table("send", title, "MB/s", cpu_unit=PER_GIB, wire_unit=PER_PAYLOAD_BYTE)
        measure = {key: way for key, way in ways.items() if keys is None or key in keys}
        in_turn(table, measure, plan.rounds, plan.warm_up, NAMES)
        tell_cipher(table, scp)
        yield table
        if "sodiumtwist-directory" in measure:
            yield memory("send-memory", f"a file of {size // MIB} MiB", by_name)
