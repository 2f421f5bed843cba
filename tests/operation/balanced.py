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
PORT, SERVER_PORT, HEALTH_PORT = 5555, 5556, 9101


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


class Balancer:
    """
    HAProxy.

    :param program: the running process.
    :param network: what its addresses begin with.
    :param directory: where its socket is.
    """

    def __init__(self, program: Running, network: str, directory: str) -> None:
        self.program = program
        self.network = network
        self._socket = os.path.join(directory, "admin.sock")

    def tell(self, command: str) -> str:
        """Give it a command, and return what it answers."""
        with socket.socket(socket.AF_UNIX) as connection:
            connection.connect(self._socket)
            connection.sendall(command.encode() + b"\n")
            answer = b""
            while data := connection.recv(65536):
                answer += data
        return answer.decode()

    def servers(self) -> dict[str, dict[str, str]]:
        """Tell what it knows of each server."""
        rows = csv.DictReader(self.tell("show stat").removeprefix("# ").splitlines())
        return {row["svname"]: row for row in rows if row["svname"] in SERVERS}

    def wait_for(self, name: str, status: str) -> None:
        """Wait until it takes a server to be ``UP`` or ``DOWN``, or for another word of its own."""
        wait_until(lambda: self.servers()[name]["status"].startswith(status), f"{name} to be {status}")


class BalancedTestCase(FilesTestCase):
    """
    Has servers and a HAProxy before them. Clients connect to that.

    :ivar network: what all addresses begin with.
    :ivar servers: those that were started, by their names in the example.
    """

    def setUp(self) -> None:
        super().setUp()
        self.haproxy = find_program("haproxy", "haproxy")
        self.network = own_network()
        self.servers: dict[str, Forked] = {}
        self.endpoint = f"tcp:{self.network}.1:{PORT}"

    def address(self, name: str) -> str:
        """The address of a server."""
        return f"{self.network}.{SERVERS[name]}"

    def serve_as(self, name: str, *options: str) -> Forked:
        """
        Start one of the servers.

        :param options: of ``twistd sodium``.
        """
        where = f"interface={self.address(name)}"
        server = self.start(
            "twistd",
            *("-n", "--pidfile=", "sodium", "--key", SECRET),
            *("--endpoint", f"haproxy:tcp:{SERVER_PORT}:{where}", "--passphrase", PASSPHRASE, *options),
        )
        self.servers[name] = server
        server.wait_for(f"listening on {self.address(name)}:{SERVER_PORT}")
        return server

    def program(self, *arguments: str) -> Forked:
        """Start one of the programs of :mod:`tests.operation.carrying_on`."""
        return self.start("tests.operation.carrying_on", *arguments)

    def with_client(self, balancer: Balancer, *but: str) -> str:
        """
        Wait until one of the servers has a client.

        :param but: names of servers that don't count.
        :return: the server's name.
        """
        found: list[str] = []

        def look() -> bool:
            servers = balancer.servers()
            found[:] = [name for name in SERVERS if name not in but and int(servers[name]["scur"])]
            return bool(found)

        wait_until(look, "a client at a server")
        return found[0]

    def balance(self, told: bool = True) -> Balancer:
        """
        Start HAProxy, and wait until it takes all servers that were started to be well, and the others not.

        :param told: as for :func:`configuration`.
        """
        place = self.path("haproxy.cfg")
        with open(place, "w", encoding="ascii") as file:
            file.write(configuration(self.network, self.directory, told))
        program = self.run_process([self.haproxy, "-W", "-f", place])
        # One that is killed would leave the process that does its work.
        self.addCleanup(program.stop, signal.SIGTERM)
        balancer = Balancer(program, self.network, self.directory)
        ready = self.path("admin.sock")
        wait_until(lambda: os.path.exists(ready) or program.process.poll() is not None, "HAProxy")
        self.assertTrue(os.path.exists(ready), program.output + program.errors)
        for name in SERVERS:
            balancer.wait_for(name, "UP" if name in self.servers else "DOWN")
        return balancer
