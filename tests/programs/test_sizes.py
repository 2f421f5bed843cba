"""
Sizes as people write them.
"""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from sodiumtwist.describe import describe_limit
from sodiumtwist.programs.sizes import parse_size


class SizeTests(SynchronousTestCase):
    """:func:`parse_size`"""

    def test_units(self) -> None:
        """Bytes, or with a letter, large or small."""
        for text, size in [("0", 0), ("500", 500), ("64K", 65536), ("2m", 1 << 21), ("10G", 10 << 30), ("1T", 1 << 40)]:
            self.assertEqual(parse_size(text), size, text)

    def test_as_shown(self) -> None:
        """As our programs show sizes and limits: a thousand, or 1024, of one unit are one of the next."""
        for text, size in [("3 B", 3), ("1kB", 1000), ("12 MB", 12_000_000), ("1GB", 10**9), ("2 TB", 2 * 10**12)]:
            self.assertEqual(parse_size(text), size, text)
        for size in (1024, 500 << 20, 10 << 30, 3 << 40):
            self.assertEqual(parse_size(describe_limit(size)), size)

    def test_mistakes(self) -> None:
        """Anything else is none."""
        for text in ("", "K", "B", "-1", "1.5G", "1  G", "1iB", "1GG", "1GBs", "1e9", "\u0661", "9" * 19, "inf"):
            self.assertRaises(ValueError, parse_size, text)
