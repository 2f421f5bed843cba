"""
``twistd sodium``: its options, and the service that they ask for.
"""

from __future__ import annotations

import math
import os
import shlex
from collections.abc import Callable
from inspect import signature
from typing import Any

from twisted.cred.checkers import ICredentialsChecker
from twisted.cred.credentials import IUsernamePassword
from twisted.cred.strcred import AuthOptionMixin
from twisted.python import usage

from ..admission.argon2 import Argon2File
from ..admission.authorized import AuthorizedKeysFile
from ..admission.checker_strings import NO_CHECKER, find_checker
from ..admission.checkers import SingleLogin, any_of
from ..admission.limits import Limits
from ..admission.plaintext import PlaintextFile
from ..admission.replay_database import ReplayDatabase, check_database
from ..admission.replays import IReplayMemory, ReplayMemory
from ..admission.shared_counts import SharedSalts
from ..admission.watched import GRACE, WatchedFile
from ..contacts.keyfiles import KEY_VARIABLE, read_key, read_passphrase
from ..core.connection import Salts
from ..core.credentials import pack_text
from ..core.errors import LocalProtocolError, SodiumError
from ..core.keys import KeyPair
from ..core.v2.session import Version2
from ..core.version import VERSIONS, RekeyAfter
from ..describe import describe_os_error, masked, printable
from ..describe.fingerprints import fingerprint
from ..endpoints.streams import StreamServerFactory
from ..operation.redis_store import STORE_SECONDS
from ..protocol.clock import count_steadily
from ..protocol.factories import SodiumServerFactory
from ..protocol.rounds import quicken
from ..transfer.receiver import UploadFactory
from ..transfer.tree.disk_thread import DiskThread
from ..transfer.tree.on_stored import ON_STORED_SECONDS
from ..tunnel import TunnelFactory, TunnelLimits
from .accompanying import accompany
from .descriptors import make_room
from .endpoint_strings import parse_listening
from .inherited import inherited_beside
from .leftovers import PARTIAL_AGE, note_database, note_list
from .options import (
    COMPLETE_PROTOCOL,
    DEFAULT_LOGIN,
    DEFAULT_PASSPHRASE,
    check_credentials,
    check_versions,
    describe_file_error,
    protocol_version,
)
from .output import StandardOutput
from .place_options import (
    PLACE_COMPLETIONS,
    PLACE_FLAGS,
    PLACE_LIMITS,
    PLACE_NEEDS,
    PLACE_PARAMETERS,
    check_places,
    read_places,
)
from .places import only_looked_at, open_places
from .renewing import DEFAULT_LISTEN, check_default_passphrase, forward_endpoint
from .service_options import (
    SERVICE_COMPLETIONS,
    SERVICE_FLAGS,
    SERVICE_LIMITS,
    SERVICE_PARAMETERS,
    SERVICE_RENEWED,
    LimitNames,
    ServiceOptions,
    limit_names,
)
from .service_user import ServiceUser, acting_as, check_log, check_root, service_user
from .services import ForwardService, SodiumService, UploadService
from .settings import ServerSettings
from .status_companion import descriptors_beside
from .store_options import (
    STORE_COMPLETIONS,
    STORE_LIMITS,
    STORE_NEEDS,
    STORE_PARAMETERS,
    count_with_others,
    open_store,
    read_store,
    remembering,
)

#: The checkers that read a file again when it changes.
WATCHING_CHECKERS = (Argon2File, PlaintextFile)

#: What ``--limit`` may name.
LIMITS: LimitNames = {
    **limit_names(Limits),
    "replays": (ReplayMemory, "limit"),
    "rekey-size": (RekeyAfter, "size"),
    "rekey-seconds": (RekeyAfter, "seconds"),
    "file-grace": (WatchedFile, "grace"),
    "clock-tolerance": (Version2, "tolerance"),
    **PLACE_LIMITS,
    **STORE_LIMITS,
    **SERVICE_LIMITS,
}


class Options(AuthOptionMixin, ServiceOptions):
    """
    The command line of ``twistd sodium``.

    :ivar settings: what is asked for. It is there when the command line is parsed.
    """

    settings: ServerSettings
    before: Options | None

    # For --help-auth: other checkers are for what no client of ours can give.
    supportedInterfaces = (IUsernamePassword,)
    authOutput = StandardOutput()

    program = "sodium"
    limits = LIMITS
    # The key and who may come in, which files say; and what is as easily changed. Two names are strcred's.
    renewed = SERVICE_RENEWED | {
        *("key", "key-file", "user", "passphrase", "passphrase-file", "authorized-keys"),
        *("credCheckers", "credInterfaces", "no-checker", "message", "auth-timeout"),
    }
    renewed_limits = frozenset({Limits, RekeyAfter, WatchedFile})
    needs = {**PLACE_NEEDS, **STORE_NEEDS}
    defaults_of_lists = {"endpoint": (DEFAULT_LISTEN,)}
    # What the tunnel calls it.
    aliases = {"listen": "endpoint"}

    purpose = (
        "Receives and shares files over encrypted TCP, or forwards streams. At start the log shows the commands for "
        "the other end. Without a key, the server makes one for the run."
    )
    examples = (
        "twistd -n sodium --key-file server.key --authorized-keys keys.txt \\\n"
        "      --auth none --endpoint 0.0.0.0:5555 --directory uploads",
        "twistd -n sodium --key-file server.key --forward 127.0.0.1:6379",
    )

    optParameters = [
        ["key", "k", None, "private key, 64 hex digits; visible in ps"],
        ["key-file", None, None, f"file of 'sodiumtwist keygen'; or ${KEY_VARIABLE}"],
        ["user", "U", DEFAULT_LOGIN, "login that clients must give"],
        ["passphrase", "P", None, f"passphrase; visible in ps [default: {DEFAULT_PASSPHRASE}]"],
        ["passphrase-file", None, None, "file whose first line is the passphrase"],
        ["authorized-keys", None, None, "file with the public keys of clients to let in"],
        ["replay-db", None, None, "SQLite file to remember accepted handshakes in"],
        *PLACE_PARAMETERS,
        ["message", None, "Welcome.", "line that clients get"],
        ["protocol", None, None, "the one version to speak, 1 or 2 [default: both]"],
        ["auth-timeout", None, "10", "seconds a client has to authenticate"],
        *STORE_PARAMETERS,
        *SERVICE_PARAMETERS,
    ]

    optFlags = [*PLACE_FLAGS, *SERVICE_FLAGS]
    compData = usage.Completions(
        optActions={
            "key-file": usage.CompleteFiles(),
            "passphrase-file": usage.CompleteFiles(),
            "authorized-keys": usage.CompleteFiles(),
            "replay-db": usage.CompleteFiles(),
            **PLACE_COMPLETIONS,
            **STORE_COMPLETIONS,
            **SERVICE_COMPLETIONS,
            "protocol": COMPLETE_PROTOCOL,
        },
        multiUse=["endpoint", "auth", "limit"],
        mutuallyExclusive=[
            ("file", "directory", "forward", "discard"),
            ("share", "forward"),
            ("key", "key-file"),
            ("passphrase", "passphrase-file"),
        ],
    )

    def __init__(self) -> None:
        super().__init__()
        self["endpoints"] = []
        # strcred makes this list only with its first checker.
        self["credCheckers"] = []
        self["no-checker"] = False
        self._passphrase: str | None = None
        self._made_checkers: dict[str, ICredentialsChecker] = {}

    def opt_endpoint(self, description: str) -> None:
        """where to listen: HOST:PORT or an endpoint; may be repeated [default: systemd's, or 127.0.0.1:5555]"""
        self["endpoints"].append(description)

    opt_e = opt_endpoint

    def opt_auth(self, description: str) -> None:
        """who may log in, see --help-auth; may be repeated; 'none': --authorized-keys decide alone"""
        # In place of strcred's own option, which has no 'none', and calls the error of a checker unexpected.
        if description == NO_CHECKER:
            self["no-checker"] = True
            return
        # It watches its file itself, and knows who waits to be verified.
        known = None if self.before is None else self.before._made_checkers.get(description)
        if known is not None:
            self._add_checker(description, known)
            return
        try:
            user = service_user(self.twistd)
            make = find_checker(description)
            # What a checker reads later it is to read now as the user that it will be then.
            with acting_as(user):
                checker = self._made(make, user)
                if isinstance(checker, WATCHING_CHECKERS):
                    check_root(self.twistd, "--auth", checker.file.path)
        except SodiumError as error:
            raise usage.UsageError(str(error)) from None
        except OSError as error:
            raise usage.UsageError(describe_os_error(error)) from None
        self._add_checker(description, checker)

    def _add_checker(self, description: str, checker: ICredentialsChecker) -> None:
        self._made_checkers[description] = checker
        self.addChecker(checker)

    @staticmethod
    def _made(make: Callable[[], ICredentialsChecker], user: ServiceUser | None) -> ICredentialsChecker:
        try:
            return make()
        except LocalProtocolError as error:
            denied = error.__context__
            if user is None or not isinstance(denied, PermissionError):
                raise
            raise usage.UsageError(f"{denied.filename!r}: {user.explain(denied)}") from None

    def postOptions(self) -> None:
        """
        Check the options, and read the files that they name.

        :raises UsageError: when an option or a file is wrong.
        """
        check_places(self)
        try:
            self.settings = self._read()
        except SodiumError as error:
            raise usage.UsageError(str(error)) from None
        except OSError as error:
            raise usage.UsageError(describe_file_error(self, error)) from None

    def _read(self) -> ServerSettings:
        user = service_user(self.twistd)
        for option in ("authorized-keys", "replay-db", "file", "directory", "share"):
            if self[option] and self[option] != "-":
                check_root(self.twistd, f"--{option}", self[option])
        pair, fresh_pair, passphrase, warnings = self._read_secrets(user)
        before = self.before
        if self.workers() is not None and self["file"] == "-":
            raise usage.UsageError("--workers have no standard output to share; omit one, or name a file")
        with acting_as(user):
            authorized_keys = self._authorized_keys()
        # Only where nothing else decides who may come in: beside that, it would be a way in that everybody knows.
        if passphrase is None and not self["credCheckers"] and not self["no-checker"]:
            passphrase = DEFAULT_PASSPHRASE
        versions = VERSIONS if self["protocol"] is None else (protocol_version(self["protocol"]),)
        check_versions(versions)
        if passphrase is not None:
            check_credentials(self["user"], passphrase, versions)
        checker = self._checker(passphrase, authorized_keys)
        limits, rekey = Limits(**self.given_limits(Limits)), RekeyAfter(**self.given_limits(RekeyAfter))
        if self.share is not None:
            limits = self.share.of(limits)
        remembered = self.given_limits(ReplayMemory)
        tolerance = self._tolerance()
        places = read_places(self, self.given_limits, versions, user)
        if places["on_stored"] is not None:
            check_root(self.twistd, "--on-stored", places["on_stored"][0])
        replays: IReplayMemory
        salts: Salts | None = None
        if before is not None:
            # It is open, and what is in it holds.
            replays, salts = before.settings.replays, before.settings.salts
        elif self["replay-db"] is None and self.share is not None and 1 in versions:
            replays = ReplayDatabase(self.share.orders.replays, **remembered, tolerance=tolerance)
        elif self["replay-db"] is None:
            replays = ReplayMemory(**remembered)
        else:
            with acting_as(user):
                note_database(self["replay-db"])
                if self["check"]:
                    check_database(self["replay-db"])
                    replays = ReplayMemory(**remembered)
                else:
                    database = ReplayDatabase(self["replay-db"], **remembered, tolerance=tolerance)
                    replays, salts = database, database.salts
        files: list[WatchedFile[Any]] = [
            checker.file for checker in self["credCheckers"] if isinstance(checker, WATCHING_CHECKERS)
        ]
        if authorized_keys is not None:
            files.append(authorized_keys.file)
        if user is not None and before is None:
            check_log(self.twistd, user, make=not self["check"])
        self.read = {"key": pair.secret.hex(), "passphrase": passphrase}
        # The factory checks it again, but raises when the command line is done with.
        pack_text("message", self["message"])
        if before is None:
            with acting_as(user):
                for file in files:
                    note_list(file.path)
        settings = ServerSettings(
            endpoints=self._endpoints(),
            pair=pair,
            fresh_pair=fresh_pair,
            user=self["user"],
            # Also when somebody has chosen it: everybody knows it all the same.
            default_passphrase=passphrase == DEFAULT_PASSPHRASE,
            other_logins=bool(self["credCheckers"]),
            checker=checker,
            authorized_keys=authorized_keys,
            replays=replays,
            salts=salts,
            limits=limits,
            rekey=rekey,
            timeouts=self.timeouts(self.seconds("auth-timeout")),
            message=self["message"],
            warning="; ".join(warnings) or None,
            versions=versions,
            tolerance=tolerance,
            store=read_store(self, self.given_limits),
            drain_timeout=self.drain_timeout(),
            files=tuple(files),
            runs_as=user,
            **places,
        )
        # Last: they may be in use, and where something is wrong all stays as it was.
        for file in files:
            file.grace = self.given_limits(WatchedFile).get("grace", GRACE)
        return settings

    def _endpoints(self) -> tuple[str, ...]:
        if self.share is not None:
            return self.share.orders.endpoints
        # What systemd hands over is looked at before it is taken, and only then.
        others = inherited_beside(self["metrics"]) if self.before is None else self.before.settings.endpoints
        # Not as the first of the list: --endpoint is in place of the default, not beside it.
        return tuple(self["endpoints"]) or others or (DEFAULT_LISTEN,)

    def _read_secrets(self, user: ServiceUser | None) -> tuple[KeyPair, bool, str | None, list[str]]:
        """
        Read key and passphrase. That is done once, now: they may be for root alone. What is read or written later is
        not. A worker is no longer root, and gets them.

        :return: the key, whether it was made for this run, the passphrase, and warnings.
        """
        if self.share is not None:
            read = self.share.orders.read
            return KeyPair.from_hex(read["key"]), False, read["passphrase"], []
        owners = () if user is None else (user.uid,)
        warnings: list[str] = []
        before = self.before
        pair = self.hold(
            lambda: read_key(self["key-file"], "--key-file", self["key"], "--key", owners, warnings.append),
            None if before is None else before.settings.pair,
        )
        fresh_pair = pair is None
        if before is not None and pair is None:
            # Not another fresh one: those who know this one would take it for a stranger's.
            pair, fresh_pair = before.settings.pair, before.settings.fresh_pair
        passphrase, warning = self.hold(
            lambda: read_passphrase(
                self["passphrase-file"], "--passphrase-file", self["passphrase"], "--passphrase", owners
            ),
            None if before is None else (before._passphrase, None),
        )
        self._passphrase = passphrase
        return pair or KeyPair.generate(), fresh_pair, passphrase, warnings + ([warning] if warning else [])

    def try_out(self) -> None:
        self.settings = only_looked_at(self.settings)
        makeService(self)

    def notes_of_check(self) -> list[str]:
        settings, public = self.settings, self.settings.pair.public
        notes = [f"public key: {public.hex()}", f"fingerprint {fingerprint(public)}"]
        if settings.fresh_pair:
            notes[:] = ["No private key is given: it would make one for the run."]
        if settings.default_passphrase:
            notes.append("The passphrase is the default one, which everybody knows.")
        if settings.runs_as is not None:
            notes.append(f"It would run as user {settings.runs_as.name}.")
        return notes

    def default_limit(self, name: str) -> float:
        remembering = ReplayMemory if self["replay-db"] is None else ReplayDatabase
        apart = {
            "replays": signature(remembering).parameters["limit"].default,
            "file-grace": GRACE,
            "partial-age": PARTIAL_AGE,
            "on-stored-seconds": ON_STORED_SECONDS,
            "shared-store-seconds": STORE_SECONDS,
        }
        return apart[name] if name in apart else super().default_limit(name)

    def _authorized_keys(self) -> AuthorizedKeysFile | None:
        path = self["authorized-keys"]
        # It watches its file itself.
        known = None if self.before is None else self.before.settings.authorized_keys
        if known is not None and path and known.file.path == os.path.abspath(path):
            return known
        try:
            return AuthorizedKeysFile(path) if path else None
        except FileNotFoundError as error:
            if os.path.isdir(os.path.dirname(path) or "."):
                raise usage.UsageError(
                    f"{describe_os_error(error)}; 'sodiumtwist invite --keys {shlex.quote(path)}' makes it and invites "
                    "somebody, or put the clients' public keys there"
                ) from None
            raise

    def _checker(
        self, passphrase: str | None, authorized_keys: AuthorizedKeysFile | None
    ) -> ICredentialsChecker | None:
        """Make what decides on logins; ``None`` where the clients' keys decide alone."""
        checkers = list(self["credCheckers"])
        if self["no-checker"]:
            if checkers or passphrase is not None:
                raise usage.UsageError("--auth none excludes other --auth and a passphrase; give one")
            if authorized_keys is None:
                raise usage.UsageError("--auth none lets anybody in; give --authorized-keys, too")
            return None
        if passphrase is not None:
            checkers.append(SingleLogin(self["user"], passphrase))
        return any_of(checkers)

    def _tolerance(self) -> float:
        tolerance: float = self.given_limits(Version2).get("tolerance", Version2.tolerance)
        # Not "tolerance < 0", which NaN is not.
        if not 0 <= tolerance < math.inf:
            raise usage.UsageError(
                f"--limit clock-tolerance= takes a number of seconds, or 0 for any clock, not {tolerance:g}"
            )
        return tolerance


def makeService(options: Options, reactor: Any = None) -> SodiumService:
    """
    Make the service of ``twistd sodium``.

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
    settings, share, twistd = options.settings, options.share, options.twistd
    endpoints = []
    for place, given in enumerate(settings.endpoints):
        listening = reactor if share is None else share.reactor_for(place, reactor)
        description, endpoint = parse_listening(listening, "sodium", "--endpoint", given, DEFAULT_LISTEN)
        if share is None and options.workers() is not None:
            # They read the string as the user that the service runs as, with the files that it names.
            with acting_as(settings.runs_as):
                parse_listening(reactor, "sodium", "--endpoint", given, DEFAULT_LISTEN)
        # The supervisor has: a worker is not told where a socket of systemd's listens.
        if share is None:
            check_default_passphrase(settings, description)
        endpoints.append((description, endpoint))
    try:
        store = open_store(settings, reactor)
    except LocalProtocolError as error:
        raise SystemExit(printable(f"sodium: {error}")) from None
    limits = make_room(settings.limits, reactor, len(endpoints) + descriptors_beside(options))
    common: dict[str, Any] = {
        "pair": settings.pair,
        "checker": settings.checker,
        "message": settings.message,
        "timeouts": settings.timeouts,
        "authorized_keys": settings.authorized_keys,
        "replays": remembering(settings, store),
        "salts": settings.salts,
        "limits": limits,
        "rekey": settings.rekey,
        "versions": settings.versions,
        "tolerance": settings.tolerance,
        "clock": reactor,
    }
    if share is not None:
        common["shared"] = share.counts
        # Those of a database are known to all workers.
        if settings.salts is None:
            common["salts"] = SharedSalts(share.counts)
    workers = options.make_workers(reactor, 1 in settings.versions and options["replay-db"] is None)
    service: SodiumService
    factory: SodiumServerFactory
    if settings.forward is not None:
        backend = forward_endpoint(settings, reactor)
        tunnel_limits = TunnelLimits(limits.connections, limits.stranger_lines)
        tunnels = TunnelFactory(backend, masked(settings.forward), tunnel_limits, reactor, settings.timeouts)
        factory = streams = StreamServerFactory(tunnels, **common)
        service = ForwardService(settings, endpoints, streams, reactor, twistd)
    else:
        places = open_places(reactor, settings, share)
        try:
            uploads = UploadFactory(places.store, files=places.files, make_thread=lambda: DiskThread(reactor), **common)
        # Whether the store keeps anything decides what the message must leave room for.
        except LocalProtocolError as error:
            raise SystemExit(printable(f"sodium: {error}")) from None
        factory, service = uploads, UploadService(settings, endpoints, uploads, reactor, twistd, places.on_stored)
    if store is not None:
        count_with_others(factory, settings, store)
        service.remember_in(store)
    service.workers, service.is_worker = workers, share is not None
    return accompany(service, factory, options, reactor)
