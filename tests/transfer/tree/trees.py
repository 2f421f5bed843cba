"""
Trees of files for tests: made with all that names, times and contents can be, and compared.
"""

from __future__ import annotations

import os
import random
import stat
from collections.abc import Iterator

#: Names that have broken programs, or could. Each is one part of a path.
ODD_NAMES = (
    b"-rf",
    b"--",
    b"--help",
    b" ",
    b" leading and trailing ",
    b"new\nline",
    b"carriage\rreturn",
    b"\ttab",
    b"\x1b[31mred",
    b"\x01\x7f",
    b"\xff\xfe not UTF-8",
    b"caf\xe9",
    "café".encode(),
    "cafe\u0301".encode(),
    "\u202etxt.exe".encode(),
    "日本語".encode(),
    b"~",
    b"*",
    b"?[a-z]",
    b"'\"`$(id)",
    b"back\\slash",
    b"%2e%2e%2f",
    b"#hash#",
    b"...",
    b".hidden",
    b".a.part",
    b"a.1",
    b"a",
    b"CON",
    b"x" * 255,
    "é".encode() * 127,
)

#: How deep folders are at most.
DEEPEST = 60

#: What times files get, in nanoseconds: some odd ones, of which many are before 1970.
ODD_TIMES = (0, 1, -1, -1_000_000_000, -1_500_000_001, -(10**18), 10**18 + 123_456_789, 4_102_444_800_000_000_001)


def make_tree(path: str, files: int, seed: int = 0, mean: int = 2_000) -> None:
    """
    Make a folder of files and folders. The same arguments make the same.

    :param path: of the folder. It must not be there.
    :param files: how many.
    :param mean: the mean size of most of them, in bytes.
    """
    chance = random.Random(seed)
    root = os.fsencode(path)
    folders = [*_make_folders(root, files, chance)]
    names: dict[bytes, set[bytes]] = {folder: set(os.listdir(folder)) for folder in folders}
    # Nothing goes into these.
    full = [folder for folder in folders if not os.path.basename(folder).startswith(b"empty")]
    for number in range(files):
        folder = full[number % len(full)] if number < len(full) else chance.choice(full)
        odd = chance.choice(ODD_NAMES) if chance.random() < 0.3 else b""
        name = odd if odd and odd not in names[folder] else b"%d.bin" % number
        names[folder].add(name)
        _make_file(os.path.join(folder, name), number, mean, chance)
    for folder in sorted(folders, key=len, reverse=True):
        _set_time(folder, chance)


def _make_folders(root: bytes, files: int, chance: random.Random) -> Iterator[bytes]:
    """Make the folders: some beneath each other, some empty, and one line of them that is as deep as may be."""
    os.mkdir(root)
    yield root
    folders = [root]
    for number in range(files // 20):
        parent = chance.choice(folders)
        odd = chance.choice(ODD_NAMES)
        # Long ones could not be named any more beneath each other: the system takes paths of 4,096 bytes.
        name = odd if len(odd) < 100 and not os.path.lexists(os.path.join(parent, odd)) else b"folder %d" % number
        folders.append(os.path.join(parent, name))
        os.mkdir(folders[-1])
        yield folders[-1]
    for number in range(3):
        empty = os.path.join(chance.choice(folders), b"empty %d" % number)
        os.mkdir(empty)
        yield empty
    deep = root
    # The root is one part of its paths, and a file's name another.
    for number in range(DEEPEST - 1):
        deep = os.path.join(deep, b"d%d" % number)
        os.mkdir(deep)
        yield deep


def _make_file(path: bytes, number: int, mean: int, chance: random.Random) -> None:
    kind = chance.random()
    with open(path, "wb") as file:
        if number % 500 == 1:
            # Holes: at its beginning, within, and at its end.
            file.seek(300_000)
            file.write(chance.randbytes(5_000))
            file.seek(700_001)
            file.write(chance.randbytes(5_000))
            file.truncate(1_000_000)
        elif number % 200 == 2:
            file.write(chance.randbytes(chance.randrange(100_000, 600_000)))
        elif kind > 0.1:
            file.write(chance.randbytes(chance.randrange(1, 2 * mean)))
    if chance.random() < 0.1:
        os.chmod(path, 0o755)
    _set_time(path, chance)


def _set_time(path: bytes, chance: random.Random) -> None:
    mtime = chance.choice(ODD_TIMES) if chance.random() < 0.2 else chance.randrange(10**18, 2 * 10**18)
    # The time of access is none of ours: a read may change it.
    os.utime(path, ns=(mtime, mtime))


def differences(ours: str | bytes, theirs: str | bytes, times: bool = True) -> list[str]:
    """
    Compare two trees: kinds, contents, who may run files, and when files and folders were written to.

    :param times: whether times are looked at.
    :return: what differs, a line each. Nothing when they are equal.
    """
    return [*_differences(os.fsencode(ours), os.fsencode(theirs), b"", times)]


def _differences(ours: bytes, theirs: bytes, below: bytes, times: bool) -> Iterator[str]:
    here, there = (os.path.join(root, below) if below else root for root in (ours, theirs))
    one, other = os.lstat(here), os.lstat(there)
    shown = repr(below)
    if stat.S_IFMT(one.st_mode) != stat.S_IFMT(other.st_mode):
        yield f"{shown}: another kind"
        return
    if times and one.st_mtime_ns != other.st_mtime_ns:
        yield f"{shown}: written at {one.st_mtime_ns}, not {other.st_mtime_ns}"
    if stat.S_ISDIR(one.st_mode):
        names, others = set(os.listdir(here)), set(os.listdir(there))
        yield from (f"{os.path.join(below, name)!r}: missing" for name in sorted(names - others))
        yield from (f"{os.path.join(below, name)!r}: too much" for name in sorted(others - names))
        for name in sorted(names & others):
            yield from _differences(ours, theirs, os.path.join(below, name), times)
        return
    if (one.st_mode ^ other.st_mode) & stat.S_IXUSR:
        yield f"{shown}: another executable bit"
    with open(here, "rb") as file, open(there, "rb") as copied:
        if file.read() != copied.read():
            yield f"{shown}: other contents, of {one.st_size} and {other.st_size} bytes"


def files_below(path: str | bytes) -> Iterator[tuple[bytes, int]]:
    """The files of a tree: paths relative to it, and sizes."""
    root = os.fsencode(path)
    for folder, _, names in os.walk(root):
        for name in names:
            whole = os.path.join(folder, name)
            yield os.path.relpath(whole, root), os.lstat(whole).st_size
