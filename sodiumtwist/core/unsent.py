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
    """

    __slots__ = ("packet", "queue", "size")

    def __init__(self) -> None:
        self.packet = b""
        self.queue: Any = deque()
        self.size = 0
