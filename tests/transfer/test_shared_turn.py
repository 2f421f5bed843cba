"""
A turn among processes.
"""

from __future__ import annotations

import os
import subprocess
import sys

from twisted.internet.defer import CancelledError
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from sodiumtwist.transfer.shared_turn import LOOKS_LEFT, TURN_POLL, SharedTurn
from sodiumtwist.transfer.stores import StreamStore

from ..admission.test_shared_counts import several

#: Has the lock of the descriptor that is its standard input, until it is told to end at that whose number it gets.
HOLDER = "import fcntl, os, sys; fcntl.lockf(0, fcntl.LOCK_EX, 1); os.write(1, b'.'); os.read(int(sys.argv[1]), 1)"


class SharedTurnTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.clock = Clock()
        self.descriptor = os.memfd_create("test")
        self.addCleanup(os.close, self.descriptor)
        (counts, self.others), _ = several(2)
        self.turn = SharedTurn(self.descriptor, counts)

    def hold(self) -> subprocess.Popen[bytes]:
        """Have another process take it."""
        reading, writing = os.pipe()
        self.addCleanup(os.close, writing)
        process = subprocess.Popen(
            [sys.executable, "-Sc", HOLDER, str(reading)],
            stdin=self.descriptor,
            stdout=subprocess.PIPE,
            pass_fds=[reading],
        )
        os.close(reading)
        assert process.stdout is not None
        self.addCleanup(process.stdout.close)
        self.addCleanup(process.wait)
        self.addCleanup(process.kill)
        self.assertEqual(process.stdout.read(1), b".")
        return process

    def test_held(self) -> None:
        """It waits for another process, which may be killed; and says so to others."""
        holder = self.hold()
        taking = self.turn.take("it", self.clock, 180)
        self.clock.pump([TURN_POLL] * 20)
        self.assertNoResult(taking)
        self.assertEqual(self.others.waiting_elsewhere(), 1)
        holder.kill()
        holder.wait()
        self.clock.advance(TURN_POLL)
        self.successResultOf(taking)
        self.assertEqual(self.others.waiting_elsewhere(), 0)

    def test_patience(self) -> None:
        """Waiting has an end, and may be given up."""
        self.hold()
        taking = self.turn.take("it", self.clock, 1)
        self.clock.pump([TURN_POLL] * 12)
        error = self.failureResultOf(taking, OSError).value
        self.assertEqual((error.strerror, error.filename), ("another upload held it for 1 seconds", "it"))
        taking = self.turn.take("it", self.clock, 1)
        taking.cancel()
        self.failureResultOf(taking, CancelledError)
        self.assertEqual((self.others.waiting_elsewhere(), self.clock.getDelayedCalls()), (0, []))

    def test_left_to_others(self) -> None:
        """Who has had it is not the first to have it again, where others wait."""
        self.successResultOf(self.turn.take("it", self.clock, 1))
        self.turn.release()
        self.successResultOf(self.turn.take("it", self.clock, 1))
        self.turn.release()
        self.others.note_waiting(1)
        taking = self.turn.take("it", self.clock, 1)
        self.assertNoResult(taking)
        self.clock.advance(LOOKS_LEFT * TURN_POLL)
        self.successResultOf(taking)

    def test_store(self) -> None:
        """An upload to a device has it for as long as it goes on; and one that fails leaves it to the next."""
        released: list[None] = []
        self.patch(self.turn, "release", lambda: released.append(None))
        store = StreamStore(os.devnull, self.clock, 180, shared=self.turn)
        upload = self.successResultOf(store.open("a"))
        second = store.open("b")
        self.assertNoResult(second)
        self.successResultOf(upload.abandon())
        self.assertEqual(len(released), 1)
        self.successResultOf(self.successResultOf(second).finish())
        missing = StreamStore(self.mktemp(), self.clock, 180, shared=self.turn)
        for _ in range(2):
            self.failureResultOf(missing.open("a"), OSError)
        self.assertEqual(len(released), 4)
