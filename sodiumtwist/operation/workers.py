"""
Several processes that serve the same places. One process supervises: it listens, and accepts nothing itself. It starts
the others, which have its listening sockets, writes the log for all, starts another one for each that is lost, and ends
them in order.
"""

from __future__ import annotations

import json
import os
import re
import signal
import sys
from collections.abc import Mapping
from contextlib import suppress
from typing import Any

from twisted.application.reactors import getReactorTypes
from twisted.internet.defer import Deferred, DeferredList
from twisted.internet.error import ProcessDone, ProcessExitedAlready
from twisted.internet.interfaces import IDelayedCall, IListeningPort
from twisted.internet.protocol import ProcessProtocol
from twisted.logger import eventFromJSON
from twisted.python.failure import Failure

from ..admission.replacing import may
from ..admission.shared_counts import AllCounts, make_memory, open_memory
from ..describe import describe_os_error
from ..describe.log import Logger, write_again
from ..protocol.clock import steady_clock
from ..protocol.ports import hand_on
from .folders import Folder, remove_abandoned
from .lines import LineCutter
from .orders import ANSWERS, FIRST_SOCKET, LOG, ORDERS, SHARED, Orders

#: The most workers that may be asked for.
MOST_WORKERS = 256

#: Seconds until a worker that was lost has another one in its place. Each that does not run for long doubles them.
FIRST_PAUSE = 0.1

#: The most of these seconds.
LONGEST_PAUSE = 30.0

#: Seconds that a worker must have run for the next pause to be the first one again.
STEADY_TIME = 60.0

#: Seconds beyond those that connections get to finish, in which a worker must have ended. Then it is killed.
LEAVE_TIME = 15.0

#: The same, when nothing is waited for any more: what is left is to break off connections, and to release what is open.
HURRY_TIME = 8.0

#: Seconds in which a worker must tell what it is asked.
ANSWER_TIME = 5.0

#: What the command of a worker is.
WORKER = "sodiumtwist.programs.worker"

#: Variables that have secrets in them. Workers get those through a pipe.
SECRET_VARIABLES = ("SODIUMTWIST_KEY", "SODIUMTWIST_PASSPHRASE")

#: What stands in an endpoint string for a socket of systemd's, which is known by its number in one process alone. What
#: is put in its place is never listened on: the socket is there. The backslashes are those of a string within another.
_SYSTEMD = re.compile(r"systemd(\\*):domain\\*=\w+\\*:(?:index|name)\\*=[^:\\]+")


def missing_program() -> str | None:
    """
    Find out whether this process could start a worker.

    :return: the path of the interpreter that it may not run, or of the module that it may not read; ``None`` when all
        is well.
    """
    needed = ((sys.executable, os.X_OK), (__file__, os.R_OK))
    return next((path for path, right in needed if not may(path, right)), None)


class Worker(ProcessProtocol):
    """
    One worker, as its supervisor sees it.

    :param workers: of which it is one.
    :param number: which, from 1.
    :param orders: what it is told.
    :ivar serves: whether it has said that it serves.
    """

    _log = Logger()

    def __init__(self, workers: Workers, number: int, orders: Orders) -> None:
        self._workers = workers
        self.number = number
        self._orders = orders
        self.serves = False
        self.began = workers.clock.seconds()
        self._streams = {
            1: LineCutter(self._say),
            2: LineCutter(self._say),
            LOG: LineCutter(self._write_to_log),
            ANSWERS: LineCutter(self._answer),
        }

    @property
    def pid(self) -> int:
        """The number of its process; 0 when that is gone."""
        return (self.transport and self.transport.pid) or 0

    def connectionMade(self) -> None:
        transport: Any = self.transport
        transport.writeToChild(ORDERS, self._orders.as_bytes())
        transport.closeChildFD(ORDERS)

    def tell(self, do: str, **more: object) -> None:
        """Say something to it. One that is about to end may not hear it."""
        if self.transport is not None and self.pid:
            self.transport.write(json.dumps({"do": do, **more}).encode() + b"\n")

    def kill(self) -> None:
        """End it at once."""
        with suppress(ProcessExitedAlready):
            self.transport.signalProcess("KILL")  # type: ignore[union-attr]

    def childDataReceived(self, childFD: int, data: bytes) -> None:
        self._streams[childFD].receive(data)

    def _say(self, line: bytes) -> None:
        # Of the interpreter, or of a library: no line of ours goes there when it serves.
        self._log.warn(
            "worker {number} says: {line}",
            event="worker_said",
            number=self.number,
            line=line.decode("utf-8", "replace"),
        )

    def _write_to_log(self, line: bytes) -> None:
        try:
            event = eventFromJSON(line.decode())
        # It was killed within a line.
        except ValueError:
            return
        event["log_system"] = f"worker {self.number}, {event.get('log_system') or event.get('log_namespace', '-')}"
        event["worker"] = self.number
        write_again(event)

    def _answer(self, line: bytes) -> None:
        try:
            answer = json.loads(line)
        except ValueError:
            return
        self._workers.answered(self, answer)

    def processEnded(self, reason: Failure) -> None:
        for lines in self._streams.values():
            lines.end()
        self._workers.ended(self, reason)


class Workers:
    """
    All workers of one service.

    :param program: the name of the service.
    :param words: of its command line.
    :param count: how many workers.
    :param read: what they can't read themselves.
    :param reactor: starts processes, and has the clock.
    :param twistd: the options of ``twistd``.
    :param drain_timeout: seconds that connections get to finish at the end.
    :param remembers: whether they are to have a database of handshakes for as long as they run.
    :ivar ready: fires when each of them has served once.
    :ivar lost: how many were lost.
    """

    _log = Logger()

    def __init__(
        self,
        program: str,
        words: tuple[str, ...],
        count: int,
        read: Mapping[str, Any],
        reactor: Any,
        twistd: Mapping[str, Any],
        drain_timeout: float,
        remembers: bool = False,
    ) -> None:
        self._program = program
        self._words = words
        self.count = count
        self.read = read
        self._reactor = reactor
        self._twistd = twistd
        self.clock = steady_clock(reactor)
        # A daemon changes it later.
        self._directory = os.getcwd()
        self._endpoints: list[str] = []
        self._sockets: list[tuple[int, int]] = []
        self.drain_timeout = drain_timeout
        self._remembers = remembers
        self._folder: Folder | None = None
        self._memory = -1
        self._counts: AllCounts | None = None
        self._running: dict[int, Worker] = {}
        self._pauses: dict[int, float] = {}
        self._starting: dict[int, IDelayedCall] = {}
        self._unserved = set(range(1, count + 1))
        self._gone: Deferred[None] | None = None
        self._killing: IDelayedCall | None = None
        self.ready: Deferred[None] = Deferred()
        self.lost = 0
        self._asked = 0
        self._answers: dict[int, Deferred[Any]] = {}

    def take(self, description: str, port: IListeningPort) -> None:
        """
        Something is listened on: leave it to the workers.

        :param description: its endpoint string.
        :param port: where that listens.
        """
        self._endpoints.append(_SYSTEMD.sub(r"tcp\1:0", description))
        self._sockets.append(hand_on(port))

    def sessions(self) -> int:
        """Count those who are connected and let in."""
        return 0 if self._counts is None else self._counts.sessions

    def prepare(self) -> None:
        """
        Make what they share.

        :raises OSError: when there is no room for it.
        """
        self._memory = make_memory(self.count)
        self._counts = AllCounts(open_memory(self._memory), self.count)
        if self._remembers:
            remove_abandoned()
            self._folder = Folder()

    def start(self) -> None:
        """Start them."""
        for number in range(1, self.count + 1):
            self._start(number)

    def _start(self, number: int) -> None:
        self._starting.pop(number, None)
        orders = Orders(
            self._program,
            self._words,
            number,
            self.count,
            self._directory,
            tuple(self._endpoints),
            tuple(family for _, family in self._sockets),
            self.read,
            "" if self._folder is None else os.path.join(self._folder.path, "replays"),
            _name_of_reactor(self._twistd.get("reactor")),
        )
        worker = self._running[number] = Worker(self, number, orders)
        descriptors: dict[int, Any] = {
            0: "w",
            1: "r",
            2: "r",
            ORDERS: "w",
            LOG: "r",
            ANSWERS: "r",
            SHARED: self._memory,
        }
        for place, (descriptor, _) in enumerate(self._sockets):
            descriptors[FIRST_SOCKET + place] = descriptor
        environment = {name: value for name, value in os.environ.items() if name not in SECRET_VARIABLES}
        # What it does stands in the list of processes, and nothing else of the command line.
        command = [sys.executable, "-m", WORKER, self._program, str(number)]
        try:
            self._reactor.spawnProcess(worker, sys.executable, command, environment, childFDs=descriptors)
        # There are too many processes, or too little memory.
        except OSError as error:
            del self._running[number]
            self._log.error(
                "worker {number} can't be started: {why}",
                event="worker_failed",
                number=number,
                why=describe_os_error(error),
            )
            self._start_later(number, self._next_pause(number))
            return
        self._log.info(
            "worker {number} of {count} is process {pid}",
            event="worker_started",
            number=number,
            count=self.count,
            pid=worker.pid,
        )

    def answered(self, worker: Worker, answer: Mapping[str, Any]) -> None:
        """A worker has said something."""
        if answer.get("serves"):
            worker.serves = True
            assert self._counts is not None
            self._counts.serves(worker.number - 1)
            self._log.info("worker {number} serves", event="worker_serves", number=worker.number)
            self._unserved.discard(worker.number)
            if not self._unserved and not self.ready.called:
                self.ready.callback(None)
        elif (waiting := self._answers.pop(answer.get("reply", 0), None)) is not None:
            waiting.callback(answer["told"])

    @property
    def serving(self) -> int:
        """How many of them serve."""
        return sum(worker.serves for worker in self._running.values())

    def pids(self) -> set[int]:
        """Tell the numbers of their processes."""
        return {worker.pid for worker in self._running.values()}

    def ask(self, what: str) -> Deferred[dict[int, Any]]:
        """
        Ask all that serve.

        :param what: what to tell, see :func:`~sodiumtwist.operation.workers_status.tell`.
        :return: fires with what they have told, by the numbers of their processes. Those that do not answer in time are
            not among them.
        """
        asked: dict[int, Deferred[Any]] = {}
        for worker in self._running.values():
            if worker.serves:
                self._asked += 1
                waiting = self._answers[self._asked] = Deferred()
                waiting.addTimeout(ANSWER_TIME, self.clock)
                waiting.addErrback(self._unanswered, self._asked)
                asked[worker.pid] = waiting
                worker.tell("tell", what=what, number=self._asked)
        told: Deferred[dict[int, Any]] = DeferredList(list(asked.values())).addCallback(
            lambda results: {pid: told for pid, (_, told) in zip(asked, results, strict=True) if told is not None}
        )
        return told

    def _unanswered(self, reason: Failure, number: int) -> None:
        self._answers.pop(number, None)

    def ended(self, worker: Worker, reason: Failure) -> None:
        """A worker's process is gone."""
        del self._running[worker.number]
        assert self._counts is not None
        self._counts.gone(worker.number - 1)
        if self._gone is not None:
            self._look_if_gone()
            return
        self.lost += 1
        ran = self.clock.seconds() - worker.began
        # One that was asked to end in order, by whoever is on call, is no sign of trouble.
        if reason.check(ProcessDone) or ran >= STEADY_TIME:
            self._pauses.pop(worker.number, None)
        pause = self._next_pause(worker.number)
        self._log.warn(
            "worker {number} is lost after {ran:.3g} seconds: {why}; another one starts in {pause:g} seconds",
            event="worker_lost",
            number=worker.number,
            ran=ran,
            why=_why(reason),
            pause=pause,
        )
        self._start_later(worker.number, pause)

    def _next_pause(self, number: int) -> float:
        pause = self._pauses[number] = min(2 * self._pauses.get(number, 0.0) or FIRST_PAUSE, LONGEST_PAUSE)
        return pause

    def _start_later(self, number: int, seconds: float) -> None:
        self._starting[number] = self.clock.callLater(seconds, self._start, number)

    def reload(self, words: tuple[str, ...], read: Mapping[str, Any], drain_timeout: float) -> None:
        """
        Have all of them read again what files say, also those that come later.

        :param words: of the command line, as they are by now.
        :param read: what they can't read themselves, as it is by now.
        :param drain_timeout: seconds that connections get to finish at the end.
        """
        self._words, self.read, self.drain_timeout = words, read, drain_timeout
        for worker in self._running.values():
            worker.tell("reload", words=words, read=read)

    def stop(self) -> Deferred[None]:
        """
        End all in order.

        :return: fires when all are gone.
        """
        if self._gone is None:
            self._gone = Deferred()
            for waiting in self._starting.values():
                waiting.cancel()
            self._starting.clear()
            for worker in self._running.values():
                worker.tell("stop")
            self._killing = self.clock.callLater(self.drain_timeout + LEAVE_TIME, self._kill)
            self._look_if_gone()
        return self._gone

    def hurry(self) -> None:
        """Wait no longer for their connections, nor long for a worker that does not hear."""
        for worker in self._running.values():
            worker.tell("hurry")
        killing = self._killing
        if killing is not None and killing.active() and killing.getTime() > self.clock.seconds() + HURRY_TIME:
            killing.reset(HURRY_TIME)

    def _kill(self) -> None:
        for worker in self._running.values():
            self._log.warn("worker {number} does not end, and is killed", event="worker_killed", number=worker.number)
            worker.kill()

    def _look_if_gone(self) -> None:
        if self._running or self._gone is None or self._gone.called:
            return
        if self._killing is not None and self._killing.active():
            self._killing.cancel()
        if self._folder is not None:
            self._folder.remove()
        self._gone.callback(None)


def _name_of_reactor(given: Any) -> str | None:
    """Tell what ``--reactor`` was: ``twistd`` keeps the name, ``twist`` the reactor."""
    if given is None or isinstance(given, str):
        return given
    kinds: Any = getReactorTypes()
    return next((kind.shortName for kind in kinds if kind.moduleName == type(given).__module__), None)


def _why(reason: Failure) -> str:
    """Say how a process ended."""
    number, status = getattr(reason.value, "signal", None), getattr(reason.value, "exitCode", None)
    if number is not None:
        with suppress(ValueError):
            return f"it was ended by {signal.Signals(number).name}"
        return f"it was ended by signal {number}"
    return f"it ended with status {status}"
