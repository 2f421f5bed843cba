"""
Sees to it that there are file descriptors for all connections.
"""

from __future__ import annotations

import resource
from dataclasses import replace

from twisted.logger import Logger

from ..admission.limits import Limits

_log = Logger()

#: Descriptors for the program itself, its log, its database and its endpoints.
PROGRAM_DESCRIPTORS = 64

#: Descriptors that an authenticated connection may take: its socket, and a file or the socket of a backend. A
#: stranger's connection takes one, since nothing is opened for it.
CONNECTION_DESCRIPTORS = 2


def make_room(limits: Limits) -> Limits:
    """
    Let the process have as many descriptors as its connections may take, as far as the system allows it. When that
    is not enough, lower the limits and say so in the log.

    :param limits: the limits that are asked for.
    :return: limits for which there are descriptors.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    strangers = min(limits.unauthenticated, limits.connections)
    wanted = PROGRAM_DESCRIPTORS + strangers + CONNECTION_DESCRIPTORS * (limits.connections - strangers)
    # A soft limit is only somebody's default. Each process may raise its own, up to the hard one.
    if soft != resource.RLIM_INFINITY and soft < wanted:
        soft = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    if soft == resource.RLIM_INFINITY or soft >= wanted:
        return limits
    # At least one stranger, and one who is let in: a server with less serves nobody.
    room = max(2, soft - PROGRAM_DESCRIPTORS)
    # Half of them at most, so that strangers never take the last ones.
    strangers = min(strangers, room // 2)
    connections = min(limits.connections, strangers + (room - strangers) // CONNECTION_DESCRIPTORS)
    fitting = replace(limits, connections=connections, unauthenticated=strangers)
    _log.warn(
        "this process may have {count} file descriptors: the limits are {connections} connections, {unauthenticated} "
        "of them not authenticated; raise it with ulimit -n, or LimitNOFILE= in a unit of systemd",
        count=soft,
        connections=fitting.connections,
        unauthenticated=fitting.unauthenticated,
    )
    return fitting
