"""
Tests of :mod:`sodiumtwist.core.connection`, against peers made by hand.
"""

from __future__ import annotations

import array
import math
import os
import struct
import weakref

from twisted.trial.unittest import SynchronousTestCase

from sodiumtwist.core.connection import PENDING_LIMIT, ClientConnection, ServerConnection
from sodiumtwist.core.errors import (
    AuthenticationFailed,
    AuthenticationTimeout,
    DecryptionFailed,
    InactivityTimeout,
    InvalidKey,
    LocalProtocolError,
    MalformedPDU,
    NonceMismatch,
    PayloadTooLarge,
    PongTimeout,
    RemoteProtocolError,
    ReplayDetected,
    UnexpectedPDU,
    VersionMismatch,
    WindowExceeded,
)
from sodiumtwist.core.events import (
    Authenticated,
    AuthenticationRequested,
    DataReceived,
    KeyProven,
    PingReceived,
    PongReceived,
)
from sodiumtwist.core.keepalive import Timeouts
from sodiumtwist.core.keys import KeyPair
from sodiumtwist.core.secretstream import RekeyAfter
from sodiumtwist.core.states import State

from .peers import (
    CLIENT_AUTH,
    CLOCK,
    CLOCK_BODY,
    DATA,
    NONCE,
    NOW,
    PING,
    PONG,
    SERVER_HELO,
    SERVER_PAIR,
    TAG_FINAL,
    TAG_MESSAGE,
    TAG_PUSH,
    TAG_REKEY,
    WEAK_KEYS,
    WINDOW,
    PlainClient,
    PlainServer,
    deciding_server,
    flip,
    new_client,
    open_client,
    open_pair,
    open_server,
    pack_client_auth,
    pack_header,
    plus_one,
    silent_server,
    take,
    unproven_server,
    waiting_client,
)


class ConnectionTestCase(SynchronousTestCase):
    """
    Assertions about connections.
    """

    def assertCannotSend(self, connection):
        """No stream PDU leaves."""
        with self.assertRaises(LocalProtocolError):
            connection.send_data(b"")
        with self.assertRaises(LocalProtocolError):
            connection.send_ping(NOW, CLOCK)
        with self.assertRaises(LocalProtocolError):
            connection.send_pong(CLOCK)

    def assertOver(self, connection):
        """Closed, and whatever comes or is asked for now gives nothing."""
        self.assertIs(connection.state, State.CLOSED)
        self.assertEqual(connection.buffered, 0)
        self.assertEqual(list(connection.events(NOW)), [])
        self.assertEqual(list(connection.receive_data(bytes(1000), NOW)), [])
        self.assertEqual(connection.buffered, 0)
        self.assertCannotSend(connection)
        self.assertIs(connection.ping_due(NOW + 1_000_000), False)

    def assertRefuses(self, connection, data, expected, events=()):
        """The bytes give these events, then this error, and that is the end."""
        taken, error = take(connection.receive_data(data, NOW))
        self.assertEqual(taken, list(events))
        self.assertIs(type(error), expected)
        self.assertOver(connection)
        return error

    def assertIgnores(self, server, data):
        """Nothing comes of the bytes or of any that follow, and at the deadline the error."""
        taken, error = take(server.receive_data(data, NOW))
        self.assertEqual((taken, error), ([], None))
        self.assertSilent(server, DecryptionFailed)

    def assertSilent(self, server, expected):
        self.assertIs(server.state, State.SILENT)
        for more in (b"", b"x", os.urandom(400), bytes(200_000)):
            self.assertEqual(take(server.receive_data(more, NOW)), ([], None))
            self.assertEqual(server.buffered, 0)
        self.assertCannotSend(server)
        deadline = server.deadline()
        self.assertGreater(deadline, NOW + 8.9)
        self.assertLessEqual(deadline, NOW + 10)
        self.assertIs(server.ping_due(NOW + 8.9), False)
        with self.assertRaises(expected):
            server.ping_due(deadline)
        self.assertOver(server)


class ServerHandshakeTests(ConnectionTestCase):
    """
    A server before it is authenticated.
    """

    def test_request(self):
        server, client = ServerConnection(SERVER_PAIR, NOW), PlainClient()
        events = list(server.receive_data(client.client_auth(), NOW))
        self.assertEqual(events, [AuthenticationRequested("username", "passphrase", client.public)])
        self.assertIs(server.state, State.DECIDING)
        self.assertEqual(server.buffered, 0)

    def test_waits_for_400_bytes(self):
        server, sealed = ServerConnection(SERVER_PAIR, NOW), PlainClient().client_auth()
        self.assertEqual(list(server.receive_data(sealed[:399], NOW)), [])
        self.assertEqual(server.buffered, 399)
        self.assertIs(server.state, State.AWAITING_CLIENT_AUTH)
        self.assertEqual(len(list(server.receive_data(sealed[399:], NOW))), 1)

    def test_longest_texts(self):
        """All 128 bytes, so without a NUL."""
        server = ServerConnection(SERVER_PAIR, NOW)
        sealed = PlainClient().client_auth(login=b"l" * 128, passphrase="\u00e9".encode() * 64)
        (request,) = server.receive_data(sealed, NOW)
        self.assertEqual((request.login, request.passphrase), ("l" * 128, "\u00e9" * 64))

    def test_accept(self):
        server, client = deciding_server()
        sealed = server.accept(NOW)
        self.assertEqual(len(sealed), 236)
        plain = client.read_server_helo(sealed)
        self.assertEqual(plain[:12], bytes.fromhex("baadc0de 00000002 000000b0"))
        self.assertEqual(plain[12:36], plus_one(NONCE))
        self.assertEqual(plain[60:], b"Welcome." + bytes(120))
        self.assertIs(server.state, State.OPEN)

    def test_accept_with_message(self):
        for message in ("", "Hello, J\u00f6rg", "m" * 128):
            server, client = deciding_server()
            plain = client.read_server_helo(server.accept(NOW, message))
            self.assertEqual(plain[60:], message.encode().ljust(128, b"\0"))

    def test_message_that_does_not_fit(self):
        """The login stays undecided."""
        server, client = deciding_server()
        for message in ("m" * 129, "a\0b"):
            error = self.assertRaises(LocalProtocolError, server.accept, NOW, message)
            self.assertIn("message", str(error))
            self.assertIs(server.state, State.DECIDING)
        self.assertEqual(len(client.read_server_helo(server.accept(NOW, "m" * 128))), 188)

    def test_reject(self):
        server, client = deciding_server()
        list(server.receive_data(client.push.pdu(DATA, b"early"), NOW))
        self.assertIsNone(server.reject())
        self.assertOver(server)
        with self.assertRaises(LocalProtocolError):
            server.accept(NOW)
        with self.assertRaises(LocalProtocolError):
            server.reject()

    def test_early_data_in_the_same_segment(self):
        server, client = ServerConnection(SERVER_PAIR, NOW), PlainClient()
        segment = client.client_auth() + client.push.pdu(DATA, b"early") + client.push.pdu(PING, CLOCK_BODY)
        events = server.receive_data(segment, NOW)
        self.assertIsInstance(next(events), AuthenticationRequested)
        server.accept(NOW)
        self.assertEqual(list(events), [DataReceived(b"early"), PingReceived(CLOCK)])
        self.assertEqual(server.buffered, 0)

    def test_undecided_login_holds_events_back(self):
        server, client = ServerConnection(SERVER_PAIR, NOW), PlainClient()
        segment = client.client_auth() + client.push.pdu(DATA, b"first")
        self.assertEqual(len(list(server.receive_data(segment, NOW))), 1)
        self.assertEqual(list(server.receive_data(client.push.pdu(DATA, b"second"), NOW)), [])
        self.assertEqual(list(server.events(NOW)), [])
        self.assertEqual(server.buffered, 46 + 5 + 46 + 6)
        self.assertIs(server.state, State.DECIDING)
        client.read_server_helo(server.accept(NOW + 5))
        self.assertEqual(list(server.events(NOW + 5)), [DataReceived(b"first"), DataReceived(b"second")])

    def test_undecided_login_holds_errors_back(self):
        server, _ = deciding_server()
        self.assertEqual(list(server.receive_data(bytes(100), NOW)), [])
        self.assertIs(server.state, State.DECIDING)
        server.accept(NOW)
        self.assertRefuses(server, b"", DecryptionFailed)

    def test_second_client_auth_while_undecided(self):
        """It is no second request: it is taken for a stream PDU, once there is a stream."""
        server, client = deciding_server()
        self.assertEqual(list(server.receive_data(client.client_auth(), NOW)), [])
        server.accept(NOW)
        self.assertRefuses(server, b"", DecryptionFailed)

    def test_one_largest_pdu_may_wait(self):
        self.assertEqual(PENDING_LIMIT, WINDOW + 46)

    def test_other_server_key(self):
        self.assertIgnores(ServerConnection(KeyPair.generate(), NOW), PlainClient().client_auth())

    def test_garbage(self):
        for data in (bytes(400), os.urandom(400), b"GET / HTTP/1.1\r\n" * 25):
            self.assertIgnores(ServerConnection(SERVER_PAIR, NOW), data)

    def test_client_auth_in_clear(self):
        client = PlainClient()
        plain = pack_client_auth(client.public, client.push.header) + bytes(48)
        self.assertIgnores(ServerConnection(SERVER_PAIR, NOW), plain)

    def test_stream_pdu_before_client_auth(self):
        self.assertIgnores(ServerConnection(SERVER_PAIR, NOW), PlainClient().push.pdu(DATA, bytes(400)))

    def test_ignored_peer_leaves(self):
        """Then the error tells why nothing came of it."""
        server = silent_server()
        with self.assertRaises(DecryptionFailed):
            server.receive_eof()
        self.assertOver(server)

    def test_ignored_connection_is_closed(self):
        server = silent_server()
        server.close()
        self.assertOver(server)

    def test_replay(self):
        """When the caller has seen the fingerprint before, it is as if the handshake did not open."""
        server, client = deciding_server()
        list(server.receive_data(client.push.pdu(DATA, b"recorded"), NOW))
        server.ignore()
        self.assertSilent(server, ReplayDetected)
        server, _ = deciding_server()
        server.ignore()
        with self.assertRaises(ReplayDetected):
            server.receive_eof()

    def test_fingerprint(self):
        """The same for the same 400 bytes, another for any others of the same client."""
        client = PlainClient()
        first, second = client.client_auth(), client.client_auth()
        prints = []
        for sealed in (first, first, second):
            (request,) = ServerConnection(SERVER_PAIR, NOW).receive_data(sealed, NOW)
            prints.append(request.fingerprint)
        self.assertEqual([len(fingerprint) for fingerprint in prints], [16] * 3)
        self.assertEqual(prints[0], prints[1])
        self.assertNotEqual(prints[0], prints[2])

    def test_time_of_closing(self):
        """It is drawn for each connection, and does not depend on what was received."""
        for data in (b"", b"x", bytes(399), bytes(400), bytes(401), bytes(5000)):
            server = ServerConnection(SERVER_PAIR, NOW, draw=lambda: 0.25)
            list(server.receive_data(data, NOW + 3))
            self.assertEqual(server.deadline(), NOW + 9.75)
            self.assertIs(server.ping_due(NOW + 9.7), False)
            with self.assertRaises(RemoteProtocolError):
                server.ping_due(NOW + 9.75)

    def test_wrong_fields(self):
        for fields, expected in [
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
        ]:
            client = PlainClient()
            segment = client.client_auth(**fields) + client.push.pdu(DATA, b"behind")
            self.assertRefuses(ServerConnection(SERVER_PAIR, NOW), segment, expected)

    def test_weak_client_key(self):
        """Found out when a secret must be shared, at ``accept()``."""
        for key in WEAK_KEYS:
            server, client = ServerConnection(SERVER_PAIR, NOW), PlainClient()
            (request,) = server.receive_data(client.client_auth(public_key=key), NOW)
            self.assertEqual(request.public_key, key)
            with self.assertRaises(DecryptionFailed):
                server.accept(NOW)
            self.assertOver(server)

    def test_weak_client_key_can_be_rejected(self):
        server = ServerConnection(SERVER_PAIR, NOW)
        list(server.receive_data(PlainClient().client_auth(public_key=bytes(32)), NOW))
        server.reject()
        self.assertOver(server)

    def test_the_passphrase_is_forgotten(self):
        """As soon as it is told, and the rest of the handshake when that was decided on."""
        for decide in (lambda server: server.accept(NOW), ServerConnection.close, ServerConnection.ignore):
            server, _ = deciding_server()
            self.assertEqual((server._auth.login, server._auth.passphrase), ("username", ""))
            auth = weakref.ref(server._auth)
            decide(server)
            self.assertIsNone(auth())

    def test_close_while_undecided(self):
        server, client = deciding_server()
        list(server.receive_data(client.push.pdu(DATA, b"early"), NOW))
        server.close()
        self.assertOver(server)


class ProofTests(ConnectionTestCase):
    """
    A server that wants to see that the client has the key it claims.
    """

    def test_first_pdu(self):
        """It is the proof, whatever it is, and comes behind it."""
        for pdu_type, body, event in [
            (DATA, b"hello", DataReceived(b"hello")),
            (DATA, b"", DataReceived(b"")),
            (PING, CLOCK_BODY, PingReceived(CLOCK)),
        ]:
            server, client = unproven_server()
            self.assertEqual(list(server.receive_data(client.push.pdu(pdu_type, body), NOW)), [KeyProven(), event])
            self.assertIs(server.state, State.OPEN)
            server.send_data(b"answer")

    def test_cut_anywhere(self):
        """The proof is the header, which only the right key seals."""
        server, client = unproven_server()
        pdu = client.push.pdu(DATA, b"hello")
        events = [list(server.receive_data(pdu[place : place + 1], NOW)) for place in range(len(pdu))]
        self.assertEqual(events, [[]] * 28 + [[KeyProven()]] + [[]] * 21 + [[DataReceived(b"hello")]])

    def test_early(self):
        """It may lie behind the handshake already."""
        server, client = ServerConnection(SERVER_PAIR, NOW), PlainClient()
        events = server.receive_data(client.client_auth() + client.push.pdu(PING, CLOCK_BODY), NOW)
        self.assertIsInstance(next(events), AuthenticationRequested)
        server.accept(NOW, prove=True)
        self.assertEqual(list(events), [KeyProven(), PingReceived(CLOCK)])

    def test_somebody_elses_key(self):
        """Who claims a key without having it can't make the first PDU."""
        server = ServerConnection(SERVER_PAIR, NOW)
        owner, impostor = PlainClient(), PlainClient()
        list(server.receive_data(impostor.client_auth(public_key=owner.public), NOW))
        server.accept(NOW, prove=True)
        self.assertRefuses(server, impostor.push.pdu(DATA, b"hello"), DecryptionFailed)

    def test_nothing_is_sent_before(self):
        server, _ = unproven_server()
        self.assertCannotSend(server)

    def test_time(self):
        """That for authentication goes on; that of an open connection begins with the proof."""
        server, client = unproven_server(draw=lambda: 0)
        self.assertEqual(server.deadline(), NOW + 10)
        with self.assertRaises(AuthenticationTimeout) as raised:
            server.ping_due(NOW + 10)
        self.assertIn("did not show that it has the key", str(raised.exception))
        server, client = unproven_server(draw=lambda: 0)
        list(server.receive_data(client.push.pdu(DATA), NOW + 9))
        self.assertEqual(server.deadline(), NOW + 69)

    def test_client_leaves(self):
        server, client = unproven_server()
        with self.assertRaises(AuthenticationFailed):
            server.receive_eof()
        server, client = unproven_server()
        list(server.receive_data(client.push.pdu(DATA)[:28], NOW))
        with self.assertRaises(MalformedPDU):
            server.receive_eof()

    def test_wrong_first_pdu(self):
        """It proves the key, and is an error all the same, before anything is served."""
        for header, expected in [
            (pack_header(SERVER_HELO, 176), UnexpectedPDU),
            (pack_header(DATA, WINDOW + 1), WindowExceeded),
            (pack_header(9, 0), MalformedPDU),
        ]:
            server, client = unproven_server()
            self.assertRefuses(server, client.push.message(header), expected)


class RekeyTests(ConnectionTestCase):
    """
    A new key for sending, when much was sent under one or it is old.
    """

    def tags(self, pull, wire):
        """The tags of the messages of the PDUs in it."""
        tags, start = [], 0
        while start < len(wire):
            header, tag = pull.message(wire[start : start + 29])
            size = int.from_bytes(header[8:], "big")
            tags += [tag, pull.message(wire[start + 29 : start + 46 + size])[1]]
            start += 46 + size
        return tags

    def ends(self, **options):
        server, client = open_server(**options)
        yield server, client.pull
        client, server = open_client(**options)
        yield client, server.pull

    def test_size(self):
        """The body that reaches it has the tag, and a reader who knows nothing of it follows."""
        for connection, pull in self.ends(rekey=RekeyAfter(size=100)):
            wire = b"".join(connection.send_data(b"x" * size) for size in (7, 0, 54, 53, 200, 1))
            bodies = [TAG_MESSAGE, TAG_MESSAGE, TAG_REKEY, TAG_MESSAGE, TAG_REKEY, TAG_MESSAGE]
            tags = self.tags(pull, wire)
            self.assertEqual(tags[::2], [TAG_MESSAGE] * 6)
            self.assertEqual(tags[1::2], bodies)

    def test_default_size(self):
        self.assertEqual(RekeyAfter(), RekeyAfter(2**30, 3600))
        server, client = open_server()
        server._push.rekey_in = 100
        self.assertEqual(self.tags(client.pull, server.send_data(bytes(54))), [TAG_MESSAGE, TAG_REKEY])
        self.assertEqual(server._push.rekey_in, 2**30)

    def test_time(self):
        """The first PDU after it has the tag, however long that takes."""
        for connection, pull in self.ends(
            rekey=RekeyAfter(seconds=20), draw=lambda: 0, timeouts=Timeouts(inactivity=1000, ping_interval=1000)
        ):
            self.assertEqual(connection.deadline(), NOW + 20)
            self.assertIs(connection.ping_due(NOW + 20), False)
            self.assertEqual(connection.deadline(), NOW + 40)
            self.assertEqual(self.tags(pull, connection.send_data(b"x")), [TAG_MESSAGE, TAG_REKEY])
            self.assertEqual(self.tags(pull, connection.send_data(b"x")), [TAG_MESSAGE, TAG_MESSAGE])

    def test_pair(self):
        """Two of our own ends, both with a new key at every PDU."""
        client, server = open_pair(rekey=RekeyAfter(size=1))
        for number in range(100):
            payload = b"%d" % number
            self.assertEqual(list(server.receive_data(client.send_data(payload), NOW)), [DataReceived(payload)])
            self.assertEqual(list(client.receive_data(server.send_data(payload), NOW)), [DataReceived(payload)])

    def test_early(self):
        """A client's stream counts from its beginning."""
        client, server = waiting_client(rekey=RekeyAfter(size=1))
        self.assertEqual(self.tags(server.pull, client.send_data(b"early")), [TAG_MESSAGE, TAG_REKEY])

    def test_impossible(self):
        for arguments in ({"size": 0}, {"seconds": 0}, {"seconds": math.inf}, {"seconds": math.nan}):
            self.assertRaises(LocalProtocolError, RekeyAfter, **arguments)


class ClientHandshakeTests(ConnectionTestCase):
    """
    A client before it is authenticated.
    """

    def test_initiate(self):
        client, server = new_client(nonce=NONCE), PlainServer()
        sealed = client.initiate()
        self.assertEqual(len(sealed), 400)
        plain = server.read_client_auth(sealed)
        self.assertEqual(plain, pack_client_auth(server.client_key, plain[40:64]))
        self.assertIs(client.state, State.AWAITING_SERVER_HELO)

    def test_a_key_pair_of_each_connection(self):
        keys = set()
        for _ in range(3):
            keys.add(waiting_client()[1].client_key)
        self.assertEqual(len(keys), 3)

    def test_given_key_pair(self):
        pair = KeyPair.generate()
        self.assertEqual(waiting_client(pair=pair)[1].client_key, pair.public)

    def test_initiate_once(self):
        client = new_client()
        client.initiate()
        with self.assertRaises(LocalProtocolError):
            client.initiate()

    def test_authenticated(self):
        client, server = waiting_client()
        self.assertEqual(list(client.receive_data(server.server_helo(), NOW)), [Authenticated("Welcome.")])
        self.assertIs(client.state, State.OPEN)

    def test_waits_for_236_bytes(self):
        client, server = waiting_client()
        sealed = server.server_helo()
        self.assertEqual(list(client.receive_data(sealed[:235], NOW)), [])
        self.assertEqual(client.buffered, 235)
        self.assertEqual(list(client.receive_data(sealed[235:], NOW)), [Authenticated("Welcome.")])

    def test_message(self):
        for field, message in [(b"", ""), (b"m" * 128, "m" * 128), (b"caf\xe9", "caf\ufffd"), (b"a\0\xff", "a")]:
            client, server = waiting_client()
            events = list(client.receive_data(server.server_helo(message=field), NOW))
            self.assertEqual(events, [Authenticated(message)])

    def test_data_behind_the_hello(self):
        client, server = waiting_client()
        segment = server.server_helo() + server.push.pdu(DATA, b"hello")
        self.assertEqual(list(client.receive_data(segment, NOW)), [Authenticated("Welcome."), DataReceived(b"hello")])

    def test_send_before_the_hello(self):
        client, server = waiting_client()
        sealed = client.send_data(b"early") + client.send_ping(NOW, CLOCK) + client.send_pong(CLOCK)
        self.assertEqual(server.pull.pdus(sealed), [(DATA, b"early"), (PING, CLOCK_BODY), (PONG, CLOCK_BODY)])
        segment = server.server_helo() + server.push.pdu(PONG, CLOCK_BODY)
        events = list(client.receive_data(segment, NOW + 2))
        self.assertEqual(events, [Authenticated("Welcome."), PongReceived(CLOCK, 2)])
        self.assertEqual(server.pull.pdus(client.send_data(b"later")), [(DATA, b"later")])

    def test_wrong_nonce(self):
        for nonce in (NONCE, bytes(24), plus_one(plus_one(NONCE)), plus_one(NONCE)[::-1]):
            client, server = waiting_client(nonce=NONCE)
            segment = server.server_helo(nonce=nonce) + server.push.pdu(DATA, b"behind")
            self.assertRefuses(client, segment, NonceMismatch)

    def test_nonce_wraps(self):
        client, server = waiting_client(nonce=b"\xff" * 24)
        helo = server.server_helo(nonce=bytes(24))
        self.assertEqual(list(client.receive_data(helo, NOW)), [Authenticated("Welcome.")])

    def test_hello_of_another_connection(self):
        """The same key pair twice: what was recorded from one connection does not open another."""
        pair = KeyPair.generate()
        _, recorded = waiting_client(pair=pair)
        client, _ = waiting_client(pair=pair)
        self.assertRefuses(client, recorded.server_helo(), NonceMismatch)

    def test_hello_for_another_client(self):
        _, server = waiting_client()
        client, _ = waiting_client()
        self.assertRefuses(client, server.server_helo(), DecryptionFailed)

    def test_garbage(self):
        for data in (bytes(236), os.urandom(236), b"HTTP/1.1 400 Bad Request\r\n" * 10):
            self.assertRefuses(waiting_client()[0], data, DecryptionFailed)

    def test_stream_pdu_before_the_hello(self):
        client, server = waiting_client()
        self.assertRefuses(client, server.push.pdu(DATA, bytes(300)), DecryptionFailed)

    def test_wrong_fields(self):
        for fields, expected in [
            ({"magic": 0}, MalformedPDU),
            ({"pdu_type": 0}, MalformedPDU),
            ({"size": 175}, MalformedPDU),
            ({"size": 131071}, WindowExceeded),
            ({"pdu_type": CLIENT_AUTH}, UnexpectedPDU),
            ({"pdu_type": DATA}, UnexpectedPDU),
            ({"pdu_type": PONG}, UnexpectedPDU),
        ]:
            client, server = waiting_client()
            self.assertRefuses(client, server.server_helo(**fields) + server.push.pdu(DATA, b"behind"), expected)

    def test_weak_server_key(self):
        for key in WEAK_KEYS + [b"\x09" * 31, b"\x09" * 33]:
            with self.assertRaises(InvalidKey):
                ClientConnection(key, "username", "passphrase", NOW)

    def test_texts_that_do_not_fit(self):
        for login, passphrase, name in [
            ("x" * 129, "", "login"),
            ("\u00e9" * 65, "", "login"),
            ("a\0", "", "login"),
            ("", "x" * 129, "passphrase"),
            ("", "a\0", "passphrase"),
        ]:
            error = self.assertRaises(LocalProtocolError, ClientConnection, SERVER_PAIR.public, login, passphrase, NOW)
            self.assertIn(name, str(error))
            self.assertIn("NUL" if "\0" in login + passphrase else "128", str(error))

    def test_longest_texts(self):
        server = PlainServer()
        client = ClientConnection(SERVER_PAIR.public, "l" * 128, "\u20ac" * 42, NOW)
        plain = server.read_client_auth(client.initiate())
        self.assertEqual(plain[96:224], b"l" * 128)
        self.assertEqual(plain[224:352], "\u20ac".encode() * 42 + bytes(2))

    def test_before_initiate(self):
        """Bytes of a server that speaks first wait until we have spoken."""
        client = new_client()
        self.assertEqual(list(client.receive_data(bytes(300), NOW)), [])
        self.assertIs(client.state, State.NEW)

    def test_the_handshake_is_forgotten(self):
        for end in (
            lambda client, server: list(client.receive_data(server.server_helo(), NOW)),
            lambda client, server: client.close(),
        ):
            client, server = waiting_client()
            handshake = weakref.ref(client._handshake)
            end(client, server)
            self.assertIsNone(handshake())

    def test_close_while_waiting(self):
        client, server = waiting_client()
        list(client.receive_data(server.server_helo()[:100], NOW))
        client.close()
        self.assertOver(client)


class BothSides:
    """
    What holds for each side once it is open: ``self.open()`` gives our connection and its peer.
    """

    # Receiving

    def test_data(self):
        connection, peer = self.open()
        for payload in (b"", b"x", b"hello", bytes(65536), os.urandom(WINDOW)):
            events = list(connection.receive_data(peer.push.pdu(DATA, payload), NOW))
            self.assertEqual(events, [DataReceived(payload)])
            self.assertIs(type(events[0].payload), bytes)
            self.assertEqual(connection.buffered, 0)

    def test_empty_data_has_its_17_bytes(self):
        connection, peer = self.open()
        sealed = peer.push.pdu(DATA)
        self.assertEqual(len(sealed), 46)
        self.assertEqual(list(connection.receive_data(sealed[:45], NOW)), [])
        self.assertEqual(list(connection.receive_data(sealed[45:], NOW)), [DataReceived(b"")])

    def test_many_in_one_segment(self):
        connection, peer = self.open()
        payloads = [bytes([number]) * number for number in range(200)]
        segment = b"".join(peer.push.pdu(DATA, payload) for payload in payloads)
        events = list(connection.receive_data(segment, NOW))
        self.assertEqual(events, [DataReceived(payload) for payload in payloads])

    def test_header_alone_is_no_event(self):
        connection, peer = self.open()
        sealed = peer.push.pdu(DATA, b"hello")
        self.assertEqual(list(connection.receive_data(sealed[:29], NOW)), [])
        self.assertEqual(connection.buffered, 0)
        for _ in range(3):
            self.assertEqual(list(connection.events(NOW)), [])
        self.assertEqual(list(connection.receive_data(sealed[29:], NOW)), [DataReceived(b"hello")])

    def test_every_cut_in_two(self):
        connection, peer = self.open()
        for place in range(52):
            sealed = peer.push.pdu(DATA, b"hello")
            events = list(connection.receive_data(sealed[:place], NOW))
            events += list(connection.receive_data(sealed[place:], NOW))
            self.assertEqual(events, [DataReceived(b"hello")], place)

    def test_bytes_are_kept_without_iteration(self):
        connection, peer = self.open()
        connection.receive_data(peer.push.pdu(DATA, b"first"), NOW)
        connection.receive_data(peer.push.pdu(DATA, b"second"), NOW)
        self.assertEqual(connection.buffered, 46 + 5 + 46 + 6)
        self.assertEqual(list(connection.events(NOW)), [DataReceived(b"first"), DataReceived(b"second")])

    def test_abandoned_iterator(self):
        connection, peer = self.open()
        segment = b"".join(peer.push.pdu(DATA, payload) for payload in (b"first", b"second", b"third"))
        self.assertEqual(next(connection.receive_data(segment, NOW)), DataReceived(b"first"))
        events = connection.receive_data(peer.push.pdu(DATA, b"fourth"), NOW)
        self.assertEqual(next(events), DataReceived(b"second"))
        self.assertEqual(list(connection.events(NOW)), [DataReceived(b"third"), DataReceived(b"fourth")])
        self.assertEqual(list(events), [])

    def test_received_while_iterating(self):
        connection, peer = self.open()
        events = connection.receive_data(peer.push.pdu(DATA, b"first") + peer.push.pdu(DATA, b"second"), NOW)
        self.assertEqual(next(events), DataReceived(b"first"))
        connection.receive_data(peer.push.pdu(DATA, b"third"), NOW)
        self.assertEqual(list(events), [DataReceived(b"second"), DataReceived(b"third")])

    def test_pieces_are_appended_in_place(self):
        """What waits for its rest is not copied for each piece."""
        connection, peer = self.open()
        sealed = peer.push.pdu(DATA, b"hello" * 100)
        list(connection.receive_data(sealed[:100], NOW))
        list(connection.receive_data(sealed[100:200], NOW))
        waiting = connection._received
        list(connection.receive_data(sealed[200:300], NOW))
        self.assertIs(connection._received, waiting)
        self.assertEqual(list(connection.receive_data(sealed[300:], NOW)), [DataReceived(b"hello" * 100)])

    def test_payload_outlives_what_comes_next(self):
        connection, peer = self.open()
        (first,) = connection.receive_data(peer.push.pdu(DATA, b"first"), NOW)
        list(connection.receive_data(peer.push.pdu(DATA, b"other"), NOW))
        self.assertEqual(first.payload, b"first")

    def test_ping(self):
        for body in (CLOCK_BODY, CLOCK_BODY[:12], CLOCK_BODY[:12] + b"junk"):
            connection, peer = self.open()
            events = list(connection.receive_data(peer.push.pdu(PING, body), NOW))
            self.assertEqual(events, [PingReceived(CLOCK)])

    def test_pong(self):
        for body in (CLOCK_BODY, CLOCK_BODY[:12], CLOCK_BODY[:12] + b"junk"):
            connection, peer = self.open()
            connection.send_ping(NOW + 1, 0)
            events = list(connection.receive_data(peer.push.pdu(PONG, body), NOW + 1.5))
            self.assertEqual(events, [PongReceived(CLOCK, 0.5)])

    def test_ping_of_odd_size(self):
        """Refused from its header, before its body."""
        for pdu_type in (PING, PONG):
            for size in (0, 11, 13, 15, 17, 131070):
                connection, peer = self.open()
                connection.send_ping(NOW, CLOCK)
                self.assertRefuses(connection, peer.push.message(pack_header(pdu_type, size)), MalformedPDU)

    def test_pong_that_no_ping_asked_for(self):
        connection, peer = self.open()
        segment = peer.push.pdu(DATA, b"before") + peer.push.pdu(PONG, CLOCK_BODY) + peer.push.pdu(DATA, b"behind")
        self.assertRefuses(connection, segment, UnexpectedPDU, [DataReceived(b"before")])

    def test_second_pong_for_one_ping(self):
        connection, peer = self.open()
        connection.send_ping(NOW, CLOCK)
        segment = peer.push.pdu(PONG, CLOCK_BODY) + peer.push.pdu(PONG, CLOCK_BODY)
        self.assertRefuses(connection, segment, UnexpectedPDU, [PongReceived(CLOCK, 0)])

    def test_handshake_types(self):
        for pdu_type in (CLIENT_AUTH, SERVER_HELO):
            for size in (0, 16, 176, 340):
                connection, peer = self.open()
                self.assertRefuses(connection, peer.push.pdu(pdu_type, bytes(size)), UnexpectedPDU)

    def test_unknown_types(self):
        for pdu_type in (0, 6, 255, 2**32 - 1):
            connection, peer = self.open()
            self.assertRefuses(connection, peer.push.pdu(pdu_type), MalformedPDU)

    def test_wrong_magic(self):
        for magic in (0, 0xBAADC0DF, 0x3AADC0DE):
            connection, peer = self.open()
            segment = peer.push.message(pack_header(DATA, 2, magic)) + peer.push.message(b"ab")
            self.assertRefuses(connection, segment, MalformedPDU)

    def test_over_the_window(self):
        """From the header alone: nothing of the body is waited for."""
        for pdu_type in (DATA, PING, CLIENT_AUTH):
            for size in (131071, 2**31, 2**32 - 1):
                connection, peer = self.open()
                error = self.assertRefuses(connection, peer.push.message(pack_header(pdu_type, size)), WindowExceeded)
                self.assertIn("131070", str(error))

    def test_the_whole_window(self):
        connection, peer = self.open()
        payload = os.urandom(131070)
        sealed = peer.push.message(pack_header(DATA, 131070)) + peer.push.message(payload)
        self.assertEqual(list(connection.receive_data(sealed[:-1], NOW)), [])
        self.assertEqual(list(connection.receive_data(sealed[-1:], NOW)), [DataReceived(payload)])

    def test_body_of_another_size(self):
        """A body sealed shorter or longer than its header says."""
        for size in (4, 6):
            connection, peer = self.open()
            segment = peer.push.message(pack_header(DATA, size)) + peer.push.message(b"hello") + bytes(1)
            self.assertRefuses(connection, segment, DecryptionFailed)

    def test_tag_final(self):
        for tags in ({"header_tag": TAG_FINAL}, {"body_tag": TAG_FINAL}):
            for pdu_type, body in [(DATA, b"hello"), (DATA, b""), (PING, CLOCK_BODY)]:
                connection, peer = self.open()
                segment = peer.push.pdu(DATA, b"before") + peer.push.pdu(pdu_type, body, **tags)
                self.assertRefuses(connection, segment, MalformedPDU, [DataReceived(b"before")])

    def test_tags_push_and_rekey(self):
        connection, peer = self.open()
        for header_tag in (TAG_MESSAGE, TAG_PUSH, TAG_REKEY):
            for body_tag in (TAG_MESSAGE, TAG_PUSH, TAG_REKEY):
                sealed = peer.push.pdu(DATA, b"hello", header_tag, body_tag)
                self.assertEqual(list(connection.receive_data(sealed, NOW)), [DataReceived(b"hello")])

    def test_altered(self):
        for place in range(51):
            connection, peer = self.open()
            segment = flip(peer.push.pdu(DATA, b"hello"), place) + peer.push.pdu(DATA, b"behind")
            self.assertRefuses(connection, segment, DecryptionFailed)

    def test_replayed_dropped_swapped(self):
        for order in ([0, 0], [1], [0, 2], [0, 2, 1]):
            connection, peer = self.open()
            pdus = [peer.push.pdu(DATA, b"hello") for _ in range(3)]
            good = [DataReceived(b"hello")] if order[0] == 0 else []
            self.assertRefuses(connection, b"".join(pdus[number] for number in order), DecryptionFailed, good)

    def test_own_bytes_reflected(self):
        connection, _ = self.open()
        self.assertRefuses(connection, connection.send_data(b"hello"), DecryptionFailed)

    def test_nothing_after_an_error(self):
        connection, peer = self.open()
        before = peer.push.pdu(DATA, b"before")
        wrong = peer.push.pdu(6)
        behind = peer.push.pdu(DATA, b"behind")
        events = connection.receive_data(before + wrong + behind, NOW)
        self.assertEqual(next(events), DataReceived(b"before"))
        with self.assertRaises(MalformedPDU):
            next(events)
        self.assertEqual(list(events), [])
        self.assertEqual(list(connection.events(NOW)), [])
        self.assertEqual(list(connection.receive_data(peer.push.pdu(DATA, b"later"), NOW)), [])
        self.assertOver(connection)

    def test_errors_show_no_payload(self):
        for wrong in (
            lambda push: push.pdu(DATA, b"open sesame", body_tag=TAG_FINAL),
            lambda push: push.pdu(6, b"open sesame"),
            lambda push: flip(push.pdu(DATA, b"open sesame"), -1),
        ):
            connection, peer = self.open()
            _, error = take(connection.receive_data(wrong(peer.push), NOW))
            self.assertIsNotNone(error)
            self.assertNotIn("sesame", str(error))

    # The end

    def test_eof_between_pdus(self):
        connection, peer = self.open()
        list(connection.receive_data(peer.push.pdu(DATA, b"hello"), NOW))
        connection.receive_eof()
        self.assertOver(connection)

    def test_eof_inside_a_pdu(self):
        for size in range(1, 51):
            connection, peer = self.open()
            list(connection.receive_data(peer.push.pdu(DATA, b"hello")[:size], NOW))
            with self.assertRaises(MalformedPDU):
                connection.receive_eof()
            self.assertOver(connection)

    def test_eof_behind_pdus_not_taken(self):
        """They are lost, so the end is not in order."""
        connection, peer = self.open()
        next(connection.receive_data(peer.push.pdu(DATA, b"first") + peer.push.pdu(DATA, b"second"), NOW))
        with self.assertRaises(MalformedPDU):
            connection.receive_eof()
        self.assertOver(connection)

    def test_eof_after_close(self):
        connection, peer = self.open()
        list(connection.receive_data(peer.push.pdu(DATA, b"hello")[:30], NOW))
        connection.close()
        connection.receive_eof()
        self.assertOver(connection)

    def test_eof_after_error(self):
        connection, peer = self.open()
        self.assertRefuses(connection, peer.push.pdu(6), MalformedPDU)
        connection.receive_eof()
        self.assertOver(connection)

    def test_close_drops(self):
        connection, peer = self.open()
        events = connection.receive_data(peer.push.pdu(DATA, b"first") + peer.push.pdu(DATA, b"second"), NOW)
        next(events)
        connection.close()
        self.assertEqual(list(events), [])
        self.assertOver(connection)

    def test_close_between_header_and_body(self):
        connection, peer = self.open()
        sealed = peer.push.pdu(DATA, b"hello")
        list(connection.receive_data(sealed[:29], NOW))
        connection.close()
        self.assertEqual(list(connection.receive_data(sealed[29:], NOW)), [])
        self.assertOver(connection)

    def test_close_twice(self):
        connection, _ = self.open()
        connection.close()
        connection.close()
        self.assertOver(connection)

    def test_close_forgets_the_keys(self):
        connection, _ = self.open()
        streams = [weakref.ref(connection._push), weakref.ref(connection._pull)]
        connection.close()
        self.assertEqual([stream() for stream in streams], [None, None])

    # Sending

    def test_send_data(self):
        connection, peer = self.open()
        for payload in (b"", b"x", b"hello", os.urandom(WINDOW)):
            sealed = connection.send_data(payload)
            self.assertEqual(len(sealed), len(payload) + 46)
            self.assertEqual(peer.pull.pdus(sealed), [(DATA, payload)])

    def test_send_kinds_of_buffers(self):
        connection, peer = self.open()
        for payload in (bytearray(b"hello"), memoryview(b"hello"), memoryview(b"--hello--")[2:7]):
            self.assertEqual(peer.pull.pdus(connection.send_data(payload)), [(DATA, b"hello")])

    def test_send_too_much(self):
        """It is refused whole, and the stream goes on."""
        connection, peer = self.open()
        for size in (WINDOW + 1, 2 * WINDOW):
            error = self.assertRaises(PayloadTooLarge, connection.send_data, bytes(size))
            self.assertIn(str(size), str(error))
            self.assertIn("131070", str(error))
        self.assertIs(connection.state, State.OPEN)
        self.assertEqual(peer.pull.pdus(connection.send_data(b"hello")), [(DATA, b"hello")])

    def test_send_ping_and_pong(self):
        connection, peer = self.open()
        ping, pong = connection.send_ping(NOW, CLOCK), connection.send_pong(CLOCK)
        self.assertEqual((len(ping), len(pong)), (62, 62))
        self.assertEqual(peer.pull.pdus(ping + pong), [(PING, CLOCK_BODY), (PONG, CLOCK_BODY)])

    def test_no_fourth_ping(self):
        connection, peer = self.open()
        sealed = b"".join(connection.send_ping(NOW, CLOCK) for _ in range(3))
        with self.assertRaises(LocalProtocolError):
            connection.send_ping(NOW, CLOCK)
        self.assertEqual(peer.pull.pdus(sealed + connection.send_data(b"")), [(PING, CLOCK_BODY)] * 3 + [(DATA, b"")])

    # Time

    def test_ping_due(self):
        connection, _ = self.open(draw=lambda: 0)
        self.assertEqual(connection.deadline(), NOW + 60)
        self.assertIs(connection.ping_due(NOW + 59), False)
        self.assertIs(connection.ping_due(NOW + 60), True)
        self.assertEqual(connection.deadline(), NOW + 120)

    def test_inactivity(self):
        connection, _ = self.open(timeouts=Timeouts(ping_interval=1000))
        self.assertEqual(connection.deadline(), NOW + 180)
        self.assertIs(connection.ping_due(NOW + 179), False)
        with self.assertRaises(InactivityTimeout):
            connection.ping_due(NOW + 180)
        self.assertOver(connection)

    def test_each_kind_of_pdu_is_activity(self):
        for make in (
            lambda peer: peer.push.pdu(DATA),
            lambda peer: peer.push.pdu(PING, CLOCK_BODY),
            lambda peer: peer.push.pdu(PONG, CLOCK_BODY),
        ):
            connection, peer = self.open(timeouts=Timeouts(ping_interval=1000))
            connection.send_ping(NOW, CLOCK)
            list(connection.receive_data(make(peer), NOW + 100))
            self.assertEqual(connection.deadline(), NOW + 280)

    def test_part_of_a_pdu_is_no_activity(self):
        connection, peer = self.open(timeouts=Timeouts(ping_interval=1000))
        sealed = peer.push.pdu(DATA, b"hello")
        for place in range(50):
            list(connection.receive_data(sealed[place : place + 1], NOW + place))
        self.assertEqual(connection.deadline(), NOW + 180)

    def test_sending_is_no_activity(self):
        connection, _ = self.open(timeouts=Timeouts(ping_interval=1000))
        connection.send_ping(NOW + 100, CLOCK)
        self.assertEqual(connection.deadline(), NOW + 180)

    def test_reading_paused(self):
        connection, _ = self.open(timeouts=Timeouts(ping_interval=1000))
        connection.reading_paused()
        self.assertEqual(connection.deadline(), NOW + 3600)  # for a new key
        connection.reading_resumed(NOW + 500)
        self.assertEqual(connection.deadline(), NOW + 680)

    def test_writing_blocked(self):
        connection, peer = self.open(timeouts=Timeouts(ping_interval=1000))
        connection.writing_blocked(NOW + 10)
        list(connection.receive_data(peer.push.pdu(DATA), NOW + 50))
        self.assertEqual(connection.deadline(), NOW + 190)
        connection.writing_unblocked()
        self.assertEqual(connection.deadline(), NOW + 230)
        connection.writing_blocked(NOW + 40)
        with self.assertRaises(InactivityTimeout):
            connection.ping_due(NOW + 220)
        self.assertOver(connection)

    def test_three_pongs_outstanding(self):
        connection, peer = self.open(draw=lambda: 0)
        for now in (NOW + 60, NOW + 120, NOW + 180):
            list(connection.receive_data(peer.push.pdu(DATA), now))
            self.assertIs(connection.ping_due(now), True)
            connection.send_ping(now, CLOCK)
        list(connection.receive_data(peer.push.pdu(DATA), NOW + 239))
        with self.assertRaises(PongTimeout):
            connection.ping_due(NOW + 240)
        self.assertOver(connection)


class OpenServerTests(BothSides, ConnectionTestCase):
    """
    A server with its client authenticated.
    """

    def open(self, **options):
        return open_server(**options)

    def test_eof_before_client_auth(self):
        server = ServerConnection(SERVER_PAIR, NOW)
        server.receive_eof()
        self.assertOver(server)

    def test_eof_inside_client_auth(self):
        sealed = PlainClient().client_auth()
        for size in (1, 12, 399):
            server = ServerConnection(SERVER_PAIR, NOW)
            list(server.receive_data(sealed[:size], NOW))
            with self.assertRaises(MalformedPDU):
                server.receive_eof()
            self.assertOver(server)

    def test_eof_while_undecided_with_bytes_behind(self):
        """Nobody can tell yet whether they end inside a PDU."""
        for size in (1, 29, 50, 51):
            server, client = deciding_server()
            list(server.receive_data(client.push.pdu(DATA, b"early")[:size], NOW))
            server.receive_eof()
            self.assertOver(server)

    def test_eof_while_undecided(self):
        server, _ = deciding_server()
        server.receive_eof()
        self.assertOver(server)
        with self.assertRaises(LocalProtocolError):
            server.accept(NOW)

    def test_authentication_timeout(self):
        late = {"draw": lambda: 0}
        for make in (lambda: ServerConnection(SERVER_PAIR, NOW, **late), lambda: deciding_server(**late)[0]):
            server = make()
            self.assertEqual(server.deadline(), NOW + 10)
            self.assertIs(server.ping_due(NOW + 9), False)
            with self.assertRaises(AuthenticationTimeout):
                server.ping_due(NOW + 10)
            self.assertOver(server)

    def test_time_begins_at_accept(self):
        server, _ = deciding_server()
        server.accept(NOW + 7)
        self.assertEqual(server.deadline(), NOW + 67)
        self.assertIs(server.ping_due(NOW + 10), False)

    def test_sends_nothing_before_accept(self):
        for make in (lambda: ServerConnection(SERVER_PAIR, NOW), lambda: deciding_server()[0]):
            self.assertCannotSend(make())

    def test_a_ping_refused_is_not_outstanding(self):
        server, client = deciding_server()
        for _ in range(5):
            with self.assertRaises(LocalProtocolError):
                server.send_ping(NOW, CLOCK)
        server.accept(NOW)
        self.assertRefuses(server, client.push.pdu(PONG, CLOCK_BODY), UnexpectedPDU)

    def test_accept_once(self):
        server, _ = open_server()
        with self.assertRaises(LocalProtocolError):
            server.accept(NOW)
        with self.assertRaises(LocalProtocolError):
            server.reject()
        self.assertIs(server.state, State.OPEN)


class OpenClientTests(BothSides, ConnectionTestCase):
    """
    A client that was let in.
    """

    def open(self, **options):
        return open_client(**options)

    def test_eof_before_initiate(self):
        client = new_client()
        client.receive_eof()
        self.assertOver(client)

    def test_eof_before_the_hello(self):
        """That is how a server refuses."""
        for size in (0, 1, 235):
            client, server = waiting_client()
            list(client.receive_data(server.server_helo()[:size], NOW))
            with self.assertRaises(AuthenticationFailed):
                client.receive_eof()
            self.assertOver(client)

    def test_eof_behind_the_hello(self):
        client, server = waiting_client()
        list(client.receive_data(server.server_helo(), NOW))
        client.receive_eof()
        self.assertOver(client)

    def test_authentication_timeout(self):
        for make in (new_client, lambda: waiting_client()[0]):
            client = make()
            self.assertEqual(client.deadline(), NOW + 10)
            self.assertIs(client.ping_due(NOW + 9), False)
            with self.assertRaises(AuthenticationTimeout):
                client.ping_due(NOW + 10)
            self.assertOver(client)

    def test_time_begins_at_the_hello(self):
        client, server = waiting_client()
        list(client.receive_data(server.server_helo(), NOW + 7))
        self.assertEqual(client.deadline(), NOW + 67)

    def test_sends_nothing_before_initiate(self):
        self.assertCannotSend(new_client())

    def test_initiate_after_close(self):
        client = new_client()
        client.close()
        with self.assertRaises(LocalProtocolError):
            client.initiate()


class PairTests(ConnectionTestCase):
    """
    Our client and our server, with each other.
    """

    def test_conversation(self):
        client, server = open_pair()
        self.assertEqual(list(server.receive_data(client.send_data(b"question"), NOW)), [DataReceived(b"question")])
        self.assertEqual(list(client.receive_data(server.send_data(b"answer"), NOW)), [DataReceived(b"answer")])

    def test_ping_and_pong_each_way(self):
        for pinger, ponger in (open_pair(), open_pair()[::-1]):
            ping = pinger.send_ping(NOW + 1, CLOCK)
            self.assertEqual(list(ponger.receive_data(ping, NOW)), [PingReceived(CLOCK)])
            pong = ponger.send_pong(CLOCK + 5)
            self.assertEqual(list(pinger.receive_data(pong, NOW + 1.25)), [PongReceived(CLOCK + 5, 0.25)])

    def test_login(self):
        client = ClientConnection(SERVER_PAIR.public, "J\u00f6rg", "open sesame", NOW)
        server = ServerConnection(SERVER_PAIR, NOW)
        (request,) = server.receive_data(client.initiate(), NOW)
        self.assertIs(request.matches("J\u00f6rg", "open sesame"), True)
        self.assertIs(request.matches("J\u00f6rg", "open sesam"), False)

    def test_nothing_in_clear(self):
        client, server = new_client(), ServerConnection(SERVER_PAIR, NOW)
        wire = [client.initiate(), client.send_data(b"secret payload" * 10)]
        list(server.receive_data(b"".join(wire), NOW))
        wire += [server.accept(NOW, "Hello there"), server.send_data(b"secret answer" * 10)]
        for text in (b"username", b"passphrase", b"secret", b"Hello there", bytes.fromhex("baadc0de"), bytes(8)):
            for data in wire:
                self.assertNotIn(text, data)

    def test_buffers_of_other_items(self) -> None:
        """A view of larger items is sent as the bytes that it is; a view with gaps is refused."""
        client, server = open_pair()
        numbers = array.array("I", [1, 2, 3, 4])
        events, _ = take(server.receive_data(client.send_data(memoryview(numbers)), 0))
        self.assertEqual(events, [DataReceived(numbers.tobytes())])
        self.assertRaises(TypeError, client.send_data, memoryview(bytes(10))[::2])
        self.assertRaises(PayloadTooLarge, client.send_data, memoryview(array.array("I", bytes(131072))))
        events, _ = take(server.receive_data(client.send_data(bytearray(b"next")), 0))
        self.assertEqual(events, [DataReceived(b"next")])

    def test_received_buffer_is_not_kept(self) -> None:
        """The caller may use its buffer again at once."""
        client, server = open_pair()
        wire = client.send_data(b"payload")
        for start in range(0, len(wire), 10):
            buffer = bytearray(wire[start : start + 10])
            events, _ = take(server.receive_data(buffer, 0))
            buffer[:] = bytes(len(buffer))
        self.assertEqual(events, [DataReceived(b"payload")])

    def test_impossible_timestamp_costs_no_ping(self) -> None:
        """A PING that can't be made is not waited for."""
        client, _ = open_pair()
        for _ in range(3):
            self.assertRaises(struct.error, client.send_ping, 0, -1)
        client.send_ping(0, 0)

    def test_closed_has_no_deadline(self) -> None:
        """Nothing is left to wake up for."""
        for connection in open_pair():
            self.assertLess(connection.deadline(), math.inf)
            connection.close()
            self.assertEqual(connection.deadline(), math.inf)

    def test_rejected_forgets(self) -> None:
        """The passphrase of a rejected login is dropped."""
        server, _ = deciding_server()
        auth = weakref.ref(server._auth)
        self.assertIsNotNone(auth())
        server.reject()
        self.assertIsNone(auth())
