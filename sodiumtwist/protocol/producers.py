"""
Two small producers with which a protocol stands between its transport and its application.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from twisted.internet.interfaces import IDelayedCall, IPushProducer, IReactorTime
from twisted.python.failure import Failure
from zope.interface import implementer


@implementer(IPushProducer)
class WriteGate:
    """
    Registered with a consumer, so that it tells when it takes no more and when it does again.

    :param blocked: called when the consumer is full.
    :param unblocked: called when it takes more again.
    :param stopped: called when it is gone.
    """

    def __init__(
        self, blocked: Callable[[], None], unblocked: Callable[[], None], stopped: Callable[[], None] = lambda: None
    ) -> None:
        self.pauseProducing = blocked
        self.resumeProducing = unblocked
        self.stopProducing = stopped


@implementer(IPushProducer)
class PulledProducer:
    """
    Makes a pull producer look like a push producer: asks it again and again until paused.

    :param producer: it.
    :param failed: called with what it raised, which ends it.
    """

    def __init__(self, producer: Any, clock: IReactorTime, failed: Callable[[Failure], None]) -> None:
        self._producer = producer
        self._clock = clock
        self._failed = failed
        self._wanted = False
        self._call: IDelayedCall | None = None

    def resumeProducing(self) -> None:
        self._wanted = True
        if self._call is None:
            self._call = self._clock.callLater(0, self._pull)

    def _pull(self) -> None:
        self._call = None
        try:
            self._producer.resumeProducing()
        except Exception:
            self._wanted = False
            self._failed(Failure())
        if self._wanted:
            self.resumeProducing()

    def pauseProducing(self) -> None:
        self._wanted = False
        if self._call is not None:
            self._call.cancel()
            self._call = None

    def stopProducing(self) -> None:
        self.pauseProducing()
        self._producer.stopProducing()
