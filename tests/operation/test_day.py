"""
A day of operation in a few seconds, and that it would show what goes wrong. ``python -m tests.day`` takes longer.
"""

from __future__ import annotations

import os
from typing import Any, cast

from twisted.trial.unittest import SynchronousTestCase

from ..day.__main__ import GROWTH, run
from ..day.account import Account
from ..day.senders import Sender, Sender1, digest_of
from ..day.site import Site
from ..outside import find_program, missing


class DayTests(SynchronousTestCase):
    def test_short_day(self) -> None:
        """Of all that happens, nothing is lost, and nothing stays open."""
        find_program("haproxy", "haproxy")
        account = run(8, 0.2, 100_000_000)
        self.assertEqual(account.problems, [])
        for name in ("requests answered", "lines that came back", "files confirmed", "workers that were killed"):
            self.assertTrue(account.figures[name], name)
        if not account.figures.get("disks that were full"):
            raise missing("all else was as it should, but no disk could be filled up: nothing may be mounted here")


class FakeSite:
    """What an account looks at."""

    def __init__(self, directory: str) -> None:
        self.directory = directory
        self.place = os.path.join(directory, "place")
        self.asking: dict[Any, Any] = {}
        self.talking: dict[Any, Any] = {}
        self.senders: list[Sender] = []
        os.makedirs(os.path.join(self.place, "username"))
        open(os.path.join(directory, "journal"), "w").close()

    def those_of_all_day(self) -> list[tuple[str, int]]:
        return [("this", os.getpid())]


class Told:
    """What a client has told."""

    def __init__(self, *lines: str) -> None:
        self.lines = lambda: [*lines]


class AccountTests(SynchronousTestCase):
    """What is wrong at the end of a day is found."""

    def setUp(self) -> None:
        self.site = FakeSite(self.mktemp())
        self.account = Account(cast(Site, self.site), GROWTH)
        self.account.begin()

    def problems(self) -> str:
        self.account.listen(0.0)
        self.account.close()
        return "\n".join(self.account.problems)

    def sender(self, kind: type[Sender], name: str) -> None:
        """Have a client that was told that a file is stored, which is empty."""
        sender = kind(lambda *_: self.fail(), "", "", "", 1.0, 0)
        sender.confirmed[name] = digest_of(os.devnull)
        self.site.senders.append(sender)

    def write(self, name: str, data: bytes = b"") -> None:
        with open(os.path.join(self.site.place, name), "wb") as file:
            file.write(data)

    def test_nothing(self) -> None:
        self.sender(Sender, "a")
        self.write("username/a")
        self.sender(Sender1, "1")
        self.write("20260102T030405Z")
        self.assertEqual(self.problems(), "")

    def test_lost(self) -> None:
        """Files that are not there, or are others."""
        self.sender(Sender, "a")
        self.sender(Sender, "b")
        self.sender(Sender1, "c")
        self.write("username/b", b"else")
        self.write("something", b"else")
        problems = self.problems()
        for name in "abc":
            self.assertIn(f"lost, though it was confirmed: {name}", problems)

    def test_left(self) -> None:
        """What broke off, and nobody has gone on with."""
        self.write("username/.a.x.part")
        self.assertIn("unfinished files that are left", self.problems())

    def test_requests(self) -> None:
        with open(os.path.join(self.site.directory, "journal"), "w") as file:
            file.write("a-1\na-1\n")
        told = Told(
            "answered a-1", "answered a-2", "answered a-2", "failed a-3 RequestTimeout late", "answered wrongly x"
        )
        self.site.asking[object()] = told
        problems = self.problems()
        for problem in (
            "requests acted on twice: 1",
            "requests answered twice: 1",
            "answered, and not acted on: 1",
            "failed for another reason: {'RequestTimeout'}",
        ):
            self.assertIn(problem, problems)

    def test_streams(self) -> None:
        self.site.talking[object()] = Told("said 1", "wrong b'7'")
        self.assertIn("streams: wrong", self.problems())

    def test_descriptors(self) -> None:
        for end in os.pipe():
            self.addCleanup(os.close, end)
        self.assertIn("descriptors of this that are left: {'pipe': 2}", self.problems())

    def test_memory(self) -> None:
        for part in (0.3, 0.9):
            self.account.look(part)
        self.account._memory["this"][1] = (0.9, self.account._memory["this"][0][1] + 9_000_000)
        self.assertIn("memory of this has grown by 9.0 MB", self.problems())
