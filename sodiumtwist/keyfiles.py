"""
Keys and passphrases in files and in the environment.
"""

from __future__ import annotations

import os
import shlex

from .admission.watched import others_can_read
from .core.errors import InvalidKey, LocalProtocolError
from .core.keys import KeyPair

KEY_VARIABLE = "SODIUMTWIST_KEY"
PASSPHRASE_VARIABLE = "SODIUMTWIST_PASSPHRASE"

#: More bytes than any key or passphrase file needs.
SECRET_FILE_LIMIT = 4096


def _read_small(path: str) -> tuple[bytes, int]:
    with open(path, "rb") as file:
        mode = os.fstat(file.fileno()).st_mode
        data = file.read(SECRET_FILE_LIMIT + 1)
    if len(data) > SECRET_FILE_LIMIT:
        raise LocalProtocolError(f"{path} is over {SECRET_FILE_LIMIT} bytes long; that is no key or passphrase")
    return data, mode


def _decode(path: str, data: bytes) -> str:
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError:
        raise LocalProtocolError(f"{path} is not UTF-8 text") from None


def read_key_file(path: str) -> KeyPair:
    """
    Read a private key as ``sodiumtwist keygen`` writes it: 64 hex digits.

    :raises OSError: when the file can't be read.
    :raises InvalidKey: when it holds something else.
    :raises LocalProtocolError: when others than its owner can read it, or it is no small text.
    """
    data, mode = _read_small(path)
    if others_can_read(mode):
        raise LocalProtocolError(f"others can read the key file {path}; run: chmod 600 {shlex.quote(path)}")
    try:
        return KeyPair.from_hex(_decode(path, data))
    except InvalidKey as error:
        raise InvalidKey(f"{path}: {error}") from None


def read_passphrase_file(path: str) -> tuple[str, str | None]:
    """
    Read a passphrase: the first line of the file.

    :return: the passphrase, and a warning when others can read the file.
    :raises OSError: when the file can't be read.
    :raises LocalProtocolError: when the line is empty or the file is no small text.
    """
    data, mode = _read_small(path)
    passphrase = _decode(path, data).partition("\n")[0].removesuffix("\r")
    if not passphrase:
        raise LocalProtocolError(f"the passphrase file {path} begins with an empty line")
    if others_can_read(mode):
        return passphrase, f"others can read the passphrase file {path}; run: chmod 600 {shlex.quote(path)}"
    return passphrase, None


def _one_source(what: str, sources: dict[str, str | None]) -> None:
    given = [name for name, value in sources.items() if value is not None]
    if len(given) > 1:
        raise LocalProtocolError(f"the {what} comes from {' and from '.join(given)}; use one")


def read_key(path: str | None, option: str, text: str | None = None, text_option: str = "") -> KeyPair | None:
    """
    Read a private key from where it is: a file, ``$SODIUMTWIST_KEY`` or an option.

    :param path: of the file, if one is named.
    :param option: what names it.
    :param text: 64 hex digits, if they are given.
    :param text_option: what gives them.
    :return: ``None`` when there is none.
    :raises OSError, InvalidKey: as :func:`read_key_file`.
    :raises LocalProtocolError: likewise, and when there is more than one.
    """
    variable = os.environ.get(KEY_VARIABLE)
    _one_source("private key", {text_option: text, option: path, f"${KEY_VARIABLE}": variable})
    if path is not None:
        return read_key_file(path)
    text = text if text is not None else variable
    return None if text is None else KeyPair.from_hex(text)


def read_passphrase(
    path: str | None, option: str, text: str | None = None, text_option: str = ""
) -> tuple[str | None, str | None]:
    """
    Read a passphrase from where it is: a file, ``$SODIUMTWIST_PASSPHRASE`` or an option.

    :param path: of the file, if one is named.
    :param option: what names it.
    :param text: the passphrase, if it is given.
    :param text_option: what gives it.
    :return: the passphrase, ``None`` when there is none; and a warning or ``None``.
    :raises OSError: as :func:`read_passphrase_file`.
    :raises LocalProtocolError: likewise, when it is empty, and when there is more than one.
    """
    variable = os.environ.get(PASSPHRASE_VARIABLE)
    _one_source("passphrase", {text_option: text, option: path, f"${PASSPHRASE_VARIABLE}": variable})
    if path is not None:
        return read_passphrase_file(path)
    return (text if text is not None else variable), None


def write_key_file(path: str, pair: KeyPair) -> None:
    """
    Write a private key to a new file of mode 0600.

    :raises OSError: when it can't be made, and when it exists: a key is never overwritten.
    """
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    try:
        with open(fd, "w") as file:
            file.write(pair.secret.hex() + "\n")
    except OSError:
        os.unlink(path)
        raise
