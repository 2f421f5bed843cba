"""
Streams: who waits for whom.
"""

from __future__ import annotations

from twisted.internet.error import ConnectionDone, ConnectionLost

from sodiumtwist.protocol.reading import READ_AHEAD
from sodiumtwist.protocol.sockets import CHUNK_SIZE

from ..applications import Application, Producer, StreamTestCase
from ..pair import Boom
from ..versions import each_version, spoken


@each_version
class FlowTests(StreamTestCase):
    """Who waits for whom."""

    def test_reading_pauses(self) -> None:
        self.start()
        self.server.transport.pauseProducing()
        self.client.transport.write(b"later")
        self.flush()
        self.assertEqual(self.server.received, b"")
        self.assertTrue(self.pair.server_transport.reading)
        self.client.transport.write(bytes(READ_AHEAD))
        self.flush()
        self.assertFalse(self.pair.server_transport.reading)
        self.server.transport.resumeProducing()
        self.flush()
        self.assertTrue(self.server.received == b"later" + bytes(READ_AHEAD))

    def test_end_behind_a_pause(self) -> None:
        """The end of the stream, read ahead, waits behind its bytes; whether the connection has ended or not."""
        for ends in (False, True):
            self.start()
            self.server.transport.pauseProducing()
            self.client.transport.write(b"all")
            self.flush()
            self.client.transport.loseConnection() if ends else self.client.transport.loseWriteConnection()
            self.flush()
            self.assertEqual((self.server.received, self.server.why), (b"", None))
            self.server.transport.resumeProducing()
            self.flush()
            self.assertEqual(self.server.received, b"all")
            self.assertIs(self.server.why, ConnectionDone)

    def break_behind_a_pause(self) -> None:
        """A peer sends some, and breaks off, while the application takes nothing."""
        self.start()
        self.server.transport.pauseProducing()
        for piece in (b"pa", b"rt"):
            self.client.transport.write(piece)
            self.flush()
        self.client.transport.abortConnection()
        self.flush()

    def test_reset_behind_a_pause(self) -> None:
        """What came before a break is delivered first."""
        self.break_behind_a_pause()
        self.assertIsNone(self.server.why)
        self.server.transport.resumeProducing()
        self.clock.advance(0)
        self.assertEqual(self.server.received, b"part")
        self.assertIs(self.server.why, ConnectionLost)
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_reset_behind_a_pause_for_ever(self) -> None:
        """An application that takes nothing for the inactivity time hears of the break all the same."""
        self.break_behind_a_pause()
        self.clock.advance(179.75)
        self.assertIsNone(self.server.why)
        self.clock.advance(0.25)
        self.assertIs(self.server.why, ConnectionLost)
        self.assertEqual(self.server.received, b"")
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_reset_behind_a_slow_application(self) -> None:
        """As long as it takes some, it is waited for."""
        self.break_behind_a_pause()
        received = self.server.dataReceived

        def take_one(data: bytes) -> None:
            received(data)
            self.server.transport.pauseProducing()

        self.server.dataReceived = take_one  # type: ignore[method-assign]
        self.clock.advance(179)
        self.server.transport.resumeProducing()
        self.clock.advance(0)
        self.clock.advance(179)
        self.assertEqual((self.server.received, self.server.why), (b"pa", None))
        self.clock.advance(1)
        self.assertIs(self.server.why, ConnectionLost)

    def test_push_producer(self) -> None:
        self.start()
        producer = Producer()
        self.client.transport.registerProducer(producer, True)
        self.pair.server_transport.pauseProducing()
        self.client.transport.write(bytes(3 * CHUNK_SIZE))
        self.assertEqual(producer.calls, ["pause"])
        self.pair.server_transport.resumeProducing()
        self.flush()
        self.assertEqual(producer.calls, ["pause", "resume"])

    def test_pull_producer(self) -> None:
        self.start()
        asked: list[None] = []
        transport = self.client.transport

        class Pulled(Producer):
            def resumeProducing(self) -> None:
                asked.append(None)
                transport.write(b"piece")
                if len(asked) == 3:
                    transport.unregisterProducer()
                    transport.loseConnection()

        transport.registerProducer(Pulled(), False)
        for _ in range(5):
            self.flush()
        self.assertEqual(self.server.received, b"piece" * 3)
        self.assertIs(self.server.why, ConnectionDone)

    def test_pull_producer_that_fails(self) -> None:
        """As over a socket: logged, stopped, and the connection is over."""

        class Failing(Producer):
            def resumeProducing(self) -> None:
                raise Boom()

        self.start()
        producer = Failing()
        self.client.transport.registerProducer(producer, False)
        for _ in range(3):
            self.flush()
        self.assertEqual(len(self.flushLoggedErrors(Boom)), 1)
        self.assertEqual(producer.calls, ["stop"])
        self.assertIs(self.client.why, Boom)
        self.assertIs(self.server.why, ConnectionLost)

    def test_push_producer_that_fails(self) -> None:
        """No more is logged, and no other end than that, when it fails in the reactor's call."""

        class Failing(Producer):
            def resumeProducing(self) -> None:
                raise Boom()

        self.start()
        producer = Failing()
        self.client.transport.registerProducer(producer, True)
        self.client.transport.write(bytes(3 * CHUNK_SIZE))
        self.flush()
        self.assertEqual(len(self.flushLoggedErrors(Boom)), 1)
        self.assertEqual(producer.calls[-1], "stop")
        self.assertIs(self.pair.client_transport.aborting, spoken() == 1)  # in version 2 the peer is told
        self.assertIs(self.client.why, Boom)
        self.assertIs(self.server.why, ConnectionLost)

    def test_producer_that_gives_up(self) -> None:
        """One that closes when it is paused, inside of a large write, cuts nothing off."""
        self.start()
        transport = self.server.transport

        class Impatient(Producer):
            def pauseProducing(self) -> None:
                if not self.calls:
                    super().pauseProducing()
                    transport.unregisterProducer()
                    transport.loseConnection()

        transport.registerProducer(Impatient(), True)
        transport.write(bytes(500_000))
        self.flush()
        self.assertEqual(len(self.client.received), 500_000)
        self.assertIs(self.client.why, ConnectionDone)
        self.assertIs(self.server.why, ConnectionDone)

    def test_producer_that_writes_when_paused(self) -> None:
        """That comes behind the write in which it was paused."""
        self.start()
        transport = self.server.transport

        class Talkative(Producer):
            def pauseProducing(self) -> None:
                if not self.calls:
                    transport.write(b"B" * 200_000)
                super().pauseProducing()

        transport.registerProducer(Talkative(), True)
        transport.write(b"A" * 500_000)
        self.flush()
        self.assertTrue(self.client.received == b"A" * 500_000 + b"B" * 200_000)

    def test_echo_without_a_producer(self) -> None:
        """A peer that sends all before it reads gets all back, as over a socket."""

        class Echo(Application):
            def dataReceived(self, data: bytes) -> None:
                self.transport.write(data)

        self.start(server=Echo)
        data = bytes(range(256)) * 40_000
        self.client.transport.pauseProducing()
        self.client.transport.write(data)
        self.flush()
        self.assertEqual(bytes(self.pair.client_transport.out), b"")
        self.client.transport.resumeProducing()
        for _ in range(200):
            self.flush()
        self.assertTrue(self.client.received == data)
