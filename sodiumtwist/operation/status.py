"""
What whoever is on call asks of a service: its numbers, its clients, and whether it takes new ones. The site of
``--metrics`` shows it, whatever is behind: one process, or several whose numbers are summed up.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Union

from twisted.internet.defer import Deferred
from zope.interface import Interface

from .values import Value

#: How many clients the page shows at most. The others are counted.
SHOWN_CLIENTS = 1_000


@dataclass(frozen=True)
class Client:
    """
    Who is connected. Nothing of it is secret, and all of it is text that others have chosen: show it with care.

    :ivar login: ``None`` where there is none, as at a tunnel.
    :ivar address: from where.
    :ivar version: of the protocol; ``None`` where none is spoken.
    :ivar since: when it has connected, in seconds since the epoch.
    :ivar bytes_received: from it, by now.
    :ivar bytes_sent: to it, by now.
    """

    login: str | None
    address: str
    version: int | None
    since: float
    bytes_received: int
    bytes_sent: int


@dataclass(frozen=True)
class Clients:
    """
    Those that are connected, and let in.

    :ivar count: all of them.
    :ivar shown: some of them, those that came first; at most :data:`SHOWN_CLIENTS`.
    """

    count: int = 0
    shown: list[Client] = field(default_factory=list)


@dataclass(frozen=True)
class Health:
    """
    Whether a service takes new clients.

    :ivar listening: whether it listens on all its places.
    :ivar draining: whether it is about to stop, and lets its clients finish.
    """

    listening: bool = True
    draining: bool = False

    @property
    def is_ready(self) -> bool:
        """Whether a balancer may send clients here."""
        return self.listening and not self.draining

    @property
    def word(self) -> str:
        """The same for people and balancers: ``ok``, ``draining`` or ``not listening``."""
        return "draining" if self.draining else "ok" if self.listening else "not listening"


Metrics = Union["Deferred[list[Value]]", list[Value]]


class IStatus(Interface):
    """
    What can be asked of a service while it runs. Each answer is there at once, or comes by a Deferred. All is called in
    the reactor's thread.
    """

    def metrics() -> Metrics:
        """Return all numbers, see :mod:`sodiumtwist.operation.values`."""

    def clients() -> Deferred[Clients] | Clients:
        """Return who is connected."""

    def health() -> Deferred[Health] | Health:
        """Return whether new clients are taken."""
