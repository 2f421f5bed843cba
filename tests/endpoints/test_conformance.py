"""
Twisted's own tests of its transports and endpoints, over streams of ours. Where one is left out, the reason stands
there. They come with Twisted.
"""

# What is taken from there has few types.
# mypy: disable-error-code="override, misc, arg-type, assignment, var-annotated"

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

from twisted.internet import reactor
from twisted.internet.defer import Deferred, gatherResults, succeed
from twisted.internet.endpoints import TCP4ClientEndpoint, TCP4ServerEndpoint, connectProtocol
from twisted.internet.error import ConnectionDone
from twisted.internet.interfaces import IAddress, IListeningPort, IProtocolFactory, IReactorTCP
from twisted.internet.protocol import Factory, Protocol
from twisted.internet.test import test_endpoints, test_tcp
from twisted.internet.test.connectionmixins import ConnectionTestsMixin, EndpointCreator, StreamClientTestsMixin
from twisted.internet.test.reactormixins import ReactorBuilder
from twisted.internet.test.test_tcp import AbortConnectionMixin, StreamTransportTestsMixin, WriteSequenceTestsMixin
from twisted.internet.testing import AccumulatingProtocol
from twisted.python import log
from twisted.python.failure import Failure
from twisted.test import test_tcp as half_close
from twisted.trial.unittest import SynchronousTestCase, TestCase

from sodiumtwist import SingleLogin, SodiumClientEndpoint, SodiumServerEndpoint
from sodiumtwist.core.errors import AuthenticationFailed, ServerUnavailable
from sodiumtwist.endpoints.streams import StreamServerFactory
from sodiumtwist.protocol.clock import count_steadily

from ..pair import LOGIN, PASSPHRASE, SERVER_PAIR
from ..ports import port_number
from ..versions import each_version, only, spoken

if TYPE_CHECKING:
    _TestCase = SynchronousTestCase
else:
    _TestCase = object

CHECKER = SingleLogin(LOGIN, PASSPHRASE)


def over(endpoint: Any) -> SodiumClientEndpoint:
    return SodiumClientEndpoint(endpoint, SERVER_PAIR.public, LOGIN, PASSPHRASE, version=spoken())


def without(tests: type, **reasons: str) -> Any:
    """
    Leave tests out.

    :param tests: a class of Twisted's that has them.
    :param reasons: why, by the name of each.
    """
    return type(
        tests.__name__, tests.__bases__, {name: value for name, value in vars(tests).items() if name not in reasons}
    )


class SodiumCreator(EndpointCreator):
    """Makes the endpoints of a test."""

    def server(self, reactor: Any) -> SodiumServerEndpoint:
        return SodiumServerEndpoint(TCP4ServerEndpoint(reactor, 0, interface="127.0.0.1"), SERVER_PAIR, CHECKER)

    def client(self, reactor: Any, serverAddress: Any) -> SodiumClientEndpoint:
        return over(TCP4ClientEndpoint(reactor, "127.0.0.1", serverAddress.port))


class Conformance(ReactorBuilder, _TestCase):
    """Runs a test with a reactor of each of two kinds: what one finds ready with epoll or select, and asyncio's."""

    requiredInterfaces = (IReactorTCP,)
    endpoints = SodiumCreator()
    timeout = 4

    def buildReactor(self) -> Any:
        made = super().buildReactor()
        count_steadily(made)  # else there would be a thread for each reactor, which has its clock looked at
        return made

    def listen(self, reactor: Any, factory: IProtocolFactory) -> IListeningPort:
        return self.successResultOf(self.endpoints.server(reactor).listen(factory))


def reactors() -> list[str]:
    names = [name for name in ReactorBuilder._reactors if name.rpartition(".")[2] in KINDS]
    # Where there is none but select(), it is that.
    return names if len(names) > 1 else [*names, "twisted.internet.selectreactor.SelectReactor"]


KINDS = ("EPollReactor", "AsyncioSelectorReactor")
Conformance._reactors = reactors()


class ConnectionTestsBuilder(Conformance, ConnectionTestsMixin):
    pass


class AbortTestsBuilder(Conformance, AbortConnectionMixin):
    pass


class PortTestsBuilder(Conformance, StreamTransportTestsMixin):
    def setUp(self) -> None:
        super().setUp()
        self.addCleanup(self._forget_observers, list(log.theLogPublisher.observers))

    def _forget_observers(self, before: list[Any]) -> None:
        """Twisted's test of what is logged leaves an observer of the log, which would see all that other tests log."""
        for observer in log.theLogPublisher.observers:
            if observer not in before:
                log.removeObserver(observer)

    def getListeningPort(self, reactor: Any, factory: IProtocolFactory) -> IListeningPort:
        return self.listen(reactor, factory)

    def connectToListener(self, reactor: Any, address: IAddress, factory: Any) -> None:
        # A connection that is closed before the handshake is none of the application's yet, whose factory is asked
        # here for how it has ended.
        def failed(reason: Failure) -> None:
            reason.trap(AuthenticationFailed, ServerUnavailable)
            factory.lostReason = Failure(ConnectionDone())
            factory.deferred.callback(None)

        self.endpoints.client(reactor, address).connect(factory).addErrback(failed)

    def getExpectedStartListeningLogMessage(self, port: Any, factory: str) -> str:
        return f"{factory} (sodium) starting on {port_number(port)}"

    def getExpectedConnectionLostLogMsg(self, port: Any) -> str:
        return f"(TCP Port {port_number(port)} Closed)"


class ClientConformance(Conformance):
    _address: Any = SimpleNamespace(port=1)  # where nobody listens, as long as the test does not

    def buildReactor(self) -> Any:
        made = super().buildReactor()
        stop = made.stop
        # A socket that was closed is gone at once, ours waits for its peer's end: two turns, when the peer has ended.
        made.stop = lambda: made.callLater(0, made.callLater, 0, stop)
        return made

    def listen(self, reactor: Any, factory: IProtocolFactory) -> IListeningPort:
        port = super().listen(reactor, factory)
        self._address = port.getHost()
        return port

    def connect(self, reactor: Any, factory: Any) -> None:
        connecting = self.endpoints.client(reactor, self._address).connect(factory)
        connecting.addErrback(lambda reason: factory.clientConnectionFailed(None, reason))


class ClientTestsBuilder(
    ClientConformance,
    without(
        StreamClientTestsMixin,
        test_interface="who connects through an endpoint gets a Deferred, no IConnector",
        test_unregisterProducerAfterDisconnect="over version 1 alone: in version 2 the peer's end does not end a "
        "connection that waits for a producer here, for the rest may still be wanted there, see "
        "tests.endpoints.test_stream_ends.ToldEndTests.test_close_with_a_producer",
    ),
):
    pass


class DisconnectTestsBuilder(ClientConformance):
    test_unregisterProducerAfterDisconnect = StreamClientTestsMixin.test_unregisterProducerAfterDisconnect


class WriteSequenceTestsBuilder(
    Conformance,
    without(
        WriteSequenceTestsMixin,
        test_streamingProducer="it sets how much the transport holds to 500 bytes, and is to be paused in the write; "
        "ours holds the small writes of one turn alone, and the transport below tells when it is full, see "
        "tests.endpoints.test_stream_flow.FlowTests.test_push_producer",
        test_nonStreamingProducer="it is to be asked within its call to registerProducer(); ours asks from the next "
        "turn on, as TLS does, see tests.endpoints.test_stream_flow.FlowTests.test_pull_producer",
    ),
):
    def getConnectedClientAndServer(self, reactor: Any, interface: str, addressFamily: object) -> Deferred[Any]:
        made: list[Deferred[Any]] = [Deferred(), Deferred()]
        lost: list[Deferred[Any]] = [Deferred(), Deferred()]

        def ends(of: int) -> Factory:
            class End(AccumulatingProtocol):
                def connectionMade(self) -> None:
                    made[of].callback(self)

                def connectionLost(self, reason: object) -> None:
                    lost[of].callback(None)

            return Factory.forProtocol(End)

        port = self.listen(reactor, ends(1))
        self.endpoints.client(reactor, port.getHost()).connect(ends(0))
        gatherResults(lost).addCallback(lambda _: reactor.stop())
        return gatherResults(made).addCallback(lambda both: (*both, port))


NO_READER = "it looks for the transport among what the reactor reads from: the one below is there"


class TransportTestsBuilder(
    Conformance,
    without(
        test_tcp.TCPConnectionTestsBuilder,
        test_resumeProducing=NO_READER,
        test_resumeProducingWhileDisconnecting=NO_READER,
        test_resumeProducingWhileDisconnected=NO_READER,
    ),
):
    def setUp(self) -> None:
        super().setUp()
        self.patch(test_tcp, "TCPCreator", SodiumCreator)
        self.patch(test_tcp, "TCP4ClientEndpoint", lambda *arguments: over(TCP4ClientEndpoint(*arguments)))

    def buildReactor(self) -> Any:
        made = super().buildReactor()
        listen = made.listenTCP
        # One test listens without an endpoint.
        made.listenTCP = lambda port, factory, *more, **named: listen(
            port,
            factory if isinstance(factory, StreamServerFactory) else StreamServerFactory(factory, SERVER_PAIR, CHECKER),
            *more,
            **named,
        )
        return made


def over_versions(builder: type[ReactorBuilder]) -> dict[str, type[Any]]:
    """Make the test cases of a builder, for each reactor: over the newest version, and with the first also over 1."""
    made: dict[str, type[Any]] = {}
    for name, case in builder.makeTestCaseClasses().items():
        made[name] = (only(2) if made else each_version)(case)
    return made


for _builder in (
    ConnectionTestsBuilder,
    AbortTestsBuilder,
    PortTestsBuilder,
    ClientTestsBuilder,
    WriteSequenceTestsBuilder,
    TransportTestsBuilder,
):
    globals().update(over_versions(_builder))
globals().update({name: only(1)(case) for name, case in DisconnectTestsBuilder.makeTestCaseClasses().items()})


# With the reactor that runs the tests. Twisted's own TCPConnectionTests looks at a transport's TLS attribute, and its
# LogTests at its logstr: both are about how tcp.Connection is made, and not about what an application sees.


class Listening(TestCase):
    """Has a server and a client, each with a protocol that hears of both directions' ends or does not."""

    async def connect(self, server: Any, client: Callable[[], Protocol]) -> Any:
        port = await SodiumCreator().server(reactor).listen(server)
        self.addCleanup(port.stopListening)
        return await connectProtocol(SodiumCreator().client(reactor, port.getHost()), client())


@each_version
class HalfCloseTests(
    without(half_close.HalfCloseTests, testCloseWriteCloser="it looks into the transport for what that holds"),
    Listening,
):
    async def setUp(self) -> None:
        self.f = half_close.MyHCFactory()
        self.p = SimpleNamespace(stopListening=lambda: None)
        self.client = await self.connect(self.f, half_close.MyHCProtocol)

    async def tearDown(self) -> None:
        # A socket whose directions have both ended is to be closed all the same. Ours closes itself then.
        lost = self.client.closedDeferred = Deferred()
        self.client.transport.loseConnection()
        await lost
        self.assertEqual(self.client.closed, 1)


@each_version
class NoNotificationTests(half_close.HalfCloseNoNotificationAndShutdownExceptionTests, Listening):
    async def setUp(self) -> None:
        self.f = half_close.MyServerFactory()
        self.f.protocolConnectionMade = made = Deferred()
        self.p = SimpleNamespace(stopListening=lambda: None)
        self.client = await self.connect(self.f, AccumulatingProtocol)
        await made


@each_version
class BuggyApplicationTests(half_close.HalfCloseBuggyApplicationTests, Listening):
    async def setUp(self) -> None:
        self.serverFactory = half_close.MyHCFactory()
        self.serverFactory.protocolConnectionMade = made = Deferred()
        self.clientProtocol = await self.connect(self.serverFactory, half_close.MyHCProtocol)
        await made


@each_version
class EndpointTests(test_endpoints.TCP4EndpointsTests):
    """Both endpoints, over those of TCP and a reactor that only notes what it is asked for."""

    def createServerEndpoint(self, reactor: Any, factory: Any, **listenArgs: Any) -> Any:
        below, *rest = super().createServerEndpoint(reactor, factory, **listenArgs)
        return SodiumServerEndpoint(below, SERVER_PAIR, CHECKER), *rest

    def createClientEndpoint(self, reactor: Any, clientFactory: Any, **connectArgs: Any) -> Any:
        below, *rest = super().createClientEndpoint(reactor, clientFactory, **connectArgs)
        return over(below), *rest

    def expectedServers(self, reactor: Any) -> list[Any]:
        return [(port, factory.application, *rest) for port, factory, *rest in reactor.tcpServers]

    def retrieveConnectedFactory(self, reactor: Any) -> Any:
        # The test makes the connection through this. Ours has an end there which the server lets in.
        factory = super().retrieveConnectedFactory(reactor)

        def connected(application: object) -> None:
            end = SimpleNamespace(when_authenticated=lambda: succeed(None), application=application)
            factory._onConnection.callback(end)

        return SimpleNamespace(
            clientConnectionFailed=factory.clientConnectionFailed, _onConnection=SimpleNamespace(callback=connected)
        )
