"""
What a service that was killed has left behind. The next one names it at its start. It takes nothing away, since another
service may use the same places; but unfinished files of logins that nobody has gone on with for long.
"""

from __future__ import annotations

import os
import re
from contextlib import suppress

from ..describe.log import Logger
from ..transfer.tree.leftovers import remove_old
from ..transfer.tree.names import is_temporary
from ..transfer.uploads import unfinished

#: Seconds for which what came of a file of a login is kept, so that its client can go on with it.
PARTIAL_AGE = 604_800

#: How many of those that were removed the log names.
NAMED = 50

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


def clean_directory(directory: str, age: float, now: float) -> tuple[list[str], int]:
    """
    Remove what came of files of logins and was not gone on with for long. It may take long, and blocks.

    :param directory: of ``--directory``.
    :param age: how many seconds that is kept.
    :param now: seconds since the epoch.
    :return: what was removed, and how many others there are.
    :raises OSError: when the directory can't be opened.
    """
    removed = remove_old(directory, age, now)
    kept = sum(
        is_temporary(os.fsencode(name))
        for folder, _, names in os.walk(directory)
        # What is not in the folder of a login is told as an upload.
        if folder != directory
        for name in names
    )
    return removed, kept


def note_cleaned(directory: str, age: float, removed: list[str], kept: int) -> None:
    """
    Log what :func:`clean_directory` has done.

    :param directory: of ``--directory``.
    :param age: how many seconds unfinished files are kept.
    :param removed: what was removed.
    :param kept: how many others there are.
    """
    if removed:
        more = len(removed) - NAMED
        _log.warn(
            "removed {count} unfinished files in {where}, with which nobody has gone on for {age:g} seconds: "
            "{names}{more}",
            event="leftovers_removed",
            count=len(removed),
            where=directory,
            age=age,
            names=", ".join(sorted(removed)[:NAMED]),
            more=f", and {more} others" if more > 0 else "",
        )
    if kept:
        _log.info(
            "{count} unfinished files of logins are in {where}; their clients can go on with them",
            event="leftovers_kept",
            count=kept,
            where=directory,
        )


def note_list(path: str) -> None:
    """
    Log what stands beside a list of logins or keys whose change was never finished.

    :param path: of the list.
    """
    where, name = os.path.split(os.path.realpath(path))
    half_made = re.compile(rf"\.{re.escape(name)}\.[0-9a-f]{{12}}")
    # One that may be entered and not be read is a good place for a list.
    with suppress(OSError), os.scandir(where) as entries:
        found = [entry.name for entry in entries if half_made.fullmatch(entry.name)]
        _note(where, found, f"changes of {name} that were never finished", "remove them")


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
            event="database_left",
            path=path,
        )


def _note(where: str, names: list[str], what: str, remedy: str) -> None:
    if names:
        _log.warn(
            "{count} {what} in {where}, for instance {example}: of a server that was killed, or of another one that "
            "runs; {remedy}",
            event="leftovers_found",
            count=len(names),
            what=what,
            where=where,
            # Names can hold what a terminal takes for a command.
            example=repr(min(names)),
            remedy=remedy,
        )
