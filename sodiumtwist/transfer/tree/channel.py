"""
What the two halves of the file dialogue need of the connection below them.
"""

from __future__ import annotations

from typing import Any, Protocol

from twisted.internet.defer import Deferred

from ...core.inbox import Buffer

#: How many requests about files one connection may have worked on at once; more wait in their order.
ASKED_AT_ONCE = 16


class Channel(Protocol):
    """
    One end of a connection of version 2, as :class:`~sodiumtwist.protocol.requests.RequestEnd` is.
    """

    def request(self, payload: Buffer) -> Deferred[bytes]:
        """
        Ask the peer.

        :return: fires with the answer, or fails.
        """

    def send_data(self, payload: Buffer) -> None:
        """
        Send one DATA.

        :raises LocalProtocolError: when it is over.
        """

    def registerProducer(self, producer: Any, streaming: bool) -> None:
        """Let a producer be paused when the transport takes no more."""

    def unregisterProducer(self) -> None:
        """The producer is done."""

    def pauseProducing(self) -> None:
        """Deliver nothing more."""

    def resumeProducing(self) -> None:
        """Deliver again."""

    def abort_with(self, code: int, text: str, error: BaseException | None = None) -> None:
        """Close now, and tell the peer why."""
