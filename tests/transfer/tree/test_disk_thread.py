"""
Tests of :mod:`sodiumtwist.transfer.tree.disk_thread`.
"""

from __future__ import annotations

import subprocess
import sys
import threading
import weakref
from collections.abc import Callable
from functools import partial
from queue import Queue
from typing import Any

from twisted.internet.defer import Deferred
from twisted.trial.unittest import SynchronousTestCase

from sodiumtwist.transfer.tree.disk_thread import DiskThread

from ...processes import PATIENCE, wait_until


class FakeReactor:
    """Keeps what threads want to be called, until the test calls it."""

    def __init__(self) -> None:
        self.wanted: Queue[Callable[[], None]] = Queue()

    def callFromThread(self, call: Callable[..., Any], *arguments: Any) -> None:
        self.wanted.put(lambda: call(*arguments))

    def turn(self) -> None:
        """Wait for the next call, and make it."""
        self.wanted.get(timeout=PATIENCE)()


class DiskThreadTests(SynchronousTestCase):
    """:class:`DiskThread`"""

    def setUp(self) -> None:
        self.reactor = FakeReactor()
        self.thread = DiskThread(self.reactor, "the disk of a")
        self.addCleanup(self.thread.close)

    def ended(self) -> bool:
        """Wait until the thread has ended."""
        assert self.thread._thread is not None
        self.thread._thread.join(PATIENCE)
        return not self.thread._thread.is_alive()

    def test_in_order(self) -> None:
        """All calls are made in one thread with the given name, in order; results come in the reactor's thread."""
        made: list[tuple[int, str]] = []
        results: list[int] = []

        def work(number: int) -> int:
            made.append((number, threading.current_thread().name))
            return number * 10

        for number in range(3):
            self.thread.call(partial(work, number)).addCallback(results.append)
        for number in range(3):
            self.assertEqual(results, [0, 10, 20][:number])
            self.reactor.turn()
        self.assertEqual((made, results), ([(n, "the disk of a") for n in range(3)], [0, 10, 20]))

    def test_failure(self) -> None:
        """What is raised comes, and the next call is made all the same."""

        def fail() -> None:
            raise OSError(28, "No space left on device")

        failing, other = self.thread.call(fail), self.thread.call(lambda: 7)
        self.reactor.turn()
        self.assertEqual(self.failureResultOf(failing, OSError).value.errno, 28)
        self.reactor.turn()
        self.assertEqual(self.successResultOf(other), 7)

    def test_no_thread_before(self) -> None:
        """A session that asks nothing of the disk has no thread, and may be closed."""
        before = threading.active_count()
        thread = DiskThread(self.reactor)
        thread.close()
        self.assertEqual(threading.active_count(), before)

    def test_close(self) -> None:
        """It ends behind what it was asked to do."""
        called = self.thread.call(lambda: 7)
        self.thread.close()
        self.assertTrue(self.ended())
        self.reactor.turn()
        self.assertEqual(self.successResultOf(called), 7)

    def test_hangs_alone(self) -> None:
        """A disk that hangs holds up its own calls, and neither the reactor nor another session."""
        hangs = threading.Event()
        self.addCleanup(hangs.set)
        hanging = self.thread.call(lambda: hangs.wait(PATIENCE))
        behind = self.thread.call(lambda: 1)
        other = DiskThread(self.reactor)
        self.addCleanup(other.close)
        called = other.call(lambda: 2)
        self.reactor.turn()
        self.assertEqual(self.successResultOf(called), 2)
        self.assertNoResult(hanging)
        self.assertNoResult(behind)
        hangs.set()
        self.reactor.turn()
        self.reactor.turn()
        self.assertEqual((self.successResultOf(hanging), self.successResultOf(behind)), (True, 1))

    def test_keeps_nothing(self) -> None:
        """While it waits for the next call, it holds nothing of the last one: payloads are large."""

        class Payload:
            def itself(self) -> Payload:
                return self

        payload = Payload()
        kept = weakref.ref(payload)
        called: Deferred[Any] | None = self.thread.call(partial(Payload.itself, payload))
        del payload
        self.reactor.turn()
        assert called is not None
        self.successResultOf(called)
        called = None
        wait_until(lambda: kept() is None, "the thread to forget it")

    def test_ends_with_the_process(self) -> None:
        """A process ends although its disk hangs."""
        code = (
            "import threading; from sodiumtwist.transfer.tree.disk_thread import DiskThread; "
            "begun = threading.Event(); DiskThread(None).call(lambda: (begun.set(), threading.Event().wait())); "
            "begun.wait(); print('begun')"
        )
        done = subprocess.run([sys.executable, "-c", code], timeout=PATIENCE, stdout=subprocess.PIPE)
        self.assertEqual((done.returncode, done.stdout), (0, b"begun\n"))
