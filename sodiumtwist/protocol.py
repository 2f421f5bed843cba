"""
The protocol on Twisted: a Protocol and a Factory for each side, usable with any endpoint.

An application subclasses :class:`SodiumServerProtocol` or :class:`SodiumClientProtocol`, overrides
the hooks ``authenticated``, ``payload_received`` and ``connection_lost``, and sends with
``send_data``; :class:`~sodiumtwist.base.SodiumProtocol` has what is common to both.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from typing import Any

from twisted.cred.checkers import ICredentialsChecker
from twisted.cred.credentials import UsernamePassword
from twisted.cred.error import UnauthorizedLogin
from twisted.internet.defer import Deferred, maybeDeferred
from twisted.internet.error import ConnectionDone, ConnectionLost
from twisted.internet.interfaces import IProtocol, IReactorTime
from twisted.internet.protocol import Factory
from twisted.python.failure import Failure

from .base import READ_SIZE, SodiumProtocol
from .core.connection import PENDING_LIMIT, ClientConnection, ServerConnection
from .core.errors import AuthenticationFailed, RemoteProtocolError
from .core.events import Authenticated, AuthenticationRequested, Event
from .core.keepalive import Timeouts
from .core.keys import KeyPair
from .core.wire import pack_text


class SodiumServerProtocol(SodiumProtocol):
    """
    A server's end.

    Unless a producer is registered, reading stops while the client does not take what was sent
    to it, so that answers to a client that never reads cannot pile up.

    :ivar login: the client's login, from ``authenticated()`` on.
    :ivar peer_key: the client's public key, 32 bytes, likewise.
    """

    login: str | None = None
    peer_key: bytes | None = None

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
        self.login = login
        self.peer_key = public_key
        self._log.info("{peer} is authenticated as {login}", peer=self._peer(), login=ascii(self.login))
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
        if self.login is None:
            self._log.info("refused {peer}: {reason}", peer=self._peer(), reason=reason.getErrorMessage())
        elif reason.check(RemoteProtocolError):
            self._log.info("dropped {peer}: {reason}", peer=self._peer(), reason=reason.getErrorMessage())


class SodiumClientProtocol(SodiumProtocol):
    """
    A client's end.

    :ivar message: the server's line for the user, from ``authenticated()`` on.
    """

    message: str | None = None

    def connectionMade(self) -> None:
        super().connectionMade()
        self._write(self._connection.initiate())

    def _handshake_event(self, event: Event) -> None:
        assert isinstance(event, Authenticated)
        self.message = event.message
        self._now_authenticated()

    def _explain(self, reason: Failure) -> BaseException | None:
        if self.message is None and reason.check(ConnectionLost):
            # A server that refuses us without reading all we sent resets the connection.
            reason = Failure(ConnectionDone())
        return super()._explain(reason)


class _SodiumFactory(Factory):
    """
    :ivar timeouts: the deadlines of every connection.
    :ivar clock: an ``IReactorTime``; the global reactor unless one was given.
    :ivar wall_clock: nanoseconds since the epoch, for PING and PONG.
    """

    noisy = False
    wall_clock = staticmethod(time.time_ns)

    def __init__(
        self,
        protocol: Callable[[], IProtocol] | None,
        timeouts: Timeouts | None,
        clock: IReactorTime | None,
        draw: Callable[[], float],
    ) -> None:
        if protocol is not None:
            self.protocol = protocol
        self.timeouts = timeouts or Timeouts()
        self._clock = clock
        self._draw = draw

    @property
    def clock(self) -> IReactorTime:
        if self._clock is None:
            from twisted.internet import reactor

            self._clock = reactor  # type: ignore[assignment]
        return self._clock  # type: ignore[return-value]


class SodiumServerFactory(_SodiumFactory):
    """
    Makes a server's ends.

    :param pair: the server's key pair.
    :param checker: decides on logins given as ``IUsernamePassword``, at once or by a Deferred.
    :param protocol: a :class:`SodiumServerProtocol` subclass; or set ``protocol`` on the factory.
    :param message: the line that clients get, up to 128 bytes of UTF-8, no NUL.
    :param timeouts: the deadlines; the default is ``Timeouts()``.
    :param clock: an ``IReactorTime``; ``None`` for the global reactor.
    :param draw: returns a random number from 0 to 1, for the times of PINGs.
    :raises LocalProtocolError: for a message that does not fit its field.
    :ivar connections: the connections that are up, authenticated or not.
    """

    protocol = SodiumServerProtocol

    def __init__(
        self,
        pair: KeyPair,
        checker: ICredentialsChecker,
        protocol: Callable[[], IProtocol] | None = None,
        message: str = "Welcome.",
        timeouts: Timeouts | None = None,
        clock: IReactorTime | None = None,
        draw: Callable[[], float] = random.random,
    ) -> None:
        super().__init__(protocol, timeouts, clock, draw)
        pack_text("message", message)
        self._pair = pair
        self.checker = checker
        self.message = message
        self.connections: set[SodiumServerProtocol] = set()

    def make_connection(self, now: float) -> ServerConnection:
        """The core of one connection that begins now."""
        return ServerConnection(self._pair, now, self.timeouts, self._draw)


class SodiumClientFactory(_SodiumFactory):
    """
    Makes a client's ends, each with the same keys and login.

    :param server_key: the server's public key, 32 bytes.
    :param login: up to 128 bytes of UTF-8, no NUL.
    :param passphrase: likewise.
    :param protocol: a :class:`SodiumClientProtocol` subclass; or set ``protocol`` on the factory.
    :param pair: the client's key pair; ``None`` makes a fresh one for each connection.
    :param timeouts: the deadlines; the default is ``Timeouts()``.
    :param clock: an ``IReactorTime``; ``None`` for the global reactor.
    :param draw: returns a random number from 0 to 1, for the times of PINGs.
    :raises InvalidKey: for a server key that can't be one.
    :raises LocalProtocolError: for a login or passphrase that does not fit its field.
    """

    protocol = SodiumClientProtocol

    def __init__(
        self,
        server_key: bytes,
        login: str,
        passphrase: str,
        protocol: Callable[[], IProtocol] | None = None,
        pair: KeyPair | None = None,
        timeouts: Timeouts | None = None,
        clock: IReactorTime | None = None,
        draw: Callable[[], float] = random.random,
    ) -> None:
        super().__init__(protocol, timeouts, clock, draw)
        self._arguments = (server_key, login, passphrase)
        self._pair = pair
        # Says now, not at each connection, what is wrong with the arguments.
        self.make_connection(0)

    def make_connection(self, now: float) -> ClientConnection:
        """The core of one connection that begins now."""
        return ClientConnection(*self._arguments, now, self._pair, self.timeouts, self._draw)
