"""
For tests of uploads: a store in memory and a source of given chunks.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Sequence

from twisted.internet.defer import Deferred, fail, succeed

from sodiumtwist import KeyPair
from sodiumtwist.transfer.sources import Source
from sodiumtwist.transfer.stores import Store
from sodiumtwist.transfer.uploads import Upload

PAIR = KeyPair.from_hex("11" * 32)


class MemoryUpload(Upload):
    """An upload in memory, whose writes end when the test fires their Deferreds."""

    def __init__(self, store: MemoryStore) -> None:
        self.store = store
        self.content = b""
        self.one_by_one = store.one_by_one
        self.outcome: str | None = None
        self.interrupted = False

    def write_now(self, payloads: Sequence[bytes], size: int) -> bool:
        if self.store.slow:
            return False
        self._take(payloads)
        self.size += size
        return True

    def _write(self, payloads: Sequence[bytes]) -> Deferred[None]:
        writing: Deferred[None] = Deferred()
        writing.addCallback(lambda _: self._take(payloads))
        self.store.writing.append(writing)
        return writing

    def _take(self, payloads: Sequence[bytes]) -> None:
        self.content += b"".join(payloads)

    def interrupt(self) -> None:
        self.interrupted = True
        if self.store.writing:
            self.store.writing.pop().errback(OSError(errno.ECANCELED, "interrupted"))

    def finish(self) -> Deferred[str]:
        if self.store.finish_error is not None:
            return fail(self.store.finish_error)
        return self._end("finished")

    def abandon(self) -> Deferred[str]:
        return self._end("abandoned")

    def remove(self) -> Deferred[str]:
        return self._end("removed")

    def _end(self, outcome: str) -> Deferred[str]:
        def end(_: None) -> str:
            self.outcome = outcome
            return outcome

        ending: Deferred[None] = succeed(None)
        if self.store.slow_end:
            ending = Deferred()
            self.store.ending.append(ending)
        return ending.addCallback(end)


class MemoryStore(Store):
    """
    Keeps uploads in memory.

    :ivar uploads: the uploads that were opened.
    :ivar slow: whether opening and writing wait until the test fires their Deferreds.
    :ivar slow_end: whether ending does.
    """

    description = "memory"
    keeps = True

    def __init__(self) -> None:
        self.uploads: list[MemoryUpload] = []
        self.slow = False
        self.one_by_one = False
        self.opening: list[Deferred[None]] = []
        self.writing: list[Deferred[None]] = []
        self.slow_end = False
        self.ending: list[Deferred[None]] = []
        self.finish_error: OSError | None = None

    def open(self, login: str) -> Deferred[Upload]:
        upload = MemoryUpload(self)
        self.uploads.append(upload)
        if not self.slow:
            return succeed(upload)
        opening: Deferred[None] = Deferred()
        self.opening.append(opening)
        opened: Deferred[Upload] = opening.addCallback(lambda _: upload)
        return opened


class ListSource(Source):
    """
    Delivers given chunks while it is not paused.

    :ivar delivered: how many chunks it has delivered so far.
    """

    def __init__(self, chunks: list[bytes], error: OSError | None = None) -> None:
        # A descriptor that close() can close.
        super().__init__(os.open(os.devnull, os.O_RDONLY))
        self.chunks = chunks
        self.error = error
        self.delivered = 0

    def _read_on(self) -> None:
        while self._reading:
            if self.delivered == len(self.chunks):
                self._reading = False
                self._ended(self.error)
            else:
                self.delivered += 1
                self._deliver(self.chunks[self.delivered - 1])
