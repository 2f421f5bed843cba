"""
What runs beside the services of ``twistd``.
"""

from __future__ import annotations

import os
from typing import Any, TypeVar

from ..operation.notify import notifier
from ..protocol.factories import SodiumServerFactory
from ..tunnel import TunnelFactory
from .listening import ListeningService
from .service_options import ServiceOptions
from .status_companion import with_status

Made = TypeVar("Made", bound=ListeningService)


def accompany(
    service: Made, factory: SodiumServerFactory | TunnelFactory, options: ServiceOptions, reactor: Any
) -> Made:
    """
    Put beside a service what its command line asks for, and what has started it.

    :param service: that was made.
    :param factory: makes its connections.
    :param options: its command line.
    :param reactor: what the companions use.
    :raises SystemExit: with one line, when what is asked for can't be had.
    """
    service.options = options
    with_status(service, factory, options, reactor)
    # The supervisor tells it for its workers.
    telling = None if service.is_worker else notifier(os.environ, service.all_sessions, reactor)
    if telling is not None:
        service.companions.append(telling)
    return service
