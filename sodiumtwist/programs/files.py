"""
``send``, ``get`` and ``list`` by version 2 of the protocol: files and folders under their names.
"""

from __future__ import annotations

import json
import os
import stat
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from typing import Any, Union

from ..core.connection import Code
from ..core.errors import RequestFailed
from ..describe import describe_os_error, describe_size, printable
from ..transfer.discarding import says_discarded
from ..transfer.sources import open_source
from ..transfer.tree.client import FileClient
from ..transfer.tree.messages import FILE, FOLDER, Listed
from ..transfer.tree.report import WOULD_SEND, FileResult
from ..transfer.tree.sending import Stream
from ..transfer.tree.walking import OPEN_FLAGS, Root, Walk
from .bars import counted
from .commands import leave
from .exits import EXIT_NOT_STORED, EXIT_USAGE, CommandFailed
from .output import print_line, print_text, tell_as_it_is
from .progress import Told, ToldAsJSON, as_text, shown
from .sessions import Session
from .settings import FilesSettings, GetSettings, ListSettings, SendSettings
from .streams import Sent, cannot_read, cannot_read_on, error_as_json, tell_sent

#: What a command tries to send: a walk over files and folders, or one stream.
Found = Union[Walk, Stream]

#: What is said of a command that was broken off.
GOES_ON = "; the same command goes on from there"


@contextmanager
def telling(settings: FilesSettings, verb: str) -> Iterator[Told]:
    """
    Tell of files while they go, and at the end.

    :param verb: what is done with them.
    :raises CommandFailed: at the end, when something could not be read or is not stored.
    """
    if settings.json:
        told: Told = ToldAsJSON(verb, settings.quiet, settings.dry_run)
    else:
        told = Told(verb, settings.verbose, settings.quiet, settings.dry_run)
    try:
        yield told
    except CommandFailed as failed:
        told.close()
        told.fails(failed.status, str(failed))
        raise
    finally:
        told.close()


def resumes(settings: FilesSettings) -> bool:
    """Tell whether another try would use what has come."""
    return settings.resume and not settings.dry_run


def sum_up(told: Told, session: Session) -> None:
    """
    Print the last line.

    :raises CommandFailed: when something could not be read or is not stored. It has been told.
    """
    told.close()
    told.sum_up(session.seconds)
    if told.failed:
        raise CommandFailed(EXIT_NOT_STORED, "")


def look_at(settings: SendSettings, reactor: Any, told: Told) -> Found:
    """
    Look at what is to be sent.

    :param told: is told what is not there.
    :raises CommandFailed: when nothing of it is.
    """
    roots = []
    missing: list[tuple[str, OSError]] = []
    for path in settings.paths:
        called = os.fsencode(settings.name_of(path))
        try:
            if path == "-":
                return Stream(open_source(path, reactor), os.fsencode(settings.name or ""))
            kind = kind_of(path)
            if kind == "stream":
                if len(settings.paths) > 1:
                    raise CommandFailed(EXIT_USAGE, f"{path} is no file and no folder; such goes alone")
                return Stream(open_source(path, reactor), os.fsencode(settings.name or ""))
            if kind == "nominal" and len(settings.paths) == 1:
                return Stream(open_source(path, reactor), called)
        except OSError as error:
            missing.append((path, error))
            continue
        roots.append(Root(called, os.fsencode(path)))
    last = None if roots else missing.pop()
    for path, why in missing:
        told.trouble(os.fsencode(path), why.strerror or str(why))
    if last is not None:
        raise cannot_read(*last)
    return Walk(roots)


def kind_of(path: str) -> str:
    """
    Look at what is to be sent, and whether it can be.

    :return: ``tree`` for a file or folder; ``nominal`` for a file of the system whose size does not tell what is in it;
        ``stream`` for a FIFO, a device and the like.
    :raises OSError: when it is not there, or can't be read.
    """
    status = os.stat(path)
    if not (stat.S_ISREG(status.st_mode) or stat.S_ISDIR(status.st_mode)):
        return "stream"
    # Who may not read it is told at once, as if it were not there.
    fd = os.open(path, OPEN_FLAGS)
    try:
        if stat.S_ISREG(status.st_mode) and not status.st_size and os.read(fd, 1):
            return "nominal"
        return "tree"
    finally:
        os.close(fd)


async def send_found(session: Session, settings: SendSettings, found: Found, told: Told) -> Sent | None:
    """
    Send files and folders, or a stream.

    :return: what was sent as one stream, where the server stores a single one or nothing; ``None`` when files were sent
        under their names.
    :raises CommandFailed: when something did not go well, or this was cancelled.
    """

    streams = False

    async def work(client: FileClient) -> Sent | None:
        nonlocal streams
        place = await client.store(found, told, settings.dry_run, settings.json, settings.resume)
        if place.keeps == "files":
            return None
        streams = True
        return await send_one(session, settings, found, place.keeps, told)

    def done() -> str:
        return f"{describe_size(session.client.acknowledged)} acknowledged" if streams else told.so_far()

    def again() -> str:
        return GOES_ON if isinstance(found, Walk) and not streams and resumes(settings) else ""

    try:
        return await session.run(work, done, again)
    finally:
        # What a walk has opened, the thread that uses it closes.
        if isinstance(found, Stream):
            found.source.close()


async def send_one(session: Session, settings: SendSettings, found: Found, keeps: str, told: Told) -> Sent | None:
    """
    Send a file as one stream, to a server that does not keep files under their names.

    :param session: in which the server has said so.
    :param keeps: what it keeps: ``stream`` or ``nothing``.
    :raises CommandFailed: when there is more than one file, or it can't be read to its end.
    """
    client, path = session.client, settings.paths[0]
    if len(settings.paths) > 1 or (path != "-" and os.path.isdir(path)):
        what = "stores one file at a time, and no folders; an archive is one: tar c PATH... | sodiumtwist send … -"
        if keeps == "nothing":
            what = "throws away what comes"
        await leave(session.reactor, client)
        raise CommandFailed(EXIT_NOT_STORED, f"nothing was sent: this server {what}")
    if settings.dry_run:
        if keeps == "nothing":
            await leave(session.reactor, client)
            raise CommandFailed(EXIT_NOT_STORED, "nothing would be stored: this server discards uploads")
        size = os.stat(path).st_size if isinstance(found, Walk) else 0
        told.settled(FileResult(os.fsencode(settings.name_of(path)), FILE, WOULD_SEND, size=size))
        return None
    await client.when_authenticated()
    try:
        source = found.source if isinstance(found, Stream) else open_source(path, session.reactor)
    except OSError as error:
        raise cannot_read(path, error) from None
    with counted(source.size, settings.quiet) as progress:
        try:
            await client.send_stream(source, progress)
        except OSError as error:
            raise cannot_read_on(path, error, client.acknowledged) from None
        finally:
            # First: when this was interrupted, nothing that comes from there now is to be sent, its end above all.
            source.close()
    return Sent(client.acknowledged, client.seconds, not says_discarded(client.message or ""), source.grown, 2)


async def send(reactor: Any, settings: SendSettings) -> None:
    """
    Run ``sodiumtwist send`` by version 2.

    :raises UsageError: when the endpoint string is not understood.
    :raises CommandFailed: when something did not go well, or this was cancelled.
    """
    with telling(settings, "send") as told:
        session = Session(reactor, settings, settings.quiet)
        found = look_at(settings, reactor, told)
        sent = await send_found(session, settings, found, told)
        if sent is None:
            sum_up(told, session)
        else:
            told.over = True
            tell_sent(settings, sent)


async def get(reactor: Any, settings: GetSettings) -> None:
    """
    Run ``sodiumtwist get``.

    :raises UsageError: when the endpoint string is not understood.
    :raises CommandFailed: when something did not go well, or this was cancelled.
    """
    with telling(settings, "get") as told:
        # Who lists names alone, as for other programs, sees here that the last one was no name.
        told.into = settings.into if settings.into != "." else ""
        session = Session(reactor, settings, settings.quiet)

        async def work(client: FileClient) -> None:
            # No folder is made for a server that does not let us in.
            await client.when_authenticated()
            with folder_for(settings) as into:
                fetched = await client.fetch(
                    settings.remotes,
                    into,
                    settings.existing,
                    told,
                    settings.dry_run,
                    settings.json,
                    settings.resume,
                )
            finish = fetched.finish
            # What the server could not read of the others has been told.
            for trouble in fetched.missing:
                told.trouble(trouble.path or b".", printable(trouble.text))
            told.failed += finish.untold
            told.links += finish.links
            told.others += finish.others

        await session.run(work, told.so_far, lambda: GOES_ON if resumes(settings) else "")
        sum_up(told, session)


@contextmanager
def folder_for(settings: GetSettings) -> Iterator[str]:
    """
    Make the folder that files are got into, when it is missing. Where nothing is stored, an empty one stands in for it.

    :raises CommandFailed: when it can't be made.
    """
    into = settings.into
    if os.path.isdir(into):
        yield into
    elif settings.dry_run:
        with tempfile.TemporaryDirectory(prefix="sodiumtwist-") as empty:
            yield empty
    else:
        try:
            os.makedirs(into, exist_ok=True)
        except FileExistsError:
            raise CommandFailed(
                EXIT_USAGE, f"{into} is no folder; what is got goes into one, the last argument"
            ) from None
        except OSError as error:
            raise CommandFailed(EXIT_USAGE, f"cannot make the folder {describe_os_error(error)}") from None
        yield into


async def list_files(reactor: Any, settings: ListSettings) -> None:
    """
    Run ``sodiumtwist list``.

    :raises UsageError: when the endpoint string is not understood.
    :raises CommandFailed: when something did not go well, or this was cancelled.
    :raises OutputLost: when standard output takes nothing. It ends then: nobody sees what there is.
    """
    session = Session(reactor, settings)
    count = 0

    async def work(client: FileClient) -> None:
        nonlocal count
        after = b""
        while True:
            try:
                listing = await client.list(settings.remote, after)
            except RequestFailed as failed:
                if failed.code != Code.STORAGE:
                    raise
                await leave(reactor, client)
                what = shown(settings.remote or b".")
                raise CommandFailed(EXIT_NOT_STORED, f"cannot read {what}: {failed}") from None
            for entry in listing.entries:
                if settings.json:
                    print_text(entry_as_json(entry))
                else:
                    print_line(entry_as_line(entry))
            count += len(listing.entries)
            if not listing.more:
                return
            after = listing.entries[-1].name

    try:
        await session.run(work, lambda: f"{count} entries listed")
    except CommandFailed as failed:
        if settings.json and str(failed):
            tell_as_it_is(error_as_json(failed.status, str(failed)))
        raise


def entry_as_line(entry: Listed) -> str:
    """Show an entry of a folder: bytes, time, and name."""
    folder = entry.kind == FOLDER
    size = "-" if folder else describe_size(entry.size)
    return f"{size:>14}  {time_of(entry.mtime):19}  {shown(entry.name)}{'/' if folder else ''}"


def time_of(mtime: int) -> str:
    """Show a time as the clock here does; ``?`` for what no clock shows."""
    try:
        return datetime.fromtimestamp(mtime // 10**9).strftime("%Y-%m-%d %H:%M:%S")
    except (OverflowError, OSError, ValueError):
        return "?"


def entry_as_json(entry: Listed) -> str:
    """Give an entry of a folder as a JSON object."""
    kind = "folder" if entry.kind == FOLDER else "file"
    fields = {"event": "entry", **as_text("name", entry.name), "kind": kind, "bytes": entry.size}
    return json.dumps({**fields, "mtime_ns": entry.mtime, "executable": entry.executable})
