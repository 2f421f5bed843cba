"""
Sees to it that there are file descriptors for all connections, and that no more are taken than the reactor can watch.
"""

from __future__ import annotations

import os
import resource
import sys
from contextlib import suppress
from dataclasses import replace
from typing import Any, TypeVar

from ..admission.limits import Limits
from ..describe.log import Logger
from ..protocol.sockets import uses_select
from ..tunnel import TunnelLimits

_log = Logger()

#: Descriptors for the program itself, its log, its database and what it looks up, beside those that are open when it
#: starts.
PROGRAM_DESCRIPTORS = 64

#: Descriptors that a connection may take: its socket, and a file, the socket of a backend, or a tunnel's other end.
#: A stranger's takes one, since nothing is opened for it; but it may become a client.
CONNECTION_DESCRIPTORS = 2

#: From this number on, select() takes no descriptor (``FD_SETSIZE``).
SELECT_DESCRIPTORS = 1024


def opened() -> int:
    """Count the descriptors that are open now, those that were inherited among them."""
    with suppress(OSError):
        return len(os.listdir("/dev/fd")) - 1  # one of them lists the others
    return 3


def raise_limit(wanted: int, reactor: Any) -> tuple[int, str]:
    """
    Let this process have as many descriptors as it wants, as far as the system and the reactor allow it.

    :param wanted: how many.
    :param reactor: what will watch them.
    :return: how many it has, and what to do to have more.
    """
    given = resource.getrlimit(resource.RLIMIT_NOFILE)
    soft, hard = (sys.maxsize if each == resource.RLIM_INFINITY else each for each in given)
    most, advice = hard, "raise that with ulimit -n, or LimitNOFILE= in a unit of systemd"
    if hard > SELECT_DESCRIPTORS and uses_select(reactor):
        most = SELECT_DESCRIPTORS
        advice = "select() takes no more; choose another reactor with twistd --reactor=, such as poll"
    # A soft limit is only somebody's default. Each process may raise its own, up to the hard one.
    count = min(max(soft, wanted), most)
    while count > soft:
        if _set_soft_limit(count, given[1]):
            return count, advice
        # Some systems tell of no hard limit and refuse all the same.
        count //= 2
    if soft > most:
        # So no descriptor gets a number that the reactor can't watch. What is too much fails when it is opened, and
        # nothing that is open is hurt.
        _set_soft_limit(most, given[1])
    return min(soft, most), advice


def _set_soft_limit(count: int, hard: int) -> bool:
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (count, hard))
    except (ValueError, OSError):
        return False
    return True


#: A default number of connections that becomes lower is told of only when less than this share of it is left.
UNTOLD_SHARE = 0.9

AnyLimits = TypeVar("AnyLimits", Limits, TunnelLimits)


def make_room(limits: AnyLimits, reactor: Any, ports: int = 1) -> AnyLimits:
    """
    Let a server or a tunnel have as many descriptors as its connections may take, as far as that goes. When that is not
    enough, lower the limits and say so in the log.

    :param limits: the limits that are asked for.
    :param reactor: what will watch the descriptors.
    :param ports: on how many ports it listens.
    :return: limits for which there are descriptors.
    """
    taken = PROGRAM_DESCRIPTORS + opened() + ports
    count, advice = raise_limit(taken + CONNECTION_DESCRIPTORS * limits.connections, reactor)
    # At least one stranger, and one who is let in: with less, nobody is served.
    connections = max(2, (count - taken) // CONNECTION_DESCRIPTORS)
    if connections >= limits.connections:
        return limits
    lower, told = {"connections": connections}, f"the limit is {connections} connections"
    if isinstance(limits, Limits):
        # All may be strangers, who take half of the descriptors then: each of them makes room for a newcomer.
        strangers = lower["unauthenticated"] = min(limits.unauthenticated, connections)
        told = f"the limits are {connections} connections, {strangers} of them not authenticated"
    lowered = replace(limits, **lower)
    default = limits.connections == type(limits).connections
    # Where it is nobody's number but ours, and about as good, there is nothing to tell.
    if (
        default
        and connections >= limits.connections * UNTOLD_SHARE
        and (lower.get("unauthenticated", 0) == getattr(limits, "unauthenticated", 0))
    ):
        return lowered
    _log.warn(
        "this process may have {count} file descriptors: {limits}; {advice}",
        event="descriptors_limited",
        count=count,
        limits=told,
        advice=advice,
    )
    return lowered
