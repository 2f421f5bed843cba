"""
The options of a service that are parsed again while it runs, since the files that they name may say something else by
then.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

from ..describe import describe_os_error, printable
from ..operation.share import Share
from .options import ProgramOptions, describe_file_error

Again = TypeVar("Again", bound="ReadAgain")
Read = TypeVar("Read")


def _current_directory() -> str:
    try:
        return os.getcwd()
    # It was removed.
    except OSError:
        return "."


class ReadAgain(ProgramOptions):
    """
    Options whose words can be parsed again.

    :cvar program: the service's name.
    :cvar limits: what ``--limit`` may name, each with the class that takes it, and the argument's name there.
    :cvar renewed: the names of options whose new values a running service takes.
    :cvar renewed_limits: the same of limits, by the classes that take them.
    :ivar words: of the command line, as they were given.
    :ivar before: what was parsed before, while the same words are parsed again; ``None`` otherwise.
    :ivar share: of a worker; ``None`` in a process that is none.
    :ivar held: lines about what could not be read again, so that what was read before holds.
    """

    program = ""
    limits: Mapping[str, tuple[type, str]] = {}
    renewed: frozenset[str] = frozenset()
    renewed_limits: frozenset[type] = frozenset()
    before: ReadAgain | None = None
    share: Share | None = None

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._given_limits: dict[type, dict[str, Any]] = {}
        self.words: tuple[str, ...] = ()
        self.held: list[str] = []
        #: Where relative paths begin. A daemon changes its directory.
        self._where = _current_directory()
        #: What the service was started with.
        self._at_start: ReadAgain = self

    def given_limits(self, kind: type) -> dict[str, Any]:
        """
        Tell which arguments ``--limit`` has given.

        :param kind: for this class.
        """
        return self._given_limits.get(kind, {})

    def again(self: Again) -> Again:
        """
        Parse the same words once more, since files that they name may say something else by now.

        :return: what they say now. Of what is opened or made once, it has what these options have.
        :raises SystemExit: with one line, when something is wrong.
        """
        options = type(self)()
        options.parent, options.before = self.parent, self
        options._where, options._at_start, options.share = self._where, self._at_start, self.share
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
