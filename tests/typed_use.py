"""
Code as users write it, for mypy to check. Nothing in here runs; only its types are tested. Some lines are wrong on
purpose, with a ``type: ignore``. If mypy no longer finds such a line wrong, it reports the comment as unused.
"""

from __future__ import annotations

from typing import Any

from twisted.application.internet import ClientService
from twisted.cred.portal import Portal
from twisted.internet.defer import Deferred, succeed
from twisted.internet.interfaces import (
    IAddress,
    IListeningPort,
    IProtocol,
    IReactorTCP,
    IStreamClientEndpoint,
    IStreamServerEndpoint,
)
from twisted.internet.protocol import Factory, Protocol
from twisted.protocols.wire import Echo
from twisted.python.failure import Failure
from typing_extensions import assert_type
from zope.interface import implementer

from sodiumtwist import (
    AnyLogin,
    AuthorizedKeys,
    AuthorizedKeysFile,
    IDrainable,
    ISodiumTransport,
    KeyPair,
    Limits,
    NotDone,
    Peer,
    ReconnectingClient,
    RekeyAfter,
    ReplayDatabase,
    ReplayMemory,
    RequestClient,
    SingleLogin,
    SodiumClientEndpoint,
    SodiumClientFactory,
    SodiumClientProtocol,
    SodiumServerEndpoint,
    SodiumServerFactory,
    SodiumServerProtocol,
    Timeouts,
    connect,
    parse_key,
)
from sodiumtwist.admission.argon2 import Argon2File
from sodiumtwist.core.connection import Bounds, ClientConnection, ServerConnection
from sodiumtwist.core.events import DataReceived, Event, PongReceived
from sodiumtwist.endpoints.connect import Connecting
from sodiumtwist.testing import MemoryPair, Settings, connect_requests, connect_streams

from .core.peers import wire_of

PAIR = KeyPair.generate()
LOGIN = SingleLogin("me", "open sesame")


# Requests


def at_once(peer: Peer, payload: bytes) -> bytes:
    assert_type(peer.login, "str | None")
    assert_type(peer.public_key, bytes)
    assert_type(peer.address, IAddress)
    assert_type(peer.avatar, Any)
    return payload


def later(peer: Peer, payload: bytes) -> Deferred[bytes]:
    return succeed(payload)


async def awaiting(peer: Peer, payload: bytes) -> bytes:
    return await later(peer, payload)


def asking_back(peer: Peer, payload: bytes) -> Deferred[bytes]:
    return peer.request(payload, timeout=3)


class Client(RequestClient):
    pass


def text(peer: Peer, payload: bytes) -> str:
    return payload.decode()


async def asking(reactor: IReactorTCP, endpoint: IStreamClientEndpoint) -> None:
    key = parse_key("7b4e")
    assert_type(key, bytes)
    client = await connect(reactor, "tcp:example.org:5555", key, "me", "open sesame")
    assert_type(client, RequestClient)
    assert_type(connect(reactor, endpoint, key, early=True, limit=3, pair=PAIR), Connecting[RequestClient])
    deferred: Deferred[RequestClient] = connect(reactor, endpoint, key, version=1, bounds=Bounds(message=1 << 26))
    deferred.addCallback(lambda each: each.close(timeout=3))
    assert_type(await connect(reactor, endpoint, key, protocol=Client), Client)
    async with connect(reactor, endpoint, key, respond=later, protocol=Client) as ours:
        assert_type(ours, Client)
        lost: NotDone | None = await ours.when_lost()
        assert lost is None or lost.retry_can_help
    assert_type(client.request(b"hello", timeout=3), Deferred[bytes])
    assert_type(client.request(b"hello"), Deferred[bytes])
    assert_type(await client.request(memoryview(b"hello")), bytes)
    assert_type(await client.ping(), float)
    assert_type(client.peer, "Peer | None")
    assert_type(client.message, "str | None")
    await client.ready()
    await client.close()

    again = ReconnectingClient(reactor, endpoint, key, "me", "open sesame", wait=None, protocol=Client)
    again.startService()
    assert_type(again.request(b"hello", timeout=3), Deferred[bytes])
    assert_type(again.client, "RequestClient | None")
    assert_type(await again.stopService(), None)

    client.request("hello")  # type: ignore[arg-type]
    again.request("hello")  # type: ignore[arg-type]
    connect(reactor, "tcp:example.org:5555", "7b4e")  # type: ignore[call-overload]
    connect(reactor, "tcp:example.org:5555", key, "me", "open sesame", True)  # type: ignore[call-overload]


# Factories


async def draining(factory: SodiumServerFactory) -> None:
    assert_type(await factory.drain(timeout=3), None)


class Shout(SodiumServerProtocol):
    factory: SodiumServerFactory  # who wants more of it than a server's end needs says so

    def payload_received(self, payload: bytes) -> None:
        assert_type(self.peer, "Peer | None")
        assert_type(self.factory, SodiumServerFactory)
        assert_type(self.transport.getPeer(), IAddress)
        self.send_data(payload.upper())
        self.send_data("text")  # type: ignore[arg-type]


class Ask(SodiumClientProtocol):
    factory: SodiumClientFactory

    def authenticated(self) -> None:
        assert_type(self.factory, SodiumClientFactory)
        self.send_data(bytearray(3))
        self.registerProducer(self, True)

    def connection_lost(self, reason: Failure) -> None:
        assert_type(self.when_authenticated(), Deferred[None])


def factories(portal: Portal) -> None:
    SodiumServerFactory(PAIR, LOGIN, at_once)
    SodiumServerFactory(PAIR, LOGIN, later, concurrency=3)
    SodiumServerFactory(PAIR, AnyLogin([LOGIN, Argon2File("users.txt")]), awaiting, message="hello")
    SodiumServerFactory(PAIR, portal, protocol=Shout, replays=ReplayMemory(3), limits=Limits(connections=3))
    database = ReplayDatabase("db", salt_limit=1000, tolerance=60)
    keys = AuthorizedKeysFile("keys.txt")
    SodiumServerFactory(PAIR, None, authorized_keys=keys, replays=database, salts=database.salts)
    listed = AuthorizedKeys([(PAIR.public, "ann", [2]), (PAIR.public, None)])
    SodiumServerFactory(PAIR, SingleLogin("ann", "open sesame", versions=[2]), authorized_keys=listed)
    AuthorizedKeys([(PAIR.public,)])  # type: ignore[list-item]
    SodiumClientFactory(PAIR.public, "me", "open sesame", Ask, PAIR, Timeouts(authentication=3), rekey=RekeyAfter(3))
    SodiumClientFactory(PAIR.public, protocol=lambda: RequestClient(3))

    SodiumServerFactory(PAIR, LOGIN, text)  # type: ignore[arg-type]
    SodiumServerFactory(PAIR, LOGIN, protocol=Ask)  # type: ignore[arg-type]
    SodiumServerFactory(PAIR.public, LOGIN)  # type: ignore[arg-type]
    SodiumServerFactory(PAIR)  # type: ignore[call-arg]
    SodiumClientFactory(PAIR.public, protocol=Shout)  # type: ignore[arg-type]
    SodiumClientFactory(PAIR)  # type: ignore[arg-type]


# Any protocol


@implementer(IDrainable)
class Greeter(Protocol):
    transport: ISodiumTransport

    def connectionMade(self) -> None:
        assert_type(self.transport.peer, Peer)
        self.transport.write(b"hello")
        self.transport.pauseProducing()
        self.transport.loseWriteConnection()
        self.transport.breakConnection()
        self.transport.breakConnection("the disk is full")
        self.transport.abortConnection()

    def drain_received(self) -> None:
        self.transport.loseConnection()


def endpoints(below: IStreamServerEndpoint, beyond: IStreamClientEndpoint) -> None:
    server = SodiumServerEndpoint(below, PAIR, LOGIN)
    assert_type(server.listen(Factory.forProtocol(Greeter)), Deferred[IListeningPort])
    client = SodiumClientEndpoint(beyond, PAIR.public, "me", "open sesame")
    assert_type(client.connect(Factory.forProtocol(Echo)), Deferred[IProtocol])
    ClientService(SodiumClientEndpoint(client, PAIR.public), Factory.forProtocol(Echo))
    SodiumServerEndpoint(server, PAIR, None, authorized_keys=AuthorizedKeysFile("keys.txt"))
    SodiumServerEndpoint(below, PAIR, LOGIN, versions=[2], bounds=Bounds(message=1000), tolerance=0)
    SodiumClientEndpoint(beyond, PAIR.public, version=1, bounds=Bounds())

    SodiumServerEndpoint("tcp:5555", PAIR, LOGIN)  # type: ignore[arg-type]
    SodiumClientEndpoint(below, PAIR.public)  # type: ignore[arg-type]


# In memory, and without Twisted


def memory() -> None:
    assert_type(connect_streams(Factory.forProtocol(Greeter), Factory.forProtocol(Echo)), MemoryPair)
    assert_type(connect_requests(awaiting), MemoryPair)
    settings: Settings = {"version": 1, "timeouts": Timeouts(authentication=3)}
    pair = connect_requests(at_once, lambda: RequestClient(3), **settings)
    connect_requests(at_once, limits=Limits(connections=3), authorized_keys=AuthorizedKeysFile("keys.txt"))
    assert_type(pair.connect_another(host="192.0.2.7"), MemoryPair)
    MemoryPair(pair.clock, SodiumServerFactory(PAIR, LOGIN), SodiumClientFactory(PAIR.public), "192.0.2.7", pair)
    connect_requests(text)  # type: ignore[arg-type]
    connect_requests(at_once, version="1")  # type: ignore[arg-type]
    connect_streams(Factory.forProtocol(Greeter), Factory.forProtocol(Echo), verison=1)  # type: ignore[call-arg]


def core(server: ServerConnection, client: ClientConnection) -> None:
    assert_type(wire_of(client.initiate), bytes)
    assert_type(wire_of(server.accept, 1.0), bytes)
    for event in client.receive_data(b"", 1.0):
        assert_type(event, Event)
        if isinstance(event, DataReceived):
            assert_type(event.payload, bytes)
        elif isinstance(event, PongReceived):
            assert_type(event.latency, float)
