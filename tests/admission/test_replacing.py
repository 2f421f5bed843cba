"""
Files that take another one's place: whose they are, and who may use them. No test needs root.
"""

from __future__ import annotations

import errno
import itertools
import os
import stat

from twisted.trial.unittest import SynchronousTestCase

from sodiumtwist.admission.replacing import status_of_replaced, take_over

#: Who replaces the file.
US = 1000
OURS = 100


def status(mode: int, uid: int, gid: int) -> os.stat_result:
    return os.stat_result((stat.S_IFREG | mode, 1, 1, 1, uid, gid, 0, 0, 0, 0))


class File:
    """
    A file that is replaced, and what the system lets its writer do.

    :param rights: what of ``owner``, ``group`` may be changed.
    """

    def __init__(self, case: SynchronousTestCase, rights: set[str]) -> None:
        self.uid, self.gid, self.mode = US, OURS, 0o600
        self.rights = rights
        #: What somebody who opens it meanwhile could do, at each moment.
        self.history = [(self.uid, self.gid, self.mode)]
        case.patch(os, "fstat", lambda fd: status(self.mode, self.uid, self.gid))
        case.patch(os, "fchown", self.chown)
        case.patch(os, "fchmod", self.chmod)

    def chown(self, fd: int, uid: int, gid: int) -> None:
        if (uid != -1 and "owner" not in self.rights) or (gid != -1 and "group" not in self.rights):
            raise PermissionError(errno.EPERM, "no")
        self.uid = self.uid if uid == -1 else uid
        self.gid = self.gid if gid == -1 else gid
        self.history.append((self.uid, self.gid, self.mode))

    def chmod(self, fd: int, mode: int) -> None:
        if self.uid != US:
            raise PermissionError(errno.EPERM, "not ours any more")
        self.mode = mode
        self.history.append((self.uid, self.gid, self.mode))


def rights(who: int, groups: set[int], status: tuple[int, int, int]) -> int:
    """What somebody may do with a file of such owner, group and mode."""
    uid, gid, mode = status
    shift = 6 if who == uid else 3 if gid in groups else 0
    return mode >> shift & 7


class TakeOverTests(SynchronousTestCase):
    """Owner, group and mode."""

    def take(self, file: File, mode: int, uid: int = 2000, gid: int = 200, most: int = 0o777) -> str | None:
        return take_over(7, status(mode, uid, gid), most)

    def test_all_kept(self) -> None:
        """By whoever may."""
        file = File(self, {"owner", "group"})
        self.assertIsNone(self.take(file, 0o4640))
        # Without the bits that change users.
        self.assertEqual((file.uid, file.gid, file.mode), (2000, 200, 0o640))

    def test_ours(self) -> None:
        """What is ours needs no right."""
        file = File(self, set())
        self.assertIsNone(self.take(file, 0o664, US, OURS))
        self.assertEqual((file.uid, file.gid, file.mode), (US, OURS, 0o664))

    def test_most(self) -> None:
        """A mode has a bound where the file holds secrets."""
        file = File(self, {"owner", "group"})
        self.take(file, 0o644, most=0o600)
        self.assertEqual(file.mode, 0o600)

    def test_told(self) -> None:
        """What is lost is told, with what the file has in its place."""
        for may, told, mode in [
            ({"group"}, "owner 2000, now 1000, mode 640", 0o640),
            (set(), "owner 2000, now 1000 and group 200, now 100, mode 600", 0o600),
            ({"owner"}, "group 200, now 100, mode 600", 0o600),
        ]:
            file = File(self, may)
            self.assertEqual(self.take(file, 0o640), told)
            self.assertEqual(file.mode, mode)

    def test_nobody_gains(self) -> None:
        """Whatever is lost, and at each moment of it: nobody but its writer may do more than with the old file."""
        people: list[tuple[int, set[int]]] = [
            (who, set(groups)) for who in (2000, 3000) for groups in ([], [OURS], [200], [OURS, 200])
        ]
        for may, group, others in itertools.product(
            (set(), {"group"}, {"owner"}, {"owner", "group"}), range(8), range(8)
        ):
            mode = 0o600 | group << 3 | others
            file = File(self, may)
            self.take(file, mode)
            for (who, groups), moment in itertools.product(people, file.history):
                # An owner may do anything: by chmod, if by nothing else.
                if who == 2000:
                    continue
                gained = rights(who, groups, moment) & ~rights(who, groups, (2000, 200, mode))
                self.assertEqual(gained, 0, (may, oct(mode), who, groups, moment))

    def test_nothing_to_take(self) -> None:
        """Without an old file the new one stays as it is."""
        file = File(self, {"owner", "group"})
        self.assertIsNone(take_over(7, None))
        self.assertEqual(len(file.history), 1)


class StatusTests(SynchronousTestCase):
    """Whose owner and mode count."""

    def test_kinds(self) -> None:
        """Those of a regular file alone: not of a link, nor of what it points to, nor of what can't be replaced."""
        where = self.mktemp()
        os.mkdir(where)
        path = os.path.join(where, "file")
        with open(path, "w"):
            pass
        os.chmod(path, 0o604)
        found = status_of_replaced(path)
        assert found is not None
        self.assertEqual(stat.S_IMODE(found.st_mode), 0o604)
        os.symlink("file", os.path.join(where, "link"))
        os.mkfifo(os.path.join(where, "fifo"))
        for name in ("link", "fifo", ".", "missing"):
            self.assertIsNone(status_of_replaced(os.path.join(where, name)), name)
