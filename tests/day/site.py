"""
What runs on a day: servers, HAProxy, and clients.
"""

from __future__ import annotations

import os
import signal
import socket
from collections.abc import Iterator

from ..operation.balanced import CARRYING_ON, SERVERS, Balanced
from ..operation.carrying_on import PASSPHRASE
from ..processes import PATIENCE, PUBLIC, wait_until
from ..transfer.tree.forked import Forked, forking
from .senders import Sender, Sender1
from .tails import Tail

#: The server of each group that is there all day.
ALL_DAY = "three"

#: Seconds that clients do nothing between one thing and the next, and those that send files, where the load is 1.
PAUSE, SENDERS_PAUSE = 0.02, 1.0

#: How many processes it has for files, and what its log says when one of them serves.
WORKERS, SERVES = 2, " serves"


class Site:
    """
    All that runs.

    :param directory: for all of it.
    :param place: where files are kept; on a file system of its own, if it is to be filled up.
    :param load: how much clients do, from 0 to 1.
    :param patience: seconds in which clients may finish when a server drains.
    """

    def __init__(self, directory: str, place: str, load: float, patience: float) -> None:
        self.directory = directory
        self.place = place
        self.load = load
        self._patience = ("--drain-timeout", f"{patience:g}")
        self.programs: list[Forked] = []
        self.groups = {
            name: Balanced(self.folder(name), self.start, name != "requests")
            for name in ("files", "streams", "requests")
        }
        self.senders: list[Sender] = []
        self.asking: dict[Forked, Tail] = {}
        self.talking: dict[Forked, Tail] = {}
        self.tunnel: Forked | None = None
        self._service = self._entrance = ""

    def folder(self, name: str) -> str:
        """Make a folder."""
        path = os.path.join(self.directory, name)
        os.makedirs(path, exist_ok=True)
        return path

    def start(self, program: str, *arguments: str) -> Forked:
        """Start a program."""
        started = forking().start(self.directory, program, *arguments)
        self.programs.append(started)
        return started

    def serve(self, group: str, name: str) -> None:
        """Start a server of a group."""
        servers = self.groups[group]
        if group == "files":
            several = ("--workers", str(WORKERS)) if name == ALL_DAY else ()
            kept = ("--directory", self.place, "--share", self.place, "--min-free", "0")
            server = servers.serve(name, *kept, *self._patience, *several)
            if several:
                server.wait_for(SERVES, WORKERS)
        elif group == "streams":
            servers.serve(name, "--forward", self._service, *self._patience)
        else:
            servers.answer(name, os.path.join(self.directory, "journal"))

    def open(self) -> None:
        """Start the servers, HAProxy before them, and the tunnel."""
        echo = self.start(CARRYING_ON, "echo", "tcp:0:interface=127.0.0.1")
        self._service = echo.wait_for("listening on").split()[-1]
        for group in self.groups:
            for name in SERVERS:
                self.serve(group, name)
        for balanced in self.groups.values():
            balanced.balance()
        with open(
            os.path.join(self.directory, "pass"), "w", opener=lambda path, flags: os.open(path, flags, 0o600)
        ) as file:
            file.write(f"{PASSPHRASE}\n")
        self.tunnel = self.start(
            "twistd",
            *("-n", "--pidfile=", "sodium-tunnel", "--listen", "tcp:0:interface=127.0.0.1"),
            *("--to", self.groups["streams"].endpoint, "--server-key", PUBLIC, "--passphrase-file", "pass"),
        )
        self._entrance = self.tunnel.wait_for("listening on 127.0.0.1:").split()[-1]
        host, port = self._entrance.split(":")
        with socket.create_connection((host, int(port)), PATIENCE) as connection:
            # Behind this it runs, and has all that it opens for itself.
            connection.sendall(b"x")
            connection.recv(1)
        self.wait_until_empty()

    def let_in(self) -> None:
        """Start the clients."""
        files, streams, requests = (self.groups[name].endpoint for name in ("files", "streams", "requests"))
        login = f"serverKey={PUBLIC}:login=username:passphraseFile={os.path.join(self.directory, 'pass')}"
        for where in (f"sodium:{streams}:{login}", f"tcp:{self._entrance}", f"tcp:{self._entrance}"):
            talker = self.start(CARRYING_ON, "talk", where, str(PAUSE / self.load))
            self.talking[talker] = Tail(talker)
        for name in "ab":
            asker = self.start(CARRYING_ON, "ask", requests, PUBLIC, name, "2", str(PAUSE / self.load))
            self.asking[asker] = Tail(asker)
        out, pause = self.folder("out"), SENDERS_PAUSE / self.load
        for number, kind in enumerate((Sender, Sender, Sender1)):
            self.senders.append(kind(self.start, files, f"sender{number}", out, pause, number))

    def those_of_all_day(self) -> Iterator[tuple[str, int]]:
        """Name the processes that are not to be ended, with their numbers."""
        for group, balanced in self.groups.items():
            yield group, balanced.servers[ALL_DAY].pid
        assert self.tunnel is not None
        yield "tunnel", self.tunnel.pid

    def send_home(self) -> None:
        """End the clients that have no end of their own, in order. What they have asked is answered."""
        for client in (*self.asking, *self.talking):
            client.kill(signal.SIGINT)
        for client in (*self.asking, *self.talking):
            client.wait()

    def wait_until_empty(self) -> None:
        """Wait until all connections are over."""
        for balanced in self.groups.values():
            wait_until(
                lambda: not any(int(row["scur"]) for row in balanced.known().values()),  # noqa: B023
                "the last connection to end",
            )

    def end(self) -> list[str]:
        """End the servers in order; return what was not in order."""
        servers = [server for balanced in self.groups.values() for server in balanced.servers.values()]
        assert self.tunnel is not None
        servers.append(self.tunnel)
        for server in servers:
            server.kill(signal.SIGTERM)
        statuses = [server.wait() for server in servers]
        return [f"a server has ended with status {status}" for status in statuses if status not in (0, -signal.SIGTERM)]

    @property
    def logged(self) -> int:
        """How many bytes the servers of the end of the day have written to their logs."""
        return sum(
            os.path.getsize(server.output_path)
            for balanced in self.groups.values()
            for server in balanced.servers.values()
        )

    def close(self) -> None:
        """End all, however far it is."""
        for balanced in self.groups.values():
            balanced.stop()
        for program in self.programs:
            program.kill()
