"""
What is told of the process.
"""

from __future__ import annotations

import builtins
import os
import time
from typing import Any
from unittest import skipUnless

from twisted.trial.unittest import SynchronousTestCase

from sodiumtwist.operation import exposition
from sodiumtwist.operation.exposition import process_values
from sodiumtwist.operation.values import PROCESS_METRICS


@skipUnless(os.path.exists("/proc/self/stat"), "there is no /proc")
class ProcessTests(SynchronousTestCase):
    def setUp(self) -> None:
        exposition._process.cache_clear()
        self.addCleanup(exposition._process.cache_clear)

    def test_processes_alone(self) -> None:
        """All of it is told, and stays, where ``/proc`` has processes and nothing else, as under the units."""
        expected = {value.name: value.number for value in process_values()}
        self.assertEqual(set(expected), set(PROCESS_METRICS))
        exposition._process.cache_clear()
        opened = builtins.open

        def deny(path: Any, *words: Any) -> Any:
            if path == "/proc/stat":
                raise FileNotFoundError(path)
            return opened(path, *words)

        self.patch(builtins, "open", deny)
        told = {value.name: value.number for value in process_values()}
        self.assertEqual(set(told), set(expected))
        began = "process_start_time_seconds"
        self.assertApproximates(told[began], expected[began], 2)
        self.assertLess(told[began], time.time() + 1)
        # Whoever sees it change takes that for a restart.
        self.assertEqual({value.name: value.number for value in process_values()}[began], told[began])
