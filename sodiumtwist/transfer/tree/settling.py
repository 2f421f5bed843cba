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
from .placing import Placing
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
        self._placing: Placing | None = None
        # Files that wait for their names, with path and digest.
        self._unplaced: dict[int, tuple[bytes, bytes, Written]] = {}
        self._settled: list[Settled] = []

    def open(self, folders: Folders) -> Placing:
        """Begin to put files in their places below a folder."""
        self._placing = placing = Placing(folders, self._rules.existing, self._rules.sync, self._rules.resume)
        return placing

    def __len__(self) -> int:
        """How many files wait for their names."""
        return len(self._unplaced)

    def add(self, awaited: Awaited, written: Written, digest: bytes) -> None:
        """
        A file is whole. When a batch is full, it is placed.

        :param written: it, which waits for its name.
        :param digest: of it, or empty.
        """
        placing = self._placing
        assert placing is not None
        self._unplaced[awaited.number] = awaited.entry.path, digest, written
        placing.add(awaited.number, written)
        if placing.full:
            self.place()

    def place(self) -> None:
        """Put all that waits in its place."""
        if not self._unplaced:
            return
        assert self._placing is not None
        for number, name in self._placing.commit():
            path, digest, written = self._unplaced.pop(number)
            if isinstance(name, OSError):
                self.fail(number, name)
            else:
                self.charges.placed(number, written.replaced)
                above, slash, last = path.rpartition(b"/")
                stored = b"" if name == last else above + slash + name
                self._settled.append(Settled(number, name=stored, digest=digest, size=written.size))

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
        self._placing = None
