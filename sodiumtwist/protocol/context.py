"""
What an end needs of the factory that made it. The ends know their factories by these classes alone, so that no
import goes round in a circle.
"""

from __future__ import annotations

from typing import Any, Protocol

from twisted.cred.checkers import ICredentialsChecker
from twisted.cred.portal import Portal
from twisted.internet.interfaces import IReactorTime

from ..admission.authorized import AuthorizedKeys, AuthorizedKeysFile
from ..admission.limits import Admission
from ..admission.replays import IReplayMemory
from ..core.connection import ClientConnection, ServerConnection
from ..core.keepalive import Timeouts
from ..core.keys import KeyPair
from .observing import Observer
from .unread import Unread


class Context(Protocol):
    """
    What both ends need.

    :ivar timeouts: the deadlines.
    :ivar unread: the sum of what waits for peers that do not read; ``None`` where there is none.
    """

    timeouts: Timeouts
    unread: Unread | None

    # A property, as in the factories: they look for the global reactor only when they are asked for a clock.
    @property
    def clock(self) -> IReactorTime:
        """The clock, which tells the time and sets timers."""

    def wall_clock(self) -> int:
        """Return the time of day in nanoseconds since the epoch, for PING and PONG."""


class ServerContext(Context, Protocol):
    """
    What a server's end needs.

    :ivar checker: decides on logins; ``None`` where the clients' keys decide alone.
    :ivar authorized_keys: the clients' keys that get in; ``None`` for any.
    :ivar replays: remembers the handshakes that were accepted.
    :ivar admission: counts connections and failed logins.
    :ivar message: the line for clients that are let in.
    :ivar connections: the ends that are connected.
    :ivar versions: which of the protocol clients may speak.
    :ivar is_draining: whether the server is about to stop.
    :ivar observer: is told what becomes of clients and requests; ``None`` where nobody counts them.
    """

    checker: ICredentialsChecker | Portal | None
    authorized_keys: AuthorizedKeys | AuthorizedKeysFile | None
    replays: IReplayMemory
    admission: Admission[Any]
    message: str
    connections: set[Any]
    versions: tuple[int, ...]
    is_draining: bool
    observer: Observer | None

    def make_connection(self, now: float) -> ServerConnection:
        """
        Make the core of one connection.

        :param now: when it begins, in seconds of the clock.
        """


class ClientContext(Context, Protocol):
    """
    What a client's end needs.

    :ivar server_key: the server's public key, 32 bytes.
    :ivar pair: the client's key pair; ``None`` for a fresh one for each connection.
    :ivar version: of the protocol.
    """

    server_key: bytes
    pair: KeyPair | None
    version: int

    def make_connection(self, now: float) -> ClientConnection:
        """
        Make the core of one connection.

        :param now: when it begins, in seconds of the clock.
        """
