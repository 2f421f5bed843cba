"""
Tests of :mod:`sodiumtwist.core.v2.asker`: our own requests. Sentences in quotes are the wire document's.
"""

from __future__ import annotations

from typing import cast

from twisted.trial.unittest import SynchronousTestCase

from sodiumtwist.core.errors import LocalProtocolError, PayloadTooLarge, UnexpectedPDU
from sodiumtwist.core.events import AnswerReceived, FailureReceived
from sodiumtwist.core.v2.incoming import Bounds
from sodiumtwist.core.v2.outgoing import PART_SIZE

from .talk import ROOM, End, pdu, reason, welcomed_client


class AskerTests(SynchronousTestCase):
    """What is asked, and what comes of it."""

    def asked(self, count: int = 1, bounds: Bounds = Bounds()) -> End:
        """A client with some requests that have left."""
        client = welcomed_client(bounds)
        for _ in range(count):
            client.dialogue.request(b"question")
        client.take()
        return client

    def assert_broken(self, client: End, *pdus: bytes) -> None:
        client.hear(*pdus[:-1])
        self.assertRaises(UnexpectedPDU, client.hear, pdus[-1])

    def test_request(self) -> None:
        client = welcomed_client()
        self.assertEqual([client.dialogue.request(b"a"), client.dialogue.request(b"b")], [0, 1])
        self.assertEqual(client.take(), pdu("REQUEST", b"a", 0) + pdu("REQUEST", b"b", 1))
        self.assertEqual(client.dialogue.unanswered, (0, 1))

    def test_any_order(self) -> None:
        """“To the REQUEST of that id, in any order”."""
        client = self.asked(3)
        events = client.hear(pdu("ANSWER", b"c", 2), pdu("FAILURE", reason(7, "no"), 0), pdu("ANSWER", b"b", 1))
        self.assertEqual(events, [AnswerReceived(2, b"c"), FailureReceived(0, 7, "no"), AnswerReceived(1, b"b")])
        self.assertEqual(client.dialogue.unanswered, ())

    def test_parts(self) -> None:
        """Of different answers alternate."""
        client = self.asked(2)
        events = client.hear(
            pdu("ANSWER", b"a", 0, more=True),
            pdu("ANSWER", b"b", 1, more=True),
            pdu("ANSWER", b"a", 0, more=True),
            pdu("ANSWER", b"", 0),
            pdu("ANSWER", b"b", 1),
        )
        self.assertEqual(events, [AnswerReceived(0, b"aa"), AnswerReceived(1, b"bb")])

    def test_failure_behind_parts(self) -> None:
        """“Or behind parts of one, which it voids”."""
        client = self.asked()
        events = client.hear(pdu("ANSWER", b"a", 0, more=True), pdu("FAILURE", reason(9, "disk"), 0))
        self.assertEqual(events, [FailureReceived(0, 9, "disk")])
        self.assert_broken(client, pdu("ANSWER", b"b", 0))

    def test_to_nothing(self) -> None:
        """“An ANSWER or FAILURE to nothing”."""
        answers = [pdu("ANSWER", b"x", 5), pdu("ANSWER", b"x", 5, more=True), pdu("FAILURE", reason(7), 5)]
        for answer in answers:
            self.assert_broken(self.asked(), answer)
            client = self.asked(6)
            client.hear(pdu("ANSWER", b"x", 5))
            self.assert_broken(client, answer)

    def test_to_one_that_has_not_left(self) -> None:
        """Which is to nothing, too."""
        for payload in (b"x", bytes(100000)):
            for answer in (pdu("ANSWER", b"x"), pdu("ANSWER", b"x", more=True), pdu("FAILURE", reason(7))):
                client = welcomed_client()
                client.dialogue.request(payload)
                self.assert_broken(client, answer)
        client = welcomed_client()
        for _ in range(2):
            client.dialogue.request(b"x")
        client.take(13)
        client.hear(pdu("ANSWER", b"x", 0))
        self.assert_broken(client, pdu("ANSWER", b"x", 1))

    def test_early_answer(self) -> None:
        """“ANSWER or FAILURE may come before the last part: an asker that has not sent it yet then sends an
        empty one”."""
        answers = [pdu("ANSWER", b"x"), pdu("ANSWER", b"x", more=True), pdu("FAILURE", reason(5))]
        for answer in answers:
            client = welcomed_client()
            client.dialogue.request(bytes(5 * PART_SIZE))
            client.take()
            waiting = client.unsent.size
            events = client.hear(answer)
            self.assertEqual(len(events), answer is not answers[1])
            self.assertLess(client.unsent.size, waiting)
            self.assertEqual(client.take(), pdu("REQUEST"))
            self.assertEqual(client.unsent.size, 0)
        self.assertEqual(client.dialogue.unanswered, ())

    def test_answer_behind_last_part(self) -> None:
        """Then nothing more is sent."""
        client = welcomed_client()
        client.dialogue.request(bytes(2 * PART_SIZE))
        client.take()
        client.hear(pdu("ANSWER", b"x"))
        self.assertEqual(client.take(), b"")

    def test_ids(self) -> None:
        """One number after the other, without those in use."""
        client = self.asked(2)
        client.hear(pdu("ANSWER", b"", 1))
        self.assertEqual(client.dialogue.request(b""), 2)
        client.dialogue.asker._next = 2**32 - 1
        ids = [client.dialogue.request(b"") for _ in range(3)]
        self.assertEqual(ids, [2**32 - 1, 1, 3])  # 0 and 2 wait

    def test_id_until_the_last_part_has_left(self) -> None:
        """“An id is free again when its part without MORE was sent and its answer is complete”."""
        for room in (ROOM, 13):
            client = welcomed_client()
            client.dialogue.request(bytes(5 * PART_SIZE))
            client.take()
            client.hear(pdu("ANSWER", b"", 0))
            client.dialogue.asker._next = 0
            self.assertEqual(client.dialogue.request(b""), 1)
            self.assertEqual(client.take(room)[:12], pdu("REQUEST", b"", 0))
            client.dialogue.asker._next = 0
            self.assertEqual(client.dialogue.request(b""), 0)

    def test_too_large(self) -> None:
        """Nothing is sent of what the peer would drop."""
        client = welcomed_client(Bounds(message=10))
        client.dialogue.request(bytes(10))
        for payload in (bytes(11), memoryview(bytes(11))):
            self.assertRaisesRegex(PayloadTooLarge, "11 bytes; at most 10", client.dialogue.request, payload)
        self.assertEqual(client.dialogue.unanswered, (0,))

    def test_buffers(self) -> None:
        """Any bytes can be sent; what may change is copied."""
        client, payload = welcomed_client(), bytearray(b"abcd")
        client.dialogue.request(payload)
        client.dialogue.request(memoryview(payload)[1:3])
        client.dialogue.request(memoryview(b"abcdefgh").cast("I"))
        payload[:] = b"xxxx"
        self.assertEqual([one[3] for one in client.said()], [b"abcd", b"bc", b"abcdefgh"])
        self.assertRaises(TypeError, client.dialogue.request, "text")

    # Too large an answer

    def test_answer_too_large(self) -> None:
        """“An ANSWER too large is dropped to its end and fails at the asker”."""
        client = self.asked(1, Bounds(message=10))
        events = client.hear(
            *[pdu("ANSWER", bytes(6), more=True)] * 3,
            pdu("ANSWER", bytes(6)),
        )
        self.assertEqual(events, [FailureReceived(0, 5, "the answer: more than 10 bytes")])
        self.assert_broken(client, pdu("ANSWER"))

    def test_answer_too_large_in_its_last_part(self) -> None:
        for parts in ([pdu("ANSWER", bytes(11))], [pdu("ANSWER", bytes(6), more=True), pdu("ANSWER", bytes(6))]):
            client = self.asked(1, Bounds(message=10))
            self.assertEqual(client.hear(*parts), [FailureReceived(0, 5, "the answer: more than 10 bytes")])

    def test_too_much_at_once(self) -> None:
        """“What is being put together 64 MiB a connection, beyond it FAILURE 3”."""
        client = self.asked(2, Bounds(connection=10))
        events = client.hear(
            pdu("ANSWER", bytes(6), 0, more=True),
            pdu("ANSWER", bytes(6), 1, more=True),
            pdu("ANSWER", bytes(4), 0, more=True),
            pdu("ANSWER", b"", 1),
            pdu("ANSWER", b"", 0),
        )
        failure = FailureReceived(1, 3, "the answer: no room, try again later")
        self.assertEqual(events, [failure, AnswerReceived(0, bytes(10))])

    def test_failure_of_one_that_is_dropped(self) -> None:
        """The peer's reason counts."""
        client = self.asked(1, Bounds(message=10))
        client.hear(*[pdu("ANSWER", bytes(6), more=True)] * 3)
        self.assertEqual(client.hear(pdu("FAILURE", reason(9, "disk"))), [FailureReceived(0, 9, "disk")])

    def test_failure_makes_room(self) -> None:
        """What came of the answer is forgotten with it."""
        client = self.asked(2, Bounds(message=20, connection=10))
        client.hear(pdu("ANSWER", bytes(6), 0, more=True), pdu("ANSWER", bytes(6), 1, more=True))
        client.hear(pdu("FAILURE", reason(7), 0), pdu("FAILURE", reason(7), 1))
        self.assertEqual(client.dialogue.asker._given_up, {})
        id = client.dialogue.request(b"")
        client.take()
        events = client.hear(pdu("ANSWER", bytes(9), id, more=True), pdu("ANSWER", b"x", id))
        self.assertEqual(events, [AnswerReceived(id, bytes(9) + b"x")])

    # CANCEL

    def test_cancel(self) -> None:
        """“One ANSWER or FAILURE still comes”."""
        for answer in (pdu("ANSWER", b"x", 1), pdu("FAILURE", reason(10, "cancelled"), 1)):
            client = self.asked(2)
            client.dialogue.cancel(1)
            self.assertEqual(client.take(), pdu("CANCEL", b"", 1))
            self.assertEqual(client.dialogue.unanswered, (0, 1))
            self.assertEqual(len(client.hear(answer)), 1)

    def test_cancel_twice(self) -> None:
        """It's said once."""
        client = self.asked(1, Bounds(message=10))
        client.dialogue.cancel(0)
        client.dialogue.cancel(0)
        self.assertEqual(client.take(), pdu("CANCEL"))
        client.hear(*[pdu("ANSWER", bytes(6), more=True)] * 3)
        client.dialogue.cancel(0)
        self.assertEqual(client.take(), b"")

    def test_cancel_nothing(self) -> None:
        client = self.asked()
        client.hear(pdu("ANSWER"))
        for id in (0, 1):
            self.assertRaisesRegex(LocalProtocolError, f"no request {id} of ours", client.dialogue.cancel, id)

    def test_cancel_before_it_left(self) -> None:
        """A CANCEL never comes before what it cancels: there it would be one to nothing."""
        client = welcomed_client()
        small, large = client.dialogue.request(b"x"), client.dialogue.request(bytes(3 * PART_SIZE))
        client.dialogue.cancel(small)
        client.dialogue.cancel(large)
        waiting = client.unsent.size
        said = client.all_said()
        self.assertEqual(sum(12 + len(cast(bytes, one[3])) for one in said), waiting)
        self.assertEqual(
            [(one[0], one[2]) for one in said[:4]], [("REQUEST", 0), ("CANCEL", 0), ("REQUEST", 1), ("CANCEL", 1)]
        )
        self.assertEqual(len(said), 6)

    def test_cancel_between_parts(self) -> None:
        """It overtakes them. They go on, for without them the question would be another one, until the answer comes."""
        client = welcomed_client()
        id = client.dialogue.request(bytes(5 * PART_SIZE))
        client.take()
        client.dialogue.cancel(id)
        self.assertEqual([one[0] for one in client.said()], ["CANCEL", "REQUEST", "REQUEST"])
        client.hear(pdu("FAILURE", reason(10), id))
        self.assertEqual(client.all_said(), [("REQUEST", False, id, b"")])

    def test_drop_large_that_is_cancelled(self) -> None:
        client = welcomed_client()
        client.dialogue.cancel(client.dialogue.request(bytes(5 * PART_SIZE)))
        client.dialogue.abort(4, "")
        self.assertEqual(client.unsent.size, 16)

    def test_unknown_room(self) -> None:
        """A request that leaves with others in one record of two has left, and the other has not."""
        client = welcomed_client()
        for _ in range(3):
            client.dialogue.request(bytes(ROOM // 2 - 100 - 12 - 5000))
        client.take()
        client.hear(pdu("ANSWER", b"", 0), pdu("ANSWER", b"", 1))
        self.assert_broken(client, pdu("ANSWER", b"", 2))
