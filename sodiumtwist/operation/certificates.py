"""
Certificates of TLS that are read again while the port stays open.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from twisted.internet.defer import Deferred
from twisted.internet.endpoints import serverFromString
from twisted.internet.interfaces import (
    IListeningPort,
    IOpenSSLServerConnectionCreator,
    IProtocolFactory,
    IStreamServerEndpoint,
)
from twisted.internet.protocol import Factory
from zope.interface import directlyProvides, implementer, providedBy

from ..describe import describe_endpoint_error, masked

if TYPE_CHECKING:
    from OpenSSL.SSL import Connection


@implementer(IOpenSSLServerConnectionCreator)
class RenewedContext:
    """
    What an endpoint that listens makes its connections of. It can be exchanged for another.

    :ivar context: the one in use, as the parser of endpoint strings makes it.
    """

    def __init__(self, context: Any) -> None:
        self.context = context

    def serverConnectionForTLS(self, protocol: Any) -> Connection:
        """Make the TLS of one connection."""
        context = self.context
        if IOpenSSLServerConnectionCreator.providedBy(context):
            made: Connection = context.serverConnectionForTLS(protocol)
            return made
        # Not at the top: without TLS nobody needs it.
        from OpenSSL.SSL import Connection

        return Connection(context.getContext(), None)


class _Recorder:
    """
    Stands in for the reactor, and notes what an endpoint would make its connections of.

    :ivar context: that; ``None`` when it is no endpoint of TLS.
    """

    context: Any = None

    def listenSSL(
        self, port: int, factory: object, contextFactory: Any, backlog: int = 50, interface: str = ""
    ) -> None:
        self.context = contextFactory


class _Reactor:
    """
    A reactor whose endpoints of TLS take a context that can be exchanged.

    :param reactor: what it stands for.
    :param contexts: gets those that are listened with.
    """

    def __init__(self, reactor: Any, contexts: list[RenewedContext]) -> None:
        self._reactor = reactor
        self._contexts = contexts
        directlyProvides(self, providedBy(reactor))

    def __getattr__(self, name: str) -> Any:
        return getattr(self._reactor, name)

    def listenSSL(self, port: int, factory: Any, contextFactory: Any, backlog: int = 50, interface: str = "") -> Any:
        context = RenewedContext(contextFactory)
        self._contexts.append(context)
        return self._reactor.listenSSL(port, factory, context, backlog=backlog, interface=interface)


def _context_of(description: str) -> Any:
    """
    Read the files of an endpoint of TLS.

    :raises Exception: whatever that raises.
    """
    recorder = _Recorder()
    failures: list[Any] = []
    serverFromString(recorder, description).listen(Factory()).addErrback(failures.append)
    if failures:
        failures[0].raiseException()
    # Twisted puts it together when it is asked for: a key that is another certificate's is told now.
    getattr(recorder.context, "getContext", lambda: None)()
    return recorder.context


@implementer(IStreamServerEndpoint)
class RenewedEndpoint:
    """
    Listens as an endpoint string says. Where that names key and certificate of TLS, they can be read again.

    :param reactor: what to listen with.
    :param description: the endpoint string.
    :raises Exception: whatever Twisted's parser stumbles over.
    """

    def __init__(self, reactor: Any, description: str) -> None:
        self._description = description
        self._contexts: list[RenewedContext] = []
        self._endpoint = serverFromString(_Reactor(reactor, self._contexts), description)

    def listen(self, protocolFactory: IProtocolFactory) -> Deferred[IListeningPort]:
        """As any endpoint does."""
        listening: Deferred[IListeningPort] = self._endpoint.listen(protocolFactory)
        return listening

    def renew(self) -> str | None:
        """
        Read key and certificate again. They are for connections from now on.

        :return: what is wrong, in which case those that were there stay; ``None`` when all is well, or it has none.
        """
        if self._contexts:
            try:
                context = _context_of(self._description)
            # Whatever Twisted's parser, or OpenSSL, stumbles over.
            except Exception as error:
                return f"the certificate of {masked(self._description)}: {describe_endpoint_error(error)}"
            for each in self._contexts:
                each.context = context
        return None
