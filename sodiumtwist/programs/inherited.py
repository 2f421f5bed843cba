"""
Sockets that systemd listens on already, and hands over to the service that it starts.
"""

from __future__ import annotations

import socket
from functools import cache
from itertools import count
from typing import Any

from twisted.internet.endpoints import serverFromString
from twisted.python import usage

from .endpoint_strings import inherited_socket


# Once: a socket that is adopted is closed under its first number, which stays in Twisted's list.
@cache
def inherited_endpoints() -> tuple[str, ...]:
    """
    Name the sockets that systemd hands over, as endpoint strings.

    :raises UsageError: when one can't be listened on.
    """
    descriptions: list[str] = []
    for index in count():
        # Twisted has read the environment, and taken out of it what says how many there are. It still tells by this.
        try:
            endpoint: Any = serverFromString(None, f"systemd:domain=INET:index={index}")
        except IndexError:
            return tuple(descriptions)
        # Its family is that of the socket, whatever the string says.
        with inherited_socket(endpoint.fileno) as inherited:
            family, kind = inherited.family, inherited.type
        if kind != socket.SOCK_STREAM or family not in (socket.AF_INET, socket.AF_INET6):
            # Twisted would take away a UNIX socket at the end, and the next service would get one without a name.
            raise usage.UsageError(
                f"systemd hands over {socket.AddressFamily(family).name} {socket.SocketKind(kind).name}, and only "
                "sockets of TCP outlive a restart; give ListenStream= a port, or let the service listen itself"
            )
        descriptions.append(f"systemd:domain={socket.AddressFamily(family).name[3:]}:index={index}")
    raise AssertionError("count() has no end")


def inherited_beside(metrics: str | None) -> tuple[str, ...]:
    """
    Name those that are not for something else.

    :param metrics: where ``--metrics`` listens; ``None`` for nowhere.
    :raises UsageError: when one can't be listened on.
    """
    descriptions = inherited_endpoints()
    if metrics is None or not metrics.startswith("systemd:"):
        return descriptions
    try:
        taken: Any = serverFromString(None, metrics)
    # What is wrong with it is told by who listens there.
    except Exception:
        return descriptions
    return tuple(
        description
        for description in descriptions
        if getattr(serverFromString(None, description), "fileno", None) != taken.fileno
    )
