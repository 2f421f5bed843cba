"""
Deadlines of a connection, on a clock that the test advances.
"""

from __future__ import annotations

from collections.abc import Callable

from twisted.internet.error import ConnectionDone, ConnectionLost
from twisted.internet.task import Clock

from sodiumtwist import AuthenticationTimeout, DecryptionFailed, InactivityTimeout, PongTimeout, RekeyAfter, Timeouts
from sodiumtwist.core.events import PingReceived, PongReceived
from sodiumtwist.core.v1.records import V1Records
from sodiumtwist.core.v2.session import V2Records
from sodiumtwist.protocol.base import GRANTED_READS

from ..alone import AloneTestCase, wide
from ..core.peers import wire_of
from ..pair import EchoServer, Pair, make_client_factory, make_server_factory
from ..versions import each_version, only, spoken


@each_version
class TimeTests(AloneTestCase):
    """Deadlines, to the second."""

    def live(self, seconds: float, step: float = 1.0, answering: bool = True, data: bool = False) -> list[float]:
        """
        Let time go by with a peer that answers PINGs, or sends DATA, or both.

        :return: when PINGs came.
        """
        pings = []
        end = self.clock.seconds() + seconds
        while self.clock.seconds() < end and self.protocol.reason is None:
            self.clock.advance(step)
            for event in self.read():
                if isinstance(event, PingReceived):
                    pings.append(self.clock.seconds())
                    if answering:
                        self.feed(wire_of(self.peer.send_pong, 0))
            if data and self.protocol.reason is None:
                self.feed(self.peer_data(b""))
        return pings

    def test_server_authentication_timeout(self) -> None:
        for received in (b"", bytes(399)):
            self.start_server()
            self.feed(received)
            self.clock.advance(9.75)
            self.assert_up()
            self.clock.advance(0.25)
            self.assert_lost(AuthenticationTimeout)
            self.assertEqual(self.transport.value(), b"")

    def test_trickling_does_not_put_authentication_off(self) -> None:
        self.start_server()
        auth = wire_of(self.peer_client.initiate)
        for index in range(10):
            self.assert_up()
            self.feed(auth[index : index + 1])
            self.clock.advance(1)
        self.assert_lost(AuthenticationTimeout)

    def test_client_authentication_timeout(self) -> None:
        self.start_client()
        self.clock.advance(9.75)
        self.assert_up()
        self.clock.advance(0.25)
        self.assert_lost(AuthenticationTimeout)

    def test_authenticated_in_time(self) -> None:
        self.start_server()
        self.clock.advance(9.75)
        self.log_in()
        self.clock.advance(0.25)
        self.assert_up()
        self.clock.advance(20)
        self.assert_up()

    def test_clock_that_began_long_ago(self) -> None:
        """Deadlines count from the connection, not from the clock's beginning."""
        clock = Clock()
        clock.advance(1e6)
        pair = Pair(make_server_factory(clock), make_client_factory(clock))
        clock.advance(9.75)
        pair.flush()
        self.assertTrue(pair.client.is_authenticated)
        clock.advance(59.75)
        said = [*pair.server_transport.writes], [*pair.client_transport.writes]
        clock.advance(0.25)
        writes = pair.server_transport.writes, pair.client_transport.writes
        self.assertEqual([len(after) - len(before) for before, after in zip(said, writes, strict=True)], [1, 1])

    def test_inactivity(self) -> None:
        """PINGs of ours are no activity."""
        for begin in (self.open_server, self.open_client):
            begin()
            self.clock.advance(60)
            self.clock.advance(119.75)
            self.assert_up()
            self.clock.advance(0.25)
            self.assert_lost(InactivityTimeout)
            self.assertTrue(self.transport.disconnected, "not aborted")

    def test_inactivity_counts_from_authentication(self) -> None:
        self.start_server()
        self.clock.advance(5)
        self.log_in()
        self.clock.advance(60)
        self.clock.advance(119.75)
        self.assert_up()
        self.clock.advance(0.25)
        self.assert_lost(InactivityTimeout)

    def test_every_pdu_is_activity(self) -> None:
        """DATA, PING and PONG alike."""

        def pong() -> bytes:
            self.protocol.ping().addErrback(lambda reason: None)
            self.read()
            return wire_of(self.peer.send_pong, 0)

        for make in (lambda: self.peer_data(b""), lambda: self.peer_ping(), pong):
            self.open_server(timeouts=wide())
            self.clock.advance(100)
            self.feed(make())
            self.clock.advance(179.75)
            self.assert_up()
            self.clock.advance(0.25)
            self.assert_lost(InactivityTimeout)

    def test_bytes_of_a_pdu_are_no_activity(self) -> None:
        """A PDU that trickles in does not keep the connection, however often a byte comes."""
        self.open_server()
        pdu = self.peer_data(bytes(1000))
        for index in range(180):
            self.assert_up()
            self.feed(pdu[index : index + 1])
            self.clock.advance(1)
        self.assert_lost(InactivityTimeout)

    def test_first_ping(self) -> None:
        for begin in (self.open_server, self.open_client):
            begin()
            self.clock.advance(59.75)
            self.assertEqual(self.transport.writes, [])
            self.clock.advance(0.25)
            self.assertEqual(len(self.transport.writes), 1)
            (ping,) = self.read()
            self.assertEqual(ping, PingReceived(1_000_000_000_000_000_007))

    def test_pings_without_jitter(self) -> None:
        for begin in (self.open_server, self.open_client):
            begin(draw=lambda: 0.0)
            self.assertEqual(self.live(400, 0.25), [60, 120, 180, 240, 300, 360])
            self.assert_up()

    def test_pings_with_the_largest_jitter(self) -> None:
        """The first comes after 60 seconds, later ones after 119."""
        for begin in (self.open_server, self.open_client):
            begin(draw=lambda: 1.0)
            pings = self.live(400, 0.25)
            self.assertEqual(len(pings), 3)
            for ping, expected in zip(pings, (60, 179, 298), strict=True):
                # The sum of floats may fall a moment behind the second.
                self.assertTrue(expected <= ping <= expected + 0.25, pings)

    def test_jitter_is_drawn_each_time(self) -> None:
        draws = iter([0.0, 0.0, 1.0, 0.0, 1.0, 0.0, 1.0])  # the first for the time to authenticate
        self.open_server(draw=lambda: next(draws))
        self.assertEqual(self.live(480, 0.5), [60, 120, 239, 299, 418, 478])

    def test_pongs_outstanding(self) -> None:
        """A peer of which nothing was heard since three PINGs left is gone when the fourth is due."""
        for begin in (self.open_server, self.open_client):
            begin(draw=lambda: 0.0, timeouts=Timeouts(inactivity=1000))
            self.assertEqual(self.live(239.75, 0.25, answering=False), [60, 120, 180])
            self.assert_up()
            self.clock.advance(0.25)
            self.assert_lost(PongTimeout)
            self.assertTrue(self.transport.disconnected, "not aborted")

    @only(2)
    def test_pong_that_never_comes(self) -> None:
        """In version 2 each PING has its answer: a peer that sends and does not answer is gone."""
        for begin in (self.open_server, self.open_client):
            begin(draw=lambda: 0.0)
            self.live(239.75, 0.25, answering=False, data=True)
            self.assert_up()
            self.clock.advance(0.25)
            self.assert_lost(PongTimeout)

    @only(1)
    def test_pongs_late(self) -> None:
        """A PONG may come behind much that takes its time. A peer that sends is there."""
        for begin in (self.open_server, self.open_client):
            begin(draw=lambda: 0.0)
            self.assertEqual(len(self.live(600, answering=False, data=True)), 10)
            self.assert_up()

    def test_the_applications_pings_are_counted_apart(self) -> None:
        """Three under way all the time, each answered at once, leave room for ours, and end nothing."""
        self.open_client(draw=lambda: 0.0)
        answered = []

        def again(latency: float) -> None:
            answered.append(latency)
            self.protocol.ping().addCallbacks(again, lambda reason: None)

        for _ in range(3):
            self.protocol.ping().addCallbacks(again, lambda reason: None)
        for _ in range(600):
            self.clock.advance(1)
            pings = self.read_types()
            self.feed(*(wire_of(self.peer.send_pong, 0) for _ in pings))
        self.assertEqual(len(answered), 3 * 600)
        self.assert_up()

    # Timers that come late, for the process stood still

    def stand_still(self, seconds: float, *reads: bytes) -> int:
        """
        Stand still. Then the timers come, and between two turns of them the reactor reads.

        :param reads: what came meanwhile, as the reactor reads it, turn by turn.
        :return: how often it read before the connection was over.
        """
        count = 0

        def read(rest: tuple[bytes, ...]) -> None:
            nonlocal count
            if rest and self.protocol.reason is None:
                count += 1
                # It reads behind the timers of a turn, and what they set for the next turn comes behind that.
                self.clock.callLater(0, read, rest[1:])
                self.feed(rest[0])

        # As late as a timer can be, but for those of the next turn.
        self.clock.callLater(seconds - 0.001, read, reads)
        self.clock.advance(seconds)
        return count

    def test_late_timer_reads_first(self) -> None:
        """What the peer has sent meanwhile shows that it lives."""
        for begin in (self.open_server, self.open_client):
            for make in (lambda: self.peer_data(b"x"), self.peer_ping, lambda: b""):
                begin()
                self.clock.advance(100)
                self.read()
                self.stand_still(1000, make() + wire_of(self.peer.send_pong, 0))
                self.assert_up()
                self.clock.advance(100)
                self.assert_up()

    def test_late_timer_and_nothing_came(self) -> None:
        """The peer was asked before, and had all the time to answer."""
        self.open_server()
        self.clock.advance(100)
        self.stand_still(1000)
        self.assert_lost(InactivityTimeout)

    def test_late_timer_asks_first(self) -> None:
        """A peer that has nothing to say was not asked meanwhile, so it is now."""
        for begin in (self.open_server, self.open_client):
            begin()
            self.stand_still(1000)
            self.assert_up()
            self.assertEqual(self.read_types(), ["PingReceived"])
            self.clock.advance(59)
            self.feed(wire_of(self.peer.send_pong, 0))
            self.clock.advance(100)
            self.assert_up()
            begin()
            self.stand_still(1000)
            self.clock.advance(59.75)
            self.assert_up()
            self.clock.advance(0.25)
            self.assert_lost(InactivityTimeout)

    def test_late_timer_and_a_pdu_in_pieces(self) -> None:
        """A PDU of the largest size takes a few reads, and they are granted."""
        for begin in (self.open_server, self.open_client):
            for size in (131_000, 65536, 20_000):
                begin()
                self.clock.advance(100)
                self.read()
                wire = self.peer_data(bytes(131_070)) + wire_of(self.peer.send_pong, 0)
                self.stand_still(1000, *(wire[start : start + size] for start in range(0, len(wire), size)))
                self.assert_up()
                self.assertEqual(len(self.protocol.payloads), 1)

    def test_late_timer_and_a_trickle(self) -> None:
        """Who sends a byte a turn is not waited for without end."""
        self.open_server()
        self.clock.advance(100)
        wire = self.peer_data(bytes(1000))
        reads = self.stand_still(1000, *(wire[place : place + 1] for place in range(1000)))
        self.assert_lost(InactivityTimeout)
        self.assertEqual(reads, GRANTED_READS)

    def test_late_timer_in_the_handshake(self) -> None:
        """What came in time lets the client in, and the server's hello lets it know."""
        self.start_server()
        self.say_hello()
        self.stand_still(15, self.peer.data_to_send())
        self.assertTrue(self.protocol.is_authenticated)
        self.start_client()
        self.stand_still(15, wire_of(self.peer_server.accept, 0))
        self.assertTrue(self.protocol.is_authenticated)
        self.start_client()
        hello = wire_of(self.peer_server.accept, 0)
        self.stand_still(15, hello[:100], hello[100:])
        self.assertTrue(self.protocol.is_authenticated)

    def test_late_timer_for_strangers(self) -> None:
        """They get no more of it than one turn, whatever they send."""
        self.start_server()
        self.stand_still(15, bytes(400), *[b"x"] * 20)
        self.assert_lost(DecryptionFailed)

    def test_late_timer_before_pongs(self) -> None:
        self.open_client(draw=lambda: 0.0, timeouts=Timeouts(inactivity=1000))
        self.clock.pump([60, 60, 60])
        self.read()
        self.stand_still(61, wire_of(self.peer.send_pong, 0))
        self.assert_up()

    def test_a_deadline_is_not_put_off(self) -> None:
        """Whatever happens in the turn that is granted."""
        self.open_server()
        before = 0

        def flap() -> None:
            """The transport is full and empty again, in each turn until the PING has left."""
            nonlocal before
            if not self.transport.writes and before < 100:
                before += 1
                self.fill()
                self.drain()
                self.clock.callLater(0, flap)

        self.clock.callLater(61, flap)
        self.clock.advance(62)
        self.assertEqual(self.transport.writes, [self.ping_size])
        self.assertLess(before, 5)

    def test_all_times_can_be_set(self) -> None:
        self.start_server(timeouts=Timeouts(authentication=2.5))
        self.clock.advance(2.25)
        self.assert_up()
        self.clock.advance(0.25)
        self.assert_lost(AuthenticationTimeout)

        self.start_client(timeouts=Timeouts(authentication=2.5))
        self.clock.advance(2.5)
        self.assert_lost(AuthenticationTimeout)

        self.open_server(timeouts=Timeouts(inactivity=7))
        self.clock.advance(3)
        self.clock.advance(3.75)
        self.assert_up()
        self.clock.advance(0.25)
        self.assert_lost(InactivityTimeout)

        self.open_client(timeouts=Timeouts(ping_interval=6), draw=lambda: 0.5)
        self.assertEqual(self.live(30, 0.25), [6, 15, 24])

        self.open_client(timeouts=Timeouts(ping_interval=6, outstanding_pongs=1), draw=lambda: 0.0)
        self.assertEqual(self.live(11.75, 0.25, answering=False), [6])
        self.assert_up()
        self.clock.advance(0.25)
        self.assert_lost(PongTimeout)

    @only(1)
    def test_pings_are_answered_with_our_clock(self) -> None:
        """Both sides, at once, and with the wall clock of the factory."""
        for begin in (self.open_server, self.open_client):
            begin()
            self.feed(self.peer_ping())
            self.assertEqual(self.transport.writes, [self.ping_size])
            (pong,) = self.read()
            self.assertEqual(pong, PongReceived(1_000_000_000_000_000_007, 0.0))

    def test_new_key_in_time(self) -> None:
        """It comes when it is due, also before the time for authentication would be over."""
        changes: list[float] = []
        records = V1Records if spoken() == 1 else V2Records
        self.patch(records, "rekey", lambda records: changes.append(self.clock.seconds()))
        for begin in (self.open_server, self.open_client):
            begin(rekey=RekeyAfter(seconds=2))
            self.clock.advance(2)
            self.assertEqual(changes.pop(), self.clock.seconds())

    def test_ends_leave_no_delayed_call(self) -> None:
        """However it ends, at whatever moment."""

        self.start_server()
        self.feed(bytes(400))
        self.clock.advance(10)
        self.assert_lost(DecryptionFailed)
        begins: list[Callable[[], None]] = [self.start_server, self.open_server, self.start_client, self.open_client]

        def close() -> None:
            self.protocol.close()
            if self.protocol.is_authenticated:
                self.finish()
            elif self.transport.connected:
                self.transport.lose(ConnectionDone())

        ends: list[Callable[[], None]] = [
            close,
            lambda: self.protocol.abort(),
            lambda: self.transport.lose(ConnectionLost()),
        ]
        for begin in begins:
            for end in ends:
                begin()
                end()
                self.assertIsNotNone(self.protocol.reason)
                self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_one_delayed_call_at_most(self) -> None:
        """However much comes and goes, one timer is enough for a connection."""
        self.open_server(EchoServer)
        for _ in range(20):
            self.feed(self.peer_data(b"x"))
            self.protocol.pauseProducing()
            self.protocol.resumeProducing()
            self.fill()
            self.drain()
            self.clock.advance(1)
            self.assertEqual(len(self.clock.getDelayedCalls()), 1)
