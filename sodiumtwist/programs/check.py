"""
What ``--check`` prints: which options a service would run with, in TOML, as a configuration file has them. No secret is
among them.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from shlex import split

from twisted.logger import ILogObserver, LogEvent, LogLevel, formatEvent, globalLogPublisher
from zope.interface import implementer

from ..describe import printable
from .configuration import FOR_COMMAND_LINES, LIMIT, OptionNames, shown
from .output import print_error


@contextmanager
def telling_warnings(program: str) -> Iterator[None]:
    """
    Print what would be warned of in the log to standard error.

    :param program: who speaks.
    """

    @implementer(ILogObserver)
    def tell(event: LogEvent) -> None:
        level = event.get("log_level")
        if level is not None and level >= LogLevel.warn:
            print_error(f"warning: {formatEvent(event)}", program)

    globalLogPublisher.addObserver(tell)
    try:
        yield
    finally:
        globalLogPublisher.removeObserver(tell)


def describe_options(
    program: str,
    names: OptionNames,
    values: Mapping[str, Sequence[str]],
    limits: Mapping[str, float],
    notes: Sequence[str],
) -> str:
    """
    Write what holds as a configuration file would have it.

    :param program: the name of the service.
    :param names: what there is.
    :param values: of options, those that have a value or are set.
    :param limits: what ``--limit`` may name.
    :param notes: lines of their own.
    """
    # Not at the top: services run without it.
    import tomlkit

    lines = [f"# twistd {program}: all is well; it would run with these options."]
    lines += [f"# {printable(note)}" for note in notes]
    for name in [*names.taking, *names.flags]:
        given = values.get(name)
        if not given or name in FOR_COMMAND_LINES or name == LIMIT:
            continue
        if name in names.flags:
            lines.append(f"{name} = true")
            continue
        texts = [_without_secrets(name, text) for text in given]
        if texts == ["…"]:
            lines.append(f"# {name} is given, and not shown")
            continue
        items = [tomlkit.item(_number(text)).as_string() for text in texts]
        hidden = "" if texts == list(given) else "  # with … in place of a secret"
        lines.append(f"{name} = " + (f"[{', '.join(items)}]" if name in names.repeatable else items[-1]) + hidden)
    lines += ["", f"[{LIMIT}]", *(f"{name} = {value if value % 1 else int(value)}" for name, value in limits.items())]
    return "\n".join(lines)


def _without_secrets(name: str, text: str) -> str:
    if name != "on-stored":
        return shown(name, text)
    # Any of its words may be a token or a password: as in the log, only the program is told.
    program, *others = split(text)
    return f"{program} …" if others else text


def _number(text: str) -> str | int:
    # Only where it is written as Python writes it: the file says the same text then.
    return int(text) if text.isascii() and text.isdigit() and str(int(text[:18])) == text else text
