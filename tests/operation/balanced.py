"""
Several servers behind a real HAProxy, by the configuration of ``docs/howto/haproxy.cfg``.
"""

from __future__ import annotations

import csv
import os
import re
import secrets
import signal
import socket
from collections.abc import Callable

from ..day.processes import family
from ..outside import find_program
from ..pages import ROOT
from ..processes import SECRET, Running, wait_until
from ..transfer.tree.forked import Forked
from ..transfer.tree.test_processes import FilesTestCase
from .carrying_on import PASSPHRASE

EXAMPLE = os.path.join(ROOT, "docs", "howto", "haproxy.cfg")

#: The servers of the example, with the last numbers of their addresses.
SERVERS = {"one": 11, "two": 12, "three": 13}

#: The ports of the example: where clients connect, where servers listen, and where they tell how they are.
PORT, SERVER_PORT, HEALTH_PORT = 5555, 5556, 9100

CARRYING_ON = "tests.operation.carrying_on"


def own_network() -> str:
    """Choose three numbers that addresses of the loopback network begin with, which nobody else uses."""
    return f"127.{16 + secrets.randbelow(224)}.{secrets.randbelow(256)}"


def configuration(network: str, directory: str, told: bool = True) -> str:
    """
    Read the example.

    :param network: what the addresses of the servers and of HAProxy begin with here.
    :param directory: where HAProxy puts its socket.
    :param told: whether servers tell how they are. If not, those that can be connected to are taken to be well.
    """
    with open(EXAMPLE, encoding="ascii") as file:
        text = file.read()
    changes = [
        (r"\b192\.0\.2\.", f"{network}."),
        (r"\bbind :", f"bind {network}.1:"),
        (r"/run/haproxy/", f"{directory}/"),
        # Tests don't wait for long.
        (r"\binter 2s\b", "inter 100ms"),
    ]
    if not told:
        changes += [(r" *option httpchk .*\n", ""), (r" *http-check .*\n", ""), (rf" port {HEALTH_PORT}\b", "")]
    for pattern, here in changes:
        text, count = re.subn(pattern, here, text)
        assert count, pattern
    return text


class Balanced:
    """
    Three servers, and HAProxy before them. Each such group has addresses of its own.

    :param directory: of this group alone.
    :param start: starts a program, with its arguments.
    :param told: as for :func:`configuration`.
    :ivar endpoint: where clients connect.
    :ivar servers: those that were started, by their names in the example.
    :ivar haproxy: the process; ``None`` while there is none.
    """

    def __init__(self, directory: str, start: Callable[..., Forked], told: bool) -> None:
        self.network = own_network()
        self.endpoint = f"tcp:{self.network}.1:{PORT}"
        self.servers: dict[str, Forked] = {}
        self.haproxy: Running | None = None
        self._program = find_program("haproxy", "haproxy")
        self._directory = directory
        self._start = start
        self._told = told

    def address(self, name: str) -> str:
        """The address of a server."""
        return f"{self.network}.{SERVERS[name]}"

    def serve(self, name: str, *options: str) -> Forked:
        """
        Start one of the servers, as ``twistd sodium``.

        :param options: of it.
        """
        return self._serve(
            name,
            "twistd",
            *("-n", "--pidfile=", "sodium", "--key", SECRET, "--passphrase", PASSPHRASE),
            *("--metrics", f"tcp:{HEALTH_PORT}:interface={self.address(name)}", *options, "--endpoint"),
        )

    def answer(self, name: str, journal: str) -> Forked:
        """
        Start one of the servers, as one that answers requests.

        :param journal: see :mod:`tests.operation.carrying_on`.
        """
        return self._serve(name, CARRYING_ON, "answer", journal)

    def _serve(self, name: str, *command: str) -> Forked:
        server = self._start(*command, f"haproxy:tcp:{SERVER_PORT}:interface={self.address(name)}")
        self.servers[name] = server
        server.wait_for(f"listening on {self.address(name)}:{SERVER_PORT}")
        return server

    def configure(self, change: Callable[[str], str] = lambda text: text) -> str:
        """
        Write the configuration, and return its path.

        :param change: is given the text, and returns it changed.
        """
        path = os.path.join(self._directory, "haproxy.cfg")
        with open(path, "w", encoding="ascii") as file:
            file.write(change(configuration(self.network, self._directory, self._told)))
        return path

    def balance(self) -> None:
        """Start HAProxy, and wait until it takes all servers that were started to be well, and the others not."""
        place = os.path.join(self._directory, "admin.sock")
        self.haproxy = program = Running([self._program, "-W", "-f", self.configure()])
        wait_until(lambda: os.path.exists(place) or program.process.poll() is not None, "HAProxy")
        assert os.path.exists(place), program.errors
        for name in SERVERS:
            self.wait_for(name, "UP" if name in self.servers else "DOWN")

    def stop(self) -> None:
        """End HAProxy."""
        if self.haproxy is not None:
            # One that is killed would leave the process that does its work.
            self.haproxy.stop(signal.SIGTERM)
            self.haproxy = None

    def lose(self) -> None:
        """Kill HAProxy, with all that it has started."""
        assert self.haproxy is not None
        for pid in family(self.haproxy.pid):
            os.kill(pid, signal.SIGKILL)
        self.haproxy.wait()
        os.unlink(os.path.join(self._directory, "admin.sock"))
        self.haproxy = None

    def tell(self, command: str) -> str:
        """Give HAProxy a command, and return what it answers."""
        with socket.socket(socket.AF_UNIX) as connection:
            connection.connect(os.path.join(self._directory, "admin.sock"))
            connection.sendall(command.encode() + b"\n")
            answer = b""
            while data := connection.recv(65536):
                answer += data
        return answer.decode()

    def known(self) -> dict[str, dict[str, str]]:
        """What HAProxy knows of each server."""
        rows = csv.DictReader(self.tell("show stat").removeprefix("# ").splitlines())
        return {row["svname"]: row for row in rows if row["svname"] in SERVERS}

    def wait_for(self, name: str, status: str) -> None:
        """Wait until HAProxy takes a server to be ``UP`` or ``DOWN``, or for another word of its own."""
        wait_until(lambda: self.known()[name]["status"].startswith(status), f"{name} to be {status}")

    def with_client(self, *but: str) -> str:
        """
        Wait until one of the servers has a client.

        :param but: names of servers that don't count.
        :return: the server's name.
        """
        found: list[str] = []

        def look() -> bool:
            known = self.known()
            found[:] = [name for name in SERVERS if name not in but and int(known[name]["scur"])]
            return bool(found)

        wait_until(look, "a client at a server")
        return found[0]


class BalancedTestCase(FilesTestCase):
    """
    Has a group of servers behind HAProxy.

    :cvar told: as for :func:`configuration`.
    """

    told = True

    def setUp(self) -> None:
        super().setUp()
        self.group = Balanced(self.directory, self.start, self.told)
        self.addCleanup(self.group.stop)
        self.servers = self.group.servers

    def program(self, *arguments: str) -> Forked:
        """Start one of the programs of :mod:`tests.operation.carrying_on`."""
        return self.start(CARRYING_ON, *arguments)
