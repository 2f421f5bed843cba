"""
Received bytes, cut anywhere, and how messages of known size are taken out of them.
"""

from __future__ import annotations

from typing import Any, Union

#: What holds bytes in one piece.
Buffer = Union[bytes, bytearray, memoryview]


def view_of(data: Buffer) -> memoryview:
    """
    Look at bytes that somebody gave, one by one.

    :raises TypeError: for anything but contiguous bytes, and says what to do.
    """
    try:
        return memoryview(data).cast("B")
    except TypeError:
        raise not_bytes(data, "contiguous bytes are taken") from None


def not_bytes(thing: object, wanted: str) -> TypeError:
    """
    Make the error about something that is not bytes.

    :param wanted: what is to be there, in words.
    """
    what = "a view with gaps" if isinstance(thing, memoryview) else type(thing).__name__
    return TypeError(f"{wanted}, not {what}" + ("; encode it: text.encode()" if isinstance(thing, str) else ""))


class Room:
    """
    Memory of one thread, into which it receives for one inbox after the other. What an inbox has there and has not
    taken stays for as long as no other inbox needs the memory; then it moves to bytes of its own.

    :param memory: twice as much as is received at once.
    :ivar inbox: the last one for which something was received.
    """

    __slots__ = ("_memory", "inbox")

    def __init__(self, memory: memoryview) -> None:
        self._memory = memory
        self.inbox: Inbox | None = None

    def get_buffer(self, inbox: Inbox, size: int) -> memoryview | None:
        """
        Make room.

        :param inbox: for which something is to be received.
        :param size: how many bytes at most.
        :return: where to; ``None`` where what waits lies elsewhere, or is too much.
        """
        memory, waiting = self._memory, inbox.data
        start = 0
        if self.inbox is not inbox:
            if waiting:
                return None
            self._move_out()
            self.inbox = inbox
        elif waiting:
            if type(waiting) is not memoryview:
                return None
            start = len(waiting)
            if start + size > len(memory):
                waiting = waiting[inbox.offset :]
                start = len(waiting)
                if start + size > len(memory):
                    return None
                memory[:start] = waiting
                inbox.data, inbox.offset = memory[:start], 0
        return memory[start : start + size]

    def received(self, inbox: Inbox, size: int) -> None:
        """
        Note that something was received.

        :param inbox: for which there was made room.
        :param size: how many bytes have come there.
        """
        inbox.data = self._memory[: len(inbox.data) + size]

    def _move_out(self) -> None:
        inbox = self.inbox
        if inbox is not None and type(inbox.data) is memoryview:
            inbox.data, inbox.offset = bytes(inbox.data[inbox.offset :]), 0


class Inbox:
    """
    What was received and is in no event yet.

    Bytes stay where the transport put them for as long as they can: a message that lies in one read whole is
    opened there, and only what is cut is put together in a part of its own.

    :ivar data: the bytes of the last read; empty when all of them were taken. A ``memoryview`` lies in a :class:`Room`,
        until another inbox needs that.
    :ivar offset: where in ``data`` the first byte lies that was not taken.
    :ivar part: the beginning of a message whose end has not come; it lies before ``data``. ``None`` when nothing
        is cut.
    :ivar opened: how many bytes were taken out and opened, and are in no event yet: where several PDUs are sealed
        together, they come out together. Whoever opens them counts them here.
    :ivar bytes_received: all that has come, the handshake included.
    :ivar pdus_received: how many PDUs were opened of it. Whoever opens them counts them here.
    """

    __slots__ = ("bytes_received", "data", "offset", "opened", "part", "pdus_received")

    def __init__(self) -> None:
        self.bytes_received = self.pdus_received = 0
        self.clear()

    def clear(self) -> None:
        """Drop everything."""
        # Bytes, or a view of them; those who take bytes alone never see another.
        self.data: Any = b""
        self.offset = self.opened = 0
        self.part: bytearray | None = None

    @property
    def size(self) -> int:
        """How many bytes wait."""
        waiting = len(self.data) - self.offset + self.opened
        return waiting if self.part is None else waiting + len(self.part)

    def put(self, data: bytes) -> None:
        """Add bytes behind those that wait."""
        if self.data:
            # Events were left where they are. Otherwise all that came before is in events, or in the part.
            data = bytes(self.data[self.offset :]) + data
        self.data, self.offset = data, 0

    def peek(self, size: int) -> bytes | None:
        """
        Look at what was received first, and leave it where it is.

        :param size: how many bytes.
        :return: ``None`` when fewer have come.
        """
        # Only asked before anything was taken, so what is not in a part is in one read, or few.
        part = b"" if self.part is None else bytes(self.part[:size])
        seen = part + bytes(self.data[self.offset : self.offset + size - len(part)])
        return seen if len(seen) == size else None

    def take(self, size: int) -> tuple[Buffer, int] | None:
        """
        Take a message.

        :param size: how many bytes it has. Until it is whole, ask for the same size again.
        :return: what it lies in, and where. ``None`` when too few bytes have come; these are then in the part.
        """
        data, start, part = self.data, self.offset, self.part
        if part is None:
            end = start + size
            if end <= len(data):
                self._leave(data, end)
                return data, start
            if start < len(data):
                self.part = bytearray(memoryview(data)[start:])
        else:
            end = start + size - len(part)
            part += memoryview(data)[start:end]
            if end <= len(data):
                self.part = None
                self._leave(data, end)
                return part, 0
        self.data, self.offset = b"", 0
        return None

    def _leave(self, data: Buffer, end: int) -> None:
        """Go on at ``end``; what was read is let go as soon as all of it was taken."""
        if end == len(data):
            self.data, self.offset = b"", 0
        else:
            self.offset = end

    def take_whole(self, size: int) -> bytes | None:
        """
        Take a message as ``bytes`` of its own.

        :param size: how many bytes it has. Until it is whole, ask for the same size again.
        :return: ``None`` when too few bytes have come.
        """
        taken = self.take(size)
        return None if taken is None else bytes(memoryview(taken[0])[taken[1] : taken[1] + size])
