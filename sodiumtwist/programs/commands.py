"""
What the subcommands that talk to a server have in common, and ``ping``.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any, Protocol

from twisted.internet import task
from twisted.internet.defer import CancelledError, Deferred, TimeoutError
from twisted.internet.error import ConnectingCancelledError, ConnectionDone, ConnectionLost
from twisted.internet.interfaces import IStreamClientEndpoint
from twisted.python.failure import Failure
from twisted.python.usage import UsageError

from ..contacts.addresses import has_timeout
from ..core.connection import Code, describe_code
from ..core.errors import (
    AuthenticationFailed,
    ConnectionCut,
    LocalProtocolError,
    NotDone,
    PeerAborted,
    RemoteProtocolError,
    ServerUnavailable,
    TooManyFailures,
)
from ..core.keepalive import Timeouts
from ..describe import describe_bad_endpoint, describe_endpoint_error, describe_tls_error
from ..describe.fingerprints import fingerprint
from ..protocol.client import REFUSES, SodiumClientProtocol
from ..protocol.client_endpoints import client_endpoint
from ..protocol.factories import SodiumClientFactory
from .exits import (
    EXIT_BROKEN,
    EXIT_INTERRUPTED,
    EXIT_NO_ROOM,
    EXIT_NOT_CONNECTED,
    EXIT_REFUSED,
    EXIT_STOPPING,
    EXIT_STORAGE,
    EXIT_TOO_MANY_FAILURES,
    CommandFailed,
)
from .output import print_error, print_line
from .refusals import hints
from .settings import ConnectSettings, PingSettings
from .silent_servers import explain_silence, too_late

#: Seconds without a word of the server, after which a line says so.
PATIENCE = 3.0

#: Seconds for the server to close in order, too, when all is done.
LEAVING = 2.0

#: The status for a reason that a server of version 2 gives, whether it let the client in or not.
STATUS_OF_CODE: dict[int | None, int] = {
    Code.TOO_MANY_FAILURES: EXIT_TOO_MANY_FAILURES,
    Code.NO_ROOM: EXIT_NO_ROOM,
    Code.SHUTTING_DOWN: EXIT_STOPPING,
    Code.STORAGE: EXIT_STORAGE,
}


def make_endpoint(reactor: Any, settings: ConnectSettings) -> IStreamClientEndpoint:
    """
    Make the endpoint to connect to.

    :raises UsageError: when the endpoint string is not understood.
    """
    try:
        return client_endpoint(reactor, settings.endpoint, settings.timeout)
    except Exception as error:
        line = describe_bad_endpoint("--to", settings.endpoint, "HOST:5555", error)
        raise UsageError(line) from None


def _how_long(settings: ConnectSettings) -> str:
    if has_timeout(settings.endpoint):
        return "its timeout= says for how long"
    return f"it may take {settings.timeout:g} seconds in all, or what --timeout says"


@contextmanager
def tell_of_silence(
    reactor: Any, settings: ConnectSettings, client: SodiumClientProtocol, quiet: bool = False
) -> Iterator[None]:
    """
    Say once what is waited for when the server is silent for some seconds. A host that is gone is so for half a minute.

    :param quiet: whether to say nothing.
    """

    def tell() -> None:
        if client.transport is None:
            print_error(f"still trying to connect to {settings.endpoint}; {_how_long(settings)}")
        elif client.message is None:
            print_error(
                f"connected to {settings.endpoint}, and still waiting for a word of the server; {_how_long(settings)}"
            )

    if quiet:
        yield
        return
    telling = reactor.callLater(PATIENCE, tell)
    try:
        yield
    finally:
        if telling.active():
            telling.cancel()


async def connect(
    reactor: Any,
    endpoint: IStreamClientEndpoint,
    settings: ConnectSettings,
    client: SodiumClientProtocol,
    make_factory: Callable[..., SodiumClientFactory] = SodiumClientFactory,
) -> None:
    """
    Connect a protocol to the server. It is not authenticated yet when this returns.

    :param make_factory: makes what ``client`` gets for a factory, from the arguments of a ``SodiumClientFactory``.
    :raises CommandFailed: when there is no connection.
    :raises CancelledError: when this was cancelled.
    """
    us, limit, started = settings.credentials, settings.timeout, reactor.seconds()
    in_string = has_timeout(settings.endpoint)

    def begin() -> SodiumClientProtocol:
        # One time for both: what it took to connect is not left for the server to let us in.
        left = limit if in_string else max(1, math.ceil(limit - (reactor.seconds() - started)))
        factory.timeouts = Timeouts(authentication=left)
        return client

    factory = make_factory(
        settings.server_key,
        us.user,
        us.passphrase,
        begin,
        us.pair,
        clock=reactor,
        version=settings.version,
    )
    try:
        connecting = endpoint.connect(factory)
        # Who writes one into the endpoint string means that one.
        if not in_string:
            connecting.addTimeout(limit, reactor, too_late)
        await connecting
    # Some of Twisted's endpoints have an error of their own for a connect that was cancelled.
    except (CancelledError, ConnectingCancelledError):
        raise CancelledError() from None
    # Each kind of endpoint fails in its own way. All of them mean that there is no connection.
    except Exception as error:
        why = describe_endpoint_error(error)
        raise CommandFailed(EXIT_NOT_CONNECTED, f"cannot connect to {settings.endpoint}: {why}") from None


class ClientEnd(Protocol):
    """
    What of a client's end tells how it ended.

    :ivar message: the server's line, when it has let the client in.
    :ivar stopping: whether the server has said that it is about to stop.
    """

    message: str | None
    stopping: bool


class LeavingEnd(Protocol):
    """
    What of a client's end is needed to leave in order.

    :ivar lost: fires when the connection is gone.
    """

    lost: Deferred[None]

    @property
    def version(self) -> int | None:
        """Of the protocol."""

    def close(self) -> object:
        """Close in order."""


def explain_loss(settings: ConnectSettings, client: ClientEnd, reason: BaseException, done: str) -> CommandFailed:
    """
    Make the exit status and the line for a connection that ended too early.

    :param reason: why it ended.
    :param done: how far it had come, in words.
    """
    why = describe_tls_error(reason) or str(reason) or type(reason).__name__
    # In version 2 the server says why; in version 1 only its log does.
    code = reason.code if isinstance(reason, NotDone) else None
    # The server's hello brings a message, perhaps an empty one. So the server had let us in.
    if client.message is not None:
        if isinstance(reason, PeerAborted):
            why = f"the server says: {reason.text or describe_code(reason.code or 0)}"
        elif client.stopping:
            code, why = Code.SHUTTING_DOWN, "the server is shutting down"
        elif isinstance(reason, (ConnectionDone, ConnectionLost)):
            why = "the server closed the connection or went away, see its log"
        return CommandFailed(STATUS_OF_CODE.get(code, EXIT_BROKEN), f"broken on the way, {done}: {why}")
    # A later try may go well, as with one that finds nobody who listens.
    later = isinstance(reason, (ServerUnavailable, TooManyFailures, ConnectionCut))
    if isinstance(reason, RemoteProtocolError) and not later:
        if silent := explain_silence(reason, settings.version, settings.known_as, settings.server_key):
            why = silent
        elif isinstance(reason, AuthenticationFailed):
            why += "".join(f"; {hint}" for hint in hints(settings.credentials))
        return CommandFailed(EXIT_REFUSED, f"refused by {settings.endpoint}: {why.removeprefix(REFUSES)}")
    why = explain_silence(reason, settings.version, settings.known_as, settings.server_key) or why
    status = STATUS_OF_CODE.get(code, EXIT_NOT_CONNECTED)
    verdict = "cannot connect to" if code is None else "not let in by"
    return CommandFailed(status, f"{verdict} {settings.endpoint}: {why}")


async def abort(client: SodiumClientProtocol, lost: Deferred[None]) -> None:
    """Drop the connection, if there is one, and wait until it is gone."""
    # Without a transport there was no connection, and lost would never fire.
    if client.transport is not None:
        client.abort()
        await lost


async def leave(reactor: Any, client: LeavingEnd) -> None:
    """
    Close in order. In version 2 that takes the server's word, or it would see a connection that was cut.
    """
    closing = client.close()
    if isinstance(closing, Deferred):
        # That it was cut, or given up below, says nothing of what was done. Unheard, it would be logged.
        closing.addErrback(lambda _: None)
    if client.version == 2 and not client.lost.called:
        # All is done: what does not come about now changes nothing.
        with suppress(CancelledError, TimeoutError):
            await client.lost.addTimeout(LEAVING, reactor)


class _Pinger(SodiumClientProtocol):
    stopping = False

    def __init__(self) -> None:
        self.ready: Deferred[None] = Deferred()
        self.lost: Deferred[None] = Deferred()
        self.reason: BaseException | None = None

    def authenticated(self) -> None:
        self.ready.callback(None)

    def drain_received(self) -> None:
        self.stopping = True
        self.close()

    def connection_lost(self, reason: Failure) -> None:
        self.reason = reason.value
        if not self.ready.called:
            self.ready.errback(reason)
        self.lost.callback(None)


async def ping(reactor: Any, settings: PingSettings) -> None:
    """
    Run ``sodiumtwist ping``.

    :raises UsageError: when the endpoint string is not understood.
    :raises CommandFailed: when something did not go well, or this was cancelled.
    :raises OutputLost: when standard output takes nothing. It ends then: nobody sees what it measures.
    """
    endpoint = make_endpoint(reactor, settings)
    client = _Pinger()
    times: list[float] = []
    sent = 0
    failure: CommandFailed | None = None
    try:
        with tell_of_silence(reactor, settings, client):
            await connect(reactor, endpoint, settings, client)
            await client.ready
        print_line(f"PING {settings.endpoint} by protocol version {settings.version}: {client.message or ''}")
        print_line(f"fingerprint {fingerprint(settings.server_key)}")
        for number in range(1, settings.count + 1):
            if number > 1:
                await task.deferLater(reactor, settings.interval)
            pinging = client.ping()
            # Counted before its answer: one that stays without shows in the last line.
            sent += 1
            try:
                times.append(await pinging)
            except LocalProtocolError:
                sent -= 1  # it was too late for it: the connection had ended
                raise
            print_line(f"seq={number} time={times[-1] * 1000:.3f} ms")
    except CancelledError:
        await abort(client, client.lost)
        failure = CommandFailed(EXIT_INTERRUPTED, "interrupted")
    # From connect(), when there is nothing to sum up; and from standard output, which would not take that either.
    except CommandFailed:
        raise
    except Exception as reason:
        # When the connection ends between two PINGs, the next PING fails only with "closed".
        failure = explain_loss(settings, client, client.reason or reason, f"{len(times)} PINGs answered")
    # Who was interrupted may have got no connection.
    if client.transport is not None:
        await leave(reactor, client)
    # All that was measured is told, however it ended.
    if sent:
        line = f"{sent} sent, {len(times)} answered"
        if times:
            low, mean, high = min(times), sum(times) / len(times), max(times)
            line += f", min/avg/max {low * 1000:.3f}/{mean * 1000:.3f}/{high * 1000:.3f} ms"
        print_line(line)
    if failure is not None:
        raise failure
