"""
Messages that come in parts, put together within bounds.
"""

from __future__ import annotations

from dataclasses import dataclass
from io import BytesIO

from ..errors import LocalProtocolError
from .pdus import Code, describe_code

#: About how many bytes of memory a request takes that was refused before its last part came. That must be known until
#: then, and there may be many.
REFUSED_SIZE = 80


@dataclass(frozen=True)
class Bounds:
    """
    How much a peer may make us keep.

    :ivar message: bytes of one REQUEST or ANSWER.
    :ivar connection: bytes of all messages of a connection that are not put together yet. Those in one part do not
        count. What leaves in parts at the same time has no more either, so that a peer with the same bounds takes it.
    :ivar requests: REQUESTs that are not answered, counted from their first part until the answer has left.
    :ivar refused: REQUESTs beyond those, whose FAILURE has not left or whose last part has not come.
    :ivar pongs: PINGs whose PONG has not left; then reading stops.
    :raises LocalProtocolError: for a number below 1, or one that is none.
    """

    message: int = 16 * 2**20
    connection: int = 64 * 2**20
    requests: int = 1024
    refused: int = 65536
    pongs: int = 64

    def __post_init__(self) -> None:
        for name, number in vars(self).items():
            if not isinstance(number, int) or number < 1:
                raise LocalProtocolError(f"the bound for {name} takes a number from 1, not {number}")


class Incoming:
    """
    The messages of a connection that are being put together.

    :param bounds: how much that may be.
    :ivar largest: the most bytes of a message.
    :ivar held: how many bytes came of all of them, and what those take that were refused.
    :ivar parts: what came of each message, by kind and id.
    """

    __slots__ = ("_came", "_most", "held", "largest", "parts")

    def __init__(self, bounds: Bounds) -> None:
        self.largest = bounds.message
        self._most = bounds.connection
        self._came = self.held = 0
        # A buffer makes bytes of what was written to it without a copy. To join parts at the end would double the
        # memory, and hold up all else for as long as a large message takes to copy.
        self.parts: dict[tuple[int, int], BytesIO] = {}

    def add(self, kind: int, id: int, part: bytes) -> Code | None:
        """
        Keep a part that is not the last one of its message.

        :return: why it can't be kept, nor what came before it; ``None`` when it is.
        """
        parts = self.parts.get((kind, id))
        if parts is None:
            parts = self.parts[kind, id] = BytesIO()
        if parts.tell() + len(part) > self.largest:
            why = Code.TOO_LARGE
        elif self._came + len(part) > self._most:
            why = Code.NO_ROOM
        else:
            parts.write(part)
            self._came += len(part)
            self.held += len(part)
            return None
        self.drop(kind, id)
        return why

    def finish(self, kind: int, id: int, part: bytes) -> bytes | Code:
        """
        Take a message with its last part, which may be its only one.

        :return: the message; or why it can't be kept.
        """
        if (kind, id) not in self.parts:
            return part if len(part) <= self.largest else Code.TOO_LARGE
        why = self.add(kind, id, part)
        return self.drop(kind, id).getvalue() if why is None else why

    def drop(self, kind: int, id: int) -> BytesIO:
        """Forget a message, and return it."""
        parts = self.parts.pop((kind, id), None) or BytesIO()
        self._came -= parts.tell()
        self.held -= parts.tell()
        return parts

    def count_refused(self, more: int) -> None:
        """
        Count requests that were refused before their last part came.

        :param more: how many more there are; below 0 when there are less.
        """
        self.held += more * REFUSED_SIZE

    def clear(self) -> None:
        """Forget all of them: nothing more comes."""
        self.parts.clear()
        self._came = self.held = 0

    def has(self, kind: int) -> bool:
        """Whether messages of a kind are being put together."""
        return any(key[0] == kind for key in self.parts)

    def describe(self, why: Code) -> str:
        """Say why a message is not kept."""
        return f"more than {self.largest} bytes" if why is Code.TOO_LARGE else describe_code(why)
