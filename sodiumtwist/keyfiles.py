"""
Keys and passphrases in files and in the environment.
"""

from __future__ import annotations

import os
from collections.abc import Collection

from .admission.files import check_file, readers_warning
from .admission.replacing import sync_directory
from .core.errors import InvalidKey, LocalProtocolError
from .core.keys import KeyPair, check_server_key, parse_key

KEY_VARIABLE = "SODIUMTWIST_KEY"
PASSPHRASE_VARIABLE = "SODIUMTWIST_PASSPHRASE"

#: The largest size of a key file in bytes, more than any needs. A wrong name may be that of a huge file.
KEY_FILE_LIMIT = 4096
#: The largest size of a passphrase file: a passphrase of version 2 may have 4096 bytes, and other lines behind it.
PASSPHRASE_FILE_LIMIT = 8192


def _read_small(
    path: str, what: str, owners: Collection[int], limit: int, *, readable: bool
) -> tuple[bytes, os.stat_result]:
    """
    Read a small file that nobody else can change.

    :param limit: the most bytes that it may have.
    :return: what is in it, and its status.
    """
    with open(path, "rb") as file:
        # Of the file that is read, whatever has the path by now.
        status = os.fstat(file.fileno())
        # Before it is read: of a pipe, the error would come when its writer is done.
        check_file(path, status, what, secret=True, readable=readable, streams=True, owners=owners)
        # One byte more tells whether the file is larger.
        data = file.read(limit + 1)
    if len(data) > limit:
        raise LocalProtocolError(f"{path} is over {limit} bytes long; that is no {what}")
    return data, status


def _decode(path: str, data: bytes) -> str:
    try:
        return data.decode("utf-8")
    # Without its cause: a UnicodeDecodeError shows the bytes.
    except UnicodeDecodeError:
        raise LocalProtocolError(f"{path} is not UTF-8 text") from None


def read_key_file(path: str, owners: Collection[int] = ()) -> KeyPair:
    """
    Read a private key as ``sodiumtwist keygen`` writes it: 64 hex digits.

    :param path: of the file. It may be a FIFO or a device.
    :param owners: the numbers of users that the file may belong to, beside root and the user of this process.
    :raises OSError: when the file can't be read.
    :raises InvalidKey: when it holds something else than a key.
    :raises LocalProtocolError: when others can read it, write to it or replace it, or own it, and when it is no small
        text.
    """
    data, _ = _read_small(path, "key file", owners, KEY_FILE_LIMIT, readable=False)
    try:
        return KeyPair.from_hex(_decode(path, data))
    except InvalidKey as error:
        raise InvalidKey(f"{path}: {error}") from None


def read_server_key(text: str, what: str, pair: KeyPair | None = None) -> bytes:
    """
    Read the public key of a server that somebody gave as text, and say which other key it may be instead.

    :param text: 64 hex digits.
    :param what: what errors call it.
    :param pair: the client's own keys.
    :return: 32 bytes.
    :raises InvalidKey: for anything but a public key of somebody else.
    """
    try:
        key = parse_key(text, what)
    except InvalidKey:
        if os.path.isfile(text):
            raise InvalidKey(
                f"the {what} is the name of a file; give the key itself, which sodiumtwist pubkey FILE prints of a "
                "private key, and a server's log shows"
            ) from None
        raise
    if pair is not None and key in (pair.secret, pair.public):
        own = "private" if key == pair.secret else "public"
        raise InvalidKey(f"the {what} is our own {own} key; the public key that the server's log shows is wanted")
    check_server_key(key)
    return key


def read_passphrase_file(path: str, owners: Collection[int] = ()) -> tuple[str, str | None]:
    """
    Read a passphrase: the first line of the file.

    :param path: of the file. It may be a FIFO or a device.
    :param owners: as in :func:`read_key_file`.
    :return: the passphrase, and a warning when others can read the file.
    :raises OSError: when the file can't be read.
    :raises LocalProtocolError: when the line is empty, when others can write to the file or replace it, or own it, and
        when it is no small text.
    """
    data, status = _read_small(path, "passphrase file", owners, PASSPHRASE_FILE_LIMIT, readable=True)
    # Only the end of the line is taken off: blanks may belong to a passphrase.
    passphrase = _decode(path, data).partition("\n")[0].removesuffix("\r")
    # More likely a mistake than a passphrase.
    if not passphrase:
        raise LocalProtocolError(f"the passphrase file {path} begins with an empty line")
    return passphrase, readers_warning(path, status, "passphrase file")


def _check_one_source(what: str, sources: dict[str, str | None]) -> None:
    # No source goes before another: whichever was taken, a user could wonder why the other one is not used.
    given = [name for name, value in sources.items() if value is not None]
    if len(given) > 1:
        raise LocalProtocolError(f"the {what} comes from {' and from '.join(given)}; use one")
    # More likely a variable that was not set than a key or passphrase. An empty file is refused, too.
    if given and not sources[given[0]]:
        raise LocalProtocolError(f"{given[0]} is empty; give a {what}, or leave it out")


def read_key(
    path: str | None, option: str, text: str | None = None, text_option: str = "", owners: Collection[int] = ()
) -> KeyPair | None:
    """
    Read a private key from one of three places: a file, an option or ``$SODIUMTWIST_KEY``.

    :param path: of the file; ``None`` when no file is named.
    :param option: the option that names the file, for the error.
    :param text: 64 hex digits; ``None`` when no key is given as text.
    :param text_option: the option that gives the text, for the error.
    :param owners: as in :func:`read_key_file`.
    :return: ``None`` when there is no key.
    :raises OSError: when the file can't be read.
    :raises InvalidKey: when it is something else than a key.
    :raises LocalProtocolError: when there is more than one key, when the one is empty, and for a file as
        :func:`read_key_file` does.
    """
    variable = os.environ.get(KEY_VARIABLE)
    _check_one_source("private key", {text_option: text, option: path, f"${KEY_VARIABLE}": variable})
    if path is not None:
        return read_key_file(path, owners)
    text = text if text is not None else variable
    return None if text is None else KeyPair.from_hex(text)


def read_passphrase(
    path: str | None, option: str, text: str | None = None, text_option: str = "", owners: Collection[int] = ()
) -> tuple[str | None, str | None]:
    """
    Read a passphrase from one of three places: a file, an option or ``$SODIUMTWIST_PASSPHRASE``.

    :param path: of the file; ``None`` when no file is named.
    :param option: the option that names the file, for the error.
    :param text: the passphrase; ``None`` when it is not given as text.
    :param text_option: the option that gives the text, for the error.
    :param owners: as in :func:`read_key_file`.
    :return: the passphrase, or ``None`` when there is none; and a warning, or ``None``, about a file that others
        can read.
    :raises OSError: when the file can't be read.
    :raises LocalProtocolError: when there is more than one passphrase, when the one is empty, and for a file as
        :func:`read_passphrase_file` does.
    """
    variable = os.environ.get(PASSPHRASE_VARIABLE)
    _check_one_source("passphrase", {text_option: text, option: path, f"${PASSPHRASE_VARIABLE}": variable})
    if path is not None:
        return read_passphrase_file(path, owners)
    return (text if text is not None else variable), None


def write_key_file(path: str, pair: KeyPair) -> None:
    """
    Write a private key to a new file of mode 0600.

    :param path: of the file.
    :raises OSError: when the file can't be made, and when it exists: a key is never overwritten.
    """
    # With its mode from the start: nobody can open it in between.
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    try:
        with open(fd, "w") as file:
            file.write(pair.secret.hex() + "\n")
            file.flush()
            # Its public key is about to be given away: the disk has the private one by then.
            os.fsync(fd)
        sync_directory(os.path.dirname(path))
    # A full disk. An empty file would stay, and then never be overwritten.
    except OSError as error:
        os.unlink(path)
        # Writing names no file, and keygen prints as well: which of both is full?
        raise OSError(error.errno, error.strerror, path) from None
