"""
A server's connection before it is open, against clients made by hand.
"""

from __future__ import annotations

import os
import weakref
from collections.abc import Callable

from sodiumtwist.core.connection import PENDING_LIMIT, ServerConnection
from sodiumtwist.core.errors import (
    AuthenticationFailed,
    AuthenticationTimeout,
    DecryptionFailed,
    LocalProtocolError,
    MalformedPDU,
    RemoteProtocolError,
    ReplayDetected,
    UnexpectedPDU,
    VersionMismatch,
    WindowExceeded,
)
from sodiumtwist.core.events import AuthenticationRequested, DataReceived, KeyProven, PingReceived
from sodiumtwist.core.keys import KeyPair
from sodiumtwist.core.states import State
from sodiumtwist.core.v1.handshake import ServerHandshake

from ..assertions import ConnectionTestCase
from ..peers import (
    CLOCK,
    CLOCK_BODY,
    DATA,
    NONCE,
    NOW,
    PING,
    PONG,
    SERVER_HELO,
    SERVER_PAIR,
    WEAK_KEYS,
    WINDOW,
    AuthFields,
    PlainClient,
    deciding_server,
    pack_client_auth,
    pack_header,
    plus_one,
    silent_server,
    the_request,
    unproven_server,
    wire_of,
)


class ServerHandshakeTests(ConnectionTestCase):
    """
    A server before it is authenticated.
    """

    def test_request(self) -> None:
        server, client = ServerConnection(SERVER_PAIR, NOW), PlainClient()
        events = list(server.receive_data(client.client_auth(), NOW))
        self.assertEqual(events, [AuthenticationRequested("username", "passphrase", client.public)])
        self.assertIs(server.state, State.DECIDING)
        self.assertEqual(server.buffered, 0)

    def test_waits_for_400_bytes(self) -> None:
        server, sealed = ServerConnection(SERVER_PAIR, NOW), PlainClient().client_auth()
        self.assertEqual(list(server.receive_data(sealed[:399], NOW)), [])
        self.assertEqual(server.buffered, 399)
        self.assertIs(server.state, State.AWAITING_CLIENT_AUTH)
        self.assertEqual(len(list(server.receive_data(sealed[399:], NOW))), 1)

    def test_longest_texts(self) -> None:
        """All 128 bytes, so without a NUL."""
        server = ServerConnection(SERVER_PAIR, NOW)
        sealed = PlainClient().client_auth(login=b"l" * 128, passphrase="\u00e9".encode() * 64)
        request = the_request(server.receive_data(sealed, NOW))
        self.assertEqual((request.login, request.passphrase), ("l" * 128, "\u00e9" * 64))

    def test_accept(self) -> None:
        server, client = deciding_server()
        sealed = wire_of(server.accept, NOW)
        self.assertEqual(len(sealed), 236)
        plain = client.read_server_helo(sealed)
        self.assertEqual(plain[:12], bytes.fromhex("baadc0de 00000002 000000b0"))
        self.assertEqual(plain[12:36], plus_one(NONCE))
        self.assertEqual(plain[60:], b"Welcome." + bytes(120))
        self.assertIs(server.state, State.OPEN)

    def test_accept_with_message(self) -> None:
        for message in ("", "Hello, J\u00f6rg", "m" * 128):
            server, client = deciding_server()
            plain = client.read_server_helo(wire_of(server.accept, NOW, message))
            self.assertEqual(plain[60:], message.encode().ljust(128, b"\0"))

    def test_message_that_does_not_fit(self) -> None:
        """The login stays undecided."""
        server, client = deciding_server()
        for message in ("m" * 129, "a\0b"):
            error = self.assertRaises(LocalProtocolError, server.accept, NOW, message)
            self.assertIn("message", str(error))
            self.assertIs(server.state, State.DECIDING)
        self.assertEqual(len(client.read_server_helo(wire_of(server.accept, NOW, "m" * 128))), 188)

    def test_reject(self) -> None:
        server, client = deciding_server()
        list(server.receive_data(client.push.pdu(DATA, b"early"), NOW))
        server.reject()
        self.assertOver(server)
        with self.assertRaises(LocalProtocolError):
            wire_of(server.accept, NOW)
        with self.assertRaises(LocalProtocolError):
            server.reject()

    def test_early_data_in_the_same_segment(self) -> None:
        server, client = ServerConnection(SERVER_PAIR, NOW), PlainClient()
        segment = client.client_auth() + client.push.pdu(DATA, b"early") + client.push.pdu(PING, CLOCK_BODY)
        events = server.receive_data(segment, NOW)
        self.assertIsInstance(next(events), AuthenticationRequested)
        wire_of(server.accept, NOW)
        self.assertEqual(list(events), [DataReceived(b"early"), PingReceived(CLOCK)])
        self.assertEqual(server.buffered, 0)

    def test_undecided_login_holds_events_back(self) -> None:
        server, client = ServerConnection(SERVER_PAIR, NOW), PlainClient()
        segment = client.client_auth() + client.push.pdu(DATA, b"first")
        self.assertEqual(len(list(server.receive_data(segment, NOW))), 1)
        self.assertEqual(list(server.receive_data(client.push.pdu(DATA, b"second"), NOW)), [])
        self.assertEqual(list(server.events(NOW)), [])
        self.assertEqual(server.buffered, 46 + 5 + 46 + 6)
        self.assertIs(server.state, State.DECIDING)
        client.read_server_helo(wire_of(server.accept, NOW + 5))
        self.assertEqual(list(server.events(NOW + 5)), [DataReceived(b"first"), DataReceived(b"second")])

    def test_undecided_login_holds_errors_back(self) -> None:
        server, _ = deciding_server()
        self.assertEqual(list(server.receive_data(bytes(100), NOW)), [])
        self.assertIs(server.state, State.DECIDING)
        wire_of(server.accept, NOW)
        self.assertRefuses(server, b"", DecryptionFailed)

    def test_second_client_auth_while_undecided(self) -> None:
        """It is no second request: it is taken for a stream PDU, once there is a stream."""
        server, client = deciding_server()
        self.assertEqual(list(server.receive_data(client.client_auth(), NOW)), [])
        wire_of(server.accept, NOW)
        self.assertRefuses(server, b"", DecryptionFailed)

    def test_one_largest_pdu_may_wait(self) -> None:
        self.assertEqual(PENDING_LIMIT, WINDOW + 46)

    def test_other_server_key(self) -> None:
        self.assertIgnores(ServerConnection(KeyPair.generate(), NOW), PlainClient().client_auth())

    def test_garbage(self) -> None:
        for data in (bytes(400), os.urandom(400), b"GET / HTTP/1.1\r\n" * 25):
            self.assertIgnores(ServerConnection(SERVER_PAIR, NOW), data)

    def test_client_auth_in_clear(self) -> None:
        client = PlainClient()
        plain = pack_client_auth(client.public, client.push.header) + bytes(48)
        self.assertIgnores(ServerConnection(SERVER_PAIR, NOW), plain)

    def test_stream_pdu_before_client_auth(self) -> None:
        self.assertIgnores(ServerConnection(SERVER_PAIR, NOW), PlainClient().push.pdu(DATA, bytes(400)))

    def test_ignored_peer_leaves(self) -> None:
        """Then the error tells why nothing came of it."""
        server = silent_server()
        with self.assertRaises(DecryptionFailed):
            server.receive_eof()
        self.assertOver(server)

    def test_ignored_connection_is_closed(self) -> None:
        server = silent_server()
        server.close()
        self.assertOver(server)

    def test_replay(self) -> None:
        """When the caller has seen the fingerprint before, it is as if the handshake did not open."""
        server, client = deciding_server()
        list(server.receive_data(client.push.pdu(DATA, b"recorded"), NOW))
        server.ignore()
        self.assertSilent(server, ReplayDetected)
        server, _ = deciding_server()
        server.ignore()
        with self.assertRaises(ReplayDetected):
            server.receive_eof()

    def test_fingerprint(self) -> None:
        """The same for the same 400 bytes, another for any others of the same client."""
        client = PlainClient()
        first, second = client.client_auth(), client.client_auth()
        prints = []
        for sealed in (first, first, second):
            request = the_request(ServerConnection(SERVER_PAIR, NOW).receive_data(sealed, NOW))
            prints.append(request.fingerprint)
        self.assertEqual([len(fingerprint) for fingerprint in prints], [16] * 3)
        self.assertEqual(prints[0], prints[1])
        self.assertNotEqual(prints[0], prints[2])

    def test_time_of_closing(self) -> None:
        """It is drawn for each connection, and does not depend on what was received."""
        for data in (b"", b"x", bytes(399), bytes(400), bytes(401), bytes(5000)):
            server = ServerConnection(SERVER_PAIR, NOW, draw=lambda: 0.25)
            list(server.receive_data(data, NOW + 3))
            self.assertEqual(server.deadline(), NOW + 9.75)
            self.assertIs(server.ping_due(NOW + 9.7), False)
            with self.assertRaises(RemoteProtocolError):
                server.ping_due(NOW + 9.75)

    def test_wrong_fields(self) -> None:
        """Who says them learns no more than one who says nothing that opens."""
        wrong: list[tuple[AuthFields, type[RemoteProtocolError]]] = [
            ({"magic": 0xBAADC0DF}, MalformedPDU),
            ({"pdu_type": 6}, MalformedPDU),
            ({"size": 341}, MalformedPDU),
            ({"size": 131071}, WindowExceeded),
            ({"pdu_type": SERVER_HELO}, UnexpectedPDU),
            ({"pdu_type": DATA}, UnexpectedPDU),
            ({"pdu_type": PING}, UnexpectedPDU),
            ({"pdu_type": PONG}, UnexpectedPDU),
            ({"version": 0xDEADCAFF}, VersionMismatch),
            ({"login": b"\xff"}, MalformedPDU),
            ({"passphrase": b"\xff"}, MalformedPDU),
        ]
        for fields, expected in wrong:
            client = PlainClient()
            segment = client.client_auth(**fields) + client.push.pdu(DATA, b"behind")
            self.assertIgnores(ServerConnection(SERVER_PAIR, NOW), segment, expected)

    def test_weak_client_key(self) -> None:
        """With such a key nobody can be told that the rest was right."""
        for key in WEAK_KEYS:
            client = PlainClient()
            self.assertIgnores(ServerConnection(SERVER_PAIR, NOW), client.client_auth(public_key=key))

    def test_the_passphrase_is_forgotten(self) -> None:
        """As soon as it is told, and the rest of the handshake when that was decided on."""
        ways: list[Callable[[ServerConnection], object]] = [
            lambda server: wire_of(server.accept, NOW),
            ServerConnection.close,
            ServerConnection.ignore,
        ]
        for decide in ways:
            server, _ = deciding_server()
            assert isinstance(server._handshake, ServerHandshake)
            kept = server._handshake._auth
            assert kept is not None
            self.assertEqual((kept.login, kept.passphrase), ("username", ""))
            auth = weakref.ref(kept)
            del kept
            decide(server)
            self.assertIsNone(auth())

    def test_close_while_undecided(self) -> None:
        server, client = deciding_server()
        list(server.receive_data(client.push.pdu(DATA, b"early"), NOW))
        server.close()
        self.assertOver(server)


class ProofTests(ConnectionTestCase):
    """
    A server that wants to see that the client has the key it claims.
    """

    def test_first_pdu(self) -> None:
        """It is the proof, whatever it is, and comes behind it."""
        for pdu_type, body, event in [
            (DATA, b"hello", DataReceived(b"hello")),
            (DATA, b"", DataReceived(b"")),
            (PING, CLOCK_BODY, PingReceived(CLOCK)),
        ]:
            server, client = unproven_server()
            self.assertEqual(list(server.receive_data(client.push.pdu(pdu_type, body), NOW)), [KeyProven(), event])
            self.assertIs(server.state, State.OPEN)
            wire_of(server.send_data, b"answer")

    def test_cut_anywhere(self) -> None:
        """The proof is the header, which only the right key seals."""
        server, client = unproven_server()
        pdu = client.push.pdu(DATA, b"hello")
        events = [list(server.receive_data(pdu[place : place + 1], NOW)) for place in range(len(pdu))]
        self.assertEqual(events, [[]] * 28 + [[KeyProven()]] + [[]] * 21 + [[DataReceived(b"hello")]])

    def test_early(self) -> None:
        """It may lie behind the handshake already."""
        server, client = ServerConnection(SERVER_PAIR, NOW), PlainClient()
        events = server.receive_data(client.client_auth() + client.push.pdu(PING, CLOCK_BODY), NOW)
        self.assertIsInstance(next(events), AuthenticationRequested)
        wire_of(server.accept, NOW, prove=True)
        self.assertEqual(list(events), [KeyProven(), PingReceived(CLOCK)])

    def test_somebody_elses_key(self) -> None:
        """Who claims a key without having it can't make the first PDU."""
        server = ServerConnection(SERVER_PAIR, NOW)
        owner, impostor = PlainClient(), PlainClient()
        list(server.receive_data(impostor.client_auth(public_key=owner.public), NOW))
        wire_of(server.accept, NOW, prove=True)
        self.assertRefuses(server, impostor.push.pdu(DATA, b"hello"), DecryptionFailed)

    def test_nothing_is_sent_before(self) -> None:
        server, _ = unproven_server()
        self.assertCannotSend(server)

    def test_time(self) -> None:
        """That for authentication goes on; that of an open connection begins with the proof."""
        server, client = unproven_server(draw=lambda: 0)
        self.assertEqual(server.deadline(), NOW + 10)
        with self.assertRaises(AuthenticationTimeout) as raised:
            server.ping_due(NOW + 10)
        self.assertIn("did not show that it has the key", str(raised.exception))
        server, client = unproven_server(draw=lambda: 0)
        list(server.receive_data(client.push.pdu(DATA), NOW + 9))
        self.assertEqual(server.deadline(), NOW + 69)

    def test_client_leaves(self) -> None:
        server, client = unproven_server()
        with self.assertRaises(AuthenticationFailed):
            server.receive_eof()
        server, client = unproven_server()
        list(server.receive_data(client.push.pdu(DATA)[:28], NOW))
        with self.assertRaises(MalformedPDU):
            server.receive_eof()

    def test_wrong_first_pdu(self) -> None:
        """It proves the key, and is an error all the same, before anything is served."""
        for header, expected in [
            (pack_header(SERVER_HELO, 176), UnexpectedPDU),
            (pack_header(DATA, WINDOW + 1), WindowExceeded),
            (pack_header(9, 0), MalformedPDU),
        ]:
            server, client = unproven_server()
            self.assertRefuses(server, client.push.message(header), expected)
