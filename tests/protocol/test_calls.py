"""
Every public call of every end, in every stage of its life: it works, or says what is wrong. What is public is found by
looking, so a call that is new is tried as well.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator
from typing import Any, cast

from twisted.internet.defer import Deferred
from twisted.internet.error import ConnectionDone, ConnectionLost
from twisted.internet.interfaces import IHalfCloseableProtocol, IPushProducer
from twisted.internet.protocol import Factory, Protocol
from twisted.internet.ssl import CertificateOptions
from twisted.internet.task import Clock
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase
from zope.interface import implementer

from sodiumtwist import (
    Limits,
    LocalProtocolError,
    NotDone,
    RekeyAfter,
    RequestClient,
    SingleLogin,
    SodiumClientFactory,
    SodiumClientProtocol,
    SodiumServerFactory,
    SodiumServerProtocol,
    Timeouts,
)
from sodiumtwist.endpoints.streams import (
    ClientStream,
    ServerStream,
    StreamClientFactory,
    StreamEnd,
    StreamServerFactory,
)
from sodiumtwist.endpoints.transport import SodiumTransport
from sodiumtwist.protocol.base import SodiumProtocol
from sodiumtwist.protocol.lifecycle import Stage
from sodiumtwist.protocol.requests import Responder
from sodiumtwist.transfer.receiver import UploadFactory, UploadReceiver
from sodiumtwist.transfer.sender import UploadSender
from sodiumtwist.transfer.sources import Source, open_source

from ..checkers import LateChecker
from ..pair import LOGIN, PASSPHRASE, SERVER_PAIR, build, make_client_factory, make_server_factory
from ..uploads import ListSource, MemoryStore
from ..versions import each_version, spoken
from .lives import HalfClosingTransport, LivingPair, LivingTransport

#: What transports call, with what they alone know.
OF_TRANSPORTS = {"connectionMade", "dataReceived", "connectionLost"}

#: What applications override, and our own ends with them. We call them, each in its one stage.
HOOKS = {"authenticated", "payload_received", "connection_lost", "end_received", "drain_received"}

#: What a stream's end and its transport ask of each other.
BETWEEN_THEM = {"carried_by", "carry", "later", "producer_failed", "received_by", "start_tls"}

#: What a session about files asks of its end.
OF_SESSIONS = {"break_off", "files_changed", "files_failed", "files_over", "files_counted"}

#: With what a parameter without a default is called, by its annotation.
SAMPLES: dict[str, Callable[[], object]] = {
    "Any": lambda: CertificateOptions(),
    "AuthorizedKeys | AuthorizedKeysFile | None": lambda: None,
    "BaseException": lambda: LocalProtocolError("it has to end"),
    "bool": lambda: True,
    "bytes": lambda: b"x",
    "Buffer": lambda: b"x",
    "float": lambda: 0.0,
    "ICredentialsChecker | Portal | None": lambda: SingleLogin("ann", "secret"),
    "int": lambda: 1,
    "IProducer": lambda: Producer(),
    "Iterable[bytes]": lambda: [b"x", b"y"],
    "KeyPair": lambda: SERVER_PAIR,
    "Limits": lambda: Limits(),
    "RekeyAfter": lambda: RekeyAfter(),
    "str": lambda: "x",
    "Timeouts": lambda: Timeouts(),
}

#: What needs a peer that listens. It says so when there is none yet, or none any more.
SENDS = {"send_data", "write", "ping", "request", "ready"}

#: Works also where there is no connection yet.
WORKS_UNMADE = {"when_authenticated", "stop_checking", "give_up", "logPrefix", "when_lost", "when_retired"}

#: From these on nothing can be sent.
OVER = {Stage.DELIVERING, Stage.LINGERING, Stage.LEAVING, Stage.CUT, Stage.GONE}


@implementer(IPushProducer)
class Producer:
    def resumeProducing(self) -> None:
        pass

    pauseProducing = stopProducing = resumeProducing


@implementer(IHalfCloseableProtocol)
class Application(Protocol):
    """Of a stream."""

    def readConnectionLost(self) -> None:
        pass

    writeConnectionLost = readConnectionLost


def calls_of(kind: type) -> list[str]:
    """Name the public methods of a class that are ours."""
    names = []
    for name in sorted(dir(kind)):
        owner = next(base for base in kind.__mro__ if name in vars(base))
        ours = owner.__module__.startswith("sodiumtwist.")
        if ours and not name.startswith("_") and inspect.isfunction(vars(owner)[name]):
            names.append(name)
    return names


class Scene:
    """
    Two ends, of which one is to be called.

    :ivar end: that one.
    """

    def __init__(self, kind: type[SodiumProtocol], stage: Stage) -> None:
        self.clock = Clock()
        self.late = LateChecker() if stage is Stage.ADMITTING else None
        is_server = issubclass(kind, SodiumServerProtocol)
        application = Factory.forProtocol(Application)
        if kind is ServerStream:
            server_factory: SodiumServerFactory = StreamServerFactory(
                application, SERVER_PAIR, self.late or make_server_factory(self.clock).checker, clock=self.clock
            )
        elif kind is UploadReceiver:
            checker = self.late or make_server_factory(self.clock).checker
            server_factory = UploadFactory(MemoryStore(), SERVER_PAIR, checker, clock=self.clock)
        elif kind is Responder:
            checker = self.late or make_server_factory(self.clock).checker
            server_factory = SodiumServerFactory(SERVER_PAIR, checker, lambda peer, payload: payload, clock=self.clock)
        else:
            protocol = cast(Any, kind) if is_server else SodiumServerProtocol
            server_factory = make_server_factory(self.clock, protocol, self.late)
        if kind is ClientStream:
            client_factory: SodiumClientFactory = StreamClientFactory(
                application, SERVER_PAIR.public, LOGIN, PASSPHRASE, clock=self.clock
            )
        else:
            make = cast(Any, kind) if not is_server else SodiumClientProtocol
            client_factory = make_client_factory(
                self.clock, (lambda: UploadSender(ListSource([]))) if make is UploadSender else make
            )
        self.factory = server_factory
        server, client = build(server_factory, SodiumProtocol), build(client_factory, SodiumProtocol)
        if isinstance(client, UploadSender):
            client.finished.addErrback(lambda reason: None)
        self.end, self.other = (server, client) if is_server else (client, server)
        if stage is Stage.UNMADE:
            return
        half_closes = stage is Stage.LINGERING
        transport = HalfClosingTransport if half_closes else LivingTransport
        self.pair: Any = LivingPair(cast(Any, server), cast(Any, client), transport)
        self.transport: LivingTransport = self.pair.server_transport if is_server else self.pair.client_transport
        if stage is not Stage.HANDSHAKE:
            self.pair.flush()
            self.clock.advance(0)  # a stream reads on in the next turn
            self.pair.flush()
            getattr(self, stage.name.lower(), lambda: None)()
        assert self.end._lifecycle.stage is stage, (kind, self.end._lifecycle.stage, stage)

    def delivering(self) -> None:
        for _ in range(2):  # the first fills the transport
            SodiumProtocol.write(self.end, bytes(1000))
        SodiumProtocol._close(self.end, None)

    def lingering(self) -> None:
        SodiumProtocol._close(self.end, None)

    def ending(self) -> None:
        # The other one never says its end.
        self.other.end_received = lambda: None  # type: ignore[method-assign]
        if isinstance(self.end, StreamEnd):
            self.end._stream.loseConnection()
        else:
            SodiumProtocol.close(self.end)

    leaving = lingering

    def held(self) -> None:
        self.end.pauseProducing()
        self.other.send_data(b"x")
        self.pair.flush()
        self.transport.lose(ConnectionDone())

    def cut(self) -> None:
        self.end.abort()

    def gone(self) -> None:
        self.end.abort()
        self.transport.lose(ConnectionLost())

    def finish(self) -> None:
        """Let happen what follows from a call, and end it."""
        if self.end._lifecycle.stage is Stage.UNMADE:
            return
        for _ in range(3):
            self.clock.advance(0)
            self.pair.flush()
        for transport in (self.pair.server_transport, self.pair.client_transport):
            if not transport.disconnected:
                transport.lose(ConnectionLost())
        # An application that has paused is told when it goes on.
        self.end.resumeProducing()
        self.clock.advance(0)
        assert self.end._lifecycle.stage is Stage.GONE
        self.factory.admission.stop()


class CallsTestCase(SynchronousTestCase):
    def arguments(self, call: Callable[..., object]) -> list[object]:
        """Make arguments for a call."""
        made = []
        for parameter in inspect.signature(call).parameters.values():
            if parameter.default is parameter.empty:
                self.assertIn(parameter.annotation, SAMPLES, f"{call}: say in SAMPLES what its {parameter} may be")
                made.append(SAMPLES[parameter.annotation]())
        return made

    def outcome(self, call: Callable[..., object]) -> str:
        """Call it, and tell what comes of it: it works, or explains why not; anything else is an error."""
        reasons: list[Failure] = []
        try:
            result = call(*self.arguments(call))
            if isinstance(result, Deferred):
                result.addErrback(reasons.append)
            return self.told(reasons[0].value) if reasons else "works"
        except LocalProtocolError as error:
            return self.told(error)

    def told(self, error: BaseException | None) -> str:
        # A Deferred also tells why a connection has ended.
        self.assertIsInstance(error, (LocalProtocolError, NotDone, ConnectionDone, ConnectionLost))
        self.assertRegex(str(error), "[a-z]{3}")
        return "explains"


@each_version
class CallsTests(CallsTestCase):
    """Those of the ends."""

    kinds: tuple[type[SodiumProtocol], ...] = (
        SodiumServerProtocol,
        SodiumClientProtocol,
        Responder,
        RequestClient,
        UploadReceiver,
        UploadSender,
        ServerStream,
        ClientStream,
    )

    def stages(self, kind: type[SodiumProtocol]) -> Iterator[Stage]:
        for stage in Stage:
            if stage is Stage.ADMITTING and not issubclass(kind, SodiumServerProtocol):
                continue
            # It goes on by itself when its client has left, for no answer can be sent any more.
            if stage is Stage.HELD and kind is Responder:
                continue
            if stage is Stage.ENDING and spoken() == 1:
                continue
            yield stage

    def expected(self, kind: type[SodiumProtocol], name: str, stage: Stage) -> str:
        is_server = issubclass(kind, SodiumServerProtocol)
        before = {Stage.HANDSHAKE, Stage.ADMITTING}
        if kind is Responder and name in ("request", "ready") and spoken() == 1:
            return "explains"  # a server asks nothing
        if kind is UploadReceiver and name in ("request", "ready"):
            return "explains"  # nothing is asked but about files
        if stage is Stage.ENDING and name in SENDS - {"ready"}:
            return "explains"
        if stage is Stage.UNMADE:
            return "works" if name in WORKS_UNMADE else "explains"
        if name in SENDS:
            return "explains" if stage in OVER or (is_server and stage in before) else "works"
        if name == "when_authenticated":
            return "explains" if stage is Stage.GONE else "works"
        if name in ("write_stream", "write_now", "end_stream"):
            return "explains" if stage in before else "works"
        return "works"

    def test_all(self) -> None:
        for kind in self.kinds:
            names = set(calls_of(kind)) - OF_TRANSPORTS - HOOKS - BETWEEN_THEM - OF_SESSIONS
            if kind is UploadSender:
                names.remove("registerProducer")  # it has one of its own, and there is no room for two
            self.assertTrue(names >= {"send_data", "write", "ping", "close", "abort", "pauseProducing"})
            for stage in self.stages(kind):
                for name in sorted(names):
                    scene = Scene(kind, stage)
                    outcome = self.outcome(getattr(scene.end, name))
                    self.assertEqual(outcome, self.expected(kind, name, stage), (kind.__name__, name, stage))
                    scene.finish()
                    self.assertEqual(self.flushLoggedErrors(), [], (kind.__name__, name, stage))

    def test_transports_of_streams(self) -> None:
        """What an application's protocol calls."""
        for kind in (ServerStream, ClientStream):
            for stage in self.stages(kind):
                for name in sorted(set(calls_of(SodiumTransport)) - BETWEEN_THEM):
                    scene = Scene(kind, stage)
                    outcome = self.outcome(getattr(cast(Any, scene.end)._stream, name))
                    about_stream = name.startswith(("write", "loseW", "loseC", "startTLS", "stopConsuming"))
                    early = stage in (Stage.HANDSHAKE, Stage.ADMITTING) and about_stream
                    explains = early or (stage is Stage.UNMADE and name != "logPrefix")
                    self.assertEqual(outcome, "explains" if explains else "works", (kind.__name__, name, stage))
                    scene.finish()
                    self.assertEqual(self.flushLoggedErrors(), [], (kind.__name__, name, stage))

    def test_hooks_and_transports(self) -> None:
        """What is left out above is what the documentation calls hooks, and what Twisted's transports call."""
        doing_nothing = {name for name in HOOKS if vars(SodiumProtocol)[name]}
        self.assertEqual(doing_nothing, HOOKS)
        self.assertTrue(set(vars(Protocol)) | {"connectionMade"} >= OF_TRANSPORTS)


class FactoryTests(CallsTestCase):
    """Those of factories: before they listen, while they do, and when they no longer do."""

    def test_all(self) -> None:
        clock, application = Clock(), Factory.forProtocol(Application)
        checker = make_server_factory(clock).checker
        makes: tuple[Callable[[], Any], ...] = (
            lambda: make_server_factory(clock),
            lambda: make_client_factory(clock),
            lambda: StreamServerFactory(application, SERVER_PAIR, checker, clock=clock),
            lambda: StreamClientFactory(application, SERVER_PAIR.public, clock=clock),
            lambda: UploadFactory(MemoryStore(), SERVER_PAIR, checker, clock=clock),
        )
        for make in makes:
            for before in ((), ("doStart",), ("doStart", "doStop")):
                for name in calls_of(type(make())):
                    factory = make()
                    for step in before:
                        getattr(factory, step)()
                    self.assertEqual(self.outcome(getattr(factory, name)), "works", (factory, name, before))
                    while factory.numPorts:
                        factory.doStop()


class WithoutFactoryTests(CallsTestCase):
    """Those of ends that nobody has made a connection for, nor a factory."""

    def test_all(self) -> None:
        for kind in (SodiumClientProtocol, SodiumServerProtocol):
            for name, arguments in (
                ("abort", ()),
                ("close", ()),
                ("pauseProducing", ()),
                ("registerProducer", (Producer(), True)),
                ("resumeProducing", ()),
                ("send_data", (b"",)),
            ):
                with self.subTest(kind=kind, name=name):
                    self.assertRaises(LocalProtocolError, getattr(kind(), name), *arguments)


class SourceTests(CallsTestCase):
    """Those of what is sent."""

    def test_all(self) -> None:
        for path in ("/dev/null", __file__):
            for closed in (False, True):
                for name in calls_of(Source):
                    source = open_source(path, cast(Any, None))
                    if closed:
                        source.close()
                    explains = name == "resume"
                    if name == "start":
                        source.start(lambda data: None, lambda error: None)
                    else:
                        self.assertEqual(self.outcome(getattr(source, name)), "explains" if explains else "works")
                    source.close()

    def test_closed(self) -> None:
        """Nothing is read, and nobody is told of it."""
        told: list[object] = []
        source = open_source(__file__, cast(Any, None))
        source.start(told.append, told.append)
        source.close()
        source.resume()
        self.assertEqual(told, [])
