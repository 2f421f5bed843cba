"""
``twistd sodium-tunnel``: the options and the service.
"""

from __future__ import annotations

from typing import Any

from twisted.internet.endpoints import clientFromString
from twisted.internet.interfaces import IAddress
from twisted.python import usage

from ..admission.checkers import DEFAULT_PASSPHRASE
from ..core.errors import SodiumError
from ..core.keys import parse_key
from ..describe import describe_bad_endpoint, describe_os_error, masked
from ..endpoints.wrappers import SodiumClientEndpoint
from ..keyfiles import read_passphrase
from ..tunnel import TunnelFactory
from .listening import ListeningService, is_local, parse_listening
from .options import CLIENT_FILES, CLIENT_PARAMETERS, ServiceOptions, read_identity

EXAMPLE_LISTEN = "tcp:7000:interface=127.0.0.1"


class Options(ServiceOptions):
    """The command line of ``twistd sodium-tunnel``."""

    program = "sodium-tunnel"

    purpose = (
        "Carries local connections over encrypted TCP to a server started with 'twistd sodium --forward', whose "
        "log shows this command."
    )
    examples = (
        "twistd -n sodium-tunnel --listen tcp:127.0.0.1:7000 --to tcp:HOST:5555 \\\n"
        "      --server-key PUBLICKEY --passphrase-file pass.txt",
    )

    optParameters = [
        ["listen", "l", None, "server endpoint string for local programs (required)"],
        ["to", "t", None, "client endpoint string of the server (required)"],
        ["server-key", "k", None, "the server's public key, 64 hex digits (required)"],
        *CLIENT_PARAMETERS,
    ]
    compData = usage.Completions(optActions=CLIENT_FILES)

    def postOptions(self) -> None:
        """
        Check and read what the options name.

        :raises UsageError: when something in it is wrong.
        """
        for name in ("listen", "to", "server-key"):
            if self[name] is None:
                raise usage.UsageError(f"--{name} is missing")
        try:
            self["key"] = parse_key(self["server-key"], "server's public key")
            self["passphrase"], self["warning"] = read_passphrase(
                self["passphrase-file"], "--passphrase-file", self["passphrase"], "--passphrase"
            )
            self["pair"] = read_identity(self)
        except SodiumError as error:
            raise usage.UsageError(str(error)) from None
        except OSError as error:
            raise usage.UsageError(describe_os_error(error)) from None
        if self["passphrase"] is None:
            self["passphrase"] = DEFAULT_PASSPHRASE


class TunnelService(ListeningService):
    """``twistd sodium-tunnel``"""

    _factory: TunnelFactory

    def announce(self) -> None:
        self._log.info("connections go to {where}", where=masked(self._options["to"]))
        if self._options["warning"]:
            self._log.warn("{line}", line=self._options["warning"])

    def listens(self, description: str, address: IAddress) -> None:
        if not is_local(description):
            self._log.warn("whoever can reach {where} gets through, without a login", where=masked(description))

    def drop(self) -> None:
        for entry in list(self._factory.entries):
            entry.transport.abortConnection()

    def is_idle(self) -> bool:
        return not self._factory.entries


def makeService(options: Options, reactor: Any = None) -> TunnelService:
    """
    Make the service of ``twistd sodium-tunnel``.

    :param options: parsed.
    :param reactor: ``None`` for the global one.
    :raises SystemExit: with one line, when what the options ask for can't be had.
    """
    if reactor is None:
        from twisted.internet import reactor
    listening = parse_listening(reactor, "sodium-tunnel", "--listen", options["listen"], EXAMPLE_LISTEN)
    try:
        below = clientFromString(reactor, options["to"])
    except Exception as error:
        line = describe_bad_endpoint("--to", options["to"], "tcp:HOST:5555", error)
        raise SystemExit(f"sodium-tunnel: {line}") from None
    try:
        endpoint = SodiumClientEndpoint(
            below, options["key"], options["user"], options["passphrase"], options["pair"], clock=reactor
        )
    except SodiumError as error:
        raise SystemExit(f"sodium-tunnel: {error}") from None
    factory = TunnelFactory(endpoint, masked(options["to"]))
    return TunnelService("sodium-tunnel", options, [listening], factory, reactor)
