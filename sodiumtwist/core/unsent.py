"""
What was sent and is not sealed yet, which is what :meth:`~sodiumtwist.core.base.Connection.data_to_send` takes from.
"""

from __future__ import annotations

from collections import deque
from typing import Any


class Unsent:
    """
    What waits to be sealed.

    :ivar packet: a packet of the handshake, sealed already; it goes before all PDUs.
    :ivar queue: PDUs in the order in which they were sent: of DATA its payload, of others what their version lays out.
        A ``deque``, or a list where the version has it so.
    :ivar size: how many bytes wait, the packet among them. Whoever puts something in or takes it out counts it here.
    :ivar bytes_sent: how many bytes were handed out for the wire, the handshake's included.
    :ivar pdus_sent: how many PDUs were in them. Whoever seals them counts both here.
    """

    __slots__ = ("bytes_sent", "packet", "pdus_sent", "queue", "size")

    def __init__(self) -> None:
        self.packet = b""
        self.queue: Any = deque()
        self.size = self.bytes_sent = self.pdus_sent = 0
