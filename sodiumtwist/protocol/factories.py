"""
Factories that make a server's and a client's ends. Any endpoint takes them.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Collection
from functools import cached_property, partial
from typing import TYPE_CHECKING, Any

from twisted.cred.checkers import ICredentialsChecker
from twisted.cred.portal import Portal
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime
from twisted.internet.protocol import Factory

from ..admission.authorized import AuthorizedKeys, AuthorizedKeysFile
from ..admission.limits import Admission, Limits
from ..admission.replays import IReplayMemory, ReplayMemory
from ..admission.shared_counts import SharedCounts
from ..core.connection import Bounds, ClientConnection, RecentSalts, Salts, ServerConnection, Version2
from ..core.credentials import pack_credentials, pack_text, pad_credentials
from ..core.errors import LocalProtocolError
from ..core.keepalive import Timeouts
from ..core.keys import KeyPair, check_server_key
from ..core.v2.handshake import TIME_TOLERANCE
from ..core.version import VERSIONS, RekeyAfter, check_known
from .base import SodiumProtocol
from .client import SodiumClientProtocol
from .clock import steady_clock
from .draining import DRAIN_TIMEOUT, Draining
from .observing import Observer
from .requests import CONCURRENCY, Respond, Responder
from .server import SodiumServerProtocol
from .unread import Unread

#: What clients speak unless they are told otherwise.
VERSION = 2

# What is usual. A client makes a factory for each connection, and these check what they are given.
_TIMEOUTS, _REKEY, _BOUNDS = Timeouts(), RekeyAfter(), Bounds()

if TYPE_CHECKING:
    _Factory = Factory[Any]
else:
    # Earlier versions of Twisted have no parameter there.
    _Factory = Factory


class _SodiumFactory(_Factory):
    """
    What both factories have.

    :ivar timeouts: the deadlines of every connection.
    :ivar clock: an ``IReactorTime``; that of the global reactor unless one was given.
    :ivar wall_clock: returns nanoseconds since the epoch, for PING and PONG.
    :ivar unread: the sum of what waits for peers that do not read. A client has none: its application knows how many
        connections it has made.
    """

    # Twisted would log each start and stop of the factory; a client's factory has one for each connection.
    noisy = False
    wall_clock = staticmethod(time.time_ns)
    unread: Unread | None = None

    def __init__(
        self,
        protocol: Callable[[], SodiumProtocol] | None,
        timeouts: Timeouts | None,
        clock: IReactorTime | None,
        draw: Callable[[], float],
        rekey: RekeyAfter | None,
    ) -> None:
        # Else it stays what the class has, which may be a subclass with one of its own.
        if protocol is not None:
            self.protocol = protocol
        self.timeouts = timeouts or _TIMEOUTS
        self._clock = clock
        self._draw = draw
        self._rekey = rekey or _REKEY

    def _unix_time(self) -> float:
        return self.wall_clock() / 1e9

    @cached_property
    def clock(self) -> IReactorTime:
        return steady_clock(self._clock)

    def describe(self) -> str:
        """Say whose keys and login it has; no secret is in it."""
        raise NotImplementedError

    def __repr__(self) -> str:
        return f"<{type(self).__name__} with {self.describe()}>"


class SodiumServerFactory(_SodiumFactory):
    """
    Makes a server's ends.

    :param pair: the server's key pair.
    :param checker: decides on logins, which it gets as ``IUsernamePassword``, at once or by a Deferred. Or a
        ``Portal``, whose realm is asked for :class:`~sodiumtwist.interfaces.ISodiumAvatar`. Or ``None``, and
        ``authorized_keys`` decide alone: then any passphrase will do, and any login unless the key is listed for
        another one.
    :param respond: answers requests. It is called with a :class:`~sodiumtwist.interfaces.Peer` and a payload, and
        returns bytes, or a Deferred or coroutine that gives them: up to 16 MiB, or what the bounds say; in version 1 up
        to 131070 bytes.
    :param protocol: in place of ``respond``: a subclass of
        :class:`~sodiumtwist.protocol.server.SodiumServerProtocol`. Or set ``protocol`` on the factory.
    :param message: the line that clients get, up to 128 bytes of UTF-8, no NUL.
    :param timeouts: the deadlines; the default is ``Timeouts()``.
    :param clock: an ``IReactorTime``; ``None`` for the global reactor. Of a reactor that counts by the wall clock only
        the timers are used, with a monotonic clock; anything else is used as it is.
    :param draw: returns a random number from 0 to 1, for the times of PINGs.
    :param concurrency: how many requests of one connection ``respond`` may work on at once.
    :param authorized_keys: the clients' public keys that get in; ``None`` for any. In version 2 the handshake proves
        that a client has the key. In version 1, with them, a client must show that before it is authenticated. Our own
        client does so at once.
    :param replays: remembers the handshakes of version 1 that were accepted; ``None`` for a
        :class:`~sodiumtwist.admission.replays.ReplayMemory` of this factory.
    :param limits: how many connections and how many tries; the default is ``Limits()``.
    :param rekey: when to send with a new key; the default is ``RekeyAfter()``.
    :param versions: which versions of the protocol clients may speak; 1 is that of the C programs.
    :param bounds: how much a client of version 2 may make us keep; the default is ``Bounds()``.
    :param salts: remembers the first flights of clients of version 2; ``None`` for a memory of this factory.
    :param tolerance: how many seconds the clock of a client of version 2 may be off; 0 for any.
    :param shared: what other processes that serve the same place count; ``None`` where there are none.
    :raises LocalProtocolError: when the message does not fit its field, when the concurrency is below one, when both
        ``respond`` and ``protocol`` are given, and when neither ``checker`` nor ``authorized_keys`` is given.
    :ivar connections: the ends that are connected, authenticated or not.
    :ivar is_draining: whether :meth:`drain` was called, and it does not listen since.
    :ivar draining: what that has begun; ``None`` before.
    :ivar observer: is told what becomes of clients and requests; ``None``, as usual, where nobody counts them.
    """

    protocol: Callable[[], SodiumServerProtocol] = SodiumServerProtocol
    is_draining = False
    draining: Draining | None = None
    observer: Observer | None = None

    def __init__(
        self,
        pair: KeyPair,
        checker: ICredentialsChecker | Portal | None,
        respond: Respond | None = None,
        protocol: Callable[[], SodiumServerProtocol] | None = None,
        message: str = "Welcome.",
        timeouts: Timeouts | None = None,
        clock: IReactorTime | None = None,
        draw: Callable[[], float] = random.random,
        concurrency: int = CONCURRENCY,
        authorized_keys: AuthorizedKeys | AuthorizedKeysFile | None = None,
        replays: IReplayMemory | None = None,
        limits: Limits | None = None,
        rekey: RekeyAfter | None = None,
        versions: Collection[int] = VERSIONS,
        bounds: Bounds | None = None,
        salts: Salts | None = None,
        tolerance: float = TIME_TOLERANCE,
        shared: SharedCounts | None = None,
    ) -> None:
        if respond is not None:
            if protocol is not None:
                raise LocalProtocolError("respond and protocol exclude each other; give one")
            protocol = Responder
        if concurrency < 1:
            raise LocalProtocolError(f"a concurrency of {concurrency} requests answers none; 1 is the least")
        super().__init__(protocol, timeouts, clock, draw, rekey)
        self._take(pair, checker, authorized_keys, message)
        # Not "replays or …", which would ask a memory of the application's own whether it is empty.
        self.replays = replays if replays is not None else ReplayMemory()
        # The clock is asked for when it is needed: now it would install the reactor. And not by a lambda, which is one
        # more call for each connection.
        limits = limits or Limits()
        self.admission: Admission[SodiumServerProtocol] = Admission(limits, partial(getattr, self, "clock"), shared)
        # It is None only where no Responder is made, which would call it.
        self.respond: Respond = respond  # type: ignore[assignment]
        self.concurrency = concurrency
        self.connections: set[SodiumServerProtocol] = set()
        self.unread = Unread(limits.unread, self.connections)
        self.versions = tuple(versions)
        check_known("a server speaks", self.versions)
        self._version_2 = None
        if 2 in self.versions:
            salts = salts if salts is not None else RecentSalts()
            self._version_2 = Version2(self._unix_time, salts, tolerance, bounds or _BOUNDS)

    def change(
        self,
        pair: KeyPair,
        checker: ICredentialsChecker | Portal | None,
        authorized_keys: AuthorizedKeys | AuthorizedKeysFile | None,
        message: str,
        timeouts: Timeouts,
        limits: Limits,
        rekey: RekeyAfter,
    ) -> None:
        """
        Take others of what the factory was made with. Connections that are there go on, with the keys that they have;
        logins that are being decided on are decided on by what held before.

        The parameters are those of the factory.

        :raises LocalProtocolError: as when the factory is made; nothing has changed then.
        """
        self._take(pair, checker, authorized_keys, message)
        self.timeouts, self._rekey = timeouts, rekey
        self.admission.change(limits)
        if self.unread is not None:
            self.unread.change(limits.unread)

    def _take(
        self,
        pair: KeyPair,
        checker: ICredentialsChecker | Portal | None,
        authorized_keys: AuthorizedKeys | AuthorizedKeysFile | None,
        message: str,
    ) -> None:
        if checker is None and authorized_keys is None:
            raise LocalProtocolError("neither a checker nor authorized keys were given, so anybody would get in")
        # What is wrong with the message is said now, not at the first login.
        pack_text("message", message)
        self.message = message
        self._pair, self.checker, self.authorized_keys = pair, checker, authorized_keys

    def make_connection(self, now: float) -> ServerConnection:
        """
        Make the core of one connection.

        :param now: when it begins, in seconds of the clock.
        """
        return ServerConnection(self._pair, now, self.timeouts, self._draw, self._rekey, self.versions, self._version_2)

    def drain(self, timeout: float = DRAIN_TIMEOUT) -> Deferred[None]:
        """
        Stop in order. Stop listening before that: who comes in later is refused.

        Clients of version 2 are told, so that they ask nothing new; what they have asked is answered. Those whose login
        is being decided on are refused with :exc:`ServerUnavailable`. Who is still connected when the time is over is
        told why it ends. In version 1 nothing of this can be said: requests that are worked on are answered, and other
        connections broken off at once.

        :param timeout: how many seconds clients get to finish.
        :return: fires when all have left, a second behind that time at the latest. To cancel it is to wait no longer.
        """
        self.is_draining = True
        self.draining = Draining(self.connections, self.clock, timeout)
        return self.draining.done

    def describe(self) -> str:
        """Name the server's public key."""
        return f"key {self._pair.public.hex()}"

    def doStart(self) -> None:
        """Called for each port that listens."""
        self.is_draining, self.draining = False, None
        self.admission.start()
        super().doStart()  # type: ignore[no-untyped-call]

    def doStop(self) -> None:
        """Called for each port that stops listening."""
        super().doStop()  # type: ignore[no-untyped-call]
        # Not for the first of several: who comes in by the others is still to be counted.
        if not self.numPorts:
            self.admission.stop()


class SodiumClientFactory(_SodiumFactory):
    """
    Makes a client's ends, each with the same keys and login.

    :param server_key: the server's public key, 32 bytes.
    :param login: up to 255 bytes of UTF-8, no NUL; in version 1 up to 128.
    :param passphrase: up to 4096 bytes of UTF-8, no NUL; in version 1 up to 128.
    :param protocol: a subclass of :class:`~sodiumtwist.protocol.client.SodiumClientProtocol`. Or set ``protocol`` on
        the factory.
    :param pair: the client's key pair, for servers that know its public key. A PING right behind the handshake shows
        that the client has it. ``None`` makes a fresh pair for each connection.
    :param timeouts: the deadlines; the default is ``Timeouts()``.
    :param clock: an ``IReactorTime``; ``None`` for the global reactor. Of a reactor that counts by the wall clock only
        the timers are used, with a monotonic clock; anything else is used as it is.
    :param draw: returns a random number from 0 to 1, for the times of PINGs.
    :param rekey: when to send with a new key; the default is ``RekeyAfter()``.
    :param version: of the protocol; 1 for servers that are the C program. It never falls back to another one.
    :param bounds: how much a server of version 2 may make us keep; the default is ``Bounds()``.
    :raises InvalidKey: when the server's key can't be one.
    :raises LocalProtocolError: when the login or the passphrase does not fit its field.
    """

    protocol: Callable[[], SodiumClientProtocol] = SodiumClientProtocol

    def __init__(
        self,
        server_key: bytes,
        login: str = "",
        passphrase: str = "",
        protocol: Callable[[], SodiumClientProtocol] | None = None,
        pair: KeyPair | None = None,
        timeouts: Timeouts | None = None,
        clock: IReactorTime | None = None,
        draw: Callable[[], float] = random.random,
        rekey: RekeyAfter | None = None,
        version: int = VERSION,
        bounds: Bounds | None = None,
    ) -> None:
        super().__init__(protocol, timeouts, clock, draw, rekey)
        # What is wrong with the arguments is said now, not at each connection.
        check_server_key(server_key)
        (pack_credentials if version == 1 else pad_credentials)(login, passphrase)
        # A copy: the caller's may be a buffer that is used again.
        self.server_key = bytes(server_key)
        self._credentials = (login, passphrase)
        self.pair = pair
        self.version = version
        check_known("a client speaks", (version,))
        self._version_2 = Version2(self._unix_time, bounds=bounds or _BOUNDS) if version == 2 else None

    def make_connection(self, now: float) -> ClientConnection:
        """
        Make the core of one connection.

        :param now: when it begins, in seconds of the clock.
        """
        return ClientConnection(
            self.server_key,
            *self._credentials,
            now,
            self.pair,
            self.timeouts,
            self._draw,
            rekey=self._rekey,
            version=self.version,
            version_2=self._version_2,
        )

    def describe(self) -> str:
        """Name the login, if there is one, and the server's public key."""
        login = self._credentials[0]
        return f"{f'login {login!r}, ' if login else ''}server key {self.server_key.hex()}"
