"""
A very small protocol for transports that carry a stream of bytes. Eight bytes say how many bytes follow. When all
have come, the server confirms that with eight bytes. Eight zero bytes mean that requests follow: each begins with its
size in four bytes, and is sent back. Protocols of asyncio and of Twisted make the same calls here. All answers, or all
requests, that one read leads to leave in one write.
"""

from __future__ import annotations

from collections.abc import Callable
from struct import Struct
from typing import Any

SIZE = Struct(">Q")
LENGTH = Struct(">I")

#: Says that requests follow.
ECHO = SIZE.pack(0)


def frame(message: bytes) -> bytes:
    """Put its size before a message."""
    return LENGTH.pack(len(message)) + message


def split(data: bytes) -> tuple[list[bytes], bytes]:
    """Take whole messages off the front; return them and what is left."""
    messages, start = [], 0
    while len(data) - start >= LENGTH.size:
        end = start + LENGTH.size + LENGTH.unpack_from(data, start)[0]
        if end > len(data):
            break
        messages.append(data[start + LENGTH.size : end])
        start = end
    return messages, data[start:]


class Counter:
    """
    The server's end.

    :param write: sends bytes.
    """

    def __init__(self, write: Callable[[bytes], Any]) -> None:
        self._write = write
        self._rest = b""
        self._announced = 0
        self._left = 0
        self._echoes = False

    def receive(self, data: bytes) -> None:
        """Bytes came, cut anywhere."""
        if self._left > len(data):
            self._left -= len(data)
        elif self._echoes:
            self._echo(data)
        else:
            self._begin(data)

    def _echo(self, data: bytes) -> None:
        messages, self._rest = split(self._rest + data)
        if messages:
            self._write(b"".join([frame(message) for message in messages]))

    def _begin(self, data: bytes) -> None:
        if self._left:
            data, self._left = data[self._left :], 0
            self._write(SIZE.pack(self._announced))
        self._rest += data
        if len(self._rest) < SIZE.size:
            return
        (self._announced,) = SIZE.unpack_from(self._rest)
        rest, self._rest = self._rest[SIZE.size :], b""
        self._left, self._echoes = self._announced, not self._announced
        if rest:
            self.receive(rest)


class Asker:
    """
    The client's end, for requests.

    :param write: sends bytes.
    :param payload: of each request.
    :param count: how many.
    :param window: how many may be unanswered.
    :param done: called when all are answered.
    """

    def __init__(
        self, write: Callable[[bytes], Any], payload: bytes, count: int, window: int, done: Callable[[], Any]
    ) -> None:
        self._write = write
        self._payload = payload
        self._unasked = self._unanswered = count
        self._rest = b""
        self._done = done
        self._ask(window)

    def _ask(self, most: int) -> None:
        count = min(self._unasked, most)
        if count:
            self._unasked -= count
            self._write(b"".join([frame(self._payload) for _ in range(count)]))

    def receive(self, data: bytes) -> None:
        """Bytes came, cut anywhere."""
        messages, self._rest = split(self._rest + data)
        self._unanswered -= len(messages)
        if self._unanswered:
            self._ask(len(messages))
        else:
            self._done()
