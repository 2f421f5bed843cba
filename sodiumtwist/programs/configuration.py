"""
The file that ``--config`` names: options of a service in TOML, by the names that they have on the command line::

    key-file = "server.key"
    endpoint = ["0.0.0.0:5555"]
    directory = "/srv/uploads"
    no-sync = true

    [limit]
    connections = 2000

Each becomes a word of the command line, so all that is checked there is checked here. What the command line says itself
goes before what the file says.
"""

from __future__ import annotations

import os
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from ..admission.files import check_file, open_at_once
from ..contacts.servers_file import parse, place_of
from ..core.errors import LocalProtocolError
from ..describe import describe_limit, masked
from .options import did_you_mean

#: The largest size of the file in bytes. A wrong name may be that of a huge file.
CONFIGURATION_LIMIT = 1 << 20

#: What the file is called in errors.
WHAT = "configuration file"

#: The table of what ``--limit`` takes.
LIMIT = "limit"

#: Options that are said to a program, and say nothing of a service.
FOR_COMMAND_LINES = ("config", "check", "help", "help-auth", "help-auth-type", "version")

#: Types of ``--auth`` whose argument is the path of a file.
_FILE_CHECKERS = ("argon2", "file")

#: Options whose value nobody else may see.
_SECRETS = ("key", "passphrase")

#: Those whose value may have a secret in it: endpoint strings, URLs and commands.
_PLACES = ("endpoint", "listen", "to", "forward", "metrics", "on-stored", "shared-store")


@dataclass(frozen=True)
class OptionNames:
    """
    What a service may be asked for.

    :ivar taking: options with a value.
    :ivar flags: options without one.
    :ivar repeatable: those that may be given more than once.
    :ivar paths: those that take the path of a file or folder.
    :ivar limits: what ``--limit`` may name.
    :ivar aliases: other names, each with the option that it stands for.
    :ivar exclusive: groups of which one may be given.
    :ivar needs: options that say something about others, one of which must be given.
    :ivar elsewhere: options of the program that starts the service.
    """

    taking: Collection[str]
    flags: Collection[str]
    repeatable: Collection[str]
    paths: Collection[str]
    limits: Collection[str]
    aliases: Mapping[str, str]
    exclusive: Collection[tuple[str, ...]]
    needs: Mapping[str, tuple[str, ...]]
    elsewhere: Collection[str] = ()


@dataclass(frozen=True)
class Setting:
    """
    What the file says of one option.

    :ivar name: of the option.
    :ivar values: one for each time that it would stand on the command line; ``None`` for an option without a value.
    :ivar place: where in the file, to be put before an error.
    :ivar limit: which one it is of ``--limit``; empty for all others.
    """

    name: str
    values: tuple[str | None, ...]
    place: str
    limit: str = ""

    @property
    def words(self) -> list[str]:
        """The words of a command line that say so."""
        # In one word, so that a value may begin with a hyphen.
        return [f"--{self.name}" if value is None else f"--{self.name}={value}" for value in self.values]


def shown(name: str, value: str) -> str:
    """
    Make the value of an option fit to be shown: what may be a secret becomes ``…``.

    :param name: of the option.
    """
    if name in _SECRETS:
        return "…"
    if name == "auth":
        kind, colon, argument = value.partition(":")
        return f"{kind}:…" if argument and kind not in _FILE_CHECKERS else value
    return masked(value) if name in _PLACES else value


def read_configuration(path: str, names: OptionNames, owners: Collection[int] = ()) -> list[Setting]:
    """
    Read the file.

    :param path: of the file.
    :param names: what it may hold.
    :param owners: the numbers of users that the file may belong to, beside root and the user of this process.
    :return: what it says, in its order.
    :raises OSError: when it can't be read.
    :raises LocalProtocolError: when it is no TOML or says what no option says, with the line; when others can change
        it; and when they can read it, and it holds a secret.
    """
    if not path:
        raise LocalProtocolError("--config is empty; give the name of a file, or leave it out")
    with open_at_once(path) as file:
        status = os.fstat(file.fileno())
        check_file(path, status, WHAT, owners=owners)
        data = file.read(CONFIGURATION_LIMIT + 1)
    if len(data) > CONFIGURATION_LIMIT:
        raise LocalProtocolError(f"{path} is over {describe_limit(CONFIGURATION_LIMIT)} long; that is no {WHAT}")
    try:
        text = data.decode("utf-8")
    # Without its cause, which shows the bytes.
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise LocalProtocolError(f"{path}: line {line}: it is not UTF-8 text") from None
    reading = _Reading(names, text, os.path.dirname(os.path.abspath(path)))
    try:
        settings = reading.settings(parse(path, text))
    except _Wrong as wrong:
        raise LocalProtocolError(f"{path}: {wrong}") from None
    for setting in settings:
        if any(value is not None and shown(setting.name, value) != value for value in setting.values):
            check_file(path, status, f"{WHAT}, which holds a secret ({setting.name}),", secret=True, owners=owners)
    return settings


def not_overruled(
    settings: Iterable[Setting], given: Collection[str], limits: Collection[str], names: OptionNames
) -> list[Setting]:
    """
    Leave out what the command line says otherwise.

    :param settings: what the file says.
    :param given: the options on the command line.
    :param limits: the limits there.
    :param names: tell which options exclude each other.
    :return: what goes on to hold.
    """
    # Who gives --discard wants no --directory of the file.
    gone = set(given)
    for group in names.exclusive:
        if not set(given).isdisjoint(group):
            gone.update(group)
    file = list(settings)
    kept = [each for each in file if (each.limit not in limits if each.limit else each.name not in gone)]
    # Nor what the file says about that directory.
    before = {each.name for each in file}
    after = {each.name for each in kept}.union(given)

    def is_left_over(name: str) -> bool:
        about = names.needs.get(name, ())
        return bool(before.intersection(about)) and not after.intersection(about)

    return [each for each in kept if not is_left_over(each.name)]


class _Wrong(Exception):
    """What is wrong, behind where it stands."""


class _Reading:
    """
    One reading of a file.

    :param names: what it may hold.
    :param text: what it holds.
    :param folder: the absolute path of its folder.
    """

    def __init__(self, names: OptionNames, text: str, folder: str) -> None:
        self._names = names
        self._text = text
        self._folder = folder

    def settings(self, tables: Mapping[str, Any]) -> list[Setting]:
        """
        Make settings of what the parser found.

        :raises _Wrong: when something is no option, or no value for it.
        """
        found = []
        for name, value in tables.items():
            if name == LIMIT and isinstance(value, Mapping):
                found += [self._limit(limit, number) for limit, number in value.items()]
            else:
                found.append(self._option(name, value))
        # One that says nothing, such as false for a flag.
        return [setting for setting in found if setting.values]

    def _limit(self, name: str, value: Any) -> Setting:
        place = place_of(self._text, LIMIT, name)
        if name not in self._names.limits:
            if name in self._names.taking or name in self._names.flags:
                raise _Wrong(f"{place}{name} is no limit but an option; write it above [{LIMIT}]")
            raise _Wrong(f"{place}there is no limit {name!r}{did_you_mean(name, self._names.limits)}")
        if isinstance(value, bool) or not isinstance(value, (int, float)):
            raise _Wrong(f"{place}the limit {name} takes a number, not {_kind(value)}")
        return Setting(LIMIT, (f"{name}={value}",), place, limit=name)

    def _option(self, name: str, value: Any) -> Setting:
        place, names = place_of(self._text, "", name) or place_of(self._text, name), self._names
        if name in FOR_COMMAND_LINES:
            raise _Wrong(f"{place}--{name} is for command lines alone")
        if name == LIMIT:
            raise _Wrong(f"{place}limits stand in a table, [{LIMIT}], each with its number")
        if name in names.flags:
            if not isinstance(value, bool):
                raise _Wrong(f"{place}{name} takes true or false, not {_kind(value)}")
            return Setting(name, (None,) if value else (), place)
        if name not in names.taking:
            raise _Wrong(f"{place}{self._explain(name, value)}")
        values = value if isinstance(value, list) and name in names.repeatable else [value]
        if not values:
            raise _Wrong(f"{place}{name} is an empty list; leave it out")
        return Setting(name, tuple(self._text_of(name, each, place) for each in values), place)

    def _explain(self, name: str, value: Any) -> str:
        names = self._names
        if isinstance(value, Mapping):
            return f"there is no table [{name}] but [{LIMIT}] alone; options stand above it"
        if name in names.aliases:
            return f"{name} is called {names.aliases[name]} here"
        if name in names.elsewhere:
            return f"{name} is an option of twistd itself, which stands on its command line"
        if name in names.limits:
            return f"{name} is a limit; write it below [{LIMIT}]"
        return f"there is no option {name!r}{did_you_mean(name, [*names.taking, *names.flags])}"

    def _text_of(self, name: str, value: Any, place: str) -> str:
        if isinstance(value, bool) or not isinstance(value, (str, int, float)):
            what = "a text in quotes, or a number"
            if name in self._names.repeatable:
                what += ", or a list of them"
            raise _Wrong(f"{place}{name} takes {what}, not {_kind(value)}")
        text = str(value)
        # No word of a command line may hold one.
        if "\0" in text:
            raise _Wrong(f"{place}{name} has a NUL in it")
        if name == "auth":
            kind, colon, path = text.partition(":")
            return f"{kind}:{self._beside(path)}" if colon and kind in _FILE_CHECKERS else text
        return self._beside(text) if name in self._names.paths else text

    def _beside(self, path: str) -> str:
        """Make a path absolute: it is relative to the folder of the file, as in the file of servers."""
        # What is empty is refused later, and "-" is standard output.
        return path if path in ("", "-") else os.path.join(self._folder, os.path.expanduser(path))


def _kind(value: object) -> str:
    for kind, word in ((bool, "true or false"), ((int, float), "a number"), (str, "a text"), (list, "a list")):
        if isinstance(value, kind):
            return word
    return "a table" if isinstance(value, Mapping) else "a time"
