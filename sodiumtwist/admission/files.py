"""
Files that hold secrets, or say who may come in: who else can read them, and who can change them.

The rule is that of OpenSSH and PostgreSQL for such files: they belong to root or to us, and nobody else can write to
them, nor read what is secret.

This imports no Twisted, so that commands that only read such a file start at once.
"""

from __future__ import annotations

import grp
import os
import pwd
import shlex
import stat
from collections.abc import Collection, Iterator
from typing import BinaryIO

from ..core.errors import LocalProtocolError
from ..describe import describe_limit, describe_size

#: The largest size of a list of logins or keys, in bytes: some 300,000 lines. To read and parse that takes a second or
#: two, in a thread, and ten times as much memory. A wrong name may be that of a huge file.
LIST_FILE_LIMIT = 32 << 20

#: What is no regular file, in words.
_KINDS = {
    stat.S_IFDIR: "a directory",
    stat.S_IFIFO: "a FIFO",
    stat.S_IFSOCK: "a socket",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
}


def others_can_read(mode: int) -> bool:
    """
    Tell whether others than its owner can read a file: its group, or anybody.

    :param mode: the mode of the file, as ``stat`` gives it.
    """
    return bool(mode & (stat.S_IRGRP | stat.S_IROTH))


def check_file(
    path: str,
    status: os.stat_result,
    what: str,
    *,
    secret: bool = False,
    readable: bool = False,
    streams: bool = False,
    owners: Collection[int] = (),
) -> None:
    """
    Check that nobody can change a file but its owner, root and us, and that nobody else can read it when it is secret.

    :param path: the path of the file.
    :param status: of the file that is open, whatever has the path by now.
    :param what: what the error calls the file.
    :param secret: whether nobody else should read it, either.
    :param readable: whether a secret one is taken all the same when others can read it.
    :param streams: whether it may be a FIFO or a device, as it is read only once.
    :param owners: users that it may belong to, beside root and us: those that a service will run as.
    :raises LocalProtocolError: when that is not so, and when it is no file that can be used. The error names the file,
        its mode or owner, who can do what, and the command that mends it.
    """
    kind = stat.S_IFMT(status.st_mode)
    if kind == stat.S_IFREG:
        path = _real_name(path, status)
        _check_folder(path, what)
    # A FIFO or a device could be read without end, and makes the reactor wait.
    elif not streams or kind == stat.S_IFDIR:
        raise LocalProtocolError(f"the {what} {path} is no regular file but {_KINDS[kind]}")
    # A device keeps nothing, so its mode says nothing of what comes from it. A pipe without a name, as the shell makes
    # for <(…), was opened by whoever started us.
    elif kind != stat.S_IFIFO or not _has_name(path, status):
        return
    _check_mode(path, status, what, secret, readable)
    _check_owner(path, status, what, owners)


def readers_warning(path: str, status: os.stat_result, what: str) -> str | None:
    """
    Say who else can read a file.

    :return: a line, with the command that mends it; ``None`` when nobody can, or it is no regular file.
    """
    if not stat.S_ISREG(status.st_mode):
        return None
    path = _real_name(path, status)
    return _what_others_can(path, status, what, _reading_bits(path), "read")


def _reading_bits(path: str) -> int:
    """Give the bits of a mode that let others read a file."""
    # What systemd hands to a service as a credential has an access list for the service's user alone. Where there is
    # such a list, the bits of the group stand for all that is in it.
    folder = os.environ.get("CREDENTIALS_DIRECTORY")
    if folder and os.path.realpath(os.path.dirname(path)) == os.path.realpath(folder):
        return stat.S_IROTH
    return stat.S_IRGRP | stat.S_IROTH


def _has_name(path: str, status: os.stat_result) -> bool:
    """Tell whether what is open stands in the file system."""
    try:
        return os.path.samestat(os.stat(os.path.realpath(path)), status)
    except OSError:
        return False


def _real_name(path: str, status: os.stat_result) -> str:
    """Find a name that a command can take, when a file was opened by that of a descriptor, such as ``/dev/stdin``."""
    is_descriptor = os.path.realpath(os.path.dirname(path)).startswith(("/dev", "/proc"))
    return os.path.realpath(path) if is_descriptor and _has_name(path, status) else path


def _check_folder(path: str, what: str) -> None:
    # Whoever can write to the folder can put another file in its place, an earlier one of ours for instance. In a
    # folder as /tmp, with the sticky bit, only the owners of files can. A group may: on many systems each user has one
    # alone, and all folders are for it.
    folder = os.path.dirname(os.path.realpath(path))
    try:
        mode = os.stat(folder).st_mode
    except OSError:
        return  # it was opened by another name
    if mode & stat.S_IWOTH and not mode & stat.S_ISVTX:
        raise LocalProtocolError(
            f"others can replace the {what} {path}, for they can write to its folder (mode "
            f"{stat.S_IMODE(mode):03o}); run: chmod o-w {shlex.quote(folder)}"
        )


def _check_mode(path: str, status: os.stat_result, what: str, secret: bool, readable: bool) -> None:
    # Whoever can write to it can let themselves in.
    wrong = _what_others_can(path, status, what, stat.S_IWGRP | stat.S_IWOTH, "write to", secret)
    if wrong is None and secret and not readable:
        wrong = _what_others_can(path, status, what, _reading_bits(path), "read")
    if wrong is not None:
        raise LocalProtocolError(wrong)


def _what_others_can(
    path: str, status: os.stat_result, what: str, bits: int, verb: str, secret: bool = True
) -> str | None:
    mode = stat.S_IMODE(status.st_mode)
    if not mode & bits:
        return None
    group = "" if mode & bits & stat.S_IRWXO else f", group {_group_name(status.st_gid)}"
    if stat.S_ISFIFO(status.st_mode):
        cure = "make one for you alone, with: mkfifo -m 600"
    elif _has_name(path, status):
        cure = f"run: chmod {'600' if secret else 'go-w'} {shlex.quote(path)}"
    else:
        cure = "name a file of mode 600"
    return f"others can {verb} the {what} {path} (mode {mode:03o}{group}); {cure}"


def _check_owner(path: str, status: os.stat_result, what: str, owners: Collection[int]) -> None:
    us = os.geteuid()
    if status.st_uid in (0, us, os.getuid(), *owners):
        return
    whom = _user_name(us)
    # Only root may give files away.
    run = "run" if us == 0 else "run as root"
    raise LocalProtocolError(
        f"the {what} {path} belongs to {_user_name(status.st_uid)}, who can change it (mode "
        f"{stat.S_IMODE(status.st_mode):03o}); {run}: chown {whom} {shlex.quote(path)}"
    )


def _user_name(uid: int) -> str:
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return str(uid)


def _group_name(gid: int) -> str:
    try:
        return grp.getgrgid(gid).gr_name
    except KeyError:
        return str(gid)


def check_size(path: str, size: int, what: str) -> None:
    """
    Check that a list is not too large to be read.

    :param path: the path of the file, for the error.
    :param size: in bytes.
    :param what: what the error calls the file.
    :raises LocalProtocolError: when it is. The error tells the limit.
    """
    if size > LIST_FILE_LIMIT:
        raise LocalProtocolError(
            f"the {what} {path} has {describe_size(size)}, and the limit for such a list is "
            f"{describe_limit(LIST_FILE_LIMIT)}; take out lines that nobody needs"
        )


def lines_of(text: str) -> Iterator[str]:
    """
    Give the lines of a text one by one, as ``text.split("\\n")`` would. To split a million lines at once would stop all
    threads meanwhile.

    :param text: the text.
    """
    start = 0
    while (end := text.find("\n", start)) >= 0:
        yield text[start:end]
        start = end + 1
    yield text[start:]


def open_at_once(path: str) -> BinaryIO:
    """
    Open a file for reading, without waiting for anybody.

    :param path: of the file.
    :raises OSError: when it can't be opened.
    """
    # A FIFO would wait for its writer, and the reactor with it. check_file() refuses it once it is open.
    return open(path, "rb", opener=lambda name, flags: os.open(name, flags | os.O_NONBLOCK))
