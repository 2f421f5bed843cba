"""
``sodiumtwist pipe``: what it joins, with a server of ours over loopback, and pipes of the system.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

from twisted.internet import reactor
from twisted.internet.defer import Deferred
from twisted.internet.endpoints import TCP4ClientEndpoint, TCP4ServerEndpoint
from twisted.internet.error import ConnectionDone
from twisted.internet.interfaces import IHalfCloseableProtocol, IListeningPort
from twisted.internet.protocol import Factory, Protocol, connectionDone
from twisted.internet.task import deferLater
from twisted.internet.threads import deferToThread
from twisted.python.failure import Failure
from twisted.trial.unittest import TestCase
from zope.interface import implementer

from sodiumtwist import SingleLogin, SodiumServerEndpoint
from sodiumtwist.programs.exits import CommandFailed
from sodiumtwist.programs.pipe import Pipe, join
from sodiumtwist.programs.settings import ConnectSettings, Credentials
from sodiumtwist.programs.standard_output import FileOutput, Output
from sodiumtwist.transfer.pipes import PipeWriter
from sodiumtwist.transfer.receiver import UploadFactory
from sodiumtwist.transfer.sources import FileSource, PipeSource, Source
from sodiumtwist.transfer.stores import FileStore

from ..pair import LOGIN, PASSPHRASE, SERVER_PAIR
from ..ports import port_number
from ..versions import each_version, only, spoken


@implementer(IHalfCloseableProtocol)
class Service(Protocol):
    """
    What is behind the server. It does what the test says.

    :ivar made: fires when it is connected.
    :ivar ended: fires when all has come.
    :ivar lost: fires with the reason.
    """

    transport: Any

    def __init__(self) -> None:
        self.received = bytearray()
        self.made: Deferred[None] = Deferred()
        self.ended: Deferred[None] = Deferred()
        # The Deferred would take a failure for its own.
        self.lost: Deferred[tuple[Failure]] = Deferred()
        self._wanted: tuple[int, Deferred[None]] | None = None

    def connectionMade(self) -> None:
        self.made.callback(None)

    def want(self, size: int) -> Deferred[None]:
        """Wait until so many bytes have come."""
        self._wanted = size, Deferred()
        self.dataReceived(b"")
        return self._wanted[1]

    def dataReceived(self, data: bytes) -> None:
        self.received += data
        if self._wanted is not None and len(self.received) >= self._wanted[0] and not self._wanted[1].called:
            self._wanted[1].callback(None)

    def readConnectionLost(self) -> None:
        self.ended.callback(None)

    def writeConnectionLost(self) -> None:
        """All has left."""

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self.lost.callback((reason,))

    async def told(self) -> Failure:
        return (await self.lost)[0]


class PipeTestCase(TestCase):
    """Has a service behind a server, and what is joined with it."""

    async def listen(self, make: Callable[[TCP4ServerEndpoint], Deferred[IListeningPort]]) -> None:
        port = await make(TCP4ServerEndpoint(reactor, 0, interface="127.0.0.1"))
        self.addCleanup(port.stopListening)
        self.port = port_number(port)

    async def serve(self) -> Service:
        service = Service()
        self.server: Any = None

        def listen(below: TCP4ServerEndpoint) -> Deferred[IListeningPort]:
            self.server = SodiumServerEndpoint(below, SERVER_PAIR, SingleLogin(LOGIN, PASSPHRASE))
            listening: Deferred[IListeningPort] = self.server.listen(Factory.forProtocol(lambda: service))
            return listening

        await self.listen(listen)
        return service

    def pipes(self) -> tuple[Source, Output]:
        """Make two pipes of the system; the test has their other ends, ``written`` and ``read``."""
        source, self.written = os.pipe()
        self.read, output = os.pipe()
        os.set_blocking(output, False)
        os.set_blocking(self.read, False)
        self.addCleanup(self.close, "written", "read")
        return PipeSource(source, reactor), PipeWriter(output, reactor, None)

    def close(self, *names: str) -> None:
        """Close what is open of the other ends of the pipes."""
        for name in names:
            fd = getattr(self, name)
            if fd >= 0:
                setattr(self, name, -1)
                os.close(fd)

    def join(self, source: Source, output: Output, passphrase: str = PASSPHRASE) -> Deferred[None]:
        settings = ConnectSettings(
            f"tcp:127.0.0.1:{self.port}", SERVER_PAIR.public, Credentials(LOGIN, passphrase, False, None), spoken()
        )
        endpoint = TCP4ClientEndpoint(reactor, "127.0.0.1", self.port)
        self.pipe = Pipe(source, output)
        return Deferred.fromCoroutine(join(reactor, endpoint, settings, self.pipe))

    async def read_on(self, size: int = 1 << 40) -> bytes:
        """Read what is put out, to its end or so many bytes."""
        got = bytearray()
        while len(got) < size:
            try:
                data = os.read(self.read, 1 << 16)
            except BlockingIOError:
                await deferLater(reactor, 0.001)
                continue
            if not data:
                break
            got += data
        return bytes(got)

    async def failed(self, joining: Deferred[None], status: int, says: str) -> None:
        """Check how it ends."""
        failed: Any = await self.assertFailure(joining, CommandFailed)
        self.assertEqual(failed.status, status, failed)
        self.assertRegex(str(failed), says)


@each_version
class PipeTests(PipeTestCase):
    """Both directions, and how they end."""

    async def test_we_end_first(self) -> None:
        """The service gets all and its end, and answers then."""
        service = await self.serve()
        joining = self.join(*self.pipes())
        os.write(self.written, b"question")
        self.close("written")
        await service.ended
        self.assertEqual(service.received, b"question")
        service.transport.write(b"answer")
        service.transport.loseWriteConnection()
        self.assertEqual(await self.read_on(), b"answer")
        await joining
        self.assertIs((await service.told()).type, ConnectionDone)

    async def test_service_ends_first(self) -> None:
        """Who reads sees the end, and goes on to send."""
        service = await self.serve()
        joining = self.join(*self.pipes())
        await service.made
        service.transport.write(b"all")
        service.transport.loseWriteConnection()
        self.assertEqual(await self.read_on(), b"all")
        self.assertFalse(joining.called)
        os.write(self.written, b"thanks")
        self.close("written")
        await service.ended
        self.assertEqual(service.received, b"thanks")
        await joining

    async def test_nothing(self) -> None:
        """Both ends at once, and without a byte."""
        service = await self.serve()
        joining = self.join(FileSource(os.open(os.devnull, os.O_RDONLY)), self.pipes()[1])
        await service.ended
        service.transport.loseConnection()
        await joining
        self.assertEqual(await self.read_on(), b"")

    async def test_much_both_ways(self) -> None:
        """Nothing is lost, and a side that is not read stops the other one."""
        service = await self.serve()
        joining = self.join(*self.pipes())
        await service.made
        data = os.urandom(1 << 20) * 8
        service.transport.write(data)
        service.transport.loseWriteConnection()
        service.transport.pauseProducing()

        def write() -> None:
            for start in range(0, len(data), 1 << 16):
                os.write(self.written, data[start : start + (1 << 16)])

        writing = deferToThread(write)
        # As much as the system holds, and no more, until somebody takes it at either end.
        await self.until_still(lambda: (self.pipe.sent, self.pipe.received))
        self.assertLess(self.pipe.received, 1 << 19)
        self.assertLess(self.pipe.sent, len(data))
        service.transport.resumeProducing()
        self.assertEqual(await self.read_on(), data)
        await writing
        self.close("written")
        await service.ended
        self.assertEqual(service.received, data)
        await joining

    async def until_still(self, count: Callable[[], object]) -> None:
        """Wait until what is counted stays as it is."""
        before: object = None
        while (now := count()) != before:
            before = now
            await deferLater(reactor, 0.05)

    async def test_service_breaks(self) -> None:
        """What came before is put out, and the status is that of a break."""
        service = await self.serve()
        joining = self.join(*self.pipes())
        await service.made
        service.transport.write(b"some")
        service.transport.breakConnection("the disk is on fire")
        why = {1: "the server closed the connection", 2: "the server says: the disk is on fire$"}[spoken()]
        await self.failed(joining, 4, f"broken on the way, 0 B sent, 4 B received: {why}")
        self.assertEqual(await self.read_on(4), b"some")

    async def test_reader_leaves(self) -> None:
        """As with SIGPIPE, there is no line. The service sees a break."""
        service = await self.serve()
        joining = self.join(*self.pipes())
        await service.made
        self.close("read")
        service.transport.write(b"x")
        await self.failed(joining, 141, "^$")
        reason = await service.told()
        self.assertIsNot(reason.type, ConnectionDone)
        if spoken() == 2:
            self.assertIn("standard input or output broke at the client", str(reason.value))

    async def test_full_disk(self) -> None:
        service = await self.serve()
        source, _ = self.pipes()
        joining = self.join(source, FileOutput(os.open("/dev/full", os.O_WRONLY)))
        await service.made
        service.transport.write(b"x")
        await self.failed(joining, 6, "^standard output: No space left on device$")
        self.assertIsNot((await service.told()).type, ConnectionDone)

    async def test_source_breaks(self) -> None:
        """What can't be read on must not look whole."""
        service = await self.serve()
        source, output = self.pipes()
        joining = self.join(source, output)
        os.write(self.written, b"some")
        await service.want(4)
        self.pipe._source_ended(OSError(5, "Input/output error"))
        await self.failed(joining, 4, "^cannot read on in standard input: Input/output error; 4 B sent, 0 B received$")
        self.assertIsNot((await service.told()).type, ConnectionDone)

    async def test_interrupted(self) -> None:
        """The service sees a break, behind what was sent."""
        service = await self.serve()
        joining = self.join(*self.pipes())
        os.write(self.written, b"some")
        await service.want(4)
        joining.cancel()
        await self.failed(joining, 130, "^interrupted, 4 B sent, 0 B received$")
        reason = await service.told()
        self.assertIsNot(reason.type, ConnectionDone)
        if spoken() == 2:
            self.assertIn("the client was interrupted", str(reason.value))

    async def test_interrupted_when_the_writer_has_left(self) -> None:
        """So ssh ends it. What was written last gets through; but it may be a whole pipeline that ends."""
        service = await self.serve()
        joining = self.join(*self.pipes())
        os.write(self.written, b"hello ")
        await service.want(6)
        os.write(self.written, b"bye")
        self.close("written")
        joining.cancel()
        await self.failed(joining, 130, "^interrupted, 9 B sent, 0 B received$")
        reason = await service.told()
        self.assertIsNot(reason.type, ConnectionDone)
        if spoken() == 2:
            self.assertIn("the program that the client was for has left", str(reason.value))
        self.assertEqual(service.received, b"hello bye")
        self.assertFalse(service.ended.called)

    async def test_refused(self) -> None:
        await self.serve()
        await self.failed(self.join(*self.pipes(), passphrase="wrong"), 3, "refused by tcp:127.0.0.1:.* passphrase")

    async def test_nobody_listens(self) -> None:
        port = await TCP4ServerEndpoint(reactor, 0, interface="127.0.0.1").listen(Factory())
        self.port = port_number(port)
        await port.stopListening()
        await self.failed(self.join(*self.pipes()), 2, "cannot connect to tcp:127.0.0.1:.*nothing listens there")

    async def test_interrupted_before(self) -> None:
        """Nobody has let us in yet."""
        await self.serve()
        joining = self.join(*self.pipes())
        joining.cancel()
        await self.failed(joining, 130, "^interrupted, 0 B sent, 0 B received$")

    @only(2)
    async def test_server_stops(self) -> None:
        service = await self.serve()
        joining = self.join(*self.pipes())
        await service.made
        draining = self.server.drain(0.05)
        await self.failed(joining, 9, "broken on the way, .*: the server says: the server is stopping")
        await service.told()
        await draining

    async def test_takes_files(self) -> None:
        """A server that stores what is sent, or keeps nothing: it is said what that is for."""
        path = self.mktemp()
        uploads = UploadFactory(FileStore(path), SERVER_PAIR, SingleLogin(LOGIN, PASSPHRASE))
        await self.listen(lambda below: below.listen(uploads))
        joining = self.join(*self.pipes())
        os.write(self.written, b"some")
        await self.failed(joining, 3, "it takes files, and hands no streams on; sodiumtwist send, get and list are for")
        self.assertFalse(os.path.exists(path))
