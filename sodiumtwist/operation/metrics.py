"""
Counts what a service does, and tells what it holds. What happens often is counted in plain numbers; what can be found
out when somebody asks is looked up then.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from itertools import islice
from typing import Any

from twisted.internet.defer import Deferred, maybeDeferred, succeed
from twisted.internet.task import deferLater

from ..core.base import Traffic
from ..describe.log import describe_address
from ..protocol.census import Census
from ..protocol.factories import SodiumServerFactory
from ..protocol.lifecycle import Stage
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

#: How many connections are looked at before others have their turn.
LOOKED_AT = 1_000


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
        return Deferred.fromCoroutine(self._values())

    async def _values(self) -> list[Value]:
        factory = self._factory
        counted = getattr(factory.replays, "counted", None)
        remembered: Deferred[int | None] = maybeDeferred(counted) if counted is not None else succeed(None)
        # Of a database that somebody else keeps locked nothing is known, and that is said nowhere else either.
        remembered.addTimeout(ASKING_TIME, factory.clock).addErrback(lambda _: None)
        # Both at the same moment: what is over by the end of the looking is in one of them, and in one alone.
        census, ends = Census(self._traffic), list(factory.connections)
        for start in range(0, len(ends), LOOKED_AT):
            if start:
                await deferLater(factory.clock, 0, lambda: None)  # others have their turn
            census.look(ends[start : start + LOOKED_AT])
        return [*self._counted(), *self._held(census), *self._replays(await remembered)]

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

    def _held(self, census: Census) -> Iterator[Value]:
        factory, traffic = self._factory, census.traffic
        # With nobody there it is 0, and not missing: what is missing looks like a service that is down.
        sessions: dict[tuple[int | None, Stage], int] = {(version, Stage.OPEN): 0 for version in factory.versions}
        for (version, stage), number in {**sessions, **census.sessions}.items():
            labels = (("version", "unknown" if version is None else str(version)), ("state", stage.name.lower()))
            yield Value("sodiumtwist_sessions", labels, number)
        limits, unread = factory.admission.limits, factory.unread
        assert unread is not None  # a server has one
        connections, unauthenticated, most = factory.admission.counted()
        for name, number in (
            ("received_bytes_total", traffic.bytes_received),
            ("sent_bytes_total", traffic.bytes_sent),
            ("received_pdus_total", traffic.pdus_received),
            ("sent_pdus_total", traffic.pdus_sent),
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
        if factory.admission.others is not None:
            yield Value("sodiumtwist_shared_store_down", (), int(factory.admission.others.is_down))

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
        factory = self._factory
        connections, unauthenticated, _ = factory.admission.counted()
        let_in = (end for end in factory.admission.ends if end.peer is not None)
        return Clients(connections - unauthenticated, _listed(let_in, now - factory.clock.seconds()))


class TunnelMetrics(Observer):
    """
    Those of a tunnel's factory.

    :param factory: it. It gets this as its observer.
    :param bounded: whether its limit is one of its own. That of a server's --forward is that of the server, which all
        workers share, while those of a tunnel have a part each.
    """

    def __init__(self, factory: TunnelFactory, bounded: bool = True) -> None:
        self._factory = factory
        self._bounded = bounded
        self._parted = Counter(dict.fromkeys(TUNNEL_ENDS, 0))
        # Of connections that are over.
        self._traffic = Traffic()
        factory.observer = self

    def parted(self, end: Any, outcome: str, seconds: float) -> None:
        self._parted[outcome] += 1
        self._traffic = _add(self._traffic, end.traffic)

    def values(self) -> Iterator[Value]:
        """Tell all of it."""
        traffic, entries = self._traffic, self._factory.entries
        for outcome, number in self._parted.items():
            yield Value("sodiumtwist_tunnel_connections_ended_total", (("outcome", outcome),), number)
        for name, number in (
            ("connections", len(entries)),
            *([("connections_limit", self._factory.limit)] if self._bounded else []),
            # Not their traffic as a whole: there may be thousands, and others wait.
            ("received_bytes_total", traffic.bytes_received + sum([entry.bytes_received for entry in entries])),
            ("sent_bytes_total", traffic.bytes_sent + sum([entry.bytes_sent for entry in entries])),
        ):
            yield Value(f"sodiumtwist_tunnel_{name}", (), number)

    def clients(self, now: float) -> Clients:
        """
        Tell what is carried, those that came first.

        :param now: seconds since the epoch.
        """
        entries = sorted(self._factory.entries, key=lambda entry: entry.began)
        return Clients(len(entries), _listed(entries, now - self._factory.clock.seconds()))


def _listed(ends: Iterable[Any], offset: float) -> list[Client]:
    """
    List the first of them.

    :param ends: of connections.
    :param offset: how far the wall clock is ahead of theirs.
    """
    shown = []
    for end in islice(ends, SHOWN_CLIENTS):
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
    return shown
