"""
One of several processes that serve for a service, see :mod:`sodiumtwist.operation.workers`. Its supervisor starts it,
as ``python -m sodiumtwist.programs.worker``; it is no command for people.
"""

from __future__ import annotations

import json
import os
import signal
from contextlib import suppress
from dataclasses import replace
from typing import Any, TextIO

from twisted.application.reactors import installReactor
from twisted.internet.defer import Deferred
from twisted.internet.protocol import connectionDone
from twisted.logger import ILogObserver, LogEvent, globalLogBeginner, jsonFileLogObserver
from twisted.protocols.basic import LineOnlyReceiver
from twisted.python.failure import Failure
from zope.interface import implementer

from ..describe.log import Logger, fit_for_process
from ..operation.folders import remove_folder
from ..operation.lines import LINE_LIMIT
from ..operation.orders import ANSWERS, FIRST_SOCKET, LOG, Orders, read_orders
from ..operation.share import Share
from ..operation.workers_status import tell
from .listening import ListeningService


class Control(LineOnlyReceiver):
    """
    What the supervisor says, and what is answered.

    :param service: what serves.
    :ivar is_alone: whether the supervisor is gone.
    """

    _log = Logger()

    delimiter = b"\n"
    MAX_LENGTH = LINE_LIMIT

    is_alone = False

    def __init__(self, service: ListeningService) -> None:
        self._service = service

    def answer(self, **what: object) -> None:
        """Say something to the supervisor."""
        self.sendLine(json.dumps(what).encode())

    def lineReceived(self, line: bytes) -> None:
        told = json.loads(line)
        getattr(self, f"do_{told.pop('do')}")(**told)

    def do_stop(self) -> None:
        """End in order."""
        # Once: systemd sends SIGTERM to all processes, and the supervisor says the same.
        if self._service.running:
            os.kill(os.getpid(), signal.SIGTERM)

    def do_reload(self, words: list[str], read: dict[str, Any]) -> None:
        """Read again what files say."""
        options = self._service.options
        if options is not None and options.share is not None:
            options.words = tuple(words)
            options.share.orders = replace(options.share.orders, words=tuple(words), read=read)
            self._service.reload()

    def do_hurry(self) -> None:
        """Wait no longer for connections."""
        self._service.hurry()

    def do_tell(self, what: str, number: int) -> None:
        """Tell of what is here."""
        if self._service.status is not None:
            told = Deferred.fromCoroutine(tell(self._service.status, what))
            told.addCallback(lambda told: self.answer(reply=number, told=told)).addErrback(self._cannot_tell)

    def _cannot_tell(self, reason: Failure) -> None:
        self._log.failure("a worker can't tell of itself", reason, event="worker_silent")

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        # At our own end this is called, too. Else the supervisor was killed: nobody would start another worker, nor
        # write the log.
        if self._service.running:
            self.is_alone = True
            self.do_stop()


def make_service(orders: Orders, reactor: Any) -> ListeningService:
    """
    Make what serves.

    :param orders: what this worker is told.
    :param reactor: runs it.
    :raises SystemExit: with one line, when something can't be had any more.
    """
    # Where it may not go, what lies there is not for it, and the lines about that say so.
    with suppress(OSError):
        os.chdir(orders.directory)
    program: Any
    # Not at the top: each takes time to import, and one of them is needed.
    if orders.program == "sodium":
        from . import tap as program
    else:
        from . import tunneltap as program
    options = program.Options()
    options.share = Share(orders)
    options.parseOptions(list(orders.words))
    service: ListeningService = program.makeService(options, reactor)
    return service


def log_observer(file: TextIO) -> ILogObserver:
    """
    Make what writes the log of a worker for its supervisor.

    :param file: leads there.
    """
    write = jsonFileLogObserver(file, "")

    @implementer(ILogObserver)
    def observe(event: LogEvent) -> None:
        write(fit_for_process(event))

    observer: ILogObserver = observe
    return observer


def main() -> None:
    """
    Serve until the supervisor says that it is over, or is gone.

    :raises SystemExit: as :func:`make_service` does.
    """
    # Ctrl-C and the end of a terminal reach all its processes. What they mean for us the supervisor says.
    for number in (signal.SIGINT, signal.SIGHUP, signal.SIGUSR1):
        signal.signal(number, signal.SIG_IGN)
    orders = read_orders()
    if orders.reactor is not None:
        installReactor(orders.reactor)
    from twisted.internet import reactor, stdio

    running: Any = reactor
    connect: Any = stdio.StandardIO
    service = make_service(orders, running)
    service.startService()
    # Each port has its own. With these, a place would take newcomers until the last worker is gone, and serve none.
    for place in range(len(orders.endpoints)):
        os.close(FIRST_SOCKET + place)
    running.addSystemEventTrigger("before", "shutdown", service.stopService)
    # What was logged by now, the supervisor has logged itself.
    log = os.fdopen(LOG, "w", encoding="utf-8", errors="backslashreplace")
    globalLogBeginner.beginLoggingTo([log_observer(log)], redirectStandardIO=False, discardBuffer=True)
    control = Control(service)
    connect(control, stdin=0, stdout=ANSWERS, reactor=running)
    running.callWhenRunning(control.answer, serves=True)
    running.run()
    if control.is_alone and orders.replays:
        # Nobody else does it. The others end, too.
        remove_folder(os.path.dirname(orders.replays))


if __name__ == "__main__":
    main()
