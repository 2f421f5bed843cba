"""
Who is next, where many wait.
"""

from __future__ import annotations

from collections.abc import Hashable
from itertools import count

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from sodiumtwist.admission import fair_queue, regulars
from sodiumtwist.admission.fair_queue import HALF_LIFE, REGULAR_CREDIT, Asker, FairQueue
from sodiumtwist.admission.regulars import Regulars


class FairQueueTestCase(SynchronousTestCase):
    def setUp(self) -> None:
        self.clock = Clock()
        self.start()

    def start(self, places: int = 1, size: int = 100) -> None:
        self.queue: FairQueue[str] = FairQueue(places, size, self.clock.seconds)
        self.numbers = count()

    def come(self, who: str) -> str | None:
        """
        Somebody comes and waits.

        :param who: login, ``@`` and address.
        :return: whoever gives way.
        """
        login, _, where = who.partition("@")
        gives_way = self.queue.join(self.queue.asker(login, where or None), who)
        return None if gives_way is None else gives_way[0]

    def served(self) -> list[str]:
        """Serve all that wait; return them as they had their turns."""
        had = []
        while self.queue:
            had.append(self.queue.give_place())
        return [str(one) for one in had]

    def serve(self, who: str, times: int = 1, lets_in: bool = False) -> None:
        """Let somebody have turns while nobody else waits."""
        for _ in range(times):
            self.come(who)
            self.assertEqual(self.served(), [who])
            if lets_in:
                login, _, where = who.partition("@")
                self.queue.came_in(self.queue.asker(login, where or None))


class TurnTests(FairQueueTestCase):
    """In what order they are served."""

    def test_places(self) -> None:
        """As many have one as there are; each is given on, and free when nobody waits."""
        self.start(places=2)
        ann = self.queue.asker("ann", "a")
        self.assertEqual([self.queue.take_place(ann) for _ in range(3)], [True, True, False])
        self.come("ann@a")
        self.assertEqual(self.queue.give_place(), "ann@a")
        self.assertEqual((self.queue.free, len(self.queue)), (0, 0))
        for free in (1, 2):
            self.assertIsNone(self.queue.give_place())
            self.assertEqual(self.queue.free, free)

    def test_by_address(self) -> None:
        """Addresses have turns; one that asks often waits for itself only."""
        for who in ["x1@a", "x2@a", "x3@a", "y1@b", "y2@b", "z@c"]:
            self.come(who)
        self.assertEqual(self.served(), ["x1@a", "y1@b", "z@c", "x2@a", "y2@b", "x3@a"])

    def test_by_login(self) -> None:
        """So have logins, among those from one address."""
        for who in ["mallory@a", "mallory@a", "mallory@a", "ann@a", "bob@a"]:
            self.come(who)
        self.assertEqual(self.served(), ["mallory@a", "ann@a", "bob@a", "mallory@a", "mallory@a"])

    def test_new_addresses_of_one_network(self) -> None:
        """Where the addresses have had the same, their larger networks decide, before the logins."""
        self.serve("x1@192.0.2.1")
        self.serve("x2@2001:db8:0:1::/64")
        self.serve("ann@a")
        for who in ["x3@192.0.2.2", "x4@2001:db8:0:2::/64", "ann@192.0.3.2", "bob@2001:db8:1:1::/64"]:
            self.come(who)
        self.assertEqual(
            self.served(), ["bob@2001:db8:1:1::/64", "ann@192.0.3.2", "x3@192.0.2.2", "x4@2001:db8:0:2::/64"]
        )

    def test_login_from_new_addresses(self) -> None:
        """Where the addresses have had the same, the login decides."""
        self.serve("mallory@a")
        self.come("mallory@b")
        self.come("ann@c")
        self.assertEqual(self.served(), ["ann@c", "mallory@b"])

    def test_first_come(self) -> None:
        """Among equals."""
        for who in ["c@c", "a@a", "b@b", "d@"]:
            self.come(who)
        self.assertEqual(self.served(), ["c@c", "a@a", "b@b", "d@"])

    def test_new_before_what_had_its_share(self) -> None:
        self.serve("x@a", 5)
        self.serve("y@b", 3)
        for who in ["x@a", "y@b", "ann@c"]:
            self.come(who)
        self.assertEqual(self.served(), ["ann@c", "y@b", "x@a"])

    def test_forgotten_in_time(self) -> None:
        """What was had long ago weighs less than what was had just now."""
        self.serve("x@a", 20)
        self.clock.advance(5 * HALF_LIFE)
        self.serve("y@b")
        self.come("y@b")
        self.come("x@a")
        self.assertEqual(self.served(), ["x@a", "y@b"])

    def test_for_ever(self) -> None:
        """It counts as exactly after ten years."""
        self.clock.advance(10 * 365 * 86400)
        self.test_new_before_what_had_its_share()

    def test_leave(self) -> None:
        """Who leaves has no turn, and what it waited for is not counted as had."""
        ann = self.queue.asker("ann", "a")
        for who in ["ann@a", "ann@b"]:
            self.come(who)
        self.queue.join(ann, "later")
        self.queue.leave(ann, "later")
        self.queue.leave(ann, "ann@a")
        self.assertEqual(len(self.queue), 1)
        self.assertEqual(self.served(), ["ann@b"])
        self.assertEqual(self.queue._waiting, {})

    def test_usage_is_bounded(self) -> None:
        """Whoever had nothing for the longest time is forgotten."""
        self.patch(fair_queue, "USAGE_TABLE_SIZE", 5)
        self.serve("mallory@a", 20)
        for number in range(4):
            self.serve(f"x{number}@{number}")
        self.serve("mallory@a")
        self.serve("x9@9")
        for usage in (self.queue._by_origin, self.queue._by_network, self.queue._by_login):
            self.assertEqual(len(usage._levels), 5)
        self.come("mallory@a")
        self.come("x0@0")
        self.assertEqual(self.served(), ["x0@0", "mallory@a"])


class GivingWayTests(FairQueueTestCase):
    """Too many wait."""

    def test_most_waiting(self) -> None:
        """Whoever waits for most gives way, with what came last."""
        self.start(size=4)
        for who in ["x1@a", "x2@a", "x3@a", "y@b"]:
            self.assertIsNone(self.come(who))
        self.assertEqual(self.come("ann@c"), "x3@a")
        self.assertEqual(self.come("x4@a"), "x4@a")
        self.assertEqual(self.served(), ["x1@a", "y@b", "ann@c", "x2@a"])

    def test_most_had(self) -> None:
        """So does whoever has had most, where all wait for the same."""
        self.start(size=2)
        self.serve("x@a", 2)
        self.serve("y@b", 3)
        self.come("x@a")
        self.come("y@b")
        self.assertEqual(self.come("ann@c"), "y@b")

    def test_most_by_login(self) -> None:
        """Of one address the login that waits for most, or has had most, does."""
        self.start(size=2)
        self.come("mallory@a")
        self.come("mallory@a")
        self.assertEqual(self.come("ann@a"), "mallory@a")
        self.start(size=2)
        self.serve("mallory@a")
        self.come("mallory@a")
        self.come("bob@a")
        self.assertEqual(self.come("ann@a"), "mallory@a")

    def test_login_from_new_addresses(self) -> None:
        self.start(size=2)
        self.serve("mallory@a")
        self.come("mallory@b")
        self.come("x@c")
        self.assertEqual(self.come("ann@d"), "mallory@b")

    def test_new_addresses_of_one_network(self) -> None:
        self.start(size=2)
        self.serve("x1@192.0.2.1")
        self.come("x2@192.0.2.2")
        self.come("y@b")
        self.assertEqual(self.come("ann@c"), "x2@192.0.2.2")

    def test_equals(self) -> None:
        """Who came before stays."""
        self.start(size=2)
        self.come("x@a")
        self.come("y@b")
        self.assertEqual(self.come("z@c"), "z@c")

    def test_no_queue(self) -> None:
        self.start(size=0)
        self.assertEqual(self.come("x@a"), "x@a")
        self.assertEqual(self.queue._waiting, {})


class RegularTests(FairQueueTestCase):
    """Logins that come from where they came in before."""

    def test_before_strangers(self) -> None:
        """However many come, each from an address of its own."""
        self.start(size=3)
        self.serve("ann@a", lets_in=True)
        for number in range(3):
            self.come(f"x{number}@{number}")
        self.assertEqual(self.come("ann@a"), "x2@2")
        self.assertEqual(self.served(), ["ann@a", "x0@0", "x1@1"])

    def test_behind_one_router_with_strangers(self) -> None:
        """Others at its address can't use up its share, nor those elsewhere that give its login."""
        self.serve("ann@a", lets_in=True)
        for number in range(50):
            self.serve(f"x{number}@a")
            self.serve(f"ann@{number}")
        self.come("y@b")
        self.come("x@a")
        self.come("ann@a")
        self.assertEqual(self.served(), ["ann@a", "y@b", "x@a"])

    def test_credit_ends(self) -> None:
        """One that comes in again and again goes behind others, until it has paused."""
        self.serve("mallory@a", REGULAR_CREDIT + 2, lets_in=True)
        self.come("mallory@a")
        self.come("ann@b")
        self.assertEqual(self.served(), ["ann@b", "mallory@a"])
        self.clock.advance(HALF_LIFE)
        self.come("ann@c")
        self.come("mallory@a")
        self.assertEqual(self.served(), ["mallory@a", "ann@c"])

    def test_known_in_many_places(self) -> None:
        """There it has its credit once."""
        for number in range(REGULAR_CREDIT + 2):
            self.queue.came_in(self.queue.asker("mallory", f"{number % 4}"))
            self.serve(f"mallory@{number % 4}")
        self.come("mallory@0")
        self.come("mallory@3")
        self.come("ann@b")
        self.assertEqual(self.served(), ["ann@b", "mallory@0", "mallory@3"])

    def test_without_address(self) -> None:
        """All that have none are as one, so nobody is known there."""
        self.serve("ann@", lets_in=True)
        self.assertEqual(self.queue.asker("ann", None), Asker("ann", None, regular=False))


class RegularsTests(SynchronousTestCase):
    """The memory of them."""

    def make(self, *came_in: tuple[Hashable, str]) -> Regulars:
        known = Regulars()
        for login, where in came_in:
            known.came_in(login, where)
        return known

    def test_pairs(self) -> None:
        known = self.make(("ann", "a"), ("bob", "b"))
        answers = [
            known.knows(login, where) for login, where in (("ann", "a"), ("ann", "b"), ("x", "a"), ("ann", None))
        ]
        self.assertEqual(answers, [True, False, False, False])

    def test_addresses_of_one_login(self) -> None:
        """It pushes out its own addresses only, those first from where it came longest ago."""
        pairs = [("mallory", f"{number}") for number in range(regulars.ADDRESSES_OF_A_LOGIN)]
        known = self.make(("ann", "a"), *pairs, ("mallory", "0"), ("mallory", "new"))
        self.assertEqual([known.knows("mallory", where) for where in ("0", "1", "2", "new")], [True, False, True, True])
        self.assertTrue(known.knows("ann", "a"))

    def test_logins(self) -> None:
        """They are bounded, too."""
        self.patch(regulars, "REGULARS_TABLE_SIZE", 2)
        known = self.make(("a", "x"), ("b", "x"), ("a", "x"), ("c", "x"))
        self.assertEqual([known.knows(login, "x") for login in "abc"], [True, False, True])
