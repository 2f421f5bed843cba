"""
The life of a connection, as a table and as two real ends live it.
"""

from __future__ import annotations

from twisted.internet.error import ConnectionDone

from sodiumtwist.protocol.lifecycle import Stage

from ..alone import AloneTestCase
from ..checkers import LateChecker
from ..core.peers import wire_of
from ..payload_producers import PullSource


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
        self.assert_lost(ConnectionDone)

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
        self.assert_lost(ConnectionDone)

    def test_not_held_for_a_login(self) -> None:
        """
        Who leaves before its login is decided on is gone at once: that may take for ever, and the time for
        authentication runs no more.
        """
        checker = LateChecker()
        self.start_server(checker=checker)
        self.feed(wire_of(self.peer_client.initiate))
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
        self.assert_lost(ConnectionDone)
