"""
Changes of the lists of who may come in. Several programs may change one at the same time, and servers read it
meanwhile: nothing is lost, and nobody sees half of it.

This imports no Twisted, so that commands that only change such a list start at once.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from typing import Generic, TypeVar

from ..core.errors import LocalProtocolError, SodiumError
from ..describe import describe_limit, describe_size
from .files import LIST_FILE_LIMIT, check_file, check_size, open_at_once
from .replacing import locked_folder, replace_text, sync_directory

#: How often a list is read and changed anew when something else changes it at the same moment.
TRIES = 5

Value = TypeVar("Value")

#: Called with a line for whoever runs the program.
Tell = Callable[[str], object]


class NotSynced(OSError):
    """A list is changed, but the disk may not have it."""


class _ChangedMeanwhile(Exception):
    """It is not the file that was read."""


@dataclass(frozen=True)
class ListKind(Generic[Value]):
    """
    What kind of list a file has.

    :ivar what: what errors call it.
    :ivar parse: reads its text, and raises a ``SodiumError`` when something is wrong with it.
    :ivar secret: whether nobody but its owner should read it.
    :ivar advice: what to do when it becomes too large.
    """

    what: str
    parse: Callable[[str], Value]
    secret: bool
    advice: str

    @property
    def most(self) -> int:
        """The bits that the mode of a file that takes its place can have at most."""
        return 0o600 if self.secret else 0o644


def read_list(path: str, kind: ListKind[Value]) -> tuple[str, os.stat_result | None]:
    """
    Read a list, and the status of its file with it.

    :return: the text and the status; no text and ``None`` when there is no file.
    :raises OSError: when it can't be read.
    :raises LocalProtocolError: when it is no small text, and when others can write to it or replace it, or own it.
    """
    try:
        with open_at_once(path) as file:
            status = os.fstat(file.fileno())
            # Root may change anybody's list; it stays theirs.
            owners = (status.st_uid,) if os.geteuid() == 0 else ()
            # A secret one that others can read is taken, as what takes its place is for its owner alone.
            check_file(path, status, kind.what, secret=kind.secret, readable=True, owners=owners)
            data = file.read(LIST_FILE_LIMIT + 1)
    except FileNotFoundError:
        return "", None
    check_size(path, max(len(data), status.st_size), kind.what)
    try:
        return data.decode("utf-8"), status
    except UnicodeDecodeError:
        raise LocalProtocolError(f"{path} is not UTF-8 text") from None


def parse_list(path: str, text: str, kind: ListKind[Value]) -> Value:
    """
    Read the text of a list.

    :raises SodiumError: when a line is wrong. The error names the file, and the line by its number.
    """
    try:
        return kind.parse(text)
    except SodiumError as error:
        raise type(error)(f"{path}: {error}") from None


def update_list(
    path: str, kind: ListKind[Value], change: Callable[[list[str], Value], None], tell: Tell | None = None
) -> None:
    """
    Change the lines of a list. When this returns, the disk has the change.

    :param path: of the file, which need not exist.
    :param change: changes a list of the lines, which have no newlines; it is given what was read of them, too. When it
        raises something, the file stays as it is. It is called again when somebody has changed the file meanwhile.
    :param tell: called with a line about what could not be kept of the file.
    :raises OSError: when the file can't be read or replaced. The old file is then as it was, unless it is a
        :class:`NotSynced`.
    :raises SodiumError: when the file is no such list, when it would become too large, when another program has its
        folder locked for too long, and when others change it again and again.
    """
    # A link stays; the file that it names is replaced.
    path = os.path.realpath(path)
    with locked_folder(path):
        for _ in range(TRIES):
            try:
                lost = _update(path, kind, change)
                break
            # By an editor, or a shell's >>, which know nothing of the lock.
            except _ChangedMeanwhile:
                pass
        else:
            raise LocalProtocolError(f"{path} was not changed, for something else changes it again and again")
        try:
            # Or a login that was taken out could be back after a loss of power.
            sync_directory(os.path.dirname(path))
        except OSError as error:
            raise NotSynced(
                error.errno, f"it is changed, but a loss of power may undo that: {error.strerror}", path
            ) from None
    if lost and tell is not None:
        tell(f"{path} could not keep {lost}; a server that runs as another user may not be able to read it any more")


def _update(path: str, kind: ListKind[Value], change: Callable[[list[str], Value], None]) -> str | None:
    """
    Change a file once, or raise ``_ChangedMeanwhile`` when it is another one by now.

    :return: what could not be kept of it.
    """
    text, status = read_list(path, kind)
    # A file that is no such file is left alone: who gave the name may have mistaken it.
    value = parse_list(path, text, kind)
    lines = text.removesuffix("\n").split("\n") if text else []
    change(lines, value)
    text = "".join(f"{line}\n" for line in lines)
    size = len(text.encode())
    # Servers refuse to read more.
    if size > LIST_FILE_LIMIT:
        raise LocalProtocolError(
            f"{path} would have {describe_size(size)}, and servers read "
            f"{describe_limit(LIST_FILE_LIMIT)} at most; {kind.advice}, or begin another file"
        )

    def check() -> None:
        if _identity(_status(path)) != _identity(status):
            raise _ChangedMeanwhile

    try:
        return replace_text(path, text, kind.most, check)
    # It names the temporary file, of which the user knows nothing.
    except OSError as error:
        raise OSError(error.errno, f"it can't be written: {error.strerror}", path) from None


def _status(path: str) -> os.stat_result | None:
    """
    Look at a file.

    :return: ``None`` when there is none.
    :raises OSError: when that can't be found out.
    """
    try:
        return os.stat(path)
    except FileNotFoundError:
        return None


def _identity(status: os.stat_result | None) -> tuple[int, ...] | None:
    # Not the time of the last chmod or link: what is in it is the same.
    return None if status is None else (status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns)
