"""
What ``twistd sodium`` runs, and the commands that it logs for the other end.
"""

from __future__ import annotations

import ipaddress
import os
import shlex
from collections.abc import Callable, Mapping
from socket import gethostname
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.endpoints import quoteStringArgument
from twisted.internet.interfaces import IAddress

from ..admission.checkers import DEFAULT_LOGIN, DEFAULT_PASSPHRASE
from ..core.errors import LocalProtocolError
from ..describe import masked
from ..protocol.factories import SodiumServerFactory
from ..transfer.receiver import UploadFactory
from .listening import ListeningService

STOPPING = "the server is stopping"


def _credentials(options: Mapping[str, Any]) -> list[str]:
    words = []
    if options["credCheckers"]:
        words += ["--user", "LOGIN"]
    elif options["user"] != DEFAULT_LOGIN:
        words += ["--user", options["user"]]
    if options["passphrase"] != DEFAULT_PASSPHRASE and not options["no-checker"]:
        words += ["--passphrase-file", "PASSPHRASEFILE"]
    if options["keys"] is not None:
        words += ["--identity", "KEYFILE"]
    return words


def _client_endpoint(description: str, address: object) -> str:
    """
    Make the endpoint string with which clients reach this server.

    :param description: the one that the server listens on.
    :param address: where it really listens.
    """
    host, port = getattr(address, "host", None), getattr(address, "port", None)
    if host is None:
        name = getattr(address, "name", None) or "PATH"
        return f"unix:{quoteStringArgument(os.fsdecode(name))}"
    if ipaddress.ip_address(host.partition("%")[0]).is_unspecified:
        host = gethostname()
    kind = "tls" if description.startswith(("ssl:", "tls:")) else "tcp"
    return f"{kind}:{quoteStringArgument(host)}:{port}"


def send_command(description: str, address: IAddress, options: Mapping[str, Any]) -> str:
    """
    Make the command that sends a file to this server. It names no passphrase.

    :param description: the endpoint string that the server listens on.
    :param address: where it really listens.
    :param options: the server's.
    """
    endpoint = _client_endpoint(description, address)
    words = ["sodiumtwist", "send", "--key", options["pair"].public.hex(), "--endpoint", endpoint]
    return shlex.join([*words, *_credentials(options), "FILE"])


def tunnel_command(description: str, address: IAddress, options: Mapping[str, Any]) -> str:
    """
    Make the command that connects a local port to this server. It names no passphrase.

    The parameters are those of :func:`send_command`.
    """
    endpoint = _client_endpoint(description, address)
    words = ["twistd", "-n", "sodium-tunnel", "--listen", "tcp:127.0.0.1:LOCALPORT", "--to", endpoint]
    return shlex.join([*words, "--server-key", options["pair"].public.hex(), *_credentials(options)])


class SodiumService(ListeningService):
    """``twistd sodium``"""

    _factory: SodiumServerFactory

    def announce(self) -> None:
        self._log.info("public key: {key}", key=self._options["pair"].public.hex())
        if self._options["fresh"]:
            self._log.warn(
                "no private key was given, so this one is for this run only; "
                "'sodiumtwist keygen --output server.key' makes one to keep"
            )
        if self._options["warning"]:
            self._log.warn("{line}", line=self._options["warning"])

    def drop(self) -> None:
        for connection in list(self._factory.connections):
            connection.abort(LocalProtocolError(STOPPING))

    def is_idle(self) -> bool:
        return not self._factory.connections

    def release(self) -> Deferred[None] | None:
        close: Callable[[], Deferred[None]] | None = getattr(self._factory.replays, "close", None)
        return None if close is None else close()


class UploadService(SodiumService):
    """``twistd sodium`` that receives files. When it stops, uploads under way are kept as partial."""

    _factory: UploadFactory

    def announce(self) -> None:
        super().announce()
        store = self._factory.store
        tell = self._log.info if store.keeps else self._log.warn
        tell("uploads go to {where}", where=store.description)

    def listens(self, description: str, address: IAddress) -> None:
        self._log.info("to send a file here: {command}", command=send_command(description, address, self._options))

    def drop(self) -> None:
        super().drop()
        for receiver in list(self._factory.receiving):
            receiver.give_up(STOPPING)

    def is_idle(self) -> bool:
        return super().is_idle() and not self._factory.receiving


class ForwardService(SodiumService):
    """``twistd sodium --forward``"""

    def announce(self) -> None:
        super().announce()
        self._log.info("streams go to {where}", where=masked(self._options["forward"]))

    def listens(self, description: str, address: IAddress) -> None:
        command = tunnel_command(description, address, self._options)
        self._log.info("to connect a local port to this: {command}", command=command)
