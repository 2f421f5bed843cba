"""
The transport of a stream, as programs use that of a socket.
"""

from __future__ import annotations

from typing import Any, cast

from twisted.internet.error import ConnectionDone

from sodiumtwist.endpoints import streams, tls

from ..applications import Application, HalfCloseable, Producer, StreamTestCase
from ..certificates import tls_contexts


class ProtocolTests(StreamTestCase):
    """``transport.protocol``, which WebSocket servers and telnet put another one in place of."""

    def switch(self, application: Application, other: Application) -> None:
        """Hand a connection over, as these do."""
        transport: Any = application.transport
        transport.protocol = other
        other.makeConnection(transport)

    def test_gets_the_rest(self) -> None:
        """From the very next bytes on, and it hears of the end; the first one does not."""
        other = Application()

        class First(Application):
            def dataReceived(first, data: bytes) -> None:
                super().dataReceived(data)
                self.switch(first, other)

        self.start(server=First)
        self.assertIs(self.server.transport.protocol, self.server)
        for piece in (b"for the first", b"for the other"):
            self.pair.client.send_data(piece)
        self.flush()
        self.assertIs(self.server.transport.protocol, other)
        self.assertEqual((self.server.received, other.received), (b"for the first", b"for the other"))
        other.transport.write(b"answer")
        self.client.transport.loseConnection()
        self.flush()
        self.assertEqual((self.server.why, other.why), (None, ConnectionDone))

    def test_half_closing(self) -> None:
        """What the new one provides decides, whatever the first one did."""
        for first, second, read_ended in ((Application, HalfCloseable, True), (HalfCloseable, Application, False)):
            self.start(server=first, client=HalfCloseable)
            other = second()
            self.switch(self.server, other)
            self.client.transport.loseWriteConnection()
            self.flush()
            self.assertIs(getattr(other, "read_ended", False), read_ended)
            self.assertIs(getattr(self.server, "read_ended", False), False)
            self.assertIs(other.why, None if read_ended else ConnectionDone)
            if read_ended:
                other.transport.loseWriteConnection()
                self.flush()
                self.assertIs(cast(HalfCloseable, other).write_ended, True)

    def test_name_in_the_log(self) -> None:
        """Log lines are about the one that there is, within TLS as well."""

        class Other(Application):
            pass

        self.start()
        renamed: list[tuple[str, str]] = []
        for module in (streams, tls):
            self.patch(module, "rename_in_log", lambda transport, before, after: renamed.append((before, after)))
        transport: Any = self.server.transport
        self.switch(self.server, Other())
        self.assertEqual(transport.logPrefix(), "Other (sodium)")
        transport.startTLS(tls_contexts()[0])
        self.switch(self.server, Application())
        self.assertEqual(
            renamed,
            [
                ("Application (sodium)", "Other (sodium)"),
                ("Other (sodium)", "Other (TLS) (sodium)"),
                ("Other (TLS) (sodium)", "Application (TLS) (sodium)"),
            ],
        )


class AttributeTests(StreamTestCase):
    """What else programs look at."""

    def test_connected(self) -> None:
        """Until the protocol is told that the connection is lost."""
        seen: list[tuple[bool, Any]] = []

        class Looking(Application):
            def connectionMade(self) -> None:
                transport: Any = self.transport
                seen.append((transport.connected, transport.disconnecting))

            def connectionLost(self, reason: Any = None) -> None:
                transport: Any = self.transport
                seen.append((transport.connected, transport.disconnecting))

        self.start(client=Looking)
        self.client.transport.loseConnection()
        self.flush()
        self.assertEqual(seen, [(True, False), (False, True)])

    def test_reading(self) -> None:
        """The names that sockets' transports have for it, beside those of the interface."""
        self.start()
        transport: Any = self.server.transport
        transport.stopReading()
        self.client.transport.write(b"later")
        self.flush()
        self.assertEqual(self.server.received, b"")
        transport.startReading()
        self.flush()
        self.assertEqual(self.server.received, b"later")

    def test_producer(self) -> None:
        self.start()
        transport: Any = self.server.transport
        self.assertIsNone(transport.producer)
        producer = Producer()
        transport.registerProducer(producer, True)
        self.assertEqual((transport.producer, transport.streamingProducer), (producer, True))
        self.assertRaises(RuntimeError, transport.registerProducer, Producer(), False)
        self.assertIs(transport.producer, producer)
        transport.unregisterProducer()
        self.assertIsNone(transport.producer)
        transport.registerProducer(producer, True)
        transport.abortConnection()
        self.flush()
        self.assertIsNone(transport.producer)

    def test_sockets(self) -> None:
        """It is no socket's, and hands out none: what is read or written there is not the application's."""
        self.start()
        for name in ("getHandle", "fileno", "socket", "doRead"):
            self.assertFalse(hasattr(self.server.transport, name), name)
