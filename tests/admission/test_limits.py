"""
How many connections, and how many tries.
"""

from __future__ import annotations

from collections.abc import Iterable, Sized
from dataclasses import fields
from typing import cast

from twisted.internet.address import IPv4Address, UNIXAddress
from twisted.internet.interfaces import IAddress, ITransport
from twisted.internet.protocol import Factory, Protocol
from twisted.internet.task import Clock
from twisted.internet.testing import StringTransport
from twisted.logger import formatEvent
from twisted.protocols.policies import ProtocolWrapper, WrappingFactory
from twisted.trial.unittest import SynchronousTestCase

from sodiumtwist import LocalProtocolError
from sodiumtwist.admission import failed_logins, limits as limits_module
from sodiumtwist.admission.limits import Admission, Limits, TurnedAway

from ..checkers import LateChecker
from ..logs import logged
from ..observed import ObservedTestCase
from ..pair import Pair, make_client_factory, make_server_factory
from ..versions import each_version, only


class FakeEnd:
    """An end whose address is what the test says."""

    def __init__(self, address: IAddress) -> None:
        self.comes_from(address)
        self.turned_away: str | None = None
        self.login: str | None = None
        self.given_up = 0

    def comes_from(self, address: IAddress) -> None:
        self.transport: ITransport = StringTransport(peerAddress=address)

    def check_no_longer(self) -> None:
        self.given_up += 1

    def turn_away(self, why: str) -> None:
        assert self.turned_away is None
        self.turned_away = why


def at(host: str) -> IPv4Address:
    return IPv4Address("TCP", host, 1)


class LimitsTests(SynchronousTestCase):
    def test_defaults(self) -> None:
        """As the README has them."""
        self.assertEqual(Limits(), Limits(10_000, 1_000, 1_000, 20, 20, 60.0, 20, 600, 1 << 29))

    def test_impossible(self) -> None:
        for field in fields(Limits):
            for value in (0, -1):
                error = self.assertRaises(LocalProtocolError, Limits, **{field.name: value})
                # As on a command line.
                self.assertIn(field.name.replace("_", "-"), str(error))
        self.assertRaises(LocalProtocolError, Limits, failure_seconds=float("inf"))


class AdmissionTestCase(SynchronousTestCase):
    def setUp(self) -> None:
        self.clock = Clock()
        self.seen = 0
        self.events = logged(self)

    def start(self, limits: Limits) -> None:
        self.admission: Admission[FakeEnd] = Admission(limits, lambda: self.clock)

    def log(self) -> list[str]:
        """The lines since the last call."""
        texts = [formatEvent(event) for event in self.events]
        self.seen, seen = len(texts), self.seen
        return texts[seen:]

    def turn_away(self, turned_away: Iterable[TurnedAway[FakeEnd]]) -> None:
        """Do what is asked for."""
        for one in turned_away:
            one.end.turn_away(one.why)

    def failed(self, address: IAddress, login: str | None) -> None:
        """A login was wrong."""
        for end in self.admission.failed(address, login):
            end.check_no_longer()

    def arrive(self, host: str = "192.0.2.1", authenticated: bool = False) -> FakeEnd:
        end = FakeEnd(at(host))
        self.turn_away(self.admission.arrived(end))
        if authenticated and end.turned_away is None:
            self.admission.hold_place(end)
            self.admission.admitted(end)
        return end


@each_version
class BeforeTheHandshakeTests(ObservedTestCase):
    """Limits on connections hold before anything of a handshake is read, whatever the version."""

    def test_per_address(self) -> None:
        """One in the middle of its handshake counts; one more from there gets no answer. One that leaves makes room."""
        factory = make_server_factory(self.clock, limits=Limits(per_address=1))
        first = Pair(factory, make_client_factory(self.clock))
        first.server.dataReceived(first.client_transport.take(100))
        second = Pair(factory, make_client_factory(self.clock))
        self.assertTrue(second.server_transport.aborting)
        second.flush()
        self.assertEqual((second.server_transport.received, second.server_transport.writes), (0, []))
        first.client.abort()
        first.flush()
        third = Pair(factory, make_client_factory(self.clock))
        third.flush()
        self.assertTrue(third.server.is_authenticated)

    @only(2)
    def test_in_the_middle(self) -> None:
        """
        Who has shown that it knows the server's key is not pushed out by strangers while it answers; what it then sends
        that is no handshake makes a stranger of it.
        """
        factory = make_server_factory(self.clock, limits=Limits(unauthenticated=2))
        honest, wrong = (Pair(factory, make_client_factory(self.clock)) for _ in range(2))
        honest.server.dataReceived(honest.client_transport.take(50))
        wrong.server.dataReceived(wrong.client_transport.take(4000))
        wrong.server.dataReceived(bytes(4000))
        strangers = [Pair(factory, make_client_factory(self.clock)) for _ in range(3)]
        self.assertTrue(wrong.server_transport.aborting)
        self.assertEqual([pair.server_transport.aborting for pair in strangers], [True, True, False])
        honest.flush()
        self.assertTrue(honest.server.is_authenticated)

    def test_unauthenticated(self) -> None:
        """Whose login is being decided on keeps its place; who has said nothing yet makes room."""
        checker = LateChecker()
        factory = make_server_factory(self.clock, checker=checker, limits=Limits(unauthenticated=2))
        waiting = Pair(factory, make_client_factory(self.clock))
        waiting.flush()
        silent = Pair(factory, make_client_factory(self.clock))
        newcomer = Pair(factory, make_client_factory(self.clock))
        self.assertTrue(silent.server_transport.aborting)
        newcomer.flush()
        for answer in checker.answers:
            answer.callback(b"")
        for pair in (waiting, newcomer):
            pair.flush()
            self.assertTrue(pair.server.is_authenticated)


class ConnectionTests(AdmissionTestCase):
    """Limits on connections."""

    def test_connections(self) -> None:
        """One beyond the limit is turned away; one that leaves makes room. Two lines in the log."""
        self.start(Limits(connections=10))
        ends = [self.arrive(authenticated=True) for _ in range(13)]
        self.assertEqual([end.turned_away is None for end in ends], [True] * 10 + [False] * 3)
        self.assertEqual(ends[10].turned_away, "there are 10 connections already")
        self.assertEqual(self.log(), ["10 connections: that is the limit, more are turned away"])
        for end in ends[10:]:
            self.admission.left(end)
        self.assertEqual(self.log(), [])
        self.admission.left(ends[0])
        self.assertEqual(self.log(), ["no longer 10 connections; 3 were turned away"])
        stranger = self.arrive()
        self.assertIsNone(self.arrive(authenticated=True).turned_away)
        self.assertIsNotNone(stranger.turned_away)
        self.assertIsNotNone(self.arrive().turned_away)

    def test_flapping_is_not_logged(self) -> None:
        """At the edge of a limit the log does not fill."""
        self.start(Limits(connections=100))
        ends = [self.arrive(authenticated=True) for _ in range(100)]
        for _ in range(50):
            self.assertIsNotNone(self.arrive().turned_away)
            self.admission.left(ends.pop())
            ends.append(self.arrive(authenticated=True))
        self.assertEqual(len(self.log()), 1)

    def test_unauthenticated(self) -> None:
        """A new one takes the place of the oldest that has said nothing valid; who is authenticated stays."""
        self.start(Limits(unauthenticated=3))
        inside = [self.arrive(authenticated=True) for _ in range(5)]
        strangers = [self.arrive() for _ in range(3)]
        honest = self.arrive()
        self.assertEqual(strangers[0].turned_away, "there are 3 unauthenticated connections already")
        self.admission.hold_place(honest)
        more = [self.arrive() for _ in range(4)]
        self.assertEqual([end.turned_away is None for end in [*strangers, *more]], [False] * 5 + [True] * 2)
        self.assertEqual([end.turned_away for end in [*inside, honest]], [None] * 6)
        self.assertEqual(len(self.log()), 1)
        self.admission.admitted(honest)
        self.assertEqual(self.log(), ["no longer 3 unauthenticated connections; 5 were turned away"])

    def test_all_connections_are_taken(self) -> None:
        """Of these, too, a stranger makes room."""
        self.start(Limits(connections=3))
        inside = self.arrive(authenticated=True)
        strangers = [self.arrive() for _ in range(2)]
        self.assertIsNone(self.arrive().turned_away)
        self.assertIsNotNone(strangers[0].turned_away)
        self.assertEqual((inside.turned_away, strangers[1].turned_away), (None, None))

    def test_release_place(self) -> None:
        """Who was ignored, or has a key to prove, makes room like any stranger."""
        self.start(Limits(unauthenticated=1))
        end = self.arrive()
        self.admission.hold_place(end)
        self.admission.release_place(end)
        self.assertIsNone(self.arrive().turned_away)
        self.assertIsNotNone(end.turned_away)

    def test_all_are_being_decided_on(self) -> None:
        """Then the new one is turned away."""
        self.start(Limits(unauthenticated=2))
        ends = [self.arrive() for _ in range(2)]
        for end in ends:
            self.admission.hold_place(end)
        self.assertIsNotNone(self.arrive().turned_away)
        self.assertEqual([end.turned_away for end in ends], [None, None])

    def test_one_address_has_all_places(self) -> None:
        """Then the first from there gives way; but not for others from there, nor from where as many come from."""
        self.start(Limits(unauthenticated=5))
        ends = [self.arrive(host) for host in ("192.0.2.2", *["192.0.2.1"] * 4)]
        for end in ends:
            self.admission.hold_place(end)
        self.assertIsNotNone(self.arrive("192.0.2.1").turned_away)
        newcomers = []
        for host in ("192.0.2.3", "192.0.2.2"):
            newcomers.append(self.arrive(host))
            self.admission.hold_place(newcomers[-1])
        self.assertEqual([end.turned_away is None for end in ends], [True, False, False, True, True])
        self.assertEqual([end.turned_away for end in newcomers], [None, None])
        # Two of them have two each by now.
        for host, stays in (("192.0.2.1", False), ("192.0.2.2", False), ("192.0.2.3", False), ("192.0.2.4", True)):
            self.assertEqual(self.arrive(host).turned_away is None, stays)

    def test_per_address(self) -> None:
        self.start(Limits(per_address=2))
        ends = [self.arrive("192.0.2.1", True) for _ in range(3)]
        self.assertEqual(ends[2].turned_away, "there are 2 connections from 192.0.2.1 already")
        self.assertIsNone(self.arrive("192.0.2.2", True).turned_away)
        self.admission.left(ends[2])
        self.admission.left(ends[0])
        self.assertEqual(
            self.log(),
            [
                "2 connections from 192.0.2.1: that is the limit, more are turned away",
                "no longer 2 connections from 192.0.2.1; 1 were turned away",
            ],
        )
        self.assertIsNone(self.arrive("192.0.2.1").turned_away)

    def test_both_have_to_go(self) -> None:
        """A stranger for the newcomer, and the newcomer for those from its address: both are told, in that order."""
        for limits, why in (
            (Limits(unauthenticated=2, per_address=2), "there are 2 unauthenticated connections already"),
            (Limits(connections=4, per_address=2), "there are 4 connections already"),
        ):
            self.start(limits)
            inside = [self.arrive("192.0.2.1", authenticated=True) for _ in range(2)]
            strangers = [self.arrive("192.0.2.2") for _ in range(2)]
            newcomer = FakeEnd(at("192.0.2.1"))
            turned_away = self.admission.arrived(newcomer)
            self.assertEqual(
                turned_away,
                [
                    TurnedAway(strangers[0], why),
                    TurnedAway(newcomer, "there are 2 connections from 192.0.2.1 already"),
                ],
            )
            # Neither is counted any more, so there is room for two.
            self.assertEqual(self.admission.arrived(FakeEnd(at("192.0.2.3"))), [])
            for end in (strangers[0], newcomer):
                self.admission.left(end)
            self.assertEqual([end.turned_away for end in (*inside, strangers[1])], [None] * 3)

    def test_nobody_has_to_go(self) -> None:
        """Then nobody is named; nor is anybody for an end that was turned away and hears of its address later."""
        self.start(Limits(unauthenticated=1))
        first = FakeEnd(at("192.0.2.1"))
        self.assertEqual(self.admission.arrived(first), [])
        self.assertEqual([one.end for one in self.admission.arrived(FakeEnd(at("192.0.2.2")))], [first])
        self.assertEqual(self.admission.note_address(first), [])

    def test_behind_a_proxy(self) -> None:
        """Where it comes from may turn out later, and counts from then on."""
        self.start(Limits(per_address=2))
        ends = [self.arrive("127.0.0.1") for _ in range(2)]
        for end in ends:
            end.comes_from(at("192.0.2.1"))
            self.turn_away(self.admission.note_address(end))
        third = self.arrive("127.0.0.1")
        self.assertIsNone(third.turned_away)
        third.comes_from(at("192.0.2.1"))
        self.turn_away(self.admission.note_address(third))
        self.assertIn("192.0.2.1", str(third.turned_away))
        self.turn_away(self.admission.note_address(third))
        for end in [*ends, third]:
            self.admission.left(end)
        self.assertEqual(self.admission._counts, {})

    def test_behind_tls(self) -> None:
        """There the address is known at once, and counts."""
        self.start(Limits(per_address=1))
        ends = []
        for _ in range(2):
            end = FakeEnd(at("192.0.2.1"))
            wrapper = ProtocolWrapper(WrappingFactory(Factory()), Protocol())
            wrapper.transport = end.transport
            # It provides all that a transport does, though its class does not say so.
            end.transport = cast(ITransport, wrapper)
            self.turn_away(self.admission.arrived(end))
            ends.append(end)
        self.assertEqual([end.turned_away is None for end in ends], [True, False])

    def test_unix_sockets_have_no_address(self) -> None:
        self.start(Limits(per_address=1))
        for _ in range(3):
            end = FakeEnd(UNIXAddress(None))
            self.turn_away(self.admission.arrived(end))
            self.assertIsNone(end.turned_away)

    def test_nothing_is_left(self) -> None:
        """However they go, nothing of them is kept."""
        self.start(Limits(unauthenticated=5, per_address=7, connections=20))
        ends = []
        for number in range(100):
            end = self.arrive(f"192.0.2.{number % 5}", authenticated=number % 3 == 0)
            if number % 4 == 0 and end.turned_away is None:
                self.admission.hold_place(end)
            ends.append(end)
        for end in ends:
            self.admission.left(end)
        admission = self.admission
        kept: list[Sized] = [admission._addresses, admission._strangers, admission._deciding, admission._counts]
        self.assertEqual([len(table) for table in (*kept, admission._per_address)], [0] * 5)


class FailureTests(AdmissionTestCase):
    """Limits on logins that fail."""

    def try_in_vain(self, host: str, login: str) -> bool:
        """One try with the wrong passphrase; return whether it was checked."""
        if not self.admission.may_try(at(host), login):
            self.admission.refused(at(host), login)
            return False
        self.failed(at(host), login)
        return True

    def test_by_address(self) -> None:
        """After so many failures none from there is checked, until the time since the first is over."""
        self.start(Limits(failures_per_address=3, failure_seconds=60))
        self.assertTrue(self.try_in_vain("192.0.2.1", "a"))
        self.clock.advance(50)
        self.assertEqual([self.try_in_vain("192.0.2.1", login) for login in "bcde"], [True, True, False, False])
        self.assertTrue(self.try_in_vain("192.0.2.2", "f"))
        self.clock.advance(9)
        self.assertFalse(self.try_in_vain("192.0.2.1", "g"))
        self.clock.advance(1)
        self.admission.refused(at("192.0.2.1"), "too late to be counted")
        self.assertTrue(self.admission.may_try(at("192.0.2.1"), "g"))
        self.assertEqual(
            self.log(),
            [
                "3 logins from 192.0.2.1 failed; more are refused for 10.0 s",
                "logins from 192.0.2.1 are checked again; 3 were refused",
            ],
        )

    def test_by_login(self) -> None:
        """From wherever they come; the log shows the login in a form that forges nothing."""
        self.start(Limits(failures_per_login=2))
        for number in range(2):
            self.assertTrue(self.try_in_vain(f"192.0.2.{number}", "ann\n"))
        self.assertFalse(self.try_in_vain("192.0.2.9", "ann\n"))
        self.assertTrue(self.admission.may_try(at("192.0.2.9"), "bob"))
        self.assertEqual(self.log(), [r"2 logins as 'ann\n' failed; more are refused for 60.0 s"])
        self.clock.advance(60)
        self.assertTrue(self.admission.may_try(at("192.0.2.9"), "ann\n"))
        self.assertEqual(self.log(), [r"logins as 'ann\n' are checked again; 1 were refused"])

    def test_failures_far_apart(self) -> None:
        """What is older than the time does not count."""
        self.start(Limits(failures_per_login=2, failures_per_address=2, failure_seconds=60))
        for _ in range(10):
            self.assertTrue(self.try_in_vain("192.0.2.1", "ann"))
            self.clock.advance(60)
        self.assertEqual(self.log(), [])

    def test_others_do_not_push_out_a_block(self) -> None:
        """Failures of many others do not lift one."""
        self.patch(failed_logins, "FAILURE_TABLE_SIZE", 10)
        self.start(Limits(failures_per_address=100, failures_per_login=2))
        for _ in range(2):
            self.try_in_vain("192.0.2.1", "ann")
        for number in range(50):
            self.try_in_vain("192.0.2.2", f"{number}")
        self.assertFalse(self.admission.may_try(at("192.0.2.9"), "ann"))
        self.assertEqual(len(self.admission._by_login._tallies), 10)

    def test_where_it_came_in_before(self) -> None:
        """Strangers can't lock out a login from there; whoever fails there is stopped by the address' limit."""
        self.start(Limits(failures_per_address=3, failures_per_login=2))
        known = FakeEnd(at("192.0.2.1"))
        known.login = "ann"
        self.admission.arrived(known)
        self.admission.hold_place(known)
        self.admission.admitted(known)
        ends = []
        for host in ("192.0.2.1", "192.0.2.2"):
            end = self.arrive(host)
            end.login = "ann"
            self.admission.hold_place(end)
            ends.append(end)
        for number in range(2):
            self.assertTrue(self.try_in_vain(f"198.51.100.{number}", "ann"))
        self.assertEqual([end.given_up for end in ends], [0, 1])
        self.assertFalse(self.admission.may_try(at("192.0.2.2"), "ann"))
        self.assertEqual([self.try_in_vain("192.0.2.1", "ann") for _ in range(4)], [True, True, True, False])

    def test_handshakes_that_failed_are_bounded(self) -> None:
        """The oldest are forgotten."""
        self.patch(limits_module, "FAILURE_TABLE_SIZE", 3)
        self.start(Limits(failures_per_login=2))
        for number in (0, 1, 2, 3, 0, 3):
            self.admission.failed(at("192.0.2.1"), f"{number}", bytes([number]))
        self.assertEqual(len(self.admission._fingerprints), 3)
        self.assertEqual(list(self.admission.blocked_logins), ["'0'"])

    def test_no_place_is_known_without_address(self) -> None:
        """There no limit of the address would stop guessing."""
        self.start(Limits(failures_per_login=1))
        known = FakeEnd(UNIXAddress(None))
        known.login = "ann"
        self.admission.arrived(known)
        self.admission.admitted(known)
        self.failed(at("192.0.2.1"), "ann")
        self.assertFalse(self.admission.may_try(UNIXAddress(None), "ann"))

    def test_what_is_under_way(self) -> None:
        """When too many failed, what is being checked from there, or for that login, is checked no longer."""
        self.start(Limits(failures_per_address=2, failures_per_login=3))
        ends = []
        for host, login in (("192.0.2.1", "a"), ("192.0.2.1", "b"), ("192.0.2.2", "a"), ("192.0.2.2", "c")):
            end = self.arrive(host)
            end.login = login
            self.admission.hold_place(end)
            ends.append(end)
        for number in range(2):
            self.failed(at("192.0.2.1"), f"{number}")
        self.assertEqual([end.given_up for end in ends], [1, 1, 0, 0])
        for number in range(3):
            self.failed(at(f"192.0.2.{10 + number}"), "a")
        self.assertEqual([end.given_up for end in ends], [2, 1, 1, 0])

    def test_whom_to_check_no_longer(self) -> None:
        """
        Those from that address and those with that login, each once, also where both are blocked at the same time; and
        only by the failure that blocks.
        """
        self.start(Limits(failures_per_address=2, failures_per_login=2))
        ends = []
        for host, login in (("192.0.2.1", "a"), ("192.0.2.1", "b"), ("192.0.2.2", "a"), ("192.0.2.2", "b")):
            end = self.arrive(host)
            end.login = login
            self.admission.hold_place(end)
            ends.append(end)
        # Who is decided on already, or not yet asked, is not among them.
        self.arrive("192.0.2.1", authenticated=True).login = "a"
        self.arrive("192.0.2.1")
        self.assertEqual(self.admission.failed(at("192.0.2.1"), "a"), [])
        stopped = self.admission.failed(at("192.0.2.1"), "a")
        self.assertEqual(len(stopped), 3)
        self.assertEqual(set(stopped), set(ends[:3]))
        # What fails while it is blocked says nothing new.
        self.assertEqual(self.admission.failed(at("192.0.2.1"), "a"), [])

    def test_by_address_or_by_login_alone(self) -> None:
        """A limit that is not reached stops nobody; a key that was claimed in vain says nothing about a login."""
        for limits, expected in (
            (Limits(failures_per_address=1), [0, 1]),
            (Limits(failures_per_login=1), [0, 2]),
        ):
            self.start(limits)
            ends = []
            for host, login in (("192.0.2.1", "a"), ("192.0.2.1", "b"), ("192.0.2.2", "a"), ("192.0.2.2", "b")):
                end = self.arrive(host)
                end.login = login
                self.admission.hold_place(end)
                ends.append(end)
            stopped = self.admission.failed(at("192.0.2.1"), "a")
            self.assertEqual(sorted(ends.index(end) for end in stopped), expected)
        self.start(Limits(failures_per_login=1))
        self.assertEqual(self.admission.failed(at("192.0.2.1"), None), [])
        self.assertEqual((self.admission.blocked_logins, self.admission.blocked_addresses), ({}, {}))

    def test_without_an_address(self) -> None:
        """Of UNIX sockets only the login is counted, and whoever gives it is stopped, from wherever."""
        self.start(Limits(failures_per_address=1, failures_per_login=1))
        ends = [FakeEnd(UNIXAddress(None)) for _ in range(2)]
        for end, login in zip(ends, "ab", strict=True):
            end.login = login
            self.admission.arrived(end)
            self.admission.hold_place(end)
        self.assertEqual(self.admission.failed(UNIXAddress(None), "a"), ends[:1])
        self.assertEqual(self.admission.blocked_addresses, {})

    def test_stopped(self) -> None:
        """When nothing is listened on, nothing is counted, and nobody stopped."""
        self.start(Limits(failures_per_address=1, failures_per_login=1))
        end = self.arrive()
        end.login = "a"
        self.admission.hold_place(end)
        self.admission.stop()
        self.assertEqual(self.admission.failed(at("192.0.2.1"), "a"), [])
        self.assertEqual(self.clock.getDelayedCalls(), [])
        self.admission.start()
        self.assertEqual(self.admission.failed(at("192.0.2.1"), "a"), [end])

    def test_bounded(self) -> None:
        """Of many that are blocked all are, though few have a timer and a line each."""
        self.patch(failed_logins, "FAILURE_TABLE_SIZE", 10)
        self.start(Limits(failures_per_address=1, failures_per_login=1))
        for number in range(25):
            self.try_in_vain(f"192.0.2.{number}", f"{number}")
        self.assertEqual(len(self.admission._by_address.blocked), 10)
        self.assertEqual(len(self.admission._by_login.blocked), 10)
        for number in range(25):
            self.assertFalse(self.admission.may_try(at(f"192.0.2.{number}"), "x"))
            self.assertFalse(self.admission.may_try(at("192.0.2.99"), f"{number}"))
        self.assertTrue(self.admission.may_try(at("192.0.2.99"), "x"))
        self.assertEqual(len(self.clock.getDelayedCalls()), 20)
        self.admission.stop()
        self.assertEqual(self.clock.getDelayedCalls(), [])
