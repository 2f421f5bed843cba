"""
The life of a connection, as a table and as two real ends live it.
"""

from __future__ import annotations

from hypothesis import given, settings, strategies as st
from hypothesis.stateful import run_state_machine_as_test
from twisted.internet.error import ConnectionDone
from twisted.trial.unittest import SynchronousTestCase

from sodiumtwist.protocol.lifecycle import TABLE, Lifecycle, Stage, Turn
from sodiumtwist.protocol.reading import READ_AHEAD

from ..alone import AloneTestCase
from ..checkers import LateChecker
from ..pair import Boom, RecordingServer, over
from ..payload_producers import PullSource
from ..versions import each_version, only
from .lives import Lives

#: The stages in which there is a transport that can end.
CONNECTED = set(Stage) - {Stage.UNMADE, Stage.GONE}
#: Those in which the application is done with the connection, written out.
OVER = {Stage.DELIVERING, Stage.LINGERING, Stage.LEAVING, Stage.CUT, Stage.GONE}


class TableTests(SynchronousTestCase):
    """What the table says."""

    def test_complete(self) -> None:
        """Each stage has its row, and each turn is taken somewhere."""
        self.assertEqual(set(TABLE), set(Stage))
        self.assertEqual({turn for row in TABLE.values() for turn in row}, set(Turn))

    def test_every_stage_is_reached(self) -> None:
        """From UNMADE, and into it nothing leads back."""
        reached = {Stage.UNMADE}
        while more := {stage for known in reached for stage in TABLE[known].values()} - reached:
            reached |= more
        self.assertEqual(reached, set(Stage))
        self.assertNotIn(Stage.UNMADE, {stage for row in TABLE.values() for stage in row.values()})

    def test_gone_is_final(self) -> None:
        """And nothing else is: from wherever it stands, a connection comes to its end."""
        self.assertEqual(TABLE[Stage.GONE], {})
        for stage in CONNECTED:
            self.assertIs(TABLE[stage].get(Turn.LOST), Stage.GONE, stage)
        self.assertNotIn(Turn.LOST, TABLE[Stage.UNMADE])

    def test_made_once(self) -> None:
        self.assertEqual([stage for stage, row in TABLE.items() if Turn.MADE in row], [Stage.UNMADE])

    def test_what_is_over_stays_over(self) -> None:
        """From there on nothing is delivered, closed or held any more."""
        for stage in OVER:
            self.assertLessEqual(set(TABLE[stage].values()), OVER, stage)
            for turn in (Turn.CLOSE, Turn.ASKED, Turn.ANSWERED, Turn.AUTHENTICATED, Turn.HELD_BACK):
                self.assertNotIn(turn, TABLE[stage], stage)

    def test_ended_by_the_application(self) -> None:
        """It may close or break off as long as it is not done with it; and what is closed can still be broken off."""
        for stage in CONNECTED - OVER:
            self.assertIn(TABLE[stage][Turn.CLOSE], OVER, stage)
            self.assertIn(TABLE[stage][Turn.ABORT], OVER, stage)
        for stage in (Stage.DELIVERING, Stage.LINGERING, Stage.LEAVING):
            self.assertIs(TABLE[stage][Turn.ABORT], Stage.CUT, stage)
        self.assertNotIn(Turn.ABORT, TABLE[Stage.CUT])

    def test_held(self) -> None:
        """There is no transport that could be closed: it stays, or is gone."""
        self.assertLessEqual(set(TABLE[Stage.HELD].values()), {Stage.HELD, Stage.GONE})

    def test_authenticated_once(self) -> None:
        """Open, it is so no second time."""
        self.assertNotIn(Turn.AUTHENTICATED, TABLE[Stage.OPEN])
        self.assertNotIn(Turn.ASKED, TABLE[Stage.OPEN])


class TakeTests(SynchronousTestCase):
    """Taking turns."""

    def test_new(self) -> None:
        lifecycle = Lifecycle()
        self.assertEqual((lifecycle.stage, lifecycle.over), (Stage.UNMADE, False))

    def test_each_turn_in_each_stage(self) -> None:
        """One that is missing changes nothing, and says so."""
        for stage in Stage:
            for turn in Turn:
                lifecycle = Lifecycle()
                lifecycle.stage, lifecycle.over = stage, stage in OVER
                following = TABLE[stage].get(turn)
                self.assertIs(lifecycle.take(turn), following is not None, (stage, turn))
                self.assertIs(lifecycle.stage, following or stage, (stage, turn))
                self.assertIs(lifecycle.over, lifecycle.stage in OVER, (stage, turn))

    @given(st.lists(st.sampled_from(Turn), max_size=20))
    def test_any_turns(self, turns: list[Turn]) -> None:
        """Whatever is tried, ``over`` is as the stage says, and never goes back."""
        lifecycle, was_over = Lifecycle(), False
        for turn in [Turn.MADE, *turns]:
            lifecycle.take(turn)
            self.assertIs(lifecycle.over, lifecycle.stage in OVER)
            self.assertFalse(was_over and not lifecycle.over)
            was_over = lifecycle.over
        lifecycle.take(Turn.LOST)
        self.assertIs(lifecycle.stage, Stage.GONE)


@each_version
class LivesTests(SynchronousTestCase):
    """Any course of events, see :class:`Lives`."""

    def test_any_life(self) -> None:
        """
        An end is told once that it is over, when its transport has ended, and hears nothing behind that. Nothing
        escapes, no timer is left, and each stage follows from the one before. What is delivered was sent, in order; all
        of it where the sender closes in order and nothing comes between.
        """
        run_state_machine_as_test(Lives, settings=settings(max_examples=100, stateful_step_count=50))
        self.flushLoggedErrors(Boom)


@each_version
class HeldTests(AloneTestCase):
    """The transport has ended, and the application has yet to take what came before."""

    def test_held(self) -> None:
        """What came is delivered when the application resumes, and the end behind it."""
        self.open_server()
        self.protocol.pauseProducing()
        self.feed(self.peer_data(b"1", b"2"))
        self.transport.lose(ConnectionDone())
        self.assertEqual(self.protocol.calls[1:], [])
        self.assertIs(self.protocol._lifecycle.stage, Stage.HELD)
        self.assertEqual(self.clock.getDelayedCalls(), [])
        self.protocol.resumeProducing()
        self.assertEqual(self.protocol.payloads, [b"1", b"2"])
        self.assert_lost(over())

    def test_held_while_the_peer_took_nothing(self) -> None:
        """That it took none of the answers is no reason any more to deliver nothing."""
        self.open_server()
        self.fill()
        self.protocol.pauseProducing()
        self.feed(self.peer_data(b"1", b"2"))
        self.transport.lose(ConnectionDone())
        self.assertIs(self.protocol._lifecycle.stage, Stage.HELD)
        self.protocol.resumeProducing()
        self.assertEqual(self.protocol.payloads, [b"1", b"2"])
        self.assert_lost(over())

    def test_not_held_for_a_login(self) -> None:
        """
        Who leaves before its login is decided on is gone at once: that may take for ever, and the time for
        authentication runs no more.
        """
        checker = LateChecker()
        self.start_server(checker=checker)
        self.log_in()
        self.protocol.pauseProducing()
        self.feed(self.peer_data(b"early"))
        self.transport.lose(ConnectionDone())
        self.assert_lost(ConnectionDone)
        self.assertEqual(checker.cancelled, checker.answers)

    def test_pull_producer_of_a_held_one(self) -> None:
        """It is not asked for what nobody will get, and is stopped at the end."""
        self.open_server()
        self.protocol.pauseProducing()
        self.feed(self.peer_data(b"1"))
        self.transport.lose(ConnectionDone())
        source = PullSource(self.protocol, [b"x"] * 10)
        self.protocol.registerProducer(source, False)
        self.clock.pump([0] * 5)
        self.assertEqual((source.pulls, source.stops, self.clock.getDelayedCalls()), (0, 0, []))
        self.protocol.resumeProducing()
        self.assertEqual((source.pulls, source.stops), (0, 1))
        self.assert_lost(over())

    def test_what_is_sent_then(self) -> None:
        """It is not written to a transport that has ended, and is known to be missing; a PONG is not."""

        class Server(RecordingServer):
            def payload_received(self, payload: bytes) -> None:
                super().payload_received(payload)
                if payload == b"ask":
                    self.send_data(b"answer")

        for missing in (True, False):
            self.open_server(Server)
            self.protocol.pauseProducing()
            # Behind as much as is read ahead: else the PING would have been answered before.
            asked = self.peer_data(bytes(READ_AHEAD)), self.peer_data(b"ask") if missing else self.peer_ping()
            self.feed(*asked, self.peer_data(b"more"))
            self.transport.lose(ConnectionDone())
            self.assertIs(self.protocol._outbox.left_unsent, False)
            self.protocol.resumeProducing()
            self.assertEqual(self.protocol.payloads[-1], b"more")
            self.assertIs(self.protocol._outbox.left_unsent, missing)
            self.assertEqual(self.transport.writes, [])
            self.assert_lost(over())

    def test_transport_ends_while_nothing_is_taken(self) -> None:
        """A server that delivers nothing, for its client takes nothing, delivers all that came when that one closes."""

        class Slow(RecordingServer):
            def payload_received(self, payload: bytes) -> None:
                super().payload_received(payload)
                self.pauseProducing()

        self.open_server()
        self.fill()
        self.feed(self.peer_data(b"1", b"2"))
        self.assertEqual(self.protocol.payloads, [])
        self.transport.lose(ConnectionDone())
        self.assertEqual(self.protocol.payloads, [b"1", b"2"])
        self.assert_lost(over())
        self.open_server(Slow)
        self.fill()
        self.feed(self.peer_data(b"1", b"2"))
        self.transport.lose(ConnectionDone())
        self.assertEqual(self.protocol.payloads, [b"1"])
        self.protocol.resumeProducing()
        self.assertEqual(self.protocol.payloads, [b"1", b"2"])
        self.assertIsNone(self.protocol.reason)
        self.protocol.resumeProducing()
        self.assert_lost(over())

    @only(1)
    def test_held_before_the_handshake(self) -> None:
        """The hello is not written any more, and is not what the application misses."""
        self.start_server()
        self.protocol.pauseProducing()
        self.log_in(b"early")
        self.transport.clear()
        self.transport.writes.clear()
        self.transport.lose(ConnectionDone())
        self.assertEqual(self.protocol.calls, [])
        self.protocol.resumeProducing()
        self.assertEqual(self.protocol.calls[:-1], ["authenticated", b"early"])
        self.assertEqual((self.transport.writes, self.protocol._outbox.left_unsent), ([], False))
        self.assert_lost(over())
