"""
The PDUs behind the handshake, as they are sealed and opened.
"""

from __future__ import annotations

from typing import Union

from hypothesis import example, given, strategies as st
from twisted.trial.unittest import SynchronousTestCase

from sodiumtwist.core.errors import DecryptionFailed, MalformedPDU, UnexpectedPDU, WindowExceeded
from sodiumtwist.core.events import DataReceived, Event, KeyProven, PingReceived, PongReceived
from sodiumtwist.core.inbox import Inbox
from sodiumtwist.core.unsent import Unsent
from sodiumtwist.core.v1.records import Proof, PullStream, PushStream, V1Records

from ..peers import (
    CLOCK,
    CLOCK_BODY,
    DATA,
    PING,
    PONG,
    SERVER_HELO,
    TAG_MESSAGE,
    TAG_REKEY,
    WINDOW,
    PlainPull,
    PlainPush,
    cut,
    flip,
    pack_header,
)

SEND_KEY, RECEIVE_KEY = b"\x51" * 32, b"\x52" * 32

#: What is sent: a DATA with a payload, or ``"ping"`` or ``"pong"``.
Saying = Union[bytes, str]
SAYINGS = st.lists(st.one_of(st.binary(max_size=40), st.sampled_from(["ping", "pong"])), max_size=12)
PIECES = st.lists(st.integers(1, 120), max_size=40)


class RecordsTestCase(SynchronousTestCase):
    """Has one end's records, and a peer made by hand."""

    def setUp(self) -> None:
        self.start()

    def start(self) -> None:
        push = PushStream(SEND_KEY)
        self.peer_push = PlainPush(RECEIVE_KEY)
        self.peer_pull = PlainPull(SEND_KEY, push.header)
        self.records = V1Records(push, PullStream(RECEIVE_KEY, self.peer_push.header))
        self.inbox = Inbox()

    def receive_all(self) -> list[Event]:
        """Take all events that are there."""
        events = []
        while self.inbox.data and (event := self.records.receive(self.inbox)) is not None:
            events.append(event)
        return events

    def receive(self, data: bytes) -> list[Event]:
        self.inbox.put(data)
        return self.receive_all()


class ReceiveTests(RecordsTestCase):
    """Opening."""

    def test_each_type(self) -> None:
        """The body of a DATA is its payload, those of PING and PONG a time; who counts knows how old a PONG is."""
        for pdu_type, body, event in (
            (DATA, b"hello", DataReceived(b"hello")),
            (DATA, b"", DataReceived(b"")),
            (PING, CLOCK_BODY, PingReceived(CLOCK)),
            (PING, CLOCK_BODY[:12], PingReceived(CLOCK)),
            (PONG, CLOCK_BODY, PongReceived(CLOCK, 0.0)),
        ):
            # Whole, and cut behind its header: these go different ways.
            self.assertEqual(self.receive(self.peer_push.pdu(pdu_type, body)), [event])
            sealed = self.peer_push.pdu(pdu_type, body)
            self.assertEqual(self.receive(sealed[:30]) + self.receive(sealed[30:]), [event])
            self.assertEqual(self.inbox.size, 0)

    def test_many_in_one_read(self) -> None:
        """One is opened at a time, and the others stay where they are."""
        read = b"".join(self.peer_push.pdu(DATA, bytes([number]) * number) for number in range(20))
        self.inbox.put(read)
        self.assertEqual(self.records.receive(self.inbox), DataReceived(b""))
        self.assertIs(self.inbox.data, read)
        self.assertEqual(self.inbox.offset, 46)
        self.assertEqual(self.receive_all(), [DataReceived(bytes([number]) * number) for number in range(1, 20)])
        self.assertEqual((self.inbox.data, self.inbox.offset), (b"", 0))

    def test_what_was_opened_is_let_go(self) -> None:
        """With the last PDU of a read, not when the next read comes."""
        for pdu_type, body in ((DATA, b"hello"), (PING, CLOCK_BODY)):
            self.inbox.put(self.peer_push.pdu(pdu_type, body))
            self.records.receive(self.inbox)
            self.assertEqual((self.inbox.data, self.inbox.offset), (b"", 0))

    def test_header_alone(self) -> None:
        """It is opened, once, and nothing of it waits; it is known that a body belongs behind it."""
        sealed = self.peer_push.pdu(DATA, b"hello")
        self.assertFalse(self.records.inside)
        self.assertEqual(self.receive(sealed[:28]), [])
        self.assertFalse(self.records.inside)
        self.assertEqual(self.receive(sealed[28:29]), [])
        self.assertTrue(self.records.inside)
        self.assertEqual(self.inbox.size, 0)
        self.assertIsNone(self.records.receive(self.inbox))
        self.assertEqual(self.receive(sealed[29:50]), [])
        self.assertTrue(self.records.inside)
        self.assertEqual(self.receive(sealed[50:]), [DataReceived(b"hello")])
        self.assertFalse(self.records.inside)

    def test_inside_a_long_body(self) -> None:
        """Also where the header came with so much of the body that a shorter PDU would have been whole."""
        sealed = self.peer_push.pdu(DATA, bytes(100))
        self.assertEqual(self.receive(sealed[:46]), [])
        self.assertTrue(self.records.inside)
        self.assertEqual(self.inbox.size, 17)
        self.assertEqual(self.receive(sealed[46:]), [DataReceived(bytes(100))])
        self.assertFalse(self.records.inside)

    def test_inside_behind_others(self) -> None:
        for size, inside in ((0, False), (28, False), (29, True), (46, True), (51, True)):
            self.start()
            first, second = self.peer_push.pdu(DATA, b"first"), self.peer_push.pdu(DATA, b"second")
            self.assertEqual(self.receive(first + second[:size]), [DataReceived(b"first")], size)
            self.assertIs(self.records.inside, inside, size)
            self.assertEqual(self.receive(second[size:]), [DataReceived(b"second")], size)
            self.assertFalse(self.records.inside)

    @given(SAYINGS, PIECES)
    @example([b"abc", "ping", b""], [1] * 200)
    def test_any_cut(self, sayings: list[Saying], pieces: list[int]) -> None:
        """The events are those of the PDUs in one read, and ``inside`` is true from a header to its body's end."""
        self.start()
        types = {"ping": PING, "pong": PONG}
        sealed = [
            self.peer_push.pdu(DATA, each) if isinstance(each, bytes) else self.peer_push.pdu(types[each], CLOCK_BODY)
            for each in sayings
        ]
        expected: list[Event] = [
            DataReceived(each)
            if isinstance(each, bytes)
            else (PingReceived(CLOCK) if each == "ping" else PongReceived(CLOCK, 0.0))
            for each in sayings
        ]
        # Between these two places, counted from the first byte of all, a PDU has begun for good and is not whole.
        ends = [sum(map(len, sealed[: number + 1])) for number in range(len(sealed))]
        spans = [(end - len(pdu) + 29, end) for pdu, end in zip(sealed, ends, strict=True)]
        events: list[Event] = []
        received = 0
        for piece in cut(b"".join(sealed), pieces):
            events += self.receive(piece)
            received += len(piece)
            self.assertEqual(len(events), sum(end <= received for end in ends))
            self.assertIs(self.records.inside, any(first <= received < end for first, end in spans))
        self.assertEqual(events, expected)

    def test_judged_by_the_header(self) -> None:
        """What is not allowed is refused before its body has come."""
        for header, error in (
            (pack_header(DATA, WINDOW + 1), WindowExceeded),
            (pack_header(SERVER_HELO, 10), UnexpectedPDU),
            (pack_header(PING, 13), MalformedPDU),
        ):
            # Alone, and with so many bytes behind it that the quick way is taken.
            for behind in (b"", bytes(17)):
                self.start()
                self.inbox.put(self.peer_push.message(header) + behind)
                self.assertRaises(error, self.records.receive, self.inbox)

    def test_altered(self) -> None:
        """Header or body, whole or cut."""
        for place in (0, 28, 29, 50):
            for sizes in ([51], [10], [29], [40]):
                self.start()
                pieces = cut(flip(self.peer_push.pdu(DATA, b"hello"), place), sizes)
                with self.assertRaises(DecryptionFailed):
                    for piece in pieces:
                        self.assertEqual(self.receive(piece), [])


class SealTests(RecordsTestCase):
    """Sealing."""

    def unsent(self, sayings: list[Saying]) -> Unsent:
        """Queue a DATA for each payload, and else what the records lay out."""
        unsent = Unsent()
        for each in sayings:
            if isinstance(each, bytes):
                unsent.queue.append(each)
                unsent.size += len(each) + 46
            else:
                before = unsent.size
                (self.records.ping if each == "ping" else self.records.pong)(unsent, CLOCK)
                self.assertEqual(unsent.size - before, 62)
        return unsent

    @staticmethod
    def sizes(sayings: list[Saying]) -> list[int]:
        """How many bytes each takes on the wire."""
        return [46 + (len(each) if isinstance(each, bytes) else 16) for each in sayings]

    def opened(self, wire: bytes) -> list[Saying]:
        """What the peer finds in it."""
        found: list[Saying] = []
        for pdu_type, body in self.peer_pull.pdus(wire):
            if pdu_type == DATA:
                found.append(body)
            else:
                self.assertEqual(body, CLOCK_BODY)
                found.append({PING: "ping", PONG: "pong"}[pdu_type])
        return found

    def test_one(self) -> None:
        for saying in (b"hello", b"", "ping", "pong"):
            unsent = self.unsent([saying])
            sealed = self.records.seal(unsent, 1)
            self.assertEqual(([len(sealed)], self.opened(sealed)), (self.sizes([saying]), [saying]))
            self.assertEqual(len(unsent.queue), 0)

    def test_together_in_order(self) -> None:
        """PINGs and PONGs keep their place among DATA."""
        sayings: list[Saying] = ["ping", b"one", "pong", b"", b"two", "ping", "ping"]
        unsent = self.unsent(sayings)
        self.assertEqual(self.opened(self.records.seal(unsent, 10_000)), sayings)
        self.assertEqual(len(unsent.queue), 0)

    def test_views(self) -> None:
        """A payload may be a view of bytes."""
        unsent = Unsent()
        unsent.queue += [memoryview(b"--one--")[2:5], memoryview(b"--two--")[2:5]]
        self.assertEqual(self.opened(self.records.seal(unsent, 10_000)), [b"one", b"two"])

    def test_limit(self) -> None:
        """What fits exactly is taken; a byte less, and it waits."""
        for second, size in ((b"hello", 51), ("ping", 62)):
            for missing, count in ((0, 2), (1, 1)):
                self.start()
                unsent = self.unsent([b"abc", second, b"third"])
                sealed = self.records.seal(unsent, 49 + size - missing)
                self.assertEqual(self.opened(sealed), [b"abc", second][:count])
                self.assertEqual(len(unsent.queue), 3 - count)

    def test_none_overtakes(self) -> None:
        """A small one waits behind one that does not fit."""
        unsent = self.unsent([b"abc", bytes(1000), b""])
        self.assertEqual(self.opened(self.records.seal(unsent, 200)), [b"abc"])
        self.assertEqual(self.opened(self.records.seal(unsent, 200)), [bytes(1000)])
        self.assertEqual(self.opened(self.records.seal(unsent, 200)), [b""])

    def test_at_least_one(self) -> None:
        unsent = self.unsent([bytes(1000), b"", "ping"])
        for limit, expected in ((0, [bytes(1000)]), (1, [b""]), (-5, ["ping"])):
            self.assertEqual(self.opened(self.records.seal(unsent, limit)), expected)

    @given(SAYINGS, st.lists(st.integers(1, 300), max_size=20))
    def test_any_limits(self, sayings: list[Saying], limits: list[int]) -> None:
        """Each time as many as fit and at least one, all in order."""
        self.start()
        unsent, later = self.unsent(sayings), iter(limits)
        opened: list[Saying] = []
        while unsent.queue:
            left, limit = self.sizes(sayings[len(opened) :]), next(later, 10_000)
            sealed = self.records.seal(unsent, limit)
            count = next(count for count in range(len(left), 0, -1) if count == 1 or sum(left[:count]) <= limit)
            self.assertEqual(len(sealed), sum(left[:count]))
            opened += self.opened(sealed)
            self.assertEqual(len(unsent.queue), len(sayings) - len(opened))
        self.assertEqual(opened, sayings)

    def test_rekey(self) -> None:
        """The next PDU, of whatever type, brings a new key, those behind it none; and our own end can follow."""
        for first_saying in (b"first", "ping"):
            self.start()
            self.records.rekey()
            sayings: list[Saying] = [first_saying, b"second"]
            sealed = self.records.seal(self.unsent(sayings), 10_000)
            first = self.sizes(sayings)[0]
            tags = [
                self.peer_pull.message(sealed[start:end])[1]
                for start, end in ((0, 29), (29, first), (first, first + 29), (first + 29, len(sealed)))
            ]
            self.assertEqual(tags, [TAG_MESSAGE, TAG_REKEY, TAG_MESSAGE, TAG_MESSAGE])

    def test_rekey_is_followed(self) -> None:
        """Records of the other end open what comes before and behind."""
        push = PushStream(SEND_KEY)
        ours = V1Records(push)
        theirs = V1Records(PushStream(RECEIVE_KEY), PullStream(SEND_KEY, push.header))
        for payload in (b"one", b"two", b"three"):
            unsent = Unsent()
            unsent.queue += [payload, payload]
            self.inbox.put(ours.seal(unsent, 10_000))
            for _ in range(2):
                self.assertEqual(theirs.receive(self.inbox), DataReceived(payload))
            ours.rekey()


class ProofTests(RecordsTestCase):
    """What shows that a client has its key."""

    def setUp(self) -> None:
        super().setUp()
        self.proof = Proof(self.records)

    def test_header(self) -> None:
        """It is a header that opens, and no byte less; the PDU is still to come."""
        for pdu_type, body, event in (
            (DATA, b"hello", DataReceived(b"hello")),
            (DATA, b"", DataReceived(b"")),
            (PING, CLOCK_BODY, PingReceived(CLOCK)),
        ):
            self.start()
            proof = Proof(self.records)
            sealed = self.peer_push.pdu(pdu_type, body)
            self.inbox.put(sealed[:28])
            self.assertIsNone(proof.receive(self.inbox))
            self.inbox.put(sealed[28:29])
            self.assertEqual(proof.receive(self.inbox), KeyProven())
            self.assertTrue(self.records.inside)
            self.assertEqual(self.receive(sealed[29:]), [event])

    def test_with_all_that_follows(self) -> None:
        """In one read, too, the PDU comes behind the proof."""
        self.inbox.put(self.peer_push.pdu(DATA, b"one") + self.peer_push.pdu(DATA, b"two"))
        self.assertEqual(self.proof.receive(self.inbox), KeyProven())
        self.assertEqual(self.receive_all(), [DataReceived(b"one"), DataReceived(b"two")])

    def test_no_proof(self) -> None:
        """What does not open, or may not be sent, proves nothing."""
        self.inbox.put(flip(self.peer_push.pdu(DATA, b"hello"), 3))
        self.assertRaises(DecryptionFailed, self.proof.receive, self.inbox)
        self.assertFalse(self.records.inside)
        self.start()
        self.inbox.put(self.peer_push.pdu(SERVER_HELO))
        self.assertRaises(UnexpectedPDU, Proof(self.records).receive, self.inbox)
        self.assertFalse(self.records.inside)
