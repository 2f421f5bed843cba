"""
Numbers as Prometheus reads them, by its own client; and what that tells of the process.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator
from functools import cache

from prometheus_client import CollectorRegistry
from prometheus_client.core import Metric
from prometheus_client.process_collector import ProcessCollector
from prometheus_client.registry import Collector

from .values import PROCESS_METRICS, Value, by_metric


class _Process(ProcessCollector):
    """
    Where only processes can be seen in ``/proc``, as with ``ProcSubset=pid`` of systemd, it does not say when the
    machine was started. Without that the library tells nothing at all; so we find it out by the clocks.
    """

    def _boot_time(self) -> float:
        try:
            return float(super()._boot_time())  # type: ignore[no-untyped-call]  # it has no types
        except OSError:
            return time.time() - time.clock_gettime(time.CLOCK_BOOTTIME)


@cache
def _process() -> ProcessCollector:
    # Made once: two clocks are never read at the same moment, and when a process began must not change.
    return _Process(registry=None)


def process_values() -> Iterator[Value]:
    """Tell what this process takes of the machine. Where there is no ``/proc``, nothing is known."""
    for metric in _process().collect():
        for sample in metric.samples:
            if sample.name in PROCESS_METRICS:
                yield Value(sample.name, (), sample.value)


class _Taken(Collector):
    """
    Values as they were when somebody asked.

    :param values: those.
    """

    def __init__(self, values: Iterable[Value]) -> None:
        self._values = values

    def collect(self) -> Iterator[Metric]:
        """Return them metric by metric, as a registry asks for them."""
        for name, known, values in by_metric(self._values):
            # The library puts this behind the names of counters itself.
            metric = Metric(name.removesuffix("_total"), known.help, known.kind)
            for value in values:
                metric.add_sample(value.name, dict(value.labels), value.number)
            yield metric


def registry_of(values: Iterable[Value]) -> CollectorRegistry:
    """
    Make a registry that has values, and nothing else.

    :param values: as they are now.
    """
    registry = CollectorRegistry(auto_describe=False)
    registry.register(_Taken(values))
    return registry
