"""
An application that asks with a line.
"""

from __future__ import annotations

from typing import Any

from twisted.internet.defer import Deferred
from twisted.protocols.basic import LineReceiver


class Lines(LineReceiver):
    """Asks with a line and is done with the answer."""

    def __init__(self) -> None:
        self.answered: Deferred[bytes] = Deferred()
        self.lost: Deferred[Any] = Deferred()

    def lineReceived(self, line: bytes) -> None:
        self.answered.callback(line)

    def connectionLost(self, reason: Any) -> None:  # type: ignore[override]
        self.lost.callback(reason.type)
