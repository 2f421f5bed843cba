"""
``twistd sodium``: the options and the service.
"""

from __future__ import annotations

import ipaddress
import os
import shlex
from collections.abc import Generator
from contextlib import suppress
from socket import gethostname
from typing import Any

from twisted.application.service import Service
from twisted.internet.defer import Deferred, DeferredList, inlineCallbacks, maybeDeferred
from twisted.internet.endpoints import quoteStringArgument, serverFromString
from twisted.internet.error import CannotListenError
from twisted.internet.interfaces import IListeningPort, IStreamServerEndpoint
from twisted.internet.protocol import Factory
from twisted.internet.task import deferLater
from twisted.logger import Logger
from twisted.python import usage
from twisted.python.failure import Failure

from .addresses import describe_address
from .auth import DEFAULT_LOGIN, DEFAULT_PASSPHRASE, SingleLogin
from .core.errors import LocalProtocolError, SodiumError
from .core.keepalive import Timeouts
from .core.keys import KeyPair
from .core.wire import pack_text
from .keyfiles import read_key_file, read_passphrase_file
from .options import check_one_source
from .transfer import UploadFactory, describe_os_error
from .uploads import open_store

DEFAULT_ENDPOINT = "tcp:5555:interface=127.0.0.1"
KEY_VARIABLE = "SODIUMTWIST_KEY"

#: Seconds that stopping may take to close what is open, and between two looks whether it is.
STOP_TIMEOUT = 5.0
STOP_POLL = 0.01

STOPPING = "the server is stopping"


class Options(usage.Options):
    """The command line of ``twistd sodium``; what is wrong with it ends the program with one line."""

    synopsis = "[options]"
    longdesc = (
        "Receives files over encrypted TCP. Example: "
        "twistd -n sodium --key-file server.key --directory uploads. "
        "At start the log shows the command that sends a file here."
    )

    optParameters = [
        ["key", "k", None, f"private key, 64 hex digits; visible in ps, so better --key-file or ${KEY_VARIABLE}"],
        ["key-file", None, None, "file with the private key, as 'sodiumtwist keygen' writes it"],
        ["user", "U", DEFAULT_LOGIN, "login that clients must give"],
        ["passphrase", "P", None, f"passphrase that clients must give [default: {DEFAULT_PASSPHRASE}]"],
        ["passphrase-file", None, None, "file whose first line is the passphrase"],
        ["file", "f", None, "write uploads to this file, FIFO or device; - for standard output"],
        ["directory", "d", None, "write each upload to a file of its own in this directory"],
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

    def parseOptions(self, options: list[str] | None = None) -> None:
        """
        :raises SystemExit: with one line, where twistd would print its whole help with it.
        """
        try:
            super().parseOptions(options)
        except usage.UsageError as error:
            raise SystemExit(f"sodium: {error}; see twistd sodium --help") from None

    def parseArgs(self, *arguments: str) -> None:
        """
        :raises UsageError: for any argument, there are none.
        """
        if arguments:
            raise usage.UsageError(f"unexpected argument {ascii(arguments[0])}")

    def postOptions(self) -> None:
        """
        Check and read what the options name.

        :raises UsageError: when something in it is wrong.
        """
        if not self["endpoints"]:
            self["endpoints"].append(DEFAULT_ENDPOINT)
        if self["file"] is not None and self["directory"] is not None:
            raise usage.UsageError("--file and --directory exclude each other; give one")
        try:
            self["pair"] = self._read_key()
            self._read_passphrase()
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

    def _read_key(self) -> KeyPair | None:
        variable = os.environ.get(KEY_VARIABLE)
        sources = {"--key": self["key"], "--key-file": self["key-file"], f"${KEY_VARIABLE}": variable}
        check_one_source("private key", sources)
        if self["key-file"] is not None:
            return read_key_file(self["key-file"])
        text = self["key"] if self["key"] is not None else variable
        return None if text is None else KeyPair.from_hex(text)

    def _read_passphrase(self) -> None:
        self["warning"] = None
        if self["passphrase-file"] is not None:
            if self["passphrase"] is not None:
                raise usage.UsageError("--passphrase and --passphrase-file exclude each other; give one")
            self["passphrase"], self["warning"] = read_passphrase_file(self["passphrase-file"])
        elif self["passphrase"] is None:
            self["passphrase"] = DEFAULT_PASSPHRASE


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


def client_command(description: str, address: Any, options: Options) -> str:
    """
    Make the command that sends a file to this server. It names no passphrase.

    :param description: the endpoint string that the server listens on.
    :param address: where it really listens.
    :param options: the server's.
    """
    host, port = getattr(address, "host", None), getattr(address, "port", None)
    if host is None:
        name = getattr(address, "name", None) or "PATH"
        endpoint = f"unix:{quoteStringArgument(os.fsdecode(name))}"
    else:
        if ipaddress.ip_address(host.partition("%")[0]).is_unspecified:
            host = gethostname()
        kind = "tls" if description.startswith(("ssl:", "tls:")) else "tcp"
        endpoint = f"{kind}:{quoteStringArgument(host)}:{port}"
    words = ["sodiumtwist", "send", "--key", options["pair"].public.hex(), "--endpoint", endpoint]
    if options["user"] != DEFAULT_LOGIN:
        words += ["--user", options["user"]]
    if options["passphrase"] != DEFAULT_PASSPHRASE:
        words += ["--passphrase-file", "PASSPHRASEFILE"]
    return shlex.join([*words, "FILE"])


class SodiumService(Service):
    """
    Listens on endpoints with one factory, and says so in the log.

    :param options: as :class:`Options` leaves them.
    :param endpoints: the endpoint strings with what they mean.
    :param factory: makes the server's ends.
    :param reactor: times the stopping.
    """

    _log = Logger()

    def __init__(
        self,
        options: Options,
        endpoints: list[tuple[str, IStreamServerEndpoint]],
        factory: UploadFactory,
        reactor: Any,
    ) -> None:
        self._options = options
        self._endpoints = endpoints
        self._factory = factory
        self._reactor = reactor
        self._ports: list[IListeningPort] = []

    def privilegedStartService(self) -> None:
        """
        Listen.

        :raises SystemExit: when an endpoint can't be listened on, which a critical line in the log explains.
        """
        super().privilegedStartService()
        self._listen()

    def startService(self) -> None:
        """
        Listen, unless :meth:`privilegedStartService` did.

        :raises SystemExit: when an endpoint can't be listened on, which a critical line in the log explains.
        """
        super().startService()
        if not self._ports:
            self._listen()

    def _listen(self) -> None:
        self._log.info("public key: {key}", key=self._options["pair"].public.hex())
        if self._options["fresh"]:
            self._log.warn(
                "no private key was given, so this one is for this run only; "
                "'sodiumtwist keygen --output server.key' makes one to keep"
            )
        if self._options["warning"]:
            self._log.warn("{warning}", warning=self._options["warning"])
        store = self._factory.store
        tell = self._log.info if store.keeps else self._log.warn
        tell("uploads go to {where}", where=store.description)
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
        self._log.info("to send a file here: {command}", command=client_command(description, address, self._options))

    def _cannot_listen(self, reason: Failure, description: str) -> None:
        error = reason.value
        why = error.socketError if isinstance(error, CannotListenError) else error
        line = f"sodium: cannot listen on {description}: {why}"
        self._log.critical("{line}", line=line)
        for port in self._ports:
            port.stopListening()
        twistd = getattr(self._options, "parent", {})
        # What twistd would do after an ordinary exception is done here, without the traceback: tell
        # the process that started the daemon, which waits for it, and remove the pid file.
        if twistd.get("statusPipe") is not None:
            os.write(twistd["statusPipe"], f"1 {line}".encode("ascii", "backslashreplace")[:100])
        if twistd.get("pidfile"):
            with suppress(OSError):
                os.unlink(twistd["pidfile"])
        raise SystemExit(1)

    @inlineCallbacks
    def stopService(self) -> Generator[Deferred[Any], Any, None]:
        """
        Stop listening and drop what is connected; uploads under way are kept as partial. Done
        within 5 seconds.
        """
        super().stopService()
        ports, self._ports = self._ports, []
        closing = DeferredList([maybeDeferred(port.stopListening) for port in ports], consumeErrors=True)
        for connection in list(self._factory.connections):
            connection.abort(LocalProtocolError(STOPPING))
        for receiver in list(self._factory.receiving):
            receiver.give_up(STOPPING)
        yield closing.addTimeout(STOP_TIMEOUT, self._reactor, lambda result, timeout: None)
        limit = self._reactor.seconds() + STOP_TIMEOUT
        while (self._factory.connections or self._factory.receiving) and self._reactor.seconds() < limit:
            yield deferLater(self._reactor, STOP_POLL)


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
    for description in options["endpoints"]:
        try:
            endpoint = serverFromString(reactor, description)
        except Exception as error:
            raise SystemExit(
                f"sodium: bad endpoint string {ascii(description)}; one is for instance {DEFAULT_ENDPOINT} ({error})"
            ) from None
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
    try:
        store = open_store(reactor, options["timeouts"].inactivity, options["file"], options["directory"])
    except OSError as error:
        raise SystemExit(f"sodium: cannot write to {error.filename}: {error.strerror}") from None
    factory = UploadFactory(
        store,
        options["pair"],
        options["checker"],
        message=options["message"],
        timeouts=options["timeouts"],
        clock=reactor,
    )
    return SodiumService(options, endpoints, factory, reactor)
