"""
What a version of the protocol is to the rest of the core: a handshake that makes records, and records that
carry PDUs. Each version has a folder of its own, and only :mod:`sodiumtwist.core.connection` chooses among them.
"""

from __future__ import annotations

import math
from collections.abc import Collection
from dataclasses import dataclass
from enum import Enum
from typing import Any, Protocol, Union

from .errors import LocalProtocolError
from .events import Event
from .inbox import Inbox
from .unsent import Unsent

#: The versions of the protocol that there are.
VERSIONS = (1, 2)


def check_known(whose: str, versions: Collection[int]) -> None:
    """
    See that there is a version, and none that does not exist.

    :param whose: how errors begin, for instance "a server speaks".
    :raises LocalProtocolError: when it is not so.
    """
    if not versions or not set(versions) <= set(VERSIONS):
        raise LocalProtocolError(f"{whose} some of the versions {VERSIONS}, not {tuple(versions)}")


def version_of(text: str) -> int | None:
    """
    Read what a user gives as a version.

    :return: that one; ``None`` when there is no such version.
    """
    # Compared as text: int() takes " 2" and other ways to write it.
    return next((version for version in VERSIONS if text == str(version)), None)


class Progress(Enum):
    """What was received whole and tells the application nothing, but shows that the peer lives."""

    PROGRESS = 0


PROGRESS = Progress.PROGRESS


@dataclass(frozen=True)
class Told:
    """
    The client's first bytes have told which version it speaks.

    :ivar version: 1 or 2.
    """

    version: int


@dataclass(frozen=True)
class Refusal:
    """
    A client that has shown that it knows the server's key is to be told why it is not let in.

    :ivar code: as in REFUSED.
    :ivar text: a line for the user.
    """

    code: int
    text: str


#: What is no event for the application; ``bytes`` are what a handshake says by itself.
Step = Union[Progress, Told, Refusal, bytes]


class Phase(Protocol):
    """
    What makes events of received bytes, for as long as it lasts: a handshake, then records.
    """

    def receive(self, inbox: Inbox) -> Event | Step | None:
        """
        Make the next event.

        :param inbox: what was received; the bytes of the event are taken out of it.
        :return: ``None`` when more bytes are needed, or a decision that is not made.
        :raises RemoteProtocolError: for bytes that can't be right.
        """


class Records(Phase, Protocol):
    """
    The encrypted PDUs of both directions, once the keys are there.

    :cvar largest: the most bytes that one DATA carries.
    :cvar overhead: how many bytes a PDU takes beyond its payload, where it is counted.
    :ivar choked: whether nothing more is opened until PONGs have left.
    :ivar over: whether both ends have said all, and know it of each other.
    :ivar ended: whether we have said that no DATA comes any more.
    :ivar dialogue: of the versions that have one, who may ask and answer what; else ``None``.
    """

    largest: int
    overhead: int

    @property
    def choked(self) -> bool: ...

    @property
    def over(self) -> bool: ...

    @property
    def ended(self) -> bool: ...

    @property
    def dialogue(self) -> Any: ...

    @property
    def inside(self) -> bool:
        """Whether a part of what was received was taken out of the inbox already, and is in no event."""

    def get_buffer(self, inbox: Inbox) -> memoryview | None:
        """
        Tell where to receive what comes next.

        :param inbox: what was received, and is in no event yet.
        :return: ``None`` where it is to be received as ``bytes``.
        """

    def received(self, inbox: Inbox, size: int) -> bool:
        """
        Note that something was received there.

        :param inbox: as before.
        :param size: how many bytes.
        :return: whether there may be an event.
        """

    def ping(self, unsent: Unsent, timestamp: int) -> None:
        """
        Queue a PING.

        :param timestamp: the wall clock in nanoseconds since the epoch.
        """

    def pong(self, unsent: Unsent, timestamp: int) -> None:
        """
        Queue a PONG.

        :param timestamp: the wall clock in nanoseconds since the epoch.
        """

    def seal(self, unsent: Unsent, limit: int, passing: bool = False) -> Any:
        """
        Take PDUs from those that wait, and seal them.

        :param unsent: some wait; the packet of the handshake does not.
        :param limit: take no more of them than fit so many bytes on the wire, but at least one.
        :param passing: whether one record will do, in a view of memory in which this thread seals again.
        :return: the bytes for the wire, as ``bytes`` unless such a view will do.
        """

    def drop_unsent(self, unsent: Unsent) -> None:
        """Forget the PDUs that wait."""

    def rekey(self) -> None:
        """Have the next PDU that is sealed bring a new key."""

    def receive_no_more(self) -> None:
        """Forget the key to receive with; what is queued can still be sealed."""


@dataclass(frozen=True)
class RekeyAfter:
    """
    When a sender moves on to a new key that can't be calculated back, by secretstream's tag REKEY on
    the last message under the old one. Receivers, the reference programs' too, follow by themselves.

    :ivar size: bytes sent since the last time, on the wire.
    :ivar seconds: since the last time; the next PDU after that has the tag.
    :raises LocalProtocolError: for a size or a time below 1.
    """

    size: int = 2**30
    seconds: float = 3600.0

    def __post_init__(self) -> None:
        if self.size < 1 or not (math.isfinite(self.seconds) and self.seconds >= 1):
            raise LocalProtocolError(
                f"a new key takes a size from 1 byte and a time from 1 second, not {self.size} and {self.seconds}"
            )
