"""
Services that listen on endpoints.
"""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Generator, Mapping
from contextlib import suppress
from typing import Any, NoReturn

from twisted.application.service import Service
from twisted.internet.defer import Deferred, DeferredList, inlineCallbacks, maybeDeferred
from twisted.internet.error import CannotListenError, ConnectionDone
from twisted.internet.interfaces import (
    IAddress,
    IListeningPort,
    IProtocolFactory,
    IStreamServerEndpoint,
)
from twisted.internet.task import deferLater
from twisted.logger import ILogObserver
from twisted.python.failure import Failure

from ..describe import describe_endpoint_error, describe_os_error, masked, printable
from ..describe.log import Logger, describe_address
from ..operation.certificates import RenewedEndpoint
from ..operation.companions import Companion
from ..operation.logs import LOG_OBSERVER, reopen_logs
from ..operation.status import IStatus
from ..operation.workers import Workers
from ..protocol.clock import steady_clock
from .endpoint_strings import address_remedy, is_alive, lock_owner, path_of_socket, socket_remedy
from .interrupts import end_in_order, wait_for_reactor
from .service_options import ServiceOptions
from .service_user import acting_as, service_user

#: Seconds that stopping may take when connections have had their time to finish. It needs an end: while a service
#: stops, twistd does not hear SIGTERM.
STOP_TIMEOUT = 5.0

#: A signal so few seconds behind the one that stops the service is the same wish: some programs send it to the process
#: and to its group.
SAME_SIGNAL = 0.5

#: Seconds between two looks whether all connections are closed.
STOP_POLL = 0.01


class ListeningService(Service):
    """
    Listens on endpoints with one factory, and says so in the log.

    :param program: the name of the service, for lines about what went wrong.
    :param endpoints: the endpoint strings, each with its endpoint.
    :param factory: makes the protocols.
    :param reactor: tells the time while the service stops.
    :param twistd: the options of ``twistd`` itself, which adds to them until the service starts; empty when there are
        none.
    :ivar companions: what runs beside it. Whoever makes the service adds to them before it starts.
    :ivar workers: the processes that serve in place of this one; ``None`` where this one does.
    :ivar status: what can be asked of it; ``None`` where nobody wants to know.
    :ivar is_worker: whether this process is one of those. What is for all of them its supervisor does.
    """

    _log = Logger()

    workers: Workers | None = None
    is_worker = False
    status: IStatus | None = None
    #: What it was asked for, to be parsed again. Whoever makes the service sets them.
    options: ServiceOptions | None = None

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
        self._clock = steady_clock(reactor)
        self._twistd = twistd
        self._ports: list[IListeningPort] = []
        self._beside: list[IListeningPort] = []
        self._stopping = math.inf
        #: Those whose certificates can be read again.
        self._renewed: list[RenewedEndpoint] = []
        self.companions: list[Companion] = []

    @property
    def is_draining(self) -> bool:
        """Whether it is about to stop, or has stopped: it takes no new connections."""
        return self._stopping < math.inf

    @property
    def is_listening(self) -> bool:
        """Whether it listens, at all of its places, and somebody accepts there."""
        return bool(self._ports) and (self.workers is None or self.workers.serving > 0)

    def setServiceParent(self, parent: Any) -> None:
        """
        Become a part of what ``twistd`` runs, and give that the log which the options ask for.

        :param parent: what ``twistd`` runs.
        :raises SystemExit: with one line, when the log can't be written.
        """
        super().setServiceParent(parent)  # type: ignore[no-untyped-call]
        make_observer = self._twistd.get(LOG_OBSERVER)
        if make_observer is None:
            return
        try:
            parent.setComponent(ILogObserver, make_observer(self._reactor))
        except OSError as error:
            raise SystemExit(printable(f"{self._program}: the log file: {describe_os_error(error)}")) from None

    def announce(self) -> None:
        """Log what the service will do. For subclasses."""

    def listens(self, description: str, address: IAddress) -> None:
        """
        Log how to use a place where the service listens. For subclasses.

        :param description: the endpoint string.
        :param address: where it listens, with the number that port 0 became.
        """

    def change(self, options: Any) -> None:
        """
        Take what its options say by now. For subclasses.

        :param options: parsed again, of the class that it was started with.
        :raises SystemExit: with one line, when something is wrong. Then nothing has changed.
        """

    def drain(self) -> Deferred[None] | None:
        """
        Let the connections finish what is under way. For subclasses.

        :return: fires when they have, or had their time; ``None`` when there is nothing to wait for.
        """
        return None

    def hurry(self) -> None:
        """Wait no longer for what :meth:`drain` has begun. For subclasses."""

    def drop(self) -> None:
        """Drop all connections at once. For subclasses."""

    def is_idle(self) -> bool:
        """Tell whether nothing is connected, and nothing is left to be finished. For subclasses."""
        return True

    def sessions(self) -> int:
        """Count those who are connected and let in. For subclasses."""
        return 0

    def all_sessions(self) -> int:
        """Count those who are connected and let in, of all processes."""
        return self.sessions() if self.workers is None else self.workers.sessions()

    def release(self) -> Deferred[None] | None:
        """
        Close what is kept open. It is called when nothing is connected any more, or the time is up. For subclasses.

        :return: fires when it is closed; ``None`` when there is nothing to wait for.
        """
        return None

    def privilegedStartService(self) -> None:
        """
        Listen.

        :raises SystemExit: when an endpoint can't be listened on, which a critical line in the log explains.
        """
        super().privilegedStartService()  # type: ignore[no-untyped-call]
        # Only twistd calls this, before the reactor runs.
        if self._twistd:
            wait_for_reactor(self._reactor)
        self._listen()

    def startService(self) -> None:
        """
        Listen, unless :meth:`privilegedStartService` did.

        :raises SystemExit: when an endpoint can't be listened on, or there is no room for what workers share, which a
            critical line in the log explains.
        """
        super().startService()  # type: ignore[no-untyped-call]
        self._stopping = math.inf
        # twistd calls both methods, twist only this one.
        if not self._ports:
            self._listen()
        if self.workers is not None:
            try:
                self.workers.prepare()
            except OSError as error:
                self._give_up(f"cannot start workers: {describe_os_error(error)}")
        # Not before: the reactor takes over the signals when it starts.
        self._reactor.callWhenRunning(end_in_order, self._reactor, self.reload, self._note_hangup, self._note_another)
        if self.workers is None:
            self._tell(Companion.started)
            return
        self._reactor.callWhenRunning(self.workers.start)
        self.workers.ready.addCallback(lambda _: self._workers_serve())

    def _workers_serve(self) -> None:
        # Also one that is stopped before it is ready says that it serves, before it leaves.
        if not self.is_draining:
            self._tell(Companion.started)

    def _tell(self, what: Callable[[Companion], Deferred[None] | None]) -> Deferred[Any]:
        """
        Tell all companions.

        :param what: the method of :class:`~sodiumtwist.operation.companions.Companion` that says it.
        :return: fires when they are done with it, and does not fail.
        """
        return DeferredList([self._tell_one(companion, what.__name__) for companion in self.companions])

    def _tell_one(self, companion: Companion, what: str) -> Deferred[None]:
        def failed(reason: Failure) -> None:
            self._log.failure("{who} failed", reason, event="companion_failed", who=type(companion).__name__)

        told: Deferred[None] = maybeDeferred(getattr(companion, what))
        return told.addErrback(failed)

    def reload(self) -> bool:
        """
        Read what files say now: keys, passphrases, servers, certificates, options. It holds for all connections from
        now on; those that are there go on. What is wrong, or can't be read, changes nothing, and the log tells it in
        one line. Nothing that listens is closed.

        :return: whether all of it holds.
        """
        if self.is_draining:
            return False
        self._tell(Companion.reloading)
        # First: what follows is for the log that is there by now.
        reopen_logs()
        # Each by itself: a certificate that is broken keeps nobody out who was taken off a list.
        wrong, only_at_start = self._renew_options()
        wrong += [line for endpoint in self._renewed if (line := endpoint.renew()) is not None]
        if wrong:
            self._log.error(
                "not all could be read again, so this is as it was before: {wrong}",
                event="reload_failed",
                wrong="; ".join(wrong),
            )
        elif not self.is_worker:
            self._log.info("read again what files say; it holds for connections from now on", event="reloaded")
        if self.workers is not None and self.options is not None:
            # Also where something is wrong: they have what holds of the rest.
            self.workers.reload(self.options.words_for_workers(), self.options.read, self.options.drain_timeout())
        if only_at_start and not self.is_worker:
            self._log.warn(
                "these take effect when {program} is started again: {options}",
                event="reload_incomplete",
                program=self._program,
                options=", ".join(only_at_start),
            )
        self._tell(Companion.reloaded)
        return not wrong

    def _renew_options(self) -> tuple[list[str], list[str]]:
        """
        Parse the options again, and take what they say.

        :return: what was wrong, and the options that take effect at the next start alone.
        """
        if self.options is None:
            return [], []
        try:
            options = self.options.again()
            self.change(options)
        except SystemExit as error:
            return [str(error.code).removeprefix(f"{self._program}: ")], []
        except Exception:
            self._log.failure("the options could not be read again", event="reload_crashed")
            return ["a fault of the program, which is told above"], []
        self.options = options
        return options.held, options.only_at_start()

    def _note_hangup(self) -> None:
        self._log.warn(
            "the terminal is gone, which ends {program} in order, as SIGTERM does",
            event="hangup",
            program=self._program,
        )

    def _note_another(self) -> None:
        if self._clock.seconds() - self._stopping < SAME_SIGNAL:
            return
        if self.workers is not None:
            self.workers.hurry()
        self.hurry()

    def _listen(self) -> None:
        for companion in self.companions:
            companion.prepare()
        if not self.is_worker:
            self.announce()
        for description, endpoint in self._endpoints:
            self._listens(self._listen_at(description, endpoint, self._factory), description)

    def listen_beside(
        self, description: str, endpoint: IStreamServerEndpoint, factory: IProtocolFactory
    ) -> IListeningPort:
        """
        Listen with something else, beside what the service is for. Whoever does so closes the port when it stops.

        :param description: the endpoint string.
        :param endpoint: it.
        :param factory: makes the protocols.
        :raises SystemExit: when it can't be listened on, which a critical line in the log explains.
        """
        port = self._listen_at(description, endpoint, factory)
        self._beside.append(port)
        return port

    def _listen_at(
        self, description: str, endpoint: IStreamServerEndpoint, factory: IProtocolFactory
    ) -> IListeningPort:
        if isinstance(endpoint, RenewedEndpoint) and endpoint not in self._renewed:
            self._renewed.append(endpoint)
        path = path_of_socket(description)
        if path is not None:
            self._note_abandoned(path)
        # What can't be listened on without root is a port. A socket is a file, which its user must be able to take
        # away at the end.
        with acting_as(service_user(self._twistd) if path is not None else None):
            listening = maybeDeferred(endpoint.listen, factory)
        ports: list[IListeningPort] = []
        listening.addCallbacks(ports.append, self._cannot_listen, errbackArgs=(description,))
        # An endpoint for servers fires at once. SystemExit of _cannot_listen() has to leave this method: within the
        # Deferred it would end nothing.
        failures: list[Failure] = []
        listening.addErrback(failures.append)
        if failures:
            failures[0].raiseException()
        return ports[0]

    def _note_abandoned(self, path: str) -> None:
        owner = lock_owner(path)
        if owner is not None and not is_alive(owner):
            # Twisted replaces both.
            self._log.warn(
                "the socket {path} and its lock are left of process {pid}, which was killed; they are made anew",
                event="socket_left",
                path=repr(path),
                pid=owner,
            )

    def _listens(self, port: IListeningPort, description: str) -> None:
        self._ports.append(port)
        if self.is_worker:
            return
        if self.workers is not None:
            self.workers.take(description, port)
        address = port.getHost()
        self._log.info("listening on {address}", event="listening", address=describe_address(address))
        self.listens(description, address)

    def _cannot_listen(self, reason: Failure, description: str) -> None:
        # The system's own error is inside Twisted's, which says the address once more.
        error = reason.value.socketError if isinstance(reason.value, CannotListenError) else reason.value
        why = describe_endpoint_error(error)
        path = path_of_socket(description)
        if path is None:
            why += address_remedy(error)
        else:
            user = service_user(self._twistd)
            remedy = socket_remedy(path)
            if user is not None and isinstance(error, PermissionError) and not remedy:
                # To make a socket its folder is written to, which the error does not name.
                folder = os.path.dirname(os.path.abspath(path))
                with user.acting():
                    why = user.explain(PermissionError(error.errno, error.strerror, folder))
            else:
                why += remedy
            # Twisted has made it before it found the path taken.
            if lock_owner(path) == os.getpid():
                with suppress(OSError):
                    os.unlink(f"{path}.lock")
        self._give_up(f"cannot listen on {masked(description)}: {why}")

    def _give_up(self, why: str) -> NoReturn:
        """
        End before the service has begun.

        :raises SystemExit: always.
        """
        line = f"{self._program}: {why}"
        self._log.critical("{line}", event="cannot_listen", line=line)
        for port in (*self._ports, *self._beside):
            # stopListening() would act in a later turn of the reactor, which never comes. This takes away the file of
            # a UNIX socket, and its lock.
            close = getattr(port, "connectionLost", None)
            with suppress(OSError):
                port.stopListening() if close is None else close(Failure(ConnectionDone()))
        # What twistd would do after an ordinary exception is done here, without the traceback: remove the pid
        # file, and tell the process that started the daemon, which waits for it.
        if self._twistd.get("pidfile"):
            with suppress(OSError):
                os.unlink(self._twistd["pidfile"])
        if self._twistd.get("statusPipe") is not None:
            # 100 bytes are what the other process reads.
            os.write(self._twistd["statusPipe"], f"1 {line}".encode("ascii", "backslashreplace")[:100])
        raise SystemExit(1)

    @inlineCallbacks
    def stopService(self) -> Generator[Deferred[Any], Any, None]:
        """
        Stop listening, let the connections finish, drop those that do not, and release what is kept open.

        :return: fires within 5 seconds behind the time in which connections may finish. What takes longer is not waited
            for.
        """
        super().stopService()  # type: ignore[no-untyped-call]
        self._stopping = self._clock.seconds()
        # First, so that nobody comes in while the others finish.
        ports, self._ports = self._ports, []
        closing = DeferredList([maybeDeferred(port.stopListening) for port in ports], consumeErrors=True)
        self._tell(Companion.stopping)
        # Before a port is waited for, which may take all the time.
        draining = self.drain() if self.workers is None else self.workers.stop()
        if draining is not None:
            yield draining
        limit = self._clock.seconds() + STOP_TIMEOUT

        # One limit for all that is waited for, not one for each.
        def in_time(waiting: Deferred[Any]) -> Deferred[Any]:
            # A timer takes no time below 0.
            left = max(0, limit - self._clock.seconds())
            return waiting.addTimeout(left, self._clock, lambda result, timeout: None)

        self.drop()
        yield in_time(closing)
        while not self.is_idle() and self._clock.seconds() < limit:
            yield deferLater(self._clock, STOP_POLL)
        # Last: what is connected may still need it. Also when the time is up, though then nothing waits for it.
        yield in_time(maybeDeferred(self.release))
        yield in_time(self._tell(Companion.stopped))
