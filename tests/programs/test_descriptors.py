"""
Room among the descriptors.
"""

from __future__ import annotations

import resource

from twisted.logger import formatEvent
from twisted.trial.unittest import SynchronousTestCase

from sodiumtwist import Limits
from sodiumtwist.programs.descriptors import make_room

from ..logs import logged


class MakeRoomTests(SynchronousTestCase):
    def make_room(self, soft: int, hard: int, limits: Limits) -> tuple[Limits, list[tuple[int, int]], list[str]]:
        """With the system's limits as given; also what they were set to, and the log."""
        done: list[tuple[int, int]] = []
        events = logged(self)
        self.patch(resource, "getrlimit", lambda what: (soft, hard))
        self.patch(resource, "setrlimit", lambda what, both: done.append(both))
        fitting = make_room(limits)
        return fitting, done, [formatEvent(event) for event in events]

    def test_enough(self) -> None:
        for soft in (19_064, resource.RLIM_INFINITY):
            self.assertEqual(self.make_room(soft, soft, Limits()), (Limits(), [], []))

    def test_raised(self) -> None:
        """A soft limit is only somebody's default."""
        for hard in (19_064, 1_000_000, resource.RLIM_INFINITY):
            self.assertEqual(self.make_room(1024, hard, Limits()), (Limits(), [(19_064, hard)], []))

    def test_too_few(self) -> None:
        """Then the limits are lower, strangers leave half of the connections to others, and the log says so."""
        fitting, done, (line,) = self.make_room(1024, 1024, Limits())
        self.assertEqual((fitting.connections, fitting.unauthenticated), (720, 480))
        self.assertEqual(fitting.per_address, Limits().per_address)
        self.assertIn("1024 file descriptors: the limits are 720 connections, 480 of them not authenticated", line)

    def test_hardly_any(self) -> None:
        fitting, _, _ = self.make_room(60, 60, Limits())
        self.assertEqual((fitting.connections, fitting.unauthenticated), (1, 1))
