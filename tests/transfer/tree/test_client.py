"""
A client that stores, fetches and lists, on servers that do other things with what it asks.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.protocol import Factory, Protocol
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from sodiumtwist import (
    ClosedByPeer,
    ConnectionCut,
    LocalProtocolError,
    Peer,
    RemoteProtocolError,
    RequestError,
    RequestFailed,
    SingleLogin,
    SodiumClientFactory,
    SodiumServerFactory,
    SodiumServerProtocol,
)
from sodiumtwist.core.connection import Code
from sodiumtwist.endpoints.streams import StreamServerFactory
from sodiumtwist.transfer.receiver import UploadFactory, UploadReceiver
from sodiumtwist.transfer.stores import ClosedStore, Store
from sodiumtwist.transfer.tree.client import FileClient
from sodiumtwist.transfer.tree.messages import (
    FILE,
    FOLDER,
    Announce,
    Entry,
    FetchFiles,
    Finish,
    Found,
    Listed,
    Listing,
    SetTimes,
    StoreFiles,
    Verdicts,
    decode_answer,
    encode,
)
from sodiumtwist.transfer.tree.place import Files

from ...pair import Pair
from ...uploads import PAIR, ListSource, MemoryStore
from .ends import FilesPair, Threads, Told, make_tree, tree, walk

T = TypeVar("T")


class ClientTestCase(SynchronousTestCase):
    def setUp(self) -> None:
        self.base = Path(self.mktemp())
        self.here = make_tree(self.base / "here", {"a": b"aaa", "b/c": b"c" * 100_000})
        self.into = self.base / "into"
        self.into.mkdir()
        self.threads, self.clock = Threads(), Clock()

    def connect(self, factory: SodiumServerFactory) -> Pair[Any, FileClient]:
        client = SodiumClientFactory(PAIR.public, "l", "p", lambda: FileClient(self.threads.make), clock=self.clock)
        self.pair: Pair[Any, FileClient] = Pair(factory, client)
        self.pair.flush()
        return self.pair

    def connect_to(self, respond: Callable[[Peer, bytes], Any]) -> FileClient:
        """Connect to a server that answers as the test wants."""
        return self.connect(SodiumServerFactory(PAIR, SingleLogin("l", "p"), respond, clock=self.clock)).client

    def work(self) -> None:
        while self.pair.step() or self.threads.work():
            pass

    def failure_of(self, deferred: Deferred[Any], kind: type[Exception]) -> Any:
        self.work()
        return self.failureResultOf(deferred, kind).value


class OtherServerTests(ClientTestCase):
    """The server has something else in mind: there is one clear error."""

    def assert_refused(self, factory: SodiumServerFactory, says: str) -> None:
        client = self.connect(factory).client
        for asked in (client.store(walk(self.here)), client.list()):
            self.assertEqual(str(self.failure_of(asked, RequestFailed)), says)

    def test_knows_no_requests(self) -> None:
        factory = SodiumServerFactory(PAIR, SingleLogin("l", "p"), clock=self.clock)
        factory.protocol = SodiumServerProtocol
        self.assert_refused(factory, "it serves something else than files, or is too old for files under their names")

    def test_hands_streams_on(self) -> None:
        """It says what it is for."""
        factory = StreamServerFactory(Factory.forProtocol(Protocol), PAIR, SingleLogin("l", "p"), clock=self.clock)
        self.assert_refused(
            factory, "it hands streams on, and has no files; sodiumtwist pipe and twistd sodium-tunnel are for it"
        )

    def assert_nonsense(self, call: Callable[[FileClient], Deferred[Any]]) -> None:
        client = self.connect_to(lambda peer, payload: b"echo: " + payload)
        error = self.failure_of(call(client), RemoteProtocolError)
        self.assertIn("an answer that is none of the file dialogue", str(error))
        self.assertIsNone(self.successResultOf(client.lost))
        self.assertEqual(self.threads.open, [])

    def test_answers_something_else(self) -> None:
        self.assert_nonsense(lambda client: client.store(walk(self.here)))
        self.assert_nonsense(lambda client: client.fetch([b"x"], str(self.into)))
        self.assert_nonsense(lambda client: client.list())

    def test_refuses(self) -> None:
        def respond(peer: Peer, payload: bytes) -> bytes:
            raise RequestError(0x80000001, "not today")

        client = self.connect_to(respond)
        self.assertEqual(str(self.failure_of(client.store(walk(self.here)), RequestFailed)), "not today")
        self.assertEqual(str(self.failure_of(client.fetch([b"x"], str(self.into)), RequestFailed)), "not today")
        self.assertEqual(self.threads.open, [])
        closed = client.close()
        self.work()
        self.assertIsNone(self.successResultOf(closed))

    def test_takes_nothing(self) -> None:
        pair = FilesPair(Files(share=str(self.here)), ClosedStore())
        with self.assertRaisesRegex(RequestFailed, "this server takes no files"):
            pair.result_of(pair.client.store(walk(self.here)))
        self.assertEqual(len(pair.result_of(pair.client.list()).entries), 2)

    def test_sends_what_was_not_asked_for(self) -> None:
        client = self.connect_to(lambda peer, payload: encode(Listing([])))
        lost = client.when_lost()
        self.pair.server.send_data(b"abc")
        self.work()
        self.assertIsInstance(self.successResultOf(lost), RemoteProtocolError)
        self.assertIsNone(self.successResultOf(client.lost))


class AskedTests(ClientTestCase):
    """What the server may ask the client."""

    def setUp(self) -> None:
        super().setUp()
        self.found: Deferred[bytes] = Deferred()
        self.client = self.connect_to(lambda peer, payload: self.found)

    def ask(self, message: Any) -> Deferred[bytes]:
        asked: Deferred[bytes] = self.pair.server.request(message if isinstance(message, bytes) else encode(message))
        self.work()
        return asked

    def test_nothing_is_fetched(self) -> None:
        for message in (Announce(0, [Entry(FILE, b"a")]), StoreFiles(), FetchFiles([])):
            error = self.failureResultOf(self.ask(message), RequestFailed).value
            self.assertEqual(error.code, Code.NOT_SUPPORTED)

    def test_paths_are_data(self) -> None:
        """What a server announces can't get out of the folder either."""
        fetched = self.client.fetch([b""], str(self.into))
        self.work()
        self.found.callback(encode(Found()))
        asked = self.ask(Announce(0, [Entry(FILE, b"../x"), Entry(FILE, b"/x")]))
        verdicts = decode_answer(Verdicts, self.successResultOf(asked)).verdicts
        self.assertEqual([verdict.code for verdict in verdicts], [Code.STORAGE] * 2)
        self.pair.client.abort()
        self.work()
        self.failureResultOf(fetched)

    def test_not_asked_for(self) -> None:
        """A server can't put other files beside those that were asked for: one that a shell there reads, say."""
        for message in (
            Announce(0, [Entry(FOLDER, b"x"), Entry(FILE, b"x/y"), Entry(FILE, b".profile")]),
            Announce(0, [Entry(FILE, b"a/x")]),
            SetTimes([(b"x", 1), (b"other", 1)]),
        ):
            self.setUp()
            fetched = self.client.fetch([b"a/x/"], str(self.into))
            self.work()
            self.found.callback(encode(Found()))
            self.ask(message).addErrback(lambda reason: None)
            error = self.failure_of(fetched, RemoteProtocolError)
            self.assertEqual(str(error), "the server sends something else than what was asked for")
            self.assertEqual(os.listdir(self.into), [])

    def test_behind_the_end(self) -> None:
        """Where a server has said that this is all, nothing more is taken of it, whatever it has answered."""
        for message in (Finish(), Announce(0, [Entry(FILE, b"x")])):
            self.setUp()
            fetched = self.client.fetch([b"x"], str(self.into))
            self.work()
            self.successResultOf(self.ask(Finish()))
            self.failureResultOf(self.ask(message))
            error = self.failure_of(fetched, RemoteProtocolError)
            self.assertEqual(str(error), "the server goes on behind its end")

    def test_list_without_end(self) -> None:
        """A part of a list leads to the next one. Else it would be asked for again and again, or taken for all."""
        for names in ((), (b"a",), (b"z", b"a")):
            self.setUp()
            listed = self.client.list(after=b"a")
            self.work()
            self.found.callback(encode(Listing([Listed(FILE, name) for name in names], more=True)))
            self.failure_of(listed, RemoteProtocolError)
            self.assertIsNone(self.successResultOf(self.client.lost))

    def test_malformed(self) -> None:
        fetched = self.client.fetch([b"x"], str(self.into))
        self.work()
        self.ask(b"nonsense").addErrback(lambda reason: None)
        self.failure_of(fetched, RemoteProtocolError)
        self.assertIsNone(self.successResultOf(self.client.lost))
        self.assertEqual(self.threads.open, [])

    def test_disk_outlives_the_connection(self) -> None:
        """``lost`` waits for it, so that a program does not end before what came is kept."""
        fetched = self.client.fetch([b"x"], str(self.into))
        self.work()
        self.found.callback(encode(Found()))
        self.pair.server.request(encode(Announce(0, [Entry(FILE, b"x", 5)]))).addErrback(lambda reason: None)
        self.pair.flush()
        self.client.abort()
        self.pair.flush()
        self.assertNoResult(self.client.lost)
        self.assertNoResult(fetched)
        self.work()
        self.assertIsNone(self.successResultOf(self.client.lost))
        self.failureResultOf(fetched)


class StreamTests(ClientTestCase):
    """A server that has a place for one stream gets one, on the same connection."""

    def send(self, pair: FilesPair, source: ListSource, progress: Callable[[int], object]) -> Deferred[None]:
        place = pair.result_of(pair.client.store(walk(self.here)))
        self.assertNotEqual(place.keeps, "files")
        return pair.client.send_stream(source, progress)

    def test_stream(self) -> None:
        store, told = MemoryStore(), list[int]()
        pair = FilesPair(None, store)
        sent = self.send(pair, ListSource([b"abc", b"defg"]), told.append)
        pair.settle()
        self.assertIsNone(self.successResultOf(sent))
        self.assertEqual((store.uploads[0].content, store.uploads[0].outcome), (b"abcdefg", "finished"))
        self.assertEqual((sum(told), pair.client.acknowledged), (7, 7))
        # It stays, and is closed by whoever has it.
        self.assertTrue(pair.client.is_authenticated)
        self.assertIsNone(pair.result_of(pair.client.close()))
        self.assertIsNone(self.successResultOf(pair.client.lost))

    def test_thrown_away(self) -> None:
        pair = FilesPair(None, Store())
        sent = self.send(pair, ListSource([b"abc"]), lambda size: None)
        pair.settle()
        self.assertIsNone(self.successResultOf(sent))

    def test_cut(self) -> None:
        store = MemoryStore()
        store.slow = True
        pair = FilesPair(None, store)
        sent = self.send(pair, ListSource([b"abc"]), lambda size: None)
        pair.flush()
        pair.cut()
        self.failureResultOf(sent, ConnectionCut)
        self.assertIsNone(self.successResultOf(pair.client.lost))

    def test_one_thing_at_a_time(self) -> None:
        store = MemoryStore()
        store.slow = True
        pair = FilesPair(None, store)
        self.send(pair, ListSource([b"abc"]), lambda size: None).addErrback(lambda reason: None)
        client = pair.client
        for each in (client.store(walk(self.here)), client.fetch([b"x"], "."), client.send_stream(ListSource([]))):
            self.failureResultOf(each, LocalProtocolError)
        pair.cut()

    def test_too_early(self) -> None:
        client = FileClient(self.threads.make)
        self.failureResultOf(client.send_stream(ListSource([])), LocalProtocolError)


class CallTests(ClientTestCase):
    """What the application may call."""

    def setUp(self) -> None:
        super().setUp()
        self.files = FilesPair(Files(str(self.into), share=str(self.here)))

    def test_one_at_a_time(self) -> None:
        client = self.files.client
        stored = client.store(walk(self.here))
        while client._work is None:
            self.files.advance()
        for each in (
            client.store(walk(self.here)),
            client.fetch([b""], str(self.into)),
            client.send_stream(ListSource([])),
        ):
            self.failureResultOf(each, LocalProtocolError)
        # A list is no such thing.
        self.assertEqual(len(self.files.result_of(client.list()).entries), 2)
        self.successResultOf(stored)

    def test_two_at_once(self) -> None:
        """The second one is asked for before the server has said where the first goes."""
        first, second = self.files.client.store(walk(self.here)), self.files.client.store(walk(self.here))
        self.files.settle()
        self.successResultOf(first)
        self.failureResultOf(second, LocalProtocolError)

    def test_dry_fetch(self) -> None:
        """The server sends nothing, and does not know why."""
        told = Told()
        self.files.result_of(self.files.client.fetch([b""], str(self.into), report=told, dry=True))
        self.assertEqual(told.outcomes, {b"a": "would send", b"b/c": "would send"})
        self.assertEqual(list(self.into.iterdir()), [])

    def test_slashes_at_the_end(self) -> None:
        """As shells complete the names of folders."""
        self.files.result_of(self.files.client.fetch([b"b/"], str(self.into)))
        self.assertEqual(tree(self.into / "b"), tree(self.here / "b"))
        self.assertEqual(len(self.files.result_of(self.files.client.list(b"b//")).entries), 1)

    def test_before_it_is_let_in(self) -> None:
        """Requests wait until they may be sent."""
        pair = FilesPair(Files(str(self.into)))
        self.assertFalse(pair.client.is_authenticated)
        pair.result_of(pair.client.store(walk(self.here)))
        self.assertEqual(tree(self.into / "l" / "here"), tree(self.here))

    def test_peer_ends(self) -> None:
        """A server that says its end while it stores does not go on."""
        client = self.files.client
        stored = client.store(walk(self.here))
        while client._work is None:
            self.files.advance()
        self.files.server.close()
        self.files.settle()
        self.failureResultOf(stored, ClosedByPeer)
        self.assertEqual(self.files.left, [])

    def test_into_nowhere(self) -> None:
        """A folder that can't be made is the trouble of each file."""
        told = Told()
        nowhere = str(self.base / "no" / "where")
        self.files.result_of(self.files.client.fetch([b""], nowhere, report=told))
        self.assertEqual({result.outcome for result in told.results.values()}, {"refused"})

    def test_cancelled(self) -> None:
        """The other end is told by the end of the connection; what has come of it is kept."""
        for call in (
            lambda client: client.store(walk(self.here)),
            lambda client: client.fetch([b""], str(self.into)),
        ):
            pair = FilesPair(Files(str(self.into), share=str(self.here)))
            begun = call(pair.client)
            while pair.client._work is None or not pair.factory.receiving:
                pair.advance()
            begun.cancel()
            pair.settle()
            self.failureResultOf(begun, CancelledError)
            self.assertEqual(pair.left, [])
            self.assertIsNone(self.successResultOf(pair.client.lost))

    def test_version_1(self) -> None:
        """A request would be DATA there."""
        store = MemoryStore()
        factory = UploadFactory(store, PAIR, SingleLogin("l", "p"), clock=self.clock)
        make = self.threads.make
        client = SodiumClientFactory(PAIR.public, "l", "p", lambda: FileClient(make), clock=self.clock, version=1)
        pair: Pair[UploadReceiver, FileClient] = Pair(factory, client)
        pair.flush()
        for each in (
            pair.client.store(walk(self.here)),
            pair.client.list(),
            pair.client.fetch([b"x"], str(self.into)),
        ):
            pair.flush()
            self.failureResultOf(each, LocalProtocolError)
        self.assertEqual((store.uploads, self.threads.made), ([], []))
