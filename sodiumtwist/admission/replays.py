"""
What a server remembers of the handshakes of version 1 that it accepted. In version 2 none can be sent again.

Nothing in a CLIENT_AUTH is tied to time, so anyone who recorded a session can send it again. A server
that remembers every handshake that it accepted lets none in twice. It knows each by its *fingerprint*:
16 bytes, made by BLAKE2b from the sealed CLIENT_AUTH.
"""

from __future__ import annotations

from collections import deque

from twisted.internet.defer import Deferred
from zope.interface import Interface, implementer

from ..core.errors import LocalProtocolError
from ..describe.log import Logger


class IReplayMemory(Interface):
    """
    Remembers handshakes of version 1; of clients of version 2 it is asked nothing. When a method raises, or its
    Deferred fails, the client is refused.
    """

    def knows(fingerprint: bytes) -> bool | Deferred[bool]:
        """
        Tell whether a handshake is remembered. It is asked first, before the login is checked, since that may be
        expensive.

        :param fingerprint: 16 bytes.
        """

    def remember(fingerprint: bytes) -> bool | Deferred[bool]:
        """
        Remember a handshake whose login was accepted, before the client is let in. When there are several
        calls with one fingerprint, at the same time or not, only one of them says that it was new.

        :param fingerprint: 16 bytes.
        :return: whether it was new. In either case it is remembered from now on.
        """


class _LimitedMemory:
    """
    What both memories have in common: a limit, and a warning when it is reached.

    :param limit: how many handshakes to remember.
    :raises LocalProtocolError: when that is less than one.
    """

    _log = Logger()

    _warned = False

    def __init__(self, limit: int) -> None:
        if limit < 1:
            raise LocalProtocolError(f"a limit of {limit} handshakes remembers none; 1 is the least")
        self._limit = limit

    @property
    def limit(self) -> int:
        """How many handshakes are remembered at most."""
        return self._limit

    def _warn_of_forgetting(self) -> None:
        # From now on each login forgets a handshake. One line is enough.
        if not self._warned:
            self._warned = True
            self._log.warn(
                "more than {limit} handshakes were accepted; the oldest are forgotten from now on, "
                "and recordings of them would be let in again",
                event="replays_forgotten",
                limit=self._limit,
            )


@implementer(IReplayMemory)
class ReplayMemory(_LimitedMemory):
    """
    Remembers handshakes until the process ends. The next process lets a recording in again.

    A handshake takes some 105 bytes, up to 140 while the table grows, so the default limit takes at
    most 14 MB. Beyond the limit the oldest are forgotten, and the log warns of that once.

    :param limit: how many handshakes to remember.
    :raises LocalProtocolError: when that is less than one.
    """

    def __init__(self, limit: int = 100_000) -> None:
        super().__init__(limit)
        # A dict keeps an order, too, but it looks for its oldest entry among all places of those that were deleted.
        self._known: set[bytes] = set()
        self._order: deque[bytes] = deque()

    def counted(self) -> int:
        """Count the handshakes that are remembered."""
        return len(self._order)

    def knows(self, fingerprint: bytes) -> bool:
        """Tell whether a handshake is remembered, see :meth:`~sodiumtwist.admission.replays.IReplayMemory.knows`."""
        return fingerprint in self._known

    def remember(self, fingerprint: bytes) -> bool:
        """Remember a handshake, see :meth:`~sodiumtwist.admission.replays.IReplayMemory.remember`."""
        if fingerprint in self._known:
            return False
        self._known.add(fingerprint)
        self._order.append(fingerprint)
        if len(self._order) > self._limit:
            self._known.remove(self._order.popleft())
            self._warn_of_forgetting()
        return True
