"""
The change log, and what is to come into it.
"""

from __future__ import annotations

import re
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

import sodiumtwist

ROOT = Path(__file__).parent.parent
FRAGMENTS = sorted(path for path in (ROOT / "newsfragments").iterdir() if path.name != "README.rst")


class FragmentTests(SynchronousTestCase):
    """``newsfragments/``; that they are valid reST is for ``.ci/changelog`` to see."""

    def kinds(self) -> list[str]:
        """What ``pyproject.toml`` knows."""
        configuration = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
        return re.findall(r'\[\[tool\.towncrier\.type\]\]\ndirectory = "(\w+)"', configuration)

    def test_names(self) -> None:
        """``+SLUG.KIND.rst``, without a number, and of a kind that there is."""
        kinds = self.kinds()
        self.assertIn("feature", kinds)
        for path in FRAGMENTS:
            self.assertRegex(path.name, rf"^\+[a-z0-9-]+\.({'|'.join(kinds)})\.rst$")

    def test_sentences(self) -> None:
        """Each is a short paragraph that begins large and ends."""
        for path in FRAGMENTS:
            text = path.read_text(encoding="utf-8")
            self.assertRegex(text, r"(?s)\A[A-Z`$-].*[.!]\n\Z", path.name)
            self.assertNotIn("\n\n", text, path.name)
            self.assertLessEqual(max(map(len, text.splitlines())), 120, path.name)


class ChangelogTests(SynchronousTestCase):
    """``CHANGELOG.rst``"""

    def test_newest_version(self) -> None:
        """Its first section is of the version that the package says it is."""
        text = (ROOT / "CHANGELOG.rst").read_text(encoding="utf-8")
        _, marker, released = text.partition("\n.. towncrier release notes start\n")
        self.assertTrue(marker)
        newest = re.search(r"^(\d[^\s]*)(?: \([\d-]+\))?\n-+\n", released, re.MULTILINE)
        assert newest is not None
        self.assertEqual(newest[1], sodiumtwist.__version__)
