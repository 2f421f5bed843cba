"""
What whoever is on call asks of a service: its numbers, its clients, and whether it takes new ones. The site of
``--metrics`` shows it, whatever is behind: one process, or several whose numbers are summed up.
"""

from __future__ import annotations

from dataclasses import dataclass, field

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
    :ivar late: by how many seconds its reactor was late at most, in the last minute; ``None`` where that is not known.
    """

    listening: bool = True
    draining: bool = False
    late: float | None = None

    @property
    def is_ready(self) -> bool:
        """Whether a balancer may send clients here."""
        return self.listening and not self.draining

    @property
    def word(self) -> str:
        """The same for people and balancers: ``ok``, ``draining`` or ``not listening``."""
        return "draining" if self.draining else "ok" if self.listening else "not listening"


class IStatus(Interface):
    """
    What can be asked of a service while it runs, in the reactor's thread.
    """

    def metrics() -> Deferred[list[Value]]:
        """
        Tell all numbers.

        :return: fires with them, see :mod:`sodiumtwist.operation.values`.
        """

    def clients() -> Deferred[Clients]:
        """
        Tell who is connected.

        :return: fires with that.
        """

    def health() -> Deferred[Health]:
        """
        Tell whether new clients are taken.

        :return: fires with that.
        """
