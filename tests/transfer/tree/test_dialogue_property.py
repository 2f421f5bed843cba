"""
Whatever is cut, and whenever: who goes on ends with equal trees, and nothing that was confirmed goes twice.
"""

from __future__ import annotations

import os
import random
import shutil
from dataclasses import dataclass
from typing import Any

from hypothesis import given, settings, strategies as st
from twisted.internet.defer import Deferred
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase

from sodiumtwist.transfer.tree import feeding, placing, reading, receiving, walking
from sodiumtwist.transfer.tree.names import is_temporary
from sodiumtwist.transfer.tree.pieces import PIECE_SIZE
from sodiumtwist.transfer.tree.place import Files
from sodiumtwist.transfer.tree.storing import Rules

from .ends import FilesPair, Told, walk
from .joined import Session, as_it_is
from .trees import ODD_NAMES, differences, files_below

#: More sizes than those would show nothing new: nothing, one piece, where pieces end, several of them.
SIZES = (0, 1, 10, 3_000, PIECE_SIZE - 1, PIECE_SIZE, PIECE_SIZE + 1, 2 * PIECE_SIZE, 700_000)


@dataclass(frozen=True)
class File:
    """
    One file of a tree.

    :ivar size: in bytes.
    :ivar seed: of its contents.
    :ivar hole: whether it has one.
    """

    size: int
    seed: int = 0
    mtime: int = 0
    executable: bool = False
    hole: bool = False

    def write(self, path: bytes) -> None:
        with open(path, "wb") as file:
            data = random.Random(self.seed).randbytes(self.size)
            if self.hole:
                middle = self.size // 2
                file.write(data[: middle // 2])
                file.seek(middle)
                file.write(data[middle : -self.size // 4])
                file.truncate(self.size)
            else:
                file.write(data)
        os.chmod(path, 0o700 if self.executable else 0o600)
        os.utime(path, ns=(0, self.mtime))

    @property
    def contents(self) -> tuple[int, int, bool]:
        """The same for the same bytes."""
        return (self.size, self.seed, self.hole) if self.size else (0, 0, False)


times = st.integers(-(10**18), 2 * 10**18)
files = st.builds(File, st.sampled_from(SIZES), st.integers(0, 3), times, st.booleans(), st.booleans())
names = st.one_of(st.sampled_from([b"a", b"b", b"c", b"d", b"e"]), st.sampled_from(ODD_NAMES))
#: Folders and files by their names.
trees: st.SearchStrategy[dict[bytes, Any]] = st.dictionaries(
    names, st.one_of(files, st.dictionaries(names, st.one_of(files, st.just({})), max_size=5)), min_size=1, max_size=6
)


#: A folder's files and folders, by their names.
Tree = dict[bytes, Any]
Cut = tuple[int, str]


def write_tree(path: bytes, tree: Tree) -> None:
    """Make a folder of these."""
    os.mkdir(path)
    for name, inner in tree.items():
        inside = os.path.join(path, name)
        if isinstance(inner, File):
            inner.write(inside)
        else:
            assert isinstance(inner, dict)
            write_tree(inside, inner)
    os.utime(path, ns=(0, len(tree) * 1_000_000_007))


#: How a try ends: after how many steps, and who is told of it. Who is not told was killed.
cuts = st.lists(st.tuples(st.integers(0, 40), st.sampled_from(["both", "both", "receiver", "sender"])), max_size=5)


#: Each example takes a while.
few = settings(max_examples=30)


class TreeTestCase(SynchronousTestCase):
    """Has places for trees, and takes small steps."""

    def setUp(self) -> None:
        self.place = self.mktemp()
        self.count = 0
        # So that few small files take as many steps as many large ones.
        for module, name, value in (
            (walking, "ENTRIES", 4),
            (reading, "JOB_SIZE", PIECE_SIZE + 1),
            (feeding, "JOB_SIZE", PIECE_SIZE + 1),
            (receiving, "TURN_SIZE", PIECE_SIZE + 1),
            (placing, "BATCH", 3),
        ):
            self.patch(module, name, value)

    def new_place(self) -> tuple[bytes, str]:
        """A folder for what is sent, and one for where it goes."""
        self.count += 1
        place = f"{self.place}{self.count}"
        os.mkdir(place)
        self.addCleanup(shutil.rmtree, place, ignore_errors=True)
        return os.path.join(os.fsencode(place), b"top"), os.path.join(place, "target")


class CutTests(TreeTestCase):
    """Tries to send a tree, all but the last of which are cut."""

    def send(
        self, chance: random.Random, source: bytes, target: str, rules: Rules, cuts: list[Cut], whole: bool = True
    ) -> tuple[Session, str]:
        """
        Send a tree.

        :param whole: whether to send it to the end behind the cuts.
        :return: the last session, and where the tree is by now.
        """
        confirmed: set[bytes] = set()
        for steps, lost in cuts:
            session = Session(chance, os.fsdecode(source), target, rules, confirmed)
            session.run(steps)
            if lost == "sender":
                # The receiver was killed.
                target = as_it_is(target) if os.path.isdir(target) else target
            session.cut(lost)
            self.check(session)
        if not whole:
            return session, target
        session = Session(chance, os.fsdecode(source), target, rules, confirmed)
        session.run()
        self.assertEqual(session.done, True, session.reason)
        session.end()
        self.check(session)
        return session, target

    def check(self, session: Session) -> None:
        self.assertEqual((session.sender.aborted, session.receiver.aborted, session.sent_again), ([], [], 0))

    @few
    @given(trees, cuts, st.integers(0, 1 << 32), st.sampled_from(["rename", "replace", "refuse"]), st.booleans())
    def test_equal(self, tree: Tree, cuts: list[Cut], seed: int, existing: str, sync: bool) -> None:
        source, target = self.new_place()
        write_tree(source, tree)
        rules = Rules(existing=existing, sync=sync)
        session, target = self.send(random.Random(seed), source, target, rules, cuts)
        self.assertEqual(differences(source, os.path.join(os.fsencode(target), b"top")), [])
        self.assertEqual(os.listdir(target), ["top"])
        # What is there needs nothing of its own.
        session, _ = self.send(random.Random(seed), source, target, rules, [])
        self.assertEqual({result.outcome for result in session.told.results} - {"there"}, set())
        self.assertEqual(session.told.bytes_written, 0)

    @few
    @given(
        trees,
        st.lists(st.integers(0, 40), min_size=1, max_size=4),
        st.integers(0, 1 << 32),
        st.sampled_from(["rename", "replace", "refuse"]),
        st.booleans(),
    )
    def test_at_once(self, tree: Tree, cuts: list[int], seed: int, existing: str, sync: bool) -> None:
        """
        Whoever goes on at once, while the server still works on what came before, finds nothing stored twice, and
        nothing refused. What the other session has begun stays under its temporary name, to be removed one day.
        """
        chance = random.Random(seed)
        source, target = self.new_place()
        write_tree(source, tree)
        session = None
        rules = Rules(existing=existing, sync=sync)
        for steps in [*cuts, None]:
            session = Session(chance, os.fsdecode(source), target, rules, set(), before=session)
            session.run(steps)
            if steps is not None:
                session.cut(finish=False)
        assert session is not None
        self.assertEqual(session.done, True, session.reason)
        session.end()
        self.assertEqual({result.outcome for result in session.told.results} - {"stored", "there"}, set())
        there = os.path.join(os.fsencode(target), b"top")
        for path, _ in [*files_below(there)]:
            if is_temporary(os.path.basename(path)):
                os.unlink(os.path.join(there, path))
        # To remove them has changed the times of folders.
        self.assertEqual(differences(source, there, times=False), [])

    def test_who_may_run_it(self) -> None:
        """A file of which nothing else has changed may be run when it is sent again, or not any more."""
        source, target = self.new_place()
        write_tree(source, {b"a": File(10), b"b": File(10, executable=True)})
        for mode in (0o700, 0o600):
            for name in (b"a", b"b"):
                os.chmod(os.path.join(source, name), mode)
            session, _ = self.send(random.Random(0), source, target, Rules(), [])
            self.assertEqual(differences(source, os.path.join(os.fsencode(target), b"top")), [])
        self.assertEqual({result.outcome for result in session.told.results}, {"there"})

    @few
    @given(trees, st.data(), cuts, st.integers(0, 1 << 32))
    def test_changed_meanwhile(self, tree: Tree, data: st.DataObject, cuts: list[Cut], seed: int) -> None:
        """What is sent may be another version of it each time: what is there is that of the last one."""
        chance = random.Random(seed)
        source, target = self.new_place()
        write_tree(source, tree)
        for cut in cuts:
            _, target = self.send(chance, source, target, Rules(existing="replace"), [cut], whole=False)
            paths = sorted(path for path, _ in files_below(source))
            for path in data.draw(st.lists(st.sampled_from(paths), max_size=3)) if paths else ():
                changed = os.path.join(source, path)
                data.draw(files).write(changed)
                # A change at the same time and of the same size is not seen.
                os.utime(changed, ns=(0, chance.randrange(10**18)))
        _, target = self.send(chance, source, target, Rules(existing="replace"), [])
        self.assertEqual(differences(source, os.path.join(os.fsencode(target), b"top")), [])

    @few
    @given(trees, trees, cuts, st.integers(0, 1 << 32), st.sampled_from(["rename", "replace", "refuse"]))
    def test_others_there(self, tree: Tree, others: Tree, cuts: list[Cut], seed: int, existing: str) -> None:
        """Of what was there, nothing is lost but by ``replace``; and what is refused is refused each time."""
        source, target = self.new_place()
        write_tree(source, tree)
        os.mkdir(target)
        there = os.path.join(os.fsencode(target), b"top")
        write_tree(there, others)
        session, target = self.send(random.Random(seed), source, target, Rules(existing=existing), cuts)
        there = os.path.join(os.fsencode(target), b"top")
        self.compare(tree, others, there, existing)
        refused = {result.path for result in session.told.results if result.outcome in ("refused", "failed")}
        session, _ = self.send(random.Random(seed), source, target, Rules(existing=existing), [])
        outcomes = {result.path: result.outcome for result in session.told.results if result.path not in refused}
        self.assertEqual(set(outcomes.values()) - {"there"}, set())
        self.compare(tree, others, there, existing)

    def compare(self, tree: Tree, others: Tree, there: bytes, existing: str) -> None:
        """Look for all that has to be in a folder, and for what has not."""
        expected = set(tree) | set(others)
        for name in expected.copy():
            path, ours, theirs = os.path.join(there, name), tree.get(name), others.get(name)
            if isinstance(ours, dict) and isinstance(theirs, dict):
                self.compare(ours, theirs, path, existing)
            elif ours is None or type(ours) is not type(theirs) and theirs is not None:
                # What is there stays what it is, and nothing takes its place.
                self.check_one(theirs, path)
            elif theirs is None or not isinstance(theirs, File):
                self.check_one(ours, path)
            elif isinstance(ours, File) and ours.contents == theirs.contents or existing == "replace":
                self.check_one(ours, path, executable=False)
            elif existing == "refuse":
                self.check_one(theirs, path)
            else:
                self.check_one(theirs, path)
                number = 1
                while name + b".%d" % number in tree.keys() | others.keys():
                    number += 1
                other = name + b".%d" % number
                if len(other) <= 255:
                    expected.add(other)
                    self.check_one(ours, os.path.join(there, other))
        self.assertEqual(set(os.listdir(there)), expected)

    def check_one(self, wanted: File | Tree | None, path: bytes, executable: bool = True) -> None:
        """Check that a file or folder is as it should be; of those that were there before, the bit may be another."""
        assert wanted is not None
        like = self.mktemp().encode()
        if isinstance(wanted, File):
            wanted.write(like)
            found = differences(like, path)
            if not executable:
                found = [line for line in found if "executable bit" not in line]
        else:
            write_tree(like, wanted)
            found = differences(like, path, times=False)
        self.assertEqual(found, [], path)


class EndTests(TreeTestCase):
    """The same with the ends of real connections, cut at any byte, in both directions."""

    @few
    @given(
        trees,
        st.lists(st.integers(0, 120), max_size=4),
        st.integers(0, 1 << 32),
        st.sampled_from(["store", "fetch"]),
        st.sampled_from(["rename", "replace", "refuse"]),
    )
    def test_equal(self, tree: Tree, cuts: list[int], seed: int, direction: str, existing: str) -> None:
        chance = random.Random(seed)
        source, target = self.new_place()
        os.mkdir(target)
        write_tree(source, tree)
        for steps in [*cuts, None]:
            pair = self.connect(chance, source, target, existing)
            told = Told()
            if direction == "store":
                going: Deferred[Any] = pair.client.store(walk(os.fsdecode(source)), told)
            else:
                going = pair.client.fetch([b"top"], target, existing, told)
            results: list[Any] = []
            going.addBoth(results.append)
            self.run_some(chance, pair, steps)
            if steps is None:
                self.assertNotIsInstance(results[0], Failure)
                pair.result_of(pair.client.close())
            else:
                pair.cut()
            self.assertEqual((len(results), pair.left), (1, []))
        self.assertEqual(set(told.outcomes.values()) - {"stored", "there"}, set())
        there = os.path.join(os.fsencode(target), b"l" * (direction == "store"))
        self.assertEqual(differences(source, os.path.join(there, b"top")), [])
        self.assertEqual(os.listdir(there), [b"top"])

    def connect(self, chance: random.Random, source: bytes, target: str, existing: str) -> FilesPair:
        """Connect to a server that keeps files where they go, and shares where they come from."""
        files = Files(target, existing=existing, share=os.fsdecode(os.path.dirname(source)), sync=False)
        pair = FilesPair(files, read_size=lambda: chance.choice((1, 100, 5_000, 200_000)))
        pair.flush()
        return pair

    @staticmethod
    def run_some(chance: random.Random, pair: FilesPair, most: int | None) -> None:
        """Let so many things happen, or all: on the network, or on one of the disks."""
        acts = [pair.step, pair.server_threads.work, pair.client_threads.work]
        while most is None or most > 0:
            if not any(act() for act in chance.sample(acts, 3)):
                return
            most = None if most is None else most - 1
