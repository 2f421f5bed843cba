"""
What runs beside a service that listens, from its start to its end.
"""

from __future__ import annotations

from twisted.internet.defer import Deferred


class Companion:
    """
    Runs beside a listening service, which tells it how far it has come. For subclasses, each method does nothing here.
    One that raises ends nothing but itself: the log has it.
    """

    def prepare(self) -> None:
        """
        Get ready, before anything is listened on, as whoever starts the service.

        :raises SystemExit: with one line, when that can't be done.
        """

    def started(self) -> None:
        """All places are listened on."""

    def reloading(self) -> None:
        """What files say is about to be read anew."""

    def reloaded(self) -> None:
        """It was read, and holds, or what was before does."""

    def stopping(self) -> None:
        """Nothing is listened on any more. Connections get their time to finish."""

    def stopped(self) -> Deferred[None] | None:
        """
        Nothing is connected any more, or the time is up.

        :return: fires when there is nothing left to do; ``None`` when there is not.
        """
        return None
