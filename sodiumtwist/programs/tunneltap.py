"""
``twistd sodium-tunnel``: its options, and the service that they ask for.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import (
    IAddress,
    IProtocol,
    IProtocolFactory,
    IStreamClientEndpoint,
    IStreamServerEndpoint,
)
from twisted.python import usage
from twisted.python.failure import Failure
from zope.interface import implementer

from ..contacts.addresses import has_timeout
from ..core.errors import AuthenticationFailed, SodiumError
from ..core.keys import KeyPair
from ..describe import masked, printable
from ..describe.fingerprints import fingerprint
from ..endpoints.wrappers import SodiumClientEndpoint
from ..protocol.clock import count_steadily
from ..protocol.rounds import quicken
from ..tunnel import TunnelFactory, TunnelLimits
from . import asking
from .accompanying import accompany
from .descriptors import make_room
from .endpoint_strings import is_local, parse_connecting, parse_listening
from .inherited import inherited_beside
from .listening import ListeningService
from .options import (
    CLIENT_ALIASES,
    CLIENT_COMPLETIONS,
    SERVER_PARAMETERS,
    describe_file_error,
)
from .refusals import hints
from .server_options import Asked, read_server
from .service_options import (
    SERVICE_COMPLETIONS,
    SERVICE_FLAGS,
    SERVICE_LIMITS,
    SERVICE_PARAMETERS,
    SERVICE_RENEWED,
    ServiceOptions,
    limit_names,
)
from .service_user import ServiceUser, check_log, service_user
from .settings import ConnectSettings, Credentials, TunnelSettings
from .silent_servers import explain_silence, too_late
from .status_companion import descriptors_beside

#: What ``--limit`` may name.
LIMITS = {**limit_names(TunnelLimits), **SERVICE_LIMITS}

#: What errors show as a string that is right. It is no default: which port is free differs from machine to machine.
EXAMPLE_LISTEN = "127.0.0.1:7000"


class Options(ServiceOptions):
    """
    The command line of ``twistd sodium-tunnel``.

    :ivar settings: what is asked for. It is there when the command line is parsed.
    """

    settings: TunnelSettings
    before: Options | None

    program = "sodium-tunnel"
    limits = LIMITS
    # Which server it is, who we are there, and what is as easily changed.
    renewed = SERVICE_RENEWED | {
        *("to", "server-key", "user", "passphrase", "passphrase-file", "identity", "protocol", "timeout"),
    }
    renewed_limits = frozenset({TunnelLimits})
    aliases = CLIENT_ALIASES

    purpose = "Carries connections to 'twistd sodium --forward', whose log shows this command."
    examples = ("twistd -n sodium-tunnel --listen 127.0.0.1:7000 --to home",)

    optParameters = [
        ["listen", "l", None, "where local programs connect, as 7000 (required)"],
        *SERVER_PARAMETERS,
        *SERVICE_PARAMETERS,
    ]
    optFlags = SERVICE_FLAGS
    compData = usage.Completions(
        optActions={**CLIENT_COMPLETIONS, **SERVICE_COMPLETIONS},
        multiUse=["limit"],
        mutuallyExclusive=[("passphrase", "passphrase-file")],
    )

    #: What the options say about the server.
    _asked: Asked
    #: The passphrase that was typed on the terminal, where it is not asked for again.
    _typed: str | None = None

    def postOptions(self) -> None:
        """
        Check the options, and read the files that they name.

        :raises UsageError: when an option or a file is wrong.
        """
        # usage.Options has no parameters that must be given.
        if self.share is not None:
            (self["listen"],) = self.share.orders.endpoints
        elif self["listen"] is None and self.before is not None:
            # What systemd hands over is looked at before it is taken, and only then.
            self["listen"] = self.before["listen"]
        if self["listen"] is None:
            inherited = inherited_beside(self["metrics"])
            if not inherited:
                raise usage.UsageError("--listen is missing")
            if len(inherited) > 1:
                raise usage.UsageError(f"a tunnel listens on one socket, and systemd hands over {len(inherited)}")
            (self["listen"],) = inherited
        try:
            user = service_user(self.twistd)
            # Identity and passphrase are read once, now: they may be for root alone.
            before = self.before
            if user is not None and before is None:
                check_log(self.twistd, user, make=not self["check"])
            limits = TunnelLimits(**self.given_limits(TunnelLimits))
            if self.share is not None:
                limits = self.share.of(limits)
            self.workers()
            # Also where nobody is asked this time.
            self._typed = None if before is None else before._typed
            asked = self._asked = self._read_server(user)
            server, warnings = asked.settings, asked.warnings
            self.settings = TunnelSettings(
                **vars(server),
                listen=self["listen"],
                limits=limits,
                warning="; ".join(warnings) or None,
                timeouts=self.timeouts(server.timeout),
                drain_timeout=self.drain_timeout(),
                runs_as=user,
            )
        except SodiumError as error:
            raise usage.UsageError(str(error)) from None
        except OSError as error:
            raise usage.UsageError(describe_file_error(self, error)) from None

    def _read_server(self, user: ServiceUser | None) -> Asked:
        """Read which server it is, and who we are there. A worker is no longer root, and gets that."""
        if self.share is not None:
            return Asked(_unpacked(self.share.orders.read), False, ())
        before, owners = self.before, () if user is None else (user.uid,)
        asked = self.hold(
            lambda: read_server(self, owners=owners, ask=self._ask), None if before is None else before._asked
        )
        self.read = _packed(asked.settings)
        return asked

    def _ask(self, prompt: str, instead: str) -> str:
        if self.before is None:
            self._typed = asking.ask_passphrase(prompt, instead)
        elif self._typed is None:
            raise usage.UsageError(f"a tunnel that runs asks for no passphrase; use {instead}")
        return self._typed

    def try_out(self) -> None:
        makeService(self)

    def notes_of_check(self) -> list[str]:
        settings = self.settings
        where = masked(settings.endpoint)
        server = where if settings.known_as is None else f"{settings.known_as} ({where})"
        return [f"The server is {server}, with the fingerprint {fingerprint(settings.server_key)}."]


def _packed(settings: ConnectSettings) -> dict[str, Any]:
    us = settings.credentials
    return {
        **vars(settings),
        "server_key": settings.server_key.hex(),
        "credentials": {**vars(us), "pair": None if us.pair is None else us.pair.secret.hex()},
    }


def _unpacked(packed: Mapping[str, Any]) -> ConnectSettings:
    us = packed["credentials"]
    pair = None if us["pair"] is None else KeyPair.from_hex(us["pair"])
    return ConnectSettings(
        **{
            **packed,
            "server_key": bytes.fromhex(packed["server_key"]),
            "credentials": Credentials(**{**us, "pair": pair}),
        }
    )


@implementer(IStreamClientEndpoint)
class AdvisedEndpoint:
    """
    Says what to try where the server does not answer, what to look at where it does not let us in, and gives up in
    time.

    :param endpoint: of the server.
    :param advise: says of an error what to tell in its place; nothing where that is the error.
    :param timeout: seconds until the server has let us in; ``None`` for as long as the endpoint tries.
    :param clock: tells the time.
    """

    def __init__(
        self,
        endpoint: SodiumClientEndpoint,
        advise: Callable[[BaseException], str],
        timeout: float | None = None,
        clock: Any = None,
    ) -> None:
        self._endpoint = endpoint
        self._advise_on = advise
        self._timeout = timeout
        self._clock = clock

    def connect(self, factory: IProtocolFactory) -> Deferred[IProtocol]:
        """As any endpoint does."""
        connecting: Deferred[IProtocol] = self._endpoint.connect(factory)
        if self._timeout is not None:
            connecting.addTimeout(self._timeout, self._clock, too_late)
        return connecting.addErrback(self._advise)

    def _advise(self, reason: Failure) -> Failure:
        error = reason.value
        assert error is not None
        line = self._advise_on(error)
        return Failure(type(error)(line)) if line else reason


def _where(settings: TunnelSettings) -> str:
    where = masked(settings.endpoint)
    return where if settings.known_as is None else f"{settings.known_as} ({where})"


def _endpoint(settings: TunnelSettings, reactor: Any) -> AdvisedEndpoint:
    """
    Make the endpoint that connects to the server.

    :raises SystemExit: with one line, when what the options ask for can't be had.
    """
    us = settings.credentials
    below = parse_connecting(
        reactor, "sodium-tunnel", "--to", settings.endpoint, "HOST:5555", settings.runs_as, settings.timeout
    )
    try:
        endpoint = SodiumClientEndpoint(
            below,
            settings.server_key,
            us.user,
            us.passphrase,
            us.pair,
            settings.timeouts,
            clock=reactor,
            version=settings.version,
        )
    # A login that does not fit, a key that is none: the endpoint is the first to check these.
    except SodiumError as error:
        raise SystemExit(printable(f"sodium-tunnel: {error}")) from None

    def advise(error: BaseException) -> str:
        silent = explain_silence(error, settings.version, settings.known_as, settings.server_key)
        if silent or not isinstance(error, AuthenticationFailed):
            return silent
        return "; ".join([str(error), *hints(us)])

    return AdvisedEndpoint(endpoint, advise, None if has_timeout(settings.endpoint) else settings.timeout, reactor)


class TunnelService(ListeningService):
    """
    ``twistd sodium-tunnel``

    :param settings: what its command line asks for. The other parameters are those of a
        :class:`~sodiumtwist.programs.listening.ListeningService`.
    """

    _factory: TunnelFactory

    #: Fires when all have ended, or had their time.
    _draining: Deferred[None] | None = None

    def __init__(
        self,
        settings: TunnelSettings,
        endpoints: list[tuple[str, IStreamServerEndpoint]],
        factory: TunnelFactory,
        reactor: Any,
        twistd: Mapping[str, Any],
    ) -> None:
        super().__init__("sodium-tunnel", endpoints, factory, reactor, twistd)
        self._settings = settings
        #: For how many connections it has descriptors.
        self._room = factory.limit

    def change(self, options: Options) -> None:
        settings, old = options.settings, self._settings
        endpoint = _endpoint(settings, self._reactor)
        limits = settings.limits
        # It made room for its connections when it started.
        if limits.connections > self._room:
            limits = replace(limits, connections=self._room)
        self._factory.change(endpoint, _where(settings), limits, settings.timeouts)
        self._settings = replace(settings, listen=old.listen)
        if (settings.endpoint, settings.server_key) != (old.endpoint, old.server_key):
            self._announce_server()

    def announce(self) -> None:
        self._announce_server()

    def _announce_server(self) -> None:
        self._log.info("connections go to {where}", event="serving", where=self._factory.where)
        if self._settings.warning:
            self._log.warn("{line}", event="setup_warning", line=self._settings.warning)

    def listens(self, description: str, address: IAddress) -> None:
        # The tunnel logs in for everybody: who reaches its port needs no login.
        if not is_local(description):
            self._log.warn(
                "whoever can reach {where} gets through, without a login",
                event="setup_warning",
                where=masked(description),
            )

    def drain(self) -> Deferred[None] | None:
        timeout, count = self._settings.drain_timeout, len(self._factory.entries)
        if count:
            self._log.info(
                "stopping; connections that get {seconds:g} seconds to end, unless SIGTERM or Ctrl-C comes again: "
                "{count}",
                event="draining",
                seconds=timeout,
                count=count,
            )
        self._draining = self._factory.finish(timeout)
        return self._draining

    def hurry(self) -> None:
        if self._draining is not None:
            self._draining.cancel()

    def drop(self) -> None:
        self._factory.drop()

    def sessions(self) -> int:
        return len(self._factory.entries)

    def is_idle(self) -> bool:
        return not self._factory.ends


def makeService(options: Options, reactor: Any = None) -> TunnelService:
    """
    Make the service of ``twistd sodium-tunnel``.

    :param options: the parsed options.
    :param reactor: what to listen with; ``None`` for the global reactor.
    :raises SystemExit: with one line, when what the options ask for can't be had.
    """
    # Not at the top: to import it installs it, and twist takes the option --reactor.
    if reactor is None:
        from twisted.internet import reactor
    # Where all is only tried, nothing runs, and nothing is changed.
    if not options["check"]:
        count_steadily(reactor)
        quicken(reactor)
    settings, share = options.settings, options.share
    listens = reactor if share is None else share.reactor_for(0, reactor)
    listening = parse_listening(listens, "sodium-tunnel", "--listen", settings.listen, EXAMPLE_LISTEN)
    endpoint = _endpoint(settings, reactor)
    limits = make_room(settings.limits, reactor, 1 + descriptors_beside(options))
    factory = TunnelFactory(endpoint, _where(settings), limits, reactor, settings.timeouts)
    service = TunnelService(settings, [listening], factory, reactor, options.twistd)
    service.workers, service.is_worker = options.make_workers(reactor), share is not None
    if share is not None:
        share.count = lambda: len(factory.entries)
    return accompany(service, factory, options, reactor)
