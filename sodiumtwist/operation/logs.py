"""
The log of a service: its lines as text or as JSON, and its file, which is rotated here or by others.
"""

from __future__ import annotations

import ast
import os
import signal
import sys
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime, timezone
from threading import RLock
from typing import Any

from twisted.internet.interfaces import IReactorTime
from twisted.logger import (
    FileLogObserver,
    ILogObserver,
    LogEvent,
    LogLevel,
    eventAsJSON,
    formatEvent,
    formatEventAsClassicLogText,
)
from twisted.python.failure import Failure
from twisted.python.logfile import LogFile
from twisted.python.threadable import isInIOThread
from zope.interface import implementer

from ..admission.summed_lines import SummedLines
from ..core.errors import LocalProtocolError
from ..describe import SHOWN_LIMIT, describe_os_error
from ..describe.events import EVENTS, OTHER
from ..describe.log import Logger
from ..protocol.clock import steady_clock

_log = Logger()

#: The lines of this package have names of loggers that begin so.
PACKAGE = "sodiumtwist."

#: Under this name the options of ``twistd`` hold what makes the observer of a service.
LOG_OBSERVER = "log-observer"

#: Where twistd writes its log, when nothing is said.
DEFAULT_FILE = "twistd.log"

#: How many kinds of lines that are not this package's are told apart; all others are one kind.
OTHER_KINDS = 100

#: How many characters of a traceback, or of another line with newlines, are shown.
TRACEBACK_LIMIT = 10_000


@dataclass(frozen=True)
class LogLimits:
    """
    How much of a log is kept.

    :ivar size: how many bytes a file may have, before another one is begun and this one renamed; 0 for any number, as
        is right where another program does that.
    :ivar files: how many that were renamed are kept. With one more the oldest is removed.
    :ivar lines: how many lines of one kind in a minute are written that are not this package's, as Twisted's own. More
        are summed up.
    :raises LocalProtocolError: for a number that is too small.
    """

    size: int = 1_000_000
    files: int = 100
    lines: int = 20

    def __post_init__(self) -> None:
        if self.size < 0:
            raise LocalProtocolError(f"the limit log-size takes a number of bytes, or 0 for none, not {self.size}")
        for name, value in (("log-files", self.files), ("twisted-lines", self.lines)):
            if value < 1:
                raise LocalProtocolError(f"the limit {name} takes a whole number from 1, not {value}")


class ServiceLog:
    """
    The file of a log. Lines may come from any thread.

    :param path: of the file.
    :param limits: how much of it is kept.
    :raises OSError: when it can't be opened.
    """

    def __init__(self, path: str, limits: LogLimits) -> None:
        self._limits = limits
        self._lock = RLock()
        self._file = self._opened(path)
        # Whether the last line could not be written, as on a full disk.
        self._failed = False
        #: Of the file, from the root on.
        self.path: str = self._file.path

    def _opened(self, path: str) -> Any:
        return LogFile.fromFullPath(path, rotateLength=self._limits.size or None, maxRotatedFiles=self._limits.files)

    def write(self, text: str) -> None:
        """Write a line. It counts in bytes towards the size of the file."""
        line = text.encode("utf-8", "replace")
        with self._lock:
            # A part of a line may be there, which must not spoil this one.
            begin = b"\n" if self._failed and self._ends_within_a_line() else b""
            self._failed = True
            try:
                self._file.write(begin + line)
            except ValueError:
                # It is closed: when another one was to be begun, for instance, there was no room on the disk.
                self._file = self._opened(self.path)
                self._file.write(line)
            self._failed = False

    def _ends_within_a_line(self) -> bool:
        # What has no last byte is empty, or no file any more.
        with suppress(OSError), open(self.path, "rb") as file:
            file.seek(-1, os.SEEK_END)
            return file.read() != b"\n"
        return False

    def flush(self) -> None:
        """Nothing is kept back."""

    def rotate(self) -> None:
        """Give the file a number behind its name, and begin another one."""
        with self._lock:
            self._file.rotate()

    def reopen(self) -> None:
        """
        Go on in the file that has the name now: another program has given ours another one.

        :raises OSError: when that can't be opened. The old one goes on.
        """
        with self._lock:
            opened = self._opened(self.path)
            # Only now: a log that can't be reopened must not be lost.
            self._file.close()
            self._file = opened

    def close(self) -> None:
        """Write no more."""
        with self._lock:
            if _open_logs.pop(self.path, None) is not None:
                self._file.close()


#: The files of logs that this process writes, by their paths.
_open_logs: dict[str, ServiceLog] = {}


def open_log(path: str, limits: LogLimits = LogLimits()) -> ServiceLog:
    """
    Open the file of a log, so that :func:`reopen_logs` finds it, and SIGUSR1 begins another one.

    :param path: of the file.
    :param limits: how much of it is kept.
    :raises OSError: when it can't be opened.
    """
    log = ServiceLog(path, limits)
    _open_logs[log.path] = log
    return log


def reopen_logs() -> None:
    """
    Open the files of all logs anew, and say so in them. It raises nothing: where a file can't be opened, the old one
    goes on, which a line in it tells.
    """
    for log in list(_open_logs.values()):
        try:
            log.reopen()
        except OSError as error:
            _log.error(
                "the log file {path} can't be opened anew, so the old one goes on: {reason}",
                event="logs_kept",
                path=log.path,
                reason=describe_os_error(error),
            )
        else:
            _log.info("the log goes on in {path}", event="logs_reopened", path=log.path)


def rotate_logs() -> None:
    """Begin other files for all logs, and give those that are there numbers behind their names."""
    for log in list(_open_logs.values()):
        with suppress(OSError):
            log.rotate()


def _rotate_by_signal() -> None:
    # As twistd does: not over what somebody else has set. A log that is no file takes the signal, too; it would end
    # the process.
    if not signal.getsignal(signal.SIGUSR1):

        def rotate_soon(*_: object) -> None:
            from twisted.internet import reactor

            reactor.callFromThread(rotate_logs)  # type: ignore[attr-defined]

        signal.signal(signal.SIGUSR1, rotate_soon)


def _shown(text: str, limit: int = TRACEBACK_LIMIT) -> str:
    """Make a text of more lines fit for a log: no terminal takes it for a command."""
    left_out = len(text) - limit
    if left_out > 0:
        # The end of a traceback tells most.
        text = f"({left_out} characters more) …{text[-limit:]}"
    if text.isprintable():
        return text
    return "".join(mark if mark.isprintable() or mark in "\n\t" else "?" for mark in text)


def text_line(event: LogEvent) -> str | None:
    """
    Show an event as Twisted does: the time, who speaks and how urgently, and the line. What follows a newline is
    indented.

    :param event: the event.
    :return: the line with its newline; ``None`` where there is nothing to say.
    """
    line = formatEventAsClassicLogText(event)
    if line is None:
        return None
    return _shown(line.rstrip("\n")) + "\n"


#: Fields that calls give as ``repr()`` has them, for the text.
_QUOTED = ("key", "login")


def json_line(event: LogEvent) -> str:
    """
    Show an event as one JSON object on a line.

    :param event: the event.
    :return: the line, all in ASCII. It has ``time``, ``level``, ``event``, ``system`` and ``message``, for a failure
        ``traceback``, and the fields of an event of :data:`~sodiumtwist.describe.events.EVENTS`.
    """
    name = event.get("event")
    known = isinstance(name, str) and name in EVENTS
    level = event.get("log_level") or LogLevel.info
    failure = event.get("log_failure")
    shown: dict[str, Any] = {
        "time": _iso_time(event["log_time"]),
        "level": level.name,
        "event": name if known else OTHER,
        "system": _shown(str(event.get("log_system") or event.get("log_namespace") or "-"), SHOWN_LIMIT),
        "message": _shown(formatEvent(event) or "", SHOWN_LIMIT),
    }
    if isinstance(failure, Failure):
        # What is there beside the line and its head.
        shown["traceback"] = _shown(failure.getTraceback())
    elif "log_text" in event and not shown["message"]:
        shown["message"] = _shown(str(event["log_text"]), SHOWN_LIMIT)
    if known:
        for field in EVENTS[str(name)].fields.split():
            if field in event:
                shown[field] = _plain(field, event[field])
    return eventAsJSON(shown) + "\n"


def _iso_time(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, timezone.utc).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def _plain(field: str, value: object) -> object:
    if field in _QUOTED and isinstance(value, str) and value.startswith(("'", '"')):
        # One that was cut is left as it is.
        with suppress(ValueError, SyntaxError):
            return ast.literal_eval(value)
    return value if isinstance(value, (int, float)) else str(value)


@implementer(ILogObserver)
class BoundedObserver:
    """
    Hands on all lines of this package, which have bounds of their own, and of others' no more than so many of one kind
    in a minute. Strangers can cause those, too: of each that there is no descriptor for Twisted says three, and what is
    wrong with a request to the site of ``--metrics`` is found out in a thread.

    :param observer: writes them.
    :param limit: how many.
    :param clock: tells the time.
    :param reactor: what other threads say is counted in its thread.
    """

    def __init__(self, observer: ILogObserver, limit: int, clock: IReactorTime, reactor: Any) -> None:
        self._observer = observer
        self._limit = limit
        self._clock = clock
        self._reactor = reactor
        # By who speaks, and by the line.
        self._kinds: dict[tuple[str, str], SummedLines] = {}

    def __call__(self, event: LogEvent) -> None:
        """Write an event, or count it."""
        if str(event.get("log_namespace")).startswith(PACKAGE):
            self._observer(event)
        elif isInIOThread() or not self._reactor.running:
            self._write_bounded(event)
        else:
            # Timers are the reactor's.
            self._reactor.callFromThread(self._write_bounded, event)

    def _write_bounded(self, event: LogEvent) -> None:
        # There are no timers before it runs, nor is there anybody else who could say anything.
        if not isInIOThread() or self._may_write(str(event.get("log_namespace")), event):
            self._observer(event)

    def _may_write(self, namespace: str, event: LogEvent) -> bool:
        line = str(event.get("log_format"))
        kind, what = (namespace, line), f"lines of {namespace}"
        # Those that are known already go on to be counted by themselves.
        if kind not in self._kinds and len(self._kinds) >= OTHER_KINDS:
            kind, what = (OTHER, ""), "other lines"
        lines = self._kinds.get(kind)
        if lines is None:
            lines = self._kinds[kind] = SummedLines(what, self._limit, lambda: self._clock)
        return lines.write(line)

    def stop(self) -> None:
        """Sum up what was not written."""
        for lines in self._kinds.values():
            lines.stop()


#: What makes a line of an event, by the name of the format.
FORMATS: Mapping[str, Callable[[LogEvent], str | None]] = {"text": text_line, "json": json_line}


def make_observer(log_format: str, twistd: Mapping[str, Any], limits: LogLimits, reactor: Any) -> ILogObserver:
    """
    Make what writes the log of a service, in place of twistd's own: where that would write, and as it is rotated there.

    :param log_format: a name of :data:`FORMATS`.
    :param twistd: the options of ``twistd``.
    :param limits: how much is written and kept.
    :param reactor: tells the time.
    :raises SystemExit: when a daemon is to write to standard output.
    :raises OSError: when the file can't be opened.
    """
    path, stays = twistd.get("logfile"), twistd.get("nodaemon")
    if path == "-" and not stays:
        raise SystemExit("Daemons cannot log to stdout, exiting!")
    _rotate_by_signal()
    out: Any = sys.stdout
    if path != "-" and (path or not stays):
        out = open_log(path or DEFAULT_FILE, limits)
    observer = BoundedObserver(FileLogObserver(out, FORMATS[log_format]), limits.lines, steady_clock(reactor), reactor)
    # What Twisted says of the end itself comes behind that.
    reactor.addSystemEventTrigger("after", "shutdown", observer.stop)
    return observer
