"""
Two real ends of the file dialogue, back to back, with real files.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Generator
from pathlib import Path
from typing import Any

from twisted.internet import reactor
from twisted.internet.defer import Deferred, inlineCallbacks
from twisted.internet.endpoints import TCP4ClientEndpoint, TCP4ServerEndpoint
from twisted.internet.error import ConnectionAborted
from twisted.logger import formatEvent
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase, TestCase

from sodiumtwist import (
    ClosedByPeer,
    ClosedHere,
    ConnectionCut,
    LocalProtocolError,
    PeerAborted,
    RequestFailed,
    SingleLogin,
    SodiumClientFactory,
)
from sodiumtwist.core.connection import Code
from sodiumtwist.transfer import FileClient, Files, UploadFactory
from sodiumtwist.transfer.tree.delivery import Delivery
from sodiumtwist.transfer.tree.receiving import WAITING_LIMIT
from sodiumtwist.transfer.tree.sending import Stream
from sodiumtwist.transfer.tree.walking import Walk

from ...logs import logged
from ...uploads import PAIR, ListSource, MemoryStore
from .ends import FilesPair, Told, make_tree, tree, walk

TREE = {"a.txt": b"first", "empty": b"", "deep/er/b.bin": b"b" * 300_000, "void/": b"", "deep/c": b"c" * 5000}

#: Small, so that a cut at each read is soon done; the large file takes several DATA.
SMALL_TREE = {"one/a": b"a" * 700, "one/b": b"", "two/": b"", "two/c": b"c" * 150_000, "z": b"zz"}


class SessionTestCase(SynchronousTestCase):
    def setUp(self) -> None:
        base = Path(self.mktemp())
        self.here, self.kept, self.share = base / "here" / "photos", base / "kept", base / "share"
        for folder in (self.kept, self.share):
            folder.mkdir(parents=True)
        self.files = Files(str(self.kept), share=str(self.share))
        self.there = self.kept / "l" / "photos"

    def connect(self) -> FilesPair:
        pair = FilesPair(self.files)
        pair.flush()
        return pair

    def store(self, pair: FilesPair, told: Told | None = None, **arguments: Any) -> Deferred[Any]:
        return pair.client.store(walk(self.here), told, **arguments)

    def assert_over(self, pair: FilesPair) -> None:
        """Nothing is left of a connection."""
        self.assertEqual(pair.left, [])
        self.assertIsNone(self.successResultOf(pair.client.lost))
        self.assertIsNone(pair.server._session)

    def close(self, pair: FilesPair) -> None:
        """Close in order."""
        self.assertIsNone(pair.result_of(pair.client.close()))
        self.assert_over(pair)


class StoreTests(SessionTestCase):
    """A folder is stored."""

    def setUp(self) -> None:
        super().setUp()
        make_tree(self.here, TREE)

    def test_folder(self) -> None:
        pair, told = self.connect(), Told()
        place = pair.result_of(self.store(pair, told))
        self.assertEqual(place.keeps, "files")
        self.assertEqual(tree(self.there), tree(self.here))
        self.assertEqual(set(told.outcomes.values()), {"stored"})
        self.assertEqual(told.bytes_written, 305_005)
        self.close(pair)

    def test_again(self) -> None:
        """What is there is not sent a second time: on the same connection, and on another one."""
        pair = self.connect()
        pair.result_of(self.store(pair))
        for _ in range(2):
            told = Told()
            pair.result_of(self.store(pair, told))
            self.assertEqual((set(told.outcomes.values()), told.bytes_written), ({"there"}, 0))
            self.close(pair)
            pair = self.connect()

    def test_stream(self) -> None:
        """What has no size is stored under its name, or under one that the server finds."""
        pair, named, unnamed = self.connect(), Told(), Told()
        pair.result_of(pair.client.store(Stream(ListSource([b"abc", b"def"]), b"backup"), named))
        pair.result_of(pair.client.store(Stream(ListSource([b"ghi"]), b""), unnamed))
        self.assertEqual(named.outcomes, {b"backup": "stored"})
        (result,) = unnamed.results.values()
        found = {path.name: path.read_bytes() for path in (self.kept / "l").iterdir()}
        self.assertEqual(found, {"backup": b"abcdef", os.fsdecode(result.name): b"ghi"})
        self.close(pair)

    def test_dry(self) -> None:
        """Nothing is made, not even the folder of the login."""
        pair, told = self.connect(), Told()
        pair.result_of(self.store(pair, told, dry=True))
        self.assertEqual(set(told.outcomes.values()), {"would send"})
        self.assertEqual(list(self.kept.iterdir()), [])
        self.close(pair)

    def test_log_of_a_dry_run(self) -> None:
        pair = self.connect()
        events = logged(self)
        pair.result_of(self.store(pair, dry=True))
        line = f"files of 'l' from 192.0.2.1:4711: stored 0 files, 0 B; 4 would have been, in {self.kept / 'l'}"
        self.assertEqual([formatEvent(event) for event in events], [line])

    def test_digests(self) -> None:
        pair, told = self.connect(), Told()
        pair.result_of(self.store(pair, told, digests=True))
        self.assertEqual({len(result.digest) for result in told.results.values()}, {64})

    def test_log(self) -> None:
        """One line a store; a single file is named."""
        pair = self.connect()
        events = logged(self)
        pair.result_of(self.store(pair))
        pair.result_of(pair.client.store(walk(self.here / "a.txt")))
        pair.result_of(self.store(pair))
        where = self.kept / "l"
        self.assertEqual(
            [formatEvent(event) for event in events],
            [
                f"files of 'l' from 192.0.2.1:4711: stored 4 files, 305.0 kB, in {where}",
                f"files of 'l' from 192.0.2.1:4711: stored a.txt, 5 B, in {where}",
                f"files of 'l' from 192.0.2.1:4711: stored 0 files, 0 B; 4 were there already, in {where}",
            ],
        )


class BrokenOffTests(SessionTestCase):
    """It is broken off wherever it is, in whatever way; the next connection goes on."""

    def setUp(self) -> None:
        super().setUp()
        make_tree(self.here, SMALL_TREE)
        make_tree(self.share / "photos", SMALL_TREE)
        self.into = self.kept / "into"
        self.into.mkdir()

    def each_time(self, fetches: bool, break_off: Callable[[FilesPair], object], *errors: type[Exception]) -> None:
        """
        Break off behind each step of a store or a fetch, one after the other, and then begin anew.

        :param break_off: does that; what follows from it is let come about.
        :param errors: what it may fail with.
        """
        for steps in range(1000):
            pair, told = self.connect(), Told()
            results: list[object] = []
            self.begin(pair, told, fetches).addBoth(results.append)
            for _ in range(steps):
                pair.advance()
            break_off(pair)
            pair.settle()
            self.check(told, self.into if fetches else self.kept / "l")
            (result,) = results
            if isinstance(result, Failure):
                result.trap(*errors)
            if not pair.client.lost.called:
                pair.client.close().addErrback(lambda reason: None)
                pair.settle()
            self.assert_over(pair)
            if not isinstance(result, Failure):
                break
        made = self.into / "photos" if fetches else self.there
        self.assertEqual(tree(made), tree(self.here))

    def begin(self, pair: FilesPair, told: Told, fetches: bool) -> Deferred[Any]:
        if fetches:
            return pair.client.fetch([b"photos"], str(self.into), report=told)
        return self.store(pair, told)

    def check(self, told: Told, there: Path) -> None:
        """What was settled as stored is whole and in its place."""
        for path, result in told.results.items():
            self.assertIn(result.outcome, ("stored", "there"), result)
            inner = self.here.parent / os.fsdecode(path)
            self.assertEqual((there / os.fsdecode(result.name)).read_bytes(), inner.read_bytes())

    def test_cut(self) -> None:
        self.each_time(False, FilesPair.cut, ConnectionCut)

    def test_cut_while_fetching(self) -> None:
        self.each_time(True, FilesPair.cut, ConnectionCut)

    def test_closed_by_client(self) -> None:
        """In order: both ends say so, and nobody waits for what does not come any more."""
        self.each_time(False, lambda pair: pair.client.close(), ClosedHere)

    def test_closed_by_client_while_fetching(self) -> None:
        self.each_time(True, lambda pair: pair.client.close(), ClosedHere, RequestFailed)

    def test_broken_off_by_client(self) -> None:
        self.each_time(False, lambda pair: pair.client.abort(), ClosedHere, ConnectionAborted)

    def test_server_is_stopping(self) -> None:
        """It has cut off who took longer than it waits."""

        def stop(pair: FilesPair) -> None:
            pair.server.abort_with(Code.SHUTTING_DOWN, "the server is stopping", LocalProtocolError("stopping"))

        self.each_time(False, stop, PeerAborted)
        self.into.rmdir()
        self.into.mkdir()
        # Of what it was sending when nothing was taken, nothing more leaves.
        self.each_time(True, stop, PeerAborted, ConnectionCut)

    def test_server_is_about_to_stop(self) -> None:
        """What is under way goes on, and nothing new is announced."""
        self.each_time(False, lambda pair: pair.server.drain(), ClosedByPeer, RequestFailed)

    def test_what_was_announced_goes_on(self) -> None:
        """It is stored, though nothing can be asked any more; that not all may be done is told."""
        pair, told = self.connect(), Told()
        stored = self.store(pair, told)
        while not told.begun:
            pair.advance()
        pair.server.drain()
        pair.settle()
        self.failureResultOf(stored, ClosedByPeer)
        self.assertEqual(set(told.outcomes.values()), {"stored"})
        self.assertEqual(len(told.outcomes), 4)
        self.assert_over(pair)

    def test_all_was_announced(self) -> None:
        """
        Of files alone nothing is missing when they are settled. So nobody sends them again, least of all a stream, of
        which a second one would be stored.
        """
        made: list[Callable[[], Walk | Stream]] = [
            lambda: walk(self.here / "one" / "a"),
            lambda: Stream(ListSource([b"abc", b"def"]), b"stream"),
        ]
        for find in made:
            pair, told = self.connect(), Told()
            stored = pair.client.store(find(), told)
            while not told.begun:
                pair.advance()
            pair.server.drain()
            pair.settle()
            self.successResultOf(stored)
            self.assertEqual(set(told.outcomes.values()), {"stored"})
            self.close(pair)

    def test_server_is_about_to_stop_while_fetching(self) -> None:
        self.each_time(True, lambda pair: pair.server.drain(), RequestFailed)


class BoundTests(SessionTestCase):
    """Whoever is slow is not waited for with more than a few megabytes."""

    SIZE = 20_000_000

    def setUp(self) -> None:
        super().setUp()
        for folder in (self.here, self.share):
            make_tree(folder, {})
            with open(folder / "large", "wb") as file:
                for number in range(self.SIZE // 1_000_000):
                    file.write(bytes([number]) * 1_000_000)

    def wait_an_hour(self, pair: FilesPair) -> None:
        """Nobody takes the other end for dead, though none of them has anything to say but PINGs and PONGs."""
        for _ in range(120):
            pair.clock.advance(30)
            while pair.step():
                pass
        self.assertTrue(pair.server.is_authenticated and pair.client.is_authenticated)

    def test_looks_long(self) -> None:
        """What is there of a large file may take long to be read, until an announcement is answered."""
        pair = self.connect()
        stored = self.store(pair)
        while not any(thread.calls for thread in pair.server_threads.made):
            pair.advance()
        self.wait_an_hour(pair)
        pair.settle()
        self.successResultOf(stored)

    def test_client_reads_nothing(self) -> None:
        """What it fetches is read as far as it takes it."""
        pair, told = self.connect(), Told()
        into = self.kept / "into"
        into.mkdir()
        fetched = pair.client.fetch([b""], str(into), report=told)
        while not told.begun:
            pair.advance()
        while pair._move(pair.client_transport, pair.server_transport) or pair.server_threads.work():
            pass
        assert pair.server._session is not None
        work = pair.server._session._work
        assert isinstance(work, Delivery) and work._sending is not None
        read = work._sending._feed.size
        self.assertLess(read, 5_000_000)
        self.assertLess(pair.server.left_unread(), 1_000_000)
        pair.settle()
        self.successResultOf(fetched)
        self.assertEqual((into / "large").read_bytes(), (self.share / "large").read_bytes())

    def test_disk_of_server_hangs(self) -> None:
        """Of what a client sends, as much is received as may wait for the disk."""
        pair = self.connect()
        stored = self.store(pair)
        while pair.server_transport.received < 100_000:
            pair.advance()
        while pair.step() or pair.client_threads.work():
            pass
        self.assertNoResult(stored)
        self.assertLess(pair.server_transport.received, WAITING_LIMIT + 500_000)
        self.wait_an_hour(pair)
        pair.settle()
        self.successResultOf(stored)
        self.assertEqual((self.there / "large").read_bytes(), (self.here / "large").read_bytes())


class LoopbackTests(TestCase):
    """Over TCP, with threads."""

    @inlineCallbacks
    def test_there_and_back(self) -> Generator[Deferred[Any], Any, None]:
        """Stored, stored again, and fetched, on one connection."""
        base = Path(self.mktemp())
        here = make_tree(base / "photos", {**TREE, **{f"many/{number}": b"%d" % number for number in range(300)}})
        kept, into = base / "kept", base / "into"
        for folder in (kept, into):
            folder.mkdir()
        files = Files(str(kept), share=str(kept), share_per_login=True)
        factory = UploadFactory(MemoryStore(), PAIR, SingleLogin("l", "p"), files=files)
        port = yield TCP4ServerEndpoint(reactor, 0, interface="127.0.0.1").listen(factory)
        self.addCleanup(port.stopListening)
        endpoint = TCP4ClientEndpoint(reactor, "127.0.0.1", port.getHost().port)
        client = yield endpoint.connect(SodiumClientFactory(PAIR.public, "l", "p", FileClient))
        first, second, third = Told(), Told(), Told()
        yield client.store(walk(here), first)
        yield client.store(walk(here), second)
        yield client.fetch([b"photos"], str(into), report=third)
        self.assertEqual((set(first.outcomes.values()), first.bytes_written > 0), ({"stored"}, True))
        self.assertEqual((set(second.outcomes.values()), second.bytes_written), ({"there"}, 0))
        self.assertEqual(set(third.outcomes.values()), {"stored"})
        self.assertEqual(tree(into / "photos"), tree(here))
        yield client.close()
        yield client.lost
        self.assertEqual((factory.receiving, factory.threads._of_logins), (set(), {}))
