"""
Twisted's own tests of its transports, over TLS within streams of ours.
"""

from __future__ import annotations

from typing import Any

from twisted.internet.interfaces import IListeningPort, IProtocolFactory
from twisted.internet.protocol import ServerFactory
from twisted.internet.test.connectionmixins import ConnectionTestsMixin
from twisted.internet.test.test_tcp import AbortConnectionMixin
from twisted.internet.test.test_tls import StartTLSClientEndpoint

from ..certificates import tls_contexts
from .test_conformance import Conformance, SodiumCreator, over_versions


class StartTLSServerEndpoint:
    """What Twisted has for clients: TLS begins as soon as the connection is made."""

    def __init__(self, wrapped: Any, context: Any) -> None:
        self.wrapped = wrapped
        self.context = context

    def listen(self, factory: IProtocolFactory) -> Any:
        context = self.context

        class Wrapper(ServerFactory):
            def buildProtocol(self, address: Any) -> Any:
                protocol: Any = factory.buildProtocol(address)

                def connectionMade(made: Any = protocol.connectionMade) -> None:
                    protocol.transport.startTLS(context)
                    made()

                protocol.connectionMade = connectionMade
                return protocol

        listening: IListeningPort = self.wrapped.listen(Wrapper())
        return listening


class StartTLSCreator(SodiumCreator):
    def server(self, reactor: Any) -> Any:
        return StartTLSServerEndpoint(super().server(reactor), tls_contexts()[0])

    def client(self, reactor: Any, serverAddress: Any) -> Any:
        return StartTLSClientEndpoint(super().client(reactor, serverAddress), tls_contexts()[1])


class StartTLSTestsBuilder(Conformance, ConnectionTestsMixin):
    endpoints = StartTLSCreator()


class StartTLSAbortTestsBuilder(Conformance, AbortConnectionMixin):
    endpoints = StartTLSCreator()

    def buildReactor(self) -> Any:
        # They end with no timer left. Where a timer stops it, asyncio's reactor leaves one of its own.
        made = super().buildReactor()
        all_calls = made.getDelayedCalls
        made.getDelayedCalls = lambda: [call for call in all_calls() if "Reactor.stop" not in call.func.__qualname__]
        return made


for _builder in (StartTLSTestsBuilder, StartTLSAbortTestsBuilder):
    globals().update(over_versions(_builder))
