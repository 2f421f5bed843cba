"""
What a server remembers of handshakes in memory.
"""

from __future__ import annotations

import time
import tracemalloc

from hypothesis import given, strategies as st
from twisted.trial.unittest import SynchronousTestCase
from zope.interface.verify import verifyClass, verifyObject

from sodiumtwist import LocalProtocolError
from sodiumtwist.admission.replays import IReplayMemory, ReplayMemory

from ..logs import logged
from ..replay_memories import WARNING, Model, fingerprint, warnings_in


class ReplayMemoryTests(SynchronousTestCase):
    """In memory."""

    def test_interface(self) -> None:
        self.assertTrue(verifyClass(IReplayMemory, ReplayMemory))
        self.assertTrue(verifyObject(IReplayMemory, ReplayMemory()))

    def test_once(self) -> None:
        """New the first time only; looking remembers nothing."""
        memory = ReplayMemory()
        for number in (1, 2):
            self.assertIs(memory.knows(fingerprint(number)), False)
            self.assertIs(memory.knows(fingerprint(number)), False)
            self.assertIs(memory.remember(fingerprint(number)), True)
            self.assertIs(memory.remember(fingerprint(number)), False)
            self.assertIs(memory.knows(fingerprint(number)), True)

    @given(st.integers(1, 6), st.lists(st.integers(0, 9)))
    def test_model(self, limit: int, numbers: list[int]) -> None:
        """The first that came is the first to be forgotten, whatever was sent again meanwhile."""
        memory, model = ReplayMemory(limit), Model(limit)
        for number in numbers:
            self.assertEqual(memory.remember(fingerprint(number)), model.remember(number))
            kept = [number for number in range(10) if memory.knows(fingerprint(number))]
            self.assertEqual(kept, sorted(model.kept))

    def test_full(self) -> None:
        """The log says once what that means."""
        events = logged(self)
        memory = ReplayMemory(3)
        for number in [0, 1, 2, 2, 1, 0]:
            memory.remember(fingerprint(number))
        self.assertEqual(warnings_in(events), [])
        for number in range(3, 9):
            self.assertTrue(memory.remember(fingerprint(number)))
        self.assertEqual(warnings_in(events), [WARNING.format(3)])

    def test_limit(self) -> None:
        for limit in (0, -1):
            error = self.assertRaises(LocalProtocolError, ReplayMemory, limit)
            self.assertIn(f"a limit of {limit} handshakes", str(error))

    def test_size(self) -> None:
        """What 100,000 handshakes take at most, also while others take their places."""
        limit = 100_000
        memory = ReplayMemory(limit)
        tracemalloc.start()
        self.addCleanup(tracemalloc.stop)
        before = tracemalloc.get_traced_memory()[0]
        for number in range(2 * limit):
            memory.remember(fingerprint(number))
        peak = tracemalloc.get_traced_memory()[1]
        self.assertLess((peak - before) / limit, 160)

    def test_time(self) -> None:
        """Forgetting takes no longer the more there is."""
        memory = ReplayMemory(100_000)
        before = time.process_time()
        for number in range(300_000):
            memory.remember(fingerprint(number))
        self.assertLess(time.process_time() - before, 3)
