"""
Why a server has left before its hello. Version 1 has no word for it, so a client judges by how it left.

A server of ours that refuses a login has read it, and then closes in order. One that has no room resets at once. One
that has another key than the client thinks is silent until the time is up. What only forwards, with nothing behind it,
closes before it has read anything, or with that unread.
"""

from __future__ import annotations

from dataclasses import dataclass

from ..core.client import NO_ANSWER, ClientConnection
from ..core.errors import (
    AuthenticationFailed,
    AuthenticationTimeout,
    DecryptionFailed,
    RemoteProtocolError,
    ServerUnavailable,
)
from ..core.strangers import LOOKED_AT, describe_answer
from ..core.v2.handshake import SMALLEST_FLIGHT
from ..core.wire import SEALED_CLIENT_AUTH_SIZE
from .sockets import TransportBelow

#: Seconds within which a refusal comes, most often. A server that closes later may have been silent.
REFUSAL = 0.5

#: From which share of the time for authentication on a server that closes has been silent: a refusal takes less.
SILENCE = 0.5

_SILENT = "most likely a wrong server key; else no server of this protocol, or one that is stopped or overloaded"


@dataclass(frozen=True, slots=True)
class Ending:
    """
    How a connection is about to end, as the system tells while its socket is open.

    :ivar untaken: whether the peer's system has not taken the login.
    :ivar reset: whether the connection was reset behind its end, as systems do with what was not read.
    """

    untaken: bool
    reset: bool

    @classmethod
    def look(cls, below: TransportBelow, version: int) -> Ending:
        """
        Ask about a transport that ends.

        :param version: of the protocol.
        """
        size = SEALED_CLIENT_AUTH_SIZE if version == 1 else SMALLEST_FLIGHT
        confirmed, left = below.confirmed()
        if confirmed is None:
            return cls(left >= size, below.is_broken)
        # What is sent behind the login may come when a server has refused that and closed, and is reset for it.
        return cls(confirmed < size, not left and below.is_broken)


@dataclass(frozen=True, slots=True)
class Answer:
    """
    What came that is no hello.

    :ivar size: how many bytes.
    :ivar first: the first of them, some.
    """

    size: int = 0
    first: bytes = b""


def look_at(connection: ClientConnection) -> Answer:
    """
    See what has come.
    """
    return Answer(connection.buffered, connection.first_bytes(LOOKED_AT))


def no_hello(answer: Answer) -> DecryptionFailed:
    """
    Make the error about an answer that is no hello.
    """
    return DecryptionFailed(f"the answer, {answer.size} bytes, is no hello; {describe_answer(answer.first)}")


def no_tls(why: str) -> ServerUnavailable:
    """
    Make the error about a handshake of TLS that came to nothing.

    :param why: what has become of it.
    """
    return ServerUnavailable(f"{why}; is TLS spoken at that port? Without TLS, tcp:HOST:PORT connects")


def silence(error: AuthenticationTimeout, received: Answer, version: int) -> RemoteProtocolError:
    """
    Say what it means that no hello came.

    :param error: the time is up.
    :param received: what came that is no hello.
    :param version: of the protocol; in version 2 the core says what it can mean.
    """
    if received.size:
        return no_hello(received)
    return error if version == 2 else AuthenticationTimeout(f"{error}: the server is silent; {_SILENT}")


def explain(
    ending: Ending | None,
    in_order: bool,
    received: Answer,
    waited: float,
    patience: float,
    has_key: bool,
    version: int,
    over_tls: bool = False,
) -> RemoteProtocolError:
    """
    Say why the server has left before its hello.

    :param ending: how; ``None`` where the transport is no socket.
    :param in_order: whether the transport says that it ended in order.
    :param received: what came that is no hello.
    :param waited: for how many seconds it was connected.
    :param patience: how many seconds the handshake may take.
    :param has_key: whether the client has a key of its own, for which it may be refused.
    :param version: of the protocol. In version 2 a server of ours does not refuse anybody before its hello.
    :param over_tls: whether TLS is beneath.
    """
    if received.size:
        return no_hello(received)  # as with more of them, which the core has looked at
    if not in_order or (ending is not None and (ending.untaken or ending.reset)):
        return ServerUnavailable(
            "the server left before it took the login: it is full, or starts or stops, or nothing is behind its port; "
            "a later try may go well"
        )
    if version == 2:
        if waited >= SILENCE * patience:
            return AuthenticationTimeout(f"the server left without an answer: {NO_ANSWER}")
        # Our servers do not leave so early, and refuse in words. But a proxy ends in order what a server behind it has
        # reset, or left when it was killed. So do servers of TLS, most of them without a word to who does not speak it.
        tls = "" if over_tls else "; where TLS is spoken at that port, tls:HOST:PORT connects"
        return ServerUnavailable(
            "the server left without an answer; behind a proxy it may be full, or have just stopped, and a later try "
            f"may go well{tls}: {NO_ANSWER}"
        )
    if waited >= SILENCE * patience:
        return AuthenticationTimeout(f"the server was silent for {waited:.3g} seconds and left; {_SILENT}")
    wrong = "wrong login or passphrase" if waited < REFUSAL else "wrong server key, login or passphrase"
    key = ", or our key is not listed there for this login" if has_key else ""
    tls = "" if over_tls else ", or TLS is spoken at that port: tls:HOST:PORT"
    return AuthenticationFailed(f"{wrong}{key}; else no server of this protocol is there{tls}")
