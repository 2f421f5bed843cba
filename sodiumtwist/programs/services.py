"""
What ``twistd sodium`` runs.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IAddress, IStreamServerEndpoint
from twisted.internet.task import LoopingCall
from twisted.python.failure import Failure

from ..admission.joining import look_if_writable
from ..core.errors import LocalProtocolError
from ..describe import describe_limit, masked, printable
from ..describe.fingerprints import fingerprint
from ..endpoints.streams import StreamServerFactory
from ..operation.redis_store import RedisStore
from ..protocol.draining import STOPPING
from ..protocol.factories import SodiumServerFactory
from ..transfer.receiver import UploadFactory
from ..transfer.tree.disk_thread import DiskThread
from ..transfer.tree.on_stored import OnStored
from ..tunnel import TunnelFactory, TunnelLimits
from .door import door_shuts
from .leftovers import clean_directory, note_cleaned
from .listening import ListeningService
from .renewing import check_default_passphrase, forward_endpoint, renewed, within
from .service_user import acting_as
from .settings import ServerSettings
from .shown_commands import (
    get_command,
    invite_command,
    list_command,
    pipe_command,
    send_command,
    tunnel_command,
)

#: How often the files of who may come in are looked at within their grace, when nobody logs in.
LOOKS_IN_GRACE = 4

#: Seconds that are left between two such looks at least.
LEAST_LOOK = 1.0


class SodiumService(ListeningService):
    """
    ``twistd sodium``

    :param settings: what its command line asks for. The other parameters are those of a :class:`ListeningService`.
    """

    _factory: SodiumServerFactory
    _store: RedisStore | None = None

    def __init__(
        self,
        settings: ServerSettings,
        endpoints: list[tuple[str, IStreamServerEndpoint]],
        factory: SodiumServerFactory,
        reactor: Any,
        twistd: Mapping[str, Any],
    ) -> None:
        super().__init__("sodium", endpoints, factory, reactor, twistd)
        self._settings = settings
        #: For how many connections it has descriptors.
        self._room = factory.admission.limits.connections
        self._door: Deferred[None] | None = None
        self._hurries = False
        self._looking = LoopingCall(self._look)
        self._looking.clock = self._clock

    def startService(self) -> None:
        """
        Begin to look now and then at the files of who may come in, so that the log tells what is wrong with them also
        when nobody logs in. For the rest see :meth:`.ListeningService.startService`.
        """
        super().startService()
        self._look_on()

    def remember_in(self, store: RedisStore) -> None:
        """
        Remember together with others. To be called before the service starts.

        :param store: where. It is stopped with the service.
        """
        self._store = store
        self.companions.append(store)

    def _look_on(self) -> None:
        if self._looking.running:
            self._looking.stop()
        # The supervisor does it for its workers.
        if self._settings.files and not self.is_worker:
            # So that much of a grace is left when a fault is noticed.
            grace = min(file.grace for file in self._settings.files)
            self._looking.start(max(LEAST_LOOK, grace / LOOKS_IN_GRACE), now=False)

    def stopService(self) -> Deferred[None]:
        """Stop looking at files. For the rest see :meth:`.ListeningService.stopService`."""
        if self._looking.running:
            self._looking.stop()
        return super().stopService()

    def change(self, options: Any) -> None:
        old, new = self._settings, renewed(self._settings, options.settings)
        # One that it had is well: where it listens does not change. A certificate that is broken by now tells nothing.
        if not old.default_passphrase and not self.is_worker:
            for description, _ in self._endpoints:
                check_default_passphrase(new, description)
        limits = within(new.limits, self._room)
        try:
            self._factory.change(
                new.pair, new.checker, new.authorized_keys, new.message, new.timeouts, limits, new.rekey
            )
        # Whether the store keeps anything decides what the message must leave room for.
        except LocalProtocolError as error:
            raise SystemExit(printable(f"sodium: {error}")) from None
        self._settings = new
        if self._store is not None:
            self._store.change(new.scope, new.limits.failure_seconds)
        if new.pair != old.pair and not self.is_worker:
            self._announce_key()
        if new.warning and new.warning != old.warning:
            self._log.warn("{line}", event="setup_warning", line=new.warning)
        self._look()
        self._look_on()

    def _look(self) -> None:
        for file in self._settings.files:
            file.look()
        if self._settings.authorized_keys is not None:
            look_if_writable(self._settings.authorized_keys)

    def _announce_key(self) -> None:
        public = self._settings.pair.public
        # On a line of its own: who copies the other one has the key and nothing else.
        self._log.info("public key: {key}", event="public_key", key=public.hex())
        self._log.info("fingerprint {fingerprint}", event="public_key", fingerprint=fingerprint(public))

    def announce(self) -> None:
        self._announce_key()
        if self._settings.fresh_pair:
            self._log.warn(
                "no private key was given, so this one is for this run only; "
                "'sodiumtwist keygen --output server.key' makes one to keep",
                event="setup_warning",
            )
        if self._settings.warning:
            self._log.warn("{line}", event="setup_warning", line=self._settings.warning)
        keys = self._settings.authorized_keys
        if keys is None:
            return
        # As who will change the file.
        with acting_as(self._settings.runs_as):
            look_if_writable(keys)
        # It was read as its user a moment ago: root, as whom this is called, would refuse it as somebody else's.
        if lines := keys.file.value.lines_without_public_key():
            self._log.warn(
                "{path} has keys that are no public ones, in lines {lines}: private keys, which nobody but their owner "
                "may have, or typing errors",
                event="setup_warning",
                path=keys.file.path,
                lines=", ".join(map(str, lines)),
            )

    def drain(self) -> Deferred[None] | None:
        # Version 1 is broken off at once, let in or not.
        if not self._settings.drain_timeout or 2 not in self._settings.versions:
            return self._drain()
        self._door = door_shuts(lambda: self._factory.admission.unauthenticated, self._clock)
        return self._door.addCallback(lambda _: self._drain())

    def _drain(self) -> Deferred[None]:
        timeout = self._settings.drain_timeout
        clients = sum(end.is_authenticated and end.version == 2 for end in self._factory.connections)
        if clients:
            self._log.info(
                "stopping; clients that get {seconds:g} seconds to finish, unless SIGTERM or Ctrl-C comes again: "
                "{count}",
                event="draining",
                seconds=timeout,
                count=clients,
            )
        draining = self._factory.drain(timeout)
        if self._hurries:
            self.hurry()
        return draining

    def hurry(self) -> None:
        self._hurries = True
        if self._factory.draining is not None:
            self._factory.draining.cut()
        elif self._door is not None:
            self._door.cancel()

    def drop(self) -> None:
        # A copy: each connection leaves the set when it ends.
        for connection in list(self._factory.connections):
            connection.abort(LocalProtocolError(STOPPING))

    def is_idle(self) -> bool:
        return not self._factory.connections

    def sessions(self) -> int:
        return self._factory.admission.authenticated

    def release(self) -> Deferred[None] | None:
        # A database of handshakes has to be closed, a memory has not.
        close: Callable[[], Deferred[None]] | None = getattr(self._factory.replays, "close", None)
        return None if close is None else close()

    def listens(self, description: str, address: IAddress) -> None:
        invite = invite_command(description, address, self._settings)
        if invite is not None:
            self._log.info("to let somebody in: {command}", event="advice", command=invite)


class UploadService(SodiumService):
    """
    ``twistd sodium`` that receives files, or shares some. Uploads that are under way when it stops get their time to
    end, in version 2; else they are kept as partial. Commands that run for stored files get the same time.

    :param on_stored: runs them; ``None`` for none. The other parameters are those of a :class:`SodiumService`.
    """

    _factory: UploadFactory

    def __init__(
        self,
        settings: ServerSettings,
        endpoints: list[tuple[str, IStreamServerEndpoint]],
        factory: UploadFactory,
        reactor: Any,
        twistd: Mapping[str, Any],
        on_stored: OnStored | None = None,
    ) -> None:
        super().__init__(settings, endpoints, factory, reactor, twistd)
        self._on_stored = on_stored
        if on_stored is not None:
            on_stored.lines = factory.admission.lines.uploads

    def startService(self) -> None:
        """
        Begin to look for what was left unfinished long ago. For the rest see :meth:`.SodiumService.startService`.
        """
        super().startService()
        directory, age = self._factory.files.directory, self._settings.partial_age
        if directory is None or self.is_worker:
            return
        # A great many files take time, in which clients are served already.
        thread = DiskThread(self._reactor, "leftovers")
        cleaned = thread.call(lambda: clean_directory(directory, age, time.time()))
        cleaned.addCallback(lambda found: note_cleaned(directory, age, *found))
        cleaned.addErrback(self._cannot_clean, directory)
        thread.close()

    def _cannot_clean(self, reason: Failure, directory: str) -> None:
        # One that may be written to and not be read is a good place for uploads.
        if not reason.check(PermissionError):
            self._log.warn(
                "cannot look for unfinished files in {where}: {why}",
                event="leftovers_unknown",
                where=directory,
                why=reason.getErrorMessage(),
            )

    def announce(self) -> None:
        super().announce()
        store, settings = self._factory.store, self._settings
        if not store.takes:
            self._log.info("uploads go {where}", event="serving", where=store.description)
        elif store.keeps:
            self._log.info("uploads go to {where}", event="serving", where=store.description)
            if settings.directory is not None:
                self._announce_directory()
            if not settings.sync:
                self._log.warn(
                    "uploads are stored, but not synced: a loss of power may take what was confirmed",
                    event="setup_warning",
                )
        else:
            self._log.warn("uploads go {where}, and clients are told", event="setup_warning", where=store.description)
        if settings.on_stored is not None:
            self._log.info("for each stored file this runs: {command}", event="serving", command=settings.on_stored[0])
        files = self._factory.files
        if files.share is not None:
            line = "clients may get and list all that is in {where}"
            if files.share_per_login:
                line = "each login may get and list what is in its own folder in {where}"
            self._log.info(line, event="serving", where=files.share)
        keys = settings.authorized_keys
        # Where nothing else checks who it is.
        if settings.checker is None and keys is not None and (files.directory is not None or files.share_per_login):
            if keys.file.value.has_any_login:
                self._log.warn(
                    "a client whose key has no login in its line of {path} may give any, and so reach any folder",
                    event="setup_warning",
                    path=keys.file.path,
                )

    def _announce_directory(self) -> None:
        settings = self._settings
        if 2 in settings.versions:
            becomes = {
                "rename": "gets a number behind its name",
                "replace": "takes the place of that one",
                "refuse": "is refused",
            }[settings.existing]
            self._log.info(
                "clients of version 2 have a folder each there, by their login; a file whose name is taken {becomes}",
                event="serving",
                becomes=becomes,
            )
        if settings.quota is not None:
            self._log.info(
                "the folder of a login may have {size}", event="serving", size=describe_limit(settings.quota)
            )
            # They stand beside these folders, under names that the server makes.
            if 1 in settings.versions:
                self._log.warn(
                    "uploads of version 1 count towards no quota; --protocol 2 takes none of them",
                    event="setup_warning",
                )

    def listens(self, description: str, address: IAddress) -> None:
        super().listens(description, address)
        settings = self._settings
        if self._factory.store.takes:
            what = "files" if settings.directory is not None and 2 in settings.versions else "a file"
            command = send_command(description, address, settings)
            self._log.info("to send {what} here: {command}", event="advice", what=what, command=command)
        if settings.share is not None:
            self._log.info(
                "to get files from here: {command}", event="advice", command=get_command(description, address, settings)
            )
            self._log.info(
                "to list them: {command}", event="advice", command=list_command(description, address, settings)
            )

    def drain(self) -> Deferred[None] | None:
        on_stored = self._on_stored
        draining = super().drain()
        if draining is None or on_stored is None:
            return draining
        until = self._clock.seconds() + self._settings.drain_timeout
        if not on_stored.is_idle:
            self._log.info(
                "stopping; files whose command of --on-stored gets {seconds:g} seconds to end, unless SIGTERM or "
                "Ctrl-C comes again: {count}",
                event="draining",
                seconds=self._settings.drain_timeout,
                count=on_stored.unfinished,
            )

        def finish(_: None) -> Deferred[None]:
            # What was stored meanwhile has its command, too.
            return on_stored.finish(until - self._clock.seconds())

        return draining.addCallback(finish)

    def hurry(self) -> None:
        super().hurry()
        if self._on_stored is not None:
            self._on_stored.stop()

    def drop(self) -> None:
        super().drop()
        if self._on_stored is not None:
            self._on_stored.stop()
        # Behind a slow disk or pipe an upload goes on without its connection.
        for receiver in list(self._factory.receiving):
            receiver.give_up(STOPPING)

    def is_idle(self) -> bool:
        runs = self._on_stored is not None and not self._on_stored.is_idle
        return super().is_idle() and not self._factory.receiving and not runs


class ForwardService(SodiumService):
    """``twistd sodium --forward``, which hands streams to another endpoint."""

    _factory: StreamServerFactory

    def change(self, options: Any) -> None:
        # Made anew, since it may name certificates.
        backend = forward_endpoint(self._settings, self._reactor)
        super().change(options)
        tunnel, limits = self._tunnel(), self._factory.admission.limits
        lines = TunnelLimits(limits.connections, limits.stranger_lines)
        tunnel.change(backend, tunnel.where, lines, self._settings.timeouts)

    def _tunnel(self) -> TunnelFactory:
        tunnel = self._factory.application
        assert isinstance(tunnel, TunnelFactory)
        return tunnel

    def announce(self) -> None:
        super().announce()
        assert self._settings.forward is not None
        self._log.info("streams go to {where}", event="serving", where=masked(self._settings.forward))

    def is_idle(self) -> bool:
        # What clients sent before they were dropped is on its way to where it goes.
        return super().is_idle() and not self._tunnel().ends

    def listens(self, description: str, address: IAddress) -> None:
        super().listens(description, address)
        command = tunnel_command(description, address, self._settings)
        self._log.info("to connect a local port to this: {command}", event="advice", command=command)
        command = pipe_command(description, address, self._settings)
        self._log.info("to connect a program's input and output: {command}", event="advice", command=command)
