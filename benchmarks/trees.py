"""
A folder of many small files that is copied by whole programs, from a RAM disk to the same: ``sodiumtwist send`` to
``twistd sodium --directory``, ``scp -r``, and rsync to its daemon without encryption.
"""

from __future__ import annotations

import filecmp
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from functools import partial
from typing import Any

from . import files
from .files import Copying, Rsync, Scp, Sodiumtwist
from .payloads import payload
from .plan import Plan
from .tables import Figure, Table, in_turn, progress


class CopyingTree(Copying):
    """
    A folder with folders of files of one size.

    :param directory: a directory on a RAM disk.
    :param folders: how many.
    :param each: how many files each of them has.
    :param size: of a file, in bytes.
    """

    tree = True

    def __init__(self, directory: str, folders: int, each: int, size: int) -> None:
        self._folders, self._each = folders, each
        super().__init__(directory, size)

    def _names(self, at: str, folder: int) -> tuple[str, list[str]]:
        return os.path.join(at, f"{folder:03}"), [f"{number:05}" for number in range(self._each)]

    def _make(self) -> None:
        block = payload(self._size)
        for folder in range(self._folders):
            directory, names = self._names(self.source, folder)
            os.makedirs(directory)
            for name in names:
                with open(os.path.join(directory, name), "wb") as file:
                    # Each its own, so that none passes for another.
                    file.write((f"{folder}/{name} ".encode() + block)[: self._size])

    def _equal(self, copied: str) -> bool:
        if not os.path.isdir(copied) or len(os.listdir(copied)) != self._folders:
            return False
        for folder in range(self._folders):
            (here, names), (there, _) = self._names(self.source, folder), self._names(copied, folder)
            if os.path.isdir(there) and sorted(os.listdir(there)) != names:
                return False
            if filecmp.cmpfiles(here, there, names, shallow=False)[0] != names:
                return False
        return True

    def _remove(self, copied: str) -> None:
        shutil.rmtree(copied)

    def _figure(self, **told: Any) -> Figure:
        return Figure.of_pieces(self._folders * self._each, **told)


#: Names of the rows, by their keys.
NAMES = {"sodiumtwist": "sodiumtwist send", "scp": "scp -r", "rsync": "rsync -a to its daemon, not encrypted"}


def run(plan: Plan, keys: Sequence[str] | None = None) -> Iterator[Table]:
    """
    Take all figures of this module.

    :param plan: how much to measure.
    :param keys: the keys of the programs; ``None`` for all of them.
    """
    if keys is not None and not set(keys) & set(NAMES):
        return
    directory = files.ram_disk()
    each = plan.tree_files // plan.tree_folders
    what = f"{each * plan.tree_folders:,} files of {plan.tree_file_bytes:,} bytes in {plan.tree_folders} folders"
    with tempfile.TemporaryDirectory(prefix="sodiumtwist-bench-", dir=directory) as place, ExitStack() as stack:
        progress(f"trees, {what}")
        copying = CopyingTree(place, plan.tree_folders, each, plan.tree_file_bytes)
        ours, scp, rsync = Sodiumtwist(copying, stack, directory=True), Scp(copying, stack), Rsync(copying, stack)
        ways: dict[str, Callable[[], Figure]] = {
            "sodiumtwist": partial(ours.copy, 2),
            "scp": scp.copy,
            "rsync": rsync.copy,
        }
        kind = "a RAM disk" if directory else "a disk"
        title = f"{what}, from {kind} to it, whole processes, not synced"
        table = Table("trees", title, "files/s", cpu_unit="s per 1,000 files", wire_unit="bytes per file")
        measure = {key: way for key, way in ways.items() if keys is None or key in keys}
        in_turn(table, measure, plan.rounds, plan.warm_up, NAMES)
        files.tell_cipher(table, scp)
        yield table
        if "sodiumtwist" in measure:
            yield files.memory("trees-memory", what, ours)
