"""
What several processes count together. Here they are one process with as many views of the same memory.
"""

from __future__ import annotations

import os

from twisted.internet.task import Clock
from twisted.logger import formatEvent
from twisted.trial.unittest import SynchronousTestCase

from sodiumtwist.admission import limits as limits_module
from sodiumtwist.admission.limits import Admission, Limits
from sodiumtwist.admission.shared_counts import (
    PARTS,
    SLOTS,
    AllCounts,
    SharedCounts,
    SharedSalts,
    make_memory,
    open_memory,
)

from ..logs import logged
from ..observed import ObservedTestCase
from ..pair import PASSPHRASE, Pair, make_client_factory, make_server_factory
from .test_limits import FakeEnd, at


def several(count: int) -> tuple[list[SharedCounts], AllCounts]:
    """Make the views of so many processes, and that of whoever supervises them."""
    descriptor = make_memory(count)
    memory = open_memory(descriptor)
    os.close(descriptor)
    return [SharedCounts(memory, count, own) for own in range(count)], AllCounts(memory, count)


class MemoryTests(SynchronousTestCase):
    def test_connections(self) -> None:
        """Each sees the others' and not its own; they are gone with their process, which others still count."""
        (first, second, third), supervisor = several(3)
        first.note(5, 2)
        second.note(7, 3)
        self.assertEqual((first.connections_elsewhere(), first.unauthenticated_elsewhere()), (7, 3))
        self.assertEqual((third.connections_elsewhere(), third.unauthenticated_elsewhere()), (12, 5))
        self.assertEqual(supervisor.connections, 12)
        supervisor.gone(1)
        self.assertEqual(third.connections_elsewhere(), 5)

    def test_addresses(self) -> None:
        (first, second), supervisor = several(2)
        for _ in range(3):
            first.came("192.0.2.1")
        first.went("192.0.2.1")
        self.assertEqual([second.elsewhere_from(where) for where in ("192.0.2.1", "192.0.2.2")], [2, 0])
        self.assertEqual(first.elsewhere_from("192.0.2.1"), 0)
        supervisor.gone(0)
        self.assertEqual(second.elsewhere_from("192.0.2.1"), 0)

    def test_ahead(self) -> None:
        """Compared to the one that has least, of those that serve; alone none is ahead."""
        (first, second, third), supervisor = several(3)
        first.note(50, 0)
        self.assertEqual(first.ahead(0), 0)
        for place in range(3):
            supervisor.serves(place)
        second.note(40, 0)
        third.note(20, 0)
        self.assertEqual([first.ahead(0), second.ahead(0), third.ahead(0)], [30, 20, -20])
        supervisor.gone(2)
        self.assertEqual(first.ahead(0), 10)

    def test_ahead_lately(self) -> None:
        """Who has accepted more is ahead for a while, whether they stay or not."""
        (first, second), supervisor = several(2)
        for place in range(2):
            supervisor.serves(place)
        # The moment's number begins anew within.
        start = (1 << 32) / 1000 - 0.5
        for tenth in range(5):
            first.accepted(10, start + tenth / 10)
        self.assertGreater(first.ahead(start + 0.5), 30)
        self.assertLess(second.ahead(start + 0.5), -30)
        self.assertLess(first.ahead(start + 10), 0.1)

    def test_failures(self) -> None:
        """They count for their time, and up to a quarter more, however long it goes on."""
        (first, second), _ = several(2)
        failures, seen = first.by_login, second.by_login
        for now in range(0, 1000, 10):
            failures.add("ann", now, 40)
            # Of the last 40 seconds, and not of more than 50.
            self.assertIn(seen.count("ann", now, 40), range(min(4, now // 10 + 1), 6))
            self.assertEqual((seen.count("bob", now, 40), first.by_login.count("ann", now, 40)), (0, 0))
            self.assertEqual(second.by_address.count("ann", now, 40), 0)
        self.assertEqual(seen.count("ann", now + 50, 40), 0)
        self.assertLess(PARTS + 1, SLOTS)

    def test_other_time(self) -> None:
        """What was counted while another time held is forgotten at the latest when that time is over."""
        (first, second), _ = several(2)
        began = 100_000
        for seconds, later in ((40, 400), (400, 40)):
            for _ in range(5):
                first.by_login.add("ann", began, seconds)
            self.assertEqual(second.by_login.count("ann", began, seconds), 5)
            self.assertEqual(second.by_login.count("ann", began + 2 * seconds, later), 0)
            began += 10_000

    def test_failures_outlive_their_process(self) -> None:
        (first, second), supervisor = several(2)
        first.by_address.add("192.0.2.1", 0, 60)
        supervisor.gone(0)
        self.assertEqual(second.by_address.count("192.0.2.1", 1, 60), 1)

    def test_salts(self) -> None:
        (first, second), _ = several(2)
        ours, others = SharedSalts(first), SharedSalts(second)
        ours.remember(b"salt")
        self.assertEqual([ours.seen(b"salt"), others.seen(b"salt"), others.seen(b"other")], [True, True, False])

    def test_secret(self) -> None:
        """Which keys share their counters differs from service to service."""
        places = {tuple(several(1)[0][0]._places.places("ann")) for _ in range(2)}
        self.assertEqual(len(places), 2)


class SharedAdmissionTests(SynchronousTestCase):
    """The limits of two processes."""

    def setUp(self) -> None:
        self.clock = Clock()
        self.counts, self.supervisor = several(2)
        self.events = logged(self)

    def start(self, limits: Limits) -> tuple[Admission[FakeEnd], Admission[FakeEnd]]:
        first, second = (Admission[FakeEnd](limits, lambda: self.clock, counts) for counts in self.counts)
        return first, second

    def come(self, admission: Admission[FakeEnd], host: str) -> tuple[FakeEnd, list[FakeEnd]]:
        """Let one come; return it, and who has to go for it."""
        end = FakeEnd(at(host))
        return end, [one.end for one in admission.arrived(end)]

    def test_connections(self) -> None:
        """All together have the limit; a stranger here makes room, and none of another process."""
        first, second = self.start(Limits(connections=3))
        ends = [self.come(first, f"192.0.2.{number}")[0] for number in range(3)]
        newcomer, gone = self.come(second, "192.0.2.9")
        self.assertEqual(gone, [newcomer])
        other, gone = self.come(first, "192.0.2.9")
        self.assertEqual(gone, [ends[0]])
        first.left(other)
        self.assertEqual(self.come(second, "192.0.2.9")[1], [])

    def test_unauthenticated(self) -> None:
        """Each process may have its share, even if another has taken all."""
        first, second = self.start(Limits(unauthenticated=4))
        for number in range(4):
            self.assertEqual(self.come(first, f"192.0.2.{number}")[1], [])
        ours = [self.come(second, f"192.0.2.{number}") for number in range(3)]
        self.assertEqual([gone for _, gone in ours], [[], [], [ours[0][0]]])
        # Who is let in is none of them.
        first, second = self.start(Limits(unauthenticated=4))
        for number in range(4):
            end, _ = self.come(first, f"192.0.2.{number}")
            end.login = "ann"
            first.admitted(end)
        self.assertEqual([self.come(second, f"192.0.2.{number}")[1] for number in range(4)], [[]] * 4)

    def test_per_address(self) -> None:
        first, second = self.start(Limits(per_address=3))
        ends = [self.come(first, "192.0.2.1")[0] for _ in range(2)]
        self.assertEqual(self.come(second, "192.0.2.1")[1], [])
        refused, gone = self.come(second, "192.0.2.1")
        self.assertEqual(gone, [refused])
        self.assertEqual(self.come(second, "192.0.2.2")[1], [])
        # What is shown beside the limit, too.
        self.assertEqual([admission.counted() for admission in (first, second)], [(2, 2, 3), (2, 2, 3)])
        first.left(ends[0])
        self.assertEqual(self.come(second, "192.0.2.1")[1], [])

    def test_failures(self) -> None:
        """They block in all processes, a quarter longer than in one at most; one line tells."""
        first, second = self.start(Limits(failures_per_address=4, failure_seconds=60))
        for number in range(2):
            first.failed(at("192.0.2.1"), f"a{number}")
            second.failed(at("192.0.2.1"), f"b{number}")
        for admission in (first, second):
            self.assertFalse(admission.may_try(at("192.0.2.1"), "c"))
            self.assertTrue(admission.may_try(at("192.0.2.2"), "c"))
        lines = [formatEvent(event) for event in self.events]
        self.assertEqual(lines, ["4 logins from 192.0.2.1 failed; more are refused for 60.0 s"])
        self.clock.advance(75)
        for admission in (first, second):
            self.assertTrue(admission.may_try(at("192.0.2.1"), "c"))

    def test_regulars(self) -> None:
        """Who came in at one process is known to the other, where the login is blocked."""
        first, second = self.start(Limits(failures_per_login=1))
        end, _ = self.come(first, "192.0.2.1")
        end.login = "ann"
        first.admitted(end)
        second.failed(at("192.0.2.2"), "ann")
        for admission in (first, second):
            self.assertTrue(admission.may_try(at("192.0.2.1"), "ann"))
            self.assertFalse(admission.may_try(at("192.0.2.3"), "ann"))

    def test_recorded(self) -> None:
        """A handshake that failed at one process tries nothing new at the other."""
        first, second = self.start(Limits(failures_per_login=2))
        for admission in (first, second):
            admission.failed(at("192.0.2.1"), "ann", b"handshake")
        self.assertTrue(first.may_try(at("192.0.2.9"), "ann"))
        second.failed(at("192.0.2.1"), "ann", b"another")
        self.assertFalse(first.may_try(at("192.0.2.9"), "ann"))

    def test_bounded(self) -> None:
        """Whatever another process has seen, no more is kept here than alone."""
        self.patch(limits_module, "FAILURE_TABLE_SIZE", 10)
        first, second = self.start(Limits(per_address=1))
        for number in range(30):
            self.come(first, f"192.0.2.{number}")
            self.assertEqual(len(self.come(second, f"192.0.2.{number}")[1]), 1)
            for admission in (first, second):
                admission.failed(None, "ann", b"%d" % number)
        self.assertEqual(len(second._per_address), 0)
        self.assertEqual([len(each._fingerprints) for each in (first, second)], [10, 10])


class SharedFactoryTests(ObservedTestCase):
    def test_blocked_elsewhere(self) -> None:
        """A login that was tried too often at one process is not checked at the other."""
        counts, _ = several(2)
        limits = Limits(failures_per_address=2)
        first, second = (make_server_factory(self.clock, limits=limits, shared=each) for each in counts)
        for factory in (first, first, second):
            pair = Pair(
                factory, make_client_factory(self.clock, passphrase="wrong" if factory is first else PASSPHRASE)
            )
            pair.flush()
        assert pair.server.reason is not None
        self.assertEqual(pair.server.reason.getErrorMessage(), "too many logins failed, and none is checked for now")
