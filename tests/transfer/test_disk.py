"""
What uploads ask of the disk.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Callable

from twisted.trial.unittest import SynchronousTestCase

from sodiumtwist.transfer.disk import DISK_CALLS, LEAST_FREE, ROOM_STEP, DiskThreads, Room


class Pool:
    """Threads that do their work when the test says so."""

    def __init__(self) -> None:
        self.works: list[Callable[[], None]] = []

    def callInThreadWithCallback(self, tell: Callable[[bool, object], None], work: Callable[[], object]) -> None:
        self.works.append(lambda: tell(True, work()))


class ThreadReactor:
    """A reactor that has them."""

    def __init__(self) -> None:
        self.pool = Pool()

    def getThreadPool(self) -> Pool:
        return self.pool

    def callFromThread(self, call: Callable[..., object], *arguments: object) -> None:
        call(*arguments)


class ThreadTests(SynchronousTestCase):
    """:class:`DiskThreads`"""

    def test_bounded(self) -> None:
        """So many at once; the others come when one of these is done."""
        reactor = ThreadReactor()
        threads = DiskThreads(reactor)
        calls = [threads(lambda number=number: number) for number in range(DISK_CALLS + 2)]  # type: ignore[misc]
        for number, call in enumerate(calls):
            self.assertEqual(len(reactor.pool.works), min(DISK_CALLS, len(calls) - number))
            self.assertNoResult(call)
            reactor.pool.works.pop(0)()
            self.assertEqual(self.successResultOf(call), number)


class RoomTests(SynchronousTestCase):
    """:class:`Room`"""

    def setUp(self) -> None:
        self.free, self.size, self.looks = 0, 0, 0
        self.patch(os, "statvfs", self.statvfs)

    def statvfs(self, path: str) -> os.statvfs_result:
        self.assertEqual(path, "there")
        self.looks += 1
        blocks = [4096, 4096, self.size // 4096, self.free // 4096, self.free // 4096]
        return os.statvfs_result([*blocks, 0, 0, 0, 0, 0])

    def assert_full(self, room: Room, size: int) -> None:
        error = self.assertRaises(OSError, room.take, size)
        self.assertEqual(error.errno, errno.ENOSPC)
        self.assertIn("would stay free, see --min-free", error.strerror)

    def test_default(self) -> None:
        """A gibibyte, but of a small file system one part in twenty."""
        for size, least in ((1 << 40, LEAST_FREE), (10 << 30, (10 << 30) // 20)):
            self.size, self.free = size, least + (1 << 20)
            room = Room("there")
            room.take(1 << 19)
            self.free -= 1 << 19
            self.assert_full(room, 1 << 20)
            self.free = least - 4096
            self.assert_full(Room("there"), 0)

    def test_looks_seldom(self) -> None:
        """Not for each payload, but early enough: what was written is less than was free."""
        self.size, self.free = 1 << 40, 64 * ROOM_STEP
        room, taken = Room("there", 32 * ROOM_STEP), 0
        while True:
            try:
                room.take(ROOM_STEP // 128)
            except OSError:
                break
            taken += ROOM_STEP // 128
            self.free = 64 * ROOM_STEP - taken
        self.assertTrue(31 * ROOM_STEP < taken <= 32 * ROOM_STEP)
        self.assertLess(self.looks, 50)

    def test_room_again(self) -> None:
        """When something was removed, uploads go on."""
        self.size = 1 << 40
        room = Room("there", 1 << 20)
        self.assert_full(room, 1)
        self.free = 1 << 30
        room.take(1)

    def test_unknown(self) -> None:
        """A file system that knows nothing of itself has room, and so has any without a floor."""
        Room("there").take(100)
        self.size = 1 << 40
        Room("there", 0).take(100)
        Room("there", 0).take(2 * ROOM_STEP)
