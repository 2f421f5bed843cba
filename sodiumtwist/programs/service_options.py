"""
What the command lines of the services of ``twistd`` have in common.
"""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Iterator, Mapping
from contextlib import nullcontext
from dataclasses import fields
from functools import partial
from typing import Any

from twisted.logger import FileLogObserver
from twisted.python import usage

from ..core.errors import LocalProtocolError
from ..core.keepalive import Timeouts
from ..describe import describe_error, describe_os_error, printable
from ..operation.logs import FORMATS, LOG_OBSERVER, LogLimits, make_observer
from ..operation.workers import MOST_WORKERS, Workers, missing_program
from ..protocol.draining import DRAIN_TIMEOUT
from .check import describe_options, telling_warnings
from .configuration import LIMIT, OptionNames, Setting, not_overruled, read_configuration
from .options import with_help
from .output import OutputLost, prepare_outputs, print_error, print_text
from .pidfile import describe_pid_file, remove_own_pid_file
from .rereading import ReadAgain
from .service_user import acting_as, service_user

#: What both services take: the encrypted connections, and what a tunnel joins to them, are watched in the same way.
#: Read as numbers later, by :meth:`ServiceOptions.timeouts`.
SERVICE_PARAMETERS = [
    ["inactivity-timeout", None, "180", "seconds the other end may be silent"],
    # Without a default here: it must be known whether one was given.
    ["ping-interval", None, None, "least seconds between PINGs [default: 60 or less]"],
    ["tcp-keepalive", None, "60", "seconds until TCP asks; 0: never"],
    ["workers", None, None, "processes that serve, a number or auto [default: this one]"],
    ["log-format", None, "text", "the log's lines: text or json"],
    ["drain-timeout", None, f"{DRAIN_TIMEOUT:g}", "seconds to finish in at the end"],
    ["metrics", None, None, "where to serve metrics and a status page"],
    ["config", None, None, "TOML file with options; those given here win"],
]

#: Those that a running service takes.
SERVICE_RENEWED = frozenset({"inactivity-timeout", "ping-interval", "tcp-keepalive", "drain-timeout"})

#: The most seconds that ``--drain-timeout`` takes. While a service stops, its port is closed: nobody else is served.
MOST_DRAIN = 3600.0

SERVICE_FLAGS = [["check", None, "show what would run, and do not run it"]]

#: What shells complete as their values.
SERVICE_COMPLETIONS = {"config": usage.CompleteFiles()}

#: What ends before anything is parsed.
_HELP = {"help", "help-auth", "help-auth-type", "version"}

#: What ``--limit`` may name: each with the class that takes it, and the argument's name there.
LimitNames = Mapping[str, "tuple[type, str]"]


def limit_names(kind: Any) -> LimitNames:
    """
    Name all fields of a class of limits, as ``--limit`` takes them.

    :param kind: a dataclass.
    """
    return {field.name.replace("_", "-"): (kind, field.name) for field in fields(kind)}


#: What ``--limit`` may name for both services.
SERVICE_LIMITS: LimitNames = {
    "log-size": (LogLimits, "size"),
    "log-files": (LogLimits, "files"),
    "twisted-lines": (LogLimits, "lines"),
}


def _cores() -> int:
    """Tell how many processor cores this process may use."""
    count = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return min(count, MOST_WORKERS)


class ServiceOptions(ReadAgain):
    """
    The command line of a twistd service. A mistake in it ends the program with one line.

    :cvar needs: options that say something about others, one of which must be given.
    :cvar defaults_of_lists: what holds of options that may be repeated where none is given.
    :ivar read: what workers can't read, for them.
    :ivar settings_of_file: what holds of the file that ``--config`` names.
    """

    synopsis = "[options]"
    needs: Mapping[str, tuple[str, ...]] = {}
    defaults_of_lists: Mapping[str, tuple[str, ...]] = {}

    def __init__(self) -> None:
        # Here no reactor is made yet. It would take the number of a descriptor that was closed.
        prepare_outputs()
        super().__init__()
        self._all_words: list[str] = []
        self.read: dict[str, Any] = {}
        self.settings_of_file: list[Setting] = []
        self._path_of_file = ""
        self._read_of_file: list[Setting] | None = None

    def opt_limit(self, setting: str) -> None:
        """NAME=NUMBER, repeatable; a wrong NAME shows all"""
        name, _, number = setting.partition("=")
        if name not in self.limits:
            raise usage.UsageError(f"--limit takes one of {', '.join(self.limits)}, not {name!r}")
        kind, argument = self.limits[name]
        try:
            # Times may have fractions. What is counted may not.
            value: float = float(number) if argument.endswith(("seconds", "grace", "tolerance", "age")) else int(number)
        except ValueError:
            raise usage.UsageError(f"--limit {name}= takes a number, not {number!r}") from None
        self._given_limits.setdefault(kind, {})[argument] = value

    @property
    def twistd(self) -> Mapping[str, Any]:
        """The options of ``twistd`` itself; empty when they were not parsed with it."""
        return self.parent or {}

    def parseOptions(self, options: list[str] | None = None) -> None:
        """
        Parse the command line.

        :raises SystemExit: with one line, when something is wrong. twistd would print its whole help, too.
        """
        self.words = tuple(options or ())
        try:
            words = self._with_file(list(self.words))
            self._all_words = words
            with telling_warnings(self.program) if "--check" in words else nullcontext():
                super().parseOptions(words)
                if self.before is None:
                    self._take_over_log()
                if self["check"]:
                    self.try_out()
                    self._show_options(words)
        except usage.UsageError as error:
            # Where it is read again, nobody has just typed it.
            line = str(error) if self.before is not None else with_help(error, f"twistd {self.program}")
            raise SystemExit(printable(f"{self.program}: {self._place_in_file(line)}{line}")) from None
        # The help could not be printed.
        except OutputLost as lost:
            if str(lost):
                print_error(str(lost), self.program)
            raise SystemExit(lost.status) from None
        if self["check"]:
            sys.exit(0)
        # Later it is our own.
        if self.before is None:
            self._look_at_pid_file(self.twistd.get("pidfile") or "")

    def _take_over_log(self) -> None:
        """Have the log written as it is asked for, in place of twistd's own way."""
        log_format = self["log-format"]
        if log_format not in FORMATS:
            raise usage.UsageError(f"--log-format takes {' or '.join(FORMATS)}, not {log_format!r}")
        try:
            limits = LogLimits(**self.given_limits(LogLimits))
        except LocalProtocolError as error:
            raise usage.UsageError(str(error)) from None
        twistd = self.parent
        if twistd is None:
            return
        if "fileLogObserverFactory" in twistd:  # twist's own option has chosen already
            if log_format != "text":
                twistd["fileLogObserverFactory"] = partial(FileLogObserver, formatEvent=FORMATS[log_format])
            return
        for option in ("logger", "syslog"):
            if twistd.get(option):
                if log_format != "text":
                    raise usage.UsageError(f"--log-format {log_format} and twistd --{option} exclude each other")
                return
        # Not as its "logger", which twistd takes for a name when it has parsed this.
        twistd[LOG_OBSERVER] = partial(make_observer, log_format, twistd, limits)

    def _show_options(self, words: list[str]) -> None:
        """
        Print what holds.

        :param words: of the command line, those of the file among them, options first.
        :raises OutputLost: when it can't be printed.
        """
        values = {name: [str(value)] for name, value in self.defaults.items() if value not in (None, 0)}
        values.update({name: [*texts] for name, texts in self.defaults_of_lists.items()})
        given: dict[str, list[str]] = {}
        for name, value in self._pairs(self._in_order(words)):
            given.setdefault(name, []).append(value)
        notes = self.notes_of_check()
        if self.settings_of_file:
            notes.insert(0, f"Some of them stand in {self._path_of_file}.")
        limits = {
            name: self.given_limits(kind).get(argument, self.default_limit(name))
            for name, (kind, argument) in self.limits.items()
        }
        shown = describe_options(self.program, self.option_names(), {**values, **given}, limits, notes)
        print_text(shown)

    def try_out(self) -> None:
        """
        Find out whether what is asked for can be had, without listening, or changing anything. For subclasses.

        :raises UsageError: when it can't.
        :raises SystemExit: when it can't, with one line.
        """

    def notes_of_check(self) -> list[str]:
        """Say what else is to be known of what would run, a line each. For subclasses."""
        return []

    def default_limit(self, name: str) -> float:
        """
        Tell what holds where ``--limit`` says nothing.

        :param name: what it may name.
        """
        kind, argument = self.limits[name]
        value: float = getattr(kind, argument)
        return value

    def option_names(self) -> OptionNames:
        """Tell what may be asked for."""
        completions = [data for kind in type(self).__mro__ if (data := vars(kind).get("compData")) is not None]
        return OptionNames(
            taking=[name[:-1] for name in self.longOpt if name.endswith("=")],
            flags=[name for name in self.longOpt if not name.endswith("=")],
            repeatable={name for data in completions for name in data.multiUse},
            # --server-key takes a path, too; but most give it the key itself, or a name.
            paths={
                name
                for name, completer in self.completers().items()
                if isinstance(completer, (usage.CompleteFiles, usage.CompleteDirs)) and name != "server-key"
            },
            limits=self.limits,
            aliases=self.aliases,
            exclusive=[group for data in completions for group in data.mutuallyExclusive],
            needs=self.needs,
            elsewhere=[name.rstrip("=") for name in getattr(self.parent, "longOpt", ())],
        )

    def _with_file(self, words: list[str]) -> list[str]:
        """
        Put what the file of ``--config`` says before the words of the command line.

        :return: all words, options first, each by its own name; as they are where a shell asks how to go on.
        :raises UsageError: when the file can't be read, or something in it is wrong.
        """
        if "--_shell-completion" in words[-2:-1]:
            return words
        ordered = self._in_order(words)
        given = list(self._pairs(ordered))
        if _HELP.intersection(name for name, _ in given):
            return ordered
        path = next((value for name, value in reversed(given) if name == "config"), None)
        if path is None:
            return ordered
        names = self.option_names()
        try:
            user = service_user(self.twistd)
            owners = () if user is None else (user.uid,)
            before: list[Setting] | None = getattr(self.before, "_read_of_file", None)
            read = self._read_of_file = self.hold(lambda: read_configuration(path, names, owners), before)
        except (OSError, LocalProtocolError) as error:
            raise usage.UsageError(describe_error(error)) from None
        limits = {value.partition("=")[0] for name, value in given if name == LIMIT}
        self._path_of_file = path
        self.settings_of_file = not_overruled(read, {name for name, _ in given}, limits, names)
        return [*(word for setting in self.settings_of_file for word in setting.words), *ordered]

    def _pairs(self, ordered: list[str]) -> Iterator[tuple[str, str]]:
        """
        Take a command line apart.

        :param ordered: its words, options first, each value in a word of its own.
        :return: each option by its name, and its value; that is empty for one that takes none.
        """
        words = iter(ordered)
        for word in words:
            if word == "--":
                return
            name = self.synonyms[word.lstrip("-")]
            yield name, next(words) if f"{name}=" in self.longOpt else ""

    def _place_in_file(self, line: str) -> str:
        """Tell where in the file an option or a limit stands that an error begins with; nothing for another one."""
        found = re.match(r"--([\w-]+)(?:[ =]+([\w-]+)=)?|the limit ([\w-]+)", line)
        if found is None:
            return ""
        option, limit = found[1] or LIMIT, found[2] or found[3] or ""
        for setting in self.settings_of_file:
            if setting.name == option and (not setting.limit or setting.limit == limit):
                return f"{self._path_of_file}: {setting.place}"
        return ""

    def _look_at_pid_file(self, path: str) -> None:
        # Twistd looks at it later, and tells neither where it is nor what to do.
        try:
            removed = remove_own_pid_file(path)
        except OSError as error:
            why = f"the pid file of a server that is gone: {describe_os_error(error)}"
            raise SystemExit(printable(f"{self.program}: {why}")) from None
        if removed:
            print_error(f"warning: removed {path}, the pid file of a server that is gone", self.program)
        elif line := describe_pid_file(path):
            raise SystemExit(printable(f"{self.program}: {line}"))

    def workers(self) -> int | None:
        """
        Tell how many processes are to serve.

        :return: ``None`` for this one alone.
        :raises UsageError: when it is no number that makes sense, or does not go with another option.
        """
        given = self["workers"]
        if given is None:
            return None
        try:
            count = _cores() if given == "auto" else int(given)
        except ValueError:
            count = 0
        if not 1 <= count <= MOST_WORKERS:
            raise usage.UsageError(f"--workers takes a number from 1 to {MOST_WORKERS}, or auto, not {given!r}")
        if self.twistd.get("chroot"):
            raise usage.UsageError("--workers starts programs, which are not there behind twistd --chroot; omit one")
        return count

    def words_for_workers(self) -> tuple[str, ...]:
        """Give the words of the command line, with what ``--config`` says: the file may be for root alone."""
        pairs = self._pairs(self._in_order(self._all_words))
        return tuple(
            f"--{name}={value}" if f"{name}=" in self.longOpt else f"--{name}"
            for name, value in pairs
            if name != "config"
        )

    def make_workers(self, reactor: Any, remembers: bool = False) -> Workers | None:
        """
        Make what serves in place of this process.

        :param reactor: the one that runs.
        :param remembers: whether workers need a database of handshakes that none of them has by itself.
        :return: ``None`` where this one serves.
        :raises SystemExit: when the user that the service runs as can't start them.
        """
        count = None if self.share is not None else self.workers()
        if count is None:
            return None
        user = service_user(self.twistd)
        with acting_as(user):
            missing = missing_program()
        if missing is not None:
            whom = "this process" if user is None else f"user {user.name}, as whom the service runs,"
            line = f"--workers are started by {missing}, which {whom} may not use; install sodiumtwist elsewhere"
            raise SystemExit(printable(f"{self.program}: {line}"))
        return Workers(
            self.program,
            self.words_for_workers(),
            count,
            self.read,
            reactor,
            self.twistd,
            self.drain_timeout(),
            remembers,
        )

    def seconds(self, name: str) -> float:
        """
        Give the value of an option that is a time.

        :param name: of the option.
        :raises UsageError: when it is no number. What Twisted says then names no number of seconds.
        """
        try:
            return float(self[name])
        except ValueError:
            raise usage.UsageError(f"--{name} takes a number of seconds, not {self[name]!r}") from None

    def timeouts(self, authentication: float = Timeouts.authentication) -> Timeouts:
        """
        Give what the options of :data:`SERVICE_PARAMETERS` say.

        :param authentication: seconds for the handshake.
        :raises UsageError: when one is no number.
        :raises LocalProtocolError: when a number makes no sense, or two contradict each other.
        """
        inactivity, tcp_keepalive = self.seconds("inactivity-timeout"), self.seconds("tcp-keepalive")
        # Not given is not the same as the default: PINGs then follow the inactivity time.
        if self["ping-interval"] is None:
            return Timeouts(authentication, inactivity, tcp_keepalive=tcp_keepalive)
        return Timeouts(authentication, inactivity, self.seconds("ping-interval"), tcp_keepalive=tcp_keepalive)

    def drain_timeout(self) -> float:
        """
        Give how many seconds connections get to finish when the service is stopped.

        :raises UsageError: when it is no such number.
        """
        seconds = self.seconds("drain-timeout")
        # Not "seconds < 0", which NaN is not.
        if not 0 <= seconds <= MOST_DRAIN:
            raise usage.UsageError(
                f"--drain-timeout takes a number of seconds from 0 to {MOST_DRAIN:g}, not {seconds:g}"
            )
        return seconds

    def parseArgs(self, *arguments: str) -> None:
        """
        Refuse all arguments.

        :raises UsageError: when there is one.
        """
        if arguments:
            raise usage.UsageError(f"unexpected argument {arguments[0]!r}")
