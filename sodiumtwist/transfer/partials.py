"""
What a directory keeps of uploads that broke off.
"""

from __future__ import annotations

import os
import re
from collections import Counter, deque
from threading import Lock

#: How many are kept.
PARTIALS = 100

#: How many bytes they may have together.
PARTIALS_SIZE = 16 * 1024 * 1024 * 1024


class Partials:
    """
    The broken uploads of a directory. When they are too many, or too large together, those of the login go that has
    most of that, the oldest first. So nobody can have those of others removed by breaking off uploads.

    :param directory: its path.
    :param pattern: what their names match as a whole; other files are left alone. Its group ``login``, if it has one,
        tells whose they are.
    """

    def __init__(self, directory: str, pattern: str) -> None:
        self._directory = directory
        self._pattern = re.compile(pattern)
        # The sizes by name, the oldest first; None until they are looked for.
        self._sizes: dict[str, int] | None = None
        # Uploads end in threads.
        self._lock = Lock()

    def add(self, name: str, size: int) -> list[str]:
        """
        Note a new one, which has its name already.

        :param name: its name in the directory.
        :param size: its size in bytes.
        :return: the names of those that were removed for it. The new one may be among them.
        :raises OSError: when reading the directory fails, but for lack of permission.
        """
        with self._lock:
            if self._sizes is None:
                try:
                    self._sizes = self._find()
                # One that may be written to and not be read is a good place for uploads. What comes from now on is
                # bounded all the same.
                except PermissionError:
                    self._sizes = {}
            self._sizes.pop(name, None)
            self._sizes[name] = size
            # One that no others make room for takes none of them away.
            if size > PARTIALS_SIZE:
                return self._remove(self._sizes, [name])
            if self._fits():
                return []
            # Somebody may have taken some away.
            for each in list(self._sizes):
                if not os.path.lexists(os.path.join(self._directory, each)):
                    del self._sizes[each]
            return self._remove(self._sizes, list(self._sizes))

    def _find(self) -> dict[str, int]:
        found = []
        with os.scandir(self._directory) as entries:
            for entry in entries:
                if self._pattern.fullmatch(entry.name) and entry.is_file(follow_symlinks=False):
                    status = entry.stat(follow_symlinks=False)
                    found.append((status.st_mtime_ns, entry.name, status.st_size))
        return {name: size for _, name, size in sorted(found)}

    def _fits(self) -> bool:
        assert self._sizes is not None
        return len(self._sizes) <= PARTIALS and sum(self._sizes.values()) <= PARTIALS_SIZE

    def _whose(self, name: str) -> str:
        found = self._pattern.fullmatch(name)
        return "" if found is None else found.groupdict().get("login", "")

    def _remove(self, sizes: dict[str, int], among: list[str]) -> list[str]:
        """Remove files until the others fit."""
        removed = []
        names: dict[str, deque[str]] = {}
        sums: Counter[str] = Counter()
        for name in among:
            names.setdefault(self._whose(name), deque()).append(name)
            sums[self._whose(name)] += sizes[name]
        while names and not self._fits():
            too_many = len(sizes) > PARTIALS
            # Of several that have the same, it is the one who has the oldest.
            login = max(names, key=lambda each: len(names[each]) if too_many else sums[each])
            name = names[login].popleft()
            sums[login] -= sizes.pop(name)
            if not names[login]:
                del names[login]
            try:
                os.unlink(os.path.join(self._directory, name))
            # It stays, and is not counted any more: to try it each time would remove no more of them.
            except OSError:
                continue
            removed.append(name)
        return removed
