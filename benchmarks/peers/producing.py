"""
One payload that is written again and again, as long as the other end takes more.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IPushProducer
from zope.interface import implementer


@implementer(IPushProducer)
class Repeated:
    """
    A producer of one payload.

    :param consumer: has ``registerProducer`` and ``unregisterProducer``.
    :param write: called with each payload.
    :param payload: what is written.
    :param count: how often.
    """

    def __init__(self, consumer: Any, write: Callable[[bytes], Any], payload: bytes, count: int) -> None:
        self._consumer = consumer
        self._write = write
        self._payload = payload
        self._left = count
        self._paused = False
        self._written: Deferred[None] = Deferred()

    def start(self) -> Deferred[None]:
        """
        Begin.

        :return: fires when all is written.
        """
        self._consumer.registerProducer(self, True)
        self.resumeProducing()
        return self._written

    def pauseProducing(self) -> None:
        self._paused = True

    def stopProducing(self) -> None:
        self._paused = True
        self._left = 0

    def resumeProducing(self) -> None:
        self._paused = False
        while self._left and not self._paused:
            self._left -= 1
            self._write(self._payload)
            if not self._left:
                self._consumer.unregisterProducer()
                self._written.callback(None)
