"""
Sizes as people write them.
"""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from sodiumtwist.programs.sizes import parse_size


class SizeTests(SynchronousTestCase):
    """:func:`parse_size`"""

    def test_units(self) -> None:
        """Bytes, or with a letter, large or small."""
        for text, size in [("0", 0), ("500", 500), ("64K", 65536), ("2m", 1 << 21), ("10G", 10 << 30), ("1T", 1 << 40)]:
            self.assertEqual(parse_size(text), size, text)

    def test_mistakes(self) -> None:
        """Anything else is none."""
        for text in ("", "K", "-1", "1.5G", "1 G", "1GB", "1e9", "\u0661", "9" * 19, "inf"):
            self.assertRaises(ValueError, parse_size, text)
