"""
What runs beside the services of ``twistd``.
"""

from __future__ import annotations

import os
from typing import Any, TypeVar

from ..operation.notify import notifier
from .listening import ListeningService

Listening = TypeVar("Listening", bound=ListeningService)


def accompany(service: Listening, reactor: Any) -> Listening:
    """
    Put beside a service what it was started for.

    :param service: not started yet.
    :param reactor: what the companions use.
    :return: the service.
    """
    # Of several processes one is asked, and tells.
    if service.is_worker:
        return service
    telling = notifier(os.environ, service.all_sessions, reactor)
    if telling is not None:
        service.companions.append(telling)
    return service
