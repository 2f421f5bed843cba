"""
Tests of :mod:`sodiumtwist.core.v2.incoming`.
"""

from __future__ import annotations

import tracemalloc
from typing import Any, cast

from hypothesis import given, strategies as st
from twisted.trial.unittest import SynchronousTestCase

from sodiumtwist.core.errors import LocalProtocolError
from sodiumtwist.core.v2.incoming import Bounds, Incoming
from sodiumtwist.core.v2.pdus import ANSWER, REQUEST, Code


class BoundsTests(SynchronousTestCase):
    def test_defaults(self) -> None:
        """“A message 16 MiB; what is being put together 64 MiB a connection; 1024 unanswered REQUESTs; 64 PONGs”."""
        bounds = Bounds()
        self.assertEqual((bounds.message, bounds.connection), (16 * 2**20, 64 * 2**20))
        self.assertEqual((bounds.requests, bounds.pongs), (1024, 64))

    def test_no_number(self) -> None:
        for name in vars(Bounds()):
            for number in (0, -1, 1.5, None):
                with self.assertRaisesRegex(LocalProtocolError, f"{name} takes a number from 1, not {number}"):
                    Bounds(**{name: cast(Any, number)})


class IncomingTests(SynchronousTestCase):
    """Messages are put together."""

    def test_one_part(self) -> None:
        """It is not copied."""
        incoming, part = Incoming(Bounds()), b"question"
        self.assertIs(incoming.finish(REQUEST, 1, part), part)

    @given(st.lists(st.tuples(st.integers(1, 3), st.sampled_from([1, 2, 4095, 4096, 5000]))))
    def test_any_parts(self, parts: list[tuple[int, int]]) -> None:
        """“A message in parts is put together by type and id”."""
        incoming = Incoming(Bounds())
        whole = {1: b"", 2: b"", 3: b""}
        for number, (id, size) in enumerate(parts):
            part = bytes([number % 256]) * size
            whole[id] += part
            self.assertIsNone(incoming.add(ANSWER, id, part))
            self.assertIsNone(incoming.add(REQUEST, id, b"x"))
        for id, message in whole.items():
            self.assertEqual(incoming.finish(ANSWER, id, b"end"), message + b"end")
            self.assertEqual(incoming.has(REQUEST), any(key[0] == REQUEST for key in incoming.parts))
        self.assertFalse(incoming.has(ANSWER))

    def test_message(self) -> None:
        """Of the largest size it's kept, of one byte more it isn't, in one part or several."""
        incoming = Incoming(Bounds(message=10))
        self.assertEqual(incoming.finish(REQUEST, 1, bytes(10)), bytes(10))
        self.assertIs(incoming.finish(REQUEST, 1, bytes(11)), Code.TOO_LARGE)
        self.assertIsNone(incoming.add(REQUEST, 1, bytes(9)))
        self.assertEqual(incoming.finish(REQUEST, 1, bytes(1)), bytes(10))
        self.assertIsNone(incoming.add(REQUEST, 1, bytes(9)))
        self.assertIs(incoming.finish(REQUEST, 1, bytes(2)), Code.TOO_LARGE)
        self.assertIs(incoming.add(REQUEST, 1, bytes(11)), Code.TOO_LARGE)
        self.assertEqual(incoming.parts, {})

    def test_connection(self) -> None:
        """What is put together counts, requests and answers; what is whole or dropped counts no more."""
        incoming = Incoming(Bounds(connection=10))
        self.assertIsNone(incoming.add(REQUEST, 1, bytes(5)))
        self.assertIsNone(incoming.add(ANSWER, 1, bytes(5)))
        self.assertIs(incoming.add(ANSWER, 2, bytes(1)), Code.NO_ROOM)
        self.assertEqual(incoming.finish(REQUEST, 2, bytes(20)), bytes(20))  # those in one part do not count
        incoming.drop(REQUEST, 1)
        self.assertIsNone(incoming.add(ANSWER, 2, bytes(1)))
        self.assertEqual(incoming.finish(ANSWER, 1, b""), bytes(5))
        self.assertIsNone(incoming.add(ANSWER, 2, bytes(9)))
        self.assertIs(incoming.finish(ANSWER, 2, bytes(1)), Code.NO_ROOM)
        self.assertEqual(incoming.parts, {})
        self.assertIsNone(incoming.add(ANSWER, 3, bytes(10)))

    def test_drop_nothing(self) -> None:
        incoming = Incoming(Bounds())
        self.assertEqual(incoming.drop(REQUEST, 1).getvalue(), b"")

    def test_copied_once(self) -> None:
        """A message is not copied once more when it is whole: that would hold up all else, and take twice as much."""
        incoming, part = Incoming(Bounds()), bytes(65536)
        tracemalloc.start()
        try:
            for _ in range(101):
                self.assertIsNone(incoming.add(REQUEST, 1, part))
            whole = incoming.finish(REQUEST, 1, part)
            self.assertEqual(len(cast(bytes, whole)), 102 * 65536)
            self.assertLess(tracemalloc.get_traced_memory()[1], 1.13 * 102 * 65536)
            self.assertLess(tracemalloc.get_traced_memory()[0], 102 * 65536 + 10000)
        finally:
            tracemalloc.stop()

    def test_tiny_parts(self) -> None:
        """Parts of one byte take little more than what they count."""
        incoming, part = Incoming(Bounds()), b"x"
        tracemalloc.start()
        try:
            for _ in range(20000):
                incoming.add(REQUEST, 1, part)
            self.assertLess(tracemalloc.get_traced_memory()[0], 40000)
        finally:
            tracemalloc.stop()

    def test_describe(self) -> None:
        incoming = Incoming(Bounds(message=10))
        self.assertEqual(incoming.describe(Code.TOO_LARGE), "more than 10 bytes")
        self.assertEqual(incoming.describe(Code.NO_ROOM), "no room, try again later")
