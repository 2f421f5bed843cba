"""
What waits to be sealed, and in which order it leaves: what is small one behind the other, large messages in parts
and in turn, so that neither holds up the other.
"""

from __future__ import annotations

from ..inbox import Buffer
from ..unsent import Unsent
from .pdus import (
    ANSWER,
    CANCEL,
    DATA,
    END,
    FAILURE,
    HEADER,
    HEADER_SIZE,
    LARGEST_PAYLOAD,
    MORE,
    PING,
    PONG,
    REQUEST,
    PDUType,
    pack_padding,
)
from .states import Asked

#: The most bytes of one part. A larger message leaves in several. Two of them fit a record, and some more.
PART_SIZE = 65536

_pack = HEADER.pack

_NOT_NEEDED = (PDUType.PING, PDUType.PONG, PDUType.CANCEL, PDUType.PADDING)

_SIGNS_OF_LIFE = (PING, PONG)
_IN_FRONT = (PDUType.PING, PDUType.PONG, PDUType.WELCOME)

#: With more waiting than this, in bytes, PINGs and PONGs go in front: about as much as leaves in one record.
MANY = 2 * PART_SIZE

#: What waits in the queue, but for DATA: headers and payloads in turn.
Item = tuple[Buffer, ...]


class _Large:
    """A message that leaves in parts."""

    __slots__ = ("_left", "behind", "id", "kind", "started", "whole")

    def __init__(self, kind: int, id: int, payload: Buffer) -> None:
        self.kind = kind
        self.id = id
        self._left = memoryview(payload)
        self.whole = len(payload)
        self.started = False
        # What goes right behind the next part.
        self.behind: Item = ()

    @property
    def size(self) -> int:
        """How many bytes wait, in as few parts as possible."""
        size = len(self._left)
        return size + -(-size // PART_SIZE) * HEADER_SIZE + sum(map(len, self.behind))

    @property
    def next_size(self) -> int:
        """How many bytes the next part takes when there is room."""
        return min(len(self._left), PART_SIZE) + HEADER_SIZE + sum(map(len, self.behind))

    def take(self, room: int) -> tuple[Item, bool]:
        """
        Take the next part.

        :param room: how many bytes it may take; it takes one byte of payload at least.
        :return: the part, and whether it was the last one.
        """
        left, behind = self._left, self.behind
        size = max(1, min(len(left), PART_SIZE, room - HEADER_SIZE - sum(map(len, behind))))
        part, self._left, self.behind, self.started = left[:size], left[size:], (), True
        last = size == len(left)
        return (HEADER.pack(self.kind if last else self.kind | MORE, self.id, size), part, *behind), last


class Outgoing:
    """
    What one end has to say.

    :param unsent: where what is small waits; of DATA only the payload, which the connection puts there.
    :param together: how many bytes the large messages have at most that leave in turn; a larger one leaves alone.
    :ivar large: messages that leave in parts, and what is left of them, in the order in which their next parts leave.
    :ivar later: those that begin when others have left. The peer puts together all that leave in turn, within bounds.
    :ivar requests: our requests of which nothing has left, by id.
    :ivar asked: our requests of which something has left and whose answer has not come whole, by id.
    :ivar closing: the ids of our requests that have their answer, and whose last part has not left.
    :ivar answered: the ids of the peer's requests whose answer has not left whole.
    :ivar pings: the ids of our PINGs that have not left.
    :ivar pongs: the ids of the peer's PINGs whose PONG has not left.
    :ivar unsent: what was given.
    """

    __slots__ = (
        "_behind_requests",
        "_lost",
        "_small_next",
        "_together",
        "_turning",
        "answered",
        "asked",
        "closing",
        "large",
        "later",
        "pings",
        "pongs",
        "requests",
        "unsent",
    )

    def __init__(self, unsent: Unsent, together: int = 1 << 62) -> None:
        self.unsent = unsent
        # What leaves, leaves together; so this need not be a deque, which takes ten times as much while it is empty.
        unsent.queue = []
        self.large: dict[tuple[int, int], _Large] = {}
        self.later: dict[tuple[int, int], _Large] = {}
        self._together = together
        # How many bytes those have that leave in turn, whatever has left of them.
        self._turning = 0
        # END, while the last parts of our requests have not left.
        self._behind_requests: tuple[Item, ...] = ()
        # Whether something was dropped that the peer needs.
        self._lost = False
        # Whether it is the turn of what is small, where that fits no record beside a part. So it is at first, for
        # nothing goes before WELCOME.
        self._small_next = True
        self.requests: dict[int, Asked] = {}
        self.asked: dict[int, Asked] = {}
        # These are dicts, since an empty set takes three times as much.
        self.closing: dict[int, None] = {}
        self.answered: dict[int, None] = {}
        self.pings: dict[int, None] = {}
        self.pongs: dict[int, None] = {}

    @property
    def any_needed(self) -> bool:
        """
        Whether something waits that the peer needs to see that all is over, or was dropped: not signs of life and
        CANCELs.
        """
        return (
            self._lost
            or bool(self.large)
            or bool(self._behind_requests)
            or not all(type(item) is tuple and item[0][0] in _NOT_NEEDED for item in self.unsent.queue)
        )

    def in_parts(self, kind: int, id: int) -> bool:
        """Whether this message does."""
        return (kind, id) in self.large or (kind, id) in self.later

    # Putting in

    def add(self, kind: int, id: int, payload: Buffer) -> None:
        """
        Send a PDU; a large message in parts.

        :param payload: it stays as it is until it has left.
        """
        size = len(payload)
        unsent = self.unsent
        if size <= PART_SIZE:
            item = (_pack(kind, id, size), payload)
            if unsent.size > MANY and kind in _SIGNS_OF_LIFE:
                self._put_in_front(item)
            else:
                unsent.queue.append(item)
            unsent.size += size + HEADER_SIZE
        else:
            large = self.later[kind, id] = _Large(kind, id, payload)
            unsent.size += large.size
            self._begin_large()

    def _begin_large(self) -> None:
        """Let more large messages leave in turn, if there is room."""
        while self.later:
            key, large = next(iter(self.later.items()))
            if self.large and self._turning + large.whole > self._together:
                break
            self.large[key] = self.later.pop(key)
            self._turning += large.whole

    def _ended(self, large: _Large) -> None:
        """A message that left in turn has left, or is dropped."""
        self._turning -= large.whole
        self._begin_large()

    def _put_in_front(self, item: Item) -> None:
        """Send a sign of life before much that may take long: the peer waits for it."""
        queue = self.unsent.queue
        place = 0
        # Nothing goes before WELCOME, and those in front already keep their order.
        while place < len(queue) and type(queue[place]) is tuple and queue[place][0][0] in _IN_FRONT:
            place += 1
        queue.insert(place, item)

    def add_padded(self, kind: int, payload: bytes, padding: int | None) -> None:
        """Send a PDU that has no id, and right behind it a PADDING if there is a size for one."""
        item: Item = (HEADER.pack(kind, 0, len(payload)), payload)
        if padding is not None:
            item += (pack_padding(padding),)
            self.unsent.pdus_sent += 1  # it leaves with the other one, which is counted then
        self.unsent.size += sum(map(len, item))
        if kind == END and self._has_large_requests():
            self._behind_requests += (item,)
        else:
            self.unsent.queue.append(item)

    def add_cancel(self, id: int) -> None:
        """Send a CANCEL for a request of ours, behind its first part, without which it would be one for nothing."""
        large = self.large.get((REQUEST, id)) or self.later.get((REQUEST, id))
        if large is None or large.started:
            self.add(CANCEL, id, b"")
        else:
            large.behind = (HEADER.pack(CANCEL, id, 0),)
            self.unsent.size += HEADER_SIZE

    # Taking back

    def finish_request(self, id: int) -> None:
        """Send an empty last part instead of what has not left of a request, for its answer has come."""
        if self._drop(REQUEST, id):
            self.closing[id] = None
            self.add(REQUEST, id, b"")
            self._end_behind_requests()

    def void_answer(self, id: int) -> None:
        """Forget what has not left of an answer."""
        self._drop(ANSWER, id)

    def _drop(self, kind: int, id: int) -> bool:
        large = self.later.pop((kind, id), None)
        if large is None:
            large = self.large.pop((kind, id), None)
            if large is None:
                return False
            self._ended(large)
        self.unsent.size -= large.size
        return True

    def drop(self) -> None:
        """Forget all that waits, but for a packet of the handshake. If the peer needs some of it, all is never over."""
        unsent = self.unsent
        self._lost = self.any_needed
        unsent.queue.clear()
        unsent.size = len(unsent.packet)
        self.large.clear()
        self.later.clear()
        self._turning = 0
        self._behind_requests = ()
        self.pongs.clear()  # who leaves nothing to be sent may read on

    def hurry(self) -> None:
        """Forget what waits of large messages, and END, if that has not left: an ABORT follows."""
        unsent = self.unsent
        waiting = list(unsent.queue)
        self.drop()
        for item in waiting:
            if type(item) is not tuple:
                unsent.queue.append(item)
                unsent.size += HEADER_SIZE + len(item)
            elif item[0][0] != PDUType.END:  # of the header the first byte
                unsent.queue.append(item)
                unsent.size += sum(map(len, item))

    # Taking

    def take(self, room: int, some: bool = True) -> tuple[list[Buffer], int]:
        """
        Take the pieces of the next record's body off what waits.

        :param room: how many bytes the body may have.
        :param some: whether the first PDU comes alone if it has more; else nothing comes then.
        :return: the pieces, and how many bytes they have.
        """
        unsent = self.unsent
        size = unsent.size - len(unsent.packet)
        if size > room or self.large:
            return self._take_some(room, some)
        pieces: list[Buffer] = []
        for item in unsent.queue:
            if type(item) is tuple:
                pieces += item
            else:
                pieces += (_pack(DATA, 0, len(item)), item)
        unsent.pdus_sent += len(unsent.queue)
        unsent.queue.clear()
        unsent.size -= size
        if self.requests:
            self.asked.update(self.requests)
            self.requests.clear()
        # To look is quicker than to clear what is empty, as nearly always all are but one.
        for ids in (self.answered, self.closing, self.pings, self.pongs):
            if ids:
                ids.clear()
        return pieces, size

    def _take_some(self, room: int, some: bool) -> tuple[list[Buffer], int]:
        pieces: list[Buffer] = []
        large = self.large
        # Where large messages wait, half of the room is theirs, if their parts need so much.
        share = room - min(self._next_size(), room // 2) if large else room
        alone = share if large and not self._small_next else HEADER_SIZE + LARGEST_PAYLOAD if some else room
        used = self._take_small(pieces, share, alone)
        # What is small and found no place beside the parts comes first the next time.
        self._small_next = bool(self.unsent.queue) and used <= share
        # What is left of a record takes no part that is hardly worth its header.
        worth = min(PART_SIZE // 4, room // 2)
        while large and ((some and not used) or room - used >= min(self._next_size(), worth)):
            used += self._take_part(pieces, room - used)
        self.unsent.size -= used
        return pieces, used

    def _next_size(self) -> int:
        return next(iter(self.large.values())).next_size

    def _take_small(self, pieces: list[Buffer], share: int, alone: int) -> int:
        """
        Take from the queue.

        :param share: how many bytes.
        :param alone: how many the first one may have.
        :return: how many bytes were taken.
        """
        queue, used, count = self.unsent.queue, 0, 0
        for item in queue:
            small = type(item) is tuple
            size = sum(map(len, item)) if small else HEADER_SIZE + len(item)
            if used + size > (share if used else alone):
                break
            count += 1
            if small:
                self._note_left(item[0])
                pieces += item
            else:
                pieces += (_pack(DATA, 0, len(item)), item)
            used += size
        del queue[:count]
        self.unsent.pdus_sent += count
        return used

    def _note_left(self, header: bytes) -> None:
        kind, id, _ = HEADER.unpack(header)
        if kind == REQUEST:
            self._note_asked(id)
            self.closing.pop(id, None)
        elif kind == ANSWER or kind == FAILURE:
            self.answered.pop(id, None)
        elif kind == PING:
            self.pings.pop(id, None)
        elif kind == PONG:
            self.pongs.pop(id, None)

    def _note_asked(self, id: int) -> None:
        state = self.requests.pop(id, None)  # it's not there where this is a later part
        if state is not None:
            self.asked[id] = state

    def _take_part(self, pieces: list[Buffer], room: int) -> int:
        """
        Take a part of the large message whose turn it is.

        :return: how many bytes were taken.
        """
        key, large = next(iter(self.large.items()))
        before = large.size
        item, last = large.take(room)
        pieces += item
        self.unsent.pdus_sent += 2 if len(item) > 2 else 1  # with the CANCEL behind it
        if key[0] == REQUEST:
            self._note_asked(key[1])
        if not last:
            self.large[key] = self.large.pop(key)
            # Small parts have more headers than were counted.
            self.unsent.size += sum(map(len, item)) + large.size - before
            return sum(map(len, item))
        del self.large[key]
        self._ended(large)
        if key[0] == REQUEST:
            self._end_behind_requests()
        else:
            self.answered.pop(key[1], None)
        return sum(map(len, item))

    def _has_large_requests(self) -> bool:
        return any(kind == REQUEST for kind, _ in (*self.large, *self.later))

    def _end_behind_requests(self) -> None:
        """Let END leave if no request is before it."""
        if self._behind_requests and not self._has_large_requests():
            self.unsent.queue += self._behind_requests
            self._behind_requests = ()
