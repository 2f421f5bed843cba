"""
The errors that sodiumtwist raises itself, about keys, calls and peers::

    SodiumError
    |-- InvalidKey (also a ValueError)
    |-- LocalProtocolError              a call, an argument or a file on this side is wrong
    |   |-- PayloadTooLarge             more than fits one DATA, or one message
    |   |-- UnsupportedProtocol         a version of the protocol that can't be spoken here
    |   `-- TooManyRequests             more unanswered than the limit
    `-- RemoteProtocolError             drop the connection, say nothing but what the core has to say
        |-- MalformedPDU                bytes that are no PDU of this protocol
        |-- UnexpectedPDU               a valid PDU at the wrong moment
        |-- WindowExceeded              more than the peer may make us hold
        |-- DecryptionFailed            not sealed to our key, or altered on the way
        |-- VersionMismatch             another version of the protocol
        |-- NonceMismatch               a SERVER_HELO that answers some other client
        |-- ReplayDetected              a handshake that was accepted before
        |-- AuthenticationFailed        login, passphrase or key refused
        |-- AuthenticationTimeout       not authenticated in time
        |-- ServerUnavailable           the server did not take the login: full, or nothing behind its port
        |-- InactivityTimeout           nothing valid received for too long, and perhaps nothing taken
        |-- PongTimeout                 PINGs stayed without their PONG
        `-- ConnectionCut               version 2: ended before both ends had said that all was sent

Of an attempt to connect, :attr:`SodiumError.retry_can_help` of the error tells whether to try again.

Their messages never hold a secret key, a passphrase or payload. All other exceptions are Python's or Twisted's.
"""

from __future__ import annotations


class SodiumError(Exception):
    """
    The base of the errors about keys, calls and peers.

    :cvar retry_can_help: whether the same attempt to connect can go well later, with nothing changed here. Each class
        has its answer.
    """

    retry_can_help = False


class InvalidKey(SodiumError, ValueError):
    """A string of text or bytes that is not a usable X25519 key."""


class LocalProtocolError(SodiumError):
    """The protocol, or its present state, does not allow this call; or an argument or a file is wrong."""


class PayloadTooLarge(LocalProtocolError):
    """A payload that does not fit one DATA, or in version 2 one message."""


class UnsupportedProtocol(LocalProtocolError):
    """A version of the protocol for which something is missing on this machine."""


class TooManyRequests(LocalProtocolError):
    """A request beyond the number that may be unanswered at once."""


class RemoteProtocolError(SodiumError):
    """
    The peer broke the protocol, or is gone. The connection is over. In version 1 the peer is not told why. In version 2
    the core tells it, unless the peer could learn from that what it should not.
    """

    # What harms one connection, on its way or at the peer, need not harm the next.
    retry_can_help = True


class MalformedPDU(RemoteProtocolError):
    """Wrong magic, unknown type, impossible size or field, tag FINAL, or an end inside a PDU."""


class UnexpectedPDU(RemoteProtocolError):
    """A PDU of a known type that is not allowed in the present state."""


class WindowExceeded(RemoteProtocolError):
    """The peer announced, or made us keep, more than the protocol's window."""


class DecryptionFailed(RemoteProtocolError):
    """Bytes that the expected key does not open."""


class VersionMismatch(RemoteProtocolError):
    """A CLIENT_AUTH of another protocol version than ours; or a handshake of version 2 with no suite that we have."""

    retry_can_help = False


class NonceMismatch(RemoteProtocolError):
    """A SERVER_HELO whose nonce is not the one sent plus one."""


class ReplayDetected(RemoteProtocolError):
    """
    A handshake that was accepted before: someone sends a recording of that session. In version 2 also one whose time
    is too far off.
    """


class AuthenticationFailed(RemoteProtocolError):
    """The login was refused (server); or the server took it and closed, or is none of this protocol (client)."""

    # It is refused again, and may be blocked for that.
    retry_can_help = False


class AuthenticationTimeout(RemoteProtocolError):
    """
    The handshake took longer than allowed. To a client that was never let in it says that the server key is wrong, most
    likely: a server is silent then. To one that was, that the server is stopped or overloaded.
    """


class ServerUnavailable(RemoteProtocolError):
    """
    The connection ended before the server took the login: the server is full, or just starts or stops, or nothing is
    behind its port.
    """


class InactivityTimeout(RemoteProtocolError):
    """For too long no whole valid PDU came, and perhaps the peer took nothing of what was sent."""


class PongTimeout(RemoteProtocolError):
    """Nothing was heard of the peer since the largest allowed number of PINGs left."""


class ConnectionCut(RemoteProtocolError):
    """
    The connection ended before both ends had said that all was sent. Requests without an answer may have been acted
    on, or not.
    """
