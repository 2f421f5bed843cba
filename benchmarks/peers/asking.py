"""
Requests through any function that returns a Deferred with the answer.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from time import perf_counter
from typing import Any

from twisted.internet.defer import Deferred

from ..tasks import IN_FLIGHT, WINDOW, Task

Ask = Callable[[], Deferred[Any]]


async def one_by_one(ask: Ask, count: int) -> None:
    """
    Make requests, each when the one before is answered.

    :param ask: makes one.
    :param count: how many.
    """
    for _ in range(count):
        await ask()


def in_flight(ask: Ask, count: int) -> Deferred[None]:
    """
    Make requests, 128 of them unanswered at once.

    :param ask: makes one.
    :param count: how many.
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

    for _ in range(min(count, WINDOW)):
        another()
    return done


async def ask_all(ask: Ask, task: Task) -> float:
    """
    Make the requests of a task.

    :param ask: makes one.
    :param task: ``SERIAL`` or ``IN_FLIGHT``.
    :return: the seconds it took.
    """
    way: Callable[[Ask, int], Awaitable[None]] = in_flight if task.workload == IN_FLIGHT else one_by_one
    await way(ask, task.warm_up)
    began = perf_counter()
    await way(ask, task.count)
    return perf_counter() - began


async def repeat(once: Callable[[], Awaitable[None]], task: Task) -> float:
    """
    Do the same thing many times, one after the other.

    :param once: does it once.
    :param task: tells how often.
    :return: the seconds that it took.
    """
    for _ in range(task.warm_up):
        await once()
    began = perf_counter()
    for _ in range(task.count):
        await once()
    return perf_counter() - began
