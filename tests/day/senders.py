"""
Clients that send files, and go on when they are broken off.
"""

from __future__ import annotations

import hashlib
import os
import random
import shutil
from collections import Counter
from collections.abc import Callable

from ..operation.carrying_on import PASSPHRASE
from ..processes import PUBLIC
from ..transfer.tree.forked import Forked

#: The statuses behind which another try may go well, see ``sodiumtwist(1)``: nobody there, broken off, some files not
#: stored, too many failures, no room, shutting down, the disk is full.
AGAIN = {2, 4, 5, 7, 8, 9, 10}

#: Seconds between two tries.
WAIT = 0.5

#: Files of one round, and bytes that each has on average; one in some rounds has a large one.
FILES, MEAN, LARGE, LARGE_SHARE = 12, 20_000, 6_000_000, 4


def digest_of(path: str) -> str:
    """Make the digest of a file."""
    with open(path, "rb") as file:
        return hashlib.blake2b(file.read()).hexdigest()


class Sender:
    """
    Sends one tree after the other. Each is sent again until all of it is stored.

    :param start: starts a program.
    :param endpoint: of the servers.
    :param name: of this client; its trees begin with it.
    :param directory: where it makes what it sends.
    :param pause: seconds between two trees.
    :ivar confirmed: the digests of files that were told to be stored, by their paths at the server.
    :ivar rounds: how many trees are stored.
    :ivar size: how many bytes of these.
    :ivar statuses: how often a command ended with which status.
    :ivar problems: what should not be.
    """

    version = 2
    again = frozenset(AGAIN)

    def __init__(
        self, start: Callable[..., Forked], endpoint: str, name: str, directory: str, pause: float, seed: int
    ) -> None:
        self.name = name
        self.confirmed: dict[str, str] = {}
        self.rounds = self.size = 0
        self.statuses: Counter[int] = Counter()
        self.problems: list[str] = []
        self._start = start
        self._endpoint = endpoint
        self._directory = directory
        self._pause = pause
        self._random = random.Random(seed)
        self._made: dict[str, tuple[str, int]] = {}
        self._stored: set[str] = set()
        self._client: Forked | None = None
        self._next = 0.0
        self._tree = ""

    @property
    def is_idle(self) -> bool:
        """Whether nothing is under way."""
        return self._client is None and not self._tree

    def turn(self, now: float, stopping: bool = False) -> None:
        """
        Do what is to be done now.

        :param now: seconds of a clock.
        :param stopping: whether to end what is under way, and begin nothing.
        """
        if self._client is not None:
            if self._client.ended:
                self._ended(now, self._client)
        elif now >= self._next and (self._tree or not stopping):
            if not self._tree:
                self._make()
            self._client = self._send()

    def _make(self) -> None:
        self._tree = f"{self.name}-{self.rounds}"
        for number in range(FILES):
            large = number == 0 and self._random.randrange(LARGE_SHARE) == 0
            self._make_file(f"{self._tree}/{number % 3}/{number}", LARGE if large else self._any_size())

    def _any_size(self) -> int:
        return int(self._random.expovariate(1 / MEAN))

    def _make_file(self, name: str, size: int) -> None:
        path = os.path.join(self._directory, name)
        os.makedirs(os.path.dirname(path), exist_ok=True)
        with open(path, "wb") as file:
            file.write(self._random.randbytes(size))
        self._made[name] = digest_of(path), size

    def _send(self) -> Forked:
        return self._start(
            "sodiumtwist",
            *("send", "--key", PUBLIC, "--endpoint", self._endpoint, "--passphrase", PASSPHRASE, "--json"),
            *("--protocol", str(self.version), os.path.join(self._directory, self._tree)),
        )

    def _ended(self, now: float, client: Forked) -> None:
        self._client = None
        status = client.wait()
        self.statuses[status] += 1
        self._note_confirmed(client)
        if status == 0:
            for name in self._made:
                self._confirm(name, name)
            self.size += sum(size for _, size in self._made.values())
            self.rounds += 1
            self._remove(os.path.join(self._directory, self._tree))
            self._made.clear()
            self._tree = ""
        elif status not in self.again:
            self.problems.append(f"{self.name}: status {status}: {client.errors[-1:]}")
        self._next = now + (WAIT if status else self._pause)
        client.forget()

    def _note_confirmed(self, client: Forked) -> None:
        for event in client.events:
            if event.get("outcome") == "stored" and event["name"] in self._made:
                self._confirm(event["name"], event["stored_as"])

    def _confirm(self, name: str, stored: str) -> None:
        if name not in self._stored:
            self._stored.add(name)
            self.confirmed[stored] = self._made[name][0]

    def _remove(self, path: str) -> None:
        shutil.rmtree(path)


class Sender1(Sender):
    """
    The same with single files by version 1. The server gives them names of its own, so those of here stand for them.
    """

    version = 1
    # Of that version a server that is killed in the handshake looks like one that refuses, behind a proxy.
    again = frozenset(AGAIN | {3})

    def _make(self) -> None:
        self._tree = f"{self.name}-{self.rounds}"
        self._make_file(self._tree, self._any_size() * 4)

    def _note_confirmed(self, client: Forked) -> None:
        """Before the end nothing is."""

    def _remove(self, path: str) -> None:
        os.unlink(path)
