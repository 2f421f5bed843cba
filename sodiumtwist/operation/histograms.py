"""
How often something took how long, counted with as little work as can be: it is done for each request.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterator, Sequence

from .values import Value


class Histogram:
    """
    Counts numbers by how large they are.

    :param bounds: the upper ends of what is counted together, in order. What is above the last has a place of its own.
    """

    __slots__ = ("_bounds", "_counts", "_sum")

    def __init__(self, bounds: Sequence[float]) -> None:
        self._bounds = tuple(bounds)
        self._counts = [0] * (len(bounds) + 1)
        self._sum = 0.0

    def note(self, number: float) -> None:
        """Count one."""
        self._counts[bisect_left(self._bounds, number)] += 1
        self._sum += number

    def values(self, name: str, labels: tuple[tuple[str, str], ...] = ()) -> Iterator[Value]:
        """
        Tell what was counted, as Prometheus has it: each place counts all that is not above it.

        :param name: of the metric.
        :param labels: of this one of it.
        """
        count = 0
        for bound, more in zip((*self._bounds, None), self._counts, strict=True):
            count += more
            upper = "+Inf" if bound is None else repr(float(bound))
            yield Value(f"{name}_bucket", (*labels, ("le", upper)), count)
        yield Value(f"{name}_sum", labels, self._sum)
        yield Value(f"{name}_count", labels, count)
