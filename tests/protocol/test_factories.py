"""
Factories of servers and of clients.
"""

from __future__ import annotations

from twisted.internet import reactor
from twisted.internet.interfaces import IConsumer, IProtocol, IPushProducer
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase
from zope.interface.verify import verifyObject

from sodiumtwist import InvalidKey, LocalProtocolError, SingleLogin, SodiumClientFactory, SodiumServerFactory
from sodiumtwist.protocol.clock import steady_clock

from ..pair import (
    LOGIN,
    PASSPHRASE,
    SERVER_PAIR,
    EchoServer,
    Pair,
    RecordingClient,
    make_client_factory,
    make_server_factory,
)


class FactoryTests(SynchronousTestCase):
    def test_interfaces(self) -> None:
        clock = Clock()
        pair = Pair.make(clock=clock)
        for protocol in (pair.server, pair.client):
            self.assertTrue(verifyObject(IProtocol, protocol))
            self.assertTrue(verifyObject(IConsumer, protocol))
            self.assertTrue(verifyObject(IPushProducer, protocol))

    def test_protocol_as_argument_and_attribute(self) -> None:
        """Either a class or anything that makes one, and ``buildProtocol`` gives it its factory."""
        by_argument = make_server_factory(Clock(), EchoServer)
        self.assertIsInstance(by_argument.buildProtocol(None), EchoServer)
        by_attribute = make_client_factory(Clock(), None)
        made = RecordingClient()
        by_attribute.protocol = lambda: made
        self.assertIs(by_attribute.buildProtocol(None), made)
        self.assertIs(made.factory, by_attribute)

    def test_plain_protocols_by_default(self) -> None:
        """Without a protocol of one's own a factory makes ends whose hooks do nothing."""
        pair = Pair(make_server_factory(Clock(), None), make_client_factory(Clock(), None))
        pair.flush()
        pair.client.send_data(b"unheard")
        pair.flush()
        self.assertTrue(pair.server.is_authenticated)
        pair.client.close()
        pair.flush()
        self.assertFalse(pair.server.is_authenticated)

    def test_clock_of_the_global_reactor(self) -> None:
        self.assertIs(SodiumServerFactory(SERVER_PAIR, SingleLogin("", "")).clock, steady_clock(reactor))
        self.assertIs(SodiumClientFactory(SERVER_PAIR.public, "", "").clock, steady_clock(reactor))

    def test_wrong_arguments(self) -> None:
        """They are refused when the factory is made, not at the first connection."""
        checker = SingleLogin(LOGIN, PASSPHRASE)
        for message in ("m" * 129, "a\0b"):
            self.assertRaises(LocalProtocolError, SodiumServerFactory, SERVER_PAIR, checker, message=message)
        for key in (b"", bytes(31), bytes(32)):
            self.assertRaises(InvalidKey, SodiumClientFactory, key, LOGIN, PASSPHRASE)
        key = SERVER_PAIR.public
        for version, login, passphrase in ((1, 128, 128), (2, 255, 4096)):
            SodiumClientFactory(key, "l" * login, "p" * passphrase, version=version)
            for longer in ("l" * (login + 1), "p"), ("l", "p" * (passphrase + 1)):
                self.assertRaises(LocalProtocolError, SodiumClientFactory, key, *longer, version=version)
        error = self.assertRaises(LocalProtocolError, SodiumClientFactory, key, LOGIN, PASSPHRASE + "\0")
        self.assertNotIn(PASSPHRASE, str(error))

    def test_fresh_keys_for_each_connection(self) -> None:
        """A client without a pair of its own is someone else each time."""
        clock = Clock()
        factory = make_client_factory(clock, pair=None)
        keys = set()
        for _ in range(3):
            pair = Pair(make_server_factory(clock), factory)
            pair.flush()
            assert pair.server.peer is not None
            keys.add(pair.server.peer.public_key)
        self.assertEqual(len(keys), 3)

    def test_connections(self) -> None:
        """A server's factory knows those that are up, authenticated or not."""
        factory = make_server_factory(Clock())
        first = Pair(factory, make_client_factory(Clock()))
        second = Pair(factory, make_client_factory(Clock(), passphrase="wrong"))
        self.assertEqual(factory.connections, {first.server, second.server})
        first.flush()
        second.flush()
        self.assertEqual(factory.connections, {first.server})
        first.client.close()
        first.flush()
        self.assertEqual(factory.connections, set())
