"""
A thread for the disk work of one session, so that a disk that hangs holds up nobody else.
"""

from __future__ import annotations

from collections.abc import Callable
from queue import SimpleQueue
from threading import Thread
from typing import Any, TypeVar

from twisted.internet.defer import Deferred
from twisted.python.failure import Failure

T = TypeVar("T")


class DiskThread:
    """
    Calls functions in a thread of its own, one after the other. The thread begins with the first of them.

    :param reactor: an ``IReactorFromThreads``.
    :param name: of the thread.
    """

    def __init__(self, reactor: Any, name: str = "disk") -> None:
        self._reactor = reactor
        self._name = name
        self._calls: SimpleQueue[tuple[Callable[[], Any], Deferred[Any]] | None] = SimpleQueue()
        self._thread: Thread | None = None

    def call(self, work: Callable[[], T]) -> Deferred[T]:
        """
        Call a function behind those before it.

        :return: fires in the reactor's thread with what it returns, or fails with what it raises.
        """
        if self._thread is None:
            # As a daemon: a process that ends does not wait for a disk that hangs.
            self._thread = Thread(target=self._run, name=self._name, daemon=True)
            self._thread.start()
        called: Deferred[T] = Deferred()
        self._calls.put((work, called))
        return called

    def close(self) -> None:
        """End the thread behind what it was asked to do."""
        if self._thread is not None:
            self._calls.put(None)

    def _run(self) -> None:
        while (call := self._calls.get()) is not None:
            work, called = call
            try:
                result = work()
            except Exception:
                self._reactor.callFromThread(called.errback, Failure())
            else:
                self._reactor.callFromThread(called.callback, result)
                del result
            # Nothing is kept until the next one comes.
            del call, work, called


def thread_of_reactor() -> DiskThread:
    """Make one that tells the global reactor what it has done."""
    # Now: to import it installs it.
    from twisted.internet import reactor

    return DiskThread(reactor)
