"""
What holds for any session, any damage and any garbage.
"""

from __future__ import annotations

from itertools import islice

from hypothesis import example, given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from sodiumtwist.core import wire
from sodiumtwist.core.connection import ServerConnection
from sodiumtwist.core.errors import (
    AuthenticationFailed,
    DecryptionFailed,
    InvalidKey,
    LocalProtocolError,
    MalformedPDU,
    NonceMismatch,
    RemoteProtocolError,
    UnexpectedPDU,
    VersionMismatch,
    WindowExceeded,
)
from sodiumtwist.core.events import (
    Authenticated,
    AuthenticationRequested,
    DataReceived,
    PingReceived,
    PongReceived,
)
from sodiumtwist.core.keepalive import Timeouts
from sodiumtwist.core.keys import KeyPair, parse_key
from sodiumtwist.core.states import State

from .peers import (
    CLIENT_AUTH,
    CLOCK,
    DATA,
    MAGIC,
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
    VERSION,
    WEAK_KEYS,
    WINDOW,
    PlainClient,
    cut,
    deciding_server,
    flip,
    new_client,
    open_client,
    open_server,
    pack_header,
    take,
    waiting_client,
)

CLIENT_PAIR = KeyPair.from_secret(b"\x22" * 32)
MANY_PINGS = Timeouts(outstanding_pongs=100)

#: What a client says: a payload, or the clock of a PING.
SAYINGS = st.lists(
    st.one_of(st.binary(max_size=300), st.integers(0, 2**64 * 10**9 - 1)),
    max_size=8,
)
#: Sizes of the pieces that a transport delivers; what they leave over comes whole.
PIECES = st.lists(st.one_of(st.integers(1, 64), st.integers(1, 500)), max_size=50)
PLACES = st.integers(0, 1_000_000)
DAMAGE = st.one_of(
    st.tuples(st.just("flip"), PLACES, st.integers(1, 255)),
    st.tuples(st.just("delete"), PLACES, st.integers(1, 100)),
    st.tuples(st.just("insert"), PLACES, st.binary(min_size=1, max_size=100)),
    st.tuples(st.just("truncate"), PLACES, st.none()),
    st.tuples(st.just("duplicate"), PLACES, st.integers(1, 600)),
)
TAGS = st.sampled_from([TAG_MESSAGE, TAG_PUSH, TAG_REKEY, TAG_FINAL])


def damage(data, kind, place, what):
    """Change bytes at one place."""
    place %= len(data)
    if kind == "flip":
        return flip(data, place, what)
    if kind == "delete":
        return data[:place] + data[place + what :]
    if kind == "insert":
        return data[:place] + what + data[place:]
    if kind == "truncate":
        return data[:place]
    return data[: place + what] + data[place:]


class Conversation:
    """
    A session of our two ends: the client says all it has behind its CLIENT_AUTH, the server sends
    each payload back reversed and a PONG for each PING.

    :ivar to_server: the PDUs that the server received; each gave one event.
    :ivar server_events: those events.
    :ivar to_client: likewise.
    :ivar client_events: likewise.
    """

    def __init__(self, sayings):
        self._pings = sum(isinstance(saying, int) for saying in sayings)
        client, server = self._client(), self.new_server()
        self.to_server = [client.initiate()]
        for saying in sayings:
            self.to_server.append(
                client.send_ping(NOW, saying) if isinstance(saying, int) else client.send_data(saying)
            )
        self.to_client = []
        self.server_events = []
        for event in server.receive_data(b"".join(self.to_server), NOW):
            self.server_events.append(event)
            if isinstance(event, AuthenticationRequested):
                self.to_client.append(server.accept(NOW, "Hello."))
            elif isinstance(event, PingReceived):
                self.to_client.append(server.send_pong(event.timestamp))
            else:
                self.to_client.append(server.send_data(event.payload[::-1]))
        self.client_events = list(client.receive_data(b"".join(self.to_client), NOW))

    def _client(self):
        return new_client(pair=CLIENT_PAIR, nonce=NONCE, timeouts=MANY_PINGS)

    def new_server(self):
        """A server to play ``to_server`` to."""
        return ServerConnection(SERVER_PAIR, NOW)

    def new_client(self):
        """A client to play ``to_client`` to."""
        client = self._client()
        client.initiate()
        for _ in range(self._pings):
            client.send_ping(NOW, CLOCK)
        return client

    def directions(self):
        """For each side: its fresh end, the PDUs to play to it, and the events they give."""
        return [
            (self.new_server, self.to_server, self.server_events),
            (self.new_client, self.to_client, self.client_events),
        ]


def take_some(connection, events, count):
    """Take as many events, ``None`` for all, and abandon the iterator; every login is let in."""
    for event in islice(events, count):
        if isinstance(event, AuthenticationRequested):
            connection.accept(NOW)
        yield event


def play(connection, pieces):
    """
    Feed a connection, letting every login in, on to the last piece even after an error.

    :return: the events, the error or ``None``, and the events after the error. That of an ignored
        handshake comes when time is up.
    """
    events, late, error = [], [], None
    for piece in pieces:
        try:
            for event in connection.receive_data(piece, NOW):
                (events if error is None else late).append(event)
                if isinstance(event, AuthenticationRequested):
                    connection.accept(NOW)
        except RemoteProtocolError as raised:
            error = error or raised
    if connection.state is State.SILENT:
        try:
            connection.ping_due(connection.deadline())
        except RemoteProtocolError as raised:
            error = raised
    return events, error, late


class CutTests(SynchronousTestCase):
    """
    However a transport cuts, the events are the same.
    """

    def test_conversation(self):
        """What the other tests here compare with."""
        conversation = Conversation([b"abc", 5, b""])
        self.assertEqual(
            conversation.server_events,
            [
                AuthenticationRequested("username", "passphrase", CLIENT_PAIR.public),
                DataReceived(b"abc"),
                PingReceived(5),
                DataReceived(b""),
            ],
        )
        self.assertEqual(
            conversation.client_events,
            [Authenticated("Hello."), DataReceived(b"cba"), PongReceived(5, 0), DataReceived(b"")],
        )

    @given(SAYINGS)
    def test_events_are_what_was_said(self, sayings):
        conversation = Conversation(sayings)
        said = [PingReceived(saying) if isinstance(saying, int) else DataReceived(saying) for saying in sayings]
        self.assertEqual(conversation.server_events[1:], said)
        answers = [
            PongReceived(saying, 0) if isinstance(saying, int) else DataReceived(saying[::-1]) for saying in sayings
        ]
        self.assertEqual(conversation.client_events[1:], answers)

    @given(SAYINGS, PIECES)
    @example([b"abc", 5, b""], [1] * 10_000)
    def test_any_cut(self, sayings, sizes):
        for make, pdus, expected in Conversation(sayings).directions():
            connection = make()
            events, error, _ = play(connection, cut(b"".join(pdus), sizes))
            self.assertIsNone(error)
            self.assertEqual(events, expected)
            self.assertEqual(connection.buffered, 0)
            connection.receive_eof()

    @given(SAYINGS, PIECES, st.lists(st.integers(0, 3), max_size=50))
    def test_events_taken_late(self, sayings, sizes, counts):
        """Some events are taken after each piece, the rest at the end."""
        for make, pdus, expected in Conversation(sayings).directions():
            connection, events, patience = make(), [], iter(counts)
            for piece in cut(b"".join(pdus), sizes):
                events += take_some(connection, connection.receive_data(piece, NOW), next(patience, 0))
            events += take_some(connection, connection.events(NOW), None)
            self.assertEqual(events, expected)

    @given(SAYINGS, PIECES, st.integers(0, 50))
    def test_login_decided_late(self, sayings, sizes, patience):
        conversation = Conversation(sayings)
        server, events = conversation.new_server(), []
        for number, piece in enumerate(cut(b"".join(conversation.to_server), sizes)):
            events += server.receive_data(piece, NOW)
            if number >= patience and server.state is State.DECIDING:
                self.assertEqual(events, conversation.server_events[:1])
                server.accept(NOW)
        if server.state is State.DECIDING:
            self.assertEqual(events, conversation.server_events[:1])
            server.accept(NOW)
        events += server.events(NOW)
        self.assertEqual(events, conversation.server_events)


class DamageTests(SynchronousTestCase):
    """
    Damaged on the way, a session ends early and never otherwise than it was.
    """

    def check(self, connection, pieces, expected):
        events, error, late = play(connection, pieces)
        self.assertEqual(events, expected[: len(events)])
        self.assertEqual(late, [])
        self.assertIs(connection.state is State.CLOSED, error is not None)
        return events, error

    @given(SAYINGS, st.lists(DAMAGE, min_size=1, max_size=2), PIECES)
    def test_any_damage(self, sayings, damages, sizes):
        for make, pdus, expected in Conversation(sayings).directions():
            damaged = b"".join(pdus)
            for kind, place, what in damages:
                damaged = damage(damaged or b"\0", kind, place, what)
            self.check(make(), cut(damaged, sizes), expected)

    def test_any_byte_flipped(self):
        """All PDUs before it come, and then the error, wherever it is."""
        for make, pdus, expected in Conversation([b"hello", CLOCK, b""]).directions():
            data, start = b"".join(pdus), 0
            for number, pdu in enumerate(pdus):
                for place in range(start, start + len(pdu)):
                    events, error = self.check(make(), [flip(data, place, 0x20)], expected)
                    self.assertEqual(len(events), number, place)
                    self.assertIs(type(error), DecryptionFailed, place)
                start += len(pdu)

    def test_cut_off_anywhere(self):
        """All PDUs before it come, and the end is in order only between two PDUs."""
        for make, pdus, expected in Conversation([b"hello", CLOCK, b""]).directions():
            data, start = b"".join(pdus), 0
            for number, pdu in enumerate(pdus):
                for size in range(len(pdu)):
                    connection = make()
                    events, error = self.check(connection, [data[: start + size]], expected)
                    self.assertEqual(len(events), number)
                    self.assertIsNone(error)
                    if make.__name__ == "new_client" and number == 0:
                        with self.assertRaises(AuthenticationFailed):
                            connection.receive_eof()
                    elif size:
                        with self.assertRaises(MalformedPDU):
                            connection.receive_eof()
                    else:
                        connection.receive_eof()
                start += len(pdu)


class GarbageTests(SynchronousTestCase):
    """
    From peers without the keys.
    """

    def check(self, connection, pieces):
        """Nothing comes of it but an error, or waiting for more."""
        events, error, late = play(connection, pieces)
        self.assertEqual(events + late, [])
        if error is not None:
            self.assertIs(type(error), DecryptionFailed)
            self.assertIs(connection.state, State.CLOSED)

    GARBAGE = st.lists(st.one_of(st.binary(max_size=40), st.binary(min_size=200, max_size=450)), max_size=5)

    @given(GARBAGE)
    def test_fresh_server(self, pieces):
        self.check(ServerConnection(SERVER_PAIR, NOW), pieces)

    @given(GARBAGE)
    def test_undecided_server(self, pieces):
        server, _ = deciding_server()
        self.assertEqual(play(server, pieces), ([], None, []))
        server.accept(NOW)
        self.check(server, [b""])

    @given(GARBAGE)
    def test_fresh_client(self, pieces):
        self.check(waiting_client()[0], pieces)

    @given(GARBAGE)
    def test_open_server(self, pieces):
        self.check(open_server()[0], pieces)

    @given(GARBAGE)
    def test_open_client(self, pieces):
        self.check(open_client()[0], pieces)

    def test_it_is_garbage_when_it_is_enough(self):
        server = ServerConnection(SERVER_PAIR, NOW)
        self.assertEqual(take(server.receive_data(bytes(399), NOW)), ([], None))
        self.assertIs(server.state, State.AWAITING_CLIENT_AUTH)
        self.assertEqual(take(server.receive_data(bytes(1), NOW)), ([], None))
        self.assertIs(server.state, State.SILENT)
        for connection, size in [
            (waiting_client()[0], 236),
            (open_server()[0], 29),
            (open_client()[0], 29),
        ]:
            self.assertEqual(take(connection.receive_data(bytes(size - 1), NOW)), ([], None))
            self.assertIs(type(take(connection.receive_data(bytes(1), NOW))[1]), DecryptionFailed)


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

    def faults(self, magic, pdu_type, size, header_tag, body_tag):
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
    def test_any_pdu(self, magic, pdu_type, size, header_tag, body_tag, is_server):
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
    def test_any_messages(self, messages, sizes):
        for connection, peer in (open_server(), open_client()):
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
                "passphrase": st.one_of(st.text(max_size=32).map(str.encode), st.binary(max_size=128)),
                "version": st.one_of(st.just(VERSION), st.integers(0, 2**32 - 1)),
                "pdu_type": TYPES,
                "size": st.one_of(st.just(340), SIZES),
                "magic": MAGICS,
            },
        )
    )
    def test_any_client_auth(self, fields):
        server, client = ServerConnection(SERVER_PAIR, NOW), PlainClient()
        events, error = take(server.receive_data(client.client_auth(**fields), NOW))
        if error is not None:
            self.assertEqual(events, [])
            self.assertIn(type(error), (MalformedPDU, UnexpectedPDU, WindowExceeded, VersionMismatch))
            return
        (request,) = events
        login = fields.get("login", b"username").split(b"\0")[0].decode()
        passphrase = fields.get("passphrase", b"passphrase").split(b"\0")[0].decode()
        self.assertEqual((request.login, request.passphrase), (login, passphrase))
        self.assertIs(request.matches(login, passphrase), True)
        self.assertIs(request.matches(login, ""), passphrase == "")
        try:
            self.assertEqual(len(server.accept(NOW)), 236)
        except DecryptionFailed:
            self.assertIs(server.state, State.CLOSED)

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
    def test_any_server_helo(self, fields):
        client, server = waiting_client()
        events, error = take(client.receive_data(server.server_helo(**fields), NOW))
        if error is not None:
            self.assertEqual(events, [])
            self.assertIn(type(error), (MalformedPDU, UnexpectedPDU, WindowExceeded, NonceMismatch))
        else:
            message = fields.get("message", b"Welcome.").split(b"\0")[0].decode("utf-8", "replace")
            self.assertEqual(events, [Authenticated(message)])

    @given(st.binary(min_size=340, max_size=340), st.binary(min_size=176, max_size=176))
    def test_any_body_of_a_handshake_pdu(self, client_auth, server_helo):
        for unpack, header, body in [
            (wire.unpack_client_auth, pack_header(CLIENT_AUTH, 340), client_auth),
            (wire.unpack_client_auth, pack_header(CLIENT_AUTH, 340), VERSION.to_bytes(4, "big") + client_auth[4:]),
            (wire.unpack_server_helo, pack_header(SERVER_HELO, 176), server_helo),
        ]:
            try:
                unpacked = unpack(header + body)
            except (VersionMismatch, MalformedPDU):
                continue
            self.assertIn(unpacked.nonce, body)


class WireTests(SynchronousTestCase):
    """
    Structures, there and back.
    """

    # Lone surrogates among them.
    TEXTS = st.text(st.characters(), max_size=140)

    def fits(self, text):
        try:
            encoded = text.encode()
        except UnicodeEncodeError:
            return False
        return len(encoded) <= 128 and b"\0" not in encoded

    @given(TEXTS, TEXTS)
    def test_client_auth(self, login, passphrase):
        auth = wire.ClientAuth(NONCE, bytes(24), bytes(32), login, passphrase)
        if self.fits(login) and self.fits(passphrase):
            self.assertEqual(wire.unpack_client_auth(wire.pack_client_auth(auth)), auth)
        else:
            with self.assertRaises(LocalProtocolError):
                wire.pack_client_auth(auth)

    @given(TEXTS)
    def test_server_helo(self, message):
        helo = wire.ServerHelo(NONCE, bytes(24), message)
        if self.fits(message):
            self.assertEqual(wire.unpack_server_helo(wire.pack_server_helo(helo)), helo)
        else:
            with self.assertRaises(LocalProtocolError):
                wire.pack_server_helo(helo)

    @given(st.integers(0, 2**64 * 10**9 - 1))
    def test_timestamp(self, nanoseconds):
        packed = wire.pack_timestamp(nanoseconds)
        self.assertEqual(len(packed), 16)
        self.assertEqual(packed[12:], bytes(4))
        self.assertEqual(wire.unpack_timestamp(packed), nanoseconds)
        self.assertEqual(wire.unpack_timestamp(packed[:12]), nanoseconds)

    @given(
        st.one_of(st.binary(min_size=12, max_size=12), st.builds(pack_header, st.integers(0, 7), st.integers(0, 2**18)))
    )
    def test_stream_header(self, data):
        try:
            pdu_type, size = wire.unpack_stream_header(data)
        except RemoteProtocolError:
            return
        self.assertEqual(data, pack_header(pdu_type, size))
        self.assertTrue(pdu_type == DATA or size in (12, 16))
        self.assertLessEqual(size, WINDOW)

    @given(
        st.one_of(
            st.text(), st.text(min_size=64, max_size=64), st.text("0123456789abcdefABCDEF", min_size=60, max_size=68)
        )
    )
    def test_parse_key(self, text):
        try:
            key = parse_key(text)
        except InvalidKey:
            return
        self.assertEqual(key.hex(), text.strip().lower())
