"""
What a sender finds on its disk: trees are walked in the thread, as far as they are announced and no further.

Links below what was asked for are not followed, and all but files and folders is left out and counted. Whoever walks a
share follows no link at all: each part of a path is opened relative to the one before.
"""

from __future__ import annotations

import errno
import os
import stat
from array import array
from collections import deque
from collections.abc import Generator, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import chain, islice
from typing import Protocol, Union

from .folders import Folders
from .messages import (
    ANNOUNCEMENT_SIZE,
    ENTRIES,
    FILE,
    FOLDER,
    LINE_LIMIT,
    Announce,
    Entry,
    SetTimes,
    Trouble,
    encode,
)
from .names import DEPTH_LIMIT, is_temporary

#: How many entries of a folder are sorted at once. What is in a larger folder comes in several sorted parts, so that it
#: takes no more memory.
SORTED_TOGETHER = 1024

#: What cuts a device, or a FIFO that was put where a file was, short.
OPEN_FLAGS = os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOCTTY

#: Of how many of the folders that were named something is open at once.
OPEN_TREES = 4

#: Where a file is opened again: by the path that a person has named, whose links are followed; or in a folder, where
#: they are not.
Where = Union[bytes, "tuple[Tree, tuple[bytes, ...]]"]

#: What the walk comes upon; ``None`` when it has been long without that, with much to be left out.
Found = Union["tuple[Entry, Where]", None]

A_LINK = "a link, which is not followed"
A_DEVICE = "a device, a socket or the like"
UNFINISHED = "what came of a file that broke off"
NOT_THERE = "there is no file or folder of that name"


def open_file(where: Where, path: bytes) -> int:
    """
    Open a file that was found.

    :param path: under which it was announced.
    :return: a descriptor.
    :raises OSError: when that fails, or it is a link by now.
    """
    if isinstance(where, bytes):
        return os.open(where, OPEN_FLAGS)
    tree, parts = where
    return os.open(path[path.rfind(b"/") + 1 :], OPEN_FLAGS | os.O_NOFOLLOW, dir_fd=tree.open(parts))


def what_is_wrong(status: os.stat_result) -> str:
    """Say why something is left out; nothing of a file or folder."""
    mode = status.st_mode
    if stat.S_ISLNK(mode):
        return A_LINK
    return "" if stat.S_ISDIR(mode) or stat.S_ISREG(mode) else A_DEVICE


def why_not(error: OSError) -> str:
    """Say what is wrong with a file, without its name: the other end knows another one."""
    # A folder that may be entered and not read is opened in a way that lets nothing be read.
    if error.errno == errno.EBADF:
        return os.strerror(errno.EACCES)
    return (error.strerror or type(error).__name__)[:LINE_LIMIT]


@dataclass(frozen=True)
class Root:
    """
    Where to begin.

    :ivar name: the first part of the paths that are announced; empty for paths that begin with what is in the folder.
    :ivar where: a path that a person has named; or a share, and the parts of a path in it.
    """

    name: bytes
    where: bytes | tuple[Folders, tuple[bytes, ...]]

    @classmethod
    def shared(cls, folders: Folders, parts: tuple[bytes, ...]) -> Root:
        """One in a share, under the last part of its path."""
        return cls(parts[-1] if parts else b"", (folders, parts))


@dataclass
class Batch:
    """
    What is announced together.

    :ivar first: the number of the first entry.
    :ivar entries: they may be none, where something was left out last.
    :ivar wheres: for each of them, where to open it.
    :ivar files: how many of them are files.
    :ivar size: how many bytes these have.
    :ivar left_out: paths that were left out meanwhile, why, and whether that is trouble.
    """

    first: int
    entries: list[Entry] = field(default_factory=list)
    wheres: list[Where] = field(default_factory=list)
    files: int = 0
    size: int = 0
    left_out: list[tuple[bytes, str, bool]] = field(default_factory=list)

    def encode(self) -> bytes:
        """Make the request that announces it."""
        return encode(Announce(self.first, self.entries))


class Tree(Protocol):
    """
    Opens folders below one; :class:`~sodiumtwist.transfer.tree.folders.Folders` does.
    """

    def open(self, parts: tuple[bytes, ...]) -> int:
        """
        Open a folder.

        :return: its descriptor, which stays open until others were opened.
        :raises OSError: when that fails.
        """


class _NamedTree:
    """
    Below a folder that a person has named. There may be more of these than descriptors.

    :param path: the folder's.
    :param opened: those of which something is open; the one that was opened first is closed first.
    """

    def __init__(self, path: bytes, opened: deque[_NamedTree]) -> None:
        self._path = path
        self._opened = opened
        self._folders: Folders | None = None

    def open(self, parts: tuple[bytes, ...]) -> int:
        if self._folders is None:
            self._folders = Folders(self._path)
            self._opened.append(self)
            if len(self._opened) > OPEN_TREES:
                self._opened.popleft().close()
        return self._folders.open(parts)

    def close(self) -> None:
        folders, self._folders = self._folders, None
        if folders is not None:
            folders.close()


class Walk:
    """
    Walks trees, one after the other.

    :param roots: where they begin.
    :ivar links: how many links were left out so far.
    :ivar others: how many devices, sockets and unfinished files.
    :ivar troubles: what could not be read, as much of it as one message may tell.
    :ivar untold: how many such there are beside these.
    """

    def __init__(self, roots: Sequence[Root]) -> None:
        self.links = self.others = self.untold = 0
        self.troubles: list[Trouble] = []
        self._roots = roots
        self._room = ANNOUNCEMENT_SIZE
        self._left_out: list[tuple[bytes, str, bool]] = []
        self._opened: deque[_NamedTree] = deque()
        self._folders: list[bytes] = []
        self._times = array("q")
        self._next = 0
        self._found = self._walk()
        # What did not fit the last batch.
        self._left: list[Found] = []

    def missing(self) -> list[Trouble]:
        """
        Look at the roots, and leave out those that can't be sent.

        :return: these, by their paths in the share, and why.
        """
        missing, there = [], []
        for root in self._roots:
            try:
                why = what_is_wrong(self._status(root))
            except OSError as error:
                why = why_not(error)
            if why:
                where = root.where
                missing.append(Trouble(where if isinstance(where, bytes) else b"/".join(where[1]), why))
            else:
                there.append(root)
        self._roots = there
        return missing

    def _status(self, root: Root) -> os.stat_result:
        if isinstance(root.where, bytes):
            return os.stat(root.where)
        folders, parts = root.where
        status = folders.status(parts)
        if status is None:
            raise FileNotFoundError(errno.ENOENT, NOT_THERE)
        return status

    def next(self) -> Batch | None:
        """
        Walk on.

        :return: what comes next; ``None`` at the end.
        """
        batch = Batch(self._next)
        entries, wheres = batch.entries, batch.wheres
        room = ANNOUNCEMENT_SIZE
        left, self._left = self._left, []
        for found in chain(left, self._found):
            if found is None:
                break
            entry, where = found
            room -= len(entry.path)
            if room < 0 and entries:
                self._left = [found]
                break
            entries.append(entry)
            wheres.append(where)
            if entry.kind == FILE:
                batch.files += 1
                batch.size += entry.size
            if len(entries) == ENTRIES:
                break
        self._next += len(entries)
        batch.left_out, self._left_out = self._left_out, []
        return batch if entries or batch.left_out else None

    @property
    def has_folders(self) -> bool:
        """Whether there is a folder among what was found so far."""
        return bool(self._folders)

    def times(self, but: set[bytes]) -> Iterator[bytes]:
        """
        Make the requests that set the times of folders, from the deepest up.

        :param but: the paths of those that are not there.
        """
        part: list[tuple[bytes, int]] = []
        room = ANNOUNCEMENT_SIZE
        for path, time in zip(reversed(self._folders), reversed(self._times), strict=True):
            if path in but:
                continue
            if part and (len(part) == ENTRIES or len(path) > room):
                yield encode(SetTimes(part))
                part, room = [], ANNOUNCEMENT_SIZE
            part.append((path, time))
            room -= len(path)
        if part:
            yield encode(SetTimes(part))

    def close(self) -> None:
        """Close all that it has opened. Nothing can be opened again then."""
        self._found.close()
        while self._opened:
            self._opened.popleft().close()

    def _walk(self) -> Generator[Found, None, None]:
        for root in self._roots:
            try:
                status = self._status(root)
            except OSError as error:
                self._trouble(root.name, why_not(error))
                continue
            where = root.where
            if stat.S_ISDIR(status.st_mode):
                tree, parts = (_NamedTree(where, self._opened), ()) if isinstance(where, bytes) else where
                yield from self._tree(tree, parts, root.name)
            elif stat.S_ISREG(status.st_mode):
                yield self._file(root.name, status), where if isinstance(where, bytes) else (where[0], where[1][:-1])
            else:
                self._leave_out(root.name, what_is_wrong(status))

    def _tree(self, tree: Tree, start: tuple[bytes, ...], name: bytes) -> Generator[Found, None, None]:
        """
        Walk one tree: of each folder first the files, then the folders.

        :param name: its path as it is announced.
        """
        waiting = [(start, name)]
        while waiting:
            parts, path = waiting.pop()
            inside: list[bytes] = []
            try:
                fd = tree.open(parts)
                if path:
                    mtime = os.fstat(fd).st_mtime_ns
                    self._folders.append(path)
                    self._times.append(mtime)
                    yield Entry(FOLDER, path, 0, mtime), b""
                    # Others may have been opened meanwhile.
                    fd = tree.open(parts)
                prefix = path + b"/" if path else b""
                where = (tree, parts)
                for each in _scan(fd):
                    if len(self._left_out) >= ENTRIES:
                        yield None
                    inner = prefix + os.fsencode(each.name)
                    if each.is_symlink():
                        self._leave_out(inner, A_LINK)
                    elif each.is_dir(follow_symlinks=False):
                        inside.append(inner)
                    elif not each.is_file(follow_symlinks=False):
                        self._leave_out(inner, A_DEVICE)
                    elif each.name[0] == "." and is_temporary(os.fsencode(each.name)):
                        self._leave_out(inner, UNFINISHED)
                    else:
                        try:
                            status = each.stat(follow_symlinks=False)
                        except OSError as error:
                            self._trouble(inner, why_not(error))
                        else:
                            yield self._file(inner, status), where
            except OSError as error:
                self._trouble(path, why_not(error))
            if inside and inside[0].count(b"/") >= DEPTH_LIMIT:
                for inner in inside:
                    self._trouble(inner, f"deeper than {DEPTH_LIMIT} folders")
                continue
            inside.sort(reverse=True)
            waiting += [((*parts, inner[len(prefix) :]), inner) for inner in inside]

    @staticmethod
    def _file(path: bytes, status: os.stat_result) -> Entry:
        return Entry(FILE, path, status.st_size, status.st_mtime_ns, bool(status.st_mode & stat.S_IXUSR))

    def _leave_out(self, path: bytes, why: str) -> None:
        if why == A_LINK:
            self.links += 1
        else:
            self.others += 1
        self._left_out.append((path, why, False))

    def _trouble(self, path: bytes, why: str) -> None:
        self._left_out.append((path, why, True))
        self._room -= len(path) + len(why)
        if len(self.troubles) < ENTRIES and self._room > 0:
            self.troubles.append(Trouble(path, why))
        else:
            self.untold += 1


def _scan(fd: int) -> Iterator[os.DirEntry[str]]:
    # Entries look at it again when they are asked more, and by then it may be closed, or another folder's: between two
    # parts of the walk others are opened.
    own = os.dup(fd)
    try:
        with os.scandir(own) as found:
            while together := sorted(islice(found, SORTED_TOGETHER), key=lambda each: each.name):
                yield from together
    finally:
        os.close(own)
