"""
Peers of version 2 that do what no peer should.
"""

from __future__ import annotations

from collections.abc import Callable

from twisted.internet.error import ConnectionDone, ConnectionLost
from twisted.internet.task import Clock

from sodiumtwist import (
    AuthenticationFailed,
    ClosingTimeout,
    ConnectionCut,
    DecryptionFailed,
    MalformedPDU,
    NotDone,
    PeerAborted,
    RemoteProtocolError,
    ServerUnavailable,
    UnexpectedPDU,
)
from sodiumtwist.core.events import Aborted, DataReceived, PingReceived
from sodiumtwist.core.v2.session import V2Records

from ..alone import AloneTestCase, new_peer_server
from ..checkers import LateChecker
from ..core.peers import wire_of
from ..core.v2.talk import pdu, reason
from ..logs import logged, refusals
from ..pair import EchoServer, make_client_factory
from ..versions import only

#: PDUs that no end of version 2 may send to the other, once both are open; each alone breaks the protocol.
WRONG = {
    "a flag": b"\x03\x02" + bytes(10),
    "a spare bit": pdu("DATA", spare=1),
    "an unknown type": pdu(99),
    "MORE where none may be": pdu("DATA", b"x", more=True),
    "an empty part": pdu("REQUEST", id=7, more=True),
    "an id where there is none": pdu("DATA", b"x", id=1),
    "a payload where there is none": pdu("END", b"x"),
    "a PDU that is cut": pdu("DATA", b"cut")[:-1],
    "a header that is cut": pdu("DATA")[:-1],
    "a PONG to nothing": pdu("PONG", b"x", id=3),
    "a PING that is too large": pdu("PING", bytes(65)),
    "an ANSWER to nothing": pdu("ANSWER", b"x", id=3),
    "a FAILURE to nothing": pdu("FAILURE", reason(8), id=3),
    "an ABORT that is cut": pdu("ABORT", b"\0\0\0"),
    "an ABORT that is too long": pdu("ABORT", reason(8, "x" * 1025)),
    "END twice": pdu("END") + pdu("END"),
    "DRAIN twice": pdu("DRAIN") + pdu("DRAIN"),
    "DATA behind END": pdu("END") + pdu("DATA", b"x"),
}


@only(2)
class HandshakeTests(AloneTestCase):
    """Garbage in the place of each part of the handshake."""

    def assert_silent(self, error: type[RemoteProtocolError]) -> None:
        """A server reads on, says nothing more, and is gone when the time for authentication is over."""
        written = len(self.transport.value())
        for more in (b"x", bytes(5000), b"y"):
            self.feed(more)
            self.assert_up()
            self.assertEqual(self.transport.producerState, "producing")
        self.clock.advance(8.9)
        self.assert_up()
        self.clock.advance(1.1)
        self.assert_lost(error)
        self.assertEqual(len(self.transport.value()), written)

    def flight(self) -> bytes:
        self.start_server()
        return wire_of(self.peer_client.initiate)

    def test_first_flight(self) -> None:
        """Whichever part of it is wrong, nobody is answered."""
        size = len(self.flight())
        for place in (0, 20, 31, 32, 40, 49, 50, 70, 200, 1000, size - 1):
            flight = bytearray(self.flight())
            # Whose size has other padding.
            place = min(place, len(flight) - 1)
            flight[place] ^= 1
            self.feed(bytes(flight))
            if self.protocol._connection.version == 2 or len(flight) >= 400:
                self.assert_silent(DecryptionFailed)
            self.assertEqual(self.protocol.payloads, [])

    def test_sent_again(self) -> None:
        """A first flight that came before is not answered a second time."""
        events = logged(self)
        flight = self.flight()
        self.feed(flight)
        self.assertNotEqual(self.transport.value(), b"")
        self.transport.lose(ConnectionDone())
        factory, clock = self.factory, self.clock
        self._connect(factory, True)
        self.assertIs(self.clock, clock)
        self.feed(flight)
        self.assertEqual(self.transport.value(), b"")
        self.clock.advance(10)
        self.assertIsNotNone(self.protocol.reason)
        self.assertEqual(self.transport.value(), b"")
        self.assertEqual(len(refusals(events)), 2)

    def test_too_old(self) -> None:
        """Nor one from another time."""
        flight = self.flight()
        self.patch(self.factory, "wall_clock", lambda: 10**15 + 2 * 86_401 * 10**9)
        self.feed(flight)
        self.assertEqual(self.transport.value(), b"")
        self.clock.advance(10)
        self.assertIsNotNone(self.protocol.reason)

    def test_login(self) -> None:
        """Nobody is asked about a login that was altered, and nobody is told."""
        for place in (0, 17, 18, 100, -1):
            checker = LateChecker()
            self.start_server(checker=checker)
            self.say_hello()
            login = bytearray(self.peer.data_to_send())
            login[place] ^= 1
            self.feed(bytes(login))
            self.assert_silent(DecryptionFailed)
            self.assertEqual(checker.answers, [])

    def test_left_in_the_middle(self) -> None:
        """Whoever leaves has no login that could be right or wrong."""
        for end in (ConnectionDone(), ConnectionLost()):
            self.start_server()
            self.say_hello()
            self.transport.lose(end)
            self.assertIsNotNone(self.protocol.reason)
            self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_answer(self) -> None:
        """A client that gets something else than the server's answer closes at once, and says nothing."""
        for place in (0, 32, 50, 300, -1):
            self.start_client_alone()
            answer = bytearray(self.peer.data_to_send())
            answer[place] ^= 1
            self.feed(bytes(answer))
            self.assert_lost(DecryptionFailed)
            self.assertEqual(self.transport.value(), b"")

    def start_client_alone(self) -> None:
        """Connect a client's end whose server has its answer yet to send."""
        self.clock = Clock()
        self._connect(make_client_factory(self.clock), True)
        self.peer = self.peer_server = new_peer_server()
        self.assertEqual(self.read(), [])

    def lost(self, kind: type[NotDone]) -> NotDone:
        """See that it ended for this reason."""
        error = self.assert_lost(kind).value
        assert isinstance(error, NotDone)
        return error

    def test_no_welcome(self) -> None:
        """It leaves behind the login, and before it is said whether that is right."""
        for end in (ConnectionDone(), ConnectionLost()):
            self.start_client()
            self.transport.lose(end)
            self.assertIs(self.lost(ConnectionCut).__cause__, end)

    def test_refusals(self) -> None:
        """The reason that the server gives is the reason of the end, and can be shown."""
        for code, error in ((1, AuthenticationFailed), (3, ServerUnavailable), (4, ServerUnavailable)):
            self.start_client()
            self.feed(wire_of(self.peer_server.reject, code, "not\x1b[2J now"))
            told = self.lost(error)
            self.assertEqual(told.code, code)
            self.assertNotIn("\x1b", str(told))
            self.assertEqual(self.transport.value(), b"")


@only(2)
class RecordTests(AloneTestCase):
    """Both ends, once they are open."""

    def record(self, body: bytes) -> bytes:
        """What the peer would send if it said that."""
        assert isinstance(self.peer._records, V2Records)
        return bytes(self.peer._records._sealer.seal([body], len(body)))

    def begin(self) -> list[Callable[[], None]]:
        return [lambda: self.open_server(EchoServer), self.open_client]

    def test_wrong_pdus(self) -> None:
        """What comes before one counts, and is answered; then the peer is told that it broke the protocol."""
        for what, wrong in WRONG.items():
            for begin in self.begin():
                begin()
                self.feed(self.record(pdu("DATA", b"before") + wrong), self.record(pdu("DATA", b"behind")))
                self.assertEqual(self.protocol.payloads, [b"before"], what)
                events = [event for event in self.read() if not isinstance(event, DataReceived)]
                # A broken ABORT gets no reply.
                told = [] if what.startswith("an ABORT") else [6]
                self.assertEqual([event.code for event in events if isinstance(event, Aborted)], told, what)
                self.assertIsInstance(self.protocol.reason and self.protocol.reason.value, RemoteProtocolError, what)
                self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_altered(self) -> None:
        """A record that does not open gets no answer: neither of what was sent before, nor why."""
        for place in (0, 20, -1):
            for begin in self.begin():
                begin()
                record = bytearray(self.peer_data(b"x"))
                record[place] ^= 1
                self.feed(self.peer_ping(), bytes(record))
                self.assert_lost(DecryptionFailed)
                self.assertEqual(self.protocol.payloads, [])
                self.assertNotIn("Aborted", self.read_types())

    def test_out_of_order(self) -> None:
        """Sent again, left out or swapped, a record does not open."""
        for order in ((0, 0), (1,), (0, 2)):
            self.open_server()
            records = [self.peer_data(b"%d" % number) for number in range(3)]
            self.feed(*(records[number] for number in order))
            self.assert_lost(DecryptionFailed)

    def test_cut(self) -> None:
        """Wherever the transport ends, without END that is a cut, and no error of the application's."""
        for end in (ConnectionDone(), ConnectionLost()):
            for place in (0, 1, 20, 36, 60, -1, None):
                for begin in self.begin():
                    begin()
                    self.feed(self.peer_data(b"whole"), self.peer_data(b"cut")[:place])
                    self.transport.lose(end)
                    error = self.assert_lost(ConnectionCut).value
                    assert error is not None
                    self.assertIs(error.__cause__, end)
                    self.assertEqual(self.protocol.payloads, [b"whole"] if place is not None else [b"whole", b"cut"])

    def test_cut_behind_the_ends(self) -> None:
        """When both have said all, whatever the transport says does not matter."""
        for end in (ConnectionDone(), ConnectionLost()):
            self.open_server(orderly=False)
            self.feed(wire_of(self.peer.send_end))
            self.transport.lose(end)
            self.assert_lost(ConnectionDone)

    def test_second_login(self) -> None:
        """A server that says WELCOME again, or REFUSED behind it, and a client that says either."""
        for begin in self.begin():
            for kind in (pdu("WELCOME"), pdu("REFUSED", reason(1))):
                begin()
                self.feed(self.record(kind))
                reason_ = self.protocol.reason
                assert reason_ is not None
                self.assertTrue(reason_.check(UnexpectedPDU, MalformedPDU), reason_)

    def test_pings_behind_the_end(self) -> None:
        """When the transport has ended, no PONG leaves: the PINGs that came before are passed over, however many."""
        for begin in self.begin():
            begin()
            self.protocol.pauseProducing()
            self.feed(self.record(pdu("DATA", bytes(65536))), self.record(pdu("DATA", b"held")))
            self.feed(
                *(self.record(pdu("PING", id=number)) for number in range(200)), self.record(pdu("DATA", b"last"))
            )
            self.transport.lose(ConnectionDone())
            self.protocol.resumeProducing()
            self.assertEqual(self.protocol.payloads[1:], [b"held", b"last"])
            self.assert_lost(ConnectionCut)

    def test_keeps_an_end_that_closes(self) -> None:
        """A peer does not say its end, and goes on to take what it makes this end send: that is no progress."""
        for begin in self.begin():
            begin()
            self.protocol.close()
            for _ in range(17):
                self.clock.advance(5)
                self.fill()
                self.feed(self.peer_ping(), wire_of(self.peer.send_request, b"?"))
                self.clock.advance(5)
                self.producer.resumeProducing()
                for event in self.read():
                    if isinstance(event, PingReceived):
                        self.feed(wire_of(self.peer.send_pong, 0))
            self.assert_up()
            self.clock.advance(10)
            self.assert_lost(ClosingTimeout)
            self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_small_things_are_counted(self) -> None:
        """Of requests that are refused, what is kept takes more than the bytes that are sent: that is in the sum."""
        for blocked, more, least in ((True, False, 200), (False, True, 80)):
            self.open_server()
            if blocked:
                self.fill()
            for first in range(0, 6000, 2000):
                ids = range(first, first + 2000)
                self.feed(self.record(b"".join(pdu("REQUEST", b"?", id=id, more=more) for id in ids)))
            unread = self.factory.unread
            assert unread is not None
            unread.look()
            self.assertGreater(unread.seeming, 4900 * least)
            # Its last parts.
            if more:
                self.feed(self.record(b"".join(pdu("REQUEST", id=id) for id in range(1024, 6000))))
            self.transport.lose(ConnectionLost())
            unread.look()
            self.assertEqual(unread.seeming, 0)

    def test_last_words_before_a_break(self) -> None:
        """What the peer has said last is how it ends, also where the transport breaks, and the application pauses."""
        last: list[tuple[bytes, type[BaseException]]] = [
            (pdu("ABORT", reason(9, "disk full")), PeerAborted),
            (pdu("END"), ConnectionDone),
        ]
        for end in (ConnectionDone(), ConnectionLost()):
            for said, error in last:
                for begin in self.begin():
                    for resumes in (True, False):
                        begin()
                        self.protocol.pauseProducing()
                        self.feed(self.record(pdu("DATA", b"before")))
                        if error is ConnectionDone:
                            self.protocol._connection.send_end()  # as a stream half-closes
                            self.protocol._outbox.send()
                        self.feed(self.record(said))
                        self.transport.lose(end)
                        self.assertEqual(self.protocol.payloads, [])
                        if resumes:
                            self.protocol.resumeProducing()
                            self.assertEqual(self.protocol.payloads, [b"before"])
                            self.assert_lost(error)
                        elif isinstance(end, ConnectionLost):
                            self.clock.advance(180)
                            self.assert_lost(PeerAborted if error is PeerAborted else ConnectionCut)
                        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_pings_and_a_pause(self) -> None:
        """More PINGs than may be owed, and behind them more DATA than is read ahead: neither waits for the other."""
        for begin in self.begin():
            begin()
            self.protocol.pauseProducing()
            pings = b"".join(pdu("PING", id=number) for number in range(200))
            self.feed(self.record(pings + pdu("DATA", bytes(65536))), self.record(pdu("DATA", b"behind")))
            self.assertEqual(self.transport.producerState, "paused")
            self.assertGreater(len(self.transport.value()), 200 * 12)
            self.protocol.resumeProducing()
            self.assertEqual(self.protocol.payloads, [bytes(65536), b"behind"])
            self.assert_up()
