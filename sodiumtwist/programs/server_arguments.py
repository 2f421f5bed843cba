"""
Arguments that name a server beside files: ``home:``, ``home:photos``, or the server's URL. The rule is that of scp: a
name stands before a colon, and no slash before that. So ``./home:photos`` is a file.
"""

from __future__ import annotations

import os
from collections.abc import Collection
from typing import NamedTuple

from twisted.python import usage

from ..contacts.lookup import can_be_name
from ..contacts.servers import find_server, read_servers
from ..contacts.urls import is_url
from ..core.errors import LocalProtocolError


class Place(NamedTuple):
    """
    What is meant on a server.

    :ivar server: its name, or its URL.
    :ivar path: what stands behind the colon; empty behind a URL.
    """

    server: str
    path: str


def split_place(argument: str) -> Place | None:
    """
    Split an argument into server and path, whether the server is known or not.

    :return: ``None`` when it names no server.
    """
    if is_url(argument):
        return Place(argument, "")
    name, colon, path = argument.partition(":")
    return Place(name, path) if colon and can_be_name(name) else None


def split_destination(paths: tuple[str, ...], given: bool) -> tuple[tuple[str, ...], Place | None]:
    """
    Tell what is to be sent from where it goes, which is the last argument.

    :param paths: all arguments.
    :param given: whether options say which server it is.
    :return: what is to be sent; and where it goes, ``None`` when no argument says so.
    :raises UsageError: when a server's name is not known, and when nothing is left to send.
    :raises OSError, LocalProtocolError: when the servers' names can't be read.
    """
    *sent, last = paths
    for path in sent:
        place = split_place(path)
        if place is not None and not os.path.lexists(path) and (is_url(path) or place.server in _names(given)):
            raise usage.UsageError(f"{_shown(place)} stands before {last!r}; where to send goes last")
    place = _destination(last, given)
    if place is None:
        if sent and not given and not os.path.lexists(last) and _is_known(last):
            raise usage.UsageError(f"no file here is called {last}, but a server is; to send there: {last}:")
        return paths, None
    if not sent:
        raise usage.UsageError(f"PATH is missing: what is to be sent to {_shown(place)}")
    return tuple(sent), place


def _destination(argument: str, given: bool) -> Place | None:
    place = split_place(argument)
    if place is None or is_url(argument):
        return place
    # With options, what was understood before the server had a name goes on to be: a file that is here is meant.
    if given:
        return place if not os.path.lexists(argument) and place.server in _names(given) else None
    if place.server in read_servers():
        return place
    if not os.path.lexists(argument):
        raise _unknown(place.server, f"and no file here is called {argument!r}")
    return None


def split_remotes(arguments: tuple[str, ...], given: bool) -> tuple[str | None, tuple[str, ...]]:
    """
    Tell which server is meant from what is meant there.

    :param arguments: the server with each file or folder there, as ``home:photos``; or its URL alone, before them. The
        last of two or more may be a folder here.
    :param given: whether options say which server it is.
    :return: the server, ``None`` when no argument says so; and all arguments without it.
    :raises UsageError: when a server's name is not known, and when there are two servers.
    :raises OSError, LocalProtocolError: when the servers' names can't be read.
    """
    first, *rest = arguments
    place = split_place(first)
    if is_url(first):
        return first, tuple(rest)
    if place is None:
        if not given:
            _check_order(first, rest)
        return None, arguments
    if given:
        if place.server in _names(given):
            raise usage.UsageError(
                f"options and {_shown(place)} both say which server; a file there of that name is ./{first}"
            )
        return None, arguments
    if place.server not in read_servers():
        raise _unknown(place.server, f"a file there of that name is ./{first}")
    paths = [place.path]
    for number, argument in enumerate(rest, 2):
        other = split_place(argument)
        if other is not None and other.server == place.server:
            paths.append(other.path)
        elif other is not None and (is_url(argument) or other.server in read_servers()):
            raise usage.UsageError(f"{_shown(place)} and {_shown(other)} are two servers; ask one at a time")
        elif number < len(arguments):
            raise usage.UsageError(f"{argument!r} says not on which server; did you mean {place.server}:{argument}?")
        else:
            paths.append(argument)
            return place.server, tuple(paths)
    # No folder here is named.
    return place.server, (*paths, ".") if len(paths) > 1 else tuple(paths)


def _check_order(first: str, rest: list[str]) -> None:
    """
    See that no argument is a server, where the first names none.

    :raises UsageError: when one is.
    """
    if _is_known(first):
        raise usage.UsageError(
            f"{first} is a server: {first}: is all that it has, and ./{first} a file there of that name"
        )
    # As send has it: a folder here would be made of that name.
    for argument in rest:
        place = split_place(argument)
        if place is not None and not is_url(argument) and place.server in read_servers():
            raise usage.UsageError(f"what to get stands behind its server: {place.server}:{first}")


def _names(given: bool) -> Collection[str]:
    """
    Give the names of servers that are known.

    :param given: whether options say which server it is. A list of servers with mistakes is then in nobody's way; who
        reads it for the options warns of it.
    """
    try:
        return read_servers()
    except (OSError, LocalProtocolError):
        if not given:
            raise
        return ()


def _is_known(text: str) -> bool:
    return can_be_name(text) and text in read_servers()


def _shown(place: Place) -> str:
    # A URL may be an invitation.
    return "the URL" if is_url(place.server) else f"{place.server}:"


def _unknown(name: str, otherwise: str) -> usage.UsageError:
    try:
        find_server(name)
    except LocalProtocolError as error:
        return usage.UsageError(f"{error}; {otherwise}")
    raise AssertionError(name)
