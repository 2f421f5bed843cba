"""
What the command lines of the services of ``twistd`` have in common.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import fields
from typing import Any

from twisted.python import usage

from ..core.keepalive import Timeouts
from ..describe import describe_os_error, printable
from ..operation.share import Share
from ..operation.workers import MOST_WORKERS, Workers
from .options import ProgramOptions, with_help
from .output import OutputLost, prepare_outputs, print_error
from .pidfile import describe_pid_file, remove_own_pid_file

#: What both services take: the encrypted connections, and what a tunnel joins to them, are watched in the same way.
#: Read as numbers later, by :meth:`ServiceOptions.timeouts`.
SERVICE_PARAMETERS = [
    ["inactivity-timeout", None, "180", "seconds the other end may be silent"],
    # Without a default here: it must be known whether one was given.
    ["ping-interval", None, None, "least seconds between PINGs [default: 60 or less]"],
    ["tcp-keepalive", None, "60", "seconds until TCP asks; 0: never"],
    ["workers", None, None, "processes that serve, a number or auto [default: this one]"],
]

#: What ``--limit`` may name: each with the class that takes it, and the argument's name there.
LimitNames = Mapping[str, "tuple[type, str]"]


def limit_names(kind: Any) -> LimitNames:
    """
    Name all fields of a class of limits, as ``--limit`` takes them.

    :param kind: a dataclass.
    """
    return {field.name.replace("_", "-"): (kind, field.name) for field in fields(kind)}


class ServiceOptions(ProgramOptions):
    """
    The command line of a twistd service. A mistake in it ends the program with one line.

    :cvar program: the service's name.
    :cvar limits: what ``--limit`` may name.
    :ivar words: of the command line, as they were given.
    :ivar share: of a worker; ``None`` in a process that is none.
    :ivar read: what workers can't read, for them.
    """

    share: Share | None = None

    program = ""
    synopsis = "[options]"
    limits: LimitNames = {}

    def __init__(self) -> None:
        # Here no reactor is made yet. It would take the number of a descriptor that was closed.
        prepare_outputs()
        super().__init__()  # type: ignore[no-untyped-call]
        self._given_limits: dict[type, dict[str, Any]] = {}
        self.words: tuple[str, ...] = ()
        self.read: dict[str, Any] = {}

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
        self._look_at_pid_file(self.twistd.get("pidfile") or "")

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
            count = len(os.sched_getaffinity(0)) if given == "auto" else int(given)
        except ValueError:
            count = 0
        if not 1 <= count <= MOST_WORKERS:
            raise usage.UsageError(f"--workers takes a number from 1 to {MOST_WORKERS}, or auto, not {given!r}")
        if self.twistd.get("chroot"):
            raise usage.UsageError("--workers starts programs, which are not there behind twistd --chroot; omit one")
        return count

    def make_workers(self, reactor: Any, remembers: bool = False) -> Workers | None:
        """
        Make what serves in place of this process.

        :param reactor: the one that runs.
        :param remembers: whether workers need a database of handshakes that none of them has by itself.
        :return: ``None`` where this one serves.
        """
        count = None if self.share is not None else self.workers()
        if count is None:
            return None
        return Workers(self.program, self.words, count, self.read, reactor, self.twistd, remembers)

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

    def parseArgs(self, *arguments: str) -> None:
        """
        Refuse all arguments.

        :raises UsageError: when there is one.
        """
        if arguments:
            raise usage.UsageError(f"unexpected argument {arguments[0]!r}")
