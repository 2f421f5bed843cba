"""
The descriptors of the process, which all sessions share.
"""

from __future__ import annotations

import resource
from threading import Lock

#: The share of the descriptors that the process may have which all sessions together hold for the sake of speed.
HELD_SHARE = 0.25


class Held:
    """
    Counts the descriptors that sessions hold and could do without. Sessions have threads of their own.
    """

    def __init__(self) -> None:
        self._count = 0
        self._lock = Lock()

    @property
    def too_many(self) -> bool:
        """Whether each should hold as few as it can."""
        limit = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
        return limit != resource.RLIM_INFINITY and self._count >= limit * HELD_SHARE

    def add(self, count: int) -> None:
        """
        Note that a session has more of them.

        :param count: how many; negative when it has fewer.
        """
        with self._lock:
            self._count += count


#: Those of this process.
HELD = Held()
