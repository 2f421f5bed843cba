"""
Numbers of a service as plain values, so that those of several processes can be sent and summed up; and which numbers
there are. ``docs/reference/metrics.rst`` is made of :data:`METRICS`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import NamedTuple

#: What a metric is, as Prometheus has it.
COUNTER, GAUGE, HISTOGRAM = "counter", "gauge", "histogram"

#: How the numbers of several processes become one.
SUM, MAX = "sum", "max"


class Value(NamedTuple):
    """
    One number. It survives JSON: ``Value.read(json.loads(json.dumps(value)))`` is the same.

    :ivar name: of a metric; of a histogram with ``_bucket``, ``_sum`` or ``_count`` behind it.
    :ivar labels: names and what they are, in the order of the table.
    :ivar number: it.
    """

    name: str
    labels: tuple[tuple[str, str], ...]
    number: float

    @classmethod
    def read(cls, sent: Iterable[object]) -> Value:
        """Make one of what JSON has made of it."""
        name, labels, number = sent
        return cls(str(name), tuple((key, value) for key, value in labels), float(number))  # type: ignore[attr-defined, arg-type]


@dataclass(frozen=True)
class Metric:
    """
    What a metric is.

    :ivar kind: :data:`COUNTER`, :data:`GAUGE` or :data:`HISTOGRAM`.
    :ivar help: what it tells, in words.
    :ivar labels: their names.
    :ivar rule: how the numbers of several processes become one.
    """

    kind: str
    help: str
    labels: tuple[str, ...] = ()
    rule: str = SUM


#: Every metric of ours. Nothing else is shown but what the process itself tells, see :data:`PROCESS_METRICS`.
METRICS: Mapping[str, Metric] = {
    "sodiumtwist_info": Metric(GAUGE, "1, with the release that runs.", ("version",), MAX),
    "sodiumtwist_draining": Metric(GAUGE, "1 while the service is about to stop, else 0.", rule=MAX),
    "sodiumtwist_event_loop_lag_seconds": Metric(
        HISTOGRAM, "How late the reactor was to what was due, looked at twice a second."
    ),
    "sodiumtwist_workers": Metric(GAUGE, "Processes that serve, see --workers; without it there is no such number."),
    "sodiumtwist_workers_lost_total": Metric(COUNTER, "Processes that were lost, and replaced."),
    # A server's connections and logins.
    "sodiumtwist_connections_accepted_total": Metric(COUNTER, "Connections that came in."),
    "sodiumtwist_sessions": Metric(
        GAUGE, "Connections now, by the version that they speak and how far they are.", ("version", "state")
    ),
    "sodiumtwist_logins_total": Metric(
        COUNTER, "Clients that were let in, and connections that ended before that.", ("outcome", "reason")
    ),
    "sodiumtwist_handshake_seconds": Metric(
        HISTOGRAM, "From a connection's begin until its client was let in.", ("version",)
    ),
    "sodiumtwist_sessions_ended_total": Metric(
        COUNTER, "Sessions of clients that were let in, by how they ended.", ("outcome",)
    ),
    # Traffic.
    "sodiumtwist_received_bytes_total": Metric(COUNTER, "Bytes from clients, as they are on the wire."),
    "sodiumtwist_sent_bytes_total": Metric(COUNTER, "Bytes for clients, as they are on the wire."),
    "sodiumtwist_received_pdus_total": Metric(COUNTER, "PDUs from clients."),
    "sodiumtwist_sent_pdus_total": Metric(COUNTER, "PDUs for clients."),
    # Requests and files.
    "sodiumtwist_request_seconds": Metric(
        HISTOGRAM, "How long the application took for a request, by what came of it.", ("outcome",)
    ),
    "sodiumtwist_uploads_total": Metric(COUNTER, "Files that clients have sent, by what became of them.", ("outcome",)),
    "sodiumtwist_upload_bytes_total": Metric(COUNTER, "Bytes of the files that were stored."),
    "sodiumtwist_downloads_total": Metric(
        COUNTER, "Files that clients have got, by what became of them.", ("outcome",)
    ),
    "sodiumtwist_download_bytes_total": Metric(COUNTER, "Bytes of the files that were sent whole."),
    "sodiumtwist_transfers": Metric(GAUGE, "Connections that store or fetch files now."),
    # Streams that are handed on: of a tunnel, and of a server with --forward.
    "sodiumtwist_tunnel_connections": Metric(GAUGE, "Connections that are carried now."),
    "sodiumtwist_tunnel_connections_limit": Metric(
        GAUGE, "How many a tunnel may carry, see --limit connections=; a server's bound is that of its connections."
    ),
    "sodiumtwist_tunnel_connections_ended_total": Metric(
        COUNTER, "Connections that were carried and are over, by how they ended.", ("outcome",)
    ),
    "sodiumtwist_tunnel_received_bytes_total": Metric(COUNTER, "Bytes that came in to be carried."),
    "sodiumtwist_tunnel_sent_bytes_total": Metric(COUNTER, "Bytes that came back to who had come in."),
    # What is bounded, beside its bounds.
    "sodiumtwist_connections": Metric(GAUGE, "Connections that count towards --limit connections=."),
    "sodiumtwist_connections_limit": Metric(GAUGE, "How many there may be.", rule=MAX),
    "sodiumtwist_unauthenticated": Metric(GAUGE, "Those of them whose client is not let in yet."),
    "sodiumtwist_unauthenticated_limit": Metric(
        GAUGE, "How many there may be, see --limit unauthenticated=.", rule=MAX
    ),
    "sodiumtwist_address_connections": Metric(GAUGE, "Connections from the address from which most come.", rule=MAX),
    "sodiumtwist_address_connections_limit": Metric(
        GAUGE, "How many may come from one address, see --limit per-address=.", rule=MAX
    ),
    "sodiumtwist_unread_bytes": Metric(GAUGE, "At most so many bytes wait for clients that do not read."),
    "sodiumtwist_unread_bytes_limit": Metric(GAUGE, "How many may, see --limit unread=."),
    "sodiumtwist_blocked_addresses": Metric(GAUGE, "Addresses from which too many logins failed.", rule=MAX),
    "sodiumtwist_blocked_logins": Metric(GAUGE, "Logins that failed too often.", rule=MAX),
    "sodiumtwist_replays": Metric(GAUGE, "Handshakes of version 1 that are remembered.", rule=MAX),
    "sodiumtwist_replays_limit": Metric(GAUGE, "How many are at most, see --limit replays=.", rule=MAX),
    "sodiumtwist_shared_store_down": Metric(GAUGE, "1 while --shared-store can't be asked, else 0.", rule=MAX),
}

#: What Prometheus' own client tells of a process, under the names that all its clients use.
PROCESS_METRICS: Mapping[str, Metric] = {
    "process_cpu_seconds_total": Metric(COUNTER, "Seconds of processor time."),
    "process_resident_memory_bytes": Metric(GAUGE, "Memory that is in use."),
    "process_virtual_memory_bytes": Metric(GAUGE, "Memory that is mapped."),
    "process_open_fds": Metric(GAUGE, "Descriptors that are open."),
    "process_max_fds": Metric(GAUGE, "How many may be."),
    "process_start_time_seconds": Metric(GAUGE, "When it began, in seconds since the epoch.", rule=MAX),
}

_PARTS = ("_bucket", "_sum", "_count")


def metric_of(name: str) -> tuple[str, Metric]:
    """
    Find what a value is of.

    :param name: the value's.
    :return: the name of the metric, and what it is.
    :raises KeyError: for one that is in neither table.
    """
    for table in (METRICS, PROCESS_METRICS):
        if name in table:
            return name, table[name]
    for part in _PARTS:
        family = name.removesuffix(part)
        if family != name and family in METRICS:
            return family, METRICS[family]
    raise KeyError(name)


def sum_up(parts: Iterable[Iterable[Value]]) -> list[Value]:
    """
    Make one list of those of several processes.

    :param parts: the values of each.
    :return: the values of all, by the rule of each metric.
    """
    numbers: dict[tuple[str, tuple[tuple[str, str], ...]], float] = {}
    for values in parts:
        for name, labels, number in values:
            before = numbers.get((name, labels))
            if before is None:
                numbers[name, labels] = number
            else:
                numbers[name, labels] = before + number if metric_of(name)[1].rule == SUM else max(before, number)
    return [Value(name, labels, number) for (name, labels), number in numbers.items()]


def by_metric(values: Iterable[Value]) -> Iterator[tuple[str, Metric, list[Value]]]:
    """
    Put values in the order of the tables.

    :return: an iterator of each metric that has any: its name, what it is, and its values.
    """
    found: dict[str, list[Value]] = {}
    for value in values:
        found.setdefault(metric_of(value.name)[0], []).append(value)
    for table in (METRICS, PROCESS_METRICS):
        for name, metric in table.items():
            if name in found:
                yield name, metric, found[name]
