"""
A very small protocol for transports that carry a stream of bytes. Eight bytes say how many bytes follow. When all
have come, the server confirms that with eight bytes. Eight zero bytes mean that requests follow: each begins with its
size in four bytes, and is sent back, or answered by what the server has been given. Protocols of asyncio and of Twisted
make the same calls here. All answers, or all requests, that one read leads to leave in one write.
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


class Messages:
    """Puts together messages that come cut anywhere."""

    def __init__(self) -> None:
        self._pieces: list[bytes] = []
        self._have = 0
        # How many bytes it takes until the next message can be whole. Large ones come in many pieces, which are joined
        # once.
        self._need = LENGTH.size

    def take(self, data: bytes) -> list[bytes]:
        """Take bytes; return the messages that are whole now."""
        if self._pieces:
            self._pieces.append(data)
            self._have += len(data)
            if self._have < self._need:
                return []
            data = b"".join(self._pieces)
            self._pieces.clear()
        messages, start, self._need = [], 0, LENGTH.size
        while len(data) - start >= LENGTH.size:
            end = start + LENGTH.size + LENGTH.unpack_from(data, start)[0]
            if end > len(data):
                self._need = end - start
                break
            messages.append(data[start + LENGTH.size : end])
            start = end
        if rest := data[start:]:
            self._pieces.append(rest)
        self._have = len(rest)
        return messages


class Counter:
    """
    The server's end.

    :param write: sends bytes.
    :param answer: answers each request; when it is empty, requests are sent back.
    """

    def __init__(self, write: Callable[[bytes], Any], answer: bytes = b"") -> None:
        self._write = write
        self._answer = answer and frame(answer)
        self._messages = Messages()
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
        messages = self._messages.take(data)
        if messages:
            self._write(b"".join([self._answer or frame(message) for message in messages]))

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
        self._messages = Messages()
        self._done = done
        self._ask(window)

    def _ask(self, most: int) -> None:
        count = min(self._unasked, most)
        if count:
            self._unasked -= count
            self._write(b"".join([frame(self._payload) for _ in range(count)]))

    def receive(self, data: bytes) -> None:
        """Bytes came, cut anywhere."""
        messages = self._messages.take(data)
        self._unanswered -= len(messages)
        if self._unanswered:
            self._ask(len(messages))
        else:
            self._done()
