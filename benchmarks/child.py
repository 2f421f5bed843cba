"""
What runs in processes of its own: ``python -m benchmarks.child MODULE serve|run JSON``.

A module's ``serve`` tells, as a JSON object on a line, where it listens. Its ``run`` returns what it
measured, and that is told in the same form. When something can't be imported, it is told as missing. All these
processes end when their standard input ends, which their parent holds.
"""

from __future__ import annotations

import importlib
import json
import os
import resource
import sys
import threading
import time
from collections.abc import Callable, Coroutine
from contextlib import suppress
from typing import Any, TypeVar

from .tables import NotInstalled
from .usage import watch

HOST = "127.0.0.1"

Result = TypeVar("Result")

_told_to_go = threading.Semaphore(0)


def tell(**what: Any) -> None:
    """Tell the parent process something, as a JSON object on a line."""
    print(json.dumps(what), flush=True)


def listen_to_parent() -> None:
    """Let this process end when its standard input ends: then its parent is gone, whatever happened to it."""

    def listen() -> None:
        # Not sys.stdin, whose lock would be held when the interpreter shuts down.
        while data := os.read(0, 4096):
            for _ in range(data.count(b"\n")):
                _told_to_go.release()
        # The main thread may be at work or in its reactor, and would not see anything milder.
        os._exit(0)

    threading.Thread(target=listen, daemon=True).start()


def wait_to_go() -> None:
    """Wait for a line from the parent, which says go."""
    _told_to_go.acquire()


def discard_log() -> None:
    """Discard Twisted's log. Otherwise it is kept in memory until somebody asks for it."""
    from twisted.logger import globalLogBeginner

    globalLogBeginner.beginLoggingTo([lambda event: None], redirectStandardIO=False)  # type: ignore[list-item]


def serve_in_reactor(start: Callable[[Any], dict[str, Any]]) -> None:
    """
    Serve with Twisted until the parent ends.

    :param start: called with the reactor. It listens, and returns what clients need to know.
    """
    from twisted.internet.defer import Deferred

    async def begin(reactor: Any) -> None:
        tell(**start(reactor))
        await Deferred()

    run_in_reactor(begin)


def run_in_reactor(work: Callable[[Any], Coroutine[Any, Any, Result]]) -> Result:
    """
    Run a coroutine with Twisted.

    :param work: called with the reactor.
    :return: what the coroutine returns.
    """
    from twisted.internet import reactor
    from twisted.internet.defer import Deferred
    from twisted.python.failure import Failure

    # As in the programs: what waits is not disturbed when the system's clock is set.
    reactor.seconds = time.monotonic  # type: ignore[method-assign]
    discard_log()
    results: list[Result] = []
    failures: list[Failure] = []

    # So that what work() raises before it returns a coroutine goes the same way as what the coroutine raises.
    async def working() -> Result:
        return await work(reactor)

    def begin() -> None:
        deferred = Deferred.fromCoroutine(working())
        deferred.addCallbacks(results.append, failures.append).addBoth(lambda _: reactor.stop())

    reactor.callWhenRunning(begin)
    reactor.run()
    if failures:
        failures[0].raiseException()
    return results[0]


def main(module_name: str, verb: str, argument: str) -> None:
    """
    Serve or run what a module has.

    :param module_name: the module's name in this package.
    :param verb: ``serve`` or ``run``.
    :param argument: the keyword arguments for it, as a JSON object; and as ``watched``, the numbers of the server's
        processes, for :func:`~benchmarks.usage.watch`.
    """
    most = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    with suppress(ValueError, OSError):
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    listen_to_parent()
    arguments = json.loads(argument)
    watch(arguments.pop("watched", ()))
    try:
        module = importlib.import_module(f"{__package__}.{module_name}")
        said = getattr(module, verb)(**arguments)
    except (ImportError, NotInstalled) as error:
        said = {"missing": str(error)}
    if said is not None:
        tell(**said)


if __name__ == "__main__":
    # As a program this module is called __main__. Others import it by its name, which makes a second copy; with that
    # one there is one semaphore for all.
    importlib.import_module("benchmarks.child").main(*sys.argv[1:])
