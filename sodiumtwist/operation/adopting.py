"""
How a worker listens: an endpoint string is read as anywhere, and what it would listen on is there already.
"""

from __future__ import annotations

from typing import Any

from twisted.internet.interfaces import IListeningPort, IProtocolFactory

from ..protocol.ports import Balance, adopt, leave_to_others


class AdoptingReactor:
    """
    Stands in for the reactor of an endpoint for servers, and gives it the socket that its supervisor has made.

    :param reactor: the one that runs. All but listening is left to it.
    :param descriptor: of the socket.
    :param family: of its address.
    :param balance: what this worker knows of the others.
    """

    # The string alone would not do: what is to be wrapped around the factory, as TLS is, only the endpoint knows.

    def __init__(self, reactor: Any, descriptor: int, family: int, balance: Balance) -> None:
        self._reactor = reactor
        self._descriptor = descriptor
        self._family = family
        self._balance = balance

    def __getattr__(self, name: str) -> Any:
        return getattr(self._reactor, name)

    def _adopt(self, factory: IProtocolFactory, backlog: int) -> IListeningPort:
        port = adopt(self._reactor, self._descriptor, self._family, backlog, factory)
        leave_to_others(port, self._balance, self._reactor)
        return port

    def listenTCP(self, port: int, factory: IProtocolFactory, backlog: int = 50, interface: str = "") -> IListeningPort:
        return self._adopt(factory, backlog)

    def listenSSL(
        self, port: int, factory: IProtocolFactory, contextFactory: Any, backlog: int = 50, interface: str = ""
    ) -> IListeningPort:
        # Not at the top: it loads OpenSSL.
        from twisted.protocols.tls import TLSMemoryBIOFactory

        return self._adopt(TLSMemoryBIOFactory(contextFactory, False, factory), backlog)

    def listenUNIX(
        self, address: str, factory: IProtocolFactory, backlog: int = 50, mode: int = 0o666, wantPID: bool = False
    ) -> IListeningPort:
        return self._adopt(factory, backlog)
