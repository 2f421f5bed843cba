"""
Requests through any function that returns a Deferred with the answer.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

from twisted.internet.defer import Deferred

from ..tasks import Task
from ..usage import Meter

Ask = Callable[[], Deferred[Any]]


async def one_by_one(ask: Ask, count: int) -> None:
    """
    Make requests, each when the one before is answered.

    :param ask: makes one.
    :param count: how many.
    """
    for _ in range(count):
        await ask()


def in_flight(ask: Ask, count: int, window: int) -> Deferred[None]:
    """
    Make requests, several of them unanswered at once.

    :param ask: makes one.
    :param count: how many.
    :param window: how many are unanswered.
    :return: fires when all are answered.
    """
    done: Deferred[None] = Deferred()
    unasked, unanswered = count, count

    def another() -> None:
        nonlocal unasked
        unasked -= 1
        ask().addCallbacks(answered, done.errback)

    def answered(_: Any) -> None:
        nonlocal unanswered
        unanswered -= 1
        if unasked:
            another()
        elif not unanswered:
            done.callback(None)

    for _ in range(min(count, window)):
        another()
    return done


async def measured(way: Callable[[int], Awaitable[object]], task: Task) -> dict[str, Any]:
    """
    Do a task, after its warm-up.

    :param way: does as many as it is told.
    :param task: tells how many.
    :return: what it took.
    """
    await way(task.warm_up)
    meter = Meter()
    await way(task.count)
    return meter.read()


async def ask_all(ask: Ask, task: Task) -> dict[str, Any]:
    """
    Make the requests of a task.

    :param ask: makes one.
    :param task: ``SERIAL``, ``IN_FLIGHT`` or ``ANSWERS``.
    :return: what it took.
    """
    if task.window > 1:
        return await measured(lambda count: in_flight(ask, count, task.window), task)
    return await measured(lambda count: one_by_one(ask, count), task)


async def repeat(once: Callable[[], Awaitable[None]], task: Task) -> dict[str, Any]:
    """
    Do the same thing many times, one after the other.

    :param once: does it once.
    :param task: tells how often.
    :return: what it took.
    """

    async def many(count: int) -> None:
        for _ in range(count):
            await once()

    return await measured(many, task)
