"""
Every deadline of a connection, as arithmetic: time comes in as ``now`` and nothing here waits.

All times are seconds of one monotonic clock, the caller's.
"""

from __future__ import annotations

import math
import random
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

from .errors import AuthenticationTimeout, InactivityTimeout, LocalProtocolError, PongTimeout, UnexpectedPDU

#: The random part of the time between two PINGs, as a share of the interval: the reference
#: program adds 0 to 59 seconds to its 60.
PING_JITTER = 59 / 60

#: The random part of the time that a server gives a client to authenticate, as a share of it: the
#: moment of closing tells a prober nothing.
AUTHENTICATION_JITTER = 0.1


@dataclass(frozen=True)
class Timeouts:
    """
    How long a connection waits for what. The defaults are the reference program's.

    :ivar authentication: seconds from the start of the connection to its authentication; a server
        takes a random share of up to a tenth off, anew for each connection.
    :ivar inactivity: seconds without a whole valid PDU received, or with what was sent not taken.
    :ivar ping_interval: seconds from authentication to the first PING; between later ones a
        random share of up to 59/60 of it is added.
    :ivar outstanding_pongs: when a PING is due and this many are unanswered, the peer is gone.
    :raises LocalProtocolError: for a time that is not a positive number of seconds, or a count
        below one.
    """

    authentication: float = 10.0
    inactivity: float = 180.0
    ping_interval: float = 60.0
    outstanding_pongs: int = 3

    def __post_init__(self) -> None:
        for name in ("authentication", "inactivity", "ping_interval"):
            seconds = getattr(self, name)
            if not (math.isfinite(seconds) and seconds > 0):
                raise LocalProtocolError(
                    f"the {name.replace('_', ' ')} time takes a number of seconds over 0, not {seconds}"
                )
        if self.outstanding_pongs < 1:
            raise LocalProtocolError("at least one PONG must be allowed to be outstanding")


class Keepalive:
    """
    The clockwork of one connection.

    :param timeouts: the deadlines.
    :param now: when the connection began.
    :param draw: returns a random number from 0 to 1.
    :param authentication_jitter: the share of the time for authentication of which a random part is
        taken off.
    :ivar heard_at: when the last whole valid PDU came; to be set for each.
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
        allowed = timeouts.authentication
        if authentication_jitter:
            allowed *= 1 - authentication_jitter * draw()
        self._authenticate_by: float | None = now + allowed
        self._ping_at = math.inf
        self.heard_at = now
        self._blocked_at: float | None = None
        self._reading_paused = False
        self._pings: deque[float] = deque()

    def authenticated(self, now: float) -> None:
        """The handshake is over: the authentication time-out ends, PINGs and inactivity begin to count."""
        self._authenticate_by = None
        self.heard_at = now
        self._ping_at = now + self._timeouts.ping_interval

    def reading_paused(self) -> None:
        """We stopped reading: the peer's silence is no longer its own, and no PING is sent."""
        self._reading_paused = True

    def reading_resumed(self, now: float) -> None:
        """We read again, and what the peer owes counts from now."""
        if self._reading_paused:
            self._reading_paused = False
            self.heard_at = now
            if self._pings and self._ping_at <= now:
                # The PONGs may be among what was not read yet.
                self._ping_at = now + self._timeouts.ping_interval

    def writing_blocked(self, now: float) -> None:
        """What was sent is no longer taken by the transport."""
        if self._blocked_at is None:
            self._blocked_at = now

    def writing_unblocked(self) -> None:
        """The transport takes more again."""
        self._blocked_at = None

    def ping_sent(self, now: float) -> None:
        """
        A PING leaves.

        :raises LocalProtocolError: when as many are unanswered as are allowed to be.
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
        return now - self._pings.popleft()

    def deadline(self) -> float:
        """When :meth:`ping_due` must be asked next; ``inf`` for never."""
        if self._authenticate_by is not None:
            return self._authenticate_by
        deadlines = [math.inf]
        if not self._reading_paused:
            deadlines += (self._ping_at, self.heard_at + self._timeouts.inactivity)
        if self._blocked_at is not None:
            deadlines.append(self._blocked_at + self._timeouts.inactivity)
        return min(deadlines)

    def ping_due(self, now: float) -> bool:
        """
        Look at the deadlines.

        :return: whether a PING must be sent now; the next one is then planned.
        :raises AuthenticationTimeout: when the handshake took too long.
        :raises InactivityTimeout: when the peer sent nothing valid, or took nothing, for too long.
        :raises PongTimeout: when a PING is due and too many are unanswered.
        """
        timeouts = self._timeouts
        if self._authenticate_by is not None:
            if now >= self._authenticate_by:
                raise AuthenticationTimeout(f"not authenticated within {timeouts.authentication:g} seconds")
            return False
        if self._blocked_at is not None and now >= self._blocked_at + timeouts.inactivity:
            raise InactivityTimeout(f"the peer took nothing of what was sent for {timeouts.inactivity:g} seconds")
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
