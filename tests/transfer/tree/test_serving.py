"""
What a server does with what clients ask of files.
"""

from __future__ import annotations

import errno
import os
import resource
from collections.abc import Callable
from hashlib import blake2b
from pathlib import Path
from typing import Any

from twisted.internet.defer import Deferred, succeed
from twisted.internet.task import Clock
from twisted.logger import formatEvent
from twisted.trial.unittest import SynchronousTestCase

from sodiumtwist import (
    ClosedHere,
    LocalProtocolError,
    PeerAborted,
    RequestClient,
    RequestError,
    RequestFailed,
    SingleLogin,
    SodiumClientFactory,
)
from sodiumtwist.core.connection import Code
from sodiumtwist.transfer.receiver import UploadFactory, UploadReceiver
from sodiumtwist.transfer.stores import Store
from sodiumtwist.transfer.tree import channel, delivery, serving
from sodiumtwist.transfer.tree.messages import (
    FILE,
    Announce,
    Done,
    Entry,
    FetchFiles,
    Finish,
    Found,
    ListFolder,
    Listing,
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
from sodiumtwist.transfer.tree.storing import Storing
from sodiumtwist.transfer.tree.walking import Walk

from ...logs import logged
from ...pair import Pair
from ...uploads import PAIR, MemoryStore
from .ends import Threads, make_tree


class RawClient(RequestClient):
    """
    Asks what the test wants.

    :ivar received: the DATA that came.
    :ivar busy: whether it has more to do, so that it does not end by itself when the server is about to stop.
    """

    busy = False

    def __init__(self) -> None:
        super().__init__()
        self.received: list[bytes] = []

    def payload_received(self, payload: bytes) -> None:
        self.received.append(payload)

    def _idle(self) -> bool:
        return not self.busy and super()._idle()


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

    def test_not_finished(self) -> None:
        """A store whose end fails is over: the next one may begin."""

        def fail(storing: Storing) -> None:
            raise OSError(errno.EIO, "Input/output error")

        self.patch(Storing, "finish", fail)
        self.answer(StoreFiles(), Place)
        self.assertEqual(self.refused(Finish()), (Code.STORAGE, "Input/output error"))
        self.assertEqual((self.threads.open, self.factory.receiving), ([], set()))
        self.answer(StoreFiles(), Place)

    def test_malformed(self) -> None:
        asked = self.pair.client.request(b"nonsense")
        self.work()
        error = self.successResultOf(self.pair.client.when_lost())
        assert isinstance(error, PeerAborted)
        self.assertEqual(error.code, Code.PROTOCOL_BROKEN)
        self.assertIn("a request that is none of the file dialogue", error.text)
        self.failureResultOf(asked, PeerAborted)
        self.assertEqual(self.flushLoggedErrors(), [])

    def test_malformed_pieces(self) -> None:
        """Both ends let go of all."""
        self.answer(StoreFiles(), Place)
        self.pair.client.send_data(b"x" * 30)
        self.work()
        error = self.successResultOf(self.pair.client.when_lost())
        assert isinstance(error, PeerAborted)
        self.assertEqual(error.code, Code.PROTOCOL_BROKEN)
        self.assertEqual((self.threads.open, self.factory.receiving), ([], set()))

    def test_answers_in_order(self) -> None:
        """Announcements that come together are decided on in their order, however many they are."""
        self.answer(StoreFiles(), Place)
        count = 3 * channel.ASKED_AT_ONCE
        asked = [self.ask(Announce(number, [Entry(FILE, b"%d" % number)])) for number in range(count)]
        self.work()
        for each in asked:
            self.assertEqual(len(decode_answer(Verdicts, self.successResultOf(each)).verdicts), 1)

    def test_upload(self) -> None:
        """Where files are stored under their names, none comes without one: it would count for no login."""
        self.pair.client.send_data(b"abc")
        self.work()
        assert isinstance(self.store, MemoryStore)
        self.assertEqual(self.store.uploads, [])
        error = self.successResultOf(self.pair.client.when_lost())
        assert isinstance(error, PeerAborted)
        self.assertEqual(error.code, Code.NOT_SUPPORTED)

    def test_no_upload_beside_it(self) -> None:
        self.serve(Files(share=str(self.root)))
        self.pair.client.send_data(b"abc")
        self.work()
        self.assertEqual(self.refused(StoreFiles())[0], Code.NO_ROOM)
        self.assertEqual(self.refused(ListFolder())[0], Code.NO_ROOM)

    def test_on_stored(self) -> None:
        """It is told what was stored, and the client what that has come to."""
        told: list[tuple[str, bytes, bytes, int]] = []

        def on_stored(login: str, path: bytes, digest: bytes, size: int) -> Deferred[str]:
            told.append((login, path, digest, size))
            return succeed("it could not be looked at")

        self.serve(Files(str(self.root), on_stored=on_stored))
        self.store_one(b"one", b"111")
        digest = blake2b(b"111", digest_size=32).digest()
        self.assertEqual(told, [("l", os.fsencode(self.root / "l" / "one"), digest, 3)])
        (settled,) = [settled for outcome in self.outcomes() for settled in outcome.files]
        self.assertEqual((settled.code, settled.text), (0, "it could not be looked at"))

    def test_where_it_was_stored(self) -> None:
        """What is told is the name that the file has got."""
        told: list[bytes] = []

        def on_stored(login: str, path: bytes, digest: bytes, size: int) -> Deferred[str]:
            told.append(path)
            return succeed("")

        self.serve(Files(str(self.root), on_stored=on_stored))
        self.store_one(b"one", b"111")
        self.store_one(b"one", b"2222")
        folder = self.root / "l"
        self.assertEqual(told, [os.fsencode(folder / "one"), os.fsencode(folder / "one.1")])

    def test_room(self) -> None:
        """Each login has its own."""
        asked: list[tuple[str, int]] = []

        def room(login: str) -> Callable[[int], None]:
            return lambda size: asked.append((login, size))

        self.serve(Files(str(self.root), room=room))
        self.store_one(b"one", b"111")
        self.assertEqual(asked, [("l", 3)])

    def test_disk_hangs(self) -> None:
        """Others go on. When the connection is cut, the end stays until the disk is done with what came."""
        hanging, working = self.pair, self.connect()
        self.answer(StoreFiles(), Place)
        (thread,) = self.threads.open
        self.threads.made.clear()
        asked = self.ask(Announce(0, [Entry(FILE, b"one", 3, 5)]))
        self.pair = working
        self.store_one(b"two", b"22")
        hanging.flush()
        self.assertNoResult(asked)
        hanging.client.abort()
        hanging.flush()
        self.failureResultOf(asked, ClosedHere)
        self.assertEqual(self.factory.connections, {working.server})
        self.assertEqual(self.factory.receiving, {hanging.server})
        # As a service does that stops.
        hanging.server.give_up("the server is stopping")
        while thread.work():
            pass
        self.assertEqual((self.factory.receiving, thread.closed), (set(), True))

    def test_sessions_of_one_login(self) -> None:
        """No login takes all of them, and there are fewer where descriptors are scarce."""
        self.patch(resource, "getrlimit", lambda which: (5 * serving.SESSION_DESCRIPTORS, 1 << 20))
        threads = serving.Threads(self.threads.make)
        first = [threads.take("ann") for _ in range(3)]
        self.assertRaises(RequestError, threads.take, "ann")
        threads.take("bob")
        self.assertRaises(RequestError, threads.take, "ann")
        threads.take("cid")
        self.assertRaises(RequestError, threads.take, "dan")
        threads.give_back(first.pop(), "ann")
        self.assertRaises(RequestError, threads.take, "ann")
        threads.take("dan")
        self.patch(resource, "getrlimit", lambda which: (resource.RLIM_INFINITY,) * 2)
        threads.take("ann")

    def test_many_sessions(self) -> None:
        """Beyond so many, the next one is refused, until one of them is over."""
        self.patch(serving, "SESSIONS", 2)
        pairs = [self.connect() for _ in range(3)]
        for self.pair in pairs[:2]:
            self.answer(StoreFiles(), Place)
        self.pair = pairs[2]
        self.assertEqual(self.refused(StoreFiles())[0], Code.NO_ROOM)
        self.pair = pairs[0]
        self.answer(Finish(), Done)
        self.pair = pairs[2]
        self.answer(StoreFiles(), Place)

    def test_closed_by_client(self) -> None:
        """A client that has said its end can't finish: it is let go, and waits for nothing."""
        self.answer(StoreFiles(), Place)
        asked = self.ask(Announce(0, [Entry(FILE, b"one", 3, 5)]))
        closed = self.pair.client.close()
        self.pair.flush()
        self.assertNoResult(closed)
        self.failureResultOf(asked, RequestFailed)
        self.work()
        self.assertIsNone(self.successResultOf(closed))
        self.assertEqual((self.threads.open, self.factory.receiving, self.factory.connections), ([], set(), set()))

    def test_is_stopping(self) -> None:
        """What is under way goes on, and nothing new begins."""
        self.pair.client.busy = True
        self.answer(StoreFiles(), Place)
        self.pair.server.drain()
        # They cross.
        announced, second = self.ask(Announce(0, [Entry(FILE, b"one", 3, 5)])), self.ask(ListFolder())
        self.work()
        decode_answer(Verdicts, self.successResultOf(announced))
        self.failureResultOf(second, RequestFailed)
        self.pair.client.send_data(header(0, LAST, 0, 3) + b"111")
        self.work()
        self.assertEqual([settled.code for outcome in self.outcomes() for settled in outcome.files], [0])
        events = logged(self)
        self.pair.client.close()
        self.work()
        self.assertEqual((self.root / "l" / "one").read_bytes(), b"111")
        # It may not say that it is done; so that it says nothing is no fault.
        line = f"files of 'l' from 192.0.2.1:4711: stored one, 3 B, in {self.root / 'l'}"
        self.assertIn(("files_over", line), [(event.get("event"), formatEvent(event)) for event in events])
        # In numbers, too.
        (event,) = [event for event in events if event.get("event") == "files_over"]
        self.assertEqual((event["files"], event["bytes"], event["failed"]), (1, 3, 0))

    def test_stopped_too_early(self) -> None:
        """Who leaves while something is missing has broken off, also then."""
        self.pair.client.busy = True
        self.answer(StoreFiles(), Place)
        self.answer(Announce(0, [Entry(FILE, b"one", 3, 5)]), Verdicts)
        self.pair.server.drain()
        self.pair.flush()
        events = logged(self)
        self.pair.client.close()
        self.work()
        self.assertIn("files_broken", [event.get("event") for event in events])

    def test_log_of_a_broken_store(self) -> None:
        events = logged(self)
        self.answer(StoreFiles(), Place)
        self.answer(Announce(0, [Entry(FILE, b"../x", 3, 5), Entry(FILE, b"one", 3, 5)]), Verdicts)
        self.pair.client.abort()
        self.work()
        line = (
            f"files of 'l' from 192.0.2.1:4711: stored 0 files, 0 B; 1 was not, the last one for: it has '.' or "
            f"'..' in it, in {self.root / 'l'}; it broke off: the connection was cut: it ended before both ends had "
            f"said that all was sent and answered"
        )
        self.assertIn(line, [formatEvent(event) for event in events])


class DeliveryTests(ServingTestCase):
    """Files are fetched and listed."""

    def setUp(self) -> None:
        super().setUp()
        make_tree(self.root / "l", {"own": b"1"})
        make_tree(self.root / "other", {"not his": b"22"})

    def listed(self, path: bytes = b"") -> list[bytes]:
        return [entry.name for entry in self.answer(ListFolder(path), Listing).entries]

    def test_shared_with_all(self) -> None:
        self.serve(Files(share=str(self.root)))
        self.assertEqual(self.listed(), [b"l", b"other"])

    def test_share_per_login(self) -> None:
        self.serve(Files(share=str(self.root), share_per_login=True))
        self.assertEqual(self.listed(), [b"own"])
        self.assertEqual(self.refused(ListFolder(b"../other"))[0], Code.STORAGE)

    def test_nothing_there_for_a_login(self) -> None:
        """Its folder is made when it stores something."""
        self.serve(Files(share=str(self.root / "none"), share_per_login=True))
        self.assertEqual(self.listed(), [])
        self.assertEqual(self.refused(ListFolder(b"own"))[0], Code.STORAGE)
        found = self.answer(FetchFiles([b"own"]), Found)
        self.assertEqual([trouble.path for trouble in found.missing], [b"own"])

    def test_share_is_gone(self) -> None:
        """The client is told, without our paths, and the log with them."""
        self.serve(Files(share=str(self.root / "gone")))
        events = logged(self)
        for message in (ListFolder(), FetchFiles([b""])):
            self.assertEqual(self.refused(message), (Code.STORAGE, "No such file or directory"))
        (line,) = [formatEvent(event) for event in events]
        self.assertIn(f"from {self.root / 'gone'}; it broke off: ", line)
        self.assertEqual((self.threads.open, self.factory.receiving), ([], set()))

    def test_client_does_not_go_on(self) -> None:
        """One that answers no announcements has no use for files."""
        self.serve(Files(share=str(self.root)))
        self.answer(FetchFiles([b""]), Found)
        error = self.successResultOf(self.pair.client.when_lost())
        assert isinstance(error, PeerAborted)
        self.assertEqual(error.code, Code.CANCELLED)
        self.assertEqual((self.threads.open, self.factory.receiving), ([], set()))

    def test_data_too_early(self) -> None:
        self.serve(Files(share=str(self.root)))
        asked = self.ask(FetchFiles([b""]))
        self.pair.client.send_data(encode(Outcome()))
        self.work()
        self.assertIsInstance(self.successResultOf(self.pair.client.when_lost()), PeerAborted)
        self.failureResultOf(asked, PeerAborted)
        self.assertEqual((self.threads.open, self.factory.receiving), ([], set()))

    def test_fault(self) -> None:
        """A mistake of ours is shown in the log, and the client told that it can't go on."""

        def fail(*arguments: object) -> None:
            raise ZeroDivisionError("a mistake")

        self.serve(Files(share=str(self.root)))
        self.patch(delivery, "open_root", fail)
        code, text = self.refused(FetchFiles([b""]))
        self.assertEqual(code, Code.APPLICATION_FAILED)
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)
        self.assertEqual((self.threads.open, self.factory.receiving), ([], set()))

    def fails_meanwhile(self, error: Exception) -> PeerAborted:
        """Fetch, where to walk the share fails."""

        def fail(found: Walk) -> None:
            raise error

        self.serve(Files(share=str(self.root)))
        self.patch(Walk, "next", fail)
        self.answer(FetchFiles([b""]), Found)
        lost = self.successResultOf(self.pair.client.when_lost())
        assert isinstance(lost, PeerAborted)
        self.assertEqual((self.threads.open, self.factory.receiving), ([], set()))
        return lost

    def test_disk_fails_meanwhile(self) -> None:
        lost = self.fails_meanwhile(OSError(errno.EIO, "Input/output error", "/a/path/of/ours"))
        self.assertEqual((lost.code, lost.text), (Code.STORAGE, "Input/output error"))

    def test_fault_meanwhile(self) -> None:
        self.assertEqual(self.fails_meanwhile(ZeroDivisionError("a mistake")).code, Code.APPLICATION_FAILED)
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)

    def test_fault_at_the_end(self) -> None:
        """It is shown, and leaves nothing behind."""

        def fail(work: delivery.Delivery) -> None:
            raise ZeroDivisionError("a mistake")

        self.serve(Files(share=str(self.root / "none"), share_per_login=True))
        self.patch(delivery.Delivery, "_close_folders", fail)
        self.pair.client.busy = True
        asked = self.ask(FetchFiles([b""]))
        self.work()
        self.successResultOf(asked)
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)
        self.assertEqual((self.threads.open, self.factory.receiving), ([], set()))

    def test_bad_names(self) -> None:
        self.serve(Files(share=str(self.root)))
        self.assertEqual(self.refused(ListFolder(b"a//b")), (Code.STORAGE, "it has an empty part"))
        found = self.answer(FetchFiles([b"/etc"]), Found)
        self.assertEqual([(each.path, each.text) for each in found.missing], [(b"/etc", "it is absolute")])


class RuleTests(SynchronousTestCase):
    """What a server may be asked to do with files."""

    def test_existing(self) -> None:
        with self.assertRaisesRegex(LocalProtocolError, "rename or replace or refuse, not 'keep'"):
            Files(existing="keep")

    def test_logins_can_not_leave(self) -> None:
        files = Files("/in", share="/out", share_per_login=True)
        self.assertEqual(files.folder_of("../x/y"), "/in/%2E.%2Fx%2Fy")
        self.assertEqual(files.shared_with("../x/y"), "/out/%2E.%2Fx%2Fy")
        self.assertEqual(Files(share="/out").shared_with("a"), "/out")
        self.assertIsNone(Files().folder_of("a"))
        self.assertIsNone(Files().shared_with("a"))
