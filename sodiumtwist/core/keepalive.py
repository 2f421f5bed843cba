"""
The deadlines of a connection, calculated. The time comes in as ``now``; nothing here waits.

All times are in seconds, by one monotonic clock, which the caller has.
"""

from __future__ import annotations

import math
import random
from collections.abc import Callable
from dataclasses import dataclass

from .errors import AuthenticationTimeout, InactivityTimeout, LocalProtocolError, PongTimeout, UnexpectedPDU

#: The random part of the time between two PINGs, as a share of the interval. The reference
#: program adds 0 to 59 seconds to its 60.
PING_JITTER = 59 / 60

#: The share of the inactivity time that may lie between two PINGs. The rest is left for the answer, so that a peer that
#: has nothing to say but PONGs is heard in time, whatever was drawn. The defaults come to less: 119 s of 120.
PING_SHARE = 2 / 3

#: Seconds between two PINGs at least, while nothing is read: as often as the peer has PINGed, but no more often.
STOPPED_PING_INTERVAL = 1.0

#: Version 2: with so many PINGs unanswered, an end that reads nothing shows by PADDING that it lives. A peer that can't
#: send stops reading when it owes too many PONGs, 64 by default, and would take us for dead.
MOST_OWED = 32

#: The random part of the time that a server gives a client to authenticate, as a share of that time. A server that
#: closed after exactly so many seconds could be known by them.
AUTHENTICATION_JITTER = 0.1

#: The most seconds of silence after which systems' TCP can be told to ask.
TCP_KEEPALIVE_LIMIT = 32767


class _Adapting(float):
    """A default that follows another setting, so it is told apart from a number that was given."""


@dataclass(frozen=True)
class Timeouts:
    """
    How long a connection waits. The defaults are those of the reference programs.

    An idle connection lives on PINGs and their PONGs, so the inactivity time must have room for them: twice the
    interval at least. What the peer allows us is not known; version 1 of the protocol does not tell it.

    :ivar authentication: seconds from the start of the connection to its authentication. A server takes off
        a random part of up to a tenth, a new one for each connection.
    :ivar inactivity: seconds in which no whole valid PDU comes although we asked for a PONG, or in which the peer
        takes nothing of what was sent.
    :ivar ping_interval: seconds from authentication to the first PING. Before each later PING a random part of up
        to 59/60 of the interval is added, but no more than leaves a third of the inactivity time for the answer.
        When it is not given, it is at most a third of the inactivity time.
    :ivar outstanding_pongs: when a PING is due, and as many have left since anything was heard, the peer counts as
        gone. Also how many PINGs the application may have under way.
    :ivar tcp_keepalive: seconds without a packet after which the system asks the other one whether it is still there;
        when it gets no answer for as long again, the connection breaks. 0 for never. This is for TCP's transports;
        the core does nothing with it.
    :raises LocalProtocolError: when a time is not a positive number of seconds, the count is below one, systems know no
        such TCP keepalive, or the inactivity time is less than two PING intervals.
    """

    authentication: float = 10.0
    inactivity: float = 180.0
    ping_interval: float = _Adapting(60.0)
    outstanding_pongs: int = 3
    tcp_keepalive: float = 60.0

    def __post_init__(self) -> None:
        for name in ("authentication", "inactivity", "ping_interval"):
            seconds = getattr(self, name)
            # Neither inf nor nan: the one would wait for ever, and no comparison with the other is ever true.
            if not (math.isfinite(seconds) and seconds > 0):
                raise LocalProtocolError(
                    f"the {name.replace('_', ' ')} time takes a number of seconds over 0, not {seconds}"
                )
        if self.outstanding_pongs < 1:
            raise LocalProtocolError("at least one PONG must be allowed to be outstanding")
        if self.tcp_keepalive and not 1 <= self.tcp_keepalive <= TCP_KEEPALIVE_LIMIT:
            raise LocalProtocolError(
                f"TCP keepalive takes 1 to {TCP_KEEPALIVE_LIMIT} seconds, or 0 for none, not {self.tcp_keepalive}"
            )
        inactivity, interval = self.inactivity, self.ping_interval
        if isinstance(interval, _Adapting):
            object.__setattr__(self, "ping_interval", _Adapting(min(Timeouts.ping_interval, inactivity / 3)))
        elif interval > inactivity / 2:
            raise LocalProtocolError(
                f"with a PING every {interval:g} to {interval * (1 + PING_JITTER):g} seconds, a connection on which "
                f"nothing else is sent would not live with an inactivity time of {inactivity:g} seconds; take an "
                f"inactivity time of at least {2 * interval:g} or a PING interval of at most {inactivity / 2:g} seconds"
            )


@dataclass(slots=True)
class _Unanswered:
    """
    PINGs without a PONG yet, one behind the other.

    :ivar sent_at: when the first of them left.
    :ivar asked: whether the application asked for it.
    :ivar count: how many they are; of those the application asked for, one.
    """

    sent_at: float
    asked: bool
    count: int = 1


class Keepalive:
    """
    The deadlines of one connection.

    Nobody counts as gone who was not asked: the inactivity time is judged only when a PING of ours has had a third of
    it for its answer. So when we stood still ourselves, and sent none, a PING goes first.

    :param timeouts: how long to wait.
    :param now: when the connection began.
    :param draw: returns a random number from 0 to 1.
    :param authentication_jitter: the largest share of the time for authentication that is taken off at random.
    :ivar heard_at: when the last whole valid PDU came. The caller sets it, and not for single bytes: else a peer
        could hold a connection with one byte now and then.
    """

    __slots__ = (
        "_asked",
        "_authenticate_by",
        "_blocked_at",
        "_draw",
        "_due",
        "_listening_since",
        "_paused_at",
        "_peer_interval",
        "_peer_pinged_at",
        "_ping_at",
        "_ping_waits",
        "_shown_at",
        "_strict",
        "_timeouts",
        "_unanswered",
        "_unheard",
        "heard_at",
    )

    def __init__(
        self,
        timeouts: Timeouts,
        now: float,
        draw: Callable[[], float] = random.random,
        authentication_jitter: float = 0.0,
    ) -> None:
        self._timeouts = timeouts
        self._draw = draw
        # Taken off and not added, so that the time that was asked for is never exceeded. A client has no jitter:
        # nobody probes it, so it draws nothing.
        allowed = timeouts.authentication
        if authentication_jitter:
            allowed *= 1 - authentication_jitter * draw()
        self._authenticate_by: float | None = now + allowed
        self._ping_at = math.inf
        self.heard_at = now
        self._blocked_at: float | None = None
        # A PING was made since writing is blocked; it waits with the rest.
        self._ping_waits = False
        self._paused_at: float | None = None
        # Since when both PINGs leave and PONGs are read; and whether each PONG counts, not only life.
        self._listening_since = now
        self._strict = False
        # When the peer has last sent something that tells nothing but that it lives.
        self._shown_at = now
        # A PING of ours is to be sent: the next one is it.
        self._due = False
        # When those of ours left since anything was heard.
        self._unheard: tuple[float, ...] = ()
        # Those of the application and ours, in the order of the stream; and how many are the application's.
        self._unanswered: tuple[_Unanswered, ...] = ()
        self._asked = 0
        # The shortest time between two PINGs of the peer, and when the last came; at first, when it could begin.
        self._peer_interval = math.inf
        self._peer_pinged_at = now

    def authenticated(self, now: float, strict: bool = False) -> None:
        """
        The handshake is over. The time for it no longer counts; PINGs and inactivity begin to.

        :param strict: whether a PONG is late when its PING has waited for as many intervals as PINGs may be
            unanswered, and the peer did not show meanwhile that it lives, by a PING or by what has no content. So it is
            in version 2, where each PONG names its PING.
        """
        self._strict = strict
        self._authenticate_by = None
        # From now, not from the start: the handshake has a time of its own, which may be the longer one.
        self.heard_at = self._peer_pinged_at = now
        self._ping_at = now + self._timeouts.ping_interval

    def reading_paused(self, now: float) -> None:
        """
        Nothing is read, because our application takes nothing. So the peer's silence does not count. PINGs go on: the
        peer gets no PONGs, and would take us for dead.
        """
        if self._paused_at is None:
            self._paused_at = now
            self._ping_at = min(self._ping_at, now + self._until_next_ping())

    def reading_resumed(self, now: float) -> None:
        """We read again. The peer's time begins anew."""
        # Only behind a pause: else a caller that says it twice would give the peer time that it has not earned.
        if self._paused_at is not None:
            # What was not read says nothing about how often the peer PINGs.
            self._peer_pinged_at += now - self._paused_at
            self._paused_at = None
            self.heard_at = self._listening_since = now

    def writing_blocked(self, now: float) -> None:
        """The transport takes no more of what was sent."""
        # The first report counts. A later one must not give a stuck peer more time.
        if self._blocked_at is None:
            self._blocked_at = now

    def writing_unblocked(self, now: float) -> None:
        """The transport takes data again: the peer has taken some, so it lives."""
        if self._blocked_at is not None:
            self._blocked_at = None
            self._ping_waits = False
            # It could not be asked before: a PING waited with the rest.
            self.heard_at = self._listening_since = now

    def ping_received(self, now: float) -> None:
        """The peer has PINGed. That tells how often it wants to hear of us, for what it allows is not known."""
        self._peer_interval = min(self._peer_interval, now - self._peer_pinged_at)
        self._peer_pinged_at = self._shown_at = now

    def life_received(self, now: float) -> None:
        """
        The peer has sent something without content. As with a PING, it lives, and PONGs that it owes wait for an
        application that takes nothing, it may be for hours.
        """
        self._shown_at = now

    def check_ping(self) -> None:
        """
        Tell whether a PING may leave.

        :raises LocalProtocolError: when the allowed number of the application's PINGs is unanswered already, and
            :meth:`ping_due` has not asked for this one.
        """
        if not self._due and self._asked >= self._timeouts.outstanding_pongs:
            raise LocalProtocolError(f"{self._asked} PINGs are unanswered; wait for a PONG")

    def ping_sent(self, now: float) -> None:
        """
        A PING leaves. It is the one that :meth:`ping_due` has asked for, if it has; else the application's, which
        :meth:`check_ping` has allowed.
        """
        unanswered, most = self._unanswered, self._timeouts.outstanding_pongs
        if not self._due:
            self._asked += 1
            self._unanswered = (*unanswered, _Unanswered(now, True))
            return
        self._due = False
        self._ping_waits = self._blocked_at is not None
        if self._paused_at is None:
            self._unheard = (*self._since_heard(), now)
        # Bounded, for a peer may leave them unanswered as long as we read nothing.
        if len(unanswered) >= most and not unanswered[-1].asked:
            unanswered[-1].count += 1
        else:
            self._unanswered = (*unanswered, _Unanswered(now, False))

    @property
    def has_pings_enough(self) -> bool:
        """
        Whether life is to be shown by something that needs no answer: nothing is read here, and the peer, which may be
        able to send nothing, is to owe no more PONGs.
        """
        return (
            self._strict and self._paused_at is not None and sum(each.count for each in self._unanswered) >= MOST_OWED
        )

    def life_sent(self) -> None:
        """In place of the PING that :meth:`ping_due` has asked for, something else leaves that shows that we live."""
        self._due = False
        self._ping_waits = self._blocked_at is not None

    def pong_received(self, now: float, passed_over: int = 0) -> tuple[float, bool]:
        """
        A PONG came.

        :param passed_over: how many older PINGs have no PONG yet. In version 1, where a PONG names no PING, the
            stream keeps the order, so it answers the oldest.
        :return: seconds since its PING, and whether that was the application's. Where more of ours
            are unanswered than are told apart, the seconds are those of an earlier one.
        :raises UnexpectedPDU: when there is none.
        """
        for place, ping in enumerate(self._unanswered):
            if passed_over < ping.count:
                ping.count -= 1
                if not ping.count:
                    self._unanswered = self._unanswered[:place] + self._unanswered[place + 1 :]
                self._asked -= ping.asked
                return now - ping.sent_at, ping.asked
            passed_over -= ping.count
        raise UnexpectedPDU("a PONG that no PING asked for")

    def _since_heard(self) -> list[float]:
        """When those PINGs of ours left that the peer has not shown any life since."""
        return [sent_at for sent_at in self._unheard if sent_at >= self.heard_at]

    def _until_next_ping(self) -> float:
        timeouts = self._timeouts
        if self._paused_at is None:
            jittered = timeouts.ping_interval * (1 + PING_JITTER * self._draw())
            return min(jittered, PING_SHARE * timeouts.inactivity)
        # As often as the peer: its time for us has room for two of its own PINGs. No PING in all the time that we
        # listened tells that its interval is longer.
        known = self._peer_interval
        if known == math.inf:
            known = self._paused_at - self._peer_pinged_at
        return min(timeouts.ping_interval, max(known, STOPPED_PING_INTERVAL))

    def _gone_at(self) -> float:
        """When the peer will count as gone; ``inf`` as long as nothing can be known, or it was not asked."""
        inactivity = self._timeouts.inactivity
        if self._paused_at is not None:
            return math.inf
        if self._blocked_at is not None:
            # A peer that takes nothing and shows life is slow. It can't answer, for no PING gets through.
            return max(self._blocked_at, self.heard_at) + inactivity
        asked = self._since_heard()
        return max(self.heard_at + inactivity, asked[0] + (1 - PING_SHARE) * inactivity) if asked else math.inf

    def _late_at(self) -> float:
        """When a PONG will be late; ``inf`` as long as that does not count, or none is owed that could come."""
        if not (self._strict and self._unanswered) or self._paused_at is not None or self._blocked_at is not None:
            return math.inf
        timeouts = self._timeouts
        # A peer whose application has paused for long reads none of our PINGs, and sends its own: it lives. Who sends
        # DATA alone may have lost the other direction.
        asked_at = max(self._unanswered[0].sent_at, self._listening_since, self._shown_at)
        return asked_at + timeouts.outstanding_pongs * timeouts.ping_interval

    def deadline(self) -> float:
        """
        Tell when :meth:`ping_due` must be asked next.

        :return: seconds of the caller's clock, or ``inf`` when nothing is due.
        """
        # Nothing else counts until the handshake is over: a peer that sends or takes bytes gets no more time for it.
        if self._authenticate_by is not None:
            return self._authenticate_by
        return min(self._ping_at, self._gone_at(), self._late_at())

    def ping_due(self, now: float) -> bool:
        """
        Look at the deadlines. Who asks late reads first, see :meth:`sodiumtwist.core.base.Connection.ping_due`.

        :return: whether a PING must be sent now. When so, the time of the next one is set.
        :raises AuthenticationTimeout: when the handshake took too long.
        :raises InactivityTimeout: when the peer sent nothing valid, or took nothing, for too long.
        :raises PongTimeout: when a PING is due, and the allowed number has left since anything was heard; or when a
            PONG is late.
        """
        timeouts = self._timeouts
        if self._authenticate_by is not None:
            if now >= self._authenticate_by:
                raise AuthenticationTimeout(f"not authenticated within {timeouts.authentication:g} seconds")
            return False
        if now >= self._gone_at():
            if self._blocked_at is not None:
                raise InactivityTimeout(f"the peer took nothing of what was sent for {timeouts.inactivity:g} seconds")
            raise InactivityTimeout(f"nothing valid was received for {timeouts.inactivity:g} seconds")
        if now >= self._late_at():
            raise PongTimeout(f"a PING has waited {now - self._unanswered[0].sent_at:.3g} seconds for its PONG")
        if now < self._ping_at:
            return False
        self._ping_at = now + self._until_next_ping()
        if self._blocked_at is not None:
            # One is enough; more would pile up.
            self._due = not self._ping_waits
            return self._due
        # What the peer owes us we can't know without reading.
        if self._paused_at is None and (count := len(self._since_heard())) >= timeouts.outstanding_pongs:
            raise PongTimeout(f"{count} PINGs stayed unanswered")
        self._due = True
        return True
