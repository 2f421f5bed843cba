"""
The site of ``--metrics``: what Prometheus scrapes, what balancers ask, and a page for a browser.

It is for those who run the service. So it is small on purpose: it is only read, has few connections at once, each for a
short time, and the page is shown only to browsers that ask for it by an address or a name of this machine. Else any
page on the web could have a browser read it, by a name of its own that leads here (DNS rebinding).
"""

from __future__ import annotations

import socket
import time
from collections.abc import Callable, Collection
from ipaddress import ip_address
from typing import Any

from twisted.internet.defer import Deferred, maybeDeferred
from twisted.internet.interfaces import IAddress, IDelayedCall, IReactorTime
from twisted.internet.protocol import connectionDone
from twisted.protocols.policies import ProtocolWrapper, WrappingFactory
from twisted.python.failure import Failure
from twisted.web.resource import IResource, Resource
from twisted.web.server import NOT_DONE_YET, Request, Site
from twisted.web.template import flattenString

from ..describe.log import Logger
from .exposition import registry_of
from .page import Page
from .recent import Recent
from .status import Health, IStatus
from .values import Value

#: Seconds that a connection may take from its begin to its end.
SITE_SECONDS = 30.0

#: Seconds for which it may be silent.
SITE_IDLE_SECONDS = 10

#: Seconds that the service may take to tell what it is asked.
STATUS_SECONDS = 10.0

#: What every answer says. The page has its style in itself, and loads and runs nothing.
HEADERS = {
    b"Content-Security-Policy": b"default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'; "
    b"frame-ancestors 'none'",
    b"X-Content-Type-Options": b"nosniff",
    b"Referrer-Policy": b"no-referrer",
    b"Cache-Control": b"no-store",
    # Who comes again makes a new connection: so none lasts long.
    b"Connection": b"close",
}


def is_name_of_ours(host: str, names: Collection[str]) -> bool:
    """
    Tell whether a browser was led here by an address, or by a name that leads nowhere else.

    :param host: what its request has as ``Host``, with or without a port; empty where there is none, which no browser
        sends.
    :param names: of this machine, in small letters.
    """
    name = host.rsplit(":", 1)[0] if host.count(":") == 1 or "]:" in host else host
    try:
        ip_address(name.removeprefix("[").removesuffix("]"))
    except ValueError:
        return name.lower().rstrip(".") in ("", "localhost", *names)
    return True


class _Asking(Resource):
    """
    Asks a status, and answers when it has told.

    :param status: it.
    :param clock: tells how long it may take.
    """

    _log = Logger()

    def __init__(self, status: IStatus, clock: IReactorTime) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.status = status
        self.clock = clock
        # A scrape and a page take time, which those who come for them together are not to take from everybody.
        self._recent: Recent[Any] = Recent(self._ask_and_log, STATUS_SECONDS, clock)

    def _ask_and_log(self) -> Deferred[Any]:
        def failed(reason: Failure) -> Failure:
            self._log.failure("what --metrics tells could not be told", reason, event="status_failed")
            return reason

        return maybeDeferred(self.ask).addErrback(failed)

    def _latest(self) -> Deferred[Any]:
        return self._recent.get()

    def ask(self) -> Deferred[Any]:
        """Ask what this answers with. For subclasses."""
        raise NotImplementedError

    def answer(self, told: Any, request: Request) -> None:
        """Answer. For subclasses."""
        raise NotImplementedError

    # Twisted's resources answer HEAD by this, too.
    def render_GET(self, request: Request) -> int:
        gone: list[object] = []
        request.notifyFinish().addBoth(gone.append)

        def told(result: Any) -> None:
            if gone:
                return
            if isinstance(result, Failure):
                _answer(request, 500, "the service could not tell; its log says why\n")
            else:
                self.answer(result, request)

        self._latest().addBoth(told)
        return NOT_DONE_YET


def _answer(request: Request, code: int, text: str | bytes, kind: bytes = b"text/plain; charset=utf-8") -> None:
    content = text.encode() if isinstance(text, str) else text
    request.setResponseCode(code)
    request.setHeader(b"Content-Type", kind)
    request.setHeader(b"Content-Length", b"%d" % len(content))
    request.write(content)
    request.finish()


class Scraped(_Asking):
    """``/metrics``, for Prometheus."""

    def ask(self) -> Deferred[list[Value]]:
        return self.status.metrics()

    def answer(self, told: list[Value], request: Request) -> None:
        # Not at the top: to import it installs a reactor.
        from prometheus_client.twisted import MetricsResource

        # What the service tells is taken here, in the reactor's thread. The library's resource makes text of that in
        # another one, in whichever form and compression is asked for.
        resource: Any = MetricsResource(registry_of(told))  # type: ignore[no-untyped-call]
        resource.render(request)


class Healthz(_Asking):
    """``/healthz``, for balancers: 200 while new clients are taken. What was true a moment ago is no answer."""

    def _latest(self) -> Deferred[Health]:
        return self._ask_and_log().addTimeout(STATUS_SECONDS, self.clock)

    def ask(self) -> Deferred[Health]:
        return self.status.health()

    def answer(self, told: Health, request: Request) -> None:
        _answer(request, 200 if told.is_ready else 503, f"{told.word}\n")


class Front(_Asking):
    """
    ``/``, for people.

    :param program: the name of the service.
    :param names: of this machine, by which a browser may ask.
    """

    def __init__(self, status: IStatus, clock: IReactorTime, program: str, names: Collection[str]) -> None:
        super().__init__(status, clock)
        self._program = program
        self._names = names

    def render_GET(self, request: Request) -> int:
        host = request.requestHeaders.getRawHeaders(b"host", [b""])[0].decode("ascii", "replace")
        if not is_name_of_ours(host, self._names):
            _answer(request, 403, "ask for this page by an address, or a name that --metrics listens on\n")
            return NOT_DONE_YET
        return super().render_GET(request)

    async def _page(self) -> bytes:
        page = Page(self._program, await self.status.health(), await self.status.clients(), time.time(), self.clock)
        return b"<!DOCTYPE html>\n" + await flattenString(None, page)

    def ask(self) -> Deferred[bytes]:
        return Deferred.fromCoroutine(self._page())

    def answer(self, told: bytes, request: Request) -> None:
        _answer(request, 200, told, b"text/html; charset=utf-8")


class _Bodiless(Request):
    """A request whose body goes nowhere: none of ours has any."""

    def gotLength(self, length: int | None) -> None:
        """Make no room for it."""
        super().gotLength(0)  # type: ignore[no-untyped-call]

    def handleContentChunk(self, data: bytes) -> None:
        """Drop a part of it."""


class StatusSite(Site):
    """
    The site.

    :param status: what it shows.
    :param clock: of its time limits.
    :param program: the name of the service.
    :param names: by which a browser may ask for the page, beside addresses, ``localhost`` and what this machine calls
        itself.
    """

    # Each scrape would be a line of the log.
    noisy = False
    requestFactory = _Bodiless

    def __init__(self, status: IStatus, clock: IReactorTime, program: str, names: Collection[str] = ()) -> None:
        root = Resource()
        names = {name.lower() for name in (*names, socket.gethostname())}
        for path, resource in (
            (b"", Front(status, clock, program, names)),
            (b"metrics", Scraped(status, clock)),
            (b"healthz", Healthz(status, clock)),
        ):
            root.putChild(path, resource)
        super().__init__(root, timeout=SITE_IDLE_SECONDS, reactor=clock)  # type: ignore[no-untyped-call]

    def log(self, request: Any) -> None:
        """Write nothing of it."""

    def getResourceFor(self, request: Any) -> IResource:
        """Find what answers; all answers say the same about themselves."""
        # As "Connection" below says; Twisted goes by the request alone.
        request.channel.persistent = False
        request.responseHeaders.removeHeader(b"Server")
        for name, value in HEADERS.items():
            request.setHeader(name, value)
        found: IResource = super().getResourceFor(request)  # type: ignore[no-untyped-call]
        return found


class _Short(ProtocolWrapper):
    """A connection that does not last."""

    _timer: IDelayedCall | None = None
    factory: ShortConnections

    #: Whether it is being closed.
    leaves = False

    def connectionMade(self) -> None:
        self._timer = self.factory.clock.callLater(SITE_SECONDS, self.abortConnection)
        super().connectionMade()  # type: ignore[no-untyped-call]

    def abortConnection(self) -> None:
        self.leaves = True
        transport: Any = self.transport
        transport.abortConnection()

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        if self._timer is not None and self._timer.active():
            self._timer.cancel()
        super().connectionLost(reason)  # type: ignore[no-untyped-call]


class ShortConnections(WrappingFactory):
    """
    Takes a few connections at once, each for a short time.

    :param site: what they are for.
    :param clock: of the time.
    :param most: how many. One more takes the place of the oldest: else whoever holds all of them, and asks nothing,
        could keep health checks out, and a balancer would take the service for dead.
    """

    noisy = False
    protocol: Callable[..., _Short] = _Short

    def __init__(self, site: Site, clock: IReactorTime, most: int) -> None:
        super().__init__(site)  # type: ignore[no-untyped-call]
        self.clock = clock
        self._most = most

    def buildProtocol(self, addr: IAddress | None) -> Any:
        """Make one, for which another one may have to go."""
        staying = [protocol for protocol in self.protocols if not protocol.leaves]
        if len(staying) >= self._most:
            # Each that is being closed has its descriptor for a moment.
            if len(self.protocols) >= 2 * self._most:
                return None
            staying[0].abortConnection()
        return super().buildProtocol(addr)

    def drop(self) -> None:
        """End all of them."""
        for protocol in list(self.protocols):
            protocol.abortConnection()
