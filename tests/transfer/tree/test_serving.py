"""
What a server does with what clients ask of files.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from sodiumtwist import PeerAborted, RequestClient, RequestFailed, SingleLogin, SodiumClientFactory
from sodiumtwist.core.connection import Code
from sodiumtwist.transfer.receiver import UploadFactory, UploadReceiver
from sodiumtwist.transfer.stores import Store
from sodiumtwist.transfer.tree.messages import (
    FILE,
    Announce,
    Done,
    Entry,
    FetchFiles,
    Finish,
    ListFolder,
    Outcome,
    Place,
    SetTimes,
    StoreFiles,
    Verdicts,
    decode_answer,
    decode_outcome,
    encode,
)
from sodiumtwist.transfer.tree.pieces import LAST, header
from sodiumtwist.transfer.tree.place import Files

from ...pair import Pair
from ...uploads import PAIR, MemoryStore
from .ends import Threads


class RawClient(RequestClient):
    """
    Asks what the test wants.

    :ivar received: the DATA that came.
    """

    def __init__(self) -> None:
        super().__init__()
        self.received: list[bytes] = []

    def payload_received(self, payload: bytes) -> None:
        self.received.append(payload)


class ServingTestCase(SynchronousTestCase):
    def setUp(self) -> None:
        self.root = Path(self.mktemp())
        self.root.mkdir()
        self.threads, self.clock = Threads(), Clock()

    def serve(self, files: Files | None, store: Store | None = None) -> None:
        self.store = store or MemoryStore()
        self.factory = UploadFactory(
            self.store,
            PAIR,
            SingleLogin("l", "p"),
            clock=self.clock,
            files=files,
            make_thread=self.threads.make,
        )
        self.pair = self.connect()

    def connect(self) -> Pair[UploadReceiver, RawClient]:
        client = SodiumClientFactory(PAIR.public, "l", "p", RawClient, clock=self.clock)
        pair: Pair[UploadReceiver, RawClient] = Pair(self.factory, client)
        pair.flush()
        return pair

    def work(self) -> None:
        """Let all be done."""
        while self.pair.step() or self.threads.work():
            pass

    def ask(self, message: Any) -> Deferred[bytes]:
        return self.pair.client.request(encode(message))

    def answer(self, message: Any, kind: type[Any]) -> Any:
        asked = self.ask(message)
        self.work()
        return decode_answer(kind, self.successResultOf(asked))

    def refused(self, message: Any) -> tuple[int | None, str]:
        asked = self.ask(message)
        self.work()
        error = self.failureResultOf(asked, RequestFailed).value
        assert isinstance(error, RequestFailed)
        return error.code, error.text

    def outcomes(self) -> list[Outcome]:
        return [decode_outcome(payload) for payload in self.pair.client.received]


class PlaceTests(ServingTestCase):
    """A client is told where its files go."""

    def test_kept(self) -> None:
        self.serve(Files(str(self.root), max_size=1000, sync=False))
        self.assertEqual(self.answer(StoreFiles(), Place), Place("files", 1000, False))

    def test_one_stream(self) -> None:
        """Nothing is begun: DATA are an upload."""
        self.serve(None)
        self.assertEqual(self.answer(StoreFiles(), Place).keeps, "stream")
        self.pair.client.send_data(b"abc")
        self.work()
        assert isinstance(self.store, MemoryStore)
        self.assertEqual(self.store.uploads[0].content, b"abc")
        self.assertEqual(self.threads.made, [])

    def test_nothing(self) -> None:
        self.serve(None, Store())
        self.assertEqual(self.answer(StoreFiles(), Place).keeps, "nothing")

    def test_taken_by_none(self) -> None:
        store = Store()
        store.takes = False
        self.serve(Files(share=str(self.root)), store)
        self.assertEqual(self.refused(StoreFiles()), (Code.NOT_SUPPORTED, "this server takes no files"))

    def test_nothing_shared(self) -> None:
        self.serve(Files(str(self.root)))
        for message in (FetchFiles([b""]), ListFolder()):
            self.assertEqual(self.refused(message), (Code.NOT_SUPPORTED, "this server shares no files"))


class StorageTests(ServingTestCase):
    """Files are stored."""

    def setUp(self) -> None:
        super().setUp()
        self.serve(Files(str(self.root)))

    def store_one(self, name: bytes, content: bytes) -> None:
        self.answer(StoreFiles(), Place)
        self.answer(Announce(0, [Entry(FILE, name, len(content), 5)]), Verdicts)
        self.pair.client.send_data(header(0, LAST, 0, len(content)) + content)
        self.answer(Finish(), Done)

    def test_several_on_one_connection(self) -> None:
        """One after the other; each has numbers of its own."""
        self.store_one(b"one", b"111")
        self.store_one(b"two", b"")
        self.assertEqual(
            {path.name: path.read_bytes() for path in (self.root / "l").iterdir()}, {"one": b"111", "two": b""}
        )
        self.assertEqual([[settled.number for settled in each.files] for each in self.outcomes()], [[0], [0]])
        self.assertEqual((self.threads.open, self.factory.receiving), ([], set()))

    def test_one_at_a_time(self) -> None:
        self.answer(StoreFiles(), Place)
        code, text = self.refused(StoreFiles())
        self.assertEqual((code, "one store or fetch at a time" in text), (Code.NO_ROOM, True))
        self.answer(Finish(), Done)
        self.answer(StoreFiles(), Place)

    def test_out_of_place(self) -> None:
        """What belongs to a store is refused where there is none."""
        for message in (Announce(0, [Entry(FILE, b"a")]), SetTimes([]), Finish()):
            self.assertEqual(self.refused(message)[0], Code.NOT_SUPPORTED)
        self.store_one(b"one", b"111")
        self.assertEqual(self.refused(Finish())[0], Code.NOT_SUPPORTED)

    def test_data_out_of_place(self) -> None:
        """Where files were stored, DATA are no upload."""
        self.store_one(b"one", b"111")
        self.pair.client.send_data(b"abc")
        self.work()
        assert isinstance(self.store, MemoryStore)
        self.assertEqual(self.store.uploads, [])
        self.assertIsInstance(self.successResultOf(self.pair.client.when_lost()), PeerAborted)
