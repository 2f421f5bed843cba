"""
Both ends of a connection in memory. Their transports do what Twisted's sockets do: a full buffer pauses the
producer, an empty one resumes it, and a paused transport reads nothing, not even the end.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable
from dataclasses import replace
from typing import TYPE_CHECKING, Generic, TypedDict, cast

from twisted.cred.checkers import ICredentialsChecker
from twisted.cred.portal import Portal
from twisted.internet.address import IPv4Address
from twisted.internet.error import ConnectionAborted, ConnectionDone, ConnectionLost
from twisted.internet.interfaces import (
    IConsumer,
    IProducer,
    IProtocol,
    IProtocolFactory,
    IPushProducer,
    IReactorTime,
    ITransport,
)
from twisted.internet.task import Clock
from twisted.python.failure import Failure
from typing_extensions import TypeVar
from zope.interface import implementer

from sodiumtwist import (
    AuthorizedKeys,
    AuthorizedKeysFile,
    ConnectionCut,
    KeyPair,
    Limits,
    PeerAborted,
    RekeyAfter,
    SingleLogin,
    SodiumClientFactory,
    SodiumClientProtocol,
    SodiumServerFactory,
    SodiumServerProtocol,
    Timeouts,
)
from sodiumtwist.admission.replays import IReplayMemory
from sodiumtwist.admission.shared_counts import SharedCounts
from sodiumtwist.core.connection import Bounds, Salts
from sodiumtwist.core.v2.handshake import Drawn
from sodiumtwist.protocol.base import SodiumProtocol
from sodiumtwist.protocol.requests import Respond
from sodiumtwist.protocol.sockets import READ_SIZE

from .versions import spoken

if TYPE_CHECKING:
    from typing_extensions import Unpack

LOGIN = "l\u00f6gin"
PASSPHRASE = "Pa55phr\u00e4se-of-tests"
SERVER_PAIR = KeyPair.from_secret(bytes(range(1, 33)))
CLIENT_PAIR = KeyPair.from_secret(bytes(range(101, 133)))

#: How many bytes a transport reads at once, and above how many its buffer is full: ``bufferSize`` of Twisted's
#: transports, as we set it.
BUFFER_SIZE = READ_SIZE


def cut() -> type[Exception]:
    """What an end is told whose transport is lost: of version 1 what that says."""
    return ConnectionLost if spoken() == 1 else ConnectionCut


def over() -> type[Exception]:
    """What an end is told whose transport ends in order: of version 2, without the peer's END, that was too early."""
    return ConnectionDone if spoken() == 1 else ConnectionCut


def failed() -> type[Exception]:
    """What an end is told when the other one's application fails: of version 1 only that it is lost."""
    return ConnectionLost if spoken() == 1 else PeerAborted


class Boom(Exception):
    """The error of an application that fails."""


class Recorder(SodiumProtocol):
    """
    Records what its hooks are called with.

    :ivar calls: in order, ``"authenticated"``, each payload, and the reason of the end.
    """

    def __init__(self) -> None:
        self.calls: list[str | bytes | Failure] = []

    def authenticated(self) -> None:
        self.calls.append("authenticated")

    def payload_received(self, payload: bytes) -> None:
        self.calls.append(payload)

    def connection_lost(self, reason: Failure) -> None:
        self.calls.append(reason)

    @property
    def payloads(self) -> list[bytes]:
        return [call for call in self.calls if isinstance(call, bytes)]

    @property
    def reason(self) -> Failure | None:
        """The reason of the end; ``None`` as long as it lives. Two ends are an error."""
        reasons = [call for call in self.calls if isinstance(call, Failure)]
        assert len(reasons) < 2, reasons
        return reasons[0] if reasons else None

    @property
    def why(self) -> type[BaseException] | None:
        """The type of the reason of the end; ``None`` as long as it lives."""
        return None if self.reason is None else self.reason.type


class RecordingServer(Recorder, SodiumServerProtocol):
    factory: SodiumServerFactory


class RecordingClient(Recorder, SodiumClientProtocol):
    factory: SodiumClientFactory


class EchoServer(RecordingServer):
    """Sends each payload back."""

    def payload_received(self, payload: bytes) -> None:
        super().payload_received(payload)
        self.send_data(payload)


class ServerArguments(TypedDict, total=False):
    """Further arguments of a server's factory."""

    respond: Respond
    message: str
    timeouts: Timeouts | None
    draw: Callable[[], float]
    concurrency: int
    authorized_keys: AuthorizedKeys | AuthorizedKeysFile | None
    replays: IReplayMemory | None
    limits: Limits | None
    rekey: RekeyAfter | None
    versions: Collection[int]
    bounds: Bounds | None
    salts: Salts | None
    tolerance: float
    shared: SharedCounts | None


def make_server_factory(
    clock: IReactorTime | None,
    protocol: Callable[[], SodiumServerProtocol] | None = RecordingServer,
    checker: ICredentialsChecker | Portal | None = None,
    **arguments: Unpack[ServerArguments],
) -> SodiumServerFactory:
    checker = checker or SingleLogin(LOGIN, PASSPHRASE)
    arguments.setdefault("draw", lambda: 0)
    return SodiumServerFactory(SERVER_PAIR, checker, protocol=protocol, clock=clock, **arguments)


class ClientArguments(TypedDict, total=False):
    """Further arguments of a client's factory."""

    server_key: bytes
    login: str
    passphrase: str
    pair: KeyPair | None
    timeouts: Timeouts | None
    draw: Callable[[], float]
    rekey: RekeyAfter | None
    version: int
    bounds: Bounds | None


def make_client_factory(
    clock: IReactorTime | None,
    protocol: Callable[[], SodiumClientProtocol] | None = RecordingClient,
    **arguments: Unpack[ClientArguments],
) -> SodiumClientFactory:
    arguments.setdefault("server_key", SERVER_PAIR.public)
    arguments.setdefault("login", LOGIN)
    arguments.setdefault("passphrase", PASSPHRASE)
    arguments.setdefault("version", spoken())
    return SodiumClientFactory(protocol=protocol, clock=clock, **arguments)


def without_padding(factory: SodiumServerFactory | SodiumClientFactory) -> None:
    """Let ends of version 2 draw no sizes at random, so that each run is as the one before."""
    if factory._version_2 is not None:
        drawn = Drawn(padding=lambda: 0)
        factory._version_2 = replace(factory._version_2, drawn=drawn, padding=lambda: 0)


@implementer(ITransport, IConsumer, IPushProducer)
class MemoryTransport:
    """
    A transport in memory.

    :param host: the peer's address.
    :ivar out: what was written and the other end has not taken yet.
    :ivar writes: the size of each write.
    :ivar received: how many bytes the protocol was given.
    :ivar bufferSize: the most bytes that are read at once.
    """

    bufferSize = 65536

    def __init__(self, protocol: IProtocol, host: str = "192.0.2.1") -> None:
        self.protocol = protocol
        self.host = host
        self.out = bytearray()
        self.writes: list[int] = []
        self.received = 0
        self.reading = True
        self.disconnecting = self.aborting = self.disconnected = False
        self.farewell: Exception = ConnectionDone()
        self.producer: IPushProducer | None = None
        self.producer_paused = False
        self.no_delay = False

    def write(self, data: bytes) -> None:
        # Twisted's refuse anything else, too.
        if not isinstance(data, bytes):
            raise TypeError("Data must be bytes")
        # Twisted's would ignore it. Ours shall not do it at all: what comes behind a close is lost.
        if self.disconnecting or self.aborting:
            raise AssertionError("written after it was closed")
        if self.disconnected:
            return
        self.out += data
        self.writes.append(len(data))
        if self.producer is not None and len(self.out) > BUFFER_SIZE:
            self.producer_paused = True
            self.producer.pauseProducing()

    def writeSequence(self, pieces: Iterable[bytes]) -> None:
        self.write(b"".join(pieces))

    @property
    def dataBuffer(self) -> bytes:
        """What Twisted's transports call what they hold."""
        return bytes(self.out)

    def take(self, size: int) -> bytes:
        """Take up to ``size`` bytes of what was written."""
        taken = bytes(self.out[:size])
        del self.out[:size]
        return taken

    def drained(self) -> None:
        """Some of what was written was taken: resume the producer when nothing is left."""
        if not self.out and self.producer_paused and self.producer is not None:
            self.producer_paused = False
            self.producer.resumeProducing()

    def loseConnection(self) -> None:
        self.reading = False
        self.disconnecting = True

    def abortConnection(self) -> None:
        self.reading = False
        self.aborting = True
        self.out.clear()

    def lose(self, reason: Exception) -> None:
        """End the connection."""
        self.disconnected = True
        self.reading = False
        producer, self.producer = self.producer, None
        if producer is not None:
            producer.stopProducing()
        self.protocol.connectionLost(Failure(reason))

    def registerProducer(self, producer: IProducer, streaming: bool) -> None:
        if self.producer is not None or not streaming:
            raise RuntimeError("one streaming producer only")
        self.producer = cast(IPushProducer, producer)

    def unregisterProducer(self) -> None:
        self.producer = None

    def pauseProducing(self) -> None:
        self.reading = False

    def resumeProducing(self) -> None:
        if not (self.disconnecting or self.aborting or self.disconnected):
            self.reading = True

    def stopProducing(self) -> None:
        self.loseConnection()

    def getPeer(self) -> IPv4Address:
        return IPv4Address("TCP", self.host, 4711)

    def getHost(self) -> IPv4Address:
        return IPv4Address("TCP", "192.0.2.2", 5555)

    def setTcpNoDelay(self, enabled: bool) -> None:
        self.no_delay = enabled


End = TypeVar("End", bound=IProtocol)


def build(factory: IProtocolFactory, kind: type[End]) -> End:
    """Let a factory build an end that is not connected yet."""
    end = factory.buildProtocol(IPv4Address("TCP", "192.0.2.1", 4711))
    assert isinstance(end, kind), end
    return end


Server = TypeVar("Server", bound=SodiumServerProtocol, default=RecordingServer)
Client = TypeVar("Client", bound=SodiumClientProtocol, default=RecordingClient)


class Pair(Generic[Server, Client]):
    """
    A server's and a client's end that are connected. Bytes move only when a method here is called.

    :param server_factory: builds ``server``.
    :param client_factory: builds ``client``.
    :param read_size: returns how many bytes the next read may bring.
    """

    def __init__(
        self,
        server_factory: SodiumServerFactory,
        client_factory: SodiumClientFactory,
        read_size: Callable[[], int] = lambda: BUFFER_SIZE,
    ) -> None:
        self._read_size = read_size
        # The test knows the types of what these factories build; the type checker does not.
        self.server = cast(Server, server_factory.buildProtocol(IPv4Address("TCP", "192.0.2.1", 4711)))
        self.client = cast(Client, client_factory.buildProtocol(IPv4Address("TCP", "192.0.2.2", 5555)))
        self.server_transport = MemoryTransport(self.server)
        self.client_transport = MemoryTransport(self.client)
        self.server.makeConnection(self.server_transport)
        self.client.makeConnection(self.client_transport)

    @classmethod
    def make(
        cls,
        server: Callable[[], Server] | None = None,
        client: Callable[[], Client] | None = None,
        clock: Clock | None = None,
        read_size: Callable[[], int] = lambda: BUFFER_SIZE,
    ) -> Pair[Server, Client]:
        """Connect two protocol classes that share a clock; without any, classes that record."""
        clock = clock or Clock()
        return cls(
            make_server_factory(clock, server or RecordingServer),
            make_client_factory(clock, client or RecordingClient),
            read_size,
        )

    def step(self) -> bool:
        """
        Do one read at each end.

        :return: whether anything moved.
        """
        to_server = self._move(self.client_transport, self.server_transport)
        to_client = self._move(self.server_transport, self.client_transport)
        return to_server or to_client

    def round_trip(self) -> None:
        """
        Let the server read all that the client has written, in as many reads as that takes, and then the other way
        round.
        """
        for sender, receiver in (
            (self.client_transport, self.server_transport),
            (self.server_transport, self.client_transport),
        ):
            end = receiver.received + len(sender.out)
            while receiver.received < end and self._move(sender, receiver):
                pass

    def flush(self) -> None:
        """Move bytes both ways until nothing is left to move."""
        while self.step():
            pass

    def _move(self, sender: MemoryTransport, receiver: MemoryTransport) -> bool:
        if sender.disconnected:
            # A paused transport does not notice that the other one is gone, unless it has something to write.
            if receiver.disconnected or not (receiver.reading or receiver.out or receiver.disconnecting):
                return False
            receiver.lose(sender.farewell)
        elif sender.aborting:
            sender.farewell = ConnectionLost()
            sender.lose(ConnectionAborted())
        elif sender.out and receiver.reading:
            data = sender.take(min(self._read_size(), receiver.bufferSize))
            receiver.received += len(data)
            receiver.protocol.dataReceived(data)
            sender.drained()
        elif sender.disconnecting and not sender.out:
            # As systems do: a socket that is closed with bytes unread resets the connection. Who refuses a login drops
            # what came behind it first.
            refuses = isinstance(sender.protocol, SodiumServerProtocol) and sender.protocol.peer is None
            sender.farewell = ConnectionLost() if receiver.out and not refuses else ConnectionDone()
            sender.lose(ConnectionDone())
        else:
            return False
        return True
