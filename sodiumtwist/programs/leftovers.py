"""
What a service that was killed has left behind. The next one names it at its start. It takes nothing away: another
service may use the same places.
"""

from __future__ import annotations

import os
import re
from contextlib import suppress

from ..describe.log import Logger
from ..transfer.uploads import unfinished

_log = Logger()


def note_uploads(file: str | None, directory: str | None) -> None:
    """
    Log how many uploads stand unfinished where a server puts them.

    :param file: of ``--file``.
    :param directory: of ``--directory``.
    """
    if directory is not None:
        where, name = os.path.realpath(directory), ""
    # Beside a FIFO, a device or standard output nothing grows.
    elif file is not None and file != "-" and (os.path.isfile(file) or not os.path.exists(file)):
        where, name = os.path.split(os.path.realpath(file))
    else:
        return
    # One that may be written to and not be read is a good place for uploads.
    with suppress(PermissionError):
        _note(where, unfinished(where, name), "unfinished uploads", "rename what you need, remove the rest")


def note_database(path: str) -> None:
    """
    Log what stands beside a database of handshakes that was not closed.

    :param path: of the database.
    """
    where, name = os.path.split(os.path.abspath(path))
    half_made = re.compile(rf"{re.escape(name)}\.[0-9a-f]{{8}}\.new(-wal|-shm|-journal)?")
    # What is wrong with the folder is told by whoever opens the database.
    with suppress(OSError), os.scandir(where) as entries:
        found = [entry.name for entry in entries if half_made.fullmatch(entry.name)]
        _note(where, found, "files of databases that were never finished", "remove them")
    waiting = 0
    with suppress(OSError):
        waiting = os.stat(f"{path}-wal").st_size
    if waiting:
        _log.info(
            "{path} was not closed, since a server was killed, or another one has it open; "
            "nothing is lost, and nothing is to be done",
            path=path,
        )


def _note(where: str, names: list[str], what: str, remedy: str) -> None:
    if names:
        _log.warn(
            "{count} {what} in {where}, for instance {example}: of a server that was killed, or of another one that "
            "runs; {remedy}",
            count=len(names),
            what=what,
            where=where,
            # Names can hold what a terminal takes for a command.
            example=ascii(min(names)),
            remedy=remedy,
        )
