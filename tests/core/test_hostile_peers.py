"""
What holds for peers that have the keys and say anything.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

from hypothesis import example, given, strategies as st
from twisted.trial.unittest import SynchronousTestCase

from sodiumtwist.core.connection import ServerConnection
from sodiumtwist.core.errors import (
    DecryptionFailed,
    MalformedPDU,
    NonceMismatch,
    RemoteProtocolError,
    UnexpectedPDU,
    VersionMismatch,
    WindowExceeded,
)
from sodiumtwist.core.events import Authenticated, DataReceived, PingReceived
from sodiumtwist.core.states import State
from sodiumtwist.core.v1 import messages

from ..texts import UTF8
from .conversation import PIECES, play
from .peers import (
    CLIENT_AUTH,
    DATA,
    MAGIC,
    NOW,
    PING,
    PONG,
    SERVER_HELO,
    SERVER_PAIR,
    TAG_FINAL,
    TAG_MESSAGE,
    TAG_PUSH,
    TAG_REKEY,
    VERSION,
    WEAK_KEYS,
    WINDOW,
    AuthFields,
    Connection,
    HeloFields,
    Peer,
    PlainClient,
    cut,
    open_client,
    open_server,
    pack_header,
    take,
    the_request,
    waiting_client,
    wire_of,
)

TAGS = st.sampled_from([TAG_MESSAGE, TAG_PUSH, TAG_REKEY, TAG_FINAL])


class HostilePeerTests(SynchronousTestCase):
    """
    From peers that have the keys and say anything.
    """

    TYPES = st.one_of(st.integers(0, 7), st.integers(0, 2**32 - 1))
    SIZES = st.one_of(
        st.sampled_from([0, 11, 12, 13, 15, 16, 17, 176, 340, WINDOW, WINDOW + 1, 2**32 - 1]),
        st.integers(0, 400),
        st.integers(0, 2**32 - 1),
    )
    MAGICS = st.one_of(st.just(MAGIC), st.just(MAGIC), st.just(MAGIC), st.integers(0, 2**32 - 1))

    def faults(
        self, magic: int, pdu_type: int, size: int, header_tag: int, body_tag: int
    ) -> Iterator[type[RemoteProtocolError]]:
        """The errors that a PDU deserves."""
        if magic != MAGIC or not 1 <= pdu_type <= 5 or header_tag == TAG_FINAL or body_tag == TAG_FINAL:
            yield MalformedPDU
        if pdu_type in (CLIENT_AUTH, SERVER_HELO, PONG):
            yield UnexpectedPDU
        if pdu_type in (PING, PONG) and size not in (12, 16):
            yield MalformedPDU
        if size > WINDOW:
            yield WindowExceeded

    @given(MAGICS, TYPES, SIZES, TAGS, TAGS, st.booleans())
    @example(MAGIC, DATA, WINDOW, TAG_MESSAGE, TAG_MESSAGE, True)
    @example(MAGIC, DATA, WINDOW + 1, TAG_MESSAGE, TAG_MESSAGE, True)
    @example(MAGIC, PING, 12, TAG_PUSH, TAG_REKEY, False)
    def test_any_pdu(
        self, magic: int, pdu_type: int, size: int, header_tag: int, body_tag: int, is_server: bool
    ) -> None:
        connection: Connection
        peer: Peer
        connection, peer = open_server() if is_server else open_client()
        body = bytes(min(size, WINDOW))
        segment = peer.push.message(pack_header(pdu_type, size, magic), header_tag) + peer.push.message(body, body_tag)
        events, error = take(connection.receive_data(segment, NOW))
        faults = set(self.faults(magic, pdu_type, size, header_tag, body_tag))
        if faults:
            self.assertEqual(events, [])
            self.assertIn(type(error), faults)
            self.assertIs(connection.state, State.CLOSED)
        else:
            self.assertIsNone(error)
            self.assertEqual(events, [DataReceived(body) if pdu_type == DATA else PingReceived(0)])

    @given(st.lists(st.tuples(st.binary(max_size=40), TAGS), max_size=10), PIECES)
    def test_any_messages(self, messages: list[tuple[bytes, int]], sizes: list[int]) -> None:
        ends: list[tuple[Connection, Peer]] = [open_server(), open_client()]
        for connection, peer in ends:
            wire = b"".join(peer.push.message(plain, tag) for plain, tag in messages)
            _, error, late = play(connection, cut(wire, sizes))
            self.assertEqual(late, [])
            self.assertIs(connection.state is State.CLOSED, error is not None)

    @given(
        st.fixed_dictionaries(
            {},
            optional={
                "nonce": st.binary(min_size=24, max_size=24),
                "stream_header": st.binary(min_size=24, max_size=24),
                "public_key": st.one_of(st.binary(min_size=32, max_size=32), st.sampled_from(WEAK_KEYS)),
                "login": st.one_of(st.binary(max_size=128), st.binary(min_size=128, max_size=128)),
                "passphrase": st.one_of(st.text(UTF8, max_size=32).map(str.encode), st.binary(max_size=128)),
                "version": st.one_of(st.just(VERSION), st.integers(0, 2**32 - 1)),
                "pdu_type": TYPES,
                "size": st.one_of(st.just(340), SIZES),
                "magic": MAGICS,
            },
        )
    )
    def test_any_client_auth(self, fields: AuthFields) -> None:
        server, client = ServerConnection(SERVER_PAIR, NOW), PlainClient()
        events, error = take(server.receive_data(client.client_auth(**fields), NOW))
        self.assertIsNone(error)
        if server.state is State.SILENT:
            self.assertEqual(events, [])
            wrong = (MalformedPDU, UnexpectedPDU, WindowExceeded, VersionMismatch, DecryptionFailed)
            self.assertIn(type(self.assertRaises(RemoteProtocolError, server.receive_eof)), wrong)
            return
        request = the_request(events)
        login = fields.get("login", b"username").split(b"\0")[0].decode()
        passphrase = fields.get("passphrase", b"passphrase").split(b"\0")[0].decode()
        self.assertEqual((request.login, request.passphrase), (login, passphrase))
        self.assertIs(request.matches(login, passphrase), True)
        self.assertIs(request.matches(login, ""), passphrase == "")
        self.assertEqual(len(wire_of(server.accept, NOW)), 236)

    @given(
        st.fixed_dictionaries(
            {},
            optional={
                "nonce": st.binary(min_size=24, max_size=24),
                "stream_header": st.binary(min_size=24, max_size=24),
                "message": st.binary(max_size=128),
                "pdu_type": TYPES,
                "size": st.one_of(st.just(176), SIZES),
                "magic": MAGICS,
            },
        )
    )
    def test_any_server_helo(self, fields: HeloFields) -> None:
        client, server = waiting_client()
        events, error = take(client.receive_data(server.server_helo(**fields), NOW))
        if error is not None:
            self.assertEqual(events, [])
            self.assertIn(type(error), (MalformedPDU, UnexpectedPDU, WindowExceeded, NonceMismatch))
        else:
            message = fields.get("message", b"Welcome.").split(b"\0")[0].decode("utf-8", "replace")
            self.assertEqual(events, [Authenticated(message)])

    @given(st.binary(min_size=340, max_size=340), st.binary(min_size=176, max_size=176))
    def test_any_body_of_a_handshake_pdu(self, client_auth: bytes, server_helo: bytes) -> None:
        pdus: list[tuple[Callable[[bytes], messages.ClientAuth | messages.ServerHelo], bytes, bytes]] = [
            (messages.unpack_client_auth, pack_header(CLIENT_AUTH, 340), client_auth),
            (messages.unpack_client_auth, pack_header(CLIENT_AUTH, 340), VERSION.to_bytes(4, "big") + client_auth[4:]),
            (messages.unpack_server_helo, pack_header(SERVER_HELO, 176), server_helo),
        ]
        for unpack, header, body in pdus:
            try:
                unpacked = unpack(header + body)
            except (VersionMismatch, MalformedPDU):
                continue
            self.assertIn(unpacked.nonce, body)
