"""
Tests of :mod:`sodiumtwist.core.v2.answerer`: the peer's requests. Sentences in quotes are the wire document's.
"""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from sodiumtwist.core.errors import LocalProtocolError, PayloadTooLarge, UnexpectedPDU, WindowExceeded
from sodiumtwist.core.events import RequestCancelled, RequestReceived
from sodiumtwist.core.v2.incoming import Bounds
from sodiumtwist.core.v2.outgoing import PART_SIZE

from .talk import End, pdu, reason, welcoming_server

NO_ROOM = "no room, try again later"


class AnswererTests(SynchronousTestCase):
    """What is answered."""

    def assert_in_use(self, server: End, id: int) -> None:
        for more in (False, True):
            with self.assertRaisesRegex(UnexpectedPDU, f"REQUEST with the id {id}, which is in use"):
                server.hear(pdu("REQUEST", b"x", id, more=more))

    def assert_no_request(self, server: End, id: int) -> None:
        pattern = f"there is no request {id} of the peer without its answer"
        self.assertRaisesRegex(LocalProtocolError, pattern, server.dialogue.answer, id, b"")
        self.assertRaisesRegex(LocalProtocolError, pattern, server.dialogue.answer, id, bytes(100000))
        self.assertRaisesRegex(LocalProtocolError, pattern, server.dialogue.fail, id, 7, "")

    def test_any_order(self) -> None:
        """“In any order”; ids are the asker's, any of them."""
        server = welcoming_server()
        ids = [0, 2**32 - 1, 77]
        events = server.hear(*[pdu("REQUEST", b"q%d" % id, id) for id in ids])
        self.assertEqual(events, [RequestReceived(id, b"q%d" % id) for id in ids])
        server.dialogue.answer(77, b"a")
        server.dialogue.fail(0, 0x80000000, "☃")
        server.dialogue.answer(2**32 - 1, bytearray(b"b"))
        said = [pdu("ANSWER", b"a", 77), pdu("FAILURE", reason(0x80000000, "☃"), 0), pdu("ANSWER", b"b", 2**32 - 1)]
        self.assertEqual(server.take(), b"".join(said))
        for id in ids:
            self.assert_no_request(server, id)

    def test_parts(self) -> None:
        """“A message in parts is put together by type and id”, “parts of different ids alternate”."""
        server = welcoming_server()
        events = server.hear(
            pdu("REQUEST", b"a", 0, more=True),
            pdu("REQUEST", b"b", 1, more=True),
            pdu("REQUEST", b"whole", 2),
            pdu("REQUEST", b"a", 0),
            pdu("REQUEST", b"", 1),
        )
        self.assertEqual(events, [RequestReceived(2, b"whole"), RequestReceived(0, b"aa"), RequestReceived(1, b"b")])

    def test_nothing_to_answer(self) -> None:
        server = welcoming_server()
        self.assert_no_request(server, 0)
        server.hear(pdu("REQUEST", b"x", 0, more=True))
        self.assert_no_request(server, 0)  # the application does not know it yet
        server.hear(pdu("REQUEST", b"x", 1))
        self.assertRaises(PayloadTooLarge, welcoming_server(Bounds(message=9)).dialogue.answer, 1, bytes(10))
        self.assertRaises(LocalProtocolError, server.dialogue.fail, 1, 7, "x" * 1025)
        self.assertRaises(LocalProtocolError, server.dialogue.fail, 1, -1, "")
        server.dialogue.answer(1, b"")

    def test_before_welcome(self) -> None:
        """Nothing was asked, and nothing can be said."""
        for end in (End(True), End(False)):
            self.assertRaisesRegex(LocalProtocolError, "cannot send ANSWER before", end.dialogue.answer, 0, b"")
            self.assertRaisesRegex(LocalProtocolError, "cannot send FAILURE before", end.dialogue.fail, 0, 7, "")

    def test_large(self) -> None:
        server, answer = welcoming_server(), bytes(range(256)) * 1024
        server.hear(pdu("REQUEST", b"x", 9))
        server.dialogue.answer(9, answer)
        said = server.all_said()
        self.assertEqual([one[:3] for one in said], [("ANSWER", True, 9)] * 3 + [("ANSWER", False, 9)])
        self.assertEqual(b"".join(one[3] for one in said), answer)  # type: ignore[misc]

    def test_answer_twice(self) -> None:
        """Whatever the first time was, also while parts of it wait."""
        for payload in (b"", bytes(100000)):
            server = welcoming_server()
            server.hear(pdu("REQUEST", b"x"))
            server.dialogue.answer(0, payload)
            self.assertRaises(LocalProtocolError, server.dialogue.answer, 0, b"")
            self.assertRaises(LocalProtocolError, server.dialogue.answer, 0, bytes(100000))
        server = welcoming_server()
        server.hear(pdu("REQUEST", b"x"))
        server.dialogue.fail(0, 7, "")
        self.assert_no_request(server, 0)

    def test_failure_while_parts_are_under_way(self) -> None:
        """“Behind parts of one, which it voids”; what has not left, does not leave."""
        server = welcoming_server()
        server.hear(pdu("REQUEST", b"x"))
        server.dialogue.answer(0, bytes(5 * PART_SIZE))
        server.take()
        server.dialogue.fail(0, 9, "disk")
        self.assertEqual(server.take(), pdu("FAILURE", reason(9, "disk")))
        self.assertEqual(server.unsent.size, 0)
        self.assert_no_request(server, 0)

    # Ids

    def test_in_use(self) -> None:
        """“A REQUEST with an id in use”: until its answer has left whole."""
        server = welcoming_server()
        server.hear(pdu("REQUEST", b"x", 5))
        self.assert_in_use(server, 5)
        server.dialogue.answer(5, b"y")
        self.assert_in_use(server, 5)
        server.take()
        server.hear(pdu("REQUEST", b"x", 5))

    def test_in_use_while_parts_leave(self) -> None:
        server = welcoming_server()
        server.hear(pdu("REQUEST", b"x", 5))
        server.dialogue.answer(5, bytes(3 * PART_SIZE))
        while server.unsent.size:
            self.assert_in_use(server, 5)
            server.take()
        server.hear(pdu("REQUEST", b"x", 5))
        server.dialogue.answer(5, bytes(3 * PART_SIZE))
        server.take()
        server.dialogue.fail(5, 7, "")
        self.assert_in_use(server, 5)
        server.take()
        server.hear(pdu("REQUEST", b"x", 5))

    def test_in_use_until_its_record(self) -> None:
        """Answers that leave one by one free their ids one by one."""
        server = welcoming_server()
        server.hear(*[pdu("REQUEST", b"x", id) for id in (5, 6, 7)])
        server.dialogue.answer(5, b"y")
        server.dialogue.fail(6, 7, "")
        server.dialogue.answer(7, b"y")
        server.take(13 + 16)
        server.hear(pdu("REQUEST", b"x", 5), pdu("REQUEST", b"x", 6))
        self.assert_in_use(server, 7)

    def test_free_again(self) -> None:
        """“An id is free again when its part without MORE was sent and its answer is complete”."""
        server = welcoming_server(Bounds(message=10))
        server.hear(pdu("REQUEST", bytes(11), 5, more=True))
        self.assertEqual(server.take(), pdu("FAILURE", reason(5, "more than 10 bytes"), 5))
        # Its answer is complete, and the asker has not sent the last part yet.
        self.assertEqual(server.hear(pdu("REQUEST", b"", 5)), [])
        self.assertEqual(server.hear(pdu("REQUEST", b"new", 5)), [RequestReceived(5, b"new")])

    def test_answer_before_last_part(self) -> None:
        """“The receiver drops parts until then”."""
        server = welcoming_server(Bounds(message=10))
        parts = [pdu("REQUEST", bytes(6), 5, more=True)] * 5
        self.assertEqual(server.hear(*parts, pdu("CANCEL", b"", 5), *parts, pdu("REQUEST", b"end", 5)), [])
        self.assert_in_use(server, 5)  # the failure has not left
        self.assertEqual(server.take(), pdu("FAILURE", reason(5, "more than 10 bytes"), 5))
        self.assertEqual(server.hear(pdu("REQUEST", b"new", 5)), [RequestReceived(5, b"new")])

    # Bounds

    def test_too_large(self) -> None:
        """“A REQUEST too large gets FAILURE 5”."""
        too_large = pdu("FAILURE", reason(5, "more than 10 bytes"), 5)
        for parts in ([bytes(11)], [bytes(6), bytes(5)], [bytes(6), bytes(6), b"x"]):
            server = welcoming_server(Bounds(message=10))
            for part in parts[:-1]:
                server.hear(pdu("REQUEST", part, 5, more=True))
            self.assertEqual(server.hear(pdu("REQUEST", parts[-1], 5)), [])
            self.assertEqual(server.take(), too_large)
            server.hear(pdu("REQUEST", bytes(10), 5))
        self.assertEqual(len(server.events), 1)

    def test_too_much_at_once(self) -> None:
        """“What is being put together 64 MiB a connection, beyond it FAILURE 3”."""
        server = welcoming_server(Bounds(connection=10))
        server.hear(
            pdu("REQUEST", bytes(6), 0, more=True),
            pdu("REQUEST", bytes(100), 1),  # in one part, so it does not count
            pdu("REQUEST", bytes(6), 2, more=True),
            pdu("REQUEST", bytes(4), 0),
        )
        self.assertEqual([event.id for event in server.events], [1, 0])  # type: ignore[union-attr]
        self.assertEqual(server.take(), pdu("FAILURE", reason(3, NO_ROOM), 2))

    def test_too_many(self) -> None:
        """“1024 unanswered REQUESTs, counted from their first part, the next gets FAILURE 3”."""
        server = welcoming_server()
        server.hear(*[pdu("REQUEST", b"x", id, more=bool(id % 2)) for id in range(1024)])
        self.assertEqual(len(server.events), 512)
        server.hear(pdu("REQUEST", b"x", 5000), pdu("REQUEST", b"x", 5001, more=True))
        self.assertEqual(len(server.events), 512)
        self.assertEqual(
            server.take(), pdu("FAILURE", reason(3, NO_ROOM), 5000) + pdu("FAILURE", reason(3, NO_ROOM), 5001)
        )
        server.hear(pdu("REQUEST", b"y", 1))  # the last part of one of them
        self.assertEqual(server.events[-1], RequestReceived(1, b"xy"))

    def test_room_again(self) -> None:
        """With an answer that has left."""
        server = welcoming_server(Bounds(requests=2))
        server.hear(pdu("REQUEST", b"x", 0), pdu("REQUEST", b"x", 1, more=True))
        server.dialogue.answer(0, b"")
        server.hear(pdu("REQUEST", b"x", 2))
        self.assertEqual([one[:3] for one in server.said()], [("ANSWER", False, 0), ("FAILURE", False, 2)])
        self.assertEqual(server.hear(pdu("REQUEST", b"x", 3)), [RequestReceived(3, b"x")])

    def test_failed_ones_need_no_room(self) -> None:
        """Parts that are dropped are of no unanswered request."""
        server = welcoming_server(Bounds(requests=1, message=10))
        server.hear(pdu("REQUEST", bytes(11), 0, more=True))
        server.take()
        self.assertEqual(server.hear(pdu("REQUEST", b"x", 1)), [RequestReceived(1, b"x")])

    def test_no_room_of_failed_ones(self) -> None:
        """When the last part of one that failed has come, there is room for as many as before, and no more."""
        server = welcoming_server(Bounds(requests=1, message=10))
        server.hear(pdu("REQUEST", bytes(11), 0, more=True))
        server.take()
        server.hear(pdu("REQUEST", b"", 0), pdu("REQUEST", b"x", 1), pdu("REQUEST", b"x", 2))
        self.assertEqual(server.events, [RequestReceived(1, b"x")])

    def test_failed_ones_hold_nothing(self) -> None:
        """What came of a request is forgotten when it fails."""
        server = welcoming_server(Bounds(connection=10))
        server.hear(pdu("REQUEST", bytes(8), 0, more=True), pdu("CANCEL", b"", 0))
        server.hear(pdu("REQUEST", bytes(8), 1, more=True), pdu("REQUEST", b"x", 1))
        self.assertEqual(server.events, [RequestReceived(1, bytes(8) + b"x")])

    def test_too_many_refused(self) -> None:
        """Whoever never reads its failures, or never sends the last parts, makes us keep no more than that."""
        for more in (False, True):
            server = welcoming_server(Bounds(requests=2, refused=10))
            with self.assertRaises(WindowExceeded) as caught:
                for id in range(100):
                    server.hear(pdu("REQUEST", b"x", id, more=more))
                    if more:
                        server.take()
            self.assertLessEqual(id, 14)
            server.dialogue.drop_unsent()
            server.dialogue.broken(caught.exception)
            self.assertEqual([one[0] for one in server.said()], ["ABORT"])

    # CANCEL

    def test_cancel(self) -> None:
        """The application is told, once, and answers all the same."""
        for fails in (False, True):
            server = welcoming_server()
            server.hear(pdu("REQUEST", b"x", 5))
            self.assertEqual(server.hear(pdu("CANCEL", b"", 5), pdu("CANCEL", b"", 5)), [RequestCancelled(5)])
            self.assert_in_use(server, 5)
            if fails:
                server.dialogue.fail(5, 10, "cancelled")
            else:
                server.dialogue.answer(5, b"done already")
            self.assertEqual([one[0] for one in server.said()], ["FAILURE" if fails else "ANSWER"])

    def test_cancel_to_nothing(self) -> None:
        """“Is passed over (it may cross its answer)”."""
        server = welcoming_server()
        server.hear(pdu("REQUEST", b"x", 5))
        server.dialogue.answer(5, b"y")
        self.assertEqual(server.hear(pdu("CANCEL", b"", 5), pdu("CANCEL", b"", 6)), [])
        self.assertEqual(server.take(), pdu("ANSWER", b"y", 5))
        self.assertEqual(server.hear(pdu("CANCEL", b"", 5)), [])

    def test_cancel_before_the_last_part(self) -> None:
        """The application has not heard of it, so it fails at once; what still comes is dropped."""
        server = welcoming_server()
        part = pdu("REQUEST", bytes(100), 5, more=True)
        self.assertEqual(server.hear(part, pdu("CANCEL", b"", 5), part), [])
        self.assertEqual(server.take(), pdu("FAILURE", reason(10, "cancelled"), 5))
        self.assertEqual(server.hear(pdu("CANCEL", b"", 5), part, pdu("REQUEST", b"", 5)), [])
        self.assertEqual(server.hear(pdu("REQUEST", b"", 5)), [RequestReceived(5, b"")])

    def test_cancel_while_parts_leave(self) -> None:
        """The rest of the answer is saved."""
        server = welcoming_server()
        server.hear(pdu("REQUEST", b"x", 5))
        server.dialogue.answer(5, bytes(5 * PART_SIZE))
        server.take()
        self.assertEqual(server.hear(pdu("CANCEL", b"", 5)), [])
        self.assertEqual(server.take(), pdu("FAILURE", reason(10, "cancelled"), 5))
        self.assertEqual(server.unsent.size, 0)
