"""
The errors that sodiumtwist raises itself, about keys, calls and peers::

    SodiumError
    |-- InvalidKey (also a ValueError)
    |-- LocalProtocolError              a call, an argument or a file on this side is wrong
    |   |-- PayloadTooLarge             more than fits one DATA, or one message
    |   |-- UnsupportedProtocol         a version of the protocol that can't be spoken here
    |   `-- TooManyRequests             more unanswered than the limit
    |-- RequestError                    what a responder raises to let one request fail
    `-- NotDone                         a request, or another thing that was asked for, did not come about
        |-- RequestFailed               the other end answered that it failed, and why
        |-- ClosedHere                  we have closed
        |-- ClosedByPeer                the other end has closed in order, or is about to stop
        |   `-- PeerAborted             the other end closed at once, and said why
        |-- TimedOut                    it took too long
        |   |-- RequestTimeout          the answer to one request
        |   |-- ClosingTimeout          the other end, to close in order
        |   |-- AuthenticationTimeout   not authenticated in time
        |   |-- InactivityTimeout       nothing valid received for too long, and perhaps nothing taken
        |   `-- PongTimeout             PINGs stayed without their PONG
        `-- RemoteProtocolError         drop the connection, say nothing but what the core has to say
            |-- MalformedPDU            bytes that are no PDU of this protocol
            |-- UnexpectedPDU           a valid PDU at the wrong moment
            |-- WindowExceeded          more than the peer may make us hold
            |-- DecryptionFailed        not sealed to our key, or altered on the way
            |-- VersionMismatch         another version of the protocol
            |-- NonceMismatch           a SERVER_HELO that answers some other client
            |-- ReplayDetected          a handshake that was accepted before
            |-- AuthenticationTimeout, InactivityTimeout, PongTimeout
            |-- ConnectionCut           ended before both ends had said that all was sent
            `-- NotLetIn                the server does not let us in
                |-- AuthenticationFailed        login, passphrase or key refused
                |   `-- TooManyFailures         too many logins failed, so this one was not checked
                `-- ServerUnavailable           full, starting or stopping, or nothing behind its port

Whatever ends a connection, or keeps it from coming about, is a :class:`NotDone`: :attr:`NotDone.retry_can_help` tells
whether to try to connect again, :attr:`NotDone.safe_to_repeat` whether to ask again what had no answer.

Their messages never hold a secret key, a passphrase or payload. All other exceptions are Python's or Twisted's.
"""

from __future__ import annotations

from copy import copy

#: Of the codes of version 2, what says that a request was not acted on: no room, shutting down, too large, not
#: supported.
NOT_ACTED_ON = (3, 4, 5, 8)

SHUTTING_DOWN = 4


class SodiumError(Exception):
    """The base of the errors about keys, calls and peers."""

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


class RequestError(SodiumError):
    """
    What a responder raises to let one request fail; in version 2 the asker gets code and text.

    :param code: why, see :class:`~sodiumtwist.core.v2.pdus.Code`; from 0x80000000 on it is the application's.
    :param text: the same for a person, a line of up to 1024 bytes of UTF-8.
    """

    def __init__(self, code: int, text: str) -> None:
        super().__init__(code, text)
        self.code = int(code)
        self.text = text

    def __str__(self) -> str:
        return self.text


class NotDone(SodiumError):
    """
    What was asked for did not come about, or nobody knows whether it did. All that ends a connection is one of these.

    :ivar code: what the other end gave as the reason; ``None`` where it gave none. At a server, of a login that was
        refused, what its client is told.
    :ivar retry_can_help: whether a new connection, with nothing changed here, can go better.
    :ivar safe_to_repeat: of a request: whether it was not sent, or the other end says that it did not act on it, so
        that asking again does nothing twice. Else it was sent, and its outcome is unknown. Of anything else it is true.
    """

    retry_can_help = True
    safe_to_repeat = True
    code: int | None = None

    def of_request(self, safe_to_repeat: bool) -> NotDone:
        """
        Make the error that one request gets, of that which the connection ends with.

        :param safe_to_repeat: whether the request was not sent, or not acted on.
        """
        error = copy(self)
        error.safe_to_repeat = safe_to_repeat
        error.__cause__ = self.__cause__
        return error


class RequestFailed(NotDone):
    """
    The other end answered a request by a failure. The connection lives on.

    :param code: why, see :class:`~sodiumtwist.core.v2.pdus.Code`; from 0x80000000 on it is the other application's.
    :param text: the same for a person, as the other end says it: show it with care. ``str()`` of the error is fit for a
        log: it has ``?`` for what can't be printed.
    """

    retry_can_help = False

    def __init__(self, code: int, text: str) -> None:
        super().__init__(code, text)
        self.code = code
        self.text = text
        self.safe_to_repeat = code in NOT_ACTED_ON
        self.retry_can_help = code == SHUTTING_DOWN

    def __str__(self) -> str:
        # It gets into logs where nobody looks at it, as that of a server whose responder has asked its client in vain.
        return "".join(letter if letter.isprintable() else "?" for letter in self.text)


class ClosedHere(NotDone):
    """The connection was closed, or broken off, on this side."""


class ClosedByPeer(NotDone):
    """The other end has closed in order, or has said that it is about to stop."""


class PeerAborted(ClosedByPeer):
    """
    The other end has closed at once, whatever was under way.

    :param code: why, see :class:`~sodiumtwist.core.v2.pdus.Code`; from 0x80000000 on it is the other application's.
    :param text: the same for a person, as the other end says it: show it with care.
    """

    def __init__(self, code: int, text: str) -> None:
        super().__init__(code, text)
        self.code = code
        self.text = text

    def __str__(self) -> str:
        return self.text


class TimedOut(NotDone):
    """It took too long."""


class RequestTimeout(TimedOut):
    """No answer to a request came in the time that was given. The connection lives on."""

    retry_can_help = False


class ClosingTimeout(TimedOut):
    """The other end did not close in order in time, after we had."""


class RemoteProtocolError(NotDone):
    """
    The peer broke the protocol, or is gone. The connection is over. In version 1 the peer is not told why. In version 2
    the core tells it, unless the peer could learn from that what it should not.
    """


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


class NotLetIn(RemoteProtocolError):
    """
    The server does not let us in. Nothing that was sent was acted on, as far as it says so: in version 1 it may leave
    without a word, and then nobody knows.
    """


class AuthenticationFailed(NotLetIn):
    """The login was refused (server); or the server took it and closed, or is none of this protocol (client)."""

    # It is refused again, and may be blocked for that.
    retry_can_help = False


class TooManyFailures(AuthenticationFailed):
    """Too many logins have failed, so this one was not checked. Later it will be."""

    retry_can_help = True


class AuthenticationTimeout(RemoteProtocolError, TimedOut):
    """
    The handshake took longer than allowed. To a client that was never let in it says that the server key is wrong, most
    likely: a server is silent then. To one that was, that the server is stopped or overloaded.
    """


class ServerUnavailable(NotLetIn):
    """
    The server says that it has no room or is about to stop. Or the connection ended before the server took the login:
    the server is full, or just starts or stops, or nothing is behind its port.
    """


class InactivityTimeout(RemoteProtocolError, TimedOut):
    """For too long no whole valid PDU came, and perhaps the peer took nothing of what was sent."""


class PongTimeout(RemoteProtocolError, TimedOut):
    """Nothing was heard of the peer since the largest allowed number of PINGs left."""


class ConnectionCut(RemoteProtocolError):
    """
    The connection ended before both ends had said that all was sent. Requests without an answer may have been acted
    on, or not.
    """
