"""
Tests of :mod:`sodiumtwist.core.v1.handshake`.
"""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from sodiumtwist.core.errors import (
    DecryptionFailed,
    InvalidKey,
    LocalProtocolError,
    MalformedPDU,
    NonceMismatch,
    RemoteProtocolError,
    UnexpectedPDU,
    VersionMismatch,
)
from sodiumtwist.core.keys import KeyPair
from sodiumtwist.core.v1.handshake import ClientHandshake, answer_client_auth, open_client_auth
from sodiumtwist.core.v1.messages import ClientAuth, ServerHelo

from ..peers import (
    CLIENT_PAIR,
    DATA,
    NONCE,
    SERVER_PAIR,
    WEAK_KEYS,
    AuthFields,
    PlainClient,
    PlainServer,
    flip,
    pack_client_auth,
    pack_header,
    plus_one,
)


def handshake(nonce: bytes | None = NONCE) -> tuple[ClientHandshake, PlainServer]:
    """The client's side, and a server that has read its CLIENT_AUTH."""
    client, server = ClientHandshake(CLIENT_PAIR, SERVER_PAIR.public, "username", "passphrase", nonce), PlainServer()
    server.read_client_auth(client.client_auth)
    return client, server


class ClientTests(SynchronousTestCase):
    """
    The client's side.
    """

    def test_client_auth(self) -> None:
        client = ClientHandshake(CLIENT_PAIR, SERVER_PAIR.public, "username", "passphrase", NONCE)
        self.assertEqual(len(client.client_auth), 400)
        self.assertEqual(
            PlainServer().read_client_auth(client.client_auth), pack_client_auth(CLIENT_PAIR.public, client.push.header)
        )

    def test_sealed_to_the_server_alone(self) -> None:
        client = ClientHandshake(CLIENT_PAIR, SERVER_PAIR.public, "username", "passphrase")
        self.assertNotIn(b"username", client.client_auth)
        self.assertNotIn(b"passphrase", client.client_auth)
        with self.assertRaises(DecryptionFailed):
            open_client_auth(KeyPair.generate(), client.client_auth)

    def test_random_nonce(self) -> None:
        nonces = {handshake(nonce=None)[1].nonce for _ in range(3)}
        self.assertEqual(len(nonces), 3)
        self.assertEqual({len(nonce) for nonce in nonces}, {24})

    def test_nonce_of_wrong_size(self) -> None:
        for size in (0, 23, 25):
            error = self.assertRaises(LocalProtocolError, handshake, bytes(size))
            self.assertIn(f"a nonce of {size} bytes; it has 24", str(error))

    def test_push_at_once(self) -> None:
        client, server = handshake()
        sealed = client.push.push_pdu(pack_header(DATA, 5), b"early")
        self.assertEqual(server.pull.pdus(sealed), [(DATA, b"early")])

    def test_open_server_helo(self) -> None:
        client, server = handshake()
        helo, pull = client.open_server_helo(server.server_helo(message=b"Hi."))
        self.assertEqual(helo, ServerHelo(plus_one(NONCE), server.push.header, "Hi."))
        self.assertEqual(pull.pull(server.push.message(b"hello"), 0, 5), b"hello")

    def test_nonce_plus_one(self) -> None:
        """As a little-endian integer that wraps."""
        for nonce, answer in [
            (bytes(24), b"\1" + bytes(23)),
            (b"\xff" + bytes(23), b"\0\1" + bytes(22)),
            (b"\xff" * 3 + b"\x7f" + bytes(20), bytes(3) + b"\x80" + bytes(20)),
            (b"\xff" * 24, bytes(24)),
            (bytes(23) + b"\xff", b"\1" + bytes(22) + b"\xff"),
        ]:
            client, server = handshake(nonce)
            self.assertEqual(client.open_server_helo(server.server_helo(nonce=answer))[0].nonce, answer)

    def test_wrong_nonce(self) -> None:
        nonce = b"\xff" + bytes(23)
        for answer in (
            nonce,
            bytes(24),
            bytes(23) + b"\1",
            b"\1\1" + bytes(22),
            b"\0\1" + bytes(21) + b"\1",
            b"\xff" + bytes(22) + b"\1",
        ):
            client, server = handshake(nonce)
            with self.assertRaises(NonceMismatch):
                client.open_server_helo(server.server_helo(nonce=answer))

    def test_server_helo_does_not_open(self) -> None:
        client, server = handshake()
        helo = server.server_helo()
        for sealed in (bytes(236), flip(helo, -1), flip(helo, 0), flip(helo, 40), b"\xff" * 236):
            with self.assertRaises(DecryptionFailed):
                client.open_server_helo(sealed)
        stranger = ClientHandshake(KeyPair.generate(), SERVER_PAIR.public, "", "")
        with self.assertRaises(DecryptionFailed):
            stranger.open_server_helo(helo)
        self.assertEqual(client.open_server_helo(helo)[0].message, "Welcome.")

    def test_server_helo_of_wrong_type(self) -> None:
        client, server = handshake()
        with self.assertRaises(UnexpectedPDU):
            client.open_server_helo(server.server_helo(pdu_type=DATA))

    def test_server_key_that_is_none(self) -> None:
        for key in WEAK_KEYS + [b"\x09" * 31, b"\x09" * 33, b""]:
            with self.assertRaises(InvalidKey):
                ClientHandshake(CLIENT_PAIR, key, "username", "passphrase")

    def test_texts_that_do_not_fit(self) -> None:
        for texts in (("x" * 129, ""), ("", "x" * 129), ("a\0", ""), ("", "a\0")):
            with self.assertRaises(LocalProtocolError):
                ClientHandshake(CLIENT_PAIR, SERVER_PAIR.public, *texts)


class ServerTests(SynchronousTestCase):
    """
    The server's side.
    """

    def test_open_client_auth(self) -> None:
        client = PlainClient()
        self.assertEqual(
            open_client_auth(SERVER_PAIR, client.client_auth()),
            ClientAuth(NONCE, client.push.header, client.public, "username", "passphrase"),
        )

    def test_client_auth_does_not_open(self) -> None:
        sealed = PlainClient().client_auth()
        for place in range(0, 400, 7):
            with self.assertRaises(DecryptionFailed):
                open_client_auth(SERVER_PAIR, flip(sealed, place))
        with self.assertRaises(DecryptionFailed):
            open_client_auth(SERVER_PAIR, bytes(400))

    def test_client_auth_is_judged(self) -> None:
        client = PlainClient()
        wrong: list[tuple[AuthFields, type[RemoteProtocolError]]] = [
            ({"version": 2}, VersionMismatch),
            ({"magic": 0}, MalformedPDU),
            ({"login": b"\xff"}, MalformedPDU),
            ({"pdu_type": 2}, UnexpectedPDU),
        ]
        for fields, expected in wrong:
            with self.assertRaises(expected):
                open_client_auth(SERVER_PAIR, client.client_auth(**fields))

    def test_answer(self) -> None:
        client = PlainClient()
        auth = open_client_auth(SERVER_PAIR, client.client_auth())
        sealed, push, pull = answer_client_auth(SERVER_PAIR, auth, "Come in.")
        self.assertEqual(len(sealed), 236)
        plain = client.read_server_helo(sealed)
        self.assertEqual(plain[:12], bytes.fromhex("baadc0de 00000002 000000b0"))
        self.assertEqual(plain[12:36], plus_one(NONCE))
        self.assertEqual(plain[36:60], push.header)
        self.assertEqual(plain[60:], b"Come in.".ljust(128, b"\0"))
        self.assertEqual(client.pull.pdus(push.push_pdu(pack_header(DATA, 2), b"hi")), [(DATA, b"hi")])
        self.assertEqual(pull.pull(client.push.message(b"hello"), 0, 5), b"hello")

    def test_answer_wraps_the_nonce(self) -> None:
        client = PlainClient()
        auth = open_client_auth(SERVER_PAIR, client.client_auth(nonce=b"\xff" * 24))
        sealed, _, _ = answer_client_auth(SERVER_PAIR, auth, "")
        self.assertEqual(client.read_server_helo(sealed)[12:36], bytes(24))

    def test_client_key_that_is_none(self) -> None:
        client = PlainClient()
        for key in WEAK_KEYS:
            with self.assertRaises(DecryptionFailed):
                open_client_auth(SERVER_PAIR, client.client_auth(public_key=key))

    def test_message_that_does_not_fit(self) -> None:
        auth = open_client_auth(SERVER_PAIR, PlainClient().client_auth())
        for message in ("x" * 129, "a\0"):
            with self.assertRaises(LocalProtocolError):
                answer_client_auth(SERVER_PAIR, auth, message)

    def test_streams_of_two_connections_differ(self) -> None:
        auth = open_client_auth(SERVER_PAIR, PlainClient().client_auth())
        first, second = (answer_client_auth(SERVER_PAIR, auth, "") for _ in range(2))
        self.assertNotEqual(first[1].header, second[1].header)
