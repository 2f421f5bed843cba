"""
Room for connections among the file descriptors that the process may have.
"""

from __future__ import annotations

import resource
from dataclasses import replace

from twisted.logger import Logger

from ..admission.limits import Limits

_log = Logger()

#: Descriptors for the program itself, its log, its database and its endpoints.
PROGRAM_DESCRIPTORS = 64

#: What an authenticated connection may take: its socket, and a file or the socket of a backend. A
#: stranger's takes one.
CONNECTION_DESCRIPTORS = 2


def make_room(limits: Limits) -> Limits:
    """
    Have the process allowed as many descriptors as its connections may take, as far as the system lets
    it; lower the limits to what there is room for, so that strangers never take the last ones.

    :param limits: as they are asked for.
    :return: limits that fit.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    strangers = min(limits.unauthenticated, limits.connections)
    wanted = PROGRAM_DESCRIPTORS + strangers + CONNECTION_DESCRIPTORS * (limits.connections - strangers)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        soft = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    if soft == resource.RLIM_INFINITY or soft >= wanted:
        return limits
    room = max(2, soft - PROGRAM_DESCRIPTORS)
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
