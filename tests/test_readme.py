"""
What the README tells about limits; its code is run by :mod:`tests.test_docs`.
"""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from sodiumtwist import Limits, Timeouts
from sodiumtwist.core.credentials import TEXT_SIZE
from sodiumtwist.core.v1.messages import WINDOW
from sodiumtwist.programs.tap import LIMITS

from .pages import read_blocks, read_page


class CommandTests(SynchronousTestCase):
    """The first two blocks are for a fresh clone."""

    def test_fresh_clone(self) -> None:
        first = [block.text for block in read_blocks(read_page("README.rst"))][:2]
        for command in first:
            self.assertRegex(command, r"^python3 -m venv \.venv && \.venv/bin/pip install [^\n]*\n$")


class LimitTests(SynchronousTestCase):
    """Its paragraph on limits."""

    def test_numbers(self) -> None:
        """It has the defaults of the code."""
        readme = read_page("README.rst")
        text = " ".join(readme[readme.index("Limits\n------") : readme.index("How fast\n---")].split())
        limits, timeouts = Limits(), Timeouts()
        self.assertEqual(limits.failures_per_address, limits.failures_per_login)
        for fact in (
            f"a payload has at most {WINDOW} bytes, a login or passphrase {TEXT_SIZE};",
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
