"""
What the command lines of the services of ``twistd`` have in common.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import fields
from typing import Any, TypeVar

from twisted.python import usage

from ..core.keepalive import Timeouts
from ..describe import describe_os_error, printable
from ..protocol.draining import DRAIN_TIMEOUT
from .options import ProgramOptions, describe_file_error, with_help
from .output import OutputLost, prepare_outputs, print_error
from .pidfile import describe_pid_file, remove_own_pid_file

#: What both services take: the encrypted connections, and what a tunnel joins to them, are watched in the same way.
#: Read as numbers later, by :meth:`ServiceOptions.timeouts`.
SERVICE_PARAMETERS = [
    ["inactivity-timeout", None, "180", "seconds the other end may be silent"],
    # Without a default here: it must be known whether one was given.
    ["ping-interval", None, None, "least seconds between PINGs [default: 60 or less]"],
    ["tcp-keepalive", None, "60", "seconds until TCP asks; 0: never"],
    ["drain-timeout", None, f"{DRAIN_TIMEOUT:g}", "seconds to finish in at the end"],
]

#: Those that a running service takes.
SERVICE_RENEWED = frozenset({"inactivity-timeout", "ping-interval", "tcp-keepalive", "drain-timeout"})

#: The most seconds that ``--drain-timeout`` takes. While a service stops, its port is closed: nobody else is served.
MOST_DRAIN = 3600.0

#: What ``--limit`` may name: each with the class that takes it, and the argument's name there.
LimitNames = Mapping[str, "tuple[type, str]"]


def limit_names(kind: Any) -> LimitNames:
    """
    Name all fields of a class of limits, as ``--limit`` takes them.

    :param kind: a dataclass.
    """
    return {field.name.replace("_", "-"): (kind, field.name) for field in fields(kind)}


Given = TypeVar("Given", bound="ServiceOptions")
Read = TypeVar("Read")


def _current_directory() -> str:
    try:
        return os.getcwd()
    # It was removed.
    except OSError:
        return "."


class ServiceOptions(ProgramOptions):
    """
    The command line of a twistd service. A mistake in it ends the program with one line.

    :cvar program: the service's name.
    :cvar limits: what ``--limit`` may name.
    :cvar renewed: the names of options whose new values a running service takes.
    :cvar renewed_limits: the same of limits, by the classes that take them.
    :ivar words: of the command line, as they were given.
    :ivar held: lines about what could not be read again, so that what was read before holds.
    """

    program = ""
    synopsis = "[options]"
    limits: LimitNames = {}
    renewed: frozenset[str] = frozenset()
    renewed_limits: frozenset[type] = frozenset()

    #: What was parsed before, while the same words are parsed again.
    before: ServiceOptions | None = None

    def __init__(self) -> None:
        # Here no reactor is made yet. It would take the number of a descriptor that was closed.
        prepare_outputs()
        super().__init__()  # type: ignore[no-untyped-call]
        self._given_limits: dict[type, dict[str, Any]] = {}
        self.words: tuple[str, ...] = ()
        self.held: list[str] = []
        #: Where relative paths begin. A daemon changes its directory.
        self._where = _current_directory()
        #: What the service was started with.
        self._at_start: ServiceOptions = self

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

    def given_limits(self, kind: type) -> dict[str, Any]:
        """
        Tell which arguments ``--limit`` has given.

        :param kind: for this class.
        """
        return self._given_limits.get(kind, {})

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
            super().parseOptions(options)
        except usage.UsageError as error:
            line = with_help(error, f"twistd {self.program}")
            raise SystemExit(printable(f"{self.program}: {line}")) from None
        # The help could not be printed.
        except OutputLost as lost:
            if str(lost):
                print_error(str(lost), self.program)
            raise SystemExit(lost.status) from None
        # Later it is our own.
        if self.before is None:
            self._look_at_pid_file(self.twistd.get("pidfile") or "")

    def again(self: Given) -> Given:
        """
        Parse the same words once more, since files that they name may say something else by now.

        :return: what they say now. Of what is opened or made once, it has what these options have.
        :raises SystemExit: with one line, when something is wrong.
        """
        options = type(self)()
        options.parent, options.before = self.parent, self
        options._where, options._at_start = self._where, self._at_start
        now = _current_directory()
        try:
            if now != self._where:
                os.chdir(self._where)
        except OSError as error:
            raise SystemExit(printable(f"{self.program}: {describe_os_error(error)}")) from None
        try:
            options.parseOptions(list(self.words))
        finally:
            if now != self._where:
                os.chdir(now)
        # Else each would keep all before it.
        options.before = None
        return options

    def only_at_start(self) -> list[str]:
        """Name the options whose values are others than at the start, and that a running service does not take."""
        old = self._at_start
        changed = [name for name in self if name not in self.renewed and self[name] != old.get(name)]
        # The list of all that were given.
        named = [f"--{'endpoint' if name == 'endpoints' else name}" for name in changed]
        for name, (kind, argument) in self.limits.items():
            now, then = (each.given_limits(kind).get(argument) for each in (self, old))
            if now != then and not self._takes_limit(kind, argument, now, then):
                named.append(f"--limit {name}")
        return named

    def _takes_limit(self, kind: type, argument: str, now: float | None, then: float | None) -> bool:
        if kind not in self.renewed_limits or argument != "connections":
            return kind in self.renewed_limits
        # It made room for its connections when it started.
        default = getattr(kind, argument)
        return bool((default if now is None else now) <= (default if then is None else then))

    def hold(self, read: Callable[[], Read], before: Any) -> Read:
        """
        Read a file that may be for root alone, who starts the service, though the service runs as another user.

        :param read: reads it.
        :param before: what was read before, and holds on where it can't be read again; ``None`` when nothing was.
        :raises PermissionError: when it can't be read and nothing was read before.
        """
        try:
            return read()
        except PermissionError as error:
            if before is None:
                raise
            self.held.append(describe_file_error(self, error))
            held: Read = before
            return held

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
