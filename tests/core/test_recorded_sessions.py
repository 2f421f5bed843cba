"""
Recorded sessions with the reference programs, played to our two ends and spoken by them.
"""

from __future__ import annotations

from struct import unpack

from hypothesis import given, settings
from hypothesis import strategies as st
from nacl import bindings
from twisted.trial.unittest import SynchronousTestCase

from sodiumtwist.core import handshake
from sodiumtwist.core.connection import ClientConnection, ServerConnection
from sodiumtwist.core.events import (
    Authenticated,
    AuthenticationRequested,
    DataReceived,
    PingReceived,
    PongReceived,
)
from sodiumtwist.core.keys import KeyPair, SessionKeys, client_session_keys, server_session_keys
from sodiumtwist.core.secretstream import PullStream
from sodiumtwist.core.states import State

from ..vectors import load_session
from .peers import DATA, NOW, PING, PONG, PlainPull, cut, pack_header

#: Sizes of the pieces that a transport may deliver; what they leave over comes whole.
PIECES = st.lists(st.one_of(st.integers(1, 100), st.integers(1, 70_000)), max_size=60)
#: Each plays 130 kB, so fewer than elsewhere.
CUTS = settings(max_examples=50)


def clock(body):
    """The time that a PING or PONG holds, in nanoseconds."""
    seconds, nanoseconds = unpack(">QI", body[:12])
    return seconds * 10**9 + nanoseconds


def message(session):
    """The message of the recorded SERVER_HELO."""
    return session.server_helo[60:].rstrip(b"\0").decode()


def new_server(session):
    """Our server with the recorded server's key."""
    return ServerConnection(KeyPair.from_secret(session.server_secret_key), NOW)


def new_client(session):
    """Our client with the recorded client's keys and nonce."""
    return ClientConnection(
        KeyPair.from_secret(session.server_secret_key).public,
        session.login,
        session.passphrase,
        NOW,
        KeyPair.from_secret(session.client_secret_key),
        nonce=session.client_auth[16:40],
    )


def send_pings(connection, session, side):
    """Ask for the PONGs that ``side`` received."""
    for step in session.sent_to(side):
        if step.type == PONG:
            connection.send_ping(NOW, 0)


def play_to_server(session, pieces):
    """Feed our server with what the recorded one received."""
    server, events = new_server(session), []
    for piece in pieces:
        for event in server.receive_data(piece, NOW):
            events.append(event)
            if isinstance(event, AuthenticationRequested):
                server.accept(NOW)
                send_pings(server, session, "server")
    return server, events


def play_to_client(session, pieces):
    """Feed our client with what the recorded one received."""
    client, events = new_client(session), []
    client.initiate()
    send_pings(client, session, "client")
    for piece in pieces:
        events += client.receive_data(piece, NOW)
    return client, events


def stream_events(session, side):
    """The events of the stream PDUs that ``side`` received."""
    make = {
        DATA: DataReceived,
        PING: lambda body: PingReceived(clock(body)),
        PONG: lambda body: PongReceived(clock(body), 0),
    }
    return [make[step.type](step.body) for step in session.sent_to(side)[1:]]


class PlayedMixin:
    """
    One direction of one recording: ``self.play(pieces)`` gives our end and its events.
    """

    def check(self, pieces):
        connection, events = self.play(pieces)
        self.assertEqual(events[0], self.first)
        self.assertEqual(events[1:], self.rest)
        self.assertIs(connection.state, State.OPEN)
        self.assertEqual(connection.buffered, 0)
        connection.receive_eof()

    def test_whole(self):
        self.check([self.wire])

    def test_byte_by_byte(self):
        self.check(cut(self.wire, [1] * len(self.wire)))

    def test_pdu_by_pdu(self):
        self.check([step.wire for step in self.session.sent_to(self.side)])


class ServerMixin(PlayedMixin):
    """
    The direction to the server.
    """

    side = "server"

    def setUp(self):
        self.session = load_session(self.peer)
        self.wire = self.session.wire_to("server")
        self.first = AuthenticationRequested("username", "passphrase", self.session.client_auth[64:96])
        self.rest = stream_events(self.session, "server")

    def play(self, pieces):
        return play_to_server(self.session, pieces)


class FromReferenceClientTests(ServerMixin, SynchronousTestCase):
    """
    What the reference client sent, to our server.
    """

    peer = "client"

    def test_recording(self):
        """131571 bytes of file in two DATA, and a PONG."""
        types = [(step.type, len(step.body)) for step in self.session.sent_to("server")[1:]]
        self.assertEqual(types, [(DATA, 131070), (DATA, 501), (PONG, 16)])

    @CUTS
    @given(PIECES)
    def test_random_cuts(self, sizes):
        self.check(cut(self.wire, sizes))


class FromRecordedClientTests(ServerMixin, SynchronousTestCase):
    """
    What the reference server was sent, to our server.
    """

    peer = "server"

    def test_recording(self):
        """With the smallest and the largest DATA, and a PING."""
        types = [(step.type, len(step.body)) for step in self.session.sent_to("server")[1:]]
        self.assertEqual(
            types, [(DATA, 5), (PING, 16), (DATA, 0), (DATA, 100), (DATA, 101), (DATA, 102), (DATA, 131070)]
        )

    @CUTS
    @given(PIECES)
    def test_random_cuts(self, sizes):
        self.check(cut(self.wire, sizes))


class FromReferenceServerTests(PlayedMixin, SynchronousTestCase):
    """
    What the reference server sent, to our client.
    """

    side = "client"

    def setUp(self):
        self.session = load_session("server")
        self.wire = self.session.wire_to("client")
        self.first = Authenticated("Welcome.")
        self.rest = stream_events(self.session, "client")

    def play(self, pieces):
        return play_to_client(self.session, pieces)

    def test_recording(self):
        """Answers of 32 bytes, and a PONG with something in its padding."""
        steps = self.session.sent_to("client")[1:]
        self.assertEqual([step.type for step in steps], [DATA, PONG, DATA, DATA, DATA, DATA, DATA])
        self.assertTrue(steps[-1].body.startswith(b"DATA OK: RECEIVED 131070 BYTES\0"))
        self.assertNotEqual(steps[1].body[12:], bytes(4))

    @CUTS
    @given(PIECES)
    def test_random_cuts(self, sizes):
        self.check(cut(self.wire, sizes))


class ToReferenceClientTests(SynchronousTestCase):
    """
    What the reference client was sent; its secret key is not known, the session key is.
    """

    def setUp(self):
        self.session = load_session("client")
        self.pull = PullStream(self.session.to_client_key, self.session.server_helo[36:60])

    def test_pdu_by_pdu(self):
        for step in self.session.sent_to("client")[1:]:
            self.assertEqual(self.pull.pull(step.wire, 0, 12), pack_header(step.type, len(step.body)))
            self.assertEqual(self.pull.pull(step.wire, 29, len(step.body)), step.body)
            self.assertEqual(len(step.wire), len(step.body) + 46)

    def test_whole(self):
        steps = self.session.sent_to("client")[1:]
        wire, offset = self.session.wire_to("client")[236:], 0
        for step in steps:
            self.pull.pull(wire, offset, 12)
            self.assertEqual(self.pull.pull(wire, offset + 29, len(step.body)), step.body)
            offset += 46 + len(step.body)
        self.assertEqual(offset, len(wire))
        self.assertEqual([step.type for step in steps], [DATA, DATA, PING])


class SessionKeyTests(SynchronousTestCase):
    """
    The recorded session keys.
    """

    def test_client(self):
        session = load_session("server")
        keys = client_session_keys(
            KeyPair.from_secret(session.client_secret_key), KeyPair.from_secret(session.server_secret_key).public
        )
        self.assertEqual(keys, SessionKeys(receive=session.to_client_key, send=session.to_server_key))

    def test_server(self):
        for peer in ("server", "client"):
            session = load_session(peer)
            keys = server_session_keys(KeyPair.from_secret(session.server_secret_key), session.client_auth[64:96])
            self.assertEqual(keys, SessionKeys(receive=session.to_server_key, send=session.to_client_key))


class SpokenMixin:
    """
    Assertions about what we send in the place of a recorded end.
    """

    def assertLikeRecorded(self, sealed, plain, recorded, stream_header):
        """A handshake PDU is as recorded, but for its stream header."""
        self.assertEqual(len(sealed), len(recorded.wire))
        self.assertEqual(len(plain), len(recorded.plain))
        self.assertEqual(plain[: stream_header.start], recorded.plain[: stream_header.start])
        self.assertEqual(plain[stream_header.stop :], recorded.plain[stream_header.stop :])
        self.assertNotEqual(plain[stream_header], recorded.plain[stream_header])

    def assertSaysTheSame(self, connection, pull, steps):
        """Sent again by us, each PDU has the recorded size and opens to the recorded body."""
        say = {
            DATA: connection.send_data,
            PING: lambda body: connection.send_ping(NOW, clock(body)),
            PONG: lambda body: connection.send_pong(clock(body)),
        }
        for step in steps:
            sealed = say[step.type](step.body)
            self.assertEqual(len(sealed), len(step.wire))
            # We leave nothing in the padding, where the reference has anything.
            body = step.body if step.type == DATA else step.body[:12] + bytes(4)
            self.assertEqual(pull.pdus(sealed), [(step.type, body)])


class SpokenClientTests(SpokenMixin, SynchronousTestCase):
    """
    Our client in the place of the recorded one.
    """

    def test_session(self):
        session = load_session("server")
        recorded_auth, *recorded = session.sent_to("server")
        client = new_client(session)
        sealed = client.initiate()
        server_pair = KeyPair.from_secret(session.server_secret_key)
        plain = bindings.crypto_box_seal_open(sealed, server_pair.public, server_pair.secret)
        self.assertLikeRecorded(sealed, plain, recorded_auth, slice(40, 64))
        self.assertSaysTheSame(client, PlainPull(session.to_server_key, plain[40:64]), recorded)

    def test_padding_of_ping_is_zero(self):
        """The recorded client had none of the reference's leak, so its PING is reproduced whole."""
        pings = [step for step in load_session("server").sent_to("server") if step.type == PING]
        self.assertEqual([step.body[12:] for step in pings], [bytes(4)])


class SpokenServerTests(SpokenMixin, SynchronousTestCase):
    """
    Our server in the place of the recorded one.
    """

    def speak(self, peer):
        session = load_session(peer)
        sealed_plain = []

        def seal(plain, key):
            sealed_plain.append(plain)
            self.assertEqual(key, session.client_auth[64:96])
            return crypto_box_seal(plain, key)

        crypto_box_seal = bindings.crypto_box_seal
        self.patch(handshake.bindings, "crypto_box_seal", seal)
        recorded_helo, *recorded = session.sent_to("client")
        server = new_server(session)
        list(server.receive_data(session.sent_to("server")[0].wire, NOW))
        sealed = server.accept(NOW, message(session))
        (plain,) = sealed_plain
        self.assertLikeRecorded(sealed, plain, recorded_helo, slice(36, 60))
        self.assertSaysTheSame(server, PlainPull(session.to_client_key, plain[36:60]), recorded)
        return session, sealed, plain

    def test_to_recorded_client(self):
        session, sealed, plain = self.speak("server")
        pair = KeyPair.from_secret(session.client_secret_key)
        self.assertEqual(bindings.crypto_box_seal_open(sealed, pair.public, pair.secret), plain)

    def test_to_reference_client(self):
        self.speak("client")
