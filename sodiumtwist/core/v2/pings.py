"""
PINGs of both ends, and their PONGs.
"""

from __future__ import annotations

from ..errors import LocalProtocolError, PayloadTooLarge, UnexpectedPDU
from ..events import Event, PingReceived, PongReceived
from .outgoing import Outgoing
from .pdus import HIGHEST, PING, PING_SIZE, PONG


def _number(payload: bytes) -> int:
    return int.from_bytes(payload, "big") if len(payload) == 8 else 0


class Pings:
    """
    The PINGs of one connection that have no PONG.

    :param outgoing: has those that have not left, and the PONGs that have not.
    :ivar received: the payloads of the peer's, by id, the oldest first.
    """

    __slots__ = ("_next", "_outgoing", "_ours", "received")

    def __init__(self, outgoing: Outgoing) -> None:
        self._outgoing = outgoing
        self._ours: dict[int, bytes] = {}
        self.received: dict[int, bytes] = {}
        self._next = 0

    def ping(self, payload: bytes) -> int:
        """
        Send a PING.

        :return: its id.
        :raises PayloadTooLarge: when it has more than 64 bytes.
        """
        if len(payload) > PING_SIZE:
            raise PayloadTooLarge(f"a PING of {len(payload)} bytes; at most {PING_SIZE} fit")
        id = self._next
        while id in self._ours:
            id = (id + 1) & HIGHEST
        self._next = (id + 1) & HIGHEST
        self._ours[id] = payload
        self._outgoing.pings[id] = None
        self._outgoing.add(PING, id, payload)
        return id

    def pong(self) -> None:
        """
        Answer the oldest PING.

        :raises LocalProtocolError: when there is none.
        """
        if not self.received:
            raise LocalProtocolError("no PING waits for its PONG")
        id = next(iter(self.received))
        self._outgoing.pongs[id] = None
        self._outgoing.add(PONG, id, self.received.pop(id))

    def forget(self) -> None:
        """
        Owe no PONG any more: nothing leaves, so whoever reads on would wait for them for ever.
        """
        self.received.clear()

    def ping_received(self, id: int, payload: bytes) -> Event:
        """Take in a PING."""
        if id in self.received or id in self._outgoing.pongs:
            raise UnexpectedPDU(f"PING with the id {id}, which is in use")
        self.received[id] = payload
        return PingReceived(_number(payload))

    def pong_received(self, id: int, payload: bytes) -> Event:
        """Take in a PONG."""
        if self._ours.get(id) != payload or id in self._outgoing.pings:
            raise UnexpectedPDU(f"PONG with the id {id} to no PING, or with other bytes than that has")
        # PONGs may come in any order, and the wait of each PING counts for itself.
        older = next(place for place, waiting in enumerate(self._ours) if waiting == id)
        del self._ours[id]
        return PongReceived(_number(payload), 0.0, passed_over=older)
