"""
The clients' keys that are let in.

A file has one key a line: 64 hex digits, then perhaps a login, then perhaps a comment::

    # the office
    7b4e909bbe7ffe44c465a220037d608ee35897d31ef972f07f74892cb0f73f13 alice
    7b4e909bbe7ffe44c465a220037d608ee35897d31ef972f07f74892cb0f73f13 "alice at night"  # both are hers
    0faa684ed28867b97f4a6a2dee5df8ce974e76b7018e3f22a1c4cf2678570f20  # with any login
    protocol=2 052a50773ac8d91773f2dc9662e12f0defe915e415b8a1c8e20a5a3d6ab2b843 bob  # with version 2 alone

A key with a login is let in with that login only. A key can stand on several lines, each with another login.
A login that holds white space, ``#`` or a double quote is written in double quotes, with each double quote inside
it written twice. Comments begin with ``#``, at the start of a line or behind white space.
With ``protocol=2`` before it, a key is let in with version 2 of the protocol alone. Where several lines of a key fit a
login, all of them must allow the version. Earlier releases refuse a file with such a line.

``sodiumtwist invite`` adds lines that begin with ``invitation=``. A client that has the secret of one gets its key
listed, for the login of that line::

    invitation=5d8f…e31b expires=2026-11-30T07:12:00Z ann  # invited 2026-11-29

Then the line says when it was used, and by which key; that key stands in a line of its own. To withdraw an invitation,
take out its line. Earlier releases refuse a file with such a line, too.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Collection, Iterable
from typing import Any, Union

from twisted.internet.defer import Deferred

from ..core.errors import InvalidKey, LocalProtocolError, SodiumError
from ..core.keys import KEY_SIZE, looks_public, parse_key
from .files import lines_of
from .invitations import INVITATION, Invitation, parse_invitation
from .marks import EVERY_VERSION, MARK, MARKED, check_login_size, check_versions, composed
from .watched import GRACE, WatchedFile

#: A key, its login, and the versions of the protocol that it is let in with, where these are not all.
Entry = Union[tuple[bytes, "str | None"], tuple[bytes, "str | None", Collection[int]]]

#: How many characters a line may have that is no comment: more than any needs. To look through a line of megabytes
#: would stop all threads meanwhile.
LINE_LIMIT = 4096

#: How many keys of a file are looked at whether they can be public ones: a look takes a tenth of a millisecond.
LINES_LOOKED_AT = 100

# The key, then a login with or without quotes, then a comment. A login without quotes has no # anywhere, so that one
# that forgot the blank before its comment is an error and not another login.
_LINE = re.compile(rf'(?:({MARK})[ \t]+)?([^\s"#]+)(?:[ \t]+(?:"((?:[^"]|"")*)"|([^\s"#]+)))?(?:[ \t]+#.*)?')


class AuthorizedKeys:
    """
    A list of the clients' keys that are let in.

    A weak point in it does no harm: the handshake refuses such a key in any case.

    :param entries: public keys of 32 bytes, each with the one login that it is let in with, up to 255 bytes of
        UTF-8, no NUL; or with ``None`` for any login. A third member names the versions of the protocol, such as
        ``[2]``, where the key is not let in with each. A key may come more than once. Where several entries fit a key
        and a login, all of them must allow the version.
    :raises InvalidKey: for a key of another size.
    :raises LocalProtocolError: for a login that no client can give, and for versions that there are not.
    """

    def __init__(self, entries: Iterable[Entry]) -> None:
        self._entries: dict[tuple[bytes, str | None], frozenset[int]] = {}
        for key, login, *more in entries:
            if len(key) != KEY_SIZE:
                raise InvalidKey(f"a client's key is {len(key)} bytes long; it is {KEY_SIZE}")
            versions = check_versions("key", *more) if more else EVERY_VERSION
            # A login that does not fit its field would never be given: the entry must be a mistake.
            if login is not None:
                check_login_size(login, versions)
            self._add(self._entries, bytes(key), login, versions)
        #: The invitations that the file has, by the hashes of their secrets.
        self.invitations: dict[bytes, Invitation] = {}
        #: The numbers of the first lines of the file that have a key, each with its key.
        self.first_lines: list[tuple[int, bytes]] = []
        # As clients of version 2 send the logins.
        self._composed = self._entries
        if any(login is not None and composed(login) != login for _, login in self._entries):
            self._composed = {}
            for (key, login), versions in self._entries.items():
                self._add(self._composed, key, None if login is None else composed(login), versions)

    @staticmethod
    def _add(
        entries: dict[tuple[bytes, str | None], frozenset[int]],
        key: bytes,
        login: str | None,
        versions: frozenset[int],
    ) -> None:
        entries[key, login] = entries.get((key, login), EVERY_VERSION) & versions

    @property
    def has_any_login(self) -> bool:
        """Whether a key is let in with any login."""
        return any(login is None for _, login in self._entries)

    def allows(self, public_key: bytes, login: str, version: int = 1) -> bool:
        """
        Tell whether a client is let in.

        :param public_key: the client's, 32 bytes.
        :param login: the one that the client gave.
        :param version: of the protocol, that it speaks.
        """
        entries = self._composed if version == 2 else self._entries
        found = [entries[entry] for entry in ((public_key, login), (public_key, None)) if entry in entries]
        return bool(found) and all(version in versions for versions in found)

    def is_bound(self, public_key: bytes, login: str, version: int) -> bool:
        """
        Tell whether a client is let in by a line that names its login.

        :param public_key: the client's, 32 bytes.
        :param login: the one that the client gave.
        :param version: of the protocol, that it speaks.
        """
        entries = self._composed if version == 2 else self._entries
        return (public_key, login) in entries and self.allows(public_key, login, version)

    def lines_without_public_key(self) -> list[int]:
        """
        Find lines whose key can't be a public one. It may be a private one that was taken for it, and lets nobody in.

        :return: the numbers of these, among the first ``LINES_LOOKED_AT`` that have a key.
        """
        return [number for number, key in self.first_lines if not looks_public(key)]


def _parse_line(line: str) -> Entry:
    if re.match(rf"(?i)(?:{MARK}[ \t]+)?private key:", line):
        raise InvalidKey("it is a private key, which nobody but its owner may have; the public one is wanted")
    # Somebody has put in the whole line that keygen prints.
    found = _LINE.fullmatch(re.sub(rf"(?i)^({MARK}[ \t]+)?public key:[ \t]*", r"\1", line))
    if found is None:
        raise LocalProtocolError(
            "it is not 64 hex digits, then perhaps a login, in double quotes when it holds white space, # or quotes, "
            f"then perhaps a # comment; before all this, perhaps {MARK}"
        )
    mark, key, quoted, plain = found.groups()
    # Behind the key it would be a login.
    if plain == MARK:
        raise LocalProtocolError(f"{MARK} stands before the key; a login of that name stands in double quotes")
    login = plain if quoted is None else quoted.replace('""', '"')
    if login is not None:
        check_login_size(login)
    try:
        public_key = parse_key(key, "client's key")
    except InvalidKey:
        if "=" not in key and re.fullmatch(rf"[0-9a-fA-F]{{{2 * KEY_SIZE}}}", plain or ""):
            raise InvalidKey("the key stands before the login") from None
        raise
    return public_key, login, MARKED if mark else EVERY_VERSION


def parse_authorized_keys(text: str) -> AuthorizedKeys:
    """
    Read the text of a file of keys, see :mod:`sodiumtwist.admission.authorized`.

    :raises InvalidKey: when the key in a line is wrong. The error tells the number of the line.
    :raises LocalProtocolError: when something else in a line is wrong, with its number as well. The last line must
        end with a newline: without it, it may be cut off, and then name a shorter login, or let in any login.
    """
    entries: list[Entry] = []
    first_lines: list[tuple[int, bytes]] = []
    invitations: dict[bytes, Invitation] = {}
    last = text.count("\n") + 1
    for number, line in enumerate(lines_of(text), 1):
        try:
            if number == last and line:
                raise LocalProtocolError("it does not end with a newline, so it may be cut off; add one")
            if line.startswith("#"):
                continue
            # Before anything looks through it.
            if len(line) > LINE_LIMIT:
                raise LocalProtocolError(
                    f"it has {len(line)} characters, and {LINE_LIMIT} is the limit; shorten its comment"
                )
            # \r as well, for files from Windows.
            line = line.strip(" \t\r")
            if line.startswith(INVITATION):
                invitation = parse_invitation(line)
                # One of them could be open when the other is used.
                if invitation.digest in invitations:
                    raise LocalProtocolError("the same invitation stands in an earlier line already; take one out")
                invitations[invitation.digest] = invitation
            elif line and not line.startswith("#"):
                entries.append(_parse_line(line))
                if len(first_lines) < LINES_LOOKED_AT:
                    first_lines.append((number, entries[-1][0]))
        # Of the same class, so that callers can still tell a bad key from other mistakes.
        except SodiumError as error:
            raise type(error)(f"line {number}: {error}") from None
    keys = AuthorizedKeys(entries)
    keys.first_lines = first_lines
    keys.invitations = invitations
    return keys


class AuthorizedKeysFile:
    """
    The clients' keys that a file lists, see :mod:`sodiumtwist.admission.authorized`. The file is read again
    when it has changed. When it is broken, missing or can't be read, the log says so, and the old list holds for a
    minute more; then nobody is let in.

    :param path: of the file, UTF-8 and at most 32 MiB.
    :param grace: for how many seconds the old list holds.
    :param reactor: an ``IReactorThreads``, for lists that are not small, and for invitations; ``None`` for the global
        one.
    :param wall_clock: returns seconds since 1970, by which invitations expire.
    :ivar file: the file, as it is watched.
    :raises OSError: when the file can't be read.
    :raises InvalidKey: when the key in a line is wrong. The error tells the number of the line.
    :raises LocalProtocolError: when something else in a line is wrong, with its number as well, and when others can
        write to the file or replace it, or own it.
    """

    def __init__(
        self, path: str, grace: float = GRACE, *, reactor: Any = None, wall_clock: Callable[[], float] = time.time
    ) -> None:
        self.file = WatchedFile(path, parse_authorized_keys, "list of clients' keys", reactor=reactor)
        self.file.grace = grace
        self.reactor = reactor
        self.wall_clock = wall_clock
        #: What lets clients join by an invitation, see :mod:`sodiumtwist.admission.joining`; made when one does.
        self.joining: Any = None
        #: Whether the log has told that none could.
        self.told_closed = False

    def allows(self, public_key: bytes, login: str, version: int = 1) -> bool:
        """
        Tell whether a client is let in, by the file as it is now. When it has changed, it is read now, while the caller
        waits.

        :param public_key: the client's, 32 bytes.
        :param login: the one that the client gave.
        :param version: of the protocol, that it speaks.
        :raises twisted.cred.error.UnauthorizedLogin: when the file has not been good for too long.
        """
        return self.file.current().allows(public_key, login, version)

    def latest(self) -> Deferred[AuthorizedKeys]:
        """
        Give the list as it is now. When the file has changed and is not small, it is read in a thread.

        :return: fires with the list. Fails with ``UnauthorizedLogin`` when the file has not been good for too long.
        """
        return self.file.latest()
