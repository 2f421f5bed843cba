"""
A client's connection before it is open, against servers made by hand.
"""

from __future__ import annotations

import os
import weakref

from sodiumtwist.core.connection import ClientConnection
from sodiumtwist.core.errors import (
    DecryptionFailed,
    InvalidKey,
    LocalProtocolError,
    MalformedPDU,
    NonceMismatch,
    RemoteProtocolError,
    UnexpectedPDU,
    WindowExceeded,
)
from sodiumtwist.core.events import Authenticated, DataReceived, PongReceived
from sodiumtwist.core.keys import KeyPair
from sodiumtwist.core.states import State

from ..assertions import ConnectionTestCase
from ..peers import (
    CLIENT_AUTH,
    CLOCK,
    CLOCK_BODY,
    DATA,
    NONCE,
    NOW,
    PING,
    PONG,
    SERVER_PAIR,
    WEAK_KEYS,
    HeloFields,
    PlainServer,
    new_client,
    pack_client_auth,
    plus_one,
    waiting_client,
    wire_of,
)


class ClientHandshakeTests(ConnectionTestCase):
    """
    A client before it is authenticated.
    """

    def test_initiate(self) -> None:
        client, server = new_client(nonce=NONCE), PlainServer()
        sealed = wire_of(client.initiate)
        self.assertEqual(len(sealed), 400)
        plain = server.read_client_auth(sealed)
        self.assertEqual(plain, pack_client_auth(server.client_key, plain[40:64]))
        self.assertIs(client.state, State.AWAITING_SERVER_HELO)

    def test_a_key_pair_of_each_connection(self) -> None:
        keys = set()
        for _ in range(3):
            keys.add(waiting_client()[1].client_key)
        self.assertEqual(len(keys), 3)

    def test_given_key_pair(self) -> None:
        pair = KeyPair.generate()
        self.assertEqual(waiting_client(pair=pair)[1].client_key, pair.public)

    def test_initiate_once(self) -> None:
        client = new_client()
        wire_of(client.initiate)
        with self.assertRaises(LocalProtocolError):
            wire_of(client.initiate)

    def test_authenticated(self) -> None:
        client, server = waiting_client()
        self.assertEqual(list(client.receive_data(server.server_helo(), NOW)), [Authenticated("Welcome.")])
        self.assertIs(client.state, State.OPEN)

    def test_waits_for_236_bytes(self) -> None:
        client, server = waiting_client()
        sealed = server.server_helo()
        self.assertEqual(list(client.receive_data(sealed[:235], NOW)), [])
        self.assertEqual(client.buffered, 235)
        self.assertEqual(list(client.receive_data(sealed[235:], NOW)), [Authenticated("Welcome.")])

    def test_message(self) -> None:
        for field, message in [(b"", ""), (b"m" * 128, "m" * 128), (b"caf\xe9", "caf\ufffd"), (b"a\0\xff", "a")]:
            client, server = waiting_client()
            events = list(client.receive_data(server.server_helo(message=field), NOW))
            self.assertEqual(events, [Authenticated(message)])

    def test_data_behind_the_hello(self) -> None:
        client, server = waiting_client()
        segment = server.server_helo() + server.push.pdu(DATA, b"hello")
        self.assertEqual(list(client.receive_data(segment, NOW)), [Authenticated("Welcome."), DataReceived(b"hello")])

    def test_send_before_the_hello(self) -> None:
        client, server = waiting_client()
        sealed = (
            wire_of(client.send_data, b"early")
            + wire_of(client.send_ping, NOW, CLOCK)
            + wire_of(client.send_pong, CLOCK)
        )
        self.assertEqual(server.pull.pdus(sealed), [(DATA, b"early"), (PING, CLOCK_BODY), (PONG, CLOCK_BODY)])
        segment = server.server_helo() + server.push.pdu(PONG, CLOCK_BODY)
        events = list(client.receive_data(segment, NOW + 2))
        self.assertEqual(events, [Authenticated("Welcome."), PongReceived(CLOCK, 2)])
        self.assertEqual(server.pull.pdus(wire_of(client.send_data, b"later")), [(DATA, b"later")])

    def test_wrong_nonce(self) -> None:
        for nonce in (NONCE, bytes(24), plus_one(plus_one(NONCE)), plus_one(NONCE)[::-1]):
            client, server = waiting_client(nonce=NONCE)
            segment = server.server_helo(nonce=nonce) + server.push.pdu(DATA, b"behind")
            self.assertRefuses(client, segment, NonceMismatch)

    def test_nonce_wraps(self) -> None:
        client, server = waiting_client(nonce=b"\xff" * 24)
        helo = server.server_helo(nonce=bytes(24))
        self.assertEqual(list(client.receive_data(helo, NOW)), [Authenticated("Welcome.")])

    def test_hello_of_another_connection(self) -> None:
        """The same key pair twice: what was recorded from one connection does not open another."""
        pair = KeyPair.generate()
        _, recorded = waiting_client(pair=pair)
        client, _ = waiting_client(pair=pair)
        self.assertRefuses(client, recorded.server_helo(), NonceMismatch)

    def test_hello_for_another_client(self) -> None:
        _, server = waiting_client()
        client, _ = waiting_client()
        self.assertRefuses(client, server.server_helo(), DecryptionFailed)

    def test_garbage(self) -> None:
        for data in (bytes(236), os.urandom(236), b"HTTP/1.1 400 Bad Request\r\n" * 10):
            self.assertRefuses(waiting_client()[0], data, DecryptionFailed)

    def test_stream_pdu_before_the_hello(self) -> None:
        client, server = waiting_client()
        self.assertRefuses(client, server.push.pdu(DATA, bytes(300)), DecryptionFailed)

    def test_wrong_fields(self) -> None:
        wrong: list[tuple[HeloFields, type[RemoteProtocolError]]] = [
            ({"magic": 0}, MalformedPDU),
            ({"pdu_type": 0}, MalformedPDU),
            ({"size": 175}, MalformedPDU),
            ({"size": 131071}, WindowExceeded),
            ({"pdu_type": CLIENT_AUTH}, UnexpectedPDU),
            ({"pdu_type": DATA}, UnexpectedPDU),
            ({"pdu_type": PONG}, UnexpectedPDU),
        ]
        for fields, expected in wrong:
            client, server = waiting_client()
            self.assertRefuses(client, server.server_helo(**fields) + server.push.pdu(DATA, b"behind"), expected)

    def test_closed_before_it_was_sent(self) -> None:
        """CLIENT_AUTH can still be taken, and then the keys are forgotten."""
        client = new_client()
        client.initiate()
        records = weakref.ref(client._records)
        client.close()
        self.assertEqual(len(client.data_to_send()), 400)
        self.assertIsNone(records())

    def test_weak_server_key(self) -> None:
        for key in WEAK_KEYS + [b"\x09" * 31, b"\x09" * 33]:
            with self.assertRaises(InvalidKey):
                ClientConnection(key, "username", "passphrase", NOW)

    def test_texts_that_do_not_fit(self) -> None:
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

    def test_longest_texts(self) -> None:
        server = PlainServer()
        client = ClientConnection(SERVER_PAIR.public, "l" * 128, "\u20ac" * 42, NOW)
        plain = server.read_client_auth(wire_of(client.initiate))
        self.assertEqual(plain[96:224], b"l" * 128)
        self.assertEqual(plain[224:352], "\u20ac".encode() * 42 + bytes(2))

    def test_before_initiate(self) -> None:
        """Bytes of a server that speaks first wait until we have spoken."""
        client = new_client()
        self.assertEqual(list(client.receive_data(bytes(300), NOW)), [])
        self.assertIs(client.state, State.NEW)

    def test_the_handshake_is_forgotten(self) -> None:
        for end in (
            lambda client, server: list(client.receive_data(server.server_helo(), NOW)),
            lambda client, server: client.close(),
        ):
            client, server = waiting_client()
            handshake = weakref.ref(client._handshake)
            end(client, server)
            self.assertIsNone(handshake())

    def test_close_while_waiting(self) -> None:
        client, server = waiting_client()
        list(client.receive_data(server.server_helo()[:100], NOW))
        client.close()
        self.assertOver(client)
