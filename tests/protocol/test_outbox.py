"""
How PDUs get to a transport: when, and how many at once.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import cast

from hypothesis import given, strategies as st
from twisted.internet.error import ConnectionLost
from twisted.trial.unittest import SynchronousTestCase

from sodiumtwist.core.connection import ServerConnection
from sodiumtwist.core.errors import WindowExceeded
from sodiumtwist.core.unsent import Unsent
from sodiumtwist.protocol.outbox import CORK_LIMIT, PDU_MEMORY, PONG_LIMIT, SOCKET_CORK_LIMIT, Outbox
from sodiumtwist.protocol.sockets import SEND_SIZE, TransportBelow


class FakeConnection:
    """
    A core connection whose PDUs are the bytes that the test sends.

    :ivar limits: how much was asked for each time.
    :ivar first: a packet of the handshake, which is not dropped.
    """

    def __init__(self) -> None:
        self.waiting: list[bytes] = []
        self.first = b""
        self.limits: list[int] = []

    @property
    def unsent(self) -> Unsent:
        unsent = Unsent()
        unsent.queue.extend(self.waiting)
        unsent.size = len(self.first) + sum(map(len, self.waiting))
        return unsent

    def data_to_send(self, limit: int) -> bytes:
        self.limits.append(limit)
        data, self.first = self.first, b""
        taken = 0
        while self.waiting and (not taken or taken + len(self.waiting[0]) <= limit):
            taken += len(self.waiting[0])
            data += self.waiting.pop(0)
        return data

    def send_pong(self, timestamp: int) -> None:
        assert timestamp == 7
        self.waiting.append(b"P")

    def drop_unsent(self) -> None:
        self.waiting.clear()


class FakeBelow:
    """
    A transport, and what the package does with it beyond Twisted.

    :ivar log: what was done, in order.
    :ivar takes: how many bytes its socket takes at once, or what it fails with.
    :ivar also: called with each write, as a transport may pause its producer then.
    :ivar gives_turns: whether its reactor can be asked for a turn.
    :ivar waiting: how many bytes waited for one, each time.
    """

    gives_turns = True

    def __init__(self, is_bare_socket: bool) -> None:
        self.is_bare_socket = is_bare_socket
        self.transport = self
        self.log: list[tuple[str, bytes]] = []
        self.takes: int | ConnectionLost = 0
        self.also: Callable[[], None] = lambda: None
        self.gates_closed = 0
        self.waiting: list[int] = []

    def ask_for_turn(self) -> bool:
        return self.gives_turns

    def say_if_full(self, size: int) -> None:
        self.waiting.append(size)

    def write(self, data: bytes) -> None:
        self.log.append(("write", data))
        self.also()

    def send_at_once(self, data: bytes) -> bytes:
        if isinstance(self.takes, ConnectionLost):
            raise self.takes
        self.log.append(("at once", data[: self.takes]))
        return data[self.takes :]

    def close_gate(self) -> None:
        self.gates_closed += 1

    def written(self) -> list[bytes]:
        """What was written since the last call."""
        log, self.log = self.log, []
        assert all(how == "write" for how, _ in log), log
        return [data for _, data in log]


class OutboxTestCase(SynchronousTestCase):
    """Has an outbox between fakes."""

    is_bare_socket = False

    def setUp(self) -> None:
        self.connection = FakeConnection()
        self.below = FakeBelow(self.is_bare_socket)
        self.outbox = Outbox(cast(ServerConnection, self.connection), cast(TransportBelow, self.below))

    def send(self, *pdus: bytes) -> None:
        for pdu in pdus:
            self.connection.waiting.append(pdu)
            self.outbox.send()


class OutboxTests(OutboxTestCase):
    """Any transport."""

    def test_at_first(self) -> None:
        outbox = self.outbox
        self.assertEqual((outbox.corked, outbox.blocked, outbox.greeting, outbox.ended), (False,) * 4)
        self.assertEqual((outbox.left_unsent, outbox.error, outbox.owed_pongs), (False, None, 0))
        self.assertEqual((outbox.limit, outbox.early_limit), (CORK_LIMIT, CORK_LIMIT))
        self.assertEqual((outbox.at_once, outbox.allowance), (0, 0))
        outbox.flush()
        self.assertEqual((self.below.log, self.connection.limits), ([], []))

    def test_uncorked(self) -> None:
        """Each leaves at once, by itself."""
        self.send(b"one", b"two")
        self.assertEqual(self.below.written(), [b"one", b"two"])

    def test_corked(self) -> None:
        """They wait until they are so much, and leave together."""
        self.outbox.corked, self.outbox.limit = True, 10
        self.send(b"123", b"456", b"789")
        self.assertEqual(self.below.written(), [])
        self.send(b"0")
        self.assertEqual(self.below.written(), [b"1234567890"])
        self.send(b"rest")
        self.outbox.flush()
        self.assertEqual(self.below.written(), [b"rest"])

    def test_no_more_than_twice_the_limit_in_one_piece(self) -> None:
        """So that a peer that takes much slowly is seen to take some."""
        pdus = [bytes([number]) * 50_000 for number in range(6)]
        self.connection.waiting += pdus
        self.outbox.flush()
        self.assertEqual(self.below.written(), [pdus[0] + pdus[1], pdus[2] + pdus[3], pdus[4] + pdus[5]])
        self.assertEqual(set(self.connection.limits), {2 * CORK_LIMIT})

    def test_blocked(self) -> None:
        """Nothing is handed over, sealed or not, until the transport takes more."""
        self.outbox.block(0.0)
        self.send(b"one", b"two")
        self.outbox.flush()
        self.assertEqual((self.below.written(), self.connection.limits), ([], []))
        self.outbox.unblock()
        self.assertEqual(self.below.written(), [])
        self.outbox.flush()
        self.assertEqual(self.below.written(), [b"onetwo"])

    def test_blocked_by_a_write(self) -> None:
        """What does not fit stays where it is."""
        self.below.also = lambda: self.outbox.block(0.0)
        self.connection.waiting += [bytes(CORK_LIMIT)] * 4
        self.outbox.flush()
        self.assertEqual([len(data) for data in self.below.written()], [2 * CORK_LIMIT])
        self.assertEqual(self.connection.unsent.size, 2 * CORK_LIMIT)

    def test_paused_and_resumed_within_a_write(self) -> None:
        """
        Order is kept, also by transports that take a write in pieces, as TLS does: who is called back between two of
        them writes nothing there.
        """

        def full_and_free() -> None:
            self.outbox.block(0.0)
            self.outbox.unblock()
            self.outbox.flush()

        def write(data: bytes) -> None:
            for piece in (data[:10], data[10:]):
                self.below.log.append(("write", piece))
                full_and_free()

        self.patch(self.below, "write", write)
        pdus = [bytes([number]) * 2 * CORK_LIMIT for number in range(4)]
        self.connection.waiting += pdus
        self.outbox.flush()
        self.assertEqual(b"".join(self.below.written()), b"".join(pdus))

    def test_sent_within_a_write(self) -> None:
        """It leaves behind what is being written, and is not forgotten."""
        more = [b"two", b"three"]
        self.below.also = lambda: self.send(more.pop(0)) if more else None
        self.send(b"one")
        self.assertEqual(self.below.written(), [b"one", b"two", b"three"])

    def test_a_write_that_raises(self) -> None:
        """It is an error of whoever asked, and what is sent later is written all the same."""

        def fail() -> None:
            raise ZeroDivisionError

        self.below.also = fail
        self.assertRaises(ZeroDivisionError, self.send, b"one")
        self.below.also = lambda: None
        self.send(b"two")
        self.assertEqual(self.below.written(), [b"one", b"two"])

    def test_pongs_are_paid(self) -> None:
        """When the transport takes more again, in portions, and as many as it takes."""
        for owed in (1, PONG_LIMIT, PONG_LIMIT + 1, 10 * PONG_LIMIT + 3):
            self.setUp()
            self.outbox.block(0.0)
            for _ in range(owed):
                self.outbox.owe_pong(1000.0)
            self.assertEqual(self.connection.waiting, [])
            self.outbox.unblock()
            self.below.also = lambda: self.outbox.block(2000.0) if len(self.below.log) == 3 else None
            self.outbox.pay_pongs(lambda: 7)
            paid = len(b"".join(self.below.written()))
            self.assertEqual(paid, min(owed, 3 * PONG_LIMIT))
            self.assertEqual((self.outbox.owed_pongs, self.connection.waiting), (owed - paid, []))
            self.below.also = lambda: None
            self.outbox.unblock()
            self.outbox.pay_pongs(lambda: 7)
            self.assertEqual((self.outbox.owed_pongs, self.outbox.blocked), (0, False))

    def test_a_flood_of_pings(self) -> None:
        """So many PONGs may be owed at once, and then about as many more as a slow peer asks for."""
        self.outbox.block(100.0)
        self.outbox.block(5000.0)  # it was full already
        for _ in range(PONG_LIMIT):
            self.outbox.owe_pong(100.0)
        self.assertRaises(WindowExceeded, self.outbox.owe_pong, 100.0)
        for second in range(101, 1100):
            self.outbox.owe_pong(float(second))
        with self.assertRaises(WindowExceeded):
            for _ in range(2000):
                self.outbox.owe_pong(1100.0)

    def test_close_gate(self) -> None:
        self.outbox.block(0.0)
        self.outbox.close_gate()
        self.assertEqual((self.outbox.blocked, self.below.gates_closed), (False, 1))

    def test_transport_ended(self) -> None:
        """What was left is dropped, and it is known whether anything was."""
        for prepare, left in (
            (lambda: None, False),
            (lambda: self.outbox.block(0.0), True),
            (lambda: self.connection.waiting.append(b"x"), True),
            # Not what the application sent.
            (lambda: setattr(self.connection, "first", b"hello"), False),
        ):
            self.setUp()
            prepare()
            self.outbox.transport_ended()
            self.assertIs(self.outbox.left_unsent, left)
            self.assertEqual((self.connection.waiting, self.outbox.blocked, self.outbox.ended), ([], False, True))
            # Being told twice takes nothing back.
            self.outbox.transport_ended()
            self.assertIs(self.outbox.left_unsent, left)

    def test_sent_later(self) -> None:
        """It is dropped as well, corked or not, and missing from then on."""
        for corked in (False, True):
            self.setUp()
            self.outbox.transport_ended()
            self.outbox.corked = corked
            self.send(b"late")
            self.outbox.flush()
            self.assertEqual((self.below.log, self.connection.unsent.size), ([], 0))
            self.assertTrue(self.outbox.left_unsent)

    def test_ended_within_a_write(self) -> None:
        """Nothing more is written."""
        self.below.also = self.outbox.transport_ended
        self.connection.waiting += [bytes(2 * CORK_LIMIT)] * 3
        self.outbox.flush()
        self.assertEqual(len(self.below.written()), 1)
        self.assertTrue(self.outbox.left_unsent)
        self.send(b"late")
        self.assertEqual(self.below.written(), [])

    @given(st.lists(st.sampled_from(["send", "much", "cork", "uncork", "flush", "full", "free"]), max_size=40))
    def test_any_steps(self, steps: list[str]) -> None:
        """All leaves in order; nothing while the transport is full; uncorked and free, nothing is left behind."""
        self.setUp()
        outbox, sent, written = self.outbox, b"", b""
        for number, step in enumerate([*steps, "free", "uncork", "flush"]):
            full = outbox.blocked
            if step in ("send", "much"):
                pdu = bytes([number]) * (20 if step == "send" else CORK_LIMIT - 30)
                sent += pdu
                self.send(pdu)
            elif step in ("cork", "uncork"):
                outbox.corked = step == "cork"
            elif step == "flush":
                outbox.flush()
            elif step == "full":
                outbox.block(0.0)
            else:
                outbox.unblock()
            more = b"".join(self.below.written())
            self.assertFalse(full and more)
            written += more
            self.assertTrue(sent.startswith(written))
            if outbox.corked and not outbox.blocked and step in ("send", "much"):
                self.assertLess(self.connection.unsent.size, outbox.limit)
        self.assertEqual(written, sent)


class SocketTests(OutboxTestCase):
    """A bare socket, which is given some without the reactor."""

    is_bare_socket = True

    def test_at_first(self) -> None:
        """Less waits, so that the peer gets to work on the first answers; and some may be sent at once."""
        outbox = self.outbox
        self.assertEqual((outbox.limit, outbox.early_limit), (SOCKET_CORK_LIMIT, SOCKET_CORK_LIMIT))
        self.assertEqual((outbox.at_once, outbox.allowance), (SEND_SIZE, SEND_SIZE))

    def test_at_once(self) -> None:
        """What the socket does not take is written."""
        for takes, log in (
            (100, [("at once", b"hello")]),
            (2, [("at once", b"he"), ("write", b"llo")]),
            (0, [("at once", b""), ("write", b"hello")]),
        ):
            self.setUp()
            self.below.takes = takes
            self.connection.waiting.append(b"hello")
            self.outbox.flush()
            self.assertEqual(self.below.log, log)

    def test_only_the_first(self) -> None:
        """What is sent uncorked may be one of many, and these leave together when the reactor comes by."""
        self.below.takes = 100
        self.send(b"one", b"two")
        self.assertEqual(self.below.log, [("at once", b"one")])
        self.assertEqual(self.outbox.at_once, 0)
        self.outbox.unblock()
        self.outbox.flush()
        self.assertEqual(self.below.log[1:], [("at once", b"two")])

    def test_no_turn(self) -> None:
        """Where the reactor can't be asked for one, the transport gets it."""
        self.below.takes = 100
        self.below.gives_turns = False
        self.send(b"one", b"two")
        self.assertEqual(self.below.log, [("at once", b"one"), ("write", b"two")])
        self.assertEqual(self.below.waiting, [])

    def test_waiting(self) -> None:
        """What waits is counted with the memory that each PDU takes, and may be too much."""
        self.below.takes = 100
        self.send(b"one", b"two", b"three")
        self.assertEqual(self.below.waiting, [3 + PDU_MEMORY, 8 + 2 * PDU_MEMORY])

    def test_allowance(self) -> None:
        """So much at once, and then the reactor has other connections to serve; until it calls again."""
        self.below.takes = 10**9
        self.outbox.corked = True
        pdus = [bytes([number]) * 2 * CORK_LIMIT for number in range(4)]
        self.connection.waiting += pdus
        self.outbox.flush()
        self.assertEqual(self.below.log, [("at once", pdu) for pdu in pdus[:2]])
        self.assertEqual(len(self.connection.waiting), 2)
        self.outbox.block(0.0)
        self.outbox.unblock()
        self.assertEqual(self.outbox.at_once, SEND_SIZE)

    def test_full(self) -> None:
        """Once the transport was full more waits, as it is no longer the answers' haste that counts."""
        self.outbox.block(0.0)
        self.assertEqual((self.outbox.limit, self.outbox.early_limit), (CORK_LIMIT, SOCKET_CORK_LIMIT))

    def test_error(self) -> None:
        """A broken socket tells it once. It is kept, and what is left goes to the transport, which will see its end."""
        error = ConnectionLost("broken")
        self.below.takes = error
        pdus = [bytes([number]) * 2 * CORK_LIMIT for number in range(2)]
        self.connection.waiting += pdus
        self.outbox.flush()
        self.assertIs(self.outbox.error, error)
        self.assertEqual(self.below.written(), pdus)
        # Nor is it tried again.
        self.outbox.unblock()
        self.assertEqual((self.outbox.at_once, self.outbox.allowance), (0, 0))
