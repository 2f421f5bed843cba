"""
What a server remembers of the handshakes it accepted.

Nothing in a CLIENT_AUTH is tied to time, so whoever recorded a session can send it again. A server
that remembers every handshake it accepted lets none in twice. It knows them by *fingerprints*:
16 bytes, made by BLAKE2b of the sealed CLIENT_AUTH.
"""

from __future__ import annotations

from collections import deque

from twisted.internet.defer import Deferred
from twisted.logger import Logger
from zope.interface import Interface, implementer

from ..core.errors import LocalProtocolError


class IReplayMemory(Interface):
    """
    Remembers handshakes. When a method fails, or its Deferred, the client is refused.
    """

    def knows(fingerprint: bytes) -> bool | Deferred[bool]:
        """
        Tell whether a handshake is remembered: a first look, before its login is checked.

        :param fingerprint: 16 bytes.
        """

    def remember(fingerprint: bytes) -> bool | Deferred[bool]:
        """
        Remember a handshake whose login was accepted, before the client is let in. Of any number of
        calls with one fingerprint, at the same time or not, one says that it was new.

        :param fingerprint: 16 bytes.
        :return: whether it was new. It is remembered from now on, in either case.
        """


class _LimitedMemory:
    """
    :param limit: how many handshakes to remember.
    :raises LocalProtocolError: when that is less than one.
    """

    _log = Logger()

    _warned = False

    def __init__(self, limit: int) -> None:
        if limit < 1:
            raise LocalProtocolError(f"a limit of {limit} handshakes remembers none; 1 is the least")
        self._limit = limit

    def _forgot(self) -> None:
        if not self._warned:
            self._warned = True
            self._log.warn(
                "more than {limit} handshakes were accepted; the oldest are forgotten from now on, "
                "and recordings of them would be let in again",
                limit=self._limit,
            )


@implementer(IReplayMemory)
class ReplayMemory(_LimitedMemory):
    """
    Remembers handshakes until the process ends; what was recorded before is let in again after it.

    A handshake takes some 105 bytes, up to 140 while the table grows, so the default limit takes at
    most 14 MB. Beyond the limit the oldest are forgotten, of which the log warns once.

    :param limit: how many handshakes to remember.
    :raises LocalProtocolError: when that is less than one.
    """

    def __init__(self, limit: int = 100_000) -> None:
        super().__init__(limit)
        # A dict keeps the order, too, but finding its oldest takes long when many before it are gone.
        self._known: set[bytes] = set()
        self._order: deque[bytes] = deque()

    def knows(self, fingerprint: bytes) -> bool:
        """As :meth:`~sodiumtwist.admission.replays.IReplayMemory.knows`."""
        return fingerprint in self._known

    def remember(self, fingerprint: bytes) -> bool:
        """As :meth:`~sodiumtwist.admission.replays.IReplayMemory.remember`."""
        if fingerprint in self._known:
            return False
        self._known.add(fingerprint)
        self._order.append(fingerprint)
        if len(self._order) > self._limit:
            self._known.remove(self._order.popleft())
            self._forgot()
        return True
