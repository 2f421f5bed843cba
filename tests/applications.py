"""
Applications on encrypted streams, both ends in memory.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from twisted.internet.interfaces import IAddress, IHalfCloseableProtocol, IPushProducer
from twisted.internet.protocol import Factory, Protocol, connectionDone
from twisted.internet.task import Clock
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase
from zope.interface import implementer

from sodiumtwist import IDrainable, ISodiumTransport, SingleLogin, Timeouts
from sodiumtwist.endpoints.streams import ClientStream, ServerStream, StreamClientFactory, StreamServerFactory

from .pair import CLIENT_PAIR, LOGIN, PASSPHRASE, SERVER_PAIR, Pair
from .versions import spoken


class Application(Protocol):
    """Records what it receives, and the reason of its end."""

    transport: ISodiumTransport

    def __init__(self) -> None:
        self.received = b""
        self.reason: Failure | None = None

    def dataReceived(self, data: bytes) -> None:
        self.received += data

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        assert self.reason is None
        self.reason = reason

    @property
    def why(self) -> type[BaseException] | None:
        """The type of the reason of its end; ``None`` as long as it lives."""
        return None if self.reason is None else self.reason.type


@implementer(IHalfCloseableProtocol)
class HalfCloseable(Application):
    """Goes on when one direction has ended, and records which."""

    read_ended = write_ended = False

    def readConnectionLost(self) -> None:
        self.read_ended = True

    def writeConnectionLost(self) -> None:
        self.write_ended = True


@implementer(IDrainable)
class Drainable(Application):
    """Counts how often it has heard that its peer is about to stop."""

    drains = 0

    def drain_received(self) -> None:
        self.drains += 1


class Applications(Factory):
    """
    Builds applications.

    :ivar built: the applications so far.
    """

    noisy = False

    def __init__(self, make: Callable[[], Application | None] = Application) -> None:
        self._make = make
        self.built: list[Application] = []

    def buildProtocol(self, address: IAddress | None) -> Application | None:
        application = self._make()
        if application is not None:
            self.built.append(application)
        return application


@implementer(IPushProducer)
class Producer:
    def __init__(self) -> None:
        self.calls: list[str] = []

    def pauseProducing(self) -> None:
        self.calls.append("pause")

    def resumeProducing(self) -> None:
        self.calls.append("resume")

    def stopProducing(self) -> None:
        self.calls.append("stop")


class StreamTestCase(SynchronousTestCase):
    def start(
        self,
        server: Callable[[], Application | None] = Application,
        client: Callable[[], Application | None] = Application,
        passphrase: str = PASSPHRASE,
        timeouts: Timeouts | None = None,
    ) -> None:
        """Connect two applications."""
        self.clock = Clock()
        self.servers, self.clients = Applications(server), Applications(client)
        checker = SingleLogin(LOGIN, PASSPHRASE)
        self.pair: Pair[ServerStream, ClientStream] = Pair(
            StreamServerFactory(self.servers, SERVER_PAIR, checker, clock=self.clock, timeouts=timeouts),
            StreamClientFactory(
                self.clients,
                SERVER_PAIR.public,
                LOGIN,
                passphrase,
                pair=CLIENT_PAIR,
                version=spoken(),
                clock=self.clock,
                timeouts=timeouts,
            ),
        )
        self.ready = self.pair.client.when_authenticated()
        self.pair.flush()
        if self.servers.built and self.clients.built:
            (self.server,), (self.client,) = self.servers.built, self.clients.built

    @property
    def overhead(self) -> int:
        """How many bytes the client's end puts on the wire beyond the payload of one DATA that leaves alone."""
        connection: Any = self.pair.client._connection
        sealer = getattr(connection._records, "_sealer", None)
        return connection.overhead + (0 if sealer is None else sealer.overhead)  # type: ignore[no-any-return]

    def flush(self) -> None:
        """Let everything arrive that waits to be sent."""
        self.clock.advance(0)
        self.pair.flush()
