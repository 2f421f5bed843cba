"""
What the README tells, and what pages tell in short of limits and versions; the README's code is run by
:mod:`tests.test_docs`.
"""

from __future__ import annotations

import inspect
import re

from twisted.trial.unittest import SynchronousTestCase

from sodiumtwist import Limits, SodiumClientFactory, Timeouts
from sodiumtwist.core.connection import Bounds
from sodiumtwist.core.credentials import LOGIN_SIZE, PASSPHRASE_SIZE, TEXT_SIZE
from sodiumtwist.core.v1.messages import WINDOW
from sodiumtwist.programs.demo import BETWEEN_TWO_MACHINES
from sodiumtwist.programs.tap import LIMITS

from .pages import read_blocks, read_page, rows


class LinkTests(SynchronousTestCase):
    """Where it leads to."""

    def test_origin_and_reports(self) -> None:
        """To the C project, and to how a security problem is reported, which stands there."""
        page = read_page("README.rst")
        self.assertIn("<https://github.com/utoni/sodium-tcp>`_", page)
        self.assertRegex(page, r"(?s)`SECURITY\.rst <SECURITY\.rst>`_.{0,80}\*\*report a security problem\*\*")
        self.assertIn("\nReport a security problem\n----", read_page("SECURITY.rst"))


class CommandTests(SynchronousTestCase):
    """The first two blocks are for a fresh clone."""

    def test_fresh_clone(self) -> None:
        first = [block.text for block in read_blocks(read_page("README.rst"))][:2]
        for command in first:
            self.assertRegex(command, r"^python3 -m venv \.venv && \.venv/bin/pip install [^\n]*\n$")

    def test_demo(self) -> None:
        """The demonstration ends with the commands of the README, which another test runs."""
        whole = re.sub(r" *\\\n *", " ", BETWEEN_TWO_MACHINES)
        told = [line.strip() for line in whole.splitlines() if line.startswith("  ")]
        lines = [line for block in read_blocks(read_page("README.rst")) for line in block.commands()]
        commands = [re.sub("sodium://[^']*", "sodium://...", line) for line in lines]
        for command in told:
            self.assertIn(command.replace("PATH...", "photos"), commands)
        self.assertEqual(len(told), 5)


class LimitTests(SynchronousTestCase):
    """The paragraph on limits, for those who do not read the tables."""

    def test_numbers(self) -> None:
        """It has the defaults of the code."""
        page = read_page("docs/reference/limits.rst")
        text = " ".join(page[page.index("In short\n------") : page.index("The wire\n---")].split())
        limits, timeouts, bounds = Limits(), Timeouts(), Bounds()
        self.assertEqual(limits.failures_per_address, limits.failures_per_login)
        for fact in (
            f"a request or an answer has at most {bounds.message >> 20} MiB",
            f"put together {bounds.connection >> 20} MiB a connection",
            f"in version 1 a payload has at most {WINDOW} bytes, a login or passphrase {TEXT_SIZE};",
            f"{limits.connections:,} connections at once",
            f"of which {limits.unauthenticated:,} may be not authenticated yet",
            f"for {timeouts.authentication:g} s each",
            f"{limits.per_address:,} from one address",
            f"{limits.failures_per_login} logins may fail in {limits.failure_seconds:g} s",
            f"nothing valid comes for {timeouts.inactivity:g} s",
        ):
            self.assertIn(fact, text)
        for name in LIMITS:
            self.assertIn(f"``{name}``", text)

    def test_versions(self) -> None:
        """So has the table of versions, of which the first is what clients speak by default."""
        table = {row[0]: row[1:] for row in rows("docs/explanation/versions.rst")}
        self.assertEqual(inspect.signature(SodiumClientFactory).parameters["version"].default, 2)
        self.assertEqual(table[""], ["Version 2", "Version 1"])
        for row, *facts in (
            ("A request or an answer", f"up to {Bounds().message >> 20} MiB", f"up to {WINDOW:,} bytes"),
            (
                "Login and passphrase",
                f"up to {LOGIN_SIZE} and {PASSPHRASE_SIZE:,} bytes",
                f"up to {TEXT_SIZE} bytes each",
            ),
        ):
            for fact, cell in zip(facts, table[row], strict=True):
                self.assertTrue(cell.startswith(fact), cell)
