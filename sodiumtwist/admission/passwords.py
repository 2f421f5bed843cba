"""
Files of logins and Argon2id strings, one login a line::

    # the office
    ann:$argon2id$v=19$m=65536,t=2,p=1$…$…

Blank lines and lines that begin with ``#`` say nothing. The string is what libsodium's ``crypto_pwhash_str``
makes; nobody can calculate the passphrase back, but whoever has the file can try many.
"""

from __future__ import annotations

import errno
import fcntl
import os
import re
import secrets
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

from nacl import pwhash
from nacl.exceptions import InvalidkeyError

from ..core.credentials import pack_text
from ..core.errors import LocalProtocolError
from .watched import LIST_FILE_LIMIT, check_file, open_at_once

#: The cost that a string may ask for: memory in KiB, at least what Argon2 needs, and passes over it.
MEMORY_LEAST = 8
MEMORY_LIMIT = 1 << 20
PASSES_LIMIT = 64

# The last characters hold fewer bits than the others; libsodium refuses a string where the rest is not zero.
_STRING = re.compile(
    r"\$argon2id\$v=19\$m=([1-9][0-9]{0,6}),t=([1-9][0-9]{0,2}),p=1"
    r"\$[A-Za-z0-9+/]{21}[AQgw]\$[A-Za-z0-9+/]{42}[AEIMQUYcgkosw048]"
)

#: Characters of base64 without padding: of a salt of 16 bytes and a hash of 32.
_BASE64 = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"


def check_login(login: str) -> None:
    """
    See that a login can stand in a file.

    :raises LocalProtocolError: when it is empty, does not fit its 128 bytes, begins with ``#`` or white
        space, ends with white space, or holds characters that can't be printed or what looks like a
        string of the file. It is not shown, since a line that is put together wrong may hold anything.
    """
    pack_text("login", login)
    wrong = login.startswith("#") or login != login.strip() or not login.isprintable() or "$argon2id$" in login
    if wrong or not login:
        raise LocalProtocolError(
            "that is no login for such a file: it is not empty, begins with no #, begins and ends with no white space, "
            "and all of it can be printed"
        )


def hash_passphrase(passphrase: str) -> str:
    """
    Make the string that stands for a passphrase; it takes some 80 ms and 64 MiB.

    :raises LocalProtocolError: when the passphrase is empty or does not fit its 128 bytes.
    """
    pack_text("passphrase", passphrase)
    if not passphrase:
        raise LocalProtocolError("the passphrase is empty; choose one")
    argon2id = pwhash.argon2id
    made = argon2id.str(
        passphrase.encode(), opslimit=argon2id.OPSLIMIT_INTERACTIVE, memlimit=argon2id.MEMLIMIT_INTERACTIVE
    )
    return made.rstrip(b"\0").decode("ascii")


def verification_cost(string: str) -> tuple[int, int]:
    """
    Tell what it costs to verify a string: passes over memory, and KiB of that.

    :raises LocalProtocolError: when it is no such string, or asks for too much or for too little memory.
    """
    found = _STRING.fullmatch(string)
    if found is None:
        raise LocalProtocolError("no Argon2id string as libsodium makes it stands behind its last colon")
    memory, passes = int(found[1]), int(found[2])
    if not (MEMORY_LEAST <= memory <= MEMORY_LIMIT and 1 <= passes <= PASSES_LIMIT):
        raise LocalProtocolError(
            f"an Argon2id string that asks for m={memory},t={passes}; "
            f"from m={MEMORY_LEAST},t=1 to m={MEMORY_LIMIT},t={PASSES_LIMIT} is allowed"
        )
    return passes, memory


def make_decoy(passes: int, memory: int) -> str:
    """
    Make a string that no passphrase is known for, and that costs as much to verify as others.

    :param passes: over the memory.
    :param memory: in KiB.
    """
    salt, digest = ("".join(secrets.choice(_BASE64) for _ in range(size)) + "A" for size in (21, 42))
    return f"$argon2id$v=19$m={memory},t={passes},p=1${salt}${digest}"


def _login_of(line: str) -> str | None:
    """The login of a line, ``None`` where it says nothing."""
    if not line.strip() or line.startswith("#"):
        return None
    return line.rpartition(":")[0]


def parse_passwords(text: str) -> dict[str, str]:
    """
    Read what a file says.

    :return: the strings by login.
    :raises LocalProtocolError: for a line that is wrong, whose number is told.
    """
    strings: dict[str, str] = {}
    lines: dict[str, int] = {}
    for number, line in enumerate(text.split("\n"), 1):
        line = line.removesuffix("\r")
        login = _login_of(line)
        if login is None:
            continue
        try:
            string = line.rpartition(":")[2]
            verification_cost(string)
            check_login(login)
            if login in lines:
                raise LocalProtocolError(f"{ascii(login)} stands in line {lines[login]} already")
        except LocalProtocolError as error:
            raise LocalProtocolError(f"line {number}: {error}") from None
        strings[login], lines[login] = string, number
    return strings


@contextmanager
def _locked(directory: str) -> Iterator[None]:
    """Let one of those who replace a file in a directory work at a time."""
    fd = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX)
        yield
    finally:
        os.close(fd)


def _read(path: str) -> tuple[str, os.stat_result | None]:
    try:
        with open_at_once(path) as file:
            status = os.fstat(file.fileno())
            check_file(path, status.st_mode, "password file")
            data = file.read(LIST_FILE_LIMIT + 1)
    except FileNotFoundError:
        return "", None
    if len(data) > LIST_FILE_LIMIT:
        raise LocalProtocolError(f"{path} is over {LIST_FILE_LIMIT} bytes long")
    try:
        return data.decode("utf-8"), status
    except UnicodeDecodeError:
        raise LocalProtocolError(f"{path} is not UTF-8 text") from None


def read_passwords(path: str) -> dict[str, str]:
    """
    Read a file.

    :return: the strings by login.
    :raises OSError: when it is not there or can't be read.
    :raises LocalProtocolError: when it is no such file; the line is told.
    """
    text, status = _read(path)
    if status is None:
        raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), path)
    return _parse(path, text)


def _parse(path: str, text: str) -> dict[str, str]:
    try:
        return parse_passwords(text)
    except LocalProtocolError as error:
        raise LocalProtocolError(f"{path}: {error}") from None


def _replace(path: str, text: str, status: os.stat_result | None) -> None:
    """Put a new file in the place of the old one, of mode 0600 and with its owner; all of it or nothing."""
    temporary = os.path.join(os.path.dirname(path), f".{os.path.basename(path)}.{secrets.token_hex(6)}")
    fd = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    try:
        with open(fd, "wb") as file:
            if status is not None and (status.st_uid, status.st_gid) != (os.geteuid(), os.getegid()):
                with suppress(PermissionError):
                    os.fchown(fd, status.st_uid, status.st_gid)
            file.write(text.encode())
            file.flush()
            os.fsync(fd)
        os.replace(temporary, path)
    except BaseException:
        os.unlink(temporary)
        raise


def _update(path: str, change: Callable[[list[str]], None]) -> None:
    path = os.path.realpath(path)
    with _locked(os.path.dirname(path)):
        text, status = _read(path)
        _parse(path, text)
        lines = text.removesuffix("\n").split("\n") if text else []
        change(lines)
        text = "".join(f"{line}\n" for line in lines)
        if len(text.encode()) > LIST_FILE_LIMIT:
            raise LocalProtocolError(f"{path} would be over {LIST_FILE_LIMIT} bytes long")
        try:
            _replace(path, text, status)
        except OSError as error:  # which names a file that the user knows nothing of
            raise OSError(error.errno, f"it can't be written: {error.strerror}", path) from None


def set_password(path: str, login: str, string: str) -> bool:
    """
    Add a login, or change its string. Comments and the order of the lines stay.

    :param path: of the file; one that is missing is made, of mode 0600.
    :param string: as :func:`hash_passphrase` makes it.
    :return: whether the login was there.
    :raises OSError: when the file can't be read or replaced; the old one is as it was.
    :raises LocalProtocolError: for a login that can't stand in it, and when it is no such file.
    """
    check_login(login)
    verification_cost(string)
    found = False

    def change(lines: list[str]) -> None:
        nonlocal found
        for number, line in enumerate(lines):
            if _login_of(line) == login:
                lines[number], found = f"{login}:{string}", True
                return
        lines.append(f"{login}:{string}")

    _update(path, change)
    return found


def delete_password(path: str, login: str) -> None:
    """
    Take a login out.

    :raises OSError: as :func:`set_password`.
    :raises LocalProtocolError: when it is not there, and when the file is no such file.
    """

    def change(lines: list[str]) -> None:
        for number, line in enumerate(lines):
            if _login_of(line) == login:
                del lines[number]
                return
        raise LocalProtocolError(f"{path} has no login {ascii(login)}")

    os.stat(path)  # one that is missing is an error here
    _update(path, change)


def verify_passphrase(string: str, passphrase: bytes) -> bool:
    """
    Verify a passphrase; it takes what :func:`verification_cost` says.

    :param string: as it stands in a file.
    :param passphrase: UTF-8.
    """
    try:
        return bool(pwhash.verify(string.encode("ascii"), passphrase))
    except InvalidkeyError:
        return False
