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

Value = TypeVar("Value")


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
            # One that others can read is taken, as what takes its place is for its owner alone.
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
    path: str,
    kind: ListKind[Value],
    change: Callable[[list[str], Value], None],
    tell: Callable[[str], object] | None = None,
) -> None:
    """
    Change the lines of a list. When this returns, the disk has the change.

    :param path: of the file, which need not exist.
    :param change: changes a list of the lines, which have no newlines; it is given what was read of them, too. When it
        raises something, the file stays as it is.
    :param tell: called with a line about what could not be kept of the file.
    :raises OSError: when the file can't be read or replaced. The old file is then as it was, unless the error says that
        it is changed but the disk may not have it.
    :raises LocalProtocolError: when the file is no such list, when it would become too large, and when another program
        has its folder locked for too long.
    """
    # A link stays; the file that it names is replaced.
    path = os.path.realpath(path)
    with locked_folder(path):
        text, _ = read_list(path, kind)
        # A file that is no such file is left alone: who gave the name may have mistaken it.
        value = parse_list(path, text, kind)
        lines = text.removesuffix("\n").split("\n") if text else []
        change(lines, value)
        text = "".join(f"{line}\n" for line in lines)
        # Servers refuse to read more.
        if len(text.encode()) > LIST_FILE_LIMIT:
            raise LocalProtocolError(
                f"{path} would have {describe_size(len(text.encode()))}, and servers read "
                f"{describe_limit(LIST_FILE_LIMIT)} at most; {kind.advice}, or begin another file"
            )
        try:
            lost = replace_text(path, text, kind.most)
        # It names the temporary file, of which the user knows nothing.
        except OSError as error:
            raise OSError(error.errno, f"it can't be written: {error.strerror}", path) from None
        try:
            # Or a login that was taken out could be back after a loss of power.
            sync_directory(os.path.dirname(path))
        except OSError as error:
            raise OSError(
                error.errno, f"it is changed, but a loss of power may undo that: {error.strerror}", path
            ) from None
    if lost and tell is not None:
        tell(f"{path} could not keep {lost}; a server that runs as another user may not be able to read it any more")
