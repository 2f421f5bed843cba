"""
Which clients' keys get in.

The file has one key a line: 64 hex digits, then perhaps a login, then perhaps a comment::

    # the office
    7b4e909bbe7ffe44c465a220037d608ee35897d31ef972f07f74892cb0f73f13 alice
    7b4e909bbe7ffe44c465a220037d608ee35897d31ef972f07f74892cb0f73f13 "alice at night"  # both are hers
    0faa684ed28867b97f4a6a2dee5df8ce974e76b7018e3f22a1c4cf2678570f20  # with any login

With a login the key gets in with that login only; on several lines it can have several. A login
that holds white space, ``#`` or a double quote stands in double quotes, and in them a double quote
is written twice. Comments begin with ``#``, at the start of a line or behind white space.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

from ..core.credentials import pack_text
from ..core.errors import InvalidKey, LocalProtocolError, SodiumError
from ..core.keys import KEY_SIZE, parse_key
from .watched import WatchedFile

Entry = tuple[bytes, "str | None"]

_LINE = re.compile(r'([^\s"#]+)(?:[ \t]+(?:"((?:[^"]|"")*)"|([^\s"#]+)))?(?:[ \t]+#.*)?')


class AuthorizedKeys:
    """
    A list of the clients' keys that get in.

    A weak point may stand in it, but lets nobody in: the handshake refuses it in any case.

    :param entries: public keys of 32 bytes, each with the login that it gets in with, of up to 128
        bytes of UTF-8, or ``None`` for any; a key may come more than once.
    :raises InvalidKey: for a key of another size.
    :raises LocalProtocolError: for a login that no client can give.
    """

    def __init__(self, entries: Iterable[Entry]) -> None:
        self._entries = frozenset((bytes(key), login) for key, login in entries)
        for key, login in self._entries:
            if len(key) != KEY_SIZE:
                raise InvalidKey(f"a client's key is {len(key)} bytes long; it is {KEY_SIZE}")
            if login is not None:
                pack_text("login", login)

    def allows(self, public_key: bytes, login: str) -> bool:
        """
        Tell whether a client gets in.

        :param public_key: the client's, 32 bytes.
        :param login: that it gave.
        """
        return (public_key, login) in self._entries or (public_key, None) in self._entries


def _parse_line(line: str) -> Entry:
    found = _LINE.fullmatch(line)
    if found is None:
        raise LocalProtocolError(
            "it is not 64 hex digits, then perhaps a login, in double quotes when it holds white space, # or quotes, "
            "then perhaps a # comment"
        )
    key, quoted, plain = found.groups()
    login = plain if quoted is None else quoted.replace('""', '"')
    if login is not None:
        pack_text("login", login)
    return parse_key(key, "client's key"), login


def parse_authorized_keys(text: str) -> AuthorizedKeys:
    """
    Read what a file of keys says, see :mod:`sodiumtwist.admission.authorized`.

    :raises InvalidKey, LocalProtocolError: for a line that is wrong, whose number is told. The last
        one must end with a newline: without it, a line that is cut off could name a shorter login,
        or any.
    """
    lines = text.split("\n")
    entries = []
    for number, line in enumerate(lines, 1):
        try:
            if number == len(lines) and line:
                raise LocalProtocolError("it does not end with a newline, so it may be cut off; add one")
            line = line.strip(" \t\r")
            if line and not line.startswith("#"):
                entries.append(_parse_line(line))
        except SodiumError as error:
            raise type(error)(f"line {number}: {error}") from None
    return AuthorizedKeys(entries)


class AuthorizedKeysFile:
    """
    The clients' keys that a file lists, see :mod:`sodiumtwist.admission.authorized`. The file is read again
    when it has changed. A broken or missing new version changes nothing but for a line in the log.

    :param path: of the file, UTF-8 and at most 1 MiB.
    :raises OSError: when the file can't be read.
    :raises InvalidKey, LocalProtocolError: when it is no such file, with the number of the line, or
        when others can write to it.
    """

    def __init__(self, path: str) -> None:
        self._file = WatchedFile(path, parse_authorized_keys, "list of clients' keys")

    def allows(self, public_key: bytes, login: str) -> bool:
        """As :meth:`AuthorizedKeys.allows`, by the file as it is now."""
        return self._file.current().allows(public_key, login)
