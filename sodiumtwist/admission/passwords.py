"""
Files of logins and their Argon2id strings, one login a line::

    # the office
    ann:$argon2id$v=19$m=65536,t=2,p=1$…$…
    bob:$argon2id$v=19$m=65536,t=2,p=1$…$… protocol=2

With ``protocol=2``, a login is for version 2 of the protocol alone. Earlier releases refuse a file with such a line.
With ``$key$`` in the place of the string, and ``protocol=2`` behind it, a login has no passphrase: it comes in by its
key alone, which a line of the list of keys must have for that login. ``sodiumtwist invite`` adds such logins.

Blank lines, and lines that begin with ``#``, are skipped. The string is what libsodium's ``crypto_pwhash_str``
makes. Nobody can calculate the passphrase from it, but whoever has the file can try many passphrases.
"""

from __future__ import annotations

import errno
import os
import re
import secrets
from collections.abc import Callable

from nacl import pwhash
from nacl.exceptions import InvalidkeyError

from ..core.errors import LocalProtocolError
from .files import lines_of
from .marks import MARK, check_login_size, check_passphrase_size, composed
from .updating import ListKind, parse_list, read_list, update_list

#: The least memory that Argon2 can work with, in KiB.
MEMORY_LEAST = 8

#: The most that a string may ask for: KiB of memory, and passes over it. A login must not cost the server more.
MEMORY_LIMIT = 1 << 20
PASSES_LIMIT = 64

# Exactly the strings that libsodium calculates. It refuses all others at once, and a clock would tell which login has
# such a string. So numbers begin with no zero, and the last character of salt and hash, which holds fewer bits than
# the others, has zeros for the rest.
_STRING = re.compile(
    r"\$argon2id\$v=19\$m=([1-9][0-9]{0,6}),t=([1-9][0-9]{0,2}),p=1"
    r"\$[A-Za-z0-9+/]{21}[AQgw]\$[A-Za-z0-9+/]{42}[AEIMQUYcgkosw048]"
)

# What marks a line. Behind the string, where earlier releases see that it is none: before the login, they would take it
# for a part of that.
_SUFFIX = f" {MARK}"

#: In the place of a string: the login comes in by its key alone.
BY_KEY = "$key$"

# The characters of base64, for salts and hashes.
_BASE64 = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"


def check_login(login: str) -> None:
    """
    Check that a login can stand in a file.

    :param login: up to 255 bytes of UTF-8, no NUL. With more than 128, only clients of version 2 can give it.
    :raises LocalProtocolError: when the login is empty, does not fit its field, begins with ``#`` or white
        space, ends with white space, holds characters that can't be printed, or holds what looks like an Argon2id
        string. The error does not show the login: a line that was put together wrong may hold anything.
    """
    check_login_size(login)
    # A # would make its line a comment. White space at an end, and what can't be printed, could not be seen in the
    # file. An Argon2id string stands in a login when two lines became one.
    wrong = login.startswith("#") or login != login.strip() or not login.isprintable() or "$argon2id$" in login
    if wrong or not login:
        raise LocalProtocolError(
            "that is no login for such a file: it is not empty, begins with no #, begins and ends with no white space, "
            "and all of it can be printed"
        )


def hash_passphrase(passphrase: str) -> str:
    """
    Make the Argon2id string of a passphrase. This takes some 80 ms and 64 MiB.

    :param passphrase: up to 4096 bytes of UTF-8, no NUL. With more than 128, only clients of version 2 can give it.
        These send the form NFC of what was typed, those of version 1 what was typed. It is taken as it is.
    :raises LocalProtocolError: when the passphrase is empty or does not fit its field.
    """
    # No client could ever give one that does not fit.
    check_passphrase_size(passphrase)
    if not passphrase:
        raise LocalProtocolError("the passphrase is empty; choose one")
    argon2id = pwhash.argon2id
    made = argon2id.str(
        passphrase.encode(), opslimit=argon2id.OPSLIMIT_INTERACTIVE, memlimit=argon2id.MEMLIMIT_INTERACTIVE
    )
    # libsodium fills its buffer up with NULs.
    return made.rstrip(b"\0").decode("ascii")


def verification_cost(string: str) -> tuple[int, int]:
    """
    Tell what it costs to verify a string.

    :return: passes over the memory, and the memory in KiB.
    :raises LocalProtocolError: when it is no Argon2id string, or asks for too much of something or for too little.
    """
    found = _STRING.fullmatch(string)
    if found is None:
        raise LocalProtocolError(
            f"no Argon2id string as libsodium makes it stands behind its last colon, alone or with the mark {MARK}"
        )
    memory, passes = int(found[1]), int(found[2])
    if not (MEMORY_LEAST <= memory <= MEMORY_LIMIT and 1 <= passes <= PASSES_LIMIT):
        raise LocalProtocolError(
            f"an Argon2id string that asks for m={memory},t={passes}; "
            f"from m={MEMORY_LEAST},t=1 to m={MEMORY_LIMIT},t={PASSES_LIMIT} is allowed"
        )
    return passes, memory


def make_decoy(passes: int, memory: int) -> str:
    """
    Make a string for which nobody knows a passphrase. It costs as much to verify as a real one of the same numbers.

    :param passes: over the memory.
    :param memory: in KiB.
    """
    # The A at the end is six zero bits, which both sizes allow for their last character, see _STRING.
    salt, digest = ("".join(secrets.choice(_BASE64) for _ in range(size)) + "A" for size in (21, 42))
    return f"$argon2id$v=19$m={memory},t={passes},p=1${salt}${digest}"


def _login_of(line: str) -> str | None:
    """
    Find the login of a line.

    :return: ``None`` for a blank line and for a comment.
    """
    if not line.strip() or line.startswith("#"):
        return None
    # The last colon divides: a login may have colons, an Argon2id string has none.
    return line.rpartition(":")[0]


class Passwords(dict[str, str]):
    """
    The strings of a file by login.

    :ivar marked: the logins that are for version 2 of the protocol alone.
    """

    def __init__(self) -> None:
        super().__init__()
        self.marked: set[str] = set()


def parse_passwords(text: str) -> Passwords:
    """
    Read the text of a file.

    :raises LocalProtocolError: when a line is wrong. The error tells its number.
    """
    strings = Passwords()
    lines: dict[str, int] = {}
    for number, line in enumerate(lines_of(text), 1):
        line = line.removesuffix("\r")
        login = _login_of(line)
        if login is None:
            continue
        try:
            entry = line.rpartition(":")[2]
            string = entry.removesuffix(_SUFFIX)
            if string != BY_KEY:
                verification_cost(string)
            # In version 1, a key is not proven yet when its login is checked.
            elif string == entry:
                raise LocalProtocolError(f"behind {BY_KEY} stands {MARK}")
            check_login(login)
            if login.startswith(f"{MARK} "):
                raise LocalProtocolError(f"{MARK} stands behind the string, not before the login")
            # The later line would silently take the place of the first: a passphrase that was changed might still
            # be the old one.
            if login in lines:
                raise LocalProtocolError(f"{login!r} stands in line {lines[login]} already")
        except LocalProtocolError as error:
            raise LocalProtocolError(f"line {number}: {error}") from None
        strings[login], lines[login] = string, number
        if string != entry:
            strings.marked.add(login)
    return strings


_KIND = ListKind("password file", parse_passwords, True, "delete logins that nobody needs")


def read_passwords(path: str) -> Passwords:
    """
    Read a file.

    :raises OSError: when the file is missing or can't be read.
    :raises LocalProtocolError: when it is no such file. The error tells the number of the line that is wrong.
    """
    text, status = read_list(path, _KIND)
    if status is None:
        raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), path)
    return parse_list(path, text, _KIND)


def set_password(
    path: str, login: str, string: str, tell: Callable[[str], object] | None = None, *, mark: bool = False
) -> bool:
    """
    Add a login, or change its string. Comments and the order of the lines stay, and so does the mark of a login that is
    for version 2 alone.

    :param path: of the file. One that is missing is made, with mode 0600.
    :param login: up to 255 bytes of UTF-8, see :func:`check_login`.
    :param string: as :func:`hash_passphrase` makes it.
    :param tell: called with a line when the file could not keep its owner, which only root may give it.
    :param mark: whether to mark it for version 2 alone.
    :return: whether the login was there.
    :raises OSError: when the file can't be read or replaced. The old file is then as it was, unless the error says that
        it is changed but the disk may not have it.
    :raises LocalProtocolError: when the login can't stand in a file, when the file is no such file, and when another
        program has its folder locked for too long.
    """
    check_login(login)
    verification_cost(string)
    found = False

    def change(lines: list[str], strings: Passwords) -> None:
        nonlocal found
        found = False
        for number, line in enumerate(lines):
            if _login_of(line) == login:
                marked = mark or line.removesuffix("\r").endswith(_SUFFIX)
                lines[number], found = f"{login}:{string}{_SUFFIX if marked else ''}", True
                return
        lines.append(f"{login}:{string}{_SUFFIX if mark else ''}")

    update_list(path, _KIND, change, tell)
    return found


def add_key_login(path: str, login: str, tell: Callable[[str], object] | None = None) -> bool:
    """
    Add a login that comes in by its key alone, unless it is there. The other parameters, and what is raised, are those
    of :func:`set_password`.

    :return: whether it is there with a passphrase, and keeps that.
    """
    check_login(login)
    has_passphrase = False

    def change(lines: list[str], strings: Passwords) -> None:
        nonlocal has_passphrase
        # In any form of its letters: clients of version 2 send one, and a second line would be found before the first.
        known = [other for other in strings if composed(other) == composed(login)]
        has_passphrase = any(strings[other] != BY_KEY for other in known)
        if not known:
            lines.append(f"{login}:{BY_KEY}{_SUFFIX}")

    update_list(path, _KIND, change, tell)
    return has_passphrase


def delete_password(path: str, login: str, tell: Callable[[str], object] | None = None) -> None:
    """
    Take a login out.

    :param path: of the file.
    :param login: the login to take out.
    :param tell: as in :func:`set_password`.
    :raises OSError: when the file is missing, and as :func:`set_password` does.
    :raises LocalProtocolError: when the login is not in the file, when the file is no such file, and when another
        program has its folder locked for too long.
    """

    def change(lines: list[str], strings: Passwords) -> None:
        for number, line in enumerate(lines):
            if _login_of(line) == login:
                del lines[number]
                return
        raise LocalProtocolError(f"{path} has no login {login!r}")

    # update_list() would make a file that is missing.
    os.stat(path)
    update_list(path, _KIND, change, tell)


def verify_passphrase(string: str, passphrase: bytes) -> bool:
    """
    Tell whether a passphrase is the one of a string. This costs what :func:`verification_cost` says.

    :param string: as it stands in a file.
    :param passphrase: in UTF-8.
    """
    try:
        return bool(pwhash.verify(string.encode("ascii"), passphrase))
    except InvalidkeyError:
        return False
