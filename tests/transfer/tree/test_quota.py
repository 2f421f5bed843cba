"""
How much each login may store.
"""

from __future__ import annotations

import errno
import gc
import os
import threading
from collections.abc import Callable

from twisted.trial.unittest import SynchronousTestCase

from sodiumtwist.transfer.tree import quota
from sodiumtwist.transfer.tree.messages import FILE, FOLDER, HAVE, REFUSED, Announce, Entry
from sodiumtwist.transfer.tree.pieces import LAST, VOID, header
from sodiumtwist.transfer.tree.quota import BLOCK, Quotas, size_of
from sodiumtwist.transfer.tree.storing import Rules, Storing

KIB = 1024


class Floor:
    """
    What keeps some of a file system free.

    :ivar free: how many bytes may be taken.
    """

    def __init__(self, free: int) -> None:
        self.free = free

    def take(self, size: int) -> None:
        if size > self.free:
            raise OSError(errno.ENOSPC, "too little would stay free")
        self.free -= size


class QuotaTestCase(SynchronousTestCase):
    """Has a directory of its own."""

    def setUp(self) -> None:
        self.directory = self.mktemp()
        os.mkdir(self.directory)

    def write(self, path: str, size: int) -> None:
        path = os.path.join(self.directory, path)
        os.makedirs(os.path.dirname(path), exist_ok=True)
        with open(path, "wb") as file:
            file.write(b"x" * size)

    def assert_full(self, take: Callable[[int], None], size: int, number: int = errno.EDQUOT) -> None:
        error = self.assertRaises(OSError, take, size)
        self.assertEqual(error.errno, number)
        # What a client may be told of it has no path of ours.
        self.assertNotIn(self.directory, str(error))


class SizeTests(QuotaTestCase):
    """:func:`size_of`"""

    def test_sum(self) -> None:
        """All files count, also those that are not whole; what they have no room for does not, and no link."""
        self.write("ann/a", 10)
        self.write("ann/.b.0123abcd.part", 200)
        self.write("ann/deep/down/c", 3000)
        self.write("bob/d", 40_000)
        with open(os.path.join(self.directory, "ann", "holes"), "wb") as file:
            file.truncate(1 << 40)
        os.symlink("../bob", os.path.join(self.directory, "ann", "link"))
        os.symlink("../bob/d", os.path.join(self.directory, "ann", "other"))
        os.mkfifo(os.path.join(self.directory, "ann", "fifo"))
        self.assertEqual(size_of(os.path.join(self.directory, "ann")), 3210)

    def test_nothing(self) -> None:
        """What is not there takes no room."""
        self.assertEqual(size_of(os.path.join(self.directory, "nobody")), 0)
        self.write("file", 10)
        self.assertEqual(size_of(os.path.join(self.directory, "file")), 0)

    def test_vanishing(self) -> None:
        """What somebody takes away while it is looked at does not count."""
        self.write("ann/a", 10)
        self.write("ann/b", 20)
        stat = os.stat

        def look(name: str, **keywords: int) -> os.stat_result:
            if name == "a":
                raise FileNotFoundError(errno.ENOENT, "gone", name)
            return stat(name, **keywords)  # type: ignore[arg-type]

        self.patch(os, "stat", look)
        self.assertEqual(size_of(os.path.join(self.directory, "ann")), 20)


class QuotaTests(QuotaTestCase):
    """:class:`Quotas`"""

    def test_limit(self) -> None:
        """What is there counts. Up to the limit may be taken, and again what was given back."""
        self.write("ann/a", 100)
        take = Quotas(self.directory, KIB).for_login("ann")
        take(900)
        self.assert_full(take, 25)
        take(24)
        take(0)
        self.assert_full(take, 1)
        take(-100)
        self.assert_full(take, 101)
        take(100)

    def test_more_than_that(self) -> None:
        """Where there is more already, nothing is taken; what is removed helps."""
        self.write("ann/a", 3 * KIB)
        take = Quotas(self.directory, KIB).for_login("ann")
        self.assert_full(take, 1)
        take(0)
        take(-KIB)
        self.assert_full(take, 1)
        take(-2 * KIB)
        take(KIB)
        # Never below nothing, whatever is given back.
        take(-(1 << 40))
        self.assert_full(take, KIB + 1)

    def test_shared(self) -> None:
        """All sessions of a login have one quota together; others have their own."""
        quotas = Quotas(self.directory, KIB)
        first, second, other = quotas.for_login("ann"), quotas.for_login("ann"), quotas.for_login("bob")
        first(1000)
        self.assert_full(second, 25)
        second(24)
        other(KIB)

    def test_looked_for_once(self) -> None:
        """Only when it is needed, and again when nobody has had a session for a while: others may have been there."""
        looks: list[str] = []

        def look(folder: str) -> int:
            looks.append(folder)
            return 0

        self.patch(quota, "size_of", look)
        quotas = Quotas(self.directory, KIB)
        first, second = quotas.for_login("../ann"), quotas.for_login("../ann")
        # Given back before it was looked at, it is not there when it is.
        first(-10)
        self.assertEqual(looks, [])
        first(10)
        second(10)
        self.assertEqual(looks, [os.path.join(self.directory, "%2E.%2Fann")])
        del first, second
        gc.collect()
        quotas.for_login("../ann")(KIB)
        self.assertEqual(len(looks), 2)
        self.assertLessEqual(len(quotas._accounts), 1)

    def test_floor(self) -> None:
        """The file system has its say, too; what it refuses is not taken."""
        floor = Floor(BLOCK + 500)
        quotas = Quotas(self.directory, KIB, floor)
        take = quotas.for_login("ann")
        take(400)
        self.assert_full(take, 200, errno.ENOSPC)
        floor.free = 1 << 30
        take(624)
        self.assert_full(take, 1)
        self.assertEqual(floor.free, (1 << 30) - BLOCK - 624)
        # Where no login has a limit, it is what there is.
        floor.free = BLOCK + 10
        take = Quotas(self.directory, None, floor).for_login("ann")
        take(10)
        self.assert_full(take, 1, errno.ENOSPC)
        take(-5)
        self.assertEqual(floor.free, 0)
        self.assert_full(take, 0, errno.ENOSPC)
        Quotas(self.directory, None).for_login("ann")(1 << 60)

    def test_floor_of_small_ones(self) -> None:
        """What has few bytes or none takes a block of the disk: many such leave as much free as large ones."""
        floor = Floor(20 * BLOCK)
        rules = Rules(room=Quotas(self.directory, None, floor).for_login("ann"))
        storing = Storing(os.path.join(self.directory, "ann"), rules)
        self.addCleanup(storing.abandon)
        files = [Entry(FILE, b"%d" % number, 1) for number in range(20)]
        storing.announce(Announce(0, files))
        settled = storing.take([header(number, LAST, 0, 1) + b"x" for number in range(20)]).files
        self.assertEqual([each.code for each in settled], [9])
        folders = [Entry(FOLDER, b"new"), Entry(FOLDER, b"there"), Entry(FILE, b"new/a")]
        os.mkdir(os.path.join(self.directory, "ann", "there"))
        floor.free = 0
        verdicts = storing.announce(Announce(20, folders)).verdicts
        self.assertEqual([each.what for each in verdicts], [REFUSED, HAVE, REFUSED])
        self.assertNotIn("new", os.listdir(os.path.join(self.directory, "ann")))

    def test_threads(self) -> None:
        """However many take at once, they get no more than there is."""
        quotas = Quotas(self.directory, 10_000, Floor(1 << 30))
        take = quotas.for_login("ann")
        taken: list[int] = []

        def take_all() -> None:
            count = 0
            try:
                while True:
                    take(3)
                    count += 1
            except OSError:
                taken.append(count)

        threads = [threading.Thread(target=take_all) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        self.assertEqual(sum(taken), 10_000 // 3)


class OthersTests(QuotaTestCase):
    """Other processes write there, too."""

    def setUp(self) -> None:
        super().setUp()
        self.now = 0.0
        self.take = Quotas(self.directory, 100, alone=False, clock=lambda: self.now).for_login("ann")

    def test_found(self) -> None:
        """What they write is found soon, and what was removed is not counted twice."""
        self.take(40)
        self.write("ann/a", 40)
        self.write("ann/b", 50)
        self.take(10)
        self.now += quota.COUNTED_AGAIN
        self.assert_full(self.take, 20)
        os.unlink(os.path.join(self.directory, "ann", "b"))
        self.now += quota.COUNTED_AGAIN
        self.take(-50)
        self.take(60)
        self.assert_full(self.take, 1)

    def test_slow(self) -> None:
        """Where to count takes long, it is done less often."""

        def slow(folder: str) -> int:
            self.now += 1
            return 40

        self.patch(quota, "size_of", slow)
        for _ in range(2):
            self.take(60)
            self.now += quota.COUNTED_AGAIN_SHARE - 1
            self.assert_full(self.take, 60)
            self.now += 1


class GivenBackTests(QuotaTestCase):
    """What a session does not need in the end it gives back, so that the next file has it."""

    def setUp(self) -> None:
        super().setUp()
        self.quotas = Quotas(self.directory, KIB)
        self.number = 0

    def begin(self, existing: str = "rename") -> None:
        """Begin a session of ann."""
        self.take = self.quotas.for_login("ann")
        self.storing = Storing(os.path.join(self.directory, "ann"), Rules(existing=existing, room=self.take))
        self.addCleanup(self.storing.abandon)
        self.number = 0

    def announce(self, name: str, size: int) -> int:
        number, self.number = self.number, self.number + 1
        self.storing.announce(Announce(number, [Entry(FILE, name.encode(), size, number)]))
        return number

    def send(self, number: int, size: int, offset: int = 0, flags: int = LAST) -> list[int]:
        """Send so many bytes of a file; return the codes of those that are settled then."""
        outcome = self.storing.take([header(number, flags, offset, size) + b"x" * size])
        return [settled.code for settled in (*outcome.files, *self.storing.commit().files)]

    def assert_used(self, size: int) -> None:
        """Nothing but what is there counts."""
        self.assertEqual(size_of(os.path.join(self.directory, "ann")), size)
        self.assert_full(self.take, KIB - size + 1)
        self.take(KIB - size)
        self.take(size - KIB)

    def test_stored(self) -> None:
        """Files that are stored stay counted; one for which there is no room does not."""
        self.begin()
        self.assertEqual(self.send(self.announce("a", 500), 500), [0])
        self.assertEqual(self.send(self.announce("b", 600), 600), [9])
        number = self.announce("c", 700)
        self.assertEqual(self.send(number, 400, 0, 0), [])
        self.assertEqual(self.send(number, 300, 400), [9])
        self.assert_used(500)
        self.assertEqual(self.send(self.announce("d", 524), 524), [0])
        self.assert_used(KIB)

    def test_taken_back(self) -> None:
        """What its sender takes back is free again."""
        self.begin()
        number = self.announce("a", 1000)
        self.send(number, 900, 0, 0)
        self.assertEqual(self.send(number, 0, 0, LAST | VOID), [10])
        self.assert_used(0)

    def test_gone_on_with(self) -> None:
        """A partial file counts once; one that begins anew does not count beside itself."""
        for anew in (False, True):
            self.begin()
            self.send(self.announce("a", 1000), 900, 0, 0)
            self.storing.abandon()
            self.begin()
            number = self.announce("a", 1000)
            if anew:
                self.assertEqual(self.send(number, 1000), [0])
            else:
                self.assertEqual(self.send(number, 100, 900), [0])
            self.assert_used(1000)
            os.unlink(os.path.join(self.directory, "ann", "a"))
            self.take(-1000)

    def test_replaced(self) -> None:
        """What it takes the place of is free again."""
        self.begin("replace")
        self.assertEqual(self.send(self.announce("a", 400), 400), [0])
        self.assertEqual(self.send(self.announce("a", 600), 600), [0])
        self.assert_used(600)

    def test_holes(self) -> None:
        """A hole that goes, as its file is replaced or begins anew, makes no room that was not taken for it."""
        self.quotas = Quotas(self.directory, 8 * KIB)
        self.begin("replace")
        for size in (1, 5 * KIB):
            number = self.announce("a", 0)
            self.assertEqual(self.send(number, 0, 0, 0) + self.send(number, 0, 1 << 30), [0])
            self.assertEqual(self.send(self.announce("a", 0), size), [0])
        self.assertEqual(self.send(self.announce("b", 0), 4 * KIB), [9])
        number = self.announce("c", 1 << 30)
        self.send(number, 0, 0, 0)
        self.send(number, 1, (1 << 30) - 1, 0)
        self.storing.abandon()
        self.begin()
        number = self.announce("c", 1 << 30)
        self.assertEqual(self.send(number, 2 * KIB), [0])
        self.assertEqual(self.send(self.announce("d", 0), 2 * KIB), [9])

    def test_scattered(self) -> None:
        """A byte between holes takes a block."""
        self.quotas = Quotas(self.directory, 64 * KIB)
        self.begin()
        number = self.announce("a", 0)
        self.send(number, 0, 0, 0)
        codes = [code for place in range(20) for code in self.send(number, 1, 8192 * place + 100, 0)]
        self.assertEqual(codes, [9])
        self.assertEqual(self.send(number, 0, 1 << 20), [])
        number = self.announce("b", 0)
        self.send(number, 0, 0, 0)
        for place in range(10):
            self.send(number, 1, 8192 * place + 100, 0)
        self.assertEqual(self.send(number, 0, 1 << 20), [0])
        there = size_of(os.path.join(self.directory, "ann"))
        self.assertEqual(self.send(self.announce("c", 0), 64 * KIB - there), [0])

    def test_replaced_at_once(self) -> None:
        """Of several that take the place of one file, each gives back what it has replaced, and not all the first."""
        self.begin("replace")
        self.assertEqual(self.send(self.announce("a", 400), 400), [0])
        storings = []
        for _ in range(3):
            self.begin("replace")
            storings.append(self.storing)
            for number in (self.announce("a", 1), self.announce("a", 2)):
                self.storing.take([header(number, LAST, 0, 1 + number) + b"x" * (1 + number)])
        for storing in storings:
            storing.commit()
        self.assert_used(2)

    def test_no_name(self) -> None:
        """What gets no name is free again; so is what breaks off before."""
        self.begin("refuse")
        number = self.announce("a", 400)
        self.write("ann/a", 100)
        self.assertEqual(self.send(number, 400), [9])
        self.assert_used(100)
        number = self.announce("b", 400)
        self.storing.take([header(number, LAST, 0, 400) + b"x" * 400])
        self.storing.abandon()
        self.assert_used(100)
