"""
The protocol on Twisted: a Protocol for each side, made by the factories of :mod:`sodiumtwist.factories`.

An application subclasses :class:`SodiumServerProtocol` or :class:`SodiumClientProtocol`, overrides
the hooks ``authenticated``, ``payload_received`` and ``connection_lost``, and sends with
``send_data``; :class:`~sodiumtwist.base.SodiumProtocol` has what is common to both.
"""

from __future__ import annotations

from typing import Any

from twisted.cred.credentials import UsernamePassword
from twisted.cred.error import UnauthorizedLogin
from twisted.internet.defer import Deferred, fail, maybeDeferred, succeed
from twisted.internet.error import ConnectionDone, ConnectionLost
from twisted.python.failure import Failure

from .base import READ_SIZE, SodiumProtocol
from .core.connection import PENDING_LIMIT
from .core.errors import AuthenticationFailed, RemoteProtocolError
from .core.events import Authenticated, AuthenticationRequested, Event
from .interfaces import Peer
from .tls import describe_tls_error


class SodiumServerProtocol(SodiumProtocol):
    """
    A server's end.

    Unless a producer is registered, reading stops while the client does not take what was sent
    to it, so that answers to a client that never reads cannot pile up.

    :ivar peer: who the client is, from ``authenticated()`` on.
    """

    peer: Peer | None = None

    _deciding: Deferred[Any] | None = None

    def _handshake_event(self, event: Event) -> None:
        assert isinstance(event, AuthenticationRequested)
        credentials = UsernamePassword(event.login.encode(), event.passphrase.encode())
        deciding = maybeDeferred(self.factory.checker.requestAvatarId, credentials)
        self._deciding = deciding
        deciding.addCallbacks(
            self._accept, self._reject, (event.login, event.public_key), errbackArgs=(event.login,)
        )
        deciding.addErrback(self._accept_failed)

    def _accept(self, avatar_id: object, login: str, public_key: bytes) -> None:
        self._deciding = None
        if self._done:
            return
        if self._pumping:
            self._let_in(login, public_key)
        else:
            events = self._connection.events(self._clock.seconds())
            self._pump(events, lambda: self._let_in(login, public_key))

    def _let_in(self, login: str, public_key: bytes) -> None:
        self._write(self._connection.accept(self._clock.seconds(), self.factory.message))
        self.peer = Peer(login, public_key, self.transport.getPeer())
        self._log.info("{peer} is authenticated as {login}", peer=self._peer(), login=ascii(login))
        self._now_authenticated()

    def _accept_failed(self, reason: Failure) -> None:
        if reason.check(RemoteProtocolError):
            self._close(reason.value)
        else:
            self._application_failed(reason, reason.value)

    def _reject(self, reason: Failure, login: str) -> None:
        self._deciding = None
        if self._done:
            return
        self._connection.reject()
        if reason.check(UnauthorizedLogin):
            self._close(AuthenticationFailed(f"login {ascii(login)} or its passphrase is wrong"))
        else:
            self._log.failure("the login of {peer} could not be checked", reason, peer=self._peer())
            self._close(AuthenticationFailed(f"login {ascii(login)} could not be checked"))

    def _must_pause(self) -> bool:
        # What one more read brings must still fit behind an undecided login.
        if self._deciding is not None and self._connection.buffered + READ_SIZE > PENDING_LIMIT:
            return True
        return self._paused or (self._write_blocked and self._producer is None)

    def connectionMade(self) -> None:
        self.factory.connections.add(self)
        super().connectionMade()

    def _lost(self, reason: Failure) -> None:
        self.factory.connections.discard(self)
        if self._deciding is not None:
            self._deciding.cancel()
        if self.peer is None:
            why = describe_tls_error(reason.value) or reason.getErrorMessage()
            self._log.info("refused {peer}: {reason}", peer=self._peer(), reason=why)
        elif reason.check(RemoteProtocolError):
            self._log.info("dropped {peer}: {reason}", peer=self._peer(), reason=reason.getErrorMessage())


class SodiumClientProtocol(SodiumProtocol):
    """
    A client's end.

    :ivar peer: who the server is, from ``authenticated()`` on.
    :ivar message: the server's line for the user, likewise.
    """

    peer: Peer | None = None
    message: str | None = None

    _reason: Failure | None = None

    def when_authenticated(self) -> Deferred[None]:
        """
        Wait for the server's hello.

        :return: fires after ``authenticated()``, or fails with the reason when there will be none.
        """
        if self._reason is not None:
            return fail(self._reason)
        if self.peer is not None:
            return succeed(None)
        waiting: Deferred[None] = Deferred()
        self._waiting.append(waiting)
        return waiting

    def connectionMade(self) -> None:
        self._waiting: list[Deferred[None]] = []
        super().connectionMade()
        self._write(self._connection.initiate())

    def _handshake_event(self, event: Event) -> None:
        assert isinstance(event, Authenticated)
        self.message = event.message
        self.peer = Peer(None, self.factory.server_key, self.transport.getPeer())
        self._now_authenticated()
        if self._error is None:
            for waiting in self._take_waiting():
                waiting.callback(None)

    def _take_waiting(self) -> list[Deferred[None]]:
        waiting, self._waiting = self._waiting, []
        return waiting

    def _lost(self, reason: Failure) -> None:
        self._reason = reason
        for waiting in self._take_waiting():
            waiting.errback(reason)

    def _explain(self, reason: Failure) -> BaseException | None:
        if self.message is None and reason.check(ConnectionLost):
            # A server that refuses us without reading all we sent resets the connection.
            reason = Failure(ConnectionDone())
        return super()._explain(reason)
