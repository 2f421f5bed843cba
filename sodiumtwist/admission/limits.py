"""
How many connections a server holds, and how often somebody may try to log in.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, fields
from operator import itemgetter
from typing import Any, Generic, Protocol, TypeVar

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime, ITransport
from twisted.protocols.policies import ProtocolWrapper

from ..core.errors import LocalProtocolError
from .failed_logins import FAILURE_TABLE_SIZE, FailedLogins
from .networks import counted_address, network
from .regulars import Regulars
from .reported import Lines, ReportedLimit
from .shared_counts import SharedCounts
from .shared_store import FailuresTogether


def check_limits(limits: Any) -> None:
    """
    Check the fields of a dataclass: those whose name says that they are seconds are times, the others counts.

    :raises LocalProtocolError: for a count below 1, or a time that is not over 0.
    """
    for field in fields(limits):
        value = getattr(limits, field.name)
        # As it is written on a command line and in a file.
        name = field.name.replace("_", "-")
        if field.name.endswith("seconds"):
            if not (math.isfinite(value) and value > 0):
                raise LocalProtocolError(f"the limit {name} takes a number over 0, not {value}")
        elif value < 1:
            raise LocalProtocolError(f"the limit {name} takes a whole number from 1, not {value}")


@dataclass(frozen=True)
class Limits:
    """
    What one server factory takes.

    :ivar connections: at once.
    :ivar unauthenticated: of these, not authenticated yet; one more takes the place of the oldest
        whose handshake has not come, or else of one from the address that has most.
    :ivar per_address: from one IPv4 address, or one IPv6 network of 64 bits.
    :ivar failures_per_address: how many logins from one address may fail in ``failure_seconds``. Then all from there
        are refused without a check until that time is over.
    :ivar failures_per_login: how many tries of one login may fail in ``failure_seconds``, whatever addresses they
        come from. Then this login is refused without a check until that time is over, except from addresses from where
        it came in before.
    :ivar failure_seconds: the time for both counts. It begins with the first failure.
    :ivar stranger_lines: how many lines of one kind those who are not let in may cause in the log in a minute, and
        how many what fails may. More are summed up, a line a minute.
    :ivar client_lines: the same for clients that are let in.
    :ivar unread: how many bytes may wait for clients that do not read, over all connections. When it is more, the
        largest connection of the login for which most waits is ended.
    :raises LocalProtocolError: for a number below 1, or a time that is not over 0.
    """

    connections: int = 10_000
    unauthenticated: int = 1_000
    per_address: int = 1_000
    failures_per_address: int = 20
    failures_per_login: int = 20
    failure_seconds: float = 60.0
    stranger_lines: int = 20
    client_lines: int = 600
    unread: int = 512 * 1024 * 1024

    def __post_init__(self) -> None:
        check_limits(self)


class End(Protocol):
    """
    What is counted: a server's end of a connection.

    :ivar login: that its client gave; ``None`` before its handshake has opened.
    """

    login: str | None

    @property
    def transport(self) -> ITransport:
        """What it is made on."""


Counted = TypeVar("Counted", bound=End)


@dataclass(frozen=True)
class TurnedAway(Generic[Counted]):
    """
    Who has to go, for a limit that was reached.

    :ivar end: that one.
    :ivar why: for the log.
    """

    end: Counted
    why: str


def proxy_of(transport: ITransport | None) -> ProtocolWrapper | None:
    """Find what reads the header of a proxy, which says only with its first bytes whom it speaks for."""
    while isinstance(transport, ProtocolWrapper):
        if type(transport).__module__.startswith("twisted.protocols.haproxy"):
            return transport
        transport = transport.transport
    return None


def speaks_for_others(transport: ITransport | None) -> bool:
    """Tell whether a transport is of a proxy."""
    return proxy_of(transport) is not None


def _regular(shown: str, where: str) -> bytes:
    """Name a login with from where it came in. Neither has a line feed in it."""
    return f"{shown}\n{where}".encode("utf-8", "surrogatepass")


class Admission(Generic[Counted]):
    """
    Counts the connections of one factory, and the logins that failed. It tells whom to turn away or to check no
    longer, and does neither itself.

    :param clock: returns the clock.
    :param shared: what other processes count for the same limits; ``None`` where there are none.
    :ivar limits: what it takes.
    :ivar lines: what may be logged of them.
    :ivar shared: that.
    :ivar blocked_addresses: from where too many logins have failed.
    :ivar blocked_logins: of which too many have failed; while both are empty, any may be checked.
    :ivar others: counts the failures of several servers together; ``None`` where this one is alone.
    """

    others: FailuresTogether | None = None

    def __init__(self, limits: Limits, clock: Callable[[], IReactorTime], shared: SharedCounts | None = None) -> None:
        self.limits = limits
        self.shared = shared
        self._stopped = False
        self._addresses: dict[Counted, str | None] = {}
        self._strangers: dict[Counted, None] = {}
        self._deciding: dict[Counted, None] = {}
        self._counts: dict[str, int] = {}
        self.lines = Lines(limits.stranger_lines, limits.client_lines, clock)
        self._connections = ReportedLimit("connections", limits.connections, self.lines.limits)
        self._unauthenticated = ReportedLimit("unauthenticated connections", limits.unauthenticated, self.lines.limits)
        self._per_address: dict[str, ReportedLimit] = {}
        seconds = limits.failure_seconds
        by_address, by_login = (None, None) if shared is None else (shared.by_address, shared.by_login)
        blocks = self.lines.blocks
        self._by_address = FailedLogins("from", limits.failures_per_address, seconds, clock, blocks, by_address)
        self._by_login = FailedLogins("as", limits.failures_per_login, seconds, clock, blocks, by_login)
        self._regulars = Regulars()
        # Of the handshakes that failed lately, the oldest first.
        self._fingerprints: dict[bytes, None] = {}
        self.blocked_addresses = self._by_address.blocked
        self.blocked_logins = self._by_login.blocked

    def change(self, limits: Limits) -> None:
        """
        Go by other limits from now on. Nobody who has a place loses it.

        :param limits: all of them.
        """
        self.limits = limits
        self.lines.change(limits.stranger_lines, limits.client_lines)
        self._connections.limit = limits.connections
        self._unauthenticated.limit = limits.unauthenticated
        for reported in self._per_address.values():
            reported.limit = limits.per_address
        self._by_address.change(limits.failures_per_address, limits.failure_seconds)
        self._by_login.change(limits.failures_per_login, limits.failure_seconds)

    @property
    def ends(self) -> Iterable[Counted]:
        """All that are counted, in the order in which they came."""
        return self._addresses

    def counted(self) -> tuple[int, int, int]:
        """
        Count connections: all, those whose client is not let in yet, and those from where most come. The last are
        those that other processes have from there, too, since there is one limit for all.
        """
        most = max(self._counts.values(), default=0)
        if most and self.shared is not None:
            most += self.shared.elsewhere_from(next(where for where, count in self._counts.items() if count == most))
        return len(self._addresses), self.unauthenticated, most

    # Connections

    @property
    def unauthenticated(self) -> int:
        """How many connections are not authenticated."""
        return len(self._strangers) + len(self._deciding)

    @property
    def authenticated(self) -> int:
        """How many are."""
        return len(self._addresses) - self.unauthenticated

    def arrived(self, end: Counted, unplaced: bool | None = None) -> list[TurnedAway[Counted]]:
        """
        A connection is made.

        :param end: ours.
        :param unplaced: whether it is a proxy's, which says with its first bytes for whom it speaks; ``None`` to find
            that out.
        :return: who has to go for it, if somebody has: a stranger that came before, one of an address that has most
            places, or itself.
        """
        turned_away = []
        refusal = None
        limits, shared = self.limits, self.shared
        connections, strangers = len(self._addresses), len(self._strangers) + len(self._deciding)
        if shared is not None:
            connections += shared.connections_elsewhere()
            # Each process has its share in any case: it can turn away none of the strangers that others have.
            if strangers >= shared.share(limits.unauthenticated):
                strangers += shared.unauthenticated_elsewhere()
        if connections >= limits.connections:
            refusal = self._connections.reached()
        elif strangers >= limits.unauthenticated:
            refusal = self._unauthenticated.reached()
        if refusal is not None:
            first = next(iter(self._strangers), None)
            if first is None:
                first = self._first_of_most(end)
            if first is None:
                return [TurnedAway(end, refusal)]
            self._left(first)
            turned_away.append(TurnedAway(first, refusal))
        self._strangers[end] = None
        self._addresses[end] = None
        if shared is not None:
            self._tell_others(shared)
        # Otherwise the address is noted later.
        if not (speaks_for_others(end.transport) if unplaced is None else unplaced):
            turned_away += self.note_address(end)
        return turned_away

    def _first_of_most(self, newcomer: Counted) -> Counted | None:
        """
        Choose among those that are being decided on, or told that they are refused: else one address could have all
        places for as long as it makes new connections.

        :return: the first that came from where most come from; ``None`` where that is no more than come from where the
            newcomer does.
        """
        places = Counter(self._addresses[end] for end in self._deciding)
        newcomers = None if speaks_for_others(newcomer.transport) else network(counted_address(newcomer.transport))
        where, most = max(places.items(), key=itemgetter(1), default=(None, 0))
        if most <= places[newcomers] + 1:
            return None
        return next(end for end in self._deciding if self._addresses[end] == where)

    def note_address(self, end: Counted) -> list[TurnedAway[Counted]]:
        """
        Note where a connection comes from: when it is made, or, behind a proxy, when the proxy has said so.

        :param end: ours.
        :return: that end, if there are too many from there.
        """
        if end not in self._addresses:
            return []
        where = network(counted_address(end.transport))
        if where == self._addresses[end]:
            return []
        self._uncount(end)
        if where is None:
            return []
        count, limit, shared = self._counts.get(where, 0), self.limits.per_address, self.shared
        if count >= limit or (shared is not None and count + shared.elsewhere_from(where) >= limit):
            what = f"connections from {where}"
            reported = ReportedLimit(what, limit, self.lines.limits)
            if count:
                reported = self._per_address.setdefault(where, reported)
            # Else it is not kept: all of them are other processes', and none leaves here, which would end it.
            self._left(end)
            return [TurnedAway(end, reported.reached())]
        self._counts[where] = count + 1
        self._addresses[end] = where
        if shared is not None:
            shared.came(where)
        return []

    def _uncount(self, end: Counted) -> None:
        where = self._addresses[end]
        if where is None:
            return
        self._addresses[end] = None
        self._counts[where] -= 1
        if self.shared is not None:
            self.shared.went(where)
        if where in self._per_address and self._per_address[where].ease(self._counts[where]):
            del self._per_address[where]
        if not self._counts[where]:
            del self._counts[where]

    def hold_place(self, end: Counted) -> None:
        """Its handshake opens: it is no stranger, and keeps its place until it is decided on."""
        if self._strangers.pop(end, self) is None:
            self._deciding[end] = None

    def admitted(self, end: Counted) -> bool:
        """
        It is authenticated.

        :return: whether a line is to say so; if not, it is summed up.
        """
        self._strangers.pop(end, None)
        self._deciding.pop(end, None)
        where, shown = self._addresses.get(end), repr(end.login)
        # Looked up here, since most are known: this is done for each login.
        if where is not None and where not in self._regulars.addresses.get(shown, ()):
            self._regulars.came_in(shown, where)
            if self.shared is not None:
                self.shared.regulars.add(_regular(shown, where))
        if self.shared is not None:
            self._tell_others(self.shared)
        if self._connections.turned_away or self._unauthenticated.turned_away:
            self._ease()
        lines = self.lines.logins
        # What write() does, without the call: this is done for every login.
        if lines.left:
            lines.left -= 1
            return True
        return lines.write(f"as {shown}", where)

    def release_place(self, end: Counted) -> None:
        """It was not let in, or has yet to show that its key is its own: its place is for others again."""
        if end in self._deciding:
            del self._deciding[end]
            self._strangers[end] = None

    def left(self, end: Counted) -> None:
        """It is gone."""
        self._left(end)
        self._ease()

    def _left(self, end: Counted) -> None:
        if end in self._addresses:
            self._uncount(end)
            del self._addresses[end]
            self._strangers.pop(end, None)
            self._deciding.pop(end, None)
            if self.shared is not None:
                self._tell_others(self.shared)

    def _tell_others(self, shared: SharedCounts) -> None:
        """Say to the other processes how many there are here."""
        shared.note(len(self._addresses), self.unauthenticated)

    def _ease(self) -> None:
        connections, strangers = len(self._addresses), self.unauthenticated
        if self.shared is not None:
            connections += self.shared.connections_elsewhere()
            strangers += self.shared.unauthenticated_elsewhere()
        self._connections.ease(connections)
        self._unauthenticated.ease(strangers)

    # Logins

    def may_try(self, address: object, login: str) -> bool:
        """
        Tell whether a login is to be checked.

        :param address: the client's, as ``getPeer()`` returns it.
        :param login: that it gives.
        """
        return self._blocking(address, login) is None

    def others_allow(self, address: object, login: str) -> Deferred[bool]:
        """
        Ask whether too many have failed at all servers together, where :attr:`others` counts them. The parameters are
        those of :meth:`may_try`.

        :return: fires with whether the login is to be checked.
        """
        assert self.others is not None
        where, shown, limits = network(address), repr(login), self.limits
        known = self._knows(shown, where)
        few = (limits.failures_per_address, limits.failures_per_login)
        return self.others.allow(where, None if known else shown, *few)

    def refused(self, address: object, login: str) -> None:
        """
        A login was refused because it is not to be checked.

        :param address: the client's, as ``getPeer()`` returns it.
        :param login: that it gives.
        """
        blocking = self._blocking(address, login)
        if blocking is not None:  # else that time is over since
            table, key = blocking
            table.refuse(key)

    def _blocking(self, address: object, login: str) -> tuple[FailedLogins, str] | None:
        """Find out which of the two keeps a login from being checked; ``None`` for neither."""
        where, shown = network(address), repr(login)
        if where is not None and self._by_address.blocks(where):
            return self._by_address, where
        # Strangers could otherwise keep a login from those whose it is, as long as they like. Whoever tries it from
        # where it came in before has the limit for that address.
        if self._knows(shown, where) or not self._by_login.blocks(shown):
            return None
        return self._by_login, shown

    def _knows(self, shown: str, where: str | None) -> bool:
        """Tell whether a login came in from there before, here or in another process."""
        if self._regulars.knows(shown, where):
            return True
        return self.shared is not None and where is not None and self.shared.regulars.knows(_regular(shown, where))

    def failed(self, address: object, login: str | None, fingerprint: bytes | None = None) -> list[Counted]:
        """
        A login was wrong, or its client did not wait to hear.

        :param address: the client's, as ``getPeer()`` returns it.
        :param login: ``None`` where a key was not listed, or claimed in vain: that says nothing about a login, and
            nobody who can't even try a passphrase may have it blocked.
        :param fingerprint: of the handshake. A handshake that comes again tries nothing new, so it counts for its
            address alone: whoever recorded a wrong login could otherwise have that login blocked.
        :return: the ends whose login is being decided on, and is no longer to be: what is under way must not be that
            many more tries.
        """
        if self._stopped:
            return []
        where = network(address)
        shown = None if login is None or self._failed_before(fingerprint) else repr(login)
        if self.others is not None:
            self.others.failed(where, shown)
        blocked_address = where is not None and self._by_address.failed(where)
        blocked_login = shown is not None and self._by_login.failed(shown)
        if not blocked_address and not blocked_login:
            return []
        return [
            end
            for end in self._deciding
            if (blocked_address and self._addresses.get(end) == where)
            or (blocked_login and end.login is not None and repr(end.login) == shown and not self._is_regular(end))
        ]

    def _failed_before(self, fingerprint: bytes | None) -> bool:
        if fingerprint is None or fingerprint in self._fingerprints:
            return fingerprint is not None
        self._fingerprints[fingerprint] = None
        if len(self._fingerprints) > FAILURE_TABLE_SIZE:
            del self._fingerprints[next(iter(self._fingerprints))]
        if self.shared is None:
            return False
        self.shared.failed.add(fingerprint)
        return self.shared.failed.knows(fingerprint)

    def _is_regular(self, end: Counted) -> bool:
        return self._knows(repr(end.login), self._addresses.get(end))

    def start(self) -> None:
        """Something is listened on."""
        self._stopped = False
        self.lines.start()

    def stop(self) -> None:
        """Nothing is listened on any more: forget what failed, and start no timers."""
        self._stopped = True
        self._by_address.stop()
        self._by_login.stop()
        self.lines.stop()

    def nobody_left(self) -> None:
        """The last one is gone, and what there is to log of it is logged."""
        if self._stopped:
            # Who is dropped when listening is over is summed up, too.
            self.lines.stop()
