"""
The protocol on Twisted: a Protocol for each side, made by the factories of :mod:`sodiumtwist.protocol.factories`.

An application subclasses :class:`SodiumServerProtocol` or :class:`SodiumClientProtocol`, overrides
the hooks ``authenticated``, ``payload_received`` and ``connection_lost``, and sends with
``send_data``; :class:`~sodiumtwist.protocol.base.SodiumProtocol` has what is common to both.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from twisted.cred.credentials import UsernamePassword
from twisted.cred.error import LoginFailed
from twisted.cred.portal import Portal
from twisted.internet.defer import CancelledError, Deferred, TimeoutError, maybeDeferred
from twisted.internet.error import ConnectionAborted
from twisted.python.failure import Failure

from ..admission.checkers import LoginNotChecked, LoginRefused, fit_for_log
from ..core.connection import ServerConnection
from ..core.errors import AuthenticationFailed, DecryptionFailed, RemoteProtocolError, ReplayDetected
from ..core.events import AuthenticationRequested, Event, KeyProven
from ..core.wire import SEALED_CLIENT_AUTH_SIZE
from ..describe import describe_tls_error
from ..interfaces import ISodiumAvatar, Peer
from .base import SodiumProtocol
from .context import ServerContext
from .sockets import READ_SIZE

#: Seconds that closing may take with a peer that was not let in.
REFUSED_CLOSING_TIME = 1.0

TOO_MANY_FAILED = "too many logins failed, and none is checked for now"


class SodiumServerProtocol(SodiumProtocol):
    """
    A server's end.

    Before the client is authenticated it may make us hold 400 bytes, sockets' transports given, and
    its handshake is opened once. One that does not open, or was accepted before, gets no answer, and
    the connection is closed when the time for authentication is over, not before.

    Unless a producer is registered, reading stops while the client does not take what was sent
    to it, so that answers to a client that never reads cannot pile up.

    :ivar peer: who the client is, from ``authenticated()`` on.
    :ivar login: that its handshake gave, right or wrong; ``None`` before.
    """

    factory: ServerContext
    peer: Peer | None = None

    _connection: ServerConnection
    _first_read = SEALED_CLIENT_AUTH_SIZE
    login: str | None = None

    _checking = False
    # Who the client is, from when its login is accepted until it is let in; in between it may have to prove its key.
    _claimed: Peer | None = None
    _fingerprint = b""
    _deciding: Deferred[Any] | None = None
    _logout: Callable[[], object] | None = None
    _turned_away = False
    _greeting = False
    _closes_quickly = False

    def _handshake_event(self, event: Event) -> None:
        if isinstance(event, KeyProven):
            self.factory.admission.opened(self)
            remembering = Deferred.fromCoroutine(self._remember())
            remembering.addTimeout(self.factory.timeouts.authentication, self._clock)
            self._deciding = remembering
            remembering.addCallbacks(self._accept_proven, self._reject)
            remembering.addErrback(self._accept_failed)
            return
        assert isinstance(event, AuthenticationRequested)
        self.login = event.login
        self._fingerprint = event.fingerprint
        self.factory.admission.opened(self)
        deciding = Deferred.fromCoroutine(self._decide(event))
        self._deciding = deciding
        deciding.addCallbacks(self._accept, self._reject)
        deciding.addErrback(self._accept_failed)

    async def _decide(self, event: AuthenticationRequested) -> Peer:
        """
        Find out whether the client may come in; what costs little comes first.

        :return: who it is.
        :raises ReplayDetected: when its handshake was accepted before.
        :raises twisted.cred.error.UnauthorizedLogin: when login, passphrase or key are wrong.
        """
        factory = self.factory
        peer = Peer(event.login, event.public_key, self.transport.getPeer())
        if await maybeDeferred(factory.replays.knows, event.fingerprint):
            raise ReplayDetected()
        if not factory.admission.may_try(peer.address, event.login):
            raise LoginNotChecked(TOO_MANY_FAILED)
        keys = factory.authorized_keys
        if keys is not None and not keys.allows(event.public_key, event.login):
            raise LoginRefused(f"the key {event.public_key.hex()} is not authorized, or not for this login")
        if factory.checker is not None:
            credentials = UsernamePassword(event.login.encode(), event.passphrase.encode())
            self._checking = True
            if isinstance(factory.checker, Portal):
                peer = replace(peer, avatar=await self._log_in(factory.checker, credentials, peer))
            else:
                await maybeDeferred(factory.checker.requestAvatarId, credentials)
            self._checking = False
        if keys is None:
            await self._remember()
        # Else when the key is proven: before, anybody could fill the memory who knows a client's public key.
        return peer

    async def _remember(self) -> None:
        if not await maybeDeferred(self.factory.replays.remember, self._fingerprint):
            raise ReplayDetected()

    def _log_in(self, portal: Portal, credentials: UsernamePassword, peer: Peer) -> Deferred[Any]:
        """Log in at a portal, which goes on when nobody waits any more; who is in by then is logged out."""
        avatar: Deferred[Any] = Deferred(lambda cancelled: None)

        def logged_in(result: tuple[object, Any, Callable[[], object]]) -> None:
            try:
                _, made, self._logout = result
            except (TypeError, ValueError):
                failed(Failure())
                return
            if avatar.called:
                self._log_out()
            else:
                avatar.callback(made)

        def failed(reason: Failure) -> None:
            if not avatar.called:
                avatar.errback(reason)

        maybeDeferred(portal.login, credentials, peer, ISodiumAvatar).addCallbacks(logged_in, failed)
        return avatar

    def _log_out(self) -> None:
        logout, self._logout = self._logout, None
        if logout is not None:
            maybeDeferred(logout).addErrback(
                lambda reason: self._log.failure("the logout of {login} failed", reason, login=ascii(self.login))
            )

    def check_no_longer(self) -> None:
        """Refuse the login that is being checked: too many have failed meanwhile."""
        if self._deciding is not None:
            self._checking = False
            self._deciding.cancel()

    def _accept(self, peer: Peer) -> None:
        self._deciding = None
        if self._done:
            return
        self._claimed = peer
        if self._pumping:
            self._let_in()
        else:
            self._pump(self._connection.events(self._clock.seconds()), self._let_in)

    def _let_in(self) -> None:
        prove = self.factory.authorized_keys is not None
        self._greeting = True
        self._write([self._connection.accept(self._clock.seconds(), self.factory.message, prove)])
        super()._flush()
        if prove:
            self.factory.admission.stranger_again(self)
        else:
            self._serve()

    def _accept_proven(self, _: None) -> None:
        self._deciding = None
        if self._done:
            return
        if self._pumping:
            self._serve()
        else:
            self._pump(self._connection.events(self._clock.seconds()), self._serve)

    def _flush(self) -> None:
        super()._flush()
        if not self._pumping:
            self._greeting = False

    def abort(self, error: BaseException | None = None) -> None:
        """
        Close at once: what was not delivered yet is dropped, except for the hello: without it the
        client would take this for a wrong passphrase.

        :param error: what ``connection_lost`` shall give as the reason.
        """
        if not self._greeting or self._done:
            super().abort(error)
            return
        self._greeting = False
        self._closes_quickly = True
        self._corked, self._corked_size = [], 0
        self._outgoing.clear()
        self._close(error or ConnectionAborted())

    def _serve(self) -> None:
        self.peer, self._claimed = self._claimed, None
        assert self.peer is not None
        self._read_up_to(READ_SIZE)
        self.factory.admission.admitted(self)
        self._log.info("{peer} is authenticated as {login}", peer=self._peer(), login=ascii(self.peer.login))
        self._now_authenticated()

    def _accept_failed(self, reason: Failure) -> None:
        if reason.check(RemoteProtocolError):
            self._close(reason.value)
        else:
            self._application_failed(reason, reason.value)

    def _reject(self, reason: Failure) -> None:
        self._deciding = None
        if self._done:
            return
        self._checking = False
        if self._claimed is not None:
            if reason.check(ReplayDetected):
                self._close(ReplayDetected("the same handshake was accepted a moment ago"))
                return
        elif reason.check(ReplayDetected):
            self._connection.ignore()
            self.factory.admission.stranger_again(self)
            self._regulate()
            return
        else:
            self._connection.reject()
        if reason.check(LoginNotChecked):
            why = str(reason.value)
        elif reason.check(CancelledError):
            why = TOO_MANY_FAILED
        elif reason.check(LoginFailed):
            self.factory.admission.failed(self.transport.getPeer(), self.login)
            # What other checkers say may hold anything.
            why = str(reason.value) if reason.check(LoginRefused) else "login or passphrase is wrong"
        elif reason.check(TimeoutError):
            why = "the handshake could not be remembered in time"
        elif reason.check(OSError):
            why = f"the login could not be checked: {ascii(str(reason.value))}"
        else:
            self._log.failure("the login of {peer} could not be checked", fit_for_log(reason), peer=self._peer())
            why = "the login could not be checked"
        self._close(AuthenticationFailed(why))

    def _must_pause(self) -> bool:
        # What has come behind an undecided login must do, and nothing is served before the end of that.
        if self._deciding is not None and (self._claimed is not None or self._connection.buffered):
            return True
        return self._paused or (self._write_blocked and self._producer is None)

    def connectionMade(self) -> None:
        self.factory.connections.add(self)
        super().connectionMade()
        self.factory.admission.arrived(self)

    def dataReceived(self, data: bytes) -> None:
        """Bytes came, cut anywhere."""
        if self.peer is not None:
            super().dataReceived(data)
            return
        self.factory.admission.note_address(self)
        super().dataReceived(data)
        if self.peer is None:
            self._read_up_to(max(1, SEALED_CLIENT_AUTH_SIZE - self._connection.buffered))

    def turn_away(self, why: str) -> None:
        """
        Close at once, for a limit that was reached.

        :param why: what ``connection_lost`` shall say.
        """
        self._turned_away = True
        self.abort(AuthenticationFailed(f"turned away: {why}"))

    def _closing_time(self) -> float:
        return super()._closing_time() if self.is_authenticated and not self._closes_quickly else REFUSED_CLOSING_TIME

    def _lost(self, reason: Failure) -> None:
        self.factory.connections.discard(self)
        self.factory.admission.left(self)
        if self._deciding is not None:
            self._deciding.cancel()
        if self.peer is None and (self._peer_left or isinstance(self._error, DecryptionFailed)):
            # Who leaves without waiting to hear must not guess for free; nor who claims keys.
            if self._checking:
                self.factory.admission.failed(self.transport.getPeer(), self.login)
            elif self._claimed is not None:
                self.factory.admission.failed(self.transport.getPeer(), None)
        self._checking = False
        self._log_out()
        if self.peer is None:
            if self._turned_away:
                return
            why = describe_tls_error(reason.value) or reason.getErrorMessage()
            if self.login is None:
                self._log.info("refused {peer}: {reason}", peer=self._peer(), reason=why)
            else:
                self._log.info(
                    "refused {peer} as {login}: {reason}", peer=self._peer(), login=ascii(self.login), reason=why
                )
        elif reason.check(RemoteProtocolError):
            self._log.info("dropped {peer}: {reason}", peer=self._peer(), reason=reason.getErrorMessage())
