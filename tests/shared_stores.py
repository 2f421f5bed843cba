"""
Stores that several servers share, for tests: one in memory, and the real one without its thread.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import Any

from twisted.internet.defer import Deferred, fail, maybeDeferred, succeed
from zope.interface import implementer

from sodiumtwist.admission.shared_store import ISharedStore, StoreDown
from sodiumtwist.operation.redis_store import RedisStore


@implementer(ISharedStore)
class StoreInMemory:
    """
    Remembers in this process.

    :ivar down: whether it is.
    :ivar known: the handshakes.
    :ivar counts: of failures, by address or login.
    """

    limit = 1000

    def __init__(self) -> None:
        self.down = False
        self.known: set[bytes] = set()
        self.counts: Counter[str | None] = Counter()
        self.calls: list[Callable[[], object]] = []

    @property
    def why_down(self) -> str:
        return "the store is down" if self.down else ""

    def counted(self) -> Deferred[int]:
        return self._answer(len(self.known))

    def _answer(self, answer: Any) -> Deferred[Any]:
        return fail(StoreDown("the store is down")) if self.down else succeed(answer)

    def knows(self, fingerprint: bytes) -> Deferred[bool]:
        return self._answer(fingerprint in self.known)

    def remember(self, fingerprint: bytes) -> Deferred[bool]:
        new = fingerprint not in self.known
        if not self.down:
            self.known.add(fingerprint)
        return self._answer(new)

    def failures(self, address: str | None, login: str | None) -> Deferred[tuple[int, int]]:
        return self._answer(tuple(0 if key is None else self.counts[key] for key in (address, login)))

    def failed(self, address: str | None, login: str | None) -> Deferred[Any]:
        if not self.down:
            self.counts.update(key for key in (address, login) if key is not None)
        return self._answer(1)

    def when_back(self, call: Callable[[], object]) -> None:
        self.calls.append(call)

    def come_back(self) -> None:
        """It answers again."""
        self.down = False
        for call in self.calls:
            call()


class StoreAtOnce(RedisStore):
    """A server of Redis that is asked without a thread: each call has its answer when it returns."""

    def _in_thread(self, work: Callable[..., Any], *arguments: Any) -> Deferred[Any]:
        return maybeDeferred(work, *arguments)
