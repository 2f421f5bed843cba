"""
What a side does with what it should never have got.
"""

from __future__ import annotations

import random

from nacl import bindings
from twisted.internet.error import ConnectionDone, ConnectionLost
from twisted.internet.task import Clock

from sodiumtwist import (
    AuthenticationFailed,
    AuthenticationTimeout,
    DecryptionFailed,
    MalformedPDU,
    NonceMismatch,
    ServerUnavailable,
    UnexpectedPDU,
    WindowExceeded,
)
from sodiumtwist.core.v1.handshake import answer_client_auth, open_client_auth
from sodiumtwist.core.v1.messages import ClientAuth, pack_client_auth
from sodiumtwist.core.v1.records import V1Records
from sodiumtwist.core.v1.secretstream import Push

from ..alone import OVERHEAD, AloneTestCase
from ..checkers import LateChecker
from ..core.peers import wire_of
from ..logs import logged, refusals
from ..pair import LOGIN, PASSPHRASE, SERVER_PAIR, EchoServer, RecordingClient, RecordingServer, make_client_factory
from ..versions import each_version, only


@each_version
class HostileClientTests(AloneTestCase):
    """What a server does with what it should never have got."""

    def test_garbage(self) -> None:
        self.start_server()
        self.feed(random.Random(3).randbytes(399))
        self.assert_up()
        for more in (b"x", b"", bytes(5000), b"y"):
            self.feed(more)
            self.assert_up()
            self.assertEqual(self.transport.producerState, "producing")
        self.clock.advance(10)
        self.assert_lost(DecryptionFailed)
        self.assertEqual(self.transport.value(), b"")

    def test_another_protocol(self) -> None:
        """A request that is too short waits for the time-out, and is not answered."""
        self.start_server()
        self.feed(b"GET / HTTP/1.1\r\n\r\n")
        self.clock.advance(10)
        self.assert_lost(AuthenticationTimeout)
        self.assertEqual(self.transport.value(), b"")

    @only(1)
    def test_garbage_after_the_handshake(self) -> None:
        self.open_server(EchoServer)
        self.feed(self.peer_data(b"good"), bytes(29))
        self.assert_lost(DecryptionFailed)
        self.assertEqual(self.protocol.payloads, [b"good"])

    @only(1)
    def test_answers_to_what_came_before_the_error(self) -> None:
        """They leave before the connection is closed."""
        self.open_server(EchoServer, orderly=False)
        self.feed(self.peer_data(b"good"), bytes(29))
        self.assertEqual(self.transport.writes, [4 + OVERHEAD])
        self.assertTrue(self.transport.disconnecting)

    def peer_push(self) -> Push:
        """What the peer sends with, so that it can say anything."""
        assert isinstance(self.peer._records, V1Records)
        return self.peer._records._push

    @only(1)
    def test_handshake_twice(self) -> None:
        """A stream PDU of type CLIENT_AUTH."""
        self.open_server()
        self.feed(self.peer_push().push_pdu(b"\xba\xad\xc0\xde\0\0\0\1\0\0\0\0", b""))
        self.assert_lost(UnexpectedPDU)

    @only(1)
    def test_too_large_a_body(self) -> None:
        """The header alone is enough to be cut off."""
        self.open_server()
        pdu = self.peer_push().push_pdu(b"\xba\xad\xc0\xde\0\0\0\3" + (131071).to_bytes(4, "big"), b"")
        self.feed(pdu[:28])
        self.assert_up()
        self.feed(pdu[28:29])
        self.assert_lost(WindowExceeded)

    @only(1)
    def test_pong_that_no_ping_asked_for(self) -> None:
        self.open_server()
        self.feed(wire_of(self.peer.send_pong, 0))
        self.assert_lost(UnexpectedPDU)

    def weak_client_auth(self) -> bytes:
        auth = ClientAuth(bytes(24), bytes(24), bytes(32), LOGIN, PASSPHRASE)
        return bindings.crypto_box_seal(pack_client_auth(auth), SERVER_PAIR.public)

    @only(1)
    def test_weak_client_key(self) -> None:
        """
        Right login and passphrase, but a public key that shares its secret with everybody: nobody is asked about the
        login, and the client sees what it would see had nothing opened.
        """
        events, checker = logged(self), LateChecker()
        self.start_server(checker=checker)
        self.feed(self.weak_client_auth())
        self.assert_up()
        self.assertEqual(checker.answers, [])
        self.clock.advance(10)
        self.assert_lost(DecryptionFailed)
        self.assertEqual(self.transport.value(), b"")
        assert isinstance(self.protocol, RecordingServer)
        self.assertIsNone(self.protocol.peer)
        self.assertEqual(len(refusals(events)), 1)

    def test_closed_inside_client_auth(self) -> None:
        self.start_server()
        self.feed(wire_of(self.peer_client.initiate)[:-1])
        self.transport.lose(ConnectionDone())
        self.assert_lost(MalformedPDU)

    @only(1)
    def test_closed_inside_a_header(self) -> None:
        self.open_server()
        self.feed(self.peer_data(b"whole", b"cut")[:-40])
        self.transport.lose(ConnectionDone())
        self.assert_lost(MalformedPDU)
        self.assertEqual(self.protocol.payloads, [b"whole"])

    @only(1)
    def test_closed_inside_a_body(self) -> None:
        self.open_server()
        self.feed(self.peer_data(b"cut")[:-1])
        self.transport.lose(ConnectionDone())
        self.assert_lost(MalformedPDU)

    @only(1)
    def test_closed_behind_a_header(self) -> None:
        """No byte waits, yet a PDU is cut."""
        self.open_server()
        self.feed(self.peer_data(b"cut")[:29])
        self.transport.lose(ConnectionDone())
        self.assert_lost(MalformedPDU)

    @only(1)
    def test_closed_between_pdus(self) -> None:
        self.open_server()
        self.feed(self.peer_data(b"whole"))
        self.transport.lose(ConnectionDone())
        self.assert_lost(ConnectionDone)

    def test_closed_at_once(self) -> None:
        """A port scan is not an error of the protocol."""
        self.start_server()
        self.transport.lose(ConnectionDone())
        self.assert_lost(ConnectionDone)

    @only(1)
    def test_reset_inside_a_pdu(self) -> None:
        """What the transport says goes first."""
        self.open_server()
        self.feed(self.peer_data(b"cut")[:-1])
        self.transport.lose(ConnectionLost())
        self.assert_lost(ConnectionLost)

    @only(1)
    def test_bytes_after_the_error_are_dropped(self) -> None:
        self.open_server(orderly=False)
        self.feed(bytes(29))
        self.feed(self.peer_data(b"more"))
        self.assertEqual(self.protocol.payloads, [])


@only(1)
class HostileServerTests(AloneTestCase):
    """What a client does with what it should never have got."""

    def test_garbage(self) -> None:
        self.start_client()
        self.feed(random.Random(4).randbytes(235))
        self.assert_up()
        self.feed(b"x")
        self.assert_lost(DecryptionFailed)
        self.assertEqual(len(self.protocol.calls), 1)

    def test_answer_to_another_client(self) -> None:
        self.clock = Clock()
        self._connect(make_client_factory(self.clock), True)
        auth = open_client_auth(SERVER_PAIR, self.transport.value())
        auth.nonce = bytes(24)
        self.feed(answer_client_auth(SERVER_PAIR, auth, "Welcome.")[0])
        self.assert_lost(NonceMismatch)
        assert isinstance(self.protocol, RecordingClient)
        self.assertIsNone(self.protocol.message)

    def test_closed_before_its_hello(self) -> None:
        """In order it is a refusal, and a reset is none; what sends something else is no server of this protocol."""
        endings: list[tuple[bytes, Exception, type[Exception]]] = [
            (b"", ConnectionDone(), AuthenticationFailed),
            (b"", ConnectionLost(), ServerUnavailable),
            (bytes(235), ConnectionDone(), DecryptionFailed),
            (bytes(235), ConnectionLost(), DecryptionFailed),
        ]
        for received, reason, kind in endings:
            self.start_client()
            self.feed(received)
            self.transport.lose(reason)
            self.assert_lost(kind)

    def test_closed_inside_a_pdu(self) -> None:
        self.open_client()
        self.feed(self.peer_data(b"cut")[:-1])
        self.transport.lose(ConnectionDone())
        self.assert_lost(MalformedPDU)

    def test_closed_in_order(self) -> None:
        self.open_client()
        self.transport.lose(ConnectionDone())
        self.assert_lost(ConnectionDone)

    def test_reset(self) -> None:
        self.open_client()
        self.transport.lose(ConnectionLost())
        self.assert_lost(ConnectionLost)
