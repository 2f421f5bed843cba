"""
Makes what ``twistd sodium`` does with files: the place for uploads, the folders of logins, and what is shared.
"""

from __future__ import annotations

import os
from dataclasses import dataclass, replace
from typing import Any

from ..admission.replacing import may
from ..describe import printable
from ..operation.share import Share
from ..transfer.disk import Disk, DiskThreads
from ..transfer.shared_turn import SharedTurn
from ..transfer.stores import ClosedStore, Store, StreamStore, open_store
from ..transfer.tree.on_stored import OnStored
from ..transfer.tree.place import Files
from ..transfer.tree.quota import Quotas
from .leftovers import note_uploads
from .service_user import ServiceUser, acting_as
from .settings import ServerSettings


@dataclass(frozen=True)
class Places:
    """
    What a server does with files.

    :ivar store: takes uploads that come as one stream.
    :ivar files: what it does with files under their names.
    :ivar on_stored: runs a command for each file that is stored; ``None`` for none.
    """

    store: Store
    files: Files
    on_stored: OnStored | None = None


def open_places(reactor: Any, settings: ServerSettings, worker: Share | None = None) -> Places:
    """
    Make what the settings ask for, as the user that the service runs as.

    :param reactor: has threads, watches pipes, starts processes and has the clock.
    :param settings: of a server that does not forward streams.
    :param worker: its share; ``None`` for a process that is none.
    :raises SystemExit: with one line, when something can't be had.
    """
    disk = Disk(DiskThreads(reactor), settings.sync, settings.min_free)
    try:
        with acting_as(settings.runs_as):
            store = _open_store(reactor, settings, disk, None if worker is None else worker.turn())
            note_uploads(settings.file, settings.directory)
    except OSError as error:
        raise SystemExit(printable(f"sodium: cannot write to {error.filename}: {error.strerror}")) from None
    # Behind the directory, which may be the same and was made now.
    share = None if settings.share is None else _open_share(settings.share, settings.runs_as)
    store.max_upload = settings.max_upload
    # Absolute, since a daemon changes its directory.
    directory = None if settings.directory is None else os.path.realpath(settings.directory)
    on_stored = None
    if settings.on_stored is not None:
        if isinstance(store, StreamStore):
            raise SystemExit(printable(f"sodium: --on-stored is for files, and {settings.file} is none"))
        on_stored = OnStored(reactor, settings.on_stored, directory, settings.on_stored_seconds)
    store.on_stored = on_stored
    quotas = (
        None if directory is None else Quotas(directory, settings.quota, disk.room(directory), alone=worker is None)
    )
    files = Files(
        directory=directory,
        existing=settings.existing,
        share=share,
        share_per_login=settings.share_per_login,
        sync=settings.sync,
        max_size=settings.max_upload,
        room=None if quotas is None else quotas.for_login,
        on_stored=on_stored,
    )
    return Places(store, files, on_stored)


def only_looked_at(settings: ServerSettings) -> ServerSettings:
    """
    Change settings so that :func:`open_places` makes and takes over nothing.

    :raises SystemExit: with one line, when what it would make can't be had.
    """
    # For this, standard output would become the server's.
    if settings.file == "-":
        return replace(settings, file=None, discard=True)
    directory = settings.directory
    if directory is None or os.path.exists(directory):
        return settings
    above = os.path.dirname(os.path.realpath(directory))
    try:
        with acting_as(settings.runs_as):
            os.stat(above)
            allowed = may(above, os.W_OK | os.X_OK)
    except OSError as error:
        raise SystemExit(printable(f"sodium: cannot write to {error.filename}: {error.strerror}")) from None
    if not allowed:
        raise SystemExit(printable(f"sodium: cannot write to {above}: files can't be made there"))
    shared = settings.share
    if shared is not None and os.path.realpath(shared) == os.path.realpath(directory):
        shared = None
    # As with no place at all, nothing is taken then.
    return replace(settings, directory=None, share=shared, discard=True)


def _open_store(reactor: Any, settings: ServerSettings, disk: Disk, shared: SharedTurn | None) -> Store:
    if settings.file is None and settings.directory is None and not settings.discard:
        # There is only something to get here.
        return ClosedStore()
    return open_store(
        reactor,
        settings.timeouts.inactivity,
        settings.file,
        settings.directory,
        discard=settings.discard,
        disk=disk,
        shared=shared,
    )


def _open_share(path: str, user: ServiceUser | None) -> str:
    """
    Check that a folder can be read, so that a server fails at its start and not at its first client.

    :param user: as whom the service runs.
    :return: its absolute path, since a daemon changes its directory.
    :raises SystemExit: when it can't be read, or is no folder.
    """
    # An empty name is not where we are.
    where = os.path.realpath(path) if path else path
    try:
        with acting_as(user):
            # It says when nothing is there; access() would not.
            os.stat(where)
            allowed = may(where, os.R_OK | os.X_OK)
    except OSError as error:
        raise SystemExit(printable(f"sodium: cannot share {where or repr(where)}: {error.strerror}")) from None
    if not os.path.isdir(where):
        raise SystemExit(printable(f"sodium: cannot share {where}: it is no directory"))
    if not allowed:
        whom = "" if user is None else f"user {user.name}, as whom the service runs, "
        raise SystemExit(printable(f"sodium: cannot share {where}: {whom}may not read and enter it"))
    return where
