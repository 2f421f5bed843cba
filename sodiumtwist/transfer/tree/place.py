"""
What a server does with files: where it puts those that clients store, and which ones they may fetch.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass

from twisted.internet.defer import Deferred

from ...core.errors import LocalProtocolError
from ..stores import MAX_UPLOAD, Store
from .messages import Place
from .names import login_folder

#: What may become of a file whose name is taken.
EXISTING = ("rename", "replace", "refuse")


@dataclass(frozen=True)
class Files:
    """
    What a server does with files in version 2.

    :ivar directory: where clients' files go, into a folder of its own for each login; ``None`` where none are stored.
    :ivar existing: what becomes of a file whose name is taken: ``rename``, ``replace`` or ``refuse``.
    :ivar share: what clients may list and fetch; ``None`` for nothing.
    :ivar share_per_login: whether each login may do so in a folder of its own, below the share.
    :ivar sync: whether the disk has a file before it is confirmed.
    :ivar max_size: how many bytes a file may have.
    :ivar room: gives for a login what is asked for room before bytes of it are written; that raises an ``OSError``
        where there is none.
    :ivar on_stored: called with login, path, digest and size of each file that is stored; gives by a Deferred what the
        client is to be told of that, which may be nothing.
    :raises LocalProtocolError: when what is to become of taken names is none of these.
    """

    directory: str | None = None
    existing: str = "rename"
    share: str | None = None
    share_per_login: bool = False
    sync: bool = True
    max_size: int = MAX_UPLOAD
    room: Callable[[str], Callable[[int], None]] | None = None
    on_stored: Callable[[str, bytes, bytes, int], Deferred[str]] | None = None

    def __post_init__(self) -> None:
        if self.existing not in EXISTING:
            raise LocalProtocolError(f"a file whose name is taken: {' or '.join(EXISTING)}, not {self.existing!r}")

    def folder_of(self, login: str) -> str | None:
        """Tell where the files of a login are stored; ``None`` where they are not."""
        return None if self.directory is None else os.path.join(self.directory, login_folder(login))

    def shared_with(self, login: str) -> str | None:
        """Tell what a login may list and fetch; ``None`` for nothing."""
        if self.share is None or not self.share_per_login:
            return self.share
        return os.path.join(self.share, login_folder(login))

    def place(self, store: Store) -> Place | None:
        """
        Tell a client where its files go.

        :param store: of the server, which takes what comes as one stream.
        :return: ``None`` where the server takes nothing.
        """
        if self.directory is not None:
            return Place("files", min(self.max_size, _LARGEST), self.sync)
        if not store.takes:
            return None
        return Place("stream" if store.keeps else "nothing", min(store.max_upload, _LARGEST), self.sync)


#: What the field of a message takes.
_LARGEST = (1 << 63) - 1

#: What a server does that stores one stream for each connection, and nothing under its name.
NO_FILES = Files()
