"""
Counts what a service does, and tells what it holds. What happens often is counted in plain numbers; what can be found
out when somebody asks is looked up then.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterator
from heapq import nsmallest
from typing import Any

from twisted.internet.defer import Deferred, maybeDeferred, succeed

from ..core.base import Traffic
from ..describe.log import describe_address
from ..protocol.factories import SodiumServerFactory
from ..protocol.observing import (
    ADMITTED,
    DOWNLOADS,
    ENDS,
    LEFT,
    REFUSALS,
    REFUSED,
    REQUESTS,
    TUNNEL_ENDS,
    UPLOADS,
    Observer,
    timed,
)
from ..tunnel import TunnelFactory
from .histograms import Histogram
from .status import SHOWN_CLIENTS, Client, Clients
from .values import Value

#: In seconds, for handshakes: a few milliseconds of work, and two ways there and back.
HANDSHAKE_BOUNDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)

#: In seconds, for requests: from what an answer takes that is there at once.
REQUEST_BOUNDS = (0.0001, 0.0005, 0.001, 0.005, 0.01, 0.05, 0.1, 0.5, 1.0, 5.0, 10.0, 60.0)

#: Seconds that somebody else may take to tell a number. After that it is left out.
ASKING_TIME = 2.0


def _add(one: Traffic, other: Traffic) -> Traffic:
    return Traffic(*map(sum, zip(one, other, strict=True)))


class ServerMetrics(Observer):
    """
    Those of a server's factory.

    :param factory: it. It gets this as its observer; and what answers its requests is timed, if something does.
    """

    def __init__(self, factory: SodiumServerFactory) -> None:
        self._factory = factory
        self._arrived = 0
        # What has not happened yet is shown as 0: else the first time would be no increase.
        self._logins = Counter({(ADMITTED, ""): 0})
        self._logins.update({(LEFT if word == "left" else REFUSED, word): 0 for word in REFUSALS})
        self._ended = Counter(dict.fromkeys(ENDS, 0))
        self._handshakes = {version: Histogram(HANDSHAKE_BOUNDS) for version in factory.versions}
        self._requests = {outcome: Histogram(REQUEST_BOUNDS) for outcome in REQUESTS}
        self._uploads = Counter(dict.fromkeys(UPLOADS, 0))
        self._downloads = Counter(dict.fromkeys(DOWNLOADS, 0))
        self._stored = self._sent = 0
        # Of connections that are over.
        self._traffic = Traffic()
        factory.observer = self
        if factory.respond is not None:
            factory.respond = timed(factory.respond, self, factory.clock.seconds)

    # What the ends tell

    def arrived(self, end: Any) -> None:
        self._arrived += 1

    def decided(self, end: Any, outcome: str, reason: str, seconds: float) -> None:
        self._logins[outcome, reason] += 1
        if outcome != ADMITTED:
            self._traffic = _add(self._traffic, end.traffic)
            return
        self._handshakes[end.version].note(seconds)

    def over(self, end: Any, outcome: str, seconds: float) -> None:
        self._ended[outcome] += 1
        self._traffic = _add(self._traffic, end.traffic)

    def uploaded(self, outcome: str, count: int, size: int) -> None:
        self._uploads[outcome] += count
        self._stored += size

    def fetched(self, outcome: str, count: int, size: int) -> None:
        self._downloads[outcome] += count
        self._sent += size

    def request_over(self, outcome: str, seconds: float) -> None:
        self._requests[outcome].note(seconds)

    # What is asked

    def values(self) -> Deferred[list[Value]]:
        """
        Tell all of it.

        :return: fires with the values, and does not fail. What can't be found out in time is left out.
        """
        counted = getattr(self._factory.replays, "counted", None)
        remembered: Deferred[int | None] = maybeDeferred(counted) if counted is not None else succeed(None)
        # Of a database that somebody else keeps locked nothing is known, and that is said nowhere else either.
        remembered.addTimeout(ASKING_TIME, self._factory.clock).addErrback(lambda _: None)
        return remembered.addCallback(lambda count: [*self._counted(), *self._held(), *self._replays(count)])

    def _counted(self) -> Iterator[Value]:
        yield Value("sodiumtwist_connections_accepted_total", (), self._arrived)
        for (outcome, reason), number in self._logins.items():
            yield Value("sodiumtwist_logins_total", (("outcome", outcome), ("reason", reason)), number)
        for version, histogram in self._handshakes.items():
            yield from histogram.values("sodiumtwist_handshake_seconds", (("version", str(version)),))
        for outcome, histogram in self._requests.items():
            yield from histogram.values("sodiumtwist_request_seconds", (("outcome", outcome),))
        for name, outcomes in (
            ("sodiumtwist_sessions_ended_total", self._ended),
            ("sodiumtwist_uploads_total", self._uploads),
            ("sodiumtwist_downloads_total", self._downloads),
        ):
            for outcome, number in outcomes.items():
                yield Value(name, (("outcome", outcome),), number)
        yield Value("sodiumtwist_upload_bytes_total", (), self._stored)
        yield Value("sodiumtwist_download_bytes_total", (), self._sent)

    def _held(self) -> Iterator[Value]:
        factory = self._factory
        sessions: Counter[tuple[int | None, str]] = Counter()
        received, sent, pdus_received, pdus_sent = self._traffic
        for end in factory.connections:
            sessions[end.version, end.stage.name] += 1
            more = end.traffic
            received += more.bytes_received
            sent += more.bytes_sent
            pdus_received += more.pdus_received
            pdus_sent += more.pdus_sent
        for (version, stage), number in sessions.items():
            labels = (("version", "unknown" if version is None else str(version)), ("state", stage.lower()))
            yield Value("sodiumtwist_sessions", labels, number)
        limits, unread = factory.admission.limits, factory.unread
        assert unread is not None  # a server has one
        connections, unauthenticated, most = factory.admission.counted()
        for name, number in (
            ("received_bytes_total", received),
            ("sent_bytes_total", sent),
            ("received_pdus_total", pdus_received),
            ("sent_pdus_total", pdus_sent),
            ("transfers", len(getattr(factory, "receiving", ()))),
            ("connections", connections),
            ("connections_limit", limits.connections),
            ("unauthenticated", unauthenticated),
            ("unauthenticated_limit", limits.unauthenticated),
            ("address_connections", most),
            ("address_connections_limit", limits.per_address),
            ("unread_bytes", unread.seeming),
            ("unread_bytes_limit", unread.limit),
            ("blocked_addresses", len(factory.admission.blocked_addresses)),
            ("blocked_logins", len(factory.admission.blocked_logins)),
        ):
            yield Value(f"sodiumtwist_{name}", (), number)

    def _replays(self, count: int | None) -> Iterator[Value]:
        if count is not None:
            yield Value("sodiumtwist_replays", (), count)
        limit = getattr(self._factory.replays, "limit", None)
        if limit is not None:
            yield Value("sodiumtwist_replays_limit", (), limit)

    def clients(self, now: float) -> Clients:
        """
        Tell who is let in, those that came first.

        :param now: seconds since the epoch.
        """
        ends = [end for end in self._factory.connections if end.peer is not None]
        return _listed(ends, now - self._factory.clock.seconds())


class TunnelMetrics(Observer):
    """
    Those of a tunnel's factory.

    :param factory: it. It gets this as its observer.
    """

    def __init__(self, factory: TunnelFactory) -> None:
        self._factory = factory
        self._parted = Counter(dict.fromkeys(TUNNEL_ENDS, 0))
        # Of connections that are over.
        self._traffic = Traffic()
        factory.observer = self

    def parted(self, end: Any, outcome: str, seconds: float) -> None:
        self._parted[outcome] += 1
        self._traffic = _add(self._traffic, end.traffic)

    def values(self) -> Iterator[Value]:
        """Tell all of it."""
        traffic = self._traffic
        for entry in self._factory.entries:
            traffic = _add(traffic, entry.traffic)
        for outcome, number in self._parted.items():
            yield Value("sodiumtwist_tunnel_connections_ended_total", (("outcome", outcome),), number)
        for name, number in (
            ("connections", len(self._factory.entries)),
            ("connections_limit", self._factory.limit),
            ("received_bytes_total", traffic.bytes_received),
            ("sent_bytes_total", traffic.bytes_sent),
        ):
            yield Value(f"sodiumtwist_tunnel_{name}", (), number)

    def clients(self, now: float) -> Clients:
        """
        Tell what is carried, those that came first.

        :param now: seconds since the epoch.
        """
        return _listed(self._factory.entries, now - self._factory.clock.seconds())


def _listed(ends: Collection[Any], offset: float) -> Clients:
    """
    List some of them.

    :param ends: of connections.
    :param offset: how far the wall clock is ahead of theirs.
    """
    shown = []
    for end in nsmallest(SHOWN_CLIENTS, ends, key=lambda end: end.began):
        peer, traffic = getattr(end, "peer", None), end.traffic
        shown.append(
            Client(
                None if peer is None else peer.login,
                describe_address(end.transport.getPeer()),
                None if peer is None else peer.version,
                offset + end.began,
                traffic.bytes_received,
                traffic.bytes_sent,
            )
        )
    return Clients(len(ends), shown)
