"""
Keys and passphrases in files and in the environment.
"""

from __future__ import annotations

import errno
import os
import shlex
import stat
import time
from collections.abc import Callable, Collection

from ..admission.files import check_file, others_can_read, readers_warning
from ..admission.replacing import sync_directory
from ..core.errors import InvalidKey, LocalProtocolError
from ..core.keys import KeyPair, WrongKind, check_server_key, is_labelled, looks_public, parse_key
from ..describe import describe_limit
from ..describe.fingerprints import fingerprint, is_fingerprint

KEY_VARIABLE = "SODIUMTWIST_KEY"
PASSPHRASE_VARIABLE = "SODIUMTWIST_PASSPHRASE"

#: What the name of a public key's file has behind that of the private key's file.
PUBLIC_SUFFIX = ".pub"

#: How a key file begins.
_BEGINNING = "# sodiumtwist: a"

#: The largest size of a key file in bytes, more than any needs. A wrong name may be that of a huge file.
KEY_FILE_LIMIT = 4096
#: The largest size of a passphrase file: a passphrase of version 2 may have 4096 bytes, and other lines behind it.
PASSPHRASE_FILE_LIMIT = 8192


def _read_small(
    path: str,
    what: str,
    owners: Collection[int],
    limit: int,
    *,
    readable: bool = False,
    public: bool = False,
    refuse: Callable[[str, bytes], object] | None = None,
) -> tuple[bytes, os.stat_result]:
    """
    Read a small file that nobody else can change.

    :param limit: the most bytes that it may have.
    :param readable: whether others may be able to read it, though they should not.
    :param public: whether it is for all to read.
    :param refuse: raises for what no mode would make right. It is called with the path, and with what is in a regular
        file that others can read.
    :return: what is in it, and its status.
    """
    with open(path, "rb") as file:
        # Of the file that is read, whatever has the path by now.
        status = os.fstat(file.fileno())
        # What all may read may be a public key. To change its mode would not make it a private one.
        if refuse is not None and stat.S_ISREG(status.st_mode) and others_can_read(status.st_mode):
            refuse(path, file.read(limit))
            file.seek(0)
        # Before it is read: of a pipe, the error would come when its writer is done.
        check_file(path, status, what, secret=not public, readable=readable, streams=True, owners=owners)
        # One byte more tells whether the file is larger.
        data = file.read(limit + 1)
    if len(data) > limit:
        raise LocalProtocolError(f"{path} is over {describe_limit(limit)} long; that is no {what}")
    return data, status


def _decode(path: str, data: bytes) -> str:
    try:
        return data.decode("utf-8")
    # Without its cause: a UnicodeDecodeError shows the bytes.
    except UnicodeDecodeError:
        raise LocalProtocolError(f"{path} is not UTF-8 text") from None


def _key_text(path: str, data: bytes) -> str:
    # As a power cut leaves a file that was just made.
    if not data.strip():
        raise InvalidKey(f"{path} is empty, and holds no key")
    return _decode(path, data)


def _refuse_public(path: str, data: bytes) -> None:
    """
    :raises InvalidKey: when a file that is to hold a secret holds a public key.
    """
    text = data.decode("utf-8", "replace")
    try:
        pair = KeyPair.from_hex(text)
        # Where no word in it says so, its name does.
        is_public = path.endswith(PUBLIC_SUFFIX) and not is_labelled(text) and looks_public(pair.secret)
    except WrongKind:
        is_public = True
    except InvalidKey:
        return
    if is_public:
        private = path.removesuffix(PUBLIC_SUFFIX)
        where = f": {private}" if private != path and os.path.exists(private) else ""
        raise InvalidKey(f"{path} holds a public key, and the private one is wanted{where}")


def read_key_file(path: str, owners: Collection[int] = ()) -> KeyPair:
    """
    Read a private key as ``sodiumtwist keygen`` writes it: comments, then ``private key:`` and 64 hex digits. The
    digits alone will do.

    :param path: of the file. It may be a FIFO or a device.
    :param owners: the numbers of users that the file may belong to, beside root and the user of this process.
    :raises OSError: when the file can't be read.
    :raises InvalidKey: when it holds something else than a key, a public one for instance.
    :raises LocalProtocolError: when others can read it, write to it or replace it, or own it, and when it is no small
        text.
    """
    return _read_pair(path, owners)[0]


def _read_pair(path: str, owners: Collection[int]) -> tuple[KeyPair, bool]:
    """Read a private key, and tell whether the file says that it is one."""
    data, _ = _read_small(path, "key file", owners, KEY_FILE_LIMIT, refuse=_refuse_public)
    text = _key_text(path, data)
    _refuse_public(path, data)
    try:
        return KeyPair.from_hex(text), is_labelled(text)
    except InvalidKey as error:
        raise InvalidKey(f"{path}: {error}") from None


def read_public_key_file(path: str, owners: Collection[int] = ()) -> bytes:
    """
    Read a public key as ``sodiumtwist keygen`` writes it into a ``.pub`` file: comments, then ``public key:`` and 64
    hex digits. The digits alone will do.

    :param path: of the file. It may be a FIFO or a device.
    :param owners: as in :func:`read_key_file`.
    :return: 32 bytes.
    :raises OSError: when the file can't be read.
    :raises InvalidKey: when it holds something else than a public key, a private one for instance.
    :raises LocalProtocolError: when others can write to it or replace it, or own it, and when it is no small text.
    """
    data, status = _read_small(path, "public key file", owners, KEY_FILE_LIMIT, public=True)
    text = _key_text(path, data)
    try:
        key = parse_key(text, "public key")
    except WrongKind:
        raise _not_public(path) from None
    except InvalidKey as error:
        raise InvalidKey(f"{path}: {error}") from None
    # Digits alone can be of either kind. A file that is for its owner alone is one of those that private keys are in.
    alone = stat.S_ISREG(status.st_mode) and not others_can_read(status.st_mode)
    if alone and not is_labelled(text) and not path.endswith(PUBLIC_SUFFIX):
        raise _not_public(path)
    try:
        check_server_key(key)
    except InvalidKey as error:
        raise InvalidKey(f"{path}: {error}") from None
    return key


def _not_public(path: str) -> InvalidKey:
    public = path + PUBLIC_SUFFIX
    cure = public if os.path.exists(public) else f"sodiumtwist pubkey {shlex.quote(path)} prints it"
    return InvalidKey(f"{path} holds a private key, and the public one is wanted: {cure}")


def read_server_key(text: str, what: str, pair: KeyPair | None = None, owners: Collection[int] = ()) -> bytes:
    """
    Read the public key of a server that somebody gave as text, and say which other key it may be instead.

    :param text: 64 hex digits, with or without ``public key:``; or the path of a ``.pub`` file, the URL of a server, or
        the name of a known one.
    :param what: what errors call it.
    :param pair: the client's own keys.
    :param owners: as in :func:`read_key_file`, for a file.
    :return: 32 bytes.
    :raises OSError: when a file can't be read.
    :raises InvalidKey: for anything but a public key of somebody else.
    :raises LocalProtocolError: for a URL that is not whole, or is an invitation, and for a file as
        :func:`read_public_key_file` does.
    """
    key = _find_server_key(text, what, owners)
    if pair is not None and key in (pair.secret, pair.public):
        own = "private" if key == pair.secret else "public"
        raise InvalidKey(f"the {what} is our own {own} key; the public key that the server's log shows is wanted")
    check_server_key(key)
    return key


def _find_server_key(text: str, what: str, owners: Collection[int]) -> bytes:
    if _is_url(text):
        from .urls import parse_card

        return parse_card(text, f"the {what}").server_key
    try:
        return parse_key(text, what)
    except InvalidKey as error:
        # What is labelled is no name.
        if is_labelled(text):
            raise
        wrong = error
    if is_fingerprint(text):
        raise InvalidKey(f"the {what} is a fingerprint, which only serves to compare; give the key itself")
    # A name goes first, as in all commands: ./NAME is a file.
    if (known := _known_key(text)) is not None:
        return known
    if is_file(text):
        return read_public_key_file(text, owners)
    if text.endswith(PUBLIC_SUFFIX):
        raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), text)
    raise InvalidKey(f"{wrong}, a .pub file, a URL or the name of a known server")


def _is_url(text: str) -> bool:
    if "://" not in text:
        return False
    # Here: it takes time to import, and most keys are given as they are.
    from .urls import is_url

    return is_url(text)


def _known_key(name: str) -> bytes | None:
    if "/" in name or name.endswith(PUBLIC_SUFFIX):
        return None
    from .servers import read_servers

    server = read_servers().get(name)
    return None if server is None else server.server_key


def is_file(path: str) -> bool:
    """Tell whether there is something at a path that can be read: a file, a FIFO or a device."""
    try:
        return not stat.S_ISDIR(os.stat(path).st_mode)
    # A NUL is in no path.
    except (OSError, ValueError):
        return False


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
    if data.startswith(_BEGINNING.encode()):
        raise LocalProtocolError(f"{path} is a key file, and no passphrase file")
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
        without = "unset it" if given[0].startswith("$") else "leave it out"
        raise LocalProtocolError(f"{given[0]} is empty; give a {what}, or {without}")


def read_key(
    path: str | None,
    option: str,
    text: str | None = None,
    text_option: str = "",
    owners: Collection[int] = (),
    warn: Callable[[str], object] = lambda line: None,
) -> KeyPair | None:
    """
    Read a private key from one of three places: a file, an option or ``$SODIUMTWIST_KEY``.

    :param path: of the file; ``None`` when no file is named.
    :param option: the option that names the file, for the error.
    :param text: 64 hex digits; ``None`` when no key is given as text.
    :param text_option: the option that gives the text, for the error.
    :param owners: as in :func:`read_key_file`.
    :param warn: called with a line when the key may be a public one.
    :return: ``None`` when there is no key.
    :raises OSError: when the file can't be read.
    :raises InvalidKey: when it is something else than a key.
    :raises LocalProtocolError: when there is more than one key, when the one is empty, and for a file as
        :func:`read_key_file` does.
    """
    variable = os.environ.get(KEY_VARIABLE)
    _check_one_source("private key", {text_option: text, option: path, f"${KEY_VARIABLE}": variable})
    source, given = (f"${KEY_VARIABLE}", variable) if text is None else (text_option, text)
    if path is not None:
        pair, labelled = _read_pair(path, owners)
    elif given is not None:
        pair, labelled = _parse_pair(given, source, option), is_labelled(given)
    else:
        return None
    # Of the keys of earlier releases, 1 in 32 can't be told from a public key.
    if not labelled and looks_public(pair.secret):
        warn(
            "the private key could be a public one that was given in its place, as 1 in 32 could; if clients know the "
            f"server by the fingerprint {fingerprint(pair.public)}, all is well: write 'private key: ' before the key, "
            "and this is not asked again"
        )
    return pair


def _parse_pair(text: str, source: str, file_option: str) -> KeyPair:
    """
    Read a private key that is given as text.

    :param source: where it comes from, for the error.
    :param file_option: what takes a file.
    """
    try:
        return KeyPair.from_hex(text)
    except WrongKind:
        raise InvalidKey(f"{source} is a public key, and the private one is wanted") from None
    except InvalidKey:
        if _is_url(text):
            raise InvalidKey(f"{source} is a URL, which has a public key; the private one is wanted") from None
        if is_file(text):
            raise InvalidKey(f"{source} takes the private key itself; name its file by {file_option}") from None
        raise


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
    Write a private key to a new file of mode 0600, and its public key to a file beside it that all may read, of the
    same name and ``.pub``. Both are written, or none.

    :param path: of the private key's file.
    :raises OSError: when a file can't be made, and when one of the two exists: a key is never overwritten.
    """
    made = time.strftime("%Y-%m-%d", time.gmtime())
    whose = f"fingerprint {fingerprint(pair.public)}"
    private = (
        f"{_BEGINNING} private key, made {made}. Show it to nobody.\n# {whose}\nprivate key: {pair.secret.hex()}\n"
    )
    public = f"{_BEGINNING} public key, made {made}. It is no secret.\n# {whose}\npublic key: {pair.public.hex()}\n"
    made_files: list[str] = []
    try:
        # The private key first, for nobody is to get a public one whose private one the disk does not have. What a
        # power cut leaves is then a key that can be used, whose public key can be had by "pubkey".
        _write_new(path, private, 0o600, made_files)
        # Never for its group to write to, as some umasks have it: nobody would take it then.
        _write_new(path + PUBLIC_SUFFIX, public, 0o644, made_files)
        sync_directory(os.path.dirname(path))
    # A full disk, or Ctrl-C. A file without its key would stay, and then never be overwritten.
    except BaseException:
        for name in reversed(made_files):
            os.unlink(name)
        raise


def _write_new(path: str, text: str, mode: int, made: list[str]) -> None:
    # With its mode from the start: nobody can open it in between.
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, mode)
    made.append(path)
    try:
        with open(fd, "w") as file:
            file.write(text)
            file.flush()
            # Its public key is about to be given away: the disk has the private one by then.
            os.fsync(fd)
    except OSError as error:
        # Writing names no file, and keygen prints as well: which of both is full?
        raise OSError(error.errno, error.strerror, path) from None
