"""
Why a server has left before its hello. Version 1 has no word for it, so a client judges by how it left.

A server of ours that refuses a login has read it, and then closes in order. One that has no room resets at once. One
that has another key than the client thinks is silent until the time is up. What only forwards, with nothing behind it,
closes before it has read anything, or with that unread.
"""

from __future__ import annotations

from dataclasses import dataclass

from ..core.errors import (
    AuthenticationFailed,
    AuthenticationTimeout,
    DecryptionFailed,
    RemoteProtocolError,
    ServerUnavailable,
)
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
    def look(cls, below: TransportBelow) -> Ending:
        """Ask about a transport that ends."""
        confirmed, left = below.confirmed()
        if confirmed is None:
            return cls(left >= SEALED_CLIENT_AUTH_SIZE, below.is_broken)
        # What is sent behind the login may come when a server has refused that and closed, and is reset for it.
        return cls(confirmed < SEALED_CLIENT_AUTH_SIZE, not left and below.is_broken)


def silence(error: AuthenticationTimeout) -> AuthenticationTimeout:
    """
    Say what the server's silence means.

    :param error: the time is up.
    """
    return AuthenticationTimeout(f"{error}: the server is silent; {_SILENT}")


def explain(
    ending: Ending | None, in_order: bool, received: int, waited: float, patience: float, has_key: bool
) -> RemoteProtocolError:
    """
    Say why the server has left before its hello.

    :param ending: how; ``None`` where the transport is no socket.
    :param in_order: whether the transport says that it ended in order.
    :param received: how many bytes came that are no hello.
    :param waited: for how many seconds it was connected.
    :param patience: how many seconds the handshake may take.
    :param has_key: whether the client has a key of its own, for which it may be refused.
    """
    if received:
        # As with more of them, which the core has looked at.
        return DecryptionFailed(f"the answer, {received} bytes, is no hello; is there a server of this protocol?")
    if not in_order or (ending is not None and (ending.untaken or ending.reset)):
        return ServerUnavailable(
            "the server left before it took the login: it is full, or starts or stops, or nothing is behind its port; "
            "a later try may go well"
        )
    if waited >= SILENCE * patience:
        return AuthenticationTimeout(f"the server was silent for {waited:.3g} seconds and left; {_SILENT}")
    wrong = "wrong login or passphrase" if waited < REFUSAL else "wrong server key, login or passphrase"
    key = ", or our key is not listed there for this login" if has_key else ""
    return AuthenticationFailed(f"{wrong}{key}; else no server of this protocol is there")
