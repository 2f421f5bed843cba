"""
Running a subcommand in the reactor, to its end or until somebody ends it: with an exit status and, when that is not 0,
one line on standard error.
"""

from __future__ import annotations

import signal
import sys
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

from twisted.internet import task
from twisted.internet.defer import CancelledError, Deferred
from twisted.logger import (
    FilteringLogObserver,
    LogLevel,
    LogLevelFilterPredicate,
    globalLogBeginner,
    textFileLogObserver,
)
from twisted.python.usage import UsageError

from ..core.errors import SodiumError
from ..describe import describe_os_error
from .exits import EXIT_INTERRUPTED, EXIT_OUTPUT_GONE, EXIT_USAGE, CommandFailed
from .interrupts import raise_again
from .output import discard_standard_output, flush_standard_output, print_error

Settings = TypeVar("Settings")

#: Called with the reactor and the command's settings.
Command = Callable[[Any, Settings], Coroutine[Deferred[Any], Any, None]]


def run(command: Command[Settings], settings: Settings) -> None:
    """
    Run a subcommand in the reactor and end the process.

    :param command: called with the reactor and the settings. Ctrl-C cancels it.
    :raises SystemExit: with the exit status.
    """
    # What Twisted itself logs (that a factory starts, that a port closes) is not for this user.
    only_errors = LogLevelFilterPredicate(defaultLogLevel=LogLevel.error)
    observers = [FilteringLogObserver(textFileLogObserver(sys.stderr), [only_errors])] if sys.stderr else []
    globalLogBeginner.beginLoggingTo(observers, discardBuffer=True, redirectStandardIO=False)
    from twisted.internet import reactor  # noqa: F401  # while Ctrl-C still ends the process

    raise_again()  # or the reactor would leave Ctrl-C as it is
    task.react(_guarded, (command, settings))


async def _guarded(reactor: Any, command: Command[Settings], settings: Settings) -> None:
    # Signals are the reactor's from here on, so that Ctrl-C finds everything undone that was begun.
    await task.deferLater(reactor, 0)
    caught = 0

    def hang_up(number: int, frame: object) -> None:
        nonlocal caught
        caught = number
        reactor.callFromThread(reactor.stop)

    if signal.getsignal(signal.SIGHUP) is signal.SIG_DFL:
        signal.signal(signal.SIGHUP, hang_up)
    running: Deferred[None] = Deferred.fromCoroutine(command(reactor, settings))
    undone: Deferred[None] = Deferred()
    interrupted = False

    def interrupt() -> Deferred[None]:
        nonlocal interrupted
        interrupted = True
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, signal.SIG_IGN)  # one was enough
        running.cancel()
        # The reactor goes on until this fires, so that what was begun can be undone.
        return undone

    reactor.addSystemEventTrigger("before", "shutdown", interrupt)
    status, line = 0, ""
    try:
        await running
        flush_standard_output()
    except CommandFailed as failed:
        status, line = failed.status, str(failed)
    except (UsageError, SodiumError) as error:
        status, line = EXIT_USAGE, str(error)
    except CancelledError:
        status, line = EXIT_INTERRUPTED, "interrupted"
    except BrokenPipeError:
        discard_standard_output()
        status = EXIT_OUTPUT_GONE
    except OSError as error:
        discard_standard_output()
        status, line = EXIT_USAGE, describe_os_error(error)
    finally:
        # Whatever happened, the reactor must be able to stop.
        undone.callback(None)
    if interrupted and status == EXIT_INTERRUPTED:
        status = 128 + (caught or getattr(reactor, "_exitSignal", None) or signal.SIGINT)
    if line:
        print_error(line)
    if status:
        raise SystemExit(status)
