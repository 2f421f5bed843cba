"""
Looks at all ends of a factory at once, of which there may be thousands: how far they are, and what has come and left.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

from ..core.base import Traffic, sum_traffic
from .lifecycle import Stage

_OPEN = Stage.OPEN


class Census:
    """
    What was seen.

    :ivar traffic: of all of them together.
    :ivar sessions: how many there are, by version, which is ``None`` where it is not known, and by stage.
    """

    def __init__(self, traffic: Traffic) -> None:
        self.traffic = traffic
        self.sessions: dict[tuple[int | None, Stage], int] = {}

    def look(self, ends: Collection[Any]) -> None:
        """
        Look at some.

        :param ends: of connections, which may be over meanwhile.
        """
        # Nearly all are open. To count a member of an enumeration takes longer than all the rest.
        connections = [end._connection for end in ends]
        self.traffic = sum_traffic(connections, self.traffic)
        opened: dict[int | None, int] = {}
        for end, connection in zip(ends, connections, strict=True):
            stage = end._lifecycle.stage
            if stage is _OPEN:
                opened[connection.version] = opened.get(connection.version, 0) + 1
            else:
                self._count(connection.version, stage, 1)
        for version, count in opened.items():
            self._count(version, _OPEN, count)

    def _count(self, version: int | None, stage: Stage, more: int) -> None:
        self.sessions[version, stage] = self.sessions.get((version, stage), 0) + more
