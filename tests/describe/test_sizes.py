"""
Sizes, rates and times as people read them.
"""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from sodiumtwist.describe import describe_limit, describe_rate, describe_seconds, describe_size


class SizeTests(SynchronousTestCase):
    """Each with one unit."""

    def test_sizes(self) -> None:
        """A number below 1000, with one decimal from 1 kB on."""
        for size, text in (
            (0, "0 B"),
            (1, "1 B"),
            (2, "2 B"),
            (999, "999 B"),
            (999.6, "1.0 kB"),
            (1000, "1.0 kB"),
            (1234, "1.2 kB"),
            (999_949, "999.9 kB"),
            (999_950, "1.0 MB"),
            (12_345_678, "12.3 MB"),
            (10**9, "1.0 GB"),
            (5 * 10**12, "5.0 TB"),
            (2**63, "9.2 EB"),
            (10**22, "10000.0 EB"),
        ):
            self.assertEqual(describe_size(size), text)

    def test_rates(self) -> None:
        """So it is by the second. What took no time has none."""
        for size, seconds, text in (
            (2, 0.001, "2.0 kB/s"),
            (12_345_678, 1, "12.3 MB/s"),
            (1, 10, "0 B/s"),
            (5, 0, "0 B/s"),
        ):
            self.assertEqual(describe_rate(size, seconds), text)

    def test_limits(self) -> None:
        """As K, M, G and T of the options name them; other numbers are sizes."""
        for size, text in (
            (0, "0 B"),
            (10, "10 B"),
            (1000, "1.0 kB"),
            (1024, "1 KiB"),
            (500 << 20, "500 MiB"),
            (1536, "1.5 kB"),
            (1 << 40, "1 TiB"),
            (3 << 50, "3072 TiB"),
        ):
            self.assertEqual(describe_limit(size), text)

    def test_times(self) -> None:
        """Exact when short."""
        for seconds, text in (
            (0.2134, "0.213 s"),
            (59.9, "59.900 s"),
            (60, "1 min 0 s"),
            (252.4, "4 min 12 s"),
            (3599.7, "1 h 0 min"),
            (7380, "2 h 3 min"),
        ):
            self.assertEqual(describe_seconds(seconds), text)
