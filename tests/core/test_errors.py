"""
Tests of :mod:`sodiumtwist.core.errors`.
"""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

import sodiumtwist
from sodiumtwist.core import errors
from sodiumtwist.core.connection import ClientConnection, Code, ServerConnection
from sodiumtwist.core.keepalive import Timeouts
from sodiumtwist.core.keys import KeyPair

from .peers import (
    CLOCK,
    CLOCK_BODY,
    DATA,
    NOW,
    PONG,
    SERVER_PAIR,
    PlainClient,
    deciding_server,
    flip,
    new_client,
    open_client,
    open_server,
    pack_header,
    waiting_client,
    wire_of,
)
from .v2.ends import open_pair as open_pair_of_version_2

#: Every class and its bases.
TREE = {
    "SodiumError": ("Exception",),
    "InvalidKey": ("SodiumError", "ValueError"),
    "LocalProtocolError": ("SodiumError",),
    "PayloadTooLarge": ("LocalProtocolError",),
    "UnsupportedProtocol": ("LocalProtocolError",),
    "TooManyRequests": ("LocalProtocolError",),
    "RequestError": ("SodiumError",),
    "NotDone": ("SodiumError",),
    "RequestFailed": ("NotDone",),
    "ClosedHere": ("NotDone",),
    "ClosedByPeer": ("NotDone",),
    "PeerAborted": ("ClosedByPeer",),
    "TimedOut": ("NotDone",),
    "RequestTimeout": ("TimedOut",),
    "ClosingTimeout": ("TimedOut",),
    "RemoteProtocolError": ("NotDone",),
    "MalformedPDU": ("RemoteProtocolError",),
    "UnexpectedPDU": ("RemoteProtocolError",),
    "WindowExceeded": ("RemoteProtocolError",),
    "DecryptionFailed": ("RemoteProtocolError",),
    "VersionMismatch": ("RemoteProtocolError",),
    "NonceMismatch": ("RemoteProtocolError",),
    "ReplayDetected": ("RemoteProtocolError",),
    "NotLetIn": ("RemoteProtocolError",),
    "AuthenticationFailed": ("NotLetIn",),
    "TooManyFailures": ("AuthenticationFailed",),
    "AuthenticationTimeout": ("RemoteProtocolError", "TimedOut"),
    "ServerUnavailable": ("NotLetIn",),
    "InactivityTimeout": ("RemoteProtocolError", "TimedOut"),
    "PongTimeout": ("RemoteProtocolError", "TimedOut"),
    "ConnectionCut": ("RemoteProtocolError",),
}


def invalid_key() -> None:
    """Keys: a server key of zeros."""
    ClientConnection(bytes(32), "username", "passphrase", NOW)


def local_protocol_error() -> None:
    """States: sending before the handshake."""
    wire_of(new_client().send_data, b"open sesame")


def payload_too_large() -> None:
    """Sending: one byte over the window."""
    wire_of(open_client()[0].send_data, b"open sesame".ljust(131071))


def malformed_pdu() -> None:
    """Receiving: an unknown type."""
    server, client = open_server()
    list(server.receive_data(client.push.pdu(9, b"open sesame"), NOW))


def unexpected_pdu() -> None:
    """Keepalive: a PONG without PING."""
    client, server = open_client()
    list(client.receive_data(server.push.pdu(PONG, CLOCK_BODY), NOW))


def window_exceeded() -> None:
    """Receiving: a header that announces too much."""
    server, client = open_server()
    list(server.receive_data(client.push.message(pack_header(DATA, 131071)), NOW))


def decryption_failed() -> None:
    """Secretstream: an altered body."""
    server, client = open_server()
    list(server.receive_data(flip(client.push.pdu(DATA, b"open sesame"), -1), NOW))


def version_mismatch() -> None:
    """Server's handshake: another version."""
    server = ServerConnection(SERVER_PAIR, NOW)
    list(server.receive_data(PlainClient().client_auth(version=2), NOW))
    server.receive_eof()


def nonce_mismatch() -> None:
    """Client's handshake: a hello that answers something else."""
    client, server = waiting_client()
    list(client.receive_data(server.server_helo(nonce=bytes(24)), NOW))


def replay_detected() -> None:
    """Server's handshake: its caller knows it."""
    server, _ = deciding_server()
    server.ignore()
    server.receive_eof()


def authentication_failed() -> None:
    """Client's handshake: the server hangs up."""
    waiting_client()[0].receive_eof()


def authentication_timeout() -> None:
    """Keepalive: a login nobody decided on."""
    deciding_server()[0].ping_due(NOW + 10)


def inactivity_timeout() -> None:
    """Keepalive: silence."""
    server, _ = open_server()
    assert server.ping_due(NOW + 100)
    wire_of(server.send_ping, NOW + 100, CLOCK)
    server.ping_due(NOW + 180)


def pong_timeout() -> None:
    """Keepalive: a PING without PONG."""
    client, _ = open_client(timeouts=Timeouts(inactivity=1000, outstanding_pongs=1))
    assert client.ping_due(NOW + 60)
    wire_of(client.send_ping, NOW + 60, CLOCK)
    client.ping_due(NOW + 179)


def connection_cut() -> None:
    """Version 2: a transport that ends before both ends have."""
    open_pair_of_version_2()[0].receive_eof()


#: Where each class comes from. The two bases are for catching; only the caller's errors have one that is raised itself.
RAISED_BY = {
    "InvalidKey": invalid_key,
    "LocalProtocolError": local_protocol_error,
    "PayloadTooLarge": payload_too_large,
    "MalformedPDU": malformed_pdu,
    "UnexpectedPDU": unexpected_pdu,
    "WindowExceeded": window_exceeded,
    "DecryptionFailed": decryption_failed,
    "VersionMismatch": version_mismatch,
    "NonceMismatch": nonce_mismatch,
    "ReplayDetected": replay_detected,
    "AuthenticationFailed": authentication_failed,
    "AuthenticationTimeout": authentication_timeout,
    "InactivityTimeout": inactivity_timeout,
    "PongTimeout": pong_timeout,
    "ConnectionCut": connection_cut,
}


class TreeTests(SynchronousTestCase):
    """
    The classes.
    """

    def classes(self) -> dict[str, type]:
        return {name: kind for name, kind in vars(errors).items() if isinstance(kind, type)}

    def test_tree(self) -> None:
        tree = {name: tuple(base.__name__ for base in kind.__bases__) for name, kind in self.classes().items()}
        self.assertEqual(tree, TREE)

    def test_retry_can_help(self) -> None:
        """Where the peer or the way to it may change; not where something here, or at the server, must be changed."""
        for name, kind in self.classes().items():
            vain = not issubclass(kind, errors.NotDone)
            vain = vain or name in ("AuthenticationFailed", "VersionMismatch", "RequestFailed", "RequestTimeout")
            self.assertIs(kind.retry_can_help, not vain, name)  # type: ignore[attr-defined]

    def test_docstring_names_all(self) -> None:
        for name in TREE:
            self.assertIn(name, errors.__doc__)

    def test_all_are_public(self) -> None:
        for name, kind in self.classes().items():
            self.assertIs(getattr(sodiumtwist, name), kind)
            self.assertIn(name, sodiumtwist.__all__)

    def test_all_are_described(self) -> None:
        for name, kind in self.classes().items():
            self.assertTrue(vars(kind).get("__doc__"), name)


class RaisedTests(SynchronousTestCase):
    """
    Each class is raised by the core, and says something.
    """

    def test_complete(self) -> None:
        # What becomes of requests, how a transport has ended, and what a peer gives as its reason, is for those above
        # the core to say; and here nothing is missing that would make a version unsupported.
        elsewhere = {"TooManyRequests", "ServerUnavailable", "UnsupportedProtocol", "TooManyFailures", "PeerAborted"}
        elsewhere |= {"RequestError", "RequestFailed", "RequestTimeout", "ClosingTimeout", "ClosedHere", "ClosedByPeer"}
        bases = {"SodiumError", "NotDone", "TimedOut", "NotLetIn", "RemoteProtocolError"}
        self.assertEqual(set(RAISED_BY), set(TREE) - bases - elsewhere)

    def test_raised(self) -> None:
        for name, place in RAISED_BY.items():
            error = self.assertRaises(errors.SodiumError, place)
            self.assertIs(type(error), getattr(errors, name))

    def test_messages(self) -> None:
        """They say something, on one line, and hold no secret."""
        for name, place in RAISED_BY.items():
            message = str(self.assertRaises(errors.SodiumError, place))
            self.assertGreater(len(message), 20, name)
            self.assertNotIn("\n", message, name)
            for secret in ("sesame", SERVER_PAIR.secret.hex(), "\\x11\\x11"):
                self.assertNotIn(secret, message, name)

    def test_wrong_passphrase_text_is_not_shown(self) -> None:
        pair = KeyPair.generate()
        error = self.assertRaises(
            errors.LocalProtocolError, ClientConnection, pair.public, "username", "open sesame" * 20, NOW
        )
        self.assertNotIn("sesame", str(error))


class NotDoneTests(SynchronousTestCase):
    """What ends a connection, for each request of it."""

    def test_of_request(self) -> None:
        """A copy, which has the same cause and reason."""
        for error in (errors.ConnectionCut("cut"), errors.PeerAborted(4, "bye"), errors.AuthenticationFailed("no")):
            error.code = error.code or 1
            error.__cause__ = ValueError()
            for safe in (True, False):
                copied = error.of_request(safe)
                self.assertIsNot(copied, error)
                self.assertEqual((type(copied), str(copied), copied.code), (type(error), str(error), error.code))
                self.assertIs(copied.__cause__, error.__cause__)
                self.assertIs(copied.safe_to_repeat, safe)
            self.assertIs(error.safe_to_repeat, True)

    def test_failures(self) -> None:
        """Some codes say that a request was not acted on; to one that is stopping, a new connection is made."""
        told = {code: errors.RequestFailed(code, "why") for code in (*Code, 0x80000000)}
        safe = {code for code, error in told.items() if error.safe_to_repeat}
        self.assertEqual(safe, {Code.NO_ROOM, Code.SHUTTING_DOWN, Code.TOO_LARGE, Code.NOT_SUPPORTED})
        self.assertEqual({code for code, error in told.items() if error.retry_can_help}, {Code.SHUTTING_DOWN})
        self.assertEqual((told[Code.STORAGE].code, str(told[Code.STORAGE])), (9, "why"))

    def test_failure_for_a_log(self) -> None:
        """What the other end says may get into a log unseen, and must not pass there for lines of its own."""
        error = errors.RequestFailed(7, "né\nroot is let in\x1b[2J")
        self.assertEqual(error.text, "né\nroot is let in\x1b[2J")
        for shown in (error, error.of_request(False)):
            self.assertEqual(str(shown), "né?root is let in?[2J")

    def test_request_error(self) -> None:
        error = errors.RequestError(Code.STORAGE, "disk full")
        self.assertEqual((error.code, error.text, str(error)), (9, "disk full", "disk full"))
