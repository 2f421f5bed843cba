"""
What tests of the sender's half use: a connection and a thread in memory, and a receiver that keeps all in a dict.
"""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable
from hashlib import blake2b
from typing import Any

from twisted.internet.defer import Deferred, maybeDeferred
from twisted.python.failure import Failure

from sodiumtwist.core.errors import RequestFailed
from sodiumtwist.transfer.tree.disk_thread import DiskThread
from sodiumtwist.transfer.tree.messages import (
    FILE,
    FOLDER,
    HAVE,
    RESUME,
    SEND,
    Announce,
    Done,
    Entry,
    Finish,
    Outcome,
    SetTimes,
    Settled,
    Verdict,
    Verdicts,
    decode_request,
    encode,
)
from sodiumtwist.transfer.tree.pieces import LAST, VOID, split
from sodiumtwist.transfer.tree.report import FileResult, Report
from sodiumtwist.transfer.tree.walking import Batch, Walk


def make_tree(root: str, **files: bytes) -> None:
    """Make a folder with files in it."""
    os.makedirs(root)
    for name, data in files.items():
        with open(os.path.join(root, name), "wb") as file:
            file.write(data)


def write(path: str, data: bytes) -> None:
    """Write a file."""
    with open(path, "wb") as file:
        file.write(data)


def all_batches(walk: Walk) -> list[Batch]:
    """Walk to the end."""
    return list(iter(walk.next, None))


def all_entries(walk: Walk) -> list[Entry]:
    """Walk to the end."""
    return [entry for batch in all_batches(walk) for entry in batch.entries]


class ThreadInHand(DiskThread):
    """
    A thread that does its next work when the test says so.
    """

    def __init__(self) -> None:
        super().__init__(None)
        self.waiting: deque[tuple[Callable[[], Any], Deferred[Any]]] = deque()

    def call(self, work: Callable[[], Any]) -> Deferred[Any]:
        called: Deferred[Any] = Deferred()
        self.waiting.append((work, called))
        return called

    def step(self) -> None:
        """Do one work."""
        work, called = self.waiting.popleft()
        maybeDeferred(work).addCallbacks(called.callback, called.errback)


class Told(Report):
    """
    Keeps what people are told.
    """

    def __init__(self) -> None:
        self.files = self.size = self.bytes_written = 0
        self.begun: list[tuple[bytes, int, int]] = []
        self.results: list[FileResult] = []
        self.not_sent: list[tuple[bytes, str]] = []
        self.troubles: list[tuple[bytes, str]] = []

    def found(self, files: int, size: int) -> None:
        self.files += files
        self.size += size

    def begins(self, path: bytes, size: int, offset: int) -> None:
        self.begun.append((path, size, offset))

    def written(self, size: int) -> None:
        self.bytes_written += size

    def settled(self, result: FileResult) -> None:
        self.results.append(result)

    def left_out(self, path: bytes, why: str) -> None:
        self.not_sent.append((path, why))

    def trouble(self, path: bytes, why: str) -> None:
        self.troubles.append((path, why))


class ReceiverInHand:
    """
    The other end, and the connection to it. It answers nothing by itself: see :meth:`answer` and :meth:`settle`.

    :ivar there: what it has already, by path.
    :ivar contents: what has come whole, by path.
    """

    def __init__(self) -> None:
        self.questions: deque[tuple[Any, Deferred[bytes]]] = deque()
        self.asked: list[Any] = []
        self.payloads: deque[bytes] = deque()
        self.producer: Any = None
        self.aborted: list[tuple[int, str]] = []
        self.there: dict[bytes, bytes] = {}
        self.verdicts: dict[bytes, Verdict] = {}
        self.contents: dict[bytes, bytes] = {}
        self.voids: dict[bytes, str] = {}
        self.times: dict[bytes, int] = {}
        self.finish: Finish | None = None
        self.entries: dict[int, Entry] = {}
        self.growing: dict[int, bytearray] = {}
        self.settled: list[Settled] = []
        self.written = 0
        #: The numbers of all pieces in the order of their coming.
        self.numbers: list[int] = []

    # What the sender calls

    def request(self, payload: Any) -> Deferred[bytes]:
        answered: Deferred[bytes] = Deferred()
        message = decode_request(payload)
        self.asked.append(message)
        self.questions.append((message, answered))
        return answered

    def send_data(self, payload: Any) -> None:
        assert type(payload) is bytes
        self.payloads.append(payload)

    def registerProducer(self, producer: Any, streaming: bool) -> None:
        assert self.producer is None
        assert streaming
        self.producer = producer

    def unregisterProducer(self) -> None:
        self.producer = None

    def pauseProducing(self) -> None:
        raise NotImplementedError

    def resumeProducing(self) -> None:
        raise NotImplementedError

    def abort_with(self, code: int, text: str, error: BaseException | None = None) -> None:
        self.aborted.append((code, text))

    # What the receiver does

    def answer(self, last: bool = False) -> None:
        """Answer the first question, or the last."""
        message, answered = self.questions.pop() if last else self.questions.popleft()
        if isinstance(message, Announce):
            verdicts = []
            for number, entry in enumerate(message.entries, message.first):
                self.entries[number] = entry
                verdicts.append(self.verdicts.get(entry.path) or self._judge(entry))
            answer: Any = Verdicts(verdicts)
        else:
            if isinstance(message, SetTimes):
                self.times.update(message.folders)
            else:
                assert isinstance(message, Finish)
                self.finish = message
            answer = Done()
        answered.callback(encode(answer))

    def refuse(self, code: int, text: str) -> None:
        """Let the first question fail."""
        self.questions.popleft()[1].errback(Failure(RequestFailed(code, text)))

    def _judge(self, entry: Entry) -> Verdict:
        there = self.there.get(entry.path)
        if there is None or entry.kind != FILE:
            return Verdict(HAVE if entry.kind == FOLDER else SEND)
        return Verdict(RESUME, len(there), blake2b(there, digest_size=32).digest())

    def take(self) -> None:
        """Take all that was sent."""
        while self.payloads:
            for number, flags, offset, data in split(self.payloads.popleft()):
                self.numbers.append(number)
                entry = self.entries[number]
                growing = self.growing.get(number)
                if growing is None:
                    there = self.there.get(entry.path, b"")
                    assert offset in (0, len(there)) or not there
                    growing = self.growing[number] = bytearray(there[:offset])
                if flags & VOID:
                    self.voids[entry.path] = bytes(data).decode()
                    self.settled.append(Settled(number, 9, "taken back"))
                    continue
                assert offset >= len(growing)
                growing += bytes(offset - len(growing)) + bytes(data)
                self.written += len(data)
                if flags & LAST:
                    self.contents[entry.path] = bytes(growing)
                    self.settled.append(Settled(number, size=len(growing)))

    def outcome(self) -> bytes:
        """Say what became of all that was taken."""
        settled, self.settled = self.settled, []
        return encode(Outcome(self.written, settled))
