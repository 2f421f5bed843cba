"""
The recorded handshakes of version 2, in both roles: what we send has their bytes, and what the other end sent is
understood.
"""

from __future__ import annotations

from collections.abc import Iterable

from hypothesis import given, settings, strategies as st
from twisted.trial.unittest import SynchronousTestCase

from sodiumtwist.core.events import AuthenticationRequested
from sodiumtwist.core.v2.agreement import ML_KEM_768, DecapsulationKey
from sodiumtwist.core.v2.handshake import Session
from sodiumtwist.core.v2.veil import opens

from ..peers import cut
from .recorded import PureKem, Recorded, fed, load, sessions

#: Sizes of the pieces that a transport may deliver; what they leave over comes whole.
PIECES = st.lists(st.one_of(st.integers(1, 60), st.integers(1, 3000)), max_size=60)
SESSIONS = st.integers(0, 3).map(lambda number: list(sessions())[number])
#: A handshake takes some milliseconds.
CUTS = settings(max_examples=50)


class RecordedTestCase(SynchronousTestCase):
    """The recorded sessions, from both sides."""

    def assertSession(self, session: Session, recorded: Recorded, as_client: bool) -> None:
        """A session has what is recorded."""
        to_server, to_client = (bytes.fromhex(key) for key in recorded["record_keys"])
        send, receive = (to_server, to_client) if as_client else (to_client, to_server)
        self.assertEqual(
            session, Session(recorded["suite"], send, receive, recorded.bytes_of("handshake_hash")), recorded["name"]
        )

    def play_to_client(self, recorded: Recorded, pieces: Iterable[bytes]) -> None:
        client = recorded.client()
        self.assertEqual(client.first_flight, recorded.flights[0], recorded["name"])
        self.assertEqual(fed(client, pieces), [recorded.flights[2]], recorded["name"])
        self.assertSession(client.session, recorded, as_client=True)

    def play_to_server(self, recorded: Recorded, sizes: Iterable[int]) -> None:
        """The sizes are those of the first pieces of both flights; the client has not sent the second before ours."""
        server, (first, second, third) = recorded.server(), recorded.flights
        self.assertEqual(fed(server, cut(first, sizes)), [second], recorded["name"])
        request = AuthenticationRequested(recorded.login, recorded.passphrase, recorded.client_pair.public, version=2)
        self.assertEqual(fed(server, cut(third, sizes)), [request], recorded["name"])
        self.assertSession(server.session, recorded, as_client=False)


class ClientTests(RecordedTestCase):
    """Our client in the place of the recorded one."""

    def test_whole(self) -> None:
        for recorded in sessions():
            self.play_to_client(recorded, [recorded.flights[1]])

    def test_byte_by_byte(self) -> None:
        for recorded in sessions():
            self.play_to_client(recorded, cut(recorded.flights[1], [1] * 2000))

    @CUTS
    @given(SESSIONS, PIECES)
    def test_random_cuts(self, recorded: Recorded, sizes: list[int]) -> None:
        self.play_to_client(recorded, cut(recorded.flights[1], sizes))

    def test_with_the_library(self) -> None:
        """Its decapsulation is deterministic, so nothing but the seed is given."""
        from cryptography.hazmat.primitives.asymmetric.mlkem import MLKEM768PrivateKey

        class Seeded(PureKem):
            def generate(self) -> DecapsulationKey:  # type: ignore[override]
                key = ML_KEM_768.generate()
                self_key = MLKEM768PrivateKey.from_seed_bytes(self.seed)
                key._key, key.public = self_key, self_key.public_key().public_bytes_raw()  # type: ignore[attr-defined]
                return key

        self.patch(Recorded, "kem", property(lambda recorded: Seeded(recorded.bytes_of("kem_seed_d_z"), b"")))
        for recorded in sessions():
            self.play_to_client(recorded, [recorded.flights[1]])


class ServerTests(RecordedTestCase):
    """Our server in the place of the recorded one."""

    def test_whole(self) -> None:
        for recorded in sessions():
            self.play_to_server(recorded, [])

    def test_byte_by_byte(self) -> None:
        for recorded in sessions():
            self.play_to_server(recorded, [1] * 2000)

    @CUTS
    @given(SESSIONS, PIECES)
    def test_random_cuts(self, recorded: Recorded, sizes: list[int]) -> None:
        self.play_to_server(recorded, sizes)

    def test_told_apart(self) -> None:
        """By the first 50 bytes it is known that this is version 2."""
        for recorded in sessions():
            opening = recorded.flights[0][:50]
            self.assertIs(opens(recorded.server_pair.public, opening), True)
            self.assertIs(opens(recorded.client_pair.public, opening), False)
            self.assertIs(opens(recorded.server_pair.public, recorded.flights[1][:50]), False)


class FileTests(SynchronousTestCase):
    def test_sessions(self) -> None:
        """What they differ in: the suite, credentials, padding, extensions."""
        self.assertEqual(len(load("v2")["sessions"]), 4)
        self.assertEqual({recorded["suite"] for recorded in sessions()}, {1, 2})
        self.assertIn(None, [recorded["credentials"] for recorded in sessions()])
        self.assertIn([77, 131], [recorded["padding_of_messages_1_and_2"] for recorded in sessions()])
        self.assertTrue(any(any(recorded["extensions_of_messages"]) for recorded in sessions()))
