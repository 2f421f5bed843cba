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

#: The random part of the time that a server gives a client to authenticate, as a share of that time. A server that
#: closed after exactly so many seconds could be known by them.
AUTHENTICATION_JITTER = 0.1


#: The most seconds of silence after which systems' TCP can be told to ask.
TCP_KEEPALIVE_LIMIT = 32767


@dataclass(frozen=True)
class Timeouts:
    """
    How long a connection waits. The defaults are those of the reference programs.

    :ivar authentication: seconds from the start of the connection to its authentication. A server takes off
        a random part of up to a tenth, a new one for each connection.
    :ivar inactivity: seconds in which no whole valid PDU comes, or in which the peer takes nothing of what was sent.
    :ivar ping_interval: seconds from authentication to the first PING. Before each later PING a random part of up
        to 59/60 of the interval is added.
    :ivar outstanding_pongs: when a PING is due and this many are unanswered, the peer counts as gone.
    :ivar tcp_keepalive: seconds without a packet after which the system asks the other one whether it is still there;
        when it gets no answer for as long again, the connection breaks. 0 for never. This is for TCP's transports;
        the core does nothing with it.
    :raises LocalProtocolError: when a time is not a positive number of seconds, the count is below one, or systems know
        no such TCP keepalive.
    """

    authentication: float = 10.0
    inactivity: float = 180.0
    ping_interval: float = 60.0
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


class Keepalive:
    """
    The deadlines of one connection.

    :param timeouts: how long to wait.
    :param now: when the connection began.
    :param draw: returns a random number from 0 to 1.
    :param authentication_jitter: the largest share of the time for authentication that is taken off at random.
    :ivar heard_at: when the last whole valid PDU came. The caller sets it, and not for single bytes: else a peer
        could hold a connection with one byte now and then.
    """

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
        self._reading_paused = False
        self._pings: list[float] = []

    def authenticated(self, now: float) -> None:
        """The handshake is over. The time for it no longer counts; PINGs and inactivity begin to."""
        self._authenticate_by = None
        # From now, not from the start: the handshake has a time of its own, which may be the longer one.
        self.heard_at = now
        self._ping_at = now + self._timeouts.ping_interval

    def reading_paused(self) -> None:
        """We stopped reading. The peer's silence no longer counts, and no PING is sent: its PONG would not be read."""
        self._reading_paused = True

    def reading_resumed(self, now: float) -> None:
        """We read again. The peer's time begins anew."""
        # Only behind a pause: else a caller that says it twice would give the peer time that it has not earned.
        if self._reading_paused:
            self._reading_paused = False
            self.heard_at = now
            if self._pings and self._ping_at <= now:
                # A PING is due at once, and would find the earlier ones unanswered. Their PONGs may be among what
                # was not read yet, so the peer gets the time of one interval.
                self._ping_at = now + self._timeouts.ping_interval

    def writing_blocked(self, now: float) -> None:
        """The transport takes no more of what was sent."""
        # The first report counts. A later one must not give a stuck peer more time.
        if self._blocked_at is None:
            self._blocked_at = now

    def writing_unblocked(self) -> None:
        """The transport takes data again."""
        self._blocked_at = None

    def ping_sent(self, now: float) -> None:
        """
        A PING leaves.

        :raises LocalProtocolError: when the allowed number of PINGs is unanswered already.
        """
        if len(self._pings) >= self._timeouts.outstanding_pongs:
            raise LocalProtocolError(f"{len(self._pings)} PINGs are unanswered; wait for a PONG")
        self._pings.append(now)

    def pong_received(self, now: float) -> float:
        """
        A PONG came.

        :return: seconds since the oldest unanswered PING.
        :raises UnexpectedPDU: when there is none.
        """
        if not self._pings:
            raise UnexpectedPDU("a PONG that no PING asked for")
        # A PONG names no PING; the stream keeps the order, so this one answers the oldest.
        return now - self._pings.pop(0)

    def deadline(self) -> float:
        """
        Tell when :meth:`ping_due` must be asked next.

        :return: seconds of the caller's clock, or ``inf`` when nothing is due.
        """
        # Nothing else counts until the handshake is over: a peer that sends or takes bytes gets no more time for it.
        if self._authenticate_by is not None:
            return self._authenticate_by
        deadlines = [math.inf]
        if not self._reading_paused:
            deadlines += (self._ping_at, self.heard_at + self._timeouts.inactivity)
        # Also while reading is paused: that we do not read keeps no peer from reading.
        if self._blocked_at is not None:
            deadlines.append(self._blocked_at + self._timeouts.inactivity)
        return min(deadlines)

    def ping_due(self, now: float) -> bool:
        """
        Look at the deadlines.

        :return: whether a PING must be sent now. When so, the time of the next one is set.
        :raises AuthenticationTimeout: when the handshake took too long.
        :raises InactivityTimeout: when the peer sent nothing valid, or took nothing, for too long.
        :raises PongTimeout: when a PING is due and the allowed number is unanswered already.
        """
        timeouts = self._timeouts
        if self._authenticate_by is not None:
            if now >= self._authenticate_by:
                raise AuthenticationTimeout(f"not authenticated within {timeouts.authentication:g} seconds")
            return False
        if self._blocked_at is not None and now >= self._blocked_at + timeouts.inactivity:
            raise InactivityTimeout(f"the peer took nothing of what was sent for {timeouts.inactivity:g} seconds")
        # Below here is what the peer owes us, and we can't know that without reading.
        if self._reading_paused:
            return False
        if now >= self.heard_at + timeouts.inactivity:
            raise InactivityTimeout(f"nothing valid was received for {timeouts.inactivity:g} seconds")
        if now < self._ping_at:
            return False
        if len(self._pings) >= timeouts.outstanding_pongs:
            raise PongTimeout(f"{len(self._pings)} PINGs stayed unanswered")
        self._ping_at = now + timeouts.ping_interval * (1 + PING_JITTER * self._draw())
        return True
