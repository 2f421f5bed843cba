"""
Runs a subcommand in the reactor, until the command ends or somebody ends it. The process then has an exit status and,
when that tells of a failure, one line on standard error.
"""

from __future__ import annotations

import gc
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
from ..protocol.clock import count_steadily
from .exits import EXIT_INTERRUPTED, EXIT_USAGE, CommandFailed
from .interrupts import raise_again, take_hangup, take_one_signal
from .output import print_error

Settings = TypeVar("Settings")

#: Called with the reactor and the command's settings.
Command = Callable[[Any, Settings], Coroutine[Deferred[Any], Any, None]]


def run(command: Command[Settings], settings: Settings) -> None:
    """
    Run a subcommand in the reactor and end the process.

    :param command: called with the reactor and the settings. Ctrl-C cancels it.
    :param settings: what the command is to do.
    :raises SystemExit: with the exit status.
    """
    # What Twisted logs of itself, that it starts a factory or closes a port, is not for users of a command.
    only_errors = LogLevelFilterPredicate(defaultLogLevel=LogLevel.error)
    observers = [FilteringLogObserver(textFileLogObserver(sys.stderr), [only_errors])] if sys.stderr else []
    globalLogBeginner.beginLoggingTo(observers, discardBuffer=True, redirectStandardIO=False)
    # Here, while Ctrl-C still ends the process at once: to import the reactor takes long.
    from twisted.internet import reactor

    # The command line has switched it off for the imports, which are over.
    if not gc.isenabled():
        gc.freeze()
        gc.enable()
    count_steadily(reactor)
    # The reactor takes Ctrl-C over from Python's own function alone.
    raise_again()
    task.react(_guarded, (command, settings))


async def _guarded(reactor: Any, command: Command[Settings], settings: Settings) -> None:
    """Run the command, and turn whatever ends it into an exit status and a line."""
    # In its first turn the reactor has taken over the signals. Nothing that must be undone may begin before.
    await task.deferLater(reactor, 0)
    caught = 0

    def hang_up(number: int, frame: object) -> None:
        nonlocal caught
        caught = number
        # As Twisted's own functions for signals do: this wakes a reactor that waits.
        reactor.callFromThread(reactor.stop)

    take_hangup(hang_up)
    take_one_signal()
    running: Deferred[None] = Deferred.fromCoroutine(command(reactor, settings))
    undone: Deferred[None] = Deferred()
    interrupted = False

    def interrupt() -> Deferred[None]:
        nonlocal interrupted
        interrupted = True
        running.cancel()
        # The reactor goes on until this fires, so that what was begun can be undone.
        return undone

    reactor.addSystemEventTrigger("before", "shutdown", interrupt)
    status, line = 0, ""
    try:
        await running
    except CommandFailed as failed:
        status, line = failed.status, str(failed)
    except (UsageError, SodiumError) as error:
        status, line = EXIT_USAGE, str(error)
    except CancelledError:
        status, line = EXIT_INTERRUPTED, "interrupted"
    except OSError as error:
        status, line = EXIT_USAGE, describe_os_error(error)
    finally:
        # Whatever happened, the reactor must be able to stop.
        undone.callback(None)
    # A command that was done all the same keeps its own status. Twisted's attribute is private, and may go.
    if interrupted and status == EXIT_INTERRUPTED:
        status = 128 + (caught or getattr(reactor, "_exitSignal", None) or signal.SIGINT)
    if line:
        print_error(line)
    if status:
        raise SystemExit(status)
