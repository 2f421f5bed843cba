"""
What a service tells systemd about itself, or whatever else starts it and speaks ``sd_notify(3)``: that it is ready,
that it stops, that it is alive, and how many sessions it has.

A message is a datagram of lines to the socket that the environment names. No library is needed for that, and none was
found that is looked after, leaves a reactor alone, and needs no compiler.
"""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Callable, MutableMapping
from typing import Any

from twisted.internet.task import LoopingCall

from ..describe import describe_os_error
from ..describe.log import Logger
from ..protocol.clock import steady_clock
from .companions import Companion

#: Seconds between two looks at the number of sessions.
STATUS_INTERVAL = 5.0

#: Seconds that a message which must arrive waits where systemd is too busy to take it. Everybody waits for them.
SEND_TIMEOUT = 1.0

#: While a service stops, it says at each look that it needs so many times the time until the next one. So systemd lets
#: connections have the time that the service gives them, and still ends one that says nothing any more.
LOOKS_TO_STOP = 4


class Notifier(Companion):
    """
    Tells systemd how far a service is.

    :param address: of systemd's socket: a path, or a name behind ``@``.
    :param sessions: counts those who are connected.
    :param reactor: tells the time.
    :param watchdog: systemd restarts the service when so many seconds pass in which it does not say that it is alive;
        ``None`` where it does not watch.
    :param watched: the process that systemd watches; ``None`` for any.
    :param monotonic: the clock of the machine, in nanoseconds. systemd compares it with its own.
    """

    _log = Logger()

    def __init__(
        self,
        address: str,
        sessions: Callable[[], int],
        reactor: Any,
        watchdog: float | None = None,
        watched: int | None = None,
        monotonic: Callable[[], int] = time.monotonic_ns,
    ) -> None:
        self._address = address
        self._sessions = sessions
        self._reactor = reactor
        self._watchdog = watchdog
        self._watched = watched
        self._monotonic = monotonic
        self._socket: socket.socket | None = None
        self._looking = LoopingCall(self._look)
        self._looking.clock = steady_clock(reactor)
        self._interval = STATUS_INTERVAL
        self._stops = False
        self._said = ""

    def prepare(self) -> None:
        # Now: behind a change of the root directory, or of the user, the path may be out of reach.
        address = f"\0{self._address[1:]}" if self._address.startswith("@") else self._address
        to_systemd = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        try:
            to_systemd.connect(address)
        except OSError as error:
            to_systemd.close()
            self._note_lost(error)
            return
        self._socket = to_systemd

    def started(self) -> None:
        # Not before the reactor runs: only then do signals do what systemd means by them.
        self._reactor.callWhenRunning(self._ready)

    def _ready(self) -> None:
        # A daemon that has forked is not who systemd watches.
        if self._watched not in (None, os.getpid()):
            self._watchdog = None
        if self._watchdog is not None:
            # Half the time, as sd_watchdog_enabled(3) has it.
            self._interval = min(self._interval, self._watchdog / 2)
        if self._socket is not None and not self._stops:
            self._tell("READY=1", *self._status())
            self._looking.start(self._interval, now=False)

    def reloading(self) -> None:
        self._tell("RELOADING=1", f"MONOTONIC_USEC={self._monotonic() // 1000}")

    def reloaded(self) -> None:
        self._tell("READY=1", *self._status())

    def stopping(self) -> None:
        self._stops = True
        self._tell("STOPPING=1", self._needs_time(), *self._status())

    def stopped(self) -> None:
        if self._looking.running:
            self._looking.stop()
        if self._socket is not None:
            self._socket.close()
            self._socket = None

    def _look(self) -> None:
        lines = [] if self._watchdog is None else ["WATCHDOG=1"]
        if self._stops:
            lines.append(self._needs_time())
        lines += self._status()
        if lines:
            self._tell(*lines, timeout=0)

    def _needs_time(self) -> str:
        return f"EXTEND_TIMEOUT_USEC={int(LOOKS_TO_STOP * self._interval * 1_000_000)}"

    def _status(self) -> list[str]:
        count = self._sessions()
        status = f"{'stopping, ' if self._stops else ''}{count} session{'' if count == 1 else 's'}"
        if status == self._said:
            return []
        self._said = status
        return [f"STATUS={status}"]

    def _tell(self, *lines: str, timeout: float = SEND_TIMEOUT) -> None:
        if self._socket is None:
            return
        self._socket.settimeout(timeout)
        try:
            self._socket.send("\n".join(lines).encode())
        except OSError as error:
            # What it says again soon may be lost once.
            if timeout:
                self._note_lost(error)

    def _note_lost(self, error: OSError) -> None:
        self._log.warn(
            "cannot tell systemd about this service at {where}: {reason}",
            event="notify_failed",
            where=repr(self._address),
            reason=describe_os_error(error),
        )


def notifier(environment: MutableMapping[str, str], sessions: Callable[[], int], reactor: Any) -> Notifier | None:
    """
    Make what tells systemd about a service, if systemd has started it and wants to know.

    :param environment: of this process. What is read is taken out of it: it is for no program that this one starts.
    :param sessions: counts those who are connected.
    :param reactor: tells the time.
    :return: ``None`` where nobody wants to know.
    """
    address = environment.pop("NOTIFY_SOCKET", "")
    microseconds = environment.pop("WATCHDOG_USEC", "")
    watched = environment.pop("WATCHDOG_PID", "")
    if not address:
        return None
    return Notifier(
        address,
        sessions,
        reactor,
        int(microseconds) / 1_000_000 if microseconds.isdecimal() and int(microseconds) else None,
        int(watched) if watched.isdecimal() else None,
    )
