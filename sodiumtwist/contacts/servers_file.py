"""
The text of ``servers.toml``: tables of servers, each under its name. People may write to the file, so what is changed
here leaves the rest of it as it is, comments too.
"""

from __future__ import annotations

import os
import re
import secrets
import sys
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Any

from ..admission.files import check_file, open_at_once
from ..admission.replacing import locked_folder, replace_text, sync_directory
from ..core.errors import LocalProtocolError
from ..describe import describe_limit, describe_size

#: The largest size of the file in bytes: some thousand servers. A wrong name may be that of a huge file.
SERVERS_FILE_LIMIT = 1 << 20

#: What a new file begins with.
_BEGINNING = "# The servers that sodiumtwist knows by name. You may change this file; comments stay.\n"

# Where parsers put the place of a mistake: tomllib, and tomlkit.
_PLACE = re.compile(r"\s*\(?at (?:line (\d+),? col(?:umn)? (\d+)|end of document)\)?")

# What they say of a name that a table has twice. Whatever else they say, one rule cures most mistakes.
_TWICE = re.compile("Cannot (overwrite|declare)|already exists")

_HEADER = re.compile(r"[ \t]*\[")
_BLANK = re.compile(r"[ \t\r]*(#.*)?")


def read_text(path: str) -> str:
    """
    Read the file.

    :return: what is in it; empty where there is none.
    :raises OSError: when it can't be read.
    :raises LocalProtocolError: when others can change it, and when it is no small text.
    """
    try:
        file = open_at_once(path)
    # Nor is there one where a part of the path is no folder.
    except (FileNotFoundError, NotADirectoryError):
        return ""
    with file:
        # Who can write to it can make us trust another server.
        check_file(path, os.fstat(file.fileno()), "list of servers")
        data = file.read(SERVERS_FILE_LIMIT + 1)
    if len(data) > SERVERS_FILE_LIMIT:
        raise LocalProtocolError(
            f"{path} is over {describe_limit(SERVERS_FILE_LIMIT)} long; that is no list of servers"
        )
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise LocalProtocolError(f"{path}: line {line}: it is not UTF-8 text") from None


def parse(path: str, text: str) -> Mapping[str, Any]:
    """
    Read the tables.

    :param path: of the file, for errors.
    :raises LocalProtocolError: when it is no TOML. The error tells the line, as far as the parser does.
    """
    if not text:
        return {}
    read: Callable[[str], Any]
    broken: tuple[type[Exception], ...]
    # Here, as below: most commands need none of it.
    if sys.version_info >= (3, 11):
        import tomllib

        # Not its own error alone: Python reads no number of over 4300 digits, and says so by another.
        read, broken = tomllib.loads, (ValueError,)
    else:
        import tomlkit
        from tomlkit.exceptions import TOMLKitError

        read, broken = (lambda text: tomlkit.parse(text).unwrap()), (TOMLKitError, ValueError)
    try:
        tables: Mapping[str, Any] = read(text)
    # The last for what is nested too deep.
    except (*broken, RecursionError) as error:
        said = " ".join(str(error).split())
        found = _PLACE.search(said)
        where = ""
        if found is not None:
            where = f"line {found[1] or _lines(text)}: "
        why = _PLACE.sub("", said).rstrip(".") or type(error).__name__
        why += "; it stands there twice" if _TWICE.search(why) else "; a line is NAME = VALUE, with texts in quotes"
        raise LocalProtocolError(f"{path}: {where}it is no TOML: {why}") from None
    return tables


def _lines(text: str) -> int:
    return text.count("\n") + (not text.endswith("\n"))


def place_of(text: str, name: str, key: str = "") -> str:
    """
    Say where a table, or a key in it, stands, to be put before an error.

    :param name: of the table; empty for what stands above all tables.
    :return: such as ``line 3: ``; empty where it is written in a way that is not looked for.
    """
    lines = text.split("\n")
    start = _header(lines, name) if name else -1
    if start is None:
        return ""
    for number in range(start + 1, _end(lines, start)) if key else ():
        if re.match(rf"""[ \t]*["']?{re.escape(key)}["']?[ \t]*=""", lines[number]):
            return f"line {number + 1}: "
    return f"line {start + 1}: " if name else ""


def _header(lines: list[str], name: str) -> int | None:
    quoted = re.escape(name)
    header = re.compile(rf"""[ \t]*\[[ \t]*("{quoted}"|'{quoted}'|{quoted})[ \t]*\]{_BLANK.pattern}""")
    return next((number for number, line in enumerate(lines) if header.fullmatch(line)), None)


def _end(lines: list[str], start: int) -> int:
    return next((number for number in range(start + 1, len(lines)) if _HEADER.match(lines[number])), len(lines))


def with_table(text: str, name: str, values: Mapping[str, Any]) -> str:
    """
    Put a table behind all others.

    :param text: of the file, which has no such table.
    """
    import tomlkit

    begun = text or _BEGINNING
    return f"{begun.rstrip()}\n\n{tomlkit.dumps({name: values})}"


def without_table(path: str, text: str, name: str) -> str:
    """
    Take a table out.

    :param path: of the file, for errors.
    :param text: of the file, which has such a table.
    """
    expected = {other: table for other, table in parse(path, text).items() if other != name}
    lines = text.split("\n")
    start = _header(lines, name)
    if start is not None:
        end = _end(lines, start)
        # Comments above the next table are most likely about that one.
        while _BLANK.fullmatch(lines[end - 1]):
            end -= 1
        # Of the empty lines before and behind it, one set is enough.
        while start and not lines[start - 1].strip() and (end == len(lines) or not lines[end].strip()):
            start -= 1
        rest = "\n".join([*lines[:start], *lines[end:]])
        # Else what looks like a table stands within a text.
        with suppress(LocalProtocolError):
            if parse(path, rest) == expected:
                return rest
    # It is written in some other way. What tomlkit takes out may have comments with it.
    import tomlkit
    from tomlkit.exceptions import TOMLKitError

    with suppress(TOMLKitError, ValueError):
        document = tomlkit.parse(text)
        document.remove(name)
        rest = document.as_string()
        if parse(path, rest) == expected:
            return rest
    raise LocalProtocolError(f"{path}: {place_of(text, name)}{name} is written in an unusual way; take it out by hand")


def change_text(path: str, change: Callable[[str], str], *, try_only: bool = False) -> None:
    """
    Change the file, all of it or nothing. Several programs may do so at once.

    :param path: of the file. One that is missing is made, and its folder too.
    :param change: gives the new text for the old one.
    :param try_only: whether to find out alone that it can be done.
    :raises OSError: when it can't be read or written. It is then as it was.
    :raises LocalProtocolError: when others can change it, when it is no small text, when another program has its folder
        locked for too long, and when the new text can't be written.
    """
    # A link stays; the file that it names is replaced.
    path = os.path.realpath(path)
    os.makedirs(os.path.dirname(path), 0o700, exist_ok=True)
    with locked_folder(path):
        text = change(read_text(path))
        try:
            size = len(text.encode())
        except UnicodeEncodeError:
            raise LocalProtocolError(f"{path} was not changed: a name or path can't be written as UTF-8") from None
        if size > SERVERS_FILE_LIMIT:
            raise LocalProtocolError(
                f"{path} would have {describe_size(size)}, and {describe_limit(SERVERS_FILE_LIMIT)} is the limit; "
                "forget servers that nobody needs"
            )
        try:
            if try_only:
                tried = f"{path}.{secrets.token_hex(6)}"
                replace_text(tried, text)
                os.unlink(tried)
                return
            replace_text(path, text)
            sync_directory(os.path.dirname(path))
        # It names the temporary file, of which the user knows nothing.
        except OSError as error:
            raise OSError(error.errno, f"it can't be written: {error.strerror}", path) from None
