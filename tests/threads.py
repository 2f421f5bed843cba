"""
For tests: no threads.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from twisted.internet.defer import Deferred, maybeDeferred


class HereAndNow:
    """In place of a :class:`~sodiumtwist.transfer.tree.disk_thread.DiskThread`: what is to be done is done at once."""

    def __init__(self, *arguments: object) -> None:
        pass

    def call(self, work: Callable[[], Any]) -> Deferred[Any]:
        return maybeDeferred(work)

    def close(self) -> None:
        pass
