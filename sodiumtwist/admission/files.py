"""
Files that hold secrets, or say who may come in: who else can read them, and who can change them.

This imports no Twisted, so that commands that only read such a file start at once.
"""

from __future__ import annotations

import os
import shlex
import stat
from typing import BinaryIO

from ..core.errors import LocalProtocolError

#: The largest size of a list of logins or keys, in bytes. To read and parse that takes some hundredths of a second, and
#: meanwhile the reactor stands still.
LIST_FILE_LIMIT = 1 << 20


def others_can_read(mode: int) -> bool:
    """
    Tell whether others than its owner can read a file: its group, or anybody.

    :param mode: the mode of the file, as ``stat`` gives it.
    """
    return bool(mode & (stat.S_IRGRP | stat.S_IROTH))


def check_file(path: str, mode: int, what: str) -> None:
    """
    Check that a file is a regular one, and that only its owner can change it.

    :param path: the path of the file, for the error.
    :param mode: the mode of the file, as ``stat`` gives it.
    :param what: what the error calls the file.
    :raises LocalProtocolError: when it is no regular file, or others can write to it.
    """
    # A FIFO or a device could be read without end, and makes the reactor wait.
    if not stat.S_ISREG(mode):
        raise LocalProtocolError(f"the {what} {path} is no regular file")
    # Whoever can write to it can let themselves in.
    if mode & (stat.S_IWGRP | stat.S_IWOTH):
        raise LocalProtocolError(f"others can write to the {what} {path}; run: chmod go-w {shlex.quote(path)}")


def open_at_once(path: str) -> BinaryIO:
    """
    Open a file for reading, without waiting for anybody.

    :param path: of the file.
    :raises OSError: when it can't be opened.
    """
    # A FIFO would wait for its writer, and the reactor with it. check_file() refuses it once it is open.
    return open(path, "rb", opener=lambda name, flags: os.open(name, flags | os.O_NONBLOCK))
