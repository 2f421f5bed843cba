"""
Recorded sessions with the reference programs, played to our two ends and spoken by them.
"""

from __future__ import annotations

from collections.abc import Iterable

from hypothesis import given, settings, strategies as st
from nacl import bindings
from twisted.trial.unittest import SynchronousTestCase

from sodiumtwist.core.events import Authenticated, Event
from sodiumtwist.core.keys import KeyPair
from sodiumtwist.core.v1.handshake import SessionKeys, client_session_keys, server_session_keys
from sodiumtwist.core.v1.records import PullStream

from ...vectors import Session, load_session

# By their own names, trial would take the cases of ``recorded`` for tests to run.
from .. import recorded
from ..peers import DATA, NOW, PING, PONG, Connection, PlainPull, cut, pack_header, wire_of
from ..recorded import SpokenTestCase, client_pair, message, new_client, new_server, play_to_client, stream_events

#: Sizes of the pieces that a transport may deliver; what they leave over comes whole.
PIECES = st.lists(st.one_of(st.integers(1, 100), st.integers(1, 70_000)), max_size=60)

#: Each plays 130 kB, so fewer than elsewhere.
CUTS = settings(max_examples=50)


class FromReferenceClientTests(recorded.PlayedToServerTestCase):
    """
    What the reference client sent, to our server.
    """

    peer = "client"

    def test_recording(self) -> None:
        """131571 bytes of file in two DATA, and a PONG."""
        types = [(step.type, len(step.body)) for step in self.session.sent_to("server")[1:]]
        self.assertEqual(types, [(DATA, 131070), (DATA, 501), (PONG, 16)])

    @CUTS
    @given(PIECES)
    def test_random_cuts(self, sizes: list[int]) -> None:
        self.check(cut(self.wire, sizes))


class FromRecordedClientTests(recorded.PlayedToServerTestCase):
    """
    What the reference server was sent, to our server.
    """

    peer = "server"

    def test_recording(self) -> None:
        """With the smallest and the largest DATA, and a PING."""
        types = [(step.type, len(step.body)) for step in self.session.sent_to("server")[1:]]
        self.assertEqual(
            types, [(DATA, 5), (PING, 16), (DATA, 0), (DATA, 100), (DATA, 101), (DATA, 102), (DATA, 131070)]
        )

    @CUTS
    @given(PIECES)
    def test_random_cuts(self, sizes: list[int]) -> None:
        self.check(cut(self.wire, sizes))


class FromReferenceServerTests(recorded.PlayedTestCase):
    """
    What the reference server sent, to our client.
    """

    side = "client"

    def setUp(self) -> None:
        self.session = load_session("server")
        self.wire = self.session.wire_to("client")
        self.first = Authenticated("Welcome.")
        self.rest = stream_events(self.session, "client")

    def play(self, pieces: Iterable[bytes]) -> tuple[Connection, list[Event]]:
        return play_to_client(self.session, pieces)

    def test_recording(self) -> None:
        """Answers of 32 bytes, and a PONG with something in its padding."""
        steps = self.session.sent_to("client")[1:]
        self.assertEqual([step.type for step in steps], [DATA, PONG, DATA, DATA, DATA, DATA, DATA])
        self.assertTrue(steps[-1].body.startswith(b"DATA OK: RECEIVED 131070 BYTES\0"))
        self.assertNotEqual(steps[1].body[12:], bytes(4))

    @CUTS
    @given(PIECES)
    def test_random_cuts(self, sizes: list[int]) -> None:
        self.check(cut(self.wire, sizes))


class ToReferenceClientTests(SynchronousTestCase):
    """
    What the reference client was sent; its secret key is not known, the session key is.
    """

    def setUp(self) -> None:
        self.session = load_session("client")
        self.pull = PullStream(self.session.to_client_key, self.session.server_helo[36:60])

    def test_pdu_by_pdu(self) -> None:
        for step in self.session.sent_to("client")[1:]:
            self.assertEqual(self.pull.pull(step.wire, 0, 12), pack_header(step.type, len(step.body)))
            self.assertEqual(self.pull.pull(step.wire, 29, len(step.body)), step.body)
            self.assertEqual(len(step.wire), len(step.body) + 46)

    def test_whole(self) -> None:
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

    def test_client(self) -> None:
        session = load_session("server")
        keys = client_session_keys(client_pair(session), KeyPair.from_secret(session.server_secret_key).public)
        self.assertEqual(keys, SessionKeys(receive=session.to_client_key, send=session.to_server_key))

    def test_server(self) -> None:
        for peer in ("server", "client"):
            session = load_session(peer)
            keys = server_session_keys(KeyPair.from_secret(session.server_secret_key), session.client_auth[64:96])
            self.assertEqual(keys, SessionKeys(receive=session.to_server_key, send=session.to_client_key))


class SpokenClientTests(SpokenTestCase):
    """
    Our client in the place of the recorded one.
    """

    def test_session(self) -> None:
        session = load_session("server")
        recorded_auth, *recorded = session.sent_to("server")
        client = new_client(session)
        sealed = wire_of(client.initiate)
        server_pair = KeyPair.from_secret(session.server_secret_key)
        plain = bindings.crypto_box_seal_open(sealed, server_pair.public, server_pair.secret)
        self.assertLikeRecorded(sealed, plain, recorded_auth, slice(40, 64))
        self.assertSaysTheSame(client, PlainPull(session.to_server_key, plain[40:64]), recorded)

    def test_padding_of_ping_is_zero(self) -> None:
        """The recorded client had none of the reference's leak, so its PING is reproduced whole."""
        pings = [step for step in load_session("server").sent_to("server") if step.type == PING]
        self.assertEqual([step.body[12:] for step in pings], [bytes(4)])


class SpokenServerTests(SpokenTestCase):
    """
    Our server in the place of the recorded one.
    """

    def speak(self, peer: str) -> tuple[Session, bytes, bytes]:
        session = load_session(peer)
        sealed_plain: list[bytes] = []

        def seal(plain: bytes, key: bytes) -> bytes:
            sealed_plain.append(plain)
            self.assertEqual(key, session.client_auth[64:96])
            return crypto_box_seal(plain, key)

        crypto_box_seal = bindings.crypto_box_seal
        self.patch(bindings, "crypto_box_seal", seal)
        recorded_helo, *recorded = session.sent_to("client")
        server = new_server(session)
        list(server.receive_data(session.sent_to("server")[0].wire, NOW))
        sealed = wire_of(server.accept, NOW, message(session))
        (plain,) = sealed_plain
        self.assertLikeRecorded(sealed, plain, recorded_helo, slice(36, 60))
        self.assertSaysTheSame(server, PlainPull(session.to_client_key, plain[36:60]), recorded)
        return session, sealed, plain

    def test_to_recorded_client(self) -> None:
        session, sealed, plain = self.speak("server")
        pair = client_pair(session)
        self.assertEqual(bindings.crypto_box_seal_open(sealed, pair.public, pair.secret), plain)

    def test_to_reference_client(self) -> None:
        self.speak("client")
