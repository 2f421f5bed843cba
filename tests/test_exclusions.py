"""
What coverage leaves out, which needs a reason.
"""

from __future__ import annotations

import re

from twisted.trial.unittest import SynchronousTestCase

from .test_layering import ROOT

#: What coverage takes for a pragma, ``# pragma: no cover: REASON`` or ``no branch``, and what stands behind it.
PRAGMA = re.compile(r"#\s*pragma[:\s]?\s*no\s*(?:cover|branch)(.*)", re.IGNORECASE)


def without_reason(text: str) -> list[str]:
    """The pragmas in a module that no colon and words follow."""
    return [pragma[0] for pragma in PRAGMA.finditer(text) if not re.match(r": \w+ \w+", pragma[1])]


class ExclusionTests(SynchronousTestCase):
    """Each has its reason beside it."""

    def test_pragmas(self) -> None:
        for directory in ("sodiumtwist", "twisted"):
            for path in (ROOT / directory).rglob("*.py"):
                self.assertEqual(without_reason(path.read_text(encoding="utf-8")), [], path)

    def test_without_reason(self) -> None:
        """How pragmas are found."""
        for line in ("# pragma: no cover", "#pragma:no branch", "# pragma: no cover, alas", "# PRAGMA NO COVER"):
            self.assertEqual(without_reason(f"x()  {line}\ny()\n"), [line])
        self.assertEqual(without_reason("x()  # pragma: no cover: Linux has none\ny()  # no branch of it\n"), [])

    def test_patterns(self) -> None:
        """Those in ``pyproject.toml``."""
        configuration = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
        _, _, report = configuration.partition("\n[tool.coverage.report]\n")
        patterns = [line for line in report.partition("\n[")[0].splitlines() if '"' in line]
        self.assertGreaterEqual(len(patterns), 2)
        for line in patterns:
            self.assertRegex(line, r'"\]?,?  # \w+ \w+')
