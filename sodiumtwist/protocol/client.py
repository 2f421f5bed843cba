"""
A client's end.
"""

from __future__ import annotations

from twisted.internet.defer import Deferred, fail, succeed
from twisted.internet.error import ConnectionDone, ConnectionLost
from twisted.python.failure import Failure

from ..core.connection import ClientConnection, Code
from ..core.errors import (
    AuthenticationFailed,
    AuthenticationTimeout,
    NotLetIn,
    ServerUnavailable,
    TooManyFailures,
)
from ..core.events import Authenticated, Event, HandshakeComplete, Refused
from ..core.states import State
from ..describe import printable
from ..interfaces import Peer
from . import no_hello
from .base import SodiumProtocol
from .context import ClientContext
from .lifecycle import UNMADE, Stage, Turn
from .sockets import READ_SIZE, is_tls

#: Begins the error for a refusal. What stands behind it is the server's.
REFUSES = "the server refuses: "

#: What a REFUSED says, where it is not that login, passphrase or key are wrong.
_REFUSALS: dict[int, type[NotLetIn]] = {
    Code.TOO_MANY_FAILURES: TooManyFailures,
    Code.NO_ROOM: ServerUnavailable,
    Code.SHUTTING_DOWN: ServerUnavailable,
}


class SodiumClientProtocol(SodiumProtocol):
    """
    A client's end.

    :ivar peer: who the server is, from ``authenticated()`` on.
    :ivar message: the server's line for the user, from ``authenticated()`` on.
    """

    factory: ClientContext
    peer: Peer | None = None
    message: str | None = None

    _connection: ClientConnection = UNMADE
    _waiting: list[Deferred[None]] | None = None
    _reason: Failure | None = None
    # How it ends, where that was before the server's hello.
    _ending: no_hello.Ending | None = None
    # What had come that is no hello, when the deadlines were looked at.
    _answered = no_hello.Answer()

    def when_authenticated(self) -> Deferred[None]:
        """
        Wait for the server's hello. It may be called before there is a transport.

        :return: fires after ``authenticated()``. Fails with the reason when the connection ends before that.
        """
        if self._reason is not None:
            return fail(self._reason)
        if self.peer is not None:
            return succeed(None)
        waiting: Deferred[None] = Deferred()
        if self._waiting is None:
            self._waiting = []
        self._waiting.append(waiting)
        return waiting

    def connectionMade(self) -> None:
        super().connectionMade()
        # In the pump, where what is sent waits: the handshake and a PING behind it leave together.
        self._pump(begin=self._initiate)
        self._connection.prepare()

    def _initiate(self) -> None:
        self._connection.initiate()
        if self._connection.version == 1:
            if self.factory.pair is not None:
                # The server may want to see that we have this key before it lets us in.
                self._send_ping()
            self._may_speak_now()

    def _may_speak_now(self) -> None:
        """What is sent from now on leaves, though the server has not let us in yet."""

    def _not_open(self) -> None:
        super()._not_open()
        if self._lifecycle.stage is Stage.HANDSHAKE:
            self._read_handshake()

    def _take_event(self, event: Event) -> None:
        if isinstance(event, HandshakeComplete):
            self._may_speak_now()
        elif isinstance(event, Refused):
            error = _REFUSALS.get(event.code, AuthenticationFailed)(f"{REFUSES}{printable(event.text)}")
            error.code = event.code
            self._close(error)
        elif isinstance(event, Authenticated):
            self._let_in(event)
        else:
            super()._take_event(event)

    def _let_in(self, event: Authenticated) -> None:
        self.message = event.message
        self.peer = self._make_peer()
        self._below.read_up_to(READ_SIZE)
        if self._lifecycle.stage is Stage.ENDING:
            # It was closed meanwhile; what was sent before that is delivered.
            self._lifecycle.take(Turn.AUTHENTICATED)
            self.is_authenticated = True
            return
        self._now_authenticated()
        # The hook may have broken the connection off. Then they are told why, by _before_connection_lost().
        if self._error is None:
            for waiting in self._take_waiting():
                waiting.callback(None)

    def _make_peer(self) -> Peer:
        return Peer(None, self.factory.server_key, self.transport.getPeer(), version=self.factory.version)

    def _says_end(self) -> bool:
        early = self._lifecycle.stage is Stage.HANDSHAKE and not self._connection.said_nothing
        return super()._says_end() or (self._connection.version == 2 and early)

    def _take_waiting(self) -> list[Deferred[None]]:
        # All at once: what one of them calls may wait anew, or cancel another.
        waiting, self._waiting = self._waiting, None
        return waiting or []

    def _before_connection_lost(self, reason: Failure, peer_left: bool) -> None:
        self._reason = reason
        for waiting in self._take_waiting():
            waiting.errback(reason)

    # What its end says, where the server's hello has not come

    def _breaking(self) -> None:
        if self.message is None and not self._lifecycle.over:
            self._ending = no_hello.Ending.look(self._below, self.factory.version)
        super()._breaking()

    def _judge(self, buffered: int, left: int) -> None:
        if self.message is None:
            self._answered = no_hello.look_at(self._connection)  # where the time is up, nothing is kept of that
        super()._judge(buffered, left)

    def _close(self, error: BaseException | None, patience: float | None = None) -> None:
        if self.message is None and isinstance(error, AuthenticationTimeout):
            if self._below.in_tls_handshake:
                error = no_hello.no_tls(f"{error}: the TLS handshake is not over")
            else:
                error = no_hello.silence(error, self._answered, self.factory.version)
        super()._close(error, patience)

    def _end_is_said(self) -> bool:
        # Behind the login, too: the server may have let us in, and acted on what was sent early.
        return super()._end_is_said() or self._connection.state is State.AWAITING_WELCOME

    def _explain(self, reason: Failure) -> BaseException | None:
        if self.message is not None or self._end_is_said() or not reason.check(ConnectionDone, ConnectionLost):
            return super()._explain(reason)
        if self._below.in_tls_handshake:
            return no_hello.no_tls("the connection broke in the TLS handshake")
        connection, patience = self._connection, self.factory.timeouts.authentication
        waited = patience - (connection.deadline() - self._clock.seconds())
        in_order, has_key = reason.check(ConnectionDone) is not None, self.factory.pair is not None
        return no_hello.explain(
            self._ending,
            in_order,
            no_hello.look_at(connection),
            waited,
            patience,
            has_key,
            self.factory.version,
            is_tls(self.transport),
        )
