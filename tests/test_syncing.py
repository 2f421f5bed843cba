"""
Waiting for the disk.
"""

from __future__ import annotations

import errno
import os
import shutil
import tempfile

from twisted.trial.unittest import SynchronousTestCase

from sodiumtwist import KeyPair
from sodiumtwist.admission.passwords import set_password
from sodiumtwist.admission.replacing import sync_directory, sync_if_possible
from sodiumtwist.contacts.keyfiles import write_key_file

from .admission.test_passwords import RIGHT


class SyncTests(SynchronousTestCase):
    """What is asked of the system, in order."""

    def setUp(self) -> None:
        self.directory = os.path.realpath(tempfile.mkdtemp(prefix="sodiumtwist-test-"))
        self.addCleanup(shutil.rmtree, self.directory)
        self.calls: list[str] = []
        self.error: OSError | None = None
        self.patch(os, "fsync", self.fsync)
        for name in ("sync", "replace"):
            self.note(name)

    def fsync(self, fd: int) -> None:
        self.calls.append(f"fsync {os.readlink(f'/proc/self/fd/{fd}')}")
        if self.error is not None:
            raise self.error

    def note(self, name: str) -> None:
        real = getattr(os, name)

        def call(*arguments: str) -> None:
            self.calls.append(name)
            real(*arguments)

        self.patch(os, name, call)

    def test_directory(self) -> None:
        """A folder is synced like a file, and the empty path is the one where we are."""
        sync_directory(self.directory)
        sync_directory("")
        self.assertEqual(self.calls, [f"fsync {self.directory}", f"fsync {os.getcwd()}"])

    def test_unreadable_directory(self) -> None:
        """One that we may write to and not read is synced with all else."""

        def refuse(*arguments: object) -> int:
            raise PermissionError(errno.EACCES, "no")

        self.patch(os, "open", refuse)
        sync_directory(self.directory)
        self.assertEqual(self.calls, ["sync"])

    def test_what_cannot(self) -> None:
        """What can't be synced is left as it is; what the disk refuses is an error."""
        fd = os.open(self.directory, os.O_RDONLY)
        self.addCleanup(os.close, fd)
        for number in (errno.EINVAL, errno.ENOTSUP):
            self.error = OSError(number, "no disk")
            sync_if_possible(fd)
        before = os.listdir("/dev/fd")
        for number in (errno.EIO, errno.ENOSPC, errno.EDQUOT):
            self.error = OSError(number, "broken")
            self.assertRaises(OSError, sync_if_possible, fd)
            self.assertRaises(OSError, sync_directory, self.directory)
        self.assertEqual(os.listdir("/dev/fd"), before)

    def test_key_file(self) -> None:
        """The disk has a new key, then its public one, then both names, before anybody hears of it; else none of it."""
        path = os.path.join(self.directory, "server.key")
        write_key_file(path, KeyPair.generate())
        self.assertEqual(self.calls, [f"fsync {path}", f"fsync {path}.pub", f"fsync {self.directory}"])
        self.error = OSError(errno.EIO, "broken")
        self.assertRaises(OSError, write_key_file, os.path.join(self.directory, "other"), KeyPair.generate())
        self.assertEqual(sorted(os.listdir(self.directory)), ["server.key", "server.key.pub"])

    def test_logins(self) -> None:
        """So has it a changed file of logins."""
        path = os.path.join(self.directory, "users")
        set_password(path, "ann", RIGHT)
        self.assertEqual(self.calls[1:], ["replace", f"fsync {self.directory}"])
        self.assertIn(f"fsync {self.directory}/.users.", self.calls[0])
