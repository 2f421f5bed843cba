"""
Names of files and folders that come from the other end. They are data: what could lead out of a folder, or means
something else to the system than a name, is refused.
"""

from __future__ import annotations

import re
from hashlib import blake2b

#: How many bytes a part of a path may have. Linux and most file systems allow no more.
PART_LIMIT = 255

#: How many parts a path may have.
DEPTH_LIMIT = 64

#: How many bytes of a file's name stand in its temporary name. Some file systems allow less than others.
HEAD_LIMIT = 100

#: How many characters of a long login stand in the name of its folder.
LOGIN_HEAD_LIMIT = 200

_PATH = re.compile(rb"(?:[^/\0]{1,%d}/){0,%d}[^/\0]{1,%d}" % (PART_LIMIT, DEPTH_LIMIT - 1, PART_LIMIT), re.DOTALL)
_TEMPORARY = re.compile(rb"\..*\.[0-9a-f]{8}\.part", re.DOTALL)
_TEMPORARY_END = b".part"
_UNSAFE = re.compile(rb"[^A-Za-z0-9_@+.-]|\A\.")


class BadName(ValueError):
    """A path that is refused. Its text tells a person why, without the path."""


def split_path(path: bytes) -> tuple[bytes, ...]:
    """
    Take a path from the other end apart.

    :param path: relative, with ``/`` between its parts. Its bytes need not be UTF-8.
    :return: at least one part, and at most :data:`DEPTH_LIMIT`.
    :raises ValueError: a :exc:`BadName` when it could lead elsewhere, is too long, or has the form of our temporary
        names.
    """
    # In one go what nearly all are: there are a great many of them.
    if _PATH.fullmatch(path) is None:
        raise BadName(_why_bad(path))
    parts = tuple(path.split(b"/"))
    if b"." in parts or b".." in parts:
        raise BadName("it has '.' or '..' in it")
    if _TEMPORARY_END in path and any(map(is_temporary, parts)):
        raise BadName("names of that form are for unfinished files")
    return parts


def _why_bad(path: bytes) -> str:
    if not path:
        return "it is empty"
    if b"\0" in path:
        return "it has a NUL in it"
    if path.startswith(b"/"):
        return "it is absolute"
    parts = path.split(b"/")
    if b"" in parts:
        return "it has an empty part"
    if len(parts) > DEPTH_LIMIT:
        return f"it has more than {DEPTH_LIMIT} parts"
    return f"one of its parts has more than {PART_LIMIT} bytes"


def show_path(path: bytes) -> str:
    r"""
    Make a path fit for people, logs and terminals: on one line, with a backslash before what can't be shown.

    :param path: any bytes. ``b"a\xff\n"`` becomes ``a\xff\n`` with the backslashes in it.
    """
    text = path.decode("utf-8", "backslashreplace")
    if text.isprintable():
        return text
    return "".join(each if each.isprintable() else each.encode("unicode_escape").decode() for each in text)


def login_folder(login: str) -> str:
    """
    Name the folder of a login.

    :param login: any text.
    :return: one part of a path, in ASCII, and another one for each login. What is no letter, digit or one of ``_@+-.``
        is percent-encoded, and so is a dot at its beginning.
    """
    # Halves of characters, which no login of a client has, get a folder of their own, too.
    encoded = login.encode("utf-8", "surrogatepass")
    safe = _UNSAFE.sub(lambda found: b"%%%02X" % found[0][0], encoded).decode()
    if len(safe) > PART_LIMIT:
        # Nothing percent-encoded has "%-" in it.
        return f"{safe[:LOGIN_HEAD_LIMIT]}%-{blake2b(encoded, digest_size=16).hexdigest()}"
    return safe or "%"


def temporary_name(name: bytes) -> bytes:
    """
    Name what becomes a file. It is the same name each time, so that what is left of a broken transfer is found again.

    :param name: of the file.
    """
    return _temporary(name, blake2b(name, digest_size=4).hexdigest())


def random_name(name: bytes, token: str) -> bytes:
    """
    Name what becomes a file when its usual temporary name is taken.

    :param name: of the file.
    :param token: eight hexadecimal digits.
    """
    return _temporary(name, token)


def _temporary(name: bytes, token: str) -> bytes:
    return b".%b.%b.part" % (_head(name), token.encode())


def _head(name: bytes) -> bytes:
    head = name[:HEAD_LIMIT]
    if head == name:
        return name
    try:
        name.decode()
    except UnicodeDecodeError:
        return head
    # Some file systems take nothing but UTF-8, so no character is cut.
    return head.decode(errors="ignore").encode()


def is_temporary(name: bytes) -> bool:
    """
    Tell whether a name has the form of our temporary names.

    :param name: one part of a path.
    """
    return name.endswith(_TEMPORARY_END) and _TEMPORARY.fullmatch(name) is not None
