"""
What a worker is told when it starts: which service it runs, which sockets are its own, and what it may not read
itself. It comes through a pipe, since command lines and environments are seen by others.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

#: The descriptors of a worker, beside the usual three: standard input has what its supervisor says, and what is written
#: to the other two is of no program of ours.
ORDERS, LOG, ANSWERS = 3, 4, 5

#: The memory in which all workers count, see :mod:`~sodiumtwist.admission.shared_counts`.
SHARED = 6

#: The first descriptor of those that listen.
FIRST_SOCKET = 7


@dataclass(frozen=True)
class Orders:
    """
    What a worker is told.

    :ivar program: the name of the service.
    :ivar words: of its command line. They may have secrets in them.
    :ivar number: which worker it is, from 1.
    :ivar count: how many there are.
    :ivar directory: where the words were given: relative paths in them are meant from there.
    :ivar endpoints: the endpoint strings of the sockets that listen.
    :ivar families: their address families.
    :ivar read: what the supervisor has read, perhaps as root, and a worker can't: keys, passphrases.
    :ivar replays: the path of a database in which all of them remember handshakes of version 1, where none is given.
    :ivar reactor: the name of the reactor, as ``twistd --reactor`` takes it; ``None`` for the default one.
    """

    program: str
    words: tuple[str, ...] = field(repr=False)
    number: int
    count: int
    directory: str
    endpoints: tuple[str, ...] = field(repr=False)
    families: tuple[int, ...]
    read: Mapping[str, Any] = field(repr=False)
    replays: str = ""
    reactor: str | None = None

    def as_bytes(self) -> bytes:
        """Give what goes through the pipe."""
        return json.dumps(asdict(self)).encode()


def read_orders(descriptor: int = ORDERS) -> Orders:
    """
    Read what a worker is told, and close the pipe that it comes through.

    :raises ValueError: when that is nothing, since whoever was to say it is gone.
    """
    with os.fdopen(descriptor, "rb") as pipe:
        told = json.loads(pipe.read())
    return Orders(
        **{
            **told,
            "words": tuple(told["words"]),
            "endpoints": tuple(told["endpoints"]),
            "families": tuple(told["families"]),
        }
    )
