"""
``pipe``: standard input and output, joined with the stream of a server that forwards.

Each direction ends by itself, and an end in order stays apart from a break, as in :mod:`sodiumtwist.tunnel`: what is
cut off at one side must not look whole at the other.
"""

from __future__ import annotations

from contextlib import suppress
from functools import partial
from typing import Any

from twisted.internet.defer import CancelledError, Deferred, TimeoutError
from twisted.internet.error import ConnectionDone
from twisted.internet.interfaces import IHalfCloseableProtocol, IPushProducer, IStreamClientEndpoint
from twisted.internet.protocol import Factory, Protocol, connectionDone
from twisted.python.failure import Failure
from zope.interface import implementer

from ..core.connection import Code
from ..core.errors import PeerAborted, SodiumError
from ..describe import describe_size
from ..endpoints.streams import ClientStream, StreamClientFactory
from ..interfaces import IReadListener
from ..transfer.acknowledgements import is_acknowledgement
from ..transfer.pipes import has_left
from ..transfer.sources import Source, open_source
from .commands import LEAVING, abort, connect, explain_loss, make_endpoint, tell_of_silence
from .exits import EXIT_BROKEN, EXIT_INTERRUPTED, EXIT_REFUSED, EXIT_USAGE, CommandFailed
from .output import OutputLost
from .settings import ConnectSettings
from .standard_output import Output, StreamOutput


class TakesFiles(Exception):
    """The server stores what is sent, and hands nothing on."""


class PipeStream(ClientStream):
    """
    The client's end.

    :ivar lost: fires when the connection is gone.
    :ivar stopping: whether the server has said that it is about to stop.
    """

    stopping = False

    def __init__(self) -> None:
        super().__init__()
        self.lost: Deferred[None] = Deferred()

    def drain_received(self) -> None:
        self.stopping = True
        super().drain_received()

    def connection_lost(self, reason: Failure) -> None:
        super().connection_lost(reason)
        self.lost.callback(None)


#: What is said of a server that knows no streams.
_TAKES_FILES = "it takes files, and hands no streams on; sodiumtwist send, get and list are for it"

#: With what a server breaks off that was sent a stream and takes none.
_NO_STREAMS = (Code.NOT_SUPPORTED, Code.STORAGE)

#: What the server is told when it stores files, and we have a stream.
_NO_FILE = "the client has a stream for a service, and no file"

#: What the server is told when standard input or output fails, and when somebody ends this.
BROKEN_HERE = "standard input or output broke at the client"
INTERRUPTED = "the client was interrupted"
#: The same, where what it was for had gone before.
LEFT = "the program that the client was for has left"


@implementer(IHalfCloseableProtocol, IReadListener, IPushProducer)
class Pipe(Protocol):
    """
    What the stream is joined with. Each side is read no faster than the other takes it.

    :param source: what is sent.
    :param output: what takes what is received.
    :ivar over: fires when both directions have ended in order, and all that came is written. Fails with a
        ``CommandFailed`` of this side, with ``TakesFiles``, or with why the connection was lost.
    :ivar sent: how many bytes were read from the source.
    :ivar received: how many bytes were given to the output.
    """

    transport: Any

    def __init__(self, source: Source, output: Output) -> None:
        self.over: Deferred[None] = Deferred()
        self.sent = self.received = 0
        self._source = source
        self._output = output
        self._gathered: list[bytes] = []
        self._writing = False
        self._all_received = False
        self._all_read = False
        self._nothing_yet = True
        self._interrupted = False
        self._failed: CommandFailed | TakesFiles | None = None
        self._lost: Failure | None = None

    def connectionMade(self) -> None:
        """Begin to read."""
        self._source.start(self._send, self._source_ended)
        self.transport.registerProducer(self, True)
        self._source.resume()

    # What is sent

    def _send(self, data: bytes) -> None:
        self.sent += len(data)
        self.transport.write_now(data)

    def _source_ended(self, error: OSError | None) -> None:
        self._all_read = True
        self._source.close()
        if self._interrupted:
            # What ended this may have ended the writer before. So it may not be all.
            self.transport.breakConnection(LEFT)
        elif error is None:
            self.transport.unregisterProducer()
            self.transport.loseWriteConnection()
        else:
            why = error.strerror or str(error)
            self._fail(CommandFailed(EXIT_BROKEN, f"cannot read on in standard input: {why}; {self.so_far()}"))

    def pauseProducing(self) -> None:
        self._source.pause()

    def resumeProducing(self) -> None:
        self._source.resume()

    def stopProducing(self) -> None:
        self._source.pause()

    # What is received

    def dataReceived(self, data: bytes) -> None:
        """Keep it until all has come that comes together."""
        if self._nothing_yet:
            self._nothing_yet = False
            # A service that begins with this is none.
            if is_acknowledgement(data):
                if self.transport.peer.version == 1:
                    self.transport.abortConnection()  # in order, it would be the end of an upload
                else:
                    self.transport.breakConnection(_NO_FILE)
                self._fail(TakesFiles())
                return
        if self._failed is None:
            self._gathered.append(data)

    def read_over(self) -> None:
        """Write what has come."""
        if not self._gathered or self._writing or self._failed is not None:
            return
        data = b"".join(self._gathered)
        self._gathered.clear()
        self.received += len(data)
        self._writing = True
        self._output.write(data).addCallbacks(self._written, self._not_written)
        if self._writing and self._lost is None:
            self.transport.pauseProducing()

    def _written(self, result: None) -> None:
        self._writing = False
        if self._lost is None:
            self.transport.resumeProducing()
        self._go_on()

    def _not_written(self, reason: Failure) -> None:
        self._writing = False
        error = reason.value
        assert isinstance(error, OSError)
        self._fail(OutputLost(error))
        self._go_on()

    def readConnectionLost(self) -> None:
        """The server sends no more."""
        self._all_received = True
        self._go_on()

    def _go_on(self) -> None:
        self.read_over()
        if self._writing:
            return
        if self._all_received and self._failed is None:
            self._all_received = False
            try:
                self._output.close()
            except OSError as error:
                self._fail(OutputLost(error))
        if self._lost is not None:
            self._end(self._lost)

    def writeConnectionLost(self) -> None:
        """All is sent."""

    # Both

    def so_far(self) -> str:
        """Tell how much has passed."""
        return f"{describe_size(self.sent)} sent, {describe_size(self.received)} received"

    def _fail(self, failed: CommandFailed | TakesFiles) -> None:
        """Break the connection: what came through is not all."""
        if self._failed is None:
            self._failed = failed
            self._source.close()
            self._gathered.clear()
            if self._lost is None:
                if not self.transport.disconnecting:
                    self.transport.breakConnection(BROKEN_HERE)
                self.over.errback(failed)

    def close(self) -> None:
        """Read nothing more."""
        self._source.close()

    def interrupt(self) -> None:
        """
        Break the connection behind what was sent. Where the writer of a pipe has left, that is all that it has written.
        """
        self._interrupted = True
        if not self.connected:
            return
        if not self._all_read and self._source.is_left():
            self._source.resume()
        elif self._lost is None:
            self._source.close()
            self.transport.breakConnection(INTERRUPTED)

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """Write what has come, then tell how it ended."""
        self._source.close()
        self._lost = reason
        self._go_on()

    def _end(self, reason: Failure) -> None:
        if self.over.called:
            return
        if self._failed is not None:
            self.over.errback(self._failed)
        elif reason.check(ConnectionDone):
            self.over.callback(None)
        else:
            self.over.errback(reason)


async def _leave(reactor: Any, end: PipeStream) -> None:
    """Wait until the server was told why the connection breaks, if there is one and it listens."""
    if end.transport is not None and not end.lost.called:
        with suppress(CancelledError, TimeoutError):
            await end.lost.addTimeout(LEAVING, reactor)
        end.abort()


async def pipe(reactor: Any, settings: ConnectSettings) -> None:
    """
    Run ``sodiumtwist pipe``.

    :raises UsageError: when the endpoint string is not understood.
    :raises CommandFailed: when something did not go well, or this was cancelled.
    """
    endpoint = make_endpoint(reactor, settings)
    try:
        output = StreamOutput(reactor)
    except OSError as error:
        raise OutputLost(error) from None
    try:
        source = open_source("-", reactor)
    except OSError as error:
        raise CommandFailed(EXIT_USAGE, f"cannot read standard input: {error.strerror or error}") from None
    joined = Pipe(source, output)
    try:
        await join(reactor, endpoint, settings, joined)
    except CommandFailed as failed:
        # ssh ends what it runs as its ProxyCommand by a signal, at the end of each session. Nobody wants to know.
        if failed.status == EXIT_INTERRUPTED and has_left(0) and output.is_over():
            raise CommandFailed(EXIT_INTERRUPTED, "") from None
        raise


async def join(reactor: Any, endpoint: IStreamClientEndpoint, settings: ConnectSettings, joined: Pipe) -> None:
    """
    Connect, join, and wait for the end.

    :raises CommandFailed: when something did not go well, or this was cancelled.
    """
    end = PipeStream()
    application = Factory.forProtocol(lambda: joined)
    application.noisy = False
    try:
        with tell_of_silence(reactor, settings, end):
            await connect(reactor, endpoint, settings, end, partial(StreamClientFactory, application))
            await end.when_authenticated()
        await joined.over
    except CancelledError:
        if end.message is None:
            await abort(end, end.lost)
        joined.interrupt()
        await _leave(reactor, end)
        raise CommandFailed(EXIT_INTERRUPTED, f"interrupted, {joined.so_far()}") from None
    except CommandFailed:
        await _leave(reactor, end)
        raise
    except Exception as error:
        reason = error.__cause__ if isinstance(error.__cause__, SodiumError) else error
        if isinstance(reason, PeerAborted) and reason.code in _NO_STREAMS and not joined.received:
            reason = TakesFiles()
        if isinstance(reason, TakesFiles):
            await _leave(reactor, end)
            raise CommandFailed(EXIT_REFUSED, f"refused by {settings.endpoint}: {_TAKES_FILES}") from None
        raise explain_loss(settings, end, reason, joined.so_far()) from None
    finally:
        joined.close()
