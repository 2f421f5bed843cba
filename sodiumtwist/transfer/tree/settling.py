"""
What becomes of files that are whole: they get their names in batches, and are settled. Thread side.
"""

from __future__ import annotations

import errno

from ...core.connection import Code
from ..disk import words_for_peer
from .charges import Charges
from .deciding import Awaited, Rules
from .folders import Folders
from .messages import LINE_LIMIT, Outcome, Settled
from .placing import REPLACE, Placing
from .quota import room_of
from .temporaries import Written


class Settling:
    """
    Settles files.

    :param rules: how they are stored.
    :ivar charges: what is taken of the room for them.
    :ivar written: how many bytes were written so far.
    """

    def __init__(self, rules: Rules) -> None:
        self.charges = Charges(rules.room)
        self.written = 0
        self._rules = rules
        self._folders: Folders | None = None
        self._placing: Placing | None = None
        # Files that wait for their names: path, digest, size, and the room of the one whose place it takes.
        self._unplaced: dict[int, tuple[bytes, bytes, int, int]] = {}
        # Where anybody counts: the room of files that have a name when those before are placed.
        self._rooms: dict[bytes, int] = {}
        self._settled: list[Settled] = []

    def open(self, folders: Folders) -> Placing:
        """Begin to put files in their places below a folder."""
        self._folders = folders
        self._placing = placing = Placing(folders, self._rules.existing, self._rules.sync, self._rules.resume)
        return placing

    def __len__(self) -> int:
        """How many files wait for their names."""
        return len(self._unplaced)

    def add(self, awaited: Awaited, written: Written, digest: bytes, size: int) -> None:
        """
        A file is whole. When a batch is full, it is placed.

        :param written: it, which waits for its name.
        :param digest: of it, or empty.
        """
        placing = self._placing
        assert placing is not None
        path = awaited.entry.path
        counts = self.charges.counts and self._rules.existing == REPLACE
        self._unplaced[awaited.number] = path, digest, size, self._replaced(awaited) if counts else 0
        placing.add(awaited.number, written)
        if placing.full:
            self.place()

    def _replaced(self, awaited: Awaited) -> int:
        """Find how much room the file has taken whose place is taken."""
        assert self._folders is not None
        path = awaited.entry.path
        there = self._rooms.get(path)
        if there is None:
            try:
                status = self._folders.status(awaited.parts)
            except OSError:
                status = None
            there = 0 if status is None else room_of(status)
        # One of the same name may follow before this one has it.
        self._rooms[path] = self.charges.taken(awaited.number)
        return there

    def place(self) -> None:
        """Put all that waits in its place."""
        if not self._unplaced:
            return
        assert self._placing is not None
        for number, name in self._placing.commit():
            path, digest, size, replaced = self._unplaced.pop(number)
            if isinstance(name, OSError):
                self.fail(number, name)
            else:
                self.charges.placed(number, replaced)
                above, slash, last = path.rpartition(b"/")
                stored = b"" if name == last else above + slash + name
                self._settled.append(Settled(number, name=stored, digest=digest, size=size))
        self._rooms.clear()

    def fail(self, number: int, error: OSError) -> None:
        """A file is not stored, and nothing is left of it."""
        self.charges.give_back(number)
        code = Code.TOO_LARGE if error.errno == errno.EFBIG else Code.STORAGE
        self._settled.append(Settled(number, code, words_for_peer(error)[:LINE_LIMIT]))

    def settle(self, settled: Settled) -> None:
        """It is known what became of a file, and it needs no name."""
        self._settled.append(settled)

    def outcome(self) -> Outcome:
        """Tell how far it is, and what became of files since the last time."""
        settled, self._settled = self._settled, []
        return Outcome(self.written, settled)

    def abandon(self) -> None:
        """Nothing more gets a name."""
        if self._placing is not None:
            self._placing.drop()
        for number in self._unplaced:
            self.charges.give_back(number)
        self._unplaced.clear()
        self._folders = self._placing = None
