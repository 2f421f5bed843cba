"""
The producers between a transport and an application.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from twisted.internet.interfaces import IDelayedCall, IProducer, IPushProducer
from twisted.python.failure import Failure
from zope.interface import implementer

from ..describe.log import Logger

#: Calls something in the reactor's next turn.
Later = Callable[[Callable[[], None]], IDelayedCall]


@implementer(IPushProducer)
class WriteGate:
    """
    Registered with a consumer, so that it tells when it takes no more and when it does again.

    :param blocked: called when the consumer is full.
    :param unblocked: called when it takes more again.
    :param stopped: called when it is gone.
    """

    __slots__ = ("pauseProducing", "resumeProducing", "stopProducing")

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
    :param later: calls something in the reactor's next turn.
    :param failed: called with what it raised, which ends it.
    """

    def __init__(self, producer: Any, later: Later, failed: Callable[[Failure], None]) -> None:
        self._producer = producer
        self._later = later
        self._failed = failed
        self._wanted = False
        self._call: IDelayedCall | None = None

    def resumeProducing(self) -> None:
        self._wanted = True
        if self._call is None:
            self._call = self._later(self._pull)

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


class Producers:
    """
    The application's producer, of which there is one at a time or none.

    :ivar producer: it, or what makes it look like an ``IPushProducer``.
    """

    __slots__ = ("_paused", "_silent", "producer")

    _log = Logger()

    def __init__(self) -> None:
        self.producer: IPushProducer | None = None
        # Told to pause by us. It is told once: what the transport takes in between may fill it up again.
        self._paused = self._silent = False

    def check_none(self) -> None:
        """
        See that there is none.

        :raises RuntimeError: when there is.
        """
        if self.producer is not None:
            raise RuntimeError("a producer is registered already; unregister it first")

    def register(
        self,
        producer: IProducer,
        streaming: bool,
        blocked: bool,
        later: Later,
        failed: Callable[[Failure], None],
    ) -> None:
        """
        Take a producer, and start it, if it has to be. A push producer that has to wait is not told so, see
        :meth:`pause`: it may be in the middle of registering.

        :param producer: an ``IPushProducer`` if ``streaming``, else an ``IPullProducer``.
        :param blocked: whether it has to wait.
        :param later: calls something in the reactor's next turn.
        :param failed: called with what a pull producer raises.
        """
        pushing: Any = producer if streaming else PulledProducer(producer, later, failed)
        self.producer = pushing
        self._paused = False
        if not (streaming or blocked):
            pushing.resumeProducing()

    def unregister(self) -> None:
        """It is done."""
        producer, self.producer = self.producer, None
        if isinstance(producer, PulledProducer):
            producer.pauseProducing()

    def pause(self) -> None:
        """No more is taken."""
        if self.producer is not None and not self._paused:
            self._paused = True
            self.producer.pauseProducing()

    def resume(self) -> None:
        """More is taken again."""
        # A pull producer was not asked until now, or no more. Another one that was not paused need not resume.
        if self.producer is not None and (self._paused or self.is_pulled) and not self._silent:
            self._paused = False
            self.producer.resumeProducing()

    @property
    def is_pulled(self) -> bool:
        """Whether it is a pull producer, which is asked and never told anything else."""
        return isinstance(self.producer, PulledProducer)

    def silence(self) -> None:
        """Nothing will ever be taken. It is stopped when all is over, and resumes no more."""
        self._silent = True
        if self.producer is not None:
            try:
                self.producer.pauseProducing()
            except Exception:
                self._log.failure("a producer failed when it was paused", event="producer_failed")

    def stop(self) -> None:
        """All is over."""
        producer, self.producer = self.producer, None
        if producer is not None:
            try:
                producer.stopProducing()
            except Exception:
                self._log.failure("a producer failed when it was stopped", event="producer_failed")


#: What ends have that never had a producer, all of them the same one. Nothing is registered with it.
NO_PRODUCER = Producers()
