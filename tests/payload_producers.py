"""
Producers of payloads.
"""

from __future__ import annotations

from collections.abc import Iterable

from twisted.internet.interfaces import IPullProducer, IPushProducer
from zope.interface import implementer

from sodiumtwist.protocol.base import SodiumProtocol


@implementer(IPushProducer)
class PushSource:
    """
    A push producer of payloads.

    :ivar events: the calls that it got, by name.
    """

    def __init__(self, consumer: SodiumProtocol, payloads: Iterable[bytes] = ()) -> None:
        self.consumer = consumer
        self.payloads = list(payloads)
        self.paused = True
        self.stops = 0
        self.events: list[str] = []

    def resumeProducing(self) -> None:
        self.events.append("resume")
        self.paused = False
        while self.payloads and not self.paused:
            self.consumer.send_data(self.payloads.pop(0))

    def pauseProducing(self) -> None:
        self.events.append("pause")
        self.paused = True

    def stopProducing(self) -> None:
        self.events.append("stop")
        self.paused = True
        self.stops += 1


@implementer(IPullProducer)
class PullSource:
    """A pull producer: sends one payload each time it is asked, and unregisters itself after the last one."""

    def __init__(self, consumer: SodiumProtocol, payloads: Iterable[bytes]) -> None:
        self.consumer = consumer
        self.payloads = list(payloads)
        self.pulls = 0
        self.stops = 0

    def resumeProducing(self) -> None:
        self.pulls += 1
        if self.pulls > 10_000:
            raise AssertionError("asked without end")
        if self.payloads:
            self.consumer.write(self.payloads.pop(0))
        else:
            self.consumer.unregisterProducer()

    def stopProducing(self) -> None:
        self.stops += 1
