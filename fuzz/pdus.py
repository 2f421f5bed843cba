"""
Anything that a peer can say in a dialogue of version 2, whatever we say meanwhile::

    python fuzz/pdus.py [libFuzzer's arguments] [folder for new inputs] fuzz/corpus/pdus
"""

if __name__ == "__main__":
    from program import run

    run("pdus")

from struct import pack, unpack_from

from fuzz.harness import Input
from sodiumtwist.core.errors import LocalProtocolError, RemoteProtocolError
from sodiumtwist.core.events import (
    Aborted,
    AnswerReceived,
    Authenticated,
    DataReceived,
    DrainReceived,
    EndReceived,
    Event,
    FailureReceived,
    PingReceived,
    PongReceived,
    Refused,
    RequestCancelled,
    RequestReceived,
)
from sodiumtwist.core.v2.incoming import Bounds
from sodiumtwist.core.v2.pdus import read_body
from tests.core.v2.talk import ROOM, End

TO_CLIENT, SLOWLY = 0x01, 0x02
BOUNDS = Bounds(message=300, connection=500, requests=3, refused=5)
WELCOME, REFUSED, DATA, PING, PONG, REQUEST, ANSWER, FAILURE, END, PADDING, DRAIN, ABORT, CANCEL = range(1, 14)
NUMBERED = (PING, PONG, REQUEST, ANSWER, FAILURE, CANCEL)
REASONS = (REFUSED, FAILURE, ABORT)


class Broken(Exception):
    """The peer broke a rule."""


class Judge:
    """
    Reads what the peer says a second time, to compare. What we say leaves at once.

    :ivar asked: our requests without an answer: the parts of it that came, or ``None`` when these are too many.
    :ivar whole: the peer's requests that the application has; whether each is cancelled.
    :ivar pings: our PINGs; and
    :ivar owed: the peer's.
    """

    def __init__(self, to_client: bool) -> None:
        self.opening = to_client
        self.over = self.ended = self.drained = False
        self.asked: dict[int, list[bytes] | None] = {}
        self.coming: dict[int, list[bytes]] = {}
        self.dropping: set[int] = set()
        self.whole: dict[int, bool] = {}
        self.failed: set[int] = set()
        self.pings: dict[int, bytes] = {}
        self.owed: dict[int, bytes] = {}
        # Which answers were given up for their number.
        self.no_room: dict[int, bool] = {}

    def held(self) -> int:
        """How many bytes are being put together."""
        messages = [*self.coming.values(), *(parts for parts in self.asked.values() if parts)]
        return sum(len(part) for parts in messages for part in parts)

    def too_much(self, parts: list[bytes], part: bytes, alone: bool) -> int:
        """Why a part can't be kept."""
        if sum(map(len, parts)) + len(part) > BOUNDS.message:
            return 5
        return 3 if not alone and self.held() + len(part) > BOUNDS.connection else 0

    def body(self, body: bytes) -> list[Event]:
        """
        Read the body of a record.

        :raises Broken: behind the events of its second argument.
        """
        events: list[Event] = []
        try:
            while body and not self.over:
                if len(body) < 12:
                    raise Broken(events)
                number, flags, spare, id, size = unpack_from(">BBHII", body)
                payload, body = body[12 : 12 + size], body[12 + size :]
                if len(payload) < size:
                    raise Broken(events)
                event = self.pdu(number, flags | spare << 8, id, payload)
                if event is not None:
                    events.append(event)
        except Broken:
            self.over = True
            raise Broken(events) from None
        finally:
            self.failed.clear()
        return events

    def pdu(self, number: int, flags: int, id: int, payload: bytes) -> Event | None:
        """Read a PDU."""
        size = len(payload)
        if number >= 128:
            if self.opening:
                raise Broken
            return None
        if not 1 <= number <= 13 or flags > 1 or (flags and (number not in (REQUEST, ANSWER) or not size)):
            raise Broken
        if (id and number not in NUMBERED) or (size and number in (END, DRAIN, CANCEL)):
            raise Broken
        line = size - 4 if number in REASONS else size if number == WELCOME else 0
        if not 0 <= line <= 1024 or (number in (PING, PONG) and size > 64):
            raise Broken
        if (number in (WELCOME, REFUSED)) is not self.opening:
            raise Broken
        if self.ended and number in (DATA, REQUEST, END):
            raise Broken
        return getattr(self, f"type_{number}")(id, payload, bool(flags))  # type: ignore[no-any-return]

    def type_1(self, id: int, payload: bytes, more: bool) -> Event:
        self.opening = False
        return Authenticated(payload.decode("utf-8", "replace"))

    def type_2(self, id: int, payload: bytes, more: bool) -> Event:
        self.over = True
        return Refused(*self.reason(payload))

    def type_3(self, id: int, payload: bytes, more: bool) -> Event:
        return DataReceived(payload)

    def type_4(self, id: int, payload: bytes, more: bool) -> Event:
        if id in self.owed:
            raise Broken
        self.owed[id] = payload
        return PingReceived(self.number(payload))

    def type_5(self, id: int, payload: bytes, more: bool) -> Event:
        if self.pings.pop(id, None) != payload:
            raise Broken
        return PongReceived(self.number(payload), 0.0)

    def type_6(self, id: int, payload: bytes, more: bool) -> Event | None:
        if id in self.dropping:
            if not more:
                self.dropping.remove(id)
            return None
        if id in self.whole or id in self.failed:
            raise Broken
        new = id not in self.coming
        parts = self.coming.get(id, [])
        why = self.too_much(parts, payload, new and not more)
        if new and len(self.coming) + len(self.whole) + len(self.failed) >= BOUNDS.requests:
            why = 3
        if why:
            self.fail(id, more)
            return None
        if more:
            self.coming[id] = [*parts, payload]
            return None
        self.coming.pop(id, None)
        self.whole[id] = False
        return RequestReceived(id, b"".join([*parts, payload]))

    def fail(self, id: int, more: bool) -> None:
        """A request fails before the application has it."""
        if len(self.dropping) + len(self.failed) >= BOUNDS.requests + BOUNDS.refused:
            raise Broken
        self.coming.pop(id, None)
        self.failed.add(id)
        if more:
            self.dropping.add(id)

    def type_7(self, id: int, payload: bytes, more: bool) -> Event | None:
        if id not in self.asked:
            raise Broken
        parts = self.asked[id]
        if parts is not None and (why := self.too_much(parts, payload, not parts and not more)):
            self.no_room[id] = why == 3
            self.asked[id] = parts = None
        if more:
            if parts is not None:
                parts.append(payload)
            return None
        del self.asked[id]
        if parts is None:
            no_room = self.no_room.pop(id)
            text = "no room, try again later" if no_room else f"more than {BOUNDS.message} bytes"
            return FailureReceived(id, 3 if no_room else 5, f"the answer: {text}")
        return AnswerReceived(id, b"".join([*parts, payload]))

    def type_8(self, id: int, payload: bytes, more: bool) -> Event:
        if id not in self.asked:
            raise Broken
        del self.asked[id]
        self.no_room.pop(id, None)
        return FailureReceived(id, *self.reason(payload))

    def type_9(self, id: int, payload: bytes, more: bool) -> Event:
        if self.coming or self.dropping:
            raise Broken
        self.ended = True
        return EndReceived()

    def type_10(self, id: int, payload: bytes, more: bool) -> None:
        pass

    def type_11(self, id: int, payload: bytes, more: bool) -> Event:
        if self.drained:
            raise Broken
        self.drained = True
        return DrainReceived()

    def type_12(self, id: int, payload: bytes, more: bool) -> Event:
        self.over = True
        return Aborted(*self.reason(payload))

    def type_13(self, id: int, payload: bytes, more: bool) -> Event | None:
        if id in self.coming:
            self.fail(id, True)
        elif self.whole.get(id) is False:
            self.whole[id] = True
            return RequestCancelled(id)
        return None

    @staticmethod
    def reason(payload: bytes) -> tuple[int, str]:
        return unpack_from(">I", payload)[0], payload[4:].decode("utf-8", "replace")

    @staticmethod
    def number(payload: bytes) -> int:
        return int.from_bytes(payload, "big") if len(payload) == 8 else 0


def write(source: Input) -> bytes:
    """Write a PDU as the input says: its type, whether it has MORE, its id, its size; and what to turn over of that."""
    instruction = source.number()
    number, more = instruction & 15, instruction >> 4 & 1
    number = 128 if number == 15 else number
    if number not in (REQUEST, ANSWER):
        more = 0
    id = source.number() & 3 if number in NUMBERED else 0
    size = 0 if number in (END, DRAIN, CANCEL) else source.number()
    payload = source.take(size & 15).ljust(size, b"\0") if size else b""
    if number in REASONS:
        payload = pack(">I", size) + payload
    if number in (PING, PONG):
        payload = payload[: size % 9]
    body = pack(">BBHII", number, more, 0, id, len(payload)) + payload
    if instruction & 0x20:
        body = source.over(body[:12]) + body[12:]
    return body[: source.number()] if instruction & 0x40 else body


def say(source: Input, end: End, judge: Judge) -> None:
    """Say what the input says. What is not allowed has no effect."""
    instruction, id = source.number(), source.number() & 3
    act, size, dialogue = instruction & 15, (instruction >> 4) * 20, end.dialogue
    try:
        if act == 0:
            judge.asked[dialogue.request(bytes(size))] = []
        elif act == 1:
            dialogue.answer(id, bytes(size))
            judge.whole.pop(id, None)
        elif act == 2:
            dialogue.fail(id, size, "no")
            judge.whole.pop(id, None)
        elif act == 3:
            dialogue.cancel(id)
        elif act == 4:
            judge.pings[dialogue.ping(bytes(size % 9))] = bytes(size % 9)
        elif act == 5:
            dialogue.pong()
            # Where things leave slowly it may know of none.
            judge.owed.pop(next(iter(judge.owed), -1), None)
        elif act == 6:
            dialogue.end(size)
        elif act == 7:
            dialogue.drain()
        elif act == 8 and not size:
            dialogue.abort(size, "")
            judge.over = True
        elif act == 9 and dialogue.may_send_data:
            end.data(bytes(size))
        elif act == 10:
            dialogue.padding(size)
    except LocalProtocolError:
        pass


def large(source: Input, end: End) -> None:
    """Ask or answer something that leaves in parts."""
    try:
        if source.number() & 1:
            end.dialogue.request(bytes(200000))
        else:
            end.dialogue.answer(source.number() & 3, bytes(200000))
    except LocalProtocolError:
        pass


def one_input(data: bytes) -> None:
    """
    Play one input.

    :param data: a byte of options, and the instructions.
    """
    source = Input(data)
    options = source.number()
    to_client, slowly = bool(options & TO_CLIENT), bool(options & SLOWLY)
    end, judge = End(not to_client, BOUNDS), Judge(to_client)
    end.dialogue._largest = Bounds.message
    if not to_client:
        end.dialogue.welcome("")
    body = b""
    for _ in range(64):
        if not source:
            break
        instruction = source.number() & 3
        if instruction == 0:
            say(source, end, judge)
        elif instruction < 3:
            body += write(source)
            if instruction == 1:
                continue
            if not hear(end, judge, body, slowly):
                break
            body = b""
        elif slowly:
            large(source, end)
        if slowly:
            end.take(source.number() * 20 + 50)
        else:
            while end.unsent.size:
                end.take()
    assert end.dialogue.pongs_owed == 0 or slowly or not to_client or judge.owed
    while end.unsent.size:
        assert read_body(end.take())[1] is None, "what we say is broken"
    assert not slowly or sorted(end.dialogue.unanswered) == sorted(set(end.dialogue.unanswered))


def hear(end: End, judge: Judge, body: bytes, slowly: bool) -> bool:
    """Hear the body of a record, and return whether the dialogue goes on."""
    expected: list[Event] = []
    fails = False
    try:
        expected = judge.body(body)
    except Broken as broken:
        expected, fails = broken.args[0], True
    count = len(end.events)
    error = None
    try:
        end.hear(body)
    except RemoteProtocolError as raised:
        error = raised
        end.dialogue.broken(raised)
    if not slowly:
        # What leaves slowly is not followed there.
        assert end.events[count:] == expected, (end.events[count:], expected)
        # Where all is over, nobody asks what is wrong.
        assert fails is (error is not None) or (judge.over and not fails), error
    if error is not None:
        assert not end.hear(body[:0])
        assert end.unsent.size <= ROOM and not end.dialogue.may_send_data
    return error is None
