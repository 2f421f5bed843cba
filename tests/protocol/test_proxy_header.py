"""
The header of a proxy, read where Twisted's parser is too strict, or raises.
"""

from __future__ import annotations

from twisted.internet.address import IPv4Address
from twisted.protocols.haproxy._wrapper import HAProxyWrappingFactory

from sodiumtwist.core.v1 import handshake

from ..observed import ObservedTestCase
from ..pair import CLIENT_PAIR, LOGIN, SERVER_PAIR, MemoryTransport, make_server_factory


class ProxyHeaderTests(ObservedTestCase):
    """A server behind a proxy that sends one."""

    def test_in_pieces(self) -> None:
        """Networks cut where they like: a header of any version may come byte by byte, or with what comes behind it."""
        proxy = "192.0.2.1:4711"  # as MemoryTransport has it
        head = b"\r\n\r\n\0\r\nQUIT\n"
        addresses = bytes([192, 0, 2, 77, 192, 0, 2, 1]) + (4711).to_bytes(2, "big") + (5555).to_bytes(2, "big")
        login = handshake.ClientHandshake(CLIENT_PAIR, SERVER_PAIR.public, LOGIN, "wrong").client_auth
        for header, told in (
            (b"PROXY TCP4 192.0.2.77 192.0.2.1 4711 5555\r\n", "192.0.2.77:4711"),
            (b"PROXY UNKNOWN\r\n", proxy),
            (b"PROXY UNKNOWN ffff::1 ffff::2 65535 65535\r\n", proxy),
            (head + b"\x21\x11\0\x0c" + addresses, "192.0.2.77:4711"),
            (head + b"\x21\0\0\0", proxy),
            (head + b"\x20\0\0\0", proxy),
        ):
            for size in (1, 7, 15, len(header), len(header + login)):
                factory = HAProxyWrappingFactory(make_server_factory(self.clock))
                end = factory.buildProtocol(IPv4Address("TCP", "127.0.0.1", 1))
                transport = MemoryTransport(end)
                end.makeConnection(transport)
                wire = header + login
                for start in range(0, len(wire), size):
                    end.dataReceived(wire[start : start + size])
                transport.lose(transport.farewell)
                self.assertIn(f"refused {told} as ", self.refusals()[-1], (header, size))

    def test_not_held(self) -> None:
        """What can't be the beginning of a header is not waited for, nor is one that never ends."""
        for pieces in ([b"P", b"O"], [b"\r", b"\n\n"], [b"PROXY " + bytes(100), bytes(10)], [b"PROXY\r\n"]):
            end = HAProxyWrappingFactory(make_server_factory(self.clock)).buildProtocol(
                IPv4Address("TCP", "127.0.0.1", 1)
            )
            transport = MemoryTransport(end)
            end.makeConnection(transport)
            for piece in pieces:
                self.assertFalse(transport.disconnecting)
                end.dataReceived(piece)
            self.assertTrue(transport.disconnecting, pieces)
            transport.lose(transport.farewell)

    def test_unreadable(self) -> None:
        """What is no header ends the connection, and neither it nor a claimed address can write lines of the log."""
        factory = HAProxyWrappingFactory(make_server_factory(self.clock))
        for source, port, is_header in ((b"192.0.2.7", b"x", False), (b"\xff", b"1", False), (b"\x1b\n7", b"1", True)):
            end = factory.buildProtocol(IPv4Address("TCP", "127.0.0.1", 1))
            transport = MemoryTransport(end)
            end.makeConnection(transport)
            # Cut within the header, too.
            for data in (b"PROXY TCP4 ", source + b" 192.0.2.1 ", port + b" 5555\r\n?"):
                transport.protocol.dataReceived(data)
            self.assertEqual(transport.disconnecting, not is_header)
            transport.lose(transport.farewell)
        self.assertTrue(all(line.isprintable() for line in self.refusals()), self.refusals())
        self.assertIn(r"refused '\x1b\n7':1: ", self.refusals()[-1])

    def test_without_header(self) -> None:
        """The log says what is wrong: that it was closed in order was our parser's doing."""
        factory = HAProxyWrappingFactory(make_server_factory(self.clock))
        for data, says in (
            (bytes(400), "what came first is no PROXY header; this port is for a proxy that sends one"),
            (b"PROXY TCP4 192.0.2.7 192.0.2.1 x 5555\r\n", "what came first is no PROXY header; "),
            (b"", "it left before a PROXY header came; this port is for a proxy that sends one"),
            (b"PROXY TCP4 192.0.2.7 192.0.2.1 1 5555\r\n", "Connection was closed cleanly."),
        ):
            end = factory.buildProtocol(IPv4Address("TCP", "127.0.0.1", 1))
            transport = MemoryTransport(end)
            end.makeConnection(transport)
            if data:
                transport.protocol.dataReceived(data)
            transport.lose(transport.farewell)
            self.assertIn(f": {says}", self.refusals()[-1])
