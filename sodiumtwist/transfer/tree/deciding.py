"""
What shall become of each entry that is announced. Thread side.
"""

from __future__ import annotations

import errno
import os
import secrets
import stat
import time
from collections.abc import Callable
from dataclasses import dataclass

from ...core.connection import Code
from ...describe import describe_limit
from ..disk import words_for_peer
from .descriptors import HELD as DESCRIPTORS
from .digests import digest_of
from .folders import Folders, Parts
from .growing import Growing
from .messages import FILE, FOLDER, HAVE, LINE_LIMIT, REFUSED, RESUME, SEND, STREAM, Entry, Verdict
from .names import BadName, split_path, temporary_name
from .placing import NAME_TAKEN, REFUSE, REPLACE
from .present import Present, find_like, is_executable, is_like, set_executable
from .spelling import kind_of

#: How many unfinished files of one session are kept open for it to go on with them, at most. Each is a descriptor, and
#: a session that breaks off leaves one such file.
HELD = 16

#: How many bytes the paths of refused folders have together, at most, of one session. All below them is refused, too.
REFUSED_SIZE = 4 * 1024 * 1024

#: How many folders are remembered that were empty when they were made here: in them nothing need be looked for.
MADE_FOLDERS = 256

_SEND = Verdict(SEND)
_HAVE = Verdict(HAVE)


@dataclass(frozen=True)
class Rules:
    """
    How files are stored.

    :ivar existing: what is done where a file of that name is there: ``rename``, ``replace`` or ``refuse``.
    :ivar max_size: how many bytes a file may have.
    :ivar sync: whether the disk has a file before it is settled.
    :ivar dry: whether nothing is stored, and only told what would be.
    :ivar digests: whether to tell the digest of each file that is stored.
    :ivar resume: whether what is there already of a file may be used.
    :ivar room: asked before so many bytes are written, and with 0 before a folder is made; raises :exc:`OSError` when
        there is no room for them.
    """

    existing: str = "rename"
    max_size: int = (1 << 63) - 1
    sync: bool = True
    dry: bool = False
    digests: bool = False
    resume: bool = True
    room: Callable[[int], None] | None = None


class Awaited:
    """
    A file that is to be sent.

    :ivar parts: of its path.
    :ivar offset: how many bytes the sender was told to be there.
    :ivar growing: where these are, when they are of an unfinished file; it is open.
    :ivar present: where these are, when they are a whole file.
    :ivar failed: whether it has failed here, while it is still sent.
    """

    __slots__ = ("entry", "failed", "growing", "number", "offset", "parts", "present")

    def __init__(self, number: int, entry: Entry, parts: Parts) -> None:
        self.number = number
        self.entry = entry
        self.parts = parts
        self.offset = 0
        self.growing: Growing | None = None
        self.present: Present | None = None
        self.failed = False


class Deciding:
    """
    Looks at what is there, and decides. Folders are made at once.

    :param folders: where files are stored; ``None`` where that is missing and nothing is stored.
    :param new: whether the folder itself was made just now.
    :ivar held: how many unfinished files are open.
    """

    def __init__(self, folders: Folders | None, rules: Rules, new: bool = False) -> None:
        self.held = 0
        self._folders = folders
        self._rules = rules
        self._refused: set[Parts] = set()
        self._refused_size = 0
        # Folders that were made here: nothing can be in them that we have not put there.
        self._made: set[Parts] = {()} if new else set()

    def decide(self, number: int, entry: Entry) -> tuple[Verdict, Awaited | None]:
        """
        Decide on one entry.

        :param number: of the entry.
        :return: and what to keep of a file that is to be sent.
        """
        try:
            if entry.kind == STREAM and not entry.path:
                parts: Parts = (_own_name(),)
            else:
                parts = split_path(entry.path)
            if self._refused:
                self._check_folders(parts)
            if entry.kind == FOLDER:
                return self._decide_folder(parts), None
            if entry.size > self._rules.max_size:
                return Verdict(REFUSED, code=Code.TOO_LARGE, text=too_large(self._rules.max_size)), None
            awaited = Awaited(number, entry, parts)
            verdict = self._decide_file(awaited)
            return verdict, None if verdict.what in (HAVE, REFUSED) else awaited
        except BadName as error:
            return refused(str(error)), None
        except OSError as error:
            if entry.kind == FOLDER:
                self._note_refused(parts)
            return refused(words_for_peer(error)), None

    def hold(self, count: int) -> None:
        """Note that so many unfinished files more are open; fewer when it is negative."""
        self.held += count
        DESCRIPTORS.add(count)

    def _check_folders(self, parts: Parts) -> None:
        for depth in range(1, len(parts)):
            if parts[:depth] in self._refused:
                raise OSError(errno.ENOTDIR, "its folder was refused")

    def _note_refused(self, parts: Parts) -> None:
        # Beyond that, what is below is refused for what is wrong with its folder itself, nearly always.
        size = sum(map(len, parts))
        if self._refused_size + size <= REFUSED_SIZE:
            self._refused_size += size
            self._refused.add(parts)

    def _decide_folder(self, parts: Parts) -> Verdict:
        folders = self._folders
        if folders is None:
            return _HAVE
        if self._rules.dry:
            status = folders.status(parts)
            if status is not None and not stat.S_ISDIR(status.st_mode):
                raise NotADirectoryError(errno.ENOTDIR, f"{kind_of(status.st_mode)} is there, and no folder")
            return _HAVE
        room = self._rules.room
        if room is not None and folders.status(parts) is None:
            room(0)
        if folders.make(parts):
            if len(self._made) >= MADE_FOLDERS:
                self._made.clear()
            self._made.add(parts)
        return _HAVE

    def _decide_file(self, awaited: Awaited) -> Verdict:
        folders, rules, parts = self._folders, self._rules, awaited.parts
        if folders is None:
            return _SEND
        above = parts[:-1]
        if not rules.dry:
            # Else it is missed when the bytes are there.
            self._open_above(folders, above)
            if above in self._made:
                return _SEND
        entry = awaited.entry
        status = folders.status(parts)
        if status is not None and not stat.S_ISREG(status.st_mode):
            raise OSError(errno.EEXIST, f"{kind_of(status.st_mode)} is there, and no file")
        is_file = entry.kind == FILE
        found = None
        if status is not None and rules.resume and is_file:
            found = find_like(folders, parts, entry, status, rules.existing == REPLACE)
            if found is not None and is_like(found[1], entry):
                same, status = found
                if not rules.dry:
                    if is_executable(status) != entry.executable:
                        set_executable(folders, same, entry.executable)
                    folders.note_changed(above)
                return _HAVE if same == parts else Verdict(HAVE, name=b"/".join(same))
            if rules.existing == REFUSE and found is not None and found[0] != parts:
                # Nothing of ours gets another name there, and all would be sent to be refused.
                found = None
        verdict = self._look_for_rest(folders, awaited, rules.resume and is_file)
        if verdict is not None:
            return verdict
        if status is None:
            return _SEND
        if found is not None:
            present = Present(folders, found[0])
            awaited.present, awaited.offset = present, entry.size
            # Of an empty file there is nothing to compare.
            return Verdict(RESUME, entry.size, present.digest) if entry.size else _SEND
        if rules.existing == REFUSE:
            raise FileExistsError(errno.EEXIST, NAME_TAKEN)
        return _SEND

    def _open_above(self, folders: Folders, above: Parts) -> None:
        try:
            folders.open(above)
        except FileNotFoundError:
            raise FileNotFoundError(errno.ENOENT, "its folder is missing") from None

    def _look_for_rest(self, folders: Folders, awaited: Awaited, resume: bool) -> Verdict | None:
        """Look for an unfinished file, which is dropped when it can't be used."""
        parts, size = awaited.parts, awaited.entry.size
        status = folders.status((*parts[:-1], temporary_name(parts[-1])))
        if status is None:
            return None
        full = self.held >= HELD or (self.held > 0 and DESCRIPTORS.too_many)
        usable = resume and 0 < status.st_size <= size and not full
        if self._rules.dry:
            return self._look_at_rest(folders, parts, status.st_size) if usable else None
        if full:
            return None
        growing = Growing(folders, parts, awaited.entry.executable, usable, self._rules.digests)
        # Another session may have it, and then this one is new.
        if not usable or not 0 < growing.size <= size:
            growing.remove()
            return None
        awaited.offset = growing.size
        try:
            verdict = Verdict(RESUME, growing.size, growing.digest())
        except OSError:
            growing.keep()
            raise
        self.hold(1)
        awaited.growing = growing
        return verdict

    def _look_at_rest(self, folders: Folders, parts: Parts, size: int) -> Verdict | None:
        """Look at an unfinished file, as it is: to open it to be written to would lock it, or make another one."""
        try:
            fd = folders.open_file((*parts[:-1], temporary_name(parts[-1])))
        except OSError:
            return None
        try:
            return Verdict(RESUME, size, digest_of(fd, size, folders.check_wanted))
        finally:
            os.close(fd)


def too_large(limit: int) -> str:
    """Say that a file has too many bytes."""
    return f"it is larger than {describe_limit(limit)}"


def refused(text: str) -> Verdict:
    """Make the verdict on what can't be stored, and say why."""
    return Verdict(REFUSED, code=Code.STORAGE, text=text[:LINE_LIMIT])


def _own_name() -> bytes:
    """Name a stream that has no name."""
    return f"{time.strftime('%Y%m%dT%H%M%SZ', time.gmtime())}-{secrets.token_hex(4)}".encode()
