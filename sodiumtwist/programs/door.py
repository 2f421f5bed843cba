"""
Those who had connected when a service stopped listening: they may still log in, for a moment.

They have been taken off the port's queue, so no other server could serve them. Who is let in now is told with all
others that the server stops.
"""

from __future__ import annotations

from collections.abc import Callable

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import LoopingCall

#: Seconds that they get. Who is silent for so long has no business here.
DOOR_TIME = 1.0

#: Seconds between two looks whether all are in, or gone.
DOOR_POLL = 0.01


def door_shuts(at_the_door: Callable[[], int], clock: IReactorTime) -> Deferred[None]:
    """
    Wait for those who may be let in.

    :param at_the_door: counts them.
    :param clock: tells the time.
    :return: fires when nobody is left, or the time is up. To cancel it is to wait no longer.
    """
    until = clock.seconds() + DOOR_TIME

    def finish(shut: Deferred[None]) -> None:
        looking.stop()
        shut.callback(None)

    def look() -> None:
        if not at_the_door() or clock.seconds() >= until:
            finish(shut)

    shut: Deferred[None] = Deferred(finish)
    looking = LoopingCall(look)
    looking.clock = clock
    looking.start(DOOR_POLL)
    return shut
