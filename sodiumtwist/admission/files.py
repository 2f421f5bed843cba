"""
Files that hold secrets, or say who may come in: who else can read and change them. This imports no Twisted, so that
commands that only read such a file start at once.
"""

from __future__ import annotations

import os
import shlex
import stat
from typing import BinaryIO

from ..core.errors import LocalProtocolError

#: The largest size of a list of logins or keys in bytes. So much is read and parsed in some hundredths of a second, in
#: which the reactor stands still.
LIST_FILE_LIMIT = 1 << 20


def others_can_read(mode: int) -> bool:
    """Tell whether a file of this mode can be read by its group or by anybody."""
    return bool(mode & (stat.S_IRGRP | stat.S_IROTH))


def check_file(path: str, mode: int, what: str) -> None:
    """
    Check that a file is a regular one, and that only its owner can change it.

    :param path: of the file.
    :param mode: as ``stat`` gives it.
    :param what: what the error calls the file.
    :raises LocalProtocolError: when it is no regular file, or others can write to it.
    """
    if not stat.S_ISREG(mode):
        raise LocalProtocolError(f"the {what} {path} is no regular file")
    if mode & (stat.S_IWGRP | stat.S_IWOTH):
        raise LocalProtocolError(f"others can write to the {what} {path}; run: chmod go-w {shlex.quote(path)}")


def open_at_once(path: str) -> BinaryIO:
    """
    Open a file for reading. A FIFO is opened without waiting for its writer, and :func:`check_file` then refuses it:
    to wait would stop the reactor.

    :raises OSError: when it can't be opened.
    """
    return open(path, "rb", opener=lambda name, flags: os.open(name, flags | os.O_NONBLOCK))
