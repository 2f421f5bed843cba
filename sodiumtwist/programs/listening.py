"""
Services that listen on endpoints, and what can be known of an endpoint string before that.
"""

from __future__ import annotations

import ipaddress
import os
import re
from collections.abc import Generator, Mapping
from contextlib import suppress
from typing import Any

from twisted.application.service import Service
from twisted.internet.defer import Deferred, DeferredList, inlineCallbacks, maybeDeferred
from twisted.internet.endpoints import serverFromString
from twisted.internet.error import CannotListenError
from twisted.internet.interfaces import IAddress, IListeningPort, IProtocolFactory, IStreamServerEndpoint
from twisted.internet.protocol import Factory
from twisted.internet.task import deferLater
from twisted.logger import Logger
from twisted.python.failure import Failure

from ..describe import describe_address, describe_bad_endpoint, describe_endpoint_error, masked

#: Seconds that stopping may take in all, and between two looks whether what is open is closed.
STOP_TIMEOUT = 5.0
STOP_POLL = 0.01


class _ListenRecorder:
    """
    Stands in for the reactor, to learn what an endpoint would listen on before it does.

    :ivar local: whether only this machine could reach all of it.
    """

    def __init__(self) -> None:
        self.local = False

    def listenTCP(self, port: int, factory: object, backlog: int = 50, interface: str = "") -> None:
        self.local = _is_loopback(interface)

    def listenSSL(
        self, port: int, factory: object, contextFactory: object, backlog: int = 50, interface: str = ""
    ) -> None:
        self.local = _is_loopback(interface)

    def listenUNIX(
        self, address: str, factory: object, backlog: int = 50, mode: int = 0o666, wantPID: bool = False
    ) -> None:
        self.local = True


def _is_loopback(interface: str) -> bool:
    if interface == "localhost":
        return True
    try:
        return ipaddress.ip_address(interface.partition("%")[0]).is_loopback
    except ValueError:
        return False


def is_local(description: str) -> bool:
    """
    Tell whether a server endpoint string listens on loopback or a UNIX socket alone. What can't
    be known before listening, such as an inherited socket, counts as not local.
    """
    recorder = _ListenRecorder()
    listening = maybeDeferred(lambda: serverFromString(recorder, description).listen(Factory()))
    listening.addErrback(lambda reason: None)
    return recorder.local


def parse_listening(
    reactor: Any, program: str, option: str, description: str, example: str
) -> tuple[str, IStreamServerEndpoint]:
    """
    Make a server endpoint from its string. ``tcp:HOST:PORT``, the way clients write it, is
    understood as ``tcp:PORT:interface=HOST``.

    :param program: for the error.
    :param option: that has the string, likewise.
    :param example: of a right string, likewise.
    :return: the string as Twisted writes it, and the endpoint.
    :raises SystemExit: with one line, when the string is not understood.
    """
    clients_way = re.fullmatch(r"tcp:(\d+(?:\.\d+){3}|localhost):(\d+)", description)
    if clients_way is not None:
        description = f"tcp:{clients_way[2]}:interface={clients_way[1]}"
    try:
        return description, serverFromString(reactor, description)
    except Exception as error:
        raise SystemExit(f"{program}: {describe_bad_endpoint(option, description, example, error)}") from None


class ListeningService(Service):
    """
    Listens on endpoints with one factory, and says so in the log.

    :param program: the name of the service, for lines about what went wrong.
    :param endpoints: the endpoint strings with what they mean.
    :param factory: makes the protocols.
    :param reactor: times the stopping.
    :param twistd: its own options, which it adds to until the service starts; empty without it.
    """

    _log = Logger()

    def __init__(
        self,
        program: str,
        endpoints: list[tuple[str, IStreamServerEndpoint]],
        factory: IProtocolFactory,
        reactor: Any,
        twistd: Mapping[str, Any],
    ) -> None:
        self._program = program
        self._endpoints = endpoints
        self._factory = factory
        self._reactor = reactor
        self._twistd = twistd
        self._ports: list[IListeningPort] = []

    def announce(self) -> None:
        """Say what will be done. For subclasses."""

    def listens(self, description: str, address: IAddress) -> None:
        """Say how to use a place that is listened on. For subclasses."""

    def drop(self) -> None:
        """Drop what is connected, at once. For subclasses."""

    def is_idle(self) -> bool:
        """Tell whether nothing is connected or to be finished any more. For subclasses."""
        return True

    def release(self) -> Deferred[None] | None:
        """Close what is kept open, when nothing is connected any more. For subclasses."""
        return None

    def privilegedStartService(self) -> None:
        """
        Listen.

        :raises SystemExit: when an endpoint can't be listened on, which a critical line in the log explains.
        """
        super().privilegedStartService()  # type: ignore[no-untyped-call]
        self._listen()

    def startService(self) -> None:
        """
        Listen, unless :meth:`privilegedStartService` did.

        :raises SystemExit: when an endpoint can't be listened on, which a critical line in the log explains.
        """
        super().startService()  # type: ignore[no-untyped-call]
        if not self._ports:
            self._listen()

    def _listen(self) -> None:
        self.announce()
        for description, endpoint in self._endpoints:
            listening = maybeDeferred(endpoint.listen, self._factory)
            listening.addCallbacks(
                self._listens, self._cannot_listen, callbackArgs=(description,), errbackArgs=(description,)
            )
            failures: list[Failure] = []
            listening.addErrback(failures.append)
            if failures:
                failures[0].raiseException()

    def _listens(self, port: IListeningPort, description: str) -> None:
        self._ports.append(port)
        address = port.getHost()
        self._log.info("listening on {address}", address=describe_address(address))
        self.listens(description, address)

    def _cannot_listen(self, reason: Failure, description: str) -> None:
        error = reason.value
        why = describe_endpoint_error(error.socketError if isinstance(error, CannotListenError) else error)
        line = f"{self._program}: cannot listen on {masked(description)}: {why}"
        self._log.critical("{line}", line=line)
        for port in self._ports:
            port.stopListening()
        # What twistd would do after an ordinary exception is done here, without the traceback: remove the pid
        # file, and tell the process that started the daemon, which waits for it.
        if self._twistd.get("pidfile"):
            with suppress(OSError):
                os.unlink(self._twistd["pidfile"])
        if self._twistd.get("statusPipe") is not None:
            os.write(self._twistd["statusPipe"], f"1 {line}".encode("ascii", "backslashreplace")[:100])
        raise SystemExit(1)

    @inlineCallbacks
    def stopService(self) -> Generator[Deferred[Any], Any, None]:
        """
        Stop listening, drop what is connected, and release what is kept open. Done within 5 seconds; what takes
        longer is not waited for.
        """
        super().stopService()  # type: ignore[no-untyped-call]
        limit = self._reactor.seconds() + STOP_TIMEOUT

        def in_time(waiting: Deferred[Any]) -> Deferred[Any]:
            left = max(0, limit - self._reactor.seconds())
            return waiting.addTimeout(left, self._reactor, lambda result, timeout: None)

        ports, self._ports = self._ports, []
        closing = DeferredList([maybeDeferred(port.stopListening) for port in ports], consumeErrors=True)
        self.drop()
        yield in_time(closing)
        while not self.is_idle() and self._reactor.seconds() < limit:
            yield deferLater(self._reactor, STOP_POLL)
        yield in_time(maybeDeferred(self.release))
