"""
Received bytes, and messages of known size in them.
"""

from __future__ import annotations

from hypothesis import example, given, strategies as st
from twisted.trial.unittest import SynchronousTestCase

from sodiumtwist.core.inbox import Inbox, Room

from .peers import cut

#: The sizes of messages, the empty one among them, and where what they lie in is cut.
SIZES = st.lists(st.integers(0, 12), max_size=20)
PIECES = st.lists(st.integers(1, 30), max_size=40)


def numbered(size: int) -> bytes:
    """Make bytes of which none near each other are the same."""
    return bytes(number % 251 for number in range(size))


class AnyCutTests(SynchronousTestCase):
    """However the bytes are cut, the messages are the same."""

    @given(SIZES, PIECES)
    @example([3, 0, 2], [1] * 5)
    def test_taken_as_they_come(self, sizes: list[int], pieces: list[int]) -> None:
        """Each message is taken as soon as it is there, and all bytes that are not taken yet are counted."""
        sent = numbered(sum(sizes))
        inbox, taken, received, wanted = Inbox(), b"", 0, iter(sizes)
        size = next(wanted, None)
        for piece in cut(sent, pieces):
            inbox.put(piece)
            received += len(piece)
            while size is not None and (message := inbox.take_whole(size)) is not None:
                self.assertEqual(len(message), size)
                taken += message
                size = next(wanted, None)
            self.assertEqual(inbox.size, received - len(taken))
        while size is not None:
            # Only empty ones can be left.
            self.assertEqual(inbox.take_whole(size), b"")
            size = next(wanted, None)
        self.assertEqual(taken, sent)
        self.assertEqual((inbox.size, inbox.data, inbox.offset, inbox.part), (0, b"", 0, None))

    @given(SIZES, PIECES, st.lists(st.integers(0, 3), max_size=40))
    @example([5, 5, 5], [7, 1, 7], [1])
    def test_put_while_something_waits(self, sizes: list[int], pieces: list[int], counts: list[int]) -> None:
        """Messages may be left where they are: what comes next is behind them."""
        sent = numbered(sum(sizes))
        inbox, received, patience, left = Inbox(), 0, iter(counts), list(sizes)
        messages: list[bytes] = []
        for piece in cut(sent, pieces):
            inbox.put(piece)
            received += len(piece)
            for _ in range(next(patience, 0)):
                if left and (message := inbox.take_whole(left[0])) is not None:
                    messages.append(message)
                    del left[0]
            self.assertEqual(inbox.size, received - sum(map(len, messages)))
        for size in left:
            message = inbox.take_whole(size)
            assert message is not None
            messages.append(message)
        self.assertEqual(list(map(len, messages)), sizes)
        self.assertEqual(b"".join(messages), sent)


class InboxTests(SynchronousTestCase):
    """Where the bytes lie, and what is let go."""

    def test_empty(self) -> None:
        """Nothing waits, and only an empty message can be taken."""
        inbox = Inbox()
        self.assertEqual(inbox.size, 0)
        self.assertIsNone(inbox.take(1))
        self.assertIsNone(inbox.take_whole(1))
        self.assertIsNone(inbox.part)
        self.assertEqual(inbox.take_whole(0), b"")

    def test_whole_in_one_read(self) -> None:
        """It is not copied: what was read comes back, and where in it the message lies."""
        inbox, read = Inbox(), numbered(20)
        inbox.put(read)
        self.assertIs(inbox.data, read)
        for size, place, left in ((5, 0, 15), (8, 5, 7), (7, 13, 0)):
            taken = inbox.take(size)
            assert taken is not None
            self.assertIs(taken[0], read)
            self.assertEqual(taken[1], place)
            self.assertEqual(inbox.size, left)

    def test_what_was_taken_is_let_go(self) -> None:
        """As soon as all of a read is taken, the inbox holds it no longer."""
        inbox, read = Inbox(), numbered(20)
        inbox.put(read)
        inbox.take(19)
        self.assertIs(inbox.data, read)
        inbox.take(1)
        self.assertEqual((inbox.data, inbox.offset, inbox.part), (b"", 0, None))

    def test_cut(self) -> None:
        """What has come of it is put into a part, and no longer held as it was read."""
        inbox, sent = Inbox(), numbered(20)
        inbox.put(sent[:12])
        inbox.take(5)
        self.assertIsNone(inbox.take(10))
        self.assertEqual((inbox.data, inbox.offset, inbox.part), (b"", 0, sent[5:12]))
        self.assertEqual(inbox.size, 7)
        inbox.put(sent[12:])
        self.assertEqual(inbox.size, 15)
        taken = inbox.take(10)
        assert taken is not None
        self.assertEqual(taken, (sent[5:15], 0))
        self.assertEqual((inbox.part, inbox.size, inbox.take_whole(5)), (None, 5, sent[15:]))

    def test_a_part_grows_in_place(self) -> None:
        """It is not copied for each piece, nor when the message is whole."""
        inbox, sent = Inbox(), numbered(100)
        inbox.put(sent[:1])
        self.assertIsNone(inbox.take(100))
        part = inbox.part
        self.assertIsNotNone(part)
        for place in range(1, 99):
            inbox.put(sent[place : place + 1])
            self.assertIsNone(inbox.take(100))
            self.assertIs(inbox.part, part)
        inbox.put(sent[99:])
        taken = inbox.take(100)
        assert taken is not None
        self.assertIs(taken[0], part)
        self.assertEqual(taken, (sent, 0))

    def test_asked_again_without_more(self) -> None:
        """Nothing changes."""
        inbox = Inbox()
        inbox.put(b"abc")
        for _ in range(3):
            self.assertIsNone(inbox.take(4))
            self.assertEqual((inbox.size, inbox.part), (3, b"abc"))
        inbox.put(b"d")
        self.assertEqual(inbox.take_whole(4), b"abcd")

    def test_take_whole(self) -> None:
        """It gives ``bytes`` of its own, from the middle of a read as from a part, and no more than was asked for."""
        inbox = Inbox()
        inbox.put(b"--hello-")
        inbox.take(2)
        self.assertEqual(inbox.take_whole(5), b"hello")
        self.assertIsNone(inbox.take_whole(3))
        inbox.put(b"ab++")
        whole = inbox.take_whole(3)
        self.assertIs(type(whole), bytes)
        self.assertEqual(whole, b"-ab")
        self.assertEqual(inbox.size, 2)

    def test_put_behind_what_waits(self) -> None:
        """The beginning of a read, already taken, is not kept; what waits stands before what comes."""
        inbox = Inbox()
        inbox.put(b"abcdef")
        inbox.take(4)
        inbox.put(b"ghi")
        self.assertEqual((inbox.data, inbox.offset, inbox.size), (b"efghi", 0, 5))
        self.assertEqual(inbox.take_whole(5), b"efghi")

    def test_clear(self) -> None:
        """All is dropped, a part too, and what comes then begins anew."""
        inbox = Inbox()
        inbox.put(b"abcdef")
        inbox.take(2)
        inbox.take(5)
        inbox.put(b"rest")
        inbox.clear()
        self.assertEqual((inbox.size, inbox.data, inbox.offset, inbox.part), (0, b"", 0, None))
        inbox.put(b"new")
        self.assertEqual(inbox.take_whole(3), b"new")

    def test_peek(self) -> None:
        """What was received first can be looked at, wherever it was cut, and stays."""
        for sizes in ([6], [1, 5], [2, 2, 2], [3, 3]):
            inbox = Inbox()
            pieces = cut(b"abcdef", sizes)
            for piece in pieces:
                self.assertIsNone(inbox.peek(6))
                inbox.put(piece)
                self.assertIsNone(inbox.take(7))
            self.assertEqual((inbox.peek(6), inbox.peek(4), inbox.size), (b"abcdef", b"abcd", 6))
            self.assertIsNone(inbox.peek(7))
            inbox.put(b"g")
            self.assertEqual((inbox.peek(7), inbox.take_whole(7)), (b"abcdefg", b"abcdefg"))

    def test_opened(self) -> None:
        """What was opened and is in no event yet waits, too."""
        inbox = Inbox()
        inbox.put(b"abc")
        inbox.opened = 5
        self.assertEqual(inbox.size, 8)
        inbox.clear()
        self.assertEqual(inbox.size, 0)


class RoomTests(SynchronousTestCase):
    """Memory that several inboxes use, one after the other."""

    def setUp(self) -> None:
        self.room = Room(memoryview(bytearray(20)))
        self.inbox, self.other = Inbox(), Inbox()

    def receive(self, inbox: Inbox, data: bytes, size: int = 10) -> None:
        """Receive something there."""
        buffer = self.room.get_buffer(inbox, size)
        assert buffer is not None
        self.assertEqual(len(buffer), size)
        buffer[: len(data)] = data
        self.room.received(inbox, len(data))

    def test_stays(self) -> None:
        """What waits stays where it is, and what comes next lies right behind it."""
        self.receive(self.inbox, b"one")
        self.receive(self.inbox, b"two")
        self.assertEqual((bytes(self.inbox.data), self.inbox.size), (b"onetwo", 6))
        self.assertEqual(self.inbox.take_whole(4), b"onet")
        self.assertEqual(self.inbox.take_whole(2), b"wo")
        self.assertEqual((self.inbox.data, self.inbox.size), (b"", 0))

    def test_moves_out(self) -> None:
        """Another inbox needs the memory: nothing of the first one is lost, or changes."""
        self.receive(self.inbox, b"one")
        self.inbox.offset = 1
        self.receive(self.other, b"two")
        self.assertEqual((self.inbox.data, self.inbox.offset, bytes(self.other.data)), (b"ne", 0, b"two"))
        # What lies in bytes goes on so until it is taken.
        self.assertIsNone(self.room.get_buffer(self.inbox, 10))
        self.inbox.put(b"!")
        self.assertEqual(self.inbox.take_whole(3), b"ne!")
        self.receive(self.inbox, b"again")
        self.assertEqual((self.other.data, bytes(self.inbox.data)), (b"two", b"again"))

    def test_moves_to_the_front(self) -> None:
        """Where what comes next would not fit, and what was taken has left."""
        self.receive(self.inbox, bytes(range(8)))
        self.receive(self.inbox, bytes(range(8, 16)))
        self.inbox.offset = 9
        self.receive(self.inbox, b"end")
        self.assertEqual((bytes(self.inbox.data), self.inbox.offset), (bytes(range(9, 16)) + b"end", 0))

    def test_no_room(self) -> None:
        """With too much waiting, it is received as bytes, behind that."""
        self.receive(self.inbox, bytes(10))
        self.receive(self.inbox, bytes(5))
        self.assertIsNone(self.room.get_buffer(self.inbox, 10))
        self.inbox.put(b"behind")
        self.assertEqual((type(self.inbox.data), self.inbox.size), (bytes, 21))
        self.assertIsNone(self.room.get_buffer(self.inbox, 10))

    def test_cleared(self) -> None:
        """What was dropped is not moved anywhere."""
        self.receive(self.inbox, b"one")
        self.inbox.clear()
        self.receive(self.other, b"two")
        self.assertEqual((self.inbox.data, self.inbox.size), (b"", 0))
