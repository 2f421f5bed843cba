"""
The PDUs of protocol version 2 as bytes, without encryption, state or IO. The body of a record holds any number of
them.

All integers are big-endian. Sizes are in bytes. A *line* is UTF-8 of up to :data:`LINE_SIZE` bytes; whoever shows
one replaces what can't be printed.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum, IntEnum
from struct import Struct
from typing import Final

from ..errors import LocalProtocolError, MalformedPDU
from ..inbox import Buffer

#: A PDU's header: type (1), flags (1), zero (2), id (4), size of the payload (4).
HEADER = Struct(">III")
HEADER_SIZE = HEADER.size
#: The largest payload of any PDU: with its header it fills a record of the largest size.
LARGEST_PAYLOAD = 135156
LINE_SIZE = 1024
PING_SIZE = 64
CODE = Struct(">I")
CODE_SIZE = CODE.size
#: The highest id, and the highest code.
HIGHEST = 2**32 - 1
#: From here on, types that are not known are passed over.
PASSED_OVER = 128


class PDUType(IntEnum):
    """The type field of a header."""

    #: The server lets the client in. A line for the user. Once, before all else.
    WELCOME = 1
    #: The server does not let the client in, and has acted on nothing that came. Why: a code, a line. In place of
    #: WELCOME.
    REFUSED = 2
    #: Bytes of the application's, in order.
    DATA = 3
    #: Bytes to be sent back at once, as a sign of life.
    PING = 4
    #: The bytes of the PING with that id.
    PONG = 5
    #: A question.
    REQUEST = 6
    #: The answer to the REQUEST with that id, in any order.
    ANSWER = 7
    #: There is no answer, and parts of one that came count for nothing. Why: a code, a line.
    FAILURE = 8
    #: No DATA and no REQUEST comes any more. Once.
    END = 9
    #: Says nothing, and hides how much the others say.
    PADDING = 10
    #: Its sender is about to stop: ask nothing new, and end when all is done. Once.
    DRAIN = 11
    #: Its sender closes now. Why: a code, a line. What follows it is dropped, and nobody replies.
    ABORT = 12
    #: The answer to the REQUEST with that id is not wanted any more. One ANSWER or FAILURE still comes.
    CANCEL = 13


class Code(IntEnum):
    """Why something is refused, fails or ends. Codes from 0x80000000 on are the application's."""

    REFUSED = 1
    TOO_MANY_FAILURES = 2
    NO_ROOM = 3
    SHUTTING_DOWN = 4
    TOO_LARGE = 5
    PROTOCOL_BROKEN = 6
    APPLICATION_FAILED = 7
    NOT_SUPPORTED = 8
    STORAGE = 9
    CANCELLED = 10


_WORDS = {
    Code.REFUSED: "login, passphrase or key refused",
    Code.TOO_MANY_FAILURES: "too many failures, try again later",
    Code.NO_ROOM: "no room, try again later",
    Code.SHUTTING_DOWN: "shutting down, not acted on",
    Code.TOO_LARGE: "too large",
    Code.PROTOCOL_BROKEN: "the protocol was broken",
    Code.APPLICATION_FAILED: "the application failed",
    Code.NOT_SUPPORTED: "not supported",
    Code.STORAGE: "storage failed",
    Code.CANCELLED: "cancelled",
}


def describe_code(code: int) -> str:
    """Say what a code means; one that is not known is shown as a number."""
    return _WORDS.get(code, f"code {code}")  # type: ignore[call-overload, no-any-return]  # a Code is a number


class Sender(Enum):
    """Who may send a PDU."""

    SERVER = "server"
    BOTH = "both"


@dataclass(frozen=True)
class Rule:
    """
    What PDUs of a type may have.

    :ivar sender: who may send them.
    :ivar numbered: whether they have an id; otherwise it is 0.
    :ivar parts: whether they may have MORE, and then at least one byte.
    :ivar smallest: the smallest payload.
    :ivar largest: the largest payload.
    """

    sender: Sender = Sender.BOTH
    numbered: bool = False
    parts: bool = False
    smallest: int = 0
    largest: int = LARGEST_PAYLOAD


#: What each type may have. Nothing else decides that.
RULES: Final = {
    PDUType.WELCOME: Rule(Sender.SERVER, largest=LINE_SIZE),
    PDUType.REFUSED: Rule(Sender.SERVER, smallest=CODE_SIZE, largest=CODE_SIZE + LINE_SIZE),
    PDUType.DATA: Rule(),
    PDUType.PING: Rule(numbered=True, largest=PING_SIZE),
    PDUType.PONG: Rule(numbered=True, largest=PING_SIZE),
    PDUType.REQUEST: Rule(numbered=True, parts=True),
    PDUType.ANSWER: Rule(numbered=True, parts=True),
    PDUType.FAILURE: Rule(numbered=True, smallest=CODE_SIZE, largest=CODE_SIZE + LINE_SIZE),
    PDUType.END: Rule(largest=0),
    PDUType.PADDING: Rule(),
    PDUType.DRAIN: Rule(largest=0),
    PDUType.ABORT: Rule(smallest=CODE_SIZE, largest=CODE_SIZE + LINE_SIZE),
    PDUType.CANCEL: Rule(numbered=True, largest=0),
}

_RULES: Final = {int(pdu_type): rule for pdu_type, rule in RULES.items()}

# A kind is the first four bytes of a header as one number: type and flags. Plain numbers, for looking one up takes a
# tenth of the time that a member of an enumeration takes, and each PDU asks several times.
WELCOME: Final = PDUType.WELCOME << 24
REFUSED: Final = PDUType.REFUSED << 24
DATA: Final = PDUType.DATA << 24
PING: Final = PDUType.PING << 24
PONG: Final = PDUType.PONG << 24
REQUEST: Final = PDUType.REQUEST << 24
ANSWER: Final = PDUType.ANSWER << 24
FAILURE: Final = PDUType.FAILURE << 24
END: Final = PDUType.END << 24
PADDING: Final = PDUType.PADDING << 24
DRAIN: Final = PDUType.DRAIN << 24
ABORT: Final = PDUType.ABORT << 24
CANCEL: Final = PDUType.CANCEL << 24
#: The flag MORE, in a kind.
MORE: Final = 1 << 16
REQUEST_PART: Final = REQUEST | MORE
ANSWER_PART: Final = ANSWER | MORE
#: The kind of all that is passed over.
UNKNOWN: Final = PASSED_OVER << 24

#: A PDU: its kind, its id and its payload. Of those that say nothing the payload is empty.
PDU = tuple[int, int, bytes]

#: Kinds of which all that fits a record is right, as nearly all PDUs are.
_ANY: Final = frozenset(
    pdu_type << 24 for pdu_type, rule in RULES.items() if rule.numbered and rule.parts and not rule.smallest
)

#: Above this size payloads are cut out of the body one by one; smaller ones out of a copy of all, which is quicker.
_LARGE = 4096


class BrokenAbort(MalformedPDU):
    """An ABORT that breaks a rule itself: it gets no reply."""


def name_of(kind: int) -> str:
    """Name the type of a kind."""
    number = kind >> 24
    return PDUType(number).name if number in _RULES else f"PDU of type {number}"


def read_body(body: Buffer) -> tuple[list[PDU], MalformedPDU | None]:
    """
    Read the body of a record, up to an ABORT: what follows that is dropped.

    :param body: may be overwritten when this has returned.
    :return: its PDUs, and what is wrong with the one behind them; ``None`` when that is nothing.
    """
    pdus: list[PDU] = []
    unpack, add = HEADER.unpack_from, pdus.append
    end, start = len(body), HEADER_SIZE
    small = end >= HEADER_SIZE and unpack(body)[2] < _LARGE
    if small:
        body = bytes(body)
    while start <= end:
        kind, id, size = unpack(body, start - HEADER_SIZE)
        behind = start + size
        if kind not in _ANY or behind > end:
            error = _judge(kind, id, size, behind > end)
            if error is not None:
                return pdus, error
        if kind == PADDING or kind >= UNKNOWN:
            add((kind if kind == PADDING else UNKNOWN, 0, b""))
        else:
            payload = body[start:behind]
            add((kind, id, payload if small else bytes(payload)))  # type: ignore[arg-type]  # it is of bytes then
            if kind == ABORT:
                return pdus, None
        start = behind + HEADER_SIZE
    if start - HEADER_SIZE != end:
        return pdus, MalformedPDU("the header of a PDU cut by the end of its record")
    return pdus, None


def _judge(kind: int, id: int, size: int, cut: bool) -> MalformedPDU | None:
    """Say what is wrong with a PDU, if anything is."""
    number = kind >> 24
    rule = _RULES.get(number)
    if rule is not None and not cut:
        # As nearly all are.
        flags = kind & 0xFFFFFF
        if (
            (not flags or (flags == MORE and rule.parts and size))
            and (rule.numbered or not id)
            and rule.smallest <= size <= rule.largest
        ):
            return None
    elif not cut and number >= PASSED_OVER:
        return None
    return (BrokenAbort if number == PDUType.ABORT else MalformedPDU)(_complaint(kind, id, size, cut))


def _complaint(kind: int, id: int, size: int, cut: bool) -> str:
    name, flags, rule = name_of(kind), kind & 0xFFFFFF, _RULES.get(kind >> 24)
    if cut:
        return f"{name} cut by the end of its record"
    if rule is None:
        return f"{name}, which is not known"
    if flags == MORE and not rule.parts:
        return f"{name} in parts, which it never has"
    if flags & ~MORE:
        return f"{name} with flags and spare bits {flags:06x}"
    if flags and not size:
        return f"{name} with an empty part, though MORE is to come"
    if id and not rule.numbered:
        return f"{name} with the id {id}, though it has none"
    return f"{name} of {size} bytes; it has {rule.smallest} to {rule.largest}"


def pack_line(text: str) -> bytes:
    """
    Lay out a line.

    :raises LocalProtocolError: when it has more than 1024 bytes as UTF-8, or can't be UTF-8.
    """
    try:
        line = text.encode("utf-8")
    except UnicodeEncodeError:
        raise LocalProtocolError("a line of text that can't be UTF-8, for it has half a surrogate pair") from None
    if len(line) > LINE_SIZE:
        raise LocalProtocolError(f"a line of text with {len(line)} bytes; at most {LINE_SIZE} fit")
    return line


def read_line(line: bytes) -> str:
    """Read a line. What is no UTF-8 is replaced; what can't be printed stays."""
    return line.decode("utf-8", "replace")


def pack_reason(code: int, text: str) -> bytes:
    """
    Lay out the payload of a REFUSED, FAILURE or ABORT.

    :raises LocalProtocolError: when the code has no 4 bytes, or the text is no line.
    """
    if not 0 <= code <= HIGHEST:
        raise LocalProtocolError(f"a code is a number from 0 to {HIGHEST}, not {code}")
    return CODE.pack(code) + pack_line(text)


def read_reason(payload: bytes) -> tuple[int, str]:
    """Read what :func:`pack_reason` has laid out: the code and the text."""
    code: int = CODE.unpack_from(payload)[0]
    return code, read_line(payload[CODE_SIZE:])


def pack_padding(size: int) -> bytes:
    """
    Lay out a PADDING, header included.

    :param size: of its payload.
    """
    return HEADER.pack(PADDING, 0, size) + bytes(size)
