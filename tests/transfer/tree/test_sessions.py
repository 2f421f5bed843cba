"""
Two real ends of the file dialogue, back to back, with real files.
"""

from __future__ import annotations

from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from sodiumtwist.transfer.tree.place import Files

from .ends import FilesPair, Told, make_tree, tree, walk

TREE = {"a.txt": b"first", "empty": b"", "deep/er/b.bin": b"b" * 300_000, "void/": b"", "deep/c": b"c" * 5000}


class StoreTests(SynchronousTestCase):
    """A folder is stored."""

    def test_folder(self) -> None:
        here = make_tree(Path(self.mktemp()) / "photos", TREE)
        there = Path(self.mktemp())
        there.mkdir()
        pair = FilesPair(Files(str(there)))
        told = Told()
        place = pair.result_of(pair.client.store(walk(here), told))
        self.assertEqual(place.keeps, "files")
        self.assertEqual(tree(there / "l" / "photos"), tree(here))
        self.assertEqual(set(told.outcomes.values()), {"stored"})
        self.assertEqual(pair.result_of(pair.client.close()), None)
        self.assertEqual((pair.factory.receiving, pair.server_threads.open, pair.client_threads.open), (set(), [], []))

    def test_again(self) -> None:
        """What is there is not sent a second time, on the same connection or another one."""


class FetchTests(SynchronousTestCase):
    """A folder is fetched."""

    def test_folder(self) -> None:
        share, into = Path(self.mktemp()), Path(self.mktemp())
        into.mkdir()
        shared = make_tree(share / "photos", TREE)
        pair = FilesPair(Files(share=str(share)))
        told = Told()
        fetched = pair.result_of(pair.client.fetch([b"photos", b"missing", b"../x"], str(into), report=told))
        self.assertEqual(tree(into / "photos"), tree(shared))
        self.assertEqual(set(told.outcomes.values()), {"stored"})
        self.assertEqual([trouble.path for trouble in fetched.missing], [b"../x", b"missing"])
        pair.result_of(pair.client.close())
        self.assertEqual((pair.factory.receiving, pair.server_threads.open, pair.client_threads.open), (set(), [], []))

    def test_list(self) -> None:
        share = Path(self.mktemp())
        make_tree(share, TREE)
        pair = FilesPair(Files(share=str(share)))
        listing = pair.result_of(pair.client.list())
        self.assertEqual([entry.name for entry in listing.entries], [b"a.txt", b"deep", b"empty", b"void"])
