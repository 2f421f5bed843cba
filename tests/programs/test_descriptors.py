"""
Room among the descriptors.
"""

from __future__ import annotations

import os
import resource
import selectors
from dataclasses import replace
from typing import Any
from unittest.mock import Mock

from twisted.internet.asyncioreactor import AsyncioSelectorReactor
from twisted.internet.selectreactor import SelectReactor
from twisted.internet.task import Clock
from twisted.logger import formatEvent
from twisted.trial.unittest import SynchronousTestCase

from sodiumtwist import Limits
from sodiumtwist.programs import descriptors
from sodiumtwist.programs.descriptors import make_room
from sodiumtwist.tunnel import TunnelLimits

from ..logs import logged

#: What is taken when a program starts: its own, the one port, and those that are open.
TAKEN = descriptors.PROGRAM_DESCRIPTORS + 1 + 15

#: What the default limits need.
WANTED = TAKEN + 2 * Limits().connections


class OwnSelectReactor(SelectReactor):
    """One that somebody has made of Twisted's."""


def without_init(kind: type[Any]) -> Any:
    """An object of which nothing but the class counts: a reactor would open descriptors."""
    return object.__new__(kind)


class MakeRoomTests(SynchronousTestCase):
    #: The highest limit that the system takes.
    most = float("inf")

    def limit(self, soft: int, hard: int) -> list[tuple[int, int]]:
        """Have such limits; return those that are set, in a list that grows."""
        done: list[tuple[int, int]] = []

        def set_limit(what: int, both: tuple[int, int]) -> None:
            if both[0] > self.most:
                raise ValueError("current limit exceeds maximum limit")
            done.append(both)

        self.patch(descriptors, "opened", lambda: 15)
        self.patch(resource, "getrlimit", lambda what: (soft, hard))
        self.patch(resource, "setrlimit", set_limit)
        return done

    def make_room(
        self, soft: int, hard: int, limits: Limits, reactor: Any = None
    ) -> tuple[Limits, list[tuple[int, int]], list[str]]:
        """With the system's limits as given; also what they were set to, and the log."""
        events = logged(self)
        done = self.limit(soft, hard)
        fitting = make_room(limits, reactor or Clock())
        return fitting, done, [formatEvent(event) for event in events]

    def test_enough(self) -> None:
        for soft in (WANTED, resource.RLIM_INFINITY):
            self.assertEqual(self.make_room(soft, soft, Limits()), (Limits(), [], []))

    def test_raised(self) -> None:
        """A soft limit is only somebody's default."""
        for hard in (WANTED, 1_000_000, resource.RLIM_INFINITY):
            self.assertEqual(self.make_room(1024, hard, Limits()), (Limits(), [(WANTED, hard)], []))

    def test_too_few(self) -> None:
        """Then the limits are lower, strangers among them, and the log says so."""
        fitting, done, (line,) = self.make_room(1024, 1024, Limits())
        self.assertEqual((fitting.connections, fitting.unauthenticated, done), (472, 472, []))
        self.assertEqual(fitting.per_address, Limits().per_address)
        self.assertIn("1024 file descriptors: the limits are 472 connections, 472 of them not authenticated", line)
        self.assertIn("ulimit -n", line)

    def test_nearly_enough(self) -> None:
        """A default that is hardly lower is not told of; what somebody asked for is, and so are strangers."""
        soft = TAKEN + 2 * 9_500
        fitting, _, lines = self.make_room(soft, soft, Limits())
        self.assertEqual((fitting, lines), (replace(Limits(), connections=9_500), []))
        for limits in (Limits(connections=9_501), Limits(unauthenticated=9_501)):
            fitting, _, lines = self.make_room(soft, soft, limits)
            self.assertEqual((fitting.connections, len(lines)), (9_500, 1))
        soft = TAKEN + 2 * 8_999
        self.assertEqual(len(self.make_room(soft, soft, Limits())[2]), 1)

    def test_all_are_clients(self) -> None:
        """With each connection let in, and a file or a backend for each, there still is room."""
        for soft in (256, 1024, 5000):
            fitting, _, _ = self.make_room(soft, soft, Limits())
            self.assertLessEqual(TAKEN + 2 * fitting.connections, soft)

    def test_hardly_any(self) -> None:
        fitting, _, _ = self.make_room(60, 60, Limits())
        self.assertEqual((fitting.connections, fitting.unauthenticated), (2, 2))

    def test_open_already(self) -> None:
        """What was inherited is not there for connections."""
        self.assertIn(descriptors.opened(), range(3, 1000))
        before = descriptors.opened()
        with open("/dev/null"):
            self.assertEqual(descriptors.opened(), before + 1)

    def test_cannot_be_counted(self) -> None:
        def fail(path: str) -> list[str]:
            raise OSError

        self.patch(os, "listdir", fail)
        self.assertEqual(descriptors.opened(), 3)

    def test_refused_by_the_system(self) -> None:
        """Some tell of no hard limit, and have one: the program starts all the same, with what it gets."""
        self.most = 10_240
        fitting, done, (line,) = self.make_room(256, resource.RLIM_INFINITY, Limits())
        self.assertEqual(done, [(WANTED // 2, resource.RLIM_INFINITY)])
        self.assertIn(f"may have {WANTED // 2} file descriptors", line)
        self.most = 0
        fitting, done, (line,) = self.make_room(256, resource.RLIM_INFINITY, Limits())
        self.assertEqual((fitting.connections, done), (88, []))

    def test_select(self) -> None:
        """What has a number from 1024 on can't be watched, so no descriptor gets one. The log names the limit."""
        for soft in (256, 4000, resource.RLIM_INFINITY):
            for reactor in (SelectReactor, OwnSelectReactor):
                fitting, done, (line,) = self.make_room(soft, resource.RLIM_INFINITY, Limits(), without_init(reactor))
                self.assertEqual((fitting.connections, fitting.unauthenticated), (472, 472))
                self.assertEqual(done, [(1024, resource.RLIM_INFINITY)])
                self.assertRegex(line, r"1024 file descriptors: .*select\(\) takes no more; .* --reactor=")

    def test_select_with_few(self) -> None:
        """Of two limits the lower one counts, and is named; what is not needed is not taken."""
        reactor = without_init(SelectReactor)
        _, done, (line,) = self.make_room(300, 512, Limits(), reactor)
        self.assertEqual(done, [(512, 512)])
        self.assertIn("ulimit -n", line)
        few = Limits(connections=50)
        self.assertEqual(self.make_room(512, 4000, few, reactor), (few, [], []))
        self.assertEqual(self.make_room(2000, 4000, few, reactor), (few, [(1024, 4000)], []))

    def test_asyncio(self) -> None:
        """Its loop may have any selector."""
        reactor = without_init(AsyncioSelectorReactor)
        for selector, connections in ((selectors.SelectSelector(), 472), (selectors.DefaultSelector(), 10_000)):
            self.addCleanup(selector.close)
            reactor._asyncioEventloop = Mock(_selector=selector)
            fitting, _, _ = self.make_room(4000, resource.RLIM_INFINITY, Limits(), reactor)
            self.assertEqual(fitting.connections, connections)

    def test_tunnel(self) -> None:
        """Each of its connections has two."""
        done = self.limit(128, 4096)
        self.assertEqual(make_room(TunnelLimits(), Clock()), TunnelLimits())
        self.assertEqual(done, [(TAKEN + 2 * 1000, 4096)])
        events = logged(self)
        self.limit(128, 1024)
        self.assertEqual(make_room(TunnelLimits(lines=7), Clock()), TunnelLimits(472, 7))
        self.assertRegex(
            formatEvent(events[0]), "may have 1024 file descriptors: the limit is 472 connections; .*ulimit -n"
        )
