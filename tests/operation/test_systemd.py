"""
The units for systemd, and the services under it.
"""

from __future__ import annotations

import configparser
import os
import re
import shutil
import signal
import socket
import subprocess
import threading
import time
from unittest import skipIf

from sodiumtwist import KeyPair
from sodiumtwist.contacts.keyfiles import write_key_file
from sodiumtwist.core.connection import ClientConnection, Version2
from sodiumtwist.core.events import Authenticated
from sodiumtwist.core.states import State

from ..outside import find_program
from ..pages import ROOT, read_blocks, read_page
from ..processes import TWISTD, ProcessTestCase, clean_environment, wait_until
from ..system_manager import SystemManager

FOLDER = os.path.join("docs", "howto")
SERVER, PORT, TUNNEL = "sodiumtwist.service", "sodiumtwist.socket", "sodiumtwist-tunnel.service"

#: The exposure that ``systemd-analyze security`` may find at most, of 10.
EXPOSURE = 2.0


def unit(name: str) -> configparser.RawConfigParser:
    parser = configparser.RawConfigParser(strict=False)
    parser.optionxform = str  # type: ignore[assignment,method-assign]
    parser.read_string(read_page(os.path.join(FOLDER, name)))
    return parser


def free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port: int = free.getsockname()[1]
        return port


class Visitors(threading.Thread):
    """
    Come one after the other for as long as it runs: each connects, is let in, and ends in order.

    :ivar let_in: how many were.
    :ivar failures: what the others met, by the name of the exception.
    :ivar refused: whether a connection was not even made.
    """

    def __init__(self, port: int, server_key: bytes, pair: KeyPair) -> None:
        super().__init__()
        self._port = port
        self._server_key = server_key
        self._pair = pair
        self._enough = threading.Event()
        self.let_in = 0
        self.failures: list[str] = []
        self.refused = False

    def run(self) -> None:
        while not self._enough.is_set():
            try:
                transport = socket.create_connection(("127.0.0.1", self._port), timeout=30)
            except OSError:
                self.refused = True
                return
            with transport:
                try:
                    self._visit(transport)
                    self.let_in += 1
                except Exception as error:
                    self.failures.append(repr(error))

    def _visit(self, transport: socket.socket) -> None:
        ours = ClientConnection(
            self._server_key, "ann", "", time.monotonic(), pair=self._pair, version=2, version_2=Version2(time.time)
        )
        ours.initiate()
        let_in = False
        while True:
            for event in ours.events(time.monotonic()):
                if isinstance(event, Authenticated):
                    let_in = True
                    ours.send_end()
            if data := ours.data_to_send():
                transport.sendall(data)
            elif ours.state is State.CLOSED:
                assert let_in
                return
            else:
                received = transport.recv(65536)
                if not received:
                    ours.receive_eof()
                ours.receive_data(received, time.monotonic())

    def end(self) -> None:
        self._enough.set()
        self.join()


class UnitTests(ProcessTestCase):
    """The files, without a systemd that runs."""

    def copied(self) -> list[str]:
        """Copy the units, with a program that is there."""
        paths = []
        for name in SERVER, PORT, TUNNEL:
            text = read_page(os.path.join(FOLDER, name)).replace("/opt/sodiumtwist/bin/twistd", "/bin/sh")
            paths.append(self.path(name))
            with open(paths[-1], "w") as file:
                file.write(text)
        return paths

    def test_verify(self) -> None:
        """systemd has nothing to say against them."""
        program = find_program("systemd-analyze", "systemd")
        done = subprocess.run([program, "verify", *self.copied()], capture_output=True, text=True)
        about = [line for line in done.stderr.splitlines() if "sodiumtwist" in line]
        self.assertEqual((done.returncode, about), (0, []), done.stderr)

    def test_exposure(self) -> None:
        """systemd finds little that the services could do to the machine, and the page tells how little."""
        program = find_program("systemd-analyze", "systemd")
        for path in self.copied():
            if path.endswith(".service"):
                command = [program, "security", "--offline=true", f"--threshold={EXPOSURE * 10:g}", path]
                done = subprocess.run(command, capture_output=True, text=True)
                self.assertEqual(done.returncode, 0, done.stdout)
                found = re.search(r"exposure level for \S+: ([\d.]+) ", done.stdout)
                assert found is not None
                self.assertIn(f"an exposure of {found[1]} of 10", read_page(os.path.join(FOLDER, "systemd.rst")))

    def test_hardened(self) -> None:
        """They run as a user of their own, who can write in one folder."""
        for name in SERVER, TUNNEL:
            service = unit(name)["Service"]
            for setting, value in {
                "User": "sodiumtwist",
                "StateDirectory": "sodiumtwist",
                "NoNewPrivileges": "yes",
                "ProtectSystem": "strict",
                "CapabilityBoundingSet": "",
            }.items():
                self.assertEqual(service[setting], value)

    def test_activated(self) -> None:
        """
        With a socket of systemd's own program, the first client starts the unit's command, and is served. It ends when
        systemd ends it.
        """
        activate = find_program("systemd-socket-activate", "systemd")
        own, pair = KeyPair.generate(), KeyPair.generate()
        write_key_file(self.path("server.key"), own)
        with open(self.path("keys.txt"), "w") as file:
            file.write(f"{pair.public.hex()} ann\n")
        with open(self.path("config.toml"), "w") as file:
            text = read_page(os.path.join(FOLDER, "config.toml"))
            file.write(re.sub("/(etc|var/lib)/sodiumtwist", self.directory, text))
        command = unit(SERVER)["Service"]["ExecStart"].replace("\\\n", " ").split()
        self.assertEqual(command[0], "/opt/sodiumtwist/bin/twistd")
        arguments = [word.replace("/etc/sodiumtwist", self.directory) for word in command[1:]]
        # It gives a program nothing else of the environment; and a name to the socket, as systemd does.
        kept = {"COVERAGE_PROCESS_CONFIG", "XDG_CONFIG_HOME", "XDG_DATA_HOME", "PYTHONUNBUFFERED"}
        passed = [f"--setenv={name}" for name in sorted(kept.intersection(clean_environment()))]
        port = free_port()
        listening = [activate, f"--listen=127.0.0.1:{port}", "--fdname=port"]
        server = self.run_process([*listening, *passed, *TWISTD, *arguments])
        server.wait_for("Listening on")
        visitors = Visitors(port, own.public, pair)
        visitors.start()
        wait_until(lambda: visitors.let_in or visitors.failures or visitors.refused, "the first client")
        visitors.end()
        self.assertEqual((visitors.failures, visitors.refused), ([], False))
        server.wait_for(f"listening on 127.0.0.1:{port}$")
        self.assertEqual(server.stop(), -signal.SIGTERM)


@skipIf(os.geteuid(), "only root can have a systemd in namespaces of its own")
class RunningTests(ProcessTestCase):
    """The services under a systemd that runs, installed as the page has it."""

    def setUp(self) -> None:
        super().setUp()
        self.systemd = SystemManager(self)
        self.port = free_port()
        # The line with pip is what SystemManager does.
        self.follow("useradd", without="pip install")
        self.pair = KeyPair.generate()
        self.write("keys.txt", f"{self.pair.public.hex()} ann\n")
        written = self.systemd.path("/etc/systemd/system")
        for name in SERVER, PORT, TUNNEL:
            shutil.copy(os.path.join(ROOT, FOLDER, name), written)
            # Of a system nothing is there but what these need.
            self.add(name, "Unit", "DefaultDependencies=no")
        self.add(PORT, "Socket", f"ListenStream=\nListenStream=127.0.0.1:{self.port}")
        for name in SERVER, TUNNEL:
            self.add(name, "Service", f"StandardOutput=append:/run/{name}.log\nStandardError=inherit")

    def follow(self, mark: str, without: str) -> None:
        """
        Do what the page says in a block.

        :param mark: what is in it.
        :param without: what is in lines to leave out.
        """
        blocks = [block.text for block in read_blocks(read_page(os.path.join(FOLDER, "systemd.rst")))]
        text = next(text for text in blocks if mark in text)
        text = "\n".join(line for line in text.splitlines() if without not in line)
        self.systemd.call("bash", "-euc", f"cd /opt/sodiumtwist/source\n{text}")

    def add(self, name: str, section: str, lines: str) -> None:
        """Add to a unit, as an administrator does."""
        folder = self.systemd.path(f"/etc/systemd/system/{name}.d")
        folder.mkdir(exist_ok=True)
        (folder / f"{section}.conf").write_text(f"[{section}]\n{lines}\n")
        self.systemd.systemctl("daemon-reload")

    def log(self, name: str = SERVER) -> str:
        return self.systemd.path(f"/run/{name}.log").read_text()

    def write(self, name: str, text: str) -> None:
        """Write a file of the services' user."""
        self.systemd.path(f"/var/lib/sodiumtwist/{name}").write_text(text)
        self.systemd.call("chown", "sodiumtwist:", f"/var/lib/sodiumtwist/{name}")

    @property
    def key(self) -> str:
        return self.systemd.path("/etc/sodiumtwist/server.key.pub").read_text().split()[-1]

    def visitors(self) -> Visitors:
        visitors = Visitors(self.port, bytes.fromhex(self.key), self.pair)
        self.addCleanup(visitors.end)
        visitors.start()
        return visitors

    def test_service(self) -> None:
        """
        It is active when it is ready. It runs as its user, who may do nothing else. A restart while clients come
        refuses none of them; and one that hangs is started again.
        """
        self.add(SERVER, "Service", "WatchdogSec=1\nStandardOutput=append:/run/sodiumtwist.service.log")
        self.systemd.systemctl("start", SERVER)
        self.assertEqual(self.systemd.show(SERVER, "ActiveState"), "active")
        self.assertEqual(self.systemd.show(SERVER, "StatusText"), "0 sessions")
        self.assertIn(f"listening on 127.0.0.1:{self.port}\n", self.log())
        process = self.systemd.show(SERVER, "MainPID")
        status = self.systemd.call("cat", f"/proc/{process}/status")
        self.assertRegex(status, r"CapBnd:\s+0+\n(.*\n)*NoNewPrivs:\s+1\n(.*\n)*Seccomp:\s+2\n")
        self.assertNotRegex(status, r"Uid:\s+0")

        visitors = self.visitors()
        wait_until(lambda: visitors.let_in >= 3 or visitors.refused, "clients before the restart")
        self.systemd.systemctl("restart", SERVER)
        let_in = visitors.let_in
        wait_until(lambda: visitors.let_in >= let_in + 3 or visitors.refused, "clients behind the restart")
        visitors.end()
        self.assertFalse(visitors.refused)
        self.assertEqual(visitors.failures, [])
        self.assertNotEqual(self.systemd.show(SERVER, "MainPID"), process)

        process = self.systemd.show(SERVER, "MainPID")
        self.systemd.systemctl("reload", SERVER)
        wait_until(lambda: "read again what files say" in self.log(), "the reload")
        wait_until(lambda: self.systemd.show(SERVER, "ActiveState") == "active", "the end of the reload")
        self.assertEqual(self.systemd.show(SERVER, "MainPID"), process)

        self.systemd.call("kill", "-STOP", process)
        wait_until(lambda: self.systemd.show(SERVER, "NRestarts") == "1", "the watchdog")
        wait_until(lambda: self.systemd.show(SERVER, "ActiveState") == "active", "the next one")

        # As "join" leaves it there.
        known = ("[home]", f'endpoint = "127.0.0.1:{self.port}"', f'server-key = "{self.key}"', 'login = "ann"')
        self.write("servers.toml", "\n".join(known))
        self.systemd.systemctl("start", TUNNEL)
        self.assertEqual(self.systemd.show(TUNNEL, "ActiveState"), "active")
        self.assertEqual(self.systemd.show(TUNNEL, "StatusText"), "0 sessions")
        self.systemd.systemctl("stop", SERVER, TUNNEL)
        for name in SERVER, TUNNEL:
            self.assertEqual(self.systemd.show(name, "Result"), "success", name)
