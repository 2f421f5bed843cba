"""
``twistd sodium``: the options and the service.
"""

from __future__ import annotations

import ipaddress
import os
import shlex
from socket import gethostname
from typing import Any

from twisted.internet.endpoints import clientFromString, quoteStringArgument
from twisted.python import usage

from .auth import DEFAULT_LOGIN, DEFAULT_PASSPHRASE, SingleLogin
from .core.errors import LocalProtocolError, SodiumError
from .core.keepalive import Timeouts
from .core.keys import KeyPair
from .core.wire import pack_text
from .keyfiles import KEY_VARIABLE, read_key, read_passphrase
from .listening import ListeningService, is_local, parse_listening
from .options import ServiceOptions
from .streams import StreamServerFactory
from .transfer import UploadFactory, describe_os_error
from .tunnel import TunnelFactory
from .uploads import open_store

DEFAULT_ENDPOINT = "tcp:5555:interface=127.0.0.1"

STOPPING = "the server is stopping"


class Options(ServiceOptions):
    """The command line of ``twistd sodium``."""

    program = "sodium"

    synopsis = "[options]"
    longdesc = (
        "Receives files over encrypted TCP, or forwards streams. Examples: "
        "twistd -n sodium --key-file server.key --directory uploads; "
        "twistd -n sodium --key-file server.key --forward tcp:127.0.0.1:6379. "
        "At start the log shows the command for the other end."
    )

    optParameters = [
        ["key", "k", None, f"private key, 64 hex digits; visible in ps, so better --key-file or ${KEY_VARIABLE}"],
        ["key-file", None, None, "file with the private key, as 'sodiumtwist keygen' writes it"],
        ["user", "U", DEFAULT_LOGIN, "login that clients must give"],
        ["passphrase", "P", None, f"passphrase that clients must give [default: {DEFAULT_PASSPHRASE}]"],
        ["passphrase-file", None, None, "file whose first line is the passphrase"],
        ["file", "f", None, "write uploads to this file, FIFO or device; - for standard output"],
        ["directory", "d", None, "write each upload to a file of its own in this directory"],
        ["forward", None, None, "hand each client's stream to this client endpoint, see sodium-tunnel"],
        ["message", None, "Welcome.", "line that clients get"],
        ["auth-timeout", None, "10", "seconds a client has to authenticate"],
        ["inactivity-timeout", None, "180", "seconds without anything valid before a client is dropped"],
        ["ping-interval", None, "60", "seconds between PINGs, to which up to 59/60 of it is added"],
    ]

    compData = usage.Completions(
        optActions={
            "key-file": usage.CompleteFiles(),
            "passphrase-file": usage.CompleteFiles(),
            "file": usage.CompleteFiles(),
            "directory": usage.CompleteDirs(),
        }
    )

    def __init__(self) -> None:
        super().__init__()
        self["endpoints"] = []

    def opt_endpoint(self, description: str) -> None:
        """server endpoint string to listen on; may be repeated [default: tcp:5555:interface=127.0.0.1]"""
        self["endpoints"].append(description)

    opt_e = opt_endpoint

    def postOptions(self) -> None:
        """
        Check and read what the options name.

        :raises UsageError: when something in it is wrong.
        """
        if not self["endpoints"]:
            self["endpoints"].append(DEFAULT_ENDPOINT)
        given = [f"--{name}" for name in ("file", "directory", "forward") if self[name] is not None]
        if len(given) > 1:
            raise usage.UsageError(f"{' and '.join(given)} exclude each other; give one")
        try:
            self["pair"] = read_key(self["key-file"], "--key-file", self["key"], "--key")
            self["passphrase"], self["warning"] = read_passphrase(
                self["passphrase-file"], "--passphrase-file", self["passphrase"], "--passphrase"
            )
            if self["passphrase"] is None:
                self["passphrase"] = DEFAULT_PASSPHRASE
            if not self["passphrase"]:
                raise usage.UsageError("the passphrase is empty; choose one")
            self["checker"] = SingleLogin(self["user"], self["passphrase"])
            pack_text("message", self["message"])
            self["timeouts"] = Timeouts(
                self._seconds("auth-timeout"), self._seconds("inactivity-timeout"), self._seconds("ping-interval")
            )
        except SodiumError as error:
            raise usage.UsageError(str(error)) from None
        except OSError as error:
            raise usage.UsageError(describe_os_error(error)) from None

    def _seconds(self, name: str) -> float:
        try:
            return float(self[name])
        except ValueError:
            raise usage.UsageError(f"--{name} takes a number of seconds, not {ascii(self[name])}") from None


def _credentials(options: Options) -> list[str]:
    words = []
    if options["user"] != DEFAULT_LOGIN:
        words += ["--user", options["user"]]
    if options["passphrase"] != DEFAULT_PASSPHRASE:
        words += ["--passphrase-file", "PASSPHRASEFILE"]
    return words


def _client_endpoint(description: str, address: Any) -> str:
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


def send_command(description: str, address: Any, options: Options) -> str:
    """
    Make the command that sends a file to this server. It names no passphrase.

    :param description: the endpoint string that the server listens on.
    :param address: where it really listens.
    :param options: the server's.
    """
    endpoint = _client_endpoint(description, address)
    words = ["sodiumtwist", "send", "--key", options["pair"].public.hex(), "--endpoint", endpoint]
    return shlex.join([*words, *_credentials(options), "FILE"])


def tunnel_command(description: str, address: Any, options: Options) -> str:
    """
    Make the command that connects a local port to this server. It names no passphrase.

    The parameters are those of :func:`send_command`.
    """
    endpoint = _client_endpoint(description, address)
    words = ["twistd", "-n", "sodium-tunnel", "--listen", "tcp:127.0.0.1:LOCALPORT", "--to", endpoint]
    return shlex.join([*words, "--server-key", options["pair"].public.hex(), *_credentials(options)])


class SodiumService(ListeningService):
    """``twistd sodium``"""

    def announce(self) -> None:
        self._log.info("public key: {key}", key=self._options["pair"].public.hex())
        if self._options["fresh"]:
            self._log.warn(
                "no private key was given, so this one is for this run only; "
                "'sodiumtwist keygen --output server.key' makes one to keep"
            )
        if self._options["warning"]:
            self._log.warn("{warning}", warning=self._options["warning"])


class UploadService(SodiumService):
    """``twistd sodium`` that receives files. When it stops, uploads under way are kept as partial."""

    def announce(self) -> None:
        super().announce()
        store = self._factory.store
        tell = self._log.info if store.keeps else self._log.warn
        tell("uploads go to {where}", where=store.description)

    def listens(self, description: str, address: Any) -> None:
        self._log.info("to send a file here: {command}", command=send_command(description, address, self._options))

    def drop(self) -> None:
        for connection in list(self._factory.connections):
            connection.abort(LocalProtocolError(STOPPING))
        for receiver in list(self._factory.receiving):
            receiver.give_up(STOPPING)

    def is_idle(self) -> bool:
        return not (self._factory.connections or self._factory.receiving)


class ForwardService(SodiumService):
    """``twistd sodium --forward``"""

    def announce(self) -> None:
        super().announce()
        self._log.info("streams go to {where}", where=self._options["forward"])

    def listens(self, description: str, address: Any) -> None:
        command = tunnel_command(description, address, self._options)
        self._log.info("to connect a local port to this: {command}", command=command)

    def drop(self) -> None:
        for connection in list(self._factory.connections):
            connection.abort(LocalProtocolError(STOPPING))

    def is_idle(self) -> bool:
        return not self._factory.connections


def makeService(options: Options, reactor: Any = None) -> SodiumService:
    """
    Make the service of ``twistd sodium``.

    :param options: parsed.
    :param reactor: ``None`` for the global one.
    :raises SystemExit: with one line, when what the options ask for can't be had.
    """
    if reactor is None:
        from twisted.internet import reactor
    endpoints = []
    for given in options["endpoints"]:
        description, endpoint = parse_listening(reactor, "sodium", given, DEFAULT_ENDPOINT)
        if options["passphrase"] == DEFAULT_PASSPHRASE and not is_local(description):
            raise SystemExit(
                f"sodium: {description} can be reached from elsewhere, and the passphrase is the default one, "
                "which everybody knows; choose one with --passphrase-file, or listen on loopback only "
                f"({DEFAULT_ENDPOINT})"
            )
        endpoints.append((description, endpoint))
    options["fresh"] = options["pair"] is None
    if options["fresh"]:
        options["pair"] = KeyPair.generate()
    common = {
        "pair": options["pair"],
        "checker": options["checker"],
        "message": options["message"],
        "timeouts": options["timeouts"],
        "clock": reactor,
    }
    if options["forward"] is not None:
        try:
            backend = clientFromString(reactor, options["forward"])
        except Exception as error:
            raise SystemExit(
                f"sodium: bad endpoint string {ascii(options['forward'])}; "
                f"one is for instance tcp:127.0.0.1:6379 ({error})"
            ) from None
        streams = StreamServerFactory(TunnelFactory(backend, options["forward"]), **common)
        return ForwardService("sodium", options, endpoints, streams, reactor)
    try:
        store = open_store(reactor, options["timeouts"].inactivity, options["file"], options["directory"])
    except OSError as error:
        raise SystemExit(f"sodium: cannot write to {error.filename}: {error.strerror}") from None
    return UploadService("sodium", options, endpoints, UploadFactory(store, **common), reactor)
