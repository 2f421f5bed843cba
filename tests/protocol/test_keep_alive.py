"""
TCP keepalive: what is asked of the sockets of all that may be silent.
"""

from __future__ import annotations

import os
import socket
import tempfile
from typing import Any

from twisted.internet import reactor
from twisted.internet.defer import Deferred
from twisted.internet.endpoints import TCP4ClientEndpoint, TCP4ServerEndpoint, UNIXClientEndpoint, serverFromString
from twisted.internet.interfaces import IListeningPort, IProtocolFactory, IStreamClientEndpoint, IStreamServerEndpoint
from twisted.internet.protocol import Factory, Protocol
from twisted.protocols.policies import WrappingFactory
from twisted.trial.unittest import SynchronousTestCase, TestCase

from sodiumtwist import SingleLogin, SodiumClientEndpoint, SodiumServerEndpoint, Timeouts
from sodiumtwist.core.errors import LocalProtocolError
from sodiumtwist.protocol.sockets import keep_alive
from sodiumtwist.tunnel import TunnelFactory

from ..pair import LOGIN, PASSPHRASE, SERVER_PAIR, MemoryTransport
from ..ports import port_number
from ..versions import each_version


def probing(handle: socket.socket) -> tuple[int, ...] | None:
    """How a socket asks: after how many seconds, how often, how many times; ``None`` when it does not."""
    if not handle.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE):
        return None
    names = ("TCP_KEEPIDLE", "TCP_KEEPINTVL", "TCP_KEEPCNT")
    return tuple(handle.getsockopt(socket.IPPROTO_TCP, getattr(socket, name)) for name in names)


class Waiting(Factory):
    """Makes one protocol. It tells its transport when that is there, and what first comes."""

    noisy = False

    def __init__(self) -> None:
        self.connected: Deferred[Any] = Deferred()
        self.heard: Deferred[bytes] = Deferred()

    def buildProtocol(self, addr: object) -> Protocol:
        factory = self

        class Made(Protocol):
            def connectionMade(self) -> None:
                factory.connected.callback(self.transport)

            def dataReceived(self, data: bytes) -> None:
                factory.heard.callback(data)

        return Made()


@each_version
class SocketTests(TestCase):
    """Real sockets, and what may lie around them."""

    timeout = 10

    async def listen(self, endpoint: IStreamServerEndpoint, factory: IProtocolFactory) -> IListeningPort:
        port = await endpoint.listen(factory)
        self.addCleanup(port.stopListening)
        return port

    async def connect(self, where: IStreamClientEndpoint, factory: IProtocolFactory) -> Any:
        """Connect, until the test is over."""
        protocol: Any = await where.connect(factory)
        self.addCleanup(protocol.transport.abortConnection)
        return protocol

    async def accepted(self, string: str) -> Any:
        """Make a connection; return the transport of the end that listens at an endpoint string."""
        factory = Waiting()
        port = await self.listen(serverFromString(reactor, string), factory)
        await self.connect(TCP4ClientEndpoint(reactor, "127.0.0.1", port_number(port)), Factory.forProtocol(Protocol))
        return await factory.connected

    async def test_numbers(self) -> None:
        """It gives up after twice the time; a short one is rounded to what systems can do."""
        transport = await self.accepted("tcp:0:interface=127.0.0.1")
        handle = transport.getHandle()
        keep_alive(transport, 0)
        self.assertIsNone(probing(handle))
        for seconds, asked in ((60, (60, 15, 4)), (1, (1, 1, 4)), (7.4, (7, 2, 4)), (32767, (32767, 8192, 4))):
            keep_alive(transport, seconds)
            self.assertEqual(probing(handle), asked)

    async def test_wrapped(self) -> None:
        """The socket below is asked: behind ``haproxy:``, and behind any wrapper of a wrapper."""
        transport = await self.accepted("haproxy:tcp:0:interface=127.0.0.1")
        self.assertNotIsInstance(transport, type(transport.transport))
        keep_alive(transport, 60)
        self.assertEqual(probing(transport.transport.getHandle()), (60, 15, 4))

        inner = Waiting()
        twice = WrappingFactory(WrappingFactory(inner))
        port = await self.listen(TCP4ServerEndpoint(reactor, 0, interface="127.0.0.1"), twice)
        await self.connect(TCP4ClientEndpoint(reactor, "127.0.0.1", port_number(port)), Factory.forProtocol(Protocol))
        transport = await inner.connected
        keep_alive(transport, 60)
        self.assertEqual(probing(transport.transport.transport.getHandle()), (60, 15, 4))

    async def test_unix_socket(self) -> None:
        """Nothing is asked: both ends are on this machine."""
        directory = tempfile.mkdtemp()
        self.addCleanup(os.rmdir, directory)
        path, factory = os.path.join(directory, "s"), Waiting()
        await self.listen(serverFromString(reactor, f"unix:{path}"), factory)
        client = await self.connect(UNIXClientEndpoint(reactor, path), Factory.forProtocol(Protocol))
        for transport in (client.transport, await factory.connected):
            keep_alive(transport, 60)
            self.assertIsNone(probing(transport.getHandle()))

    async def test_broken(self) -> None:
        """A socket that is gone raises nothing: the reactor finds that out."""
        transport = await self.accepted("tcp:0:interface=127.0.0.1")
        handle = transport.getHandle()
        closed = socket.socket()
        closed.close()
        self.patch(transport, "getHandle", lambda: closed)
        keep_alive(transport, 60)
        self.assertIsNone(probing(handle))

    async def join(self, tcp_keepalive: float | None) -> list[tuple[int, ...] | None]:
        """Make a tunnel between two plain connections; return how its two legs ask."""
        backend = Waiting()
        port = await self.listen(TCP4ServerEndpoint(reactor, 0, interface="127.0.0.1"), backend)
        to = TCP4ClientEndpoint(reactor, "127.0.0.1", port_number(port))
        timeouts = Timeouts() if tcp_keepalive is None else Timeouts(tcp_keepalive=tcp_keepalive)
        factory = TunnelFactory(to, "there", timeouts=timeouts)
        port = await self.listen(TCP4ServerEndpoint(reactor, 0, interface="127.0.0.1"), factory)
        client = await self.connect(
            TCP4ClientEndpoint(reactor, "127.0.0.1", port_number(port)), Factory.forProtocol(Protocol)
        )
        client.transport.write(b"x")
        await backend.heard
        [entry] = factory.entries
        assert entry._other is not None
        legs = [probing(end.transport.getHandle()) for end in (entry, entry._other)]
        client.transport.abortConnection()
        (await backend.connected).abortConnection()
        return legs

    async def test_tunnel(self) -> None:
        """Both legs, by itself, and as it is told."""
        self.assertEqual(await self.join(None), [(60, 15, 4)] * 2)
        self.assertEqual(await self.join(8), [(8, 2, 4)] * 2)
        self.assertEqual(await self.join(0), [None] * 2)

    async def test_encrypted(self) -> None:
        """Both ends of a connection of ours, by itself, and as each is told. What joins them leaves them so."""
        for server_seconds, client_seconds, asked in ((60, 60, [(60, 15, 4)] * 2), (0, 8, [None, (8, 2, 4)])):
            factory = Waiting()
            server = SodiumServerEndpoint(
                TCP4ServerEndpoint(reactor, 0, interface="127.0.0.1"),
                SERVER_PAIR,
                SingleLogin(LOGIN, PASSPHRASE),
                timeouts=Timeouts(tcp_keepalive=server_seconds),
            )
            port = await self.listen(server, factory)
            client = await self.connect(
                SodiumClientEndpoint(
                    TCP4ClientEndpoint(reactor, "127.0.0.1", port_number(port)),
                    SERVER_PAIR.public,
                    LOGIN,
                    PASSPHRASE,
                    timeouts=Timeouts(tcp_keepalive=client_seconds),
                ),
                Factory.forProtocol(Protocol),
            )
            ends = [await factory.connected, client.transport]
            for end in ends:
                keep_alive(end, 100)
            self.assertEqual([probing(end._end.transport.getHandle()) for end in ends], asked)
            for end in ends:
                end.abortConnection()


class OthersTests(SynchronousTestCase):
    """What has no socket, and wrong times."""

    def test_no_socket(self) -> None:
        """Nothing is asked of anything else, and nothing goes wrong."""
        keep_alive(MemoryTransport(Protocol()), 60)
        keep_alive(None, 60)

    def test_times(self) -> None:
        """None, or what systems can count to."""
        for seconds in (0, 1, 2.5, 32767):
            self.assertEqual(Timeouts(tcp_keepalive=seconds).tcp_keepalive, seconds)
        for seconds in (-1, 0.5, 32768, float("inf"), float("nan")):
            error = self.assertRaises(LocalProtocolError, Timeouts, tcp_keepalive=seconds)
            self.assertEqual(str(error), f"TCP keepalive takes 1 to 32767 seconds, or 0 for none, not {seconds}")
