"""
``--metrics``: what a service tells of itself, to Prometheus, balancers and people.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any, TypeVar

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IListeningPort, IStreamServerEndpoint

from ..contacts.addresses import leaves_port_out
from ..describe import masked, printable
from ..describe.log import Logger, describe_address
from ..operation.companions import Companion
from ..operation.lag import Lag
from ..operation.status import Health, IStatus
from ..protocol.clock import steady_clock
from ..protocol.factories import SodiumServerFactory
from ..tunnel import TunnelFactory
from .endpoint_strings import interface_of, is_local, parse_listening
from .listening import ListeningService
from .service_options import ServiceOptions

#: What errors show as a place to listen on.
EXAMPLE_METRICS = "127.0.0.1:9100"

#: How many connections the site has at once. One more takes the place of the oldest.
SITE_CONNECTIONS = 64

Made = TypeVar("Made", bound=ListeningService)


class StatusCompanion(Companion):
    """
    Serves the site of a service, from before it listens until all its connections are over: who balances learns that it
    drains.

    :param service: whose.
    :param factory: makes its connections.
    :param description: the endpoint string of the site.
    :param endpoint: it.
    :param reactor: tells the time, and runs the threads in which numbers become text.
    :param program: the name of the service.
    """

    _log = Logger()

    def __init__(
        self,
        service: ListeningService,
        factory: SodiumServerFactory | TunnelFactory,
        description: str,
        endpoint: IStreamServerEndpoint,
        reactor: Any,
        program: str,
    ) -> None:
        # Not at the top: they bring in Twisted's web server and Prometheus' client, which most services need not load.
        from ..operation.service_status import status_of
        from ..operation.site import ShortConnections, StatusSite
        from ..operation.workers_status import WorkersStatus

        self._service = service
        self._description = description
        self._endpoint = endpoint
        self._port: IListeningPort | None = None
        clock = steady_clock(reactor)
        self._lag = Lag(clock)
        status: IStatus = status_of(factory, self._lag, self._health)
        if service.workers is not None:
            # How late the workers are, the numbers tell; the supervisor has little to do.
            status = WorkersStatus(service.workers, status, lambda: replace(self._health(), late=None))
        names = [name for name in [interface_of(description)] if name]
        self._connections = ShortConnections(StatusSite(status, clock, program, names), clock, SITE_CONNECTIONS)

    def _health(self) -> Health:
        return Health(self._service.is_listening, self._service.is_draining, self._lag.latest)

    def prepare(self) -> None:
        self._port = self._service.listen_beside(self._description, self._endpoint, self._connections)

    def started(self) -> None:
        assert self._port is not None
        self._lag.start()
        self._log.info(
            "metrics, health and a page are at {address}",
            event="status_listening",
            address=describe_address(self._port.getHost()),
        )
        if not is_local(self._description):
            self._log.warn(
                "whoever can reach {where} sees who is connected",
                event="setup_warning",
                where=masked(self._description),
            )

    def stopped(self) -> Deferred[None] | None:
        self._lag.stop()
        port, self._port = self._port, None
        if port is None:
            return None
        closing = port.stopListening()
        self._connections.drop()
        return closing


class WorkerStatusCompanion(Companion):
    """
    Has a worker tell its supervisor of itself, whose site shows it.

    :param service: of the worker.
    :param factory: makes its connections.
    :param reactor: tells the time.
    """

    def __init__(self, service: ListeningService, factory: SodiumServerFactory | TunnelFactory, reactor: Any) -> None:
        from ..operation.service_status import status_of

        self._lag = Lag(steady_clock(reactor))
        service.status = status_of(factory, self._lag, lambda: Health(service.is_listening, service.is_draining))

    def started(self) -> None:
        self._lag.start()

    def stopped(self) -> None:
        self._lag.stop()


def descriptors_beside(options: ServiceOptions) -> int:
    """Tell how many descriptors what ``--metrics`` asks for may take."""
    # Those that had to go may have theirs for a moment longer.
    return 0 if options["metrics"] is None else 1 + 2 * SITE_CONNECTIONS


def with_status(
    service: Made, factory: SodiumServerFactory | TunnelFactory, options: ServiceOptions, reactor: Any
) -> Made:
    """
    Add what ``--metrics`` asks for.

    :param service: that was made.
    :param factory: makes its connections.
    :param options: its command line.
    :param reactor: what to listen with.
    :raises SystemExit: with one line, when it can't be had.
    """
    given = options["metrics"]
    if given is not None and service.is_worker:
        service.companions.append(WorkerStatusCompanion(service, factory, reactor))
    elif given is not None:
        if leaves_port_out(given):
            # The port that servers have by default is that of the service, most likely.
            raise SystemExit(
                printable(f"{options.program}: --metrics {given}: there is no port; give one, as {EXAMPLE_METRICS}")
            )
        description, endpoint = parse_listening(reactor, options.program, "--metrics", given, EXAMPLE_METRICS)
        service.companions.append(StatusCompanion(service, factory, description, endpoint, reactor, options.program))
    return service
