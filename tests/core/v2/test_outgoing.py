"""
Tests of :mod:`sodiumtwist.core.v2.outgoing`: what leaves when.
"""

from __future__ import annotations

from typing import cast

from hypothesis import given, settings, strategies as st
from twisted.trial.unittest import SynchronousTestCase

from sodiumtwist.core.v2.incoming import Bounds
from sodiumtwist.core.v2.outgoing import PART_SIZE
from sodiumtwist.core.v2.pdus import REQUEST

from .talk import ROOM, End, pdu, read, welcomed_client, welcoming_server


class SmallTests(SynchronousTestCase):
    """What is small."""

    def test_together(self) -> None:
        """128 requests of 100 bytes leave as one body."""
        client = welcomed_client()
        for _ in range(128):
            client.dialogue.request(bytes(100))
        self.assertEqual(client.unsent.size, 128 * 112)
        self.assertEqual(client.take(), b"".join(pdu("REQUEST", bytes(100), id) for id in range(128)))
        self.assertEqual(client.unsent.size, 0)

    def test_nothing(self) -> None:
        self.assertEqual(welcomed_client().take(), b"")

    def test_in_order(self) -> None:
        """Of any kinds."""
        client = welcomed_client()
        client.data(b"one")
        client.dialogue.request(b"two")
        client.data(b"three")
        client.dialogue.ping(b"four")
        client.dialogue.padding(5)
        said = b"".join(
            [
                pdu("DATA", b"one"),
                pdu("REQUEST", b"two"),
                pdu("DATA", b"three"),
                pdu("PING", b"four"),
                pdu("PADDING", bytes(5)),
            ]
        )
        self.assertEqual(client.take(), said)

    def test_signs_of_life_in_front(self) -> None:
        """A PONG does not wait until a slow line has taken all DATA; WELCOME stays in front, PINGs in their order."""
        server = End(True)
        server.dialogue.welcome("Welcome.")
        for _ in range(3):
            server.data(bytes(PART_SIZE))
        server.dialogue.ping(b"one")
        server.dialogue.ping(b"two")
        server.data(b"last")
        names = [one[0] for _ in range(3) for one in server.said(ROOM)]
        self.assertEqual([name for name in names if name != "PADDING"], ["WELCOME", "PING", "PING", *["DATA"] * 4])

    def test_not_copied(self) -> None:
        """A payload is in the pieces as it was given."""
        client, payload = welcomed_client(), bytes(1000)
        client.data(payload)
        client.dialogue.request(payload)
        client.dialogue.request(memoryview(payload)[10:])
        pieces, _ = client.dialogue.take(ROOM)
        self.assertIs(pieces[1], payload)
        self.assertIs(pieces[3], payload)
        self.assertIs(pieces[5].obj, payload)  # type: ignore[union-attr]

    def test_no_more_than_fit(self) -> None:
        """But at least one."""
        client = welcomed_client()
        for size in (100, 100, 5000, 10):
            client.data(bytes(size))
        self.assertEqual([len(cast(bytes, one[3])) for one in client.said(224)], [100, 100])
        self.assertEqual([len(cast(bytes, one[3])) for one in client.said(224)], [5000])
        self.assertEqual([len(cast(bytes, one[3])) for one in client.said(224)], [10])

    def test_packet(self) -> None:
        """A packet of the handshake counts, and is not taken."""
        client = End(False)
        client.unsent.packet, client.unsent.size = bytes(700), 700
        client.dialogue.request(b"early")
        self.assertEqual(client.take(), pdu("REQUEST", b"early"))
        self.assertEqual(client.unsent.size, 700)


class LargeTests(SynchronousTestCase):
    """Large messages: “the payload goes on in the next PDU of that type and id”."""

    def test_parts(self) -> None:
        """Of at most 64 KiB, two in a record."""
        client, payload = welcomed_client(), bytes(range(256)) * 1024
        id = client.dialogue.request(payload)
        self.assertEqual(client.unsent.size, 4 * (PART_SIZE + 12))
        parts = [payload[start : start + PART_SIZE] for start in range(0, len(payload), PART_SIZE)]
        first, second = client.take(), client.take()
        self.assertEqual(first, pdu("REQUEST", parts[0], id, more=True) + pdu("REQUEST", parts[1], id, more=True))
        self.assertEqual(second, pdu("REQUEST", parts[2], id, more=True) + pdu("REQUEST", parts[3], id))
        self.assertEqual(client.unsent.size, 0)

    def test_parts_are_not_copied(self) -> None:
        """They are cut out of the payload where it lies."""
        client, payload = welcomed_client(), bytes(5 * PART_SIZE)
        client.dialogue.request(payload)
        while client.unsent.size:
            pieces, _ = client.dialogue.take(ROOM)
            for part in pieces[1::2]:
                assert isinstance(part, memoryview)
                self.assertIs(part.obj, payload)

    def test_just_one_part(self) -> None:
        client = welcomed_client()
        client.dialogue.request(bytes(PART_SIZE))
        self.assertEqual(client.said(), [("REQUEST", False, 0, bytes(PART_SIZE))])
        client.dialogue.request(bytes(PART_SIZE + 1))
        self.assertEqual(client.said(), [("REQUEST", True, 1, bytes(PART_SIZE)), ("REQUEST", False, 1, b"\0")])

    def test_in_turn(self) -> None:
        """“Parts of different ids alternate”."""
        client = welcomed_client()
        for _ in range(3):
            client.dialogue.request(bytes(2 * PART_SIZE))
        self.assertEqual([one[2] for one in client.all_said()], [0, 1, 2, 0, 1, 2])

    def test_no_more_in_turn_than_the_peer_puts_together(self) -> None:
        """What is more than that begins when others have left; END is behind all requests, and small ones pass."""
        client = welcomed_client(Bounds(connection=4 * PART_SIZE))
        for _ in range(5):
            client.dialogue.request(bytes(2 * PART_SIZE))
        self.assertTrue(client.dialogue.outgoing.in_parts(REQUEST, 4))
        client.dialogue.cancel(4)
        client.dialogue.end()
        client.dialogue.ping(b"")
        waiting = client.unsent.size
        body = client.take()
        self.assertEqual(client.unsent.size, waiting - len(body))
        said = [*read(body), *client.all_said()]
        ids = [one[2] for one in said if one[0] == "REQUEST"]
        self.assertEqual(ids, [0, 1, 0, 1, 2, 3, 2, 3, 4, 4])
        self.assertEqual([one[0] for one in said if one[0] != "REQUEST"], ["PING", "CANCEL", "END"])
        self.assertEqual(said[-1][0], "END")
        self.assertEqual(client.unsent.size, 0)

    def test_larger_than_that_alone(self) -> None:
        client = welcomed_client(Bounds(connection=PART_SIZE))
        for _ in range(2):
            client.dialogue.request(bytes(3 * PART_SIZE))
        self.assertEqual([one[2] for one in client.all_said()], [0] * 3 + [1] * 3)

    def test_answers_that_wait_are_voided(self) -> None:
        """One that has not begun leaves room and nothing else."""
        server = welcoming_server(Bounds(connection=2 * PART_SIZE))
        server.hear(*(pdu("REQUEST", b"x", id) for id in range(3)))
        for id in range(3):
            server.dialogue.answer(id, bytes(2 * PART_SIZE))
        server.hear(pdu("CANCEL", b"", 1))
        self.assertEqual(
            [(one[0], one[2]) for one in server.all_said()],
            [("FAILURE", 1)] + [("ANSWER", 0)] * 2 + [("ANSWER", 2)] * 2,
        )
        self.assertEqual(server.unsent.size, 0)

    def test_small_goes_before(self) -> None:
        """“So a large message does not hold up a small one”: it's in the next record."""
        client = welcomed_client()
        client.dialogue.request(bytes(16 * 2**20))
        client.take()
        id = client.dialogue.request(b"small")
        self.assertIn(("REQUEST", False, id, b"small"), client.said())

    def test_small_does_not_starve_large(self) -> None:
        """A stream of small ones leaves half of each record to a large one."""
        client = welcomed_client()
        large = client.dialogue.request(bytes(10 * PART_SIZE))
        for _ in range(10):
            while client.unsent.size < 12 * PART_SIZE:
                client.dialogue.request(bytes(1000))
            parts = [one for one in client.said() if one[2] == large]
            self.assertEqual([len(cast(bytes, one[3])) for one in parts], [PART_SIZE])
        self.assertNotIn(large, [one[2] for one in client.all_said()])

    def test_small_does_not_starve_large_in_little_room(self) -> None:
        client = welcomed_client()
        for room in (200, 5000, 20000):
            large = client.dialogue.request(bytes(2 * PART_SIZE))
            for _ in range(3):
                while client.unsent.size < 4 * PART_SIZE:
                    client.dialogue.request(bytes(50))
                said = client.said(room)
                self.assertEqual({one[2] == large for one in said}, {False, True}, room)
            client.all_said()

    def test_large_data_and_parts_in_turn(self) -> None:
        """A DATA that fits no record beside a part, and parts, take turns."""
        client = welcomed_client()
        client.data(bytes(ROOM - 12))
        client.dialogue.request(bytes(6 * PART_SIZE))
        client.data(bytes(ROOM - 12))
        client.data(b"x")
        client.data(bytes(ROOM - 12))
        kinds = []
        while client.unsent.size:
            kinds.append([(one[0], len(cast(bytes, one[3]))) for one in client.said()])
        data, part = ("DATA", ROOM - 12), ("REQUEST", PART_SIZE)
        # The first small one is first of all, for it could be a WELCOME.
        self.assertEqual(kinds, [[data], [part, part], [data], [("DATA", 1), part, part], [data], [part, part]])

    def test_no_tiny_parts(self) -> None:
        """What is left of a record is not filled with a part that is worth no header."""
        client = welcomed_client()
        client.dialogue.request(bytes(PART_SIZE * 3))
        client.data(bytes(3000))
        sizes = []
        while client.unsent.size:
            sizes.append([len(cast(bytes, one[3])) for one in client.said()])
        self.assertEqual(sizes, [[3000, PART_SIZE, PART_SIZE], [PART_SIZE]])

    @settings(max_examples=30)
    @given(st.integers(600, 70000), st.integers(PART_SIZE + 1, PART_SIZE + 5000))
    def test_any_room(self, room: int, size: int) -> None:
        """However small the room is, it is kept, and what waits is counted right."""
        client = welcomed_client()
        payload = bytes(range(256)) * 300
        client.dialogue.request(payload[:size])
        client.dialogue.ping(b"")
        whole = b""
        while client.unsent.size:
            body = client.take(room)
            self.assertLessEqual(len(body), max(room, 24))
            whole += b"".join(cast(bytes, one[3]) for one in read(body) if one[0] == "REQUEST")
        self.assertEqual(whole, payload[:size])


class EndTests(SynchronousTestCase):
    """END goes “behind the last part of each own REQUEST”."""

    def test_behind_small(self) -> None:
        client = welcomed_client()
        client.data(b"x")
        client.dialogue.request(b"y")
        client.dialogue.end(3)
        self.assertEqual([one[0] for one in client.said()], ["DATA", "REQUEST", "END", "PADDING"])

    def test_behind_large(self) -> None:
        client = welcomed_client()
        for _ in range(2):
            client.dialogue.request(bytes(3 * PART_SIZE))
        client.dialogue.end(3)
        client.dialogue.ping(b"")
        waiting = client.unsent.size
        body = client.take()
        self.assertEqual(client.unsent.size, waiting - len(body))
        names = [one[0] for one in client.all_said()]
        self.assertEqual(names, ["REQUEST"] * 4 + ["END", "PADDING"])

    def test_not_behind_answers(self) -> None:
        server = welcoming_server()
        server.hear(pdu("REQUEST", b"x"))
        server.dialogue.answer(0, bytes(5 * PART_SIZE))
        server.dialogue.end()
        self.assertEqual([one[0] for one in server.said()], ["END", "ANSWER", "ANSWER"])

    def test_behind_one_that_is_cut_short(self) -> None:
        """Which its answer, being early, does."""
        client = welcomed_client()
        for _ in range(2):
            client.dialogue.request(bytes(5 * PART_SIZE))
        client.dialogue.end()
        client.take()
        client.hear(pdu("ANSWER", b"x", 0))
        client.hear(pdu("FAILURE", bytes(4), 1))
        self.assertEqual(
            client.all_said(), [("REQUEST", False, 0, b""), ("REQUEST", False, 1, b""), ("END", False, 0, b"")]
        )

    def test_drop(self) -> None:
        """All that waits is forgotten, but for a packet of the handshake."""
        client = End(False)
        client.unsent.packet, client.unsent.size = bytes(700), 700
        client.dialogue.request(bytes(100000))
        client.dialogue.request(b"x")
        client.dialogue.end()
        client.dialogue.drop_unsent()
        self.assertEqual((client.unsent.size, client.take()), (700, b""))


class AbortTests(SynchronousTestCase):
    """“Its last PDU; no END goes with it”."""

    def test_abort(self) -> None:
        """What is small leaves before it; large messages and END do not leave."""
        client = welcomed_client()
        client.data(b"x")
        client.dialogue.request(b"y")
        client.dialogue.request(bytes(100000))
        client.dialogue.end()
        client.dialogue.abort(4, "stopping")
        said = pdu("DATA", b"x") + pdu("REQUEST", b"y") + pdu("ABORT", b"\0\0\0\4stopping")
        self.assertEqual(client.unsent.size, len(said))
        self.assertEqual(client.take(), said)

    def test_end_without_large(self) -> None:
        client = welcomed_client()
        client.dialogue.end(200)
        client.dialogue.abort(4, "")
        self.assertEqual(client.take(), pdu("ABORT", b"\0\0\0\4"))
