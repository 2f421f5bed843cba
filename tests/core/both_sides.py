"""
What holds for each side of a connection once it is open.
"""

from __future__ import annotations

import os
import weakref
from typing import TYPE_CHECKING

from sodiumtwist.core.errors import (
    DecryptionFailed,
    InactivityTimeout,
    LocalProtocolError,
    MalformedPDU,
    PayloadTooLarge,
    PongTimeout,
    UnexpectedPDU,
    WindowExceeded,
)
from sodiumtwist.core.events import DataReceived, PingReceived, PongReceived
from sodiumtwist.core.keepalive import Timeouts
from sodiumtwist.core.states import State
from sodiumtwist.core.v1.records import V1Records

from .assertions import ConnectionTestCase
from .peers import (
    CLIENT_AUTH,
    CLOCK,
    CLOCK_BODY,
    DATA,
    NOW,
    PING,
    PONG,
    SERVER_HELO,
    TAG_FINAL,
    TAG_MESSAGE,
    TAG_PUSH,
    TAG_REKEY,
    WINDOW,
    Connection,
    Options,
    Peer,
    flip,
    pack_header,
    take,
    wire_of,
)

if TYPE_CHECKING:
    from typing_extensions import Unpack


class BothSides(ConnectionTestCase):
    """
    What holds for each side once it is open.
    """

    def open(self, **options: Unpack[Options]) -> tuple[Connection, Peer]:
        """Our connection and its peer."""
        raise NotImplementedError

    # Receiving

    def test_data(self) -> None:
        connection, peer = self.open()
        for payload in (b"", b"x", b"hello", bytes(65536), os.urandom(WINDOW)):
            (event,) = connection.receive_data(peer.push.pdu(DATA, payload), NOW)
            self.assertEqual(event, DataReceived(payload))
            assert isinstance(event, DataReceived)
            self.assertIs(type(event.payload), bytes)
            self.assertEqual(connection.buffered, 0)

    def test_empty_data_has_its_17_bytes(self) -> None:
        connection, peer = self.open()
        sealed = peer.push.pdu(DATA)
        self.assertEqual(len(sealed), 46)
        self.assertEqual(list(connection.receive_data(sealed[:45], NOW)), [])
        self.assertEqual(list(connection.receive_data(sealed[45:], NOW)), [DataReceived(b"")])

    def test_many_in_one_segment(self) -> None:
        connection, peer = self.open()
        payloads = [bytes([number]) * number for number in range(200)]
        segment = b"".join(peer.push.pdu(DATA, payload) for payload in payloads)
        events = list(connection.receive_data(segment, NOW))
        self.assertEqual(events, [DataReceived(payload) for payload in payloads])

    def test_header_alone_is_no_event(self) -> None:
        connection, peer = self.open()
        sealed = peer.push.pdu(DATA, b"hello")
        self.assertEqual(list(connection.receive_data(sealed[:29], NOW)), [])
        self.assertEqual(connection.buffered, 0)
        for _ in range(3):
            self.assertEqual(list(connection.events(NOW)), [])
        self.assertEqual(list(connection.receive_data(sealed[29:], NOW)), [DataReceived(b"hello")])

    def test_every_cut_in_two(self) -> None:
        connection, peer = self.open()
        for place in range(52):
            sealed = peer.push.pdu(DATA, b"hello")
            events = list(connection.receive_data(sealed[:place], NOW))
            events += list(connection.receive_data(sealed[place:], NOW))
            self.assertEqual(events, [DataReceived(b"hello")], place)

    def test_bytes_are_kept_without_iteration(self) -> None:
        connection, peer = self.open()
        connection.receive_data(peer.push.pdu(DATA, b"first"), NOW)
        connection.receive_data(peer.push.pdu(DATA, b"second"), NOW)
        self.assertEqual(connection.buffered, 46 + 5 + 46 + 6)
        self.assertEqual(list(connection.events(NOW)), [DataReceived(b"first"), DataReceived(b"second")])

    def test_abandoned_iterator(self) -> None:
        connection, peer = self.open()
        segment = b"".join(peer.push.pdu(DATA, payload) for payload in (b"first", b"second", b"third"))
        self.assertEqual(next(connection.receive_data(segment, NOW)), DataReceived(b"first"))
        events = connection.receive_data(peer.push.pdu(DATA, b"fourth"), NOW)
        self.assertEqual(next(events), DataReceived(b"second"))
        self.assertEqual(list(connection.events(NOW)), [DataReceived(b"third"), DataReceived(b"fourth")])
        self.assertEqual(list(events), [])

    def test_received_while_iterating(self) -> None:
        connection, peer = self.open()
        events = connection.receive_data(peer.push.pdu(DATA, b"first") + peer.push.pdu(DATA, b"second"), NOW)
        self.assertEqual(next(events), DataReceived(b"first"))
        connection.receive_data(peer.push.pdu(DATA, b"third"), NOW)
        self.assertEqual(list(events), [DataReceived(b"second"), DataReceived(b"third")])

    def test_pieces_are_appended_in_place(self) -> None:
        """What waits for its rest is not copied for each piece."""
        connection, peer = self.open()
        sealed = peer.push.pdu(DATA, b"hello" * 100)
        list(connection.receive_data(sealed[:100], NOW))
        list(connection.receive_data(sealed[100:200], NOW))
        waiting = connection._inbox.part
        self.assertIsNotNone(waiting)
        list(connection.receive_data(sealed[200:300], NOW))
        self.assertIs(connection._inbox.part, waiting)
        self.assertEqual(list(connection.receive_data(sealed[300:], NOW)), [DataReceived(b"hello" * 100)])

    def test_payload_outlives_what_comes_next(self) -> None:
        connection, peer = self.open()
        (first,) = connection.receive_data(peer.push.pdu(DATA, b"first"), NOW)
        assert isinstance(first, DataReceived)
        list(connection.receive_data(peer.push.pdu(DATA, b"other"), NOW))
        self.assertEqual(first.payload, b"first")

    def test_ping(self) -> None:
        for body in (CLOCK_BODY, CLOCK_BODY[:12], CLOCK_BODY[:12] + b"junk"):
            connection, peer = self.open()
            events = list(connection.receive_data(peer.push.pdu(PING, body), NOW))
            self.assertEqual(events, [PingReceived(CLOCK)])

    def test_pong(self) -> None:
        for body in (CLOCK_BODY, CLOCK_BODY[:12], CLOCK_BODY[:12] + b"junk"):
            connection, peer = self.open()
            wire_of(connection.send_ping, NOW + 1, 0)
            events = list(connection.receive_data(peer.push.pdu(PONG, body), NOW + 1.5))
            self.assertEqual(events, [PongReceived(CLOCK, 0.5)])

    def test_ping_of_odd_size(self) -> None:
        """Refused from its header, before its body."""
        for pdu_type in (PING, PONG):
            for size in (0, 11, 13, 15, 17, 131070):
                connection, peer = self.open()
                wire_of(connection.send_ping, NOW, CLOCK)
                self.assertRefuses(connection, peer.push.message(pack_header(pdu_type, size)), MalformedPDU)

    def test_pong_that_no_ping_asked_for(self) -> None:
        connection, peer = self.open()
        segment = peer.push.pdu(DATA, b"before") + peer.push.pdu(PONG, CLOCK_BODY) + peer.push.pdu(DATA, b"behind")
        self.assertRefuses(connection, segment, UnexpectedPDU, [DataReceived(b"before")])

    def test_second_pong_for_one_ping(self) -> None:
        connection, peer = self.open()
        wire_of(connection.send_ping, NOW, CLOCK)
        segment = peer.push.pdu(PONG, CLOCK_BODY) + peer.push.pdu(PONG, CLOCK_BODY)
        self.assertRefuses(connection, segment, UnexpectedPDU, [PongReceived(CLOCK, 0)])

    def test_handshake_types(self) -> None:
        for pdu_type in (CLIENT_AUTH, SERVER_HELO):
            for size in (0, 16, 176, 340):
                connection, peer = self.open()
                self.assertRefuses(connection, peer.push.pdu(pdu_type, bytes(size)), UnexpectedPDU)

    def test_unknown_types(self) -> None:
        for pdu_type in (0, 6, 255, 2**32 - 1):
            connection, peer = self.open()
            self.assertRefuses(connection, peer.push.pdu(pdu_type), MalformedPDU)

    def test_wrong_magic(self) -> None:
        for magic in (0, 0xBAADC0DF, 0x3AADC0DE):
            connection, peer = self.open()
            segment = peer.push.message(pack_header(DATA, 2, magic)) + peer.push.message(b"ab")
            self.assertRefuses(connection, segment, MalformedPDU)

    def test_over_the_window(self) -> None:
        """From the header alone: nothing of the body is waited for."""
        for pdu_type in (DATA, PING, CLIENT_AUTH):
            for size in (131071, 2**31, 2**32 - 1):
                connection, peer = self.open()
                error = self.assertRefuses(connection, peer.push.message(pack_header(pdu_type, size)), WindowExceeded)
                self.assertIn("131070", str(error))

    def test_the_whole_window(self) -> None:
        connection, peer = self.open()
        payload = os.urandom(131070)
        sealed = peer.push.message(pack_header(DATA, 131070)) + peer.push.message(payload)
        self.assertEqual(list(connection.receive_data(sealed[:-1], NOW)), [])
        self.assertEqual(list(connection.receive_data(sealed[-1:], NOW)), [DataReceived(payload)])

    def test_body_of_another_size(self) -> None:
        """A body sealed shorter or longer than its header says."""
        for size in (4, 6):
            connection, peer = self.open()
            segment = peer.push.message(pack_header(DATA, size)) + peer.push.message(b"hello") + bytes(1)
            self.assertRefuses(connection, segment, DecryptionFailed)

    def test_tag_final(self) -> None:
        for tags in ({"header_tag": TAG_FINAL}, {"body_tag": TAG_FINAL}):
            for pdu_type, body in [(DATA, b"hello"), (DATA, b""), (PING, CLOCK_BODY)]:
                connection, peer = self.open()
                segment = peer.push.pdu(DATA, b"before") + peer.push.pdu(pdu_type, body, **tags)
                self.assertRefuses(connection, segment, MalformedPDU, [DataReceived(b"before")])

    def test_tags_push_and_rekey(self) -> None:
        connection, peer = self.open()
        for header_tag in (TAG_MESSAGE, TAG_PUSH, TAG_REKEY):
            for body_tag in (TAG_MESSAGE, TAG_PUSH, TAG_REKEY):
                sealed = peer.push.pdu(DATA, b"hello", header_tag, body_tag)
                self.assertEqual(list(connection.receive_data(sealed, NOW)), [DataReceived(b"hello")])

    def test_altered(self) -> None:
        for place in range(51):
            connection, peer = self.open()
            segment = flip(peer.push.pdu(DATA, b"hello"), place) + peer.push.pdu(DATA, b"behind")
            self.assertRefuses(connection, segment, DecryptionFailed)

    def test_replayed_dropped_swapped(self) -> None:
        for order in ([0, 0], [1], [0, 2], [0, 2, 1]):
            connection, peer = self.open()
            pdus = [peer.push.pdu(DATA, b"hello") for _ in range(3)]
            good = [DataReceived(b"hello")] if order[0] == 0 else []
            self.assertRefuses(connection, b"".join(pdus[number] for number in order), DecryptionFailed, good)

    def test_own_bytes_reflected(self) -> None:
        connection, _ = self.open()
        self.assertRefuses(connection, wire_of(connection.send_data, b"hello"), DecryptionFailed)

    def test_nothing_after_an_error(self) -> None:
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

    def test_errors_show_no_payload(self) -> None:
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

    def test_eof_between_pdus(self) -> None:
        connection, peer = self.open()
        list(connection.receive_data(peer.push.pdu(DATA, b"hello"), NOW))
        connection.receive_eof()
        self.assertOver(connection)

    def test_eof_inside_a_pdu(self) -> None:
        for size in range(1, 51):
            connection, peer = self.open()
            list(connection.receive_data(peer.push.pdu(DATA, b"hello")[:size], NOW))
            with self.assertRaises(MalformedPDU):
                connection.receive_eof()
            self.assertOver(connection)

    def test_eof_behind_pdus_not_taken(self) -> None:
        """They are lost, so the end is not in order."""
        connection, peer = self.open()
        next(connection.receive_data(peer.push.pdu(DATA, b"first") + peer.push.pdu(DATA, b"second"), NOW))
        with self.assertRaises(MalformedPDU):
            connection.receive_eof()
        self.assertOver(connection)

    def test_eof_after_close(self) -> None:
        connection, peer = self.open()
        list(connection.receive_data(peer.push.pdu(DATA, b"hello")[:30], NOW))
        connection.close()
        connection.receive_eof()
        self.assertOver(connection)

    def test_eof_after_error(self) -> None:
        connection, peer = self.open()
        self.assertRefuses(connection, peer.push.pdu(6), MalformedPDU)
        connection.receive_eof()
        self.assertOver(connection)

    def test_close_drops(self) -> None:
        connection, peer = self.open()
        events = connection.receive_data(peer.push.pdu(DATA, b"first") + peer.push.pdu(DATA, b"second"), NOW)
        next(events)
        connection.close()
        self.assertEqual(list(events), [])
        self.assertOver(connection)

    def test_close_between_header_and_body(self) -> None:
        connection, peer = self.open()
        sealed = peer.push.pdu(DATA, b"hello")
        list(connection.receive_data(sealed[:29], NOW))
        connection.close()
        self.assertEqual(list(connection.receive_data(sealed[29:], NOW)), [])
        self.assertOver(connection)

    def test_close_twice(self) -> None:
        connection, _ = self.open()
        connection.close()
        connection.close()
        self.assertOver(connection)

    def test_close_forgets_the_keys(self) -> None:
        connection, _ = self.open()
        records = weakref.ref(connection._records)
        self.assertIsNotNone(records())
        connection.close()
        self.assertIsNone(records())

    def test_close_with_something_to_send(self) -> None:
        """It can still be taken, and then the keys are forgotten."""
        connection, peer = self.open()
        connection.send_data(b"farewell")
        records = weakref.ref(connection._records)
        connection.close()
        self.assertOver(connection)
        assert isinstance(connection._records, V1Records)
        self.assertIsNone(connection._records.pull, "the key to receive")
        self.assertEqual(peer.pull.pdus(connection.data_to_send()), [(DATA, b"farewell")])
        self.assertIsNone(records())
        self.assertEqual((connection.queued, connection.data_to_send()), (0, b""))

    def test_drop_unsent(self) -> None:
        """What was not handed out is counted, and can be taken back."""
        connection, peer = self.open()
        connection.send_data(b"one")
        connection.send_ping(NOW, CLOCK)
        self.assertEqual(connection.queued, 3 + 46 + 16 + 46)
        connection.drop_unsent()
        self.assertEqual((connection.queued, connection.data_to_send()), (0, b""))
        self.assertEqual(peer.pull.pdus(wire_of(connection.send_data, b"two")), [(DATA, b"two")])
        connection.send_data(b"three")
        records = weakref.ref(connection._records)
        connection.close()
        connection.drop_unsent()
        self.assertEqual((records(), connection.data_to_send()), (None, b""))

    # Sending

    def test_sent_together(self) -> None:
        """What was sent is handed out in its order, as many whole PDUs at once as are asked for, one at the least."""
        connection, peer = self.open()
        for payload in (b"one", b"two", b"three", bytes(1000)):
            connection.send_data(payload)
        self.assertEqual(connection.queued, 3 + 3 + 5 + 1000 + 4 * 46)
        opened = []
        for limit, size in ((1, 49), (49 + 51 - 1, 49), (51, 51), (51, 1046), (51, 0)):
            sealed = connection.data_to_send(limit)
            self.assertEqual(len(sealed), size)
            opened += peer.pull.pdus(sealed)
        self.assertEqual(opened, [(DATA, payload) for payload in (b"one", b"two", b"three", bytes(1000))])
        connection.send_data(b"a")
        connection.send_data(b"b")
        self.assertEqual(peer.pull.pdus(connection.data_to_send(94)), [(DATA, b"a"), (DATA, b"b")])
        self.assertEqual(connection.queued, 0)

    def test_what_may_change_is_copied(self) -> None:
        """Until it is sealed, a buffer is the caller's again; what can't change is kept as it is."""
        connection, peer = self.open()
        changing = bytearray(b"before")
        connection.send_data(changing)
        connection.send_data(memoryview(changing)[2:])
        changing[:] = b"behind"
        self.assertEqual(peer.pull.pdus(connection.data_to_send()), [(DATA, b"before"), (DATA, b"fore")])
        kept = memoryview(b"--hello--")[2:7]
        connection.send_data(kept)
        self.assertIs(connection.unsent.queue[0].obj, kept.obj)

    def test_send_data(self) -> None:
        connection, peer = self.open()
        for payload in (b"", b"x", b"hello", os.urandom(WINDOW)):
            sealed = wire_of(connection.send_data, payload)
            self.assertEqual(len(sealed), len(payload) + 46)
            self.assertEqual(peer.pull.pdus(sealed), [(DATA, payload)])

    def test_send_kinds_of_buffers(self) -> None:
        connection, peer = self.open()
        for payload in (bytearray(b"hello"), memoryview(b"hello"), memoryview(b"--hello--")[2:7]):
            self.assertEqual(peer.pull.pdus(wire_of(connection.send_data, payload)), [(DATA, b"hello")])

    def test_send_too_much(self) -> None:
        """It is refused whole, and the stream goes on."""
        connection, peer = self.open()
        for size in (WINDOW + 1, 2 * WINDOW):
            error = self.assertRaises(PayloadTooLarge, connection.send_data, bytes(size))
            self.assertIn(str(size), str(error))
            self.assertIn("131070", str(error))
        self.assertIs(connection.state, State.OPEN)
        self.assertEqual(peer.pull.pdus(wire_of(connection.send_data, b"hello")), [(DATA, b"hello")])

    def test_send_ping_and_pong(self) -> None:
        connection, peer = self.open()
        ping, pong = wire_of(connection.send_ping, NOW, CLOCK), wire_of(connection.send_pong, CLOCK)
        self.assertEqual((len(ping), len(pong)), (62, 62))
        self.assertEqual(peer.pull.pdus(ping + pong), [(PING, CLOCK_BODY), (PONG, CLOCK_BODY)])

    def test_no_fourth_ping(self) -> None:
        connection, peer = self.open()
        sealed = b"".join(wire_of(connection.send_ping, NOW, CLOCK) for _ in range(3))
        with self.assertRaises(LocalProtocolError):
            wire_of(connection.send_ping, NOW, CLOCK)
        self.assertEqual(
            peer.pull.pdus(sealed + wire_of(connection.send_data, b"")), [(PING, CLOCK_BODY)] * 3 + [(DATA, b"")]
        )

    # Time

    def test_ping_due(self) -> None:
        connection, _ = self.open(draw=lambda: 0)
        self.assertEqual(connection.deadline(), NOW + 60)
        self.assertIs(connection.ping_due(NOW + 59), False)
        self.assertIs(connection.ping_due(NOW + 60), True)
        self.assertEqual(connection.deadline(), NOW + 120)

    def asked(self, connection: Connection, now: float) -> Connection:
        """A PING that was due has left."""
        self.assertIs(connection.ping_due(now), True)
        wire_of(connection.send_ping, now, CLOCK)
        return connection

    def test_inactivity(self) -> None:
        connection = self.asked(self.open(draw=lambda: 1)[0], NOW + 119)
        self.assertEqual(connection.deadline(), NOW + 180)
        self.assertIs(connection.ping_due(NOW + 179), False)
        with self.assertRaises(InactivityTimeout):
            connection.ping_due(NOW + 180)
        self.assertOver(connection)

    def test_each_kind_of_pdu_is_activity(self) -> None:
        for make in (
            lambda peer: peer.push.pdu(DATA),
            lambda peer: peer.push.pdu(PING, CLOCK_BODY),
            lambda peer: peer.push.pdu(PONG, CLOCK_BODY),
        ):
            connection, peer = self.open(draw=lambda: 1)
            self.asked(connection, NOW + 119)
            list(connection.receive_data(make(peer), NOW + 170))
            self.asked(connection, NOW + 238)
            self.assertIs(connection.ping_due(NOW + 349), False)
            self.assertEqual(connection.deadline(), NOW + 350)

    def test_part_of_a_pdu_is_no_activity(self) -> None:
        connection, peer = self.open(draw=lambda: 1)
        self.asked(connection, NOW + 119)
        sealed = peer.push.pdu(DATA, b"hello")
        for place in range(50):
            list(connection.receive_data(sealed[place : place + 1], NOW + place))
        self.assertEqual(connection.deadline(), NOW + 180)

    def test_sending_is_no_activity(self) -> None:
        connection, _ = self.open(draw=lambda: 1)
        self.asked(connection, NOW + 119)
        connection.send_data(b"hello")
        wire_of(connection.send_ping, NOW + 150, CLOCK)
        self.assertEqual(connection.deadline(), NOW + 180)

    def test_reading_paused(self) -> None:
        connection, peer = self.open(draw=lambda: 0)
        list(connection.receive_data(peer.push.pdu(PING, CLOCK_BODY), NOW + 20))
        connection.reading_paused(NOW + 30)
        self.assertEqual(connection.deadline(), NOW + 50)  # as often as the peer
        self.asked(connection, NOW + 50)
        self.assertEqual(connection.deadline(), NOW + 70)
        self.assertIs(connection.ping_due(NOW + 500), True)
        connection.reading_resumed(NOW + 510)
        self.assertIs(connection.ping_due(NOW + 520), True)
        self.assertEqual(connection.deadline(), NOW + 580)

    def test_writing_blocked(self) -> None:
        connection, peer = self.open(draw=lambda: 1)
        connection.writing_blocked(NOW + 10)
        self.asked(connection, NOW + 60)
        list(connection.receive_data(peer.push.pdu(DATA), NOW + 61))
        self.assertIs(connection.ping_due(NOW + 179), False)
        self.assertEqual(connection.deadline(), NOW + 241)
        connection.writing_unblocked(NOW + 200)
        self.assertEqual(connection.deadline(), NOW + 298)
        connection.writing_blocked(NOW + 210)
        with self.assertRaises(InactivityTimeout):
            connection.ping_due(NOW + 390)
        self.assertOver(connection)

    def test_three_pongs_outstanding(self) -> None:
        connection, _ = self.open(draw=lambda: 0, timeouts=Timeouts(inactivity=1000, ping_interval=60))
        for now in (NOW + 60, NOW + 120, NOW + 180):
            self.asked(connection, now)
        with self.assertRaises(PongTimeout):
            connection.ping_due(NOW + 240)
        self.assertOver(connection)

    def test_whose_ping_it_was(self) -> None:
        """Of the caller's own three may be unanswered. Those that were due are told apart, and are not counted."""
        connection, peer = self.open(draw=lambda: 0)
        for _ in range(3):
            wire_of(connection.send_ping, NOW, CLOCK)
        self.asked(connection, NOW + 60)
        self.assertRaises(LocalProtocolError, connection.send_ping, NOW + 61, CLOCK)
        pongs = list(connection.receive_data(b"".join(peer.push.pdu(PONG, CLOCK_BODY) for _ in range(4)), NOW + 62))
        self.assertEqual([pong.asked for pong in pongs if isinstance(pong, PongReceived)], [True] * 3 + [False])
