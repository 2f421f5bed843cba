"""
How much work is done, counted instead of timed, so that it is the same on every machine: calls of
libsodium, calls of any function, reads, writes, timers, memory.

The bounds are what is needed now. When something here fails, a path that all data takes has become
heavier; when it became lighter, lower the bound.
"""

from __future__ import annotations

import gc
import os
import subprocess
import sys
import time
import tracemalloc
import weakref
from collections import Counter
from collections.abc import Callable
from functools import cache, partial
from pathlib import Path
from types import FrameType
from typing import Any, cast

from twisted.internet.defer import Deferred, gatherResults, succeed
from twisted.internet.error import ConnectionDone
from twisted.internet.protocol import Protocol
from twisted.internet.task import Clock
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase

from sodiumtwist import DecryptionFailed, RequestClient, SingleLogin, SodiumClientFactory, SodiumServerFactory
from sodiumtwist.core.events import RequestReceived
from sodiumtwist.core.inbox import Buffer, Inbox
from sodiumtwist.core.v1.messages import PDU_OVERHEAD
from sodiumtwist.core.v2.records import Opener, Sealer
from sodiumtwist.core.v2.suites import AEGIS_256
from sodiumtwist.describe.log import Logger
from sodiumtwist.endpoints.streams import StreamClientFactory, StreamEnd, StreamServerFactory
from sodiumtwist.protocol.sockets import CHUNK_SIZE, READ_SIZE, TransportBelow
from sodiumtwist.transfer.receiver import TOGETHER, UploadFactory, UploadReceiver
from sodiumtwist.transfer.sender import UploadSender
from sodiumtwist.transfer.tree import receiving
from sodiumtwist.transfer.tree.messages import FILE, Announce
from sodiumtwist.transfer.tree.pieces import PIECE_SIZE
from sodiumtwist.transfer.tree.place import Files
from sodiumtwist.transfer.tree.reading import Job, Reading
from sodiumtwist.transfer.tree.storing import Rules, Storing
from sodiumtwist.tunnel import TunnelEntry, TunnelFactory

from .alone import new_peer_client
from .core.peers import NOW, open_pair, wire_of
from .core.v2.ends import new_client, new_server, pump
from .desk import RequestPair
from .memory_sockets import MemoryConnection, MemoryReactor, MemorySocket, socket_pair
from .pair import (
    LOGIN,
    PASSPHRASE,
    SERVER_PAIR,
    MemoryTransport,
    Pair,
    RecordingServer,
    build,
    make_client_factory,
    make_server_factory,
    over,
)
from .processes import PATIENCE, unmeasured
from .test_shape import trace
from .transfer.tree.ends import FilesPair, make_tree, walk
from .uploads import PAIR, ListSource, MemoryStore
from .versions import each_version, only, spoken

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))

PUSH = "crypto_secretstream_xchacha20poly1305_push"
PULL = "crypto_secretstream_xchacha20poly1305_pull"
CHACHA_SEAL = "crypto_aead_chacha20poly1305_ietf_encrypt"
AEGIS_SEAL = "crypto_aead_aegis256_encrypt"
CHACHA_OPEN = "crypto_aead_chacha20poly1305_ietf_decrypt"
AEGIS_OPEN = "crypto_aead_aegis256_decrypt"

#: How many calls one request and its answer take in version 2, at both ends together.
REQUEST_CALLS = 88.6

#: How many calls of the package's functions a login takes in each version, at both ends together.
LOGIN_CALLS = 262, 627

#: How many calls of Python's functions a small message takes that a tunnel seals, and one that it opens.
SEALING_CALLS, OPENING_CALLS = 16, 21

#: Enough for what happens once to count for nothing in a share.
MANY = 200


class Work:
    """
    Counts the calls of a ``with`` block, of Python's functions and of C's by name.

    :ivar python: calls of Python functions, in which a generator is called once for each of its steps.
    :ivar c: calls of functions in C.
    """

    def __init__(self) -> None:
        self.python: Counter[str] = Counter()
        self.c: Counter[str] = Counter()

    def _count(self, frame: FrameType, event: str, what: Any) -> None:
        if event == "call":
            self.python[frame.f_code.co_name] += 1
        elif event == "c_call":
            self.c[what.__name__] += 1

    def __enter__(self) -> Work:
        # Whatever else runs when garbage is collected is not the block's.
        gc.disable()
        sys.setprofile(self._count)
        return self

    def __exit__(self, *error: object) -> None:
        sys.setprofile(None)
        gc.enable()
        # Not the block's: this method, and what ends the profile.
        self.python["__exit__"] -= 1
        self.c["setprofile"] -= 1

    @property
    def calls(self) -> int:
        """All of them."""
        return self.python.total() + self.c.total()


def peak(action: Callable[[], object]) -> int:
    """How many bytes Python's memory grows by at most, meanwhile."""
    action()
    gc.collect()
    tracemalloc.start()
    try:
        before = tracemalloc.get_traced_memory()[0]
        tracemalloc.reset_peak()
        action()
        return tracemalloc.get_traced_memory()[1] - before
    finally:
        tracemalloc.stop()


class WorkTestCase(SynchronousTestCase):
    def assert_each(self, count: int, most: float) -> None:
        """Done ``MANY`` times, something took at most so much each, and what it takes to begin."""
        self.assertLessEqual(count / MANY, most + 0.2)


class CoreWorkTests(WorkTestCase):
    """The core: one end, DATA by DATA."""

    def test_sending(self) -> None:
        """Two messages are sealed for each, with few calls."""
        client, _ = open_pair()
        payload = bytes(100)
        with Work() as work:
            for _ in range(MANY):
                client.send_data(payload)
                client.data_to_send()
        self.assertEqual((work.c[PUSH], work.c[PULL]), (2 * MANY, 0))
        self.assert_each(work.calls, 11)

    def test_receiving(self) -> None:
        """Two messages are opened for each of many in one read, with few calls."""
        client, server = open_pair()
        wire = b"".join([wire_of(client.send_data, bytes(100)) for _ in range(MANY)])
        with Work() as work:
            for _ in server.receive_data(wire, NOW):
                pass
        self.assertEqual((work.c[PUSH], work.c[PULL]), (0, 2 * MANY))
        self.assert_each(work.calls, 11)

    def test_receiving_one_by_one(self) -> None:
        """Few calls, too, when each comes in a read of its own."""
        client, server = open_pair()
        wire = [wire_of(client.send_data, bytes(100)) for _ in range(MANY)]
        with Work() as work:
            for data in wire:
                for _ in server.receive_data(data, NOW):
                    pass
        self.assertEqual(work.c[PULL], 2 * MANY)
        self.assert_each(work.calls, 13)

    def test_memory_of_sending(self) -> None:
        """A DATA takes the memory of its bytes for the wire once."""
        client, _ = open_pair()
        payload = bytes(CHUNK_SIZE)
        self.assertLess(peak(lambda: wire_of(client.send_data, payload)) / CHUNK_SIZE, 1.02)

    def test_memory_of_receiving(self) -> None:
        """A DATA that comes whole takes the memory of its payload once."""
        client, server = open_pair()
        wire = iter([wire_of(client.send_data, bytes(CHUNK_SIZE)) for _ in range(2)])
        self.assertLess(peak(lambda: list(server.receive_data(next(wire), NOW))) / CHUNK_SIZE, 1.02)

    def test_memory_of_receiving_in_pieces(self) -> None:
        """One that comes in two reads is put together, and put together once."""
        client, server = open_pair()
        wire = [wire_of(client.send_data, bytes(CHUNK_SIZE)) for _ in range(2)]
        pieces = iter([(data[:1000], data[1000:]) for data in wire])

        def receive() -> None:
            for piece in next(pieces):
                list(server.receive_data(piece, NOW))

        self.assertLess(peak(receive) / CHUNK_SIZE, 2.03)


class RecordWorkTests(WorkTestCase):
    """The records of version 2: what leaves together is sealed together."""

    def setUp(self) -> None:
        self.sealer, self.opener, self.inbox = Sealer(AEGIS_256, bytes(32)), Opener(AEGIS_256, bytes(32)), Inbox()

    def receive(self, record: bytes) -> Buffer | None:
        self.inbox.put(record)
        return self.opener.receive(self.inbox)

    def test_sealing(self) -> None:
        """Two sealings, however many pieces there are, with few calls."""
        for count in (1, 2, 256):
            pieces = [bytes(50)] * count
            with Work() as work:
                for _ in range(MANY):
                    self.sealer.seal(pieces, count * 50)
            self.assertEqual((work.c[AEGIS_SEAL], work.c[AEGIS_OPEN]), (2 * MANY, 0))
            self.assert_each(work.calls, 8)

    def test_sealing_bulk(self) -> None:
        """Two sealings of 128 KiB, too."""
        pieces = [bytes(12), bytes(128 * 1024)]
        with Work() as work:
            for _ in range(MANY):
                self.sealer.seal(pieces, 12 + 128 * 1024)
        self.assertEqual(work.c[AEGIS_SEAL], 2 * MANY)
        self.assert_each(work.calls, 9)

    def test_sealing_to_be_sent_at_once(self) -> None:
        """What a socket is given at once leaves from where it was sealed, and takes no memory."""
        pieces = [bytes(12), bytes(CHUNK_SIZE)]
        size = 12 + CHUNK_SIZE
        self.assertLess(peak(lambda: self.sealer.seal(pieces, size, True)) / CHUNK_SIZE, 0.02)

    def test_receiving_bulk(self) -> None:
        """Cut anywhere, a large record is received and opened in place: two openings, few calls, no memory."""
        size = 12 + CHUNK_SIZE
        wire = b"".join([self.sealer.seal([bytes(size)], size) for _ in range(MANY)])
        self.place = 0

        def receive(most: int) -> None:
            buffer = self.opener.get_buffer(self.inbox)
            assert buffer is not None
            count = min(most, len(buffer), len(wire) - self.place)
            buffer[:count] = memoryview(wire)[self.place : self.place + count]
            self.place += count
            if self.opener.received(self.inbox, count):
                while self.inbox.data and self.opener.receive(self.inbox) is not None:
                    pass

        receive(1000)
        receive(size)
        self.assertLess(peak(lambda: list(map(receive, [50_000] * 6))) / CHUNK_SIZE, 0.03)
        place = self.place
        with Work() as work:
            while self.place < len(wire):
                receive(size)
        records = (len(wire) - place) / len(wire) * MANY
        self.assertLessEqual(work.c[AEGIS_OPEN] / records, 2.05)
        self.assertLessEqual(work.calls / records, 26)

    def test_opening(self) -> None:
        """Two openings, however large it is, with few calls."""
        for size in (100, 12 + 128 * 1024):
            records = [self.sealer.seal([bytes(size)], size) for _ in range(MANY)]
            with Work() as work:
                for record in records:
                    self.inbox.data = record
                    self.opener.receive(self.inbox)
            self.assertEqual((work.c[AEGIS_SEAL], work.c[AEGIS_OPEN]), (0, 2 * MANY))
            self.assert_each(work.calls, 8)

    def test_memory(self) -> None:
        """A large record takes the memory of its bytes for the wire once, and none to be opened."""
        pieces = [bytes(12), bytes(CHUNK_SIZE)]
        size = 12 + CHUNK_SIZE
        self.assertLess(peak(lambda: self.sealer.seal(pieces, size)) / CHUNK_SIZE, 1.02)
        sealer, self.opener = Sealer(AEGIS_256, bytes(32)), Opener(AEGIS_256, bytes(32))
        wire = iter([sealer.seal(pieces, size) for _ in range(2)])
        self.assertLess(peak(lambda: self.receive(next(wire))) / CHUNK_SIZE, 0.02)


class RequestWorkTests(WorkTestCase):
    """The requests of version 2: what leaves together, and what one and its answer take."""

    def setUp(self) -> None:
        self.client, self.server = new_client(), new_server()
        pump(self.client, self.server)

    def round_trip(self, count: int) -> list[int]:
        """
        Ask so much together, and answer it together.

        :return: the sizes of what was written, in both directions.
        """
        sizes = []
        for _ in range(count):
            self.client.send_request(bytes(100))
        asked = self.client.data_to_send()
        for event in self.server.receive_data(asked, NOW):
            assert isinstance(event, RequestReceived)
            self.server.send_answer(event.id, event.payload)
        answered = self.server.data_to_send()
        sizes = [len(asked), len(answered)]
        self.assertEqual(len(list(self.client.receive_data(answered, NOW))), count)
        return sizes

    def test_one_record(self) -> None:
        """128 requests of 100 bytes are one record, two sealings; and so are their answers."""
        self.round_trip(1)  # the padding of a first record is behind it
        with Work() as work:
            sizes = self.round_trip(128)
        tags = {AEGIS_SEAL: 64, CHACHA_SEAL: 32}
        sealings = {name: work.c[name] for name in tags if work.c[name]}
        self.assertEqual(list(sealings.values()), [4])
        (name,) = sealings
        self.assertEqual(sizes, [128 * 112 + 4 + tags[name]] * 2)

    def test_calls(self) -> None:
        """What one takes, from asking to the event of its answer, both ends together."""
        with Work() as work:
            self.round_trip(MANY)
        self.assert_each(work.python.total(), 14)
        self.assert_each(work.calls, 35.5)


class InFlightWorkTests(WorkTestCase):
    """128 small requests on their way all the time: each answer is followed by a request."""

    def calls(self, version: int) -> int:
        """What ``MANY`` of them take at both ends together, with the transports of these tests."""
        clock = Clock()
        server = make_server_factory(clock, None, respond=lambda peer, payload: payload)
        client = make_client_factory(clock, lambda: RequestClient(128), version=version)
        pair: RequestPair = Pair(server, client)
        pair.flush()
        left = 0

        def again(answer: bytes) -> None:
            nonlocal left
            left -= 1
            if left > 0:
                pair.client.request(answer).addCallback(again)

        for count in (128, MANY * 20):
            left = count
            for _ in range(128):
                pair.client.request(bytes(100)).addCallback(again)
            with Work() as work:
                pair.flush()
        return work.calls // 20

    def test_calls(self) -> None:
        """Version 2 takes fewer than version 1, though it knows them by numbers and answers in any order."""
        calls = {version: self.calls(version) for version in (1, 2)}
        self.assertLess(calls[2], calls[1])
        self.assert_each(calls[2], 58.5)


@each_version
class LoginWorkTests(WorkTestCase):
    """A login, both ends together, from their transports to the applications' word that it is done."""

    def setUp(self) -> None:
        # What is imported, or made once, is no part of it.
        self.log_in()

    def log_in(self) -> Work:
        with Work() as work:
            pair = Pair.make()
            pair.flush()
        self.assertEqual((pair.server.calls, pair.client.calls), (["authenticated"], ["authenticated"]))
        return work

    def test_calls(self) -> None:
        """Of the package's own functions; what others call depends on what ran before."""
        files = trace(lambda: Pair.make().flush())
        self.assertLessEqual(len(files), LOGIN_CALLS[spoken() - 1])

    @only(2)
    def test_keys(self) -> None:
        """Each key is made, and each point multiplied, once: ``es``, ``ee`` and ``se`` at both ends."""
        c = self.log_in().c
        self.assertEqual((c["crypto_kx_keypair"], c["generate_mlkem768_key"]), (3, 1))
        self.assertEqual(c["crypto_scalarmult"], 6)
        self.assertEqual((c["encapsulate"], c["decapsulate"]), (1, 1))

    @only(2)
    def test_key_while_waiting(self) -> None:
        """A client makes its key pair when its first flight has left, and does not wait for the answer with that."""
        with Work() as work:
            pair = Pair.make()
        self.assertEqual(work.c["crypto_kx_keypair"], 2)
        pair.flush()
        self.assertEqual(pair.client.calls, ["authenticated"])

    @only(2)
    def test_handshake(self) -> None:
        """
        Of the three messages and their frames: what is sealed and opened (the first front twice, for by that the server
        tells the versions apart), the steps of deriving keys, and the numbers drawn at random.
        """
        work = self.log_in()
        c = work.c
        self.assertEqual((c["encrypt"], c["decrypt"]), (12, 13))
        self.assertEqual(c["derive"] + work.python["derive"], 10)  # releases of cryptography differ
        self.assertLessEqual(c["randombytes"], 9)


@only(1)
@each_version
class TransportWorkTests(WorkTestCase):
    """Both ends with their transports."""

    def assert_sealings(self, work: Work, count: int) -> None:
        """So many messages were sealed, and as many opened."""
        sealed = work.c[PUSH] + work.c[AEGIS_SEAL] + work.c[CHACHA_SEAL]
        opened = work.c[PULL] + work.c[AEGIS_OPEN]
        # A server of both versions tries whether what comes first is of version 2.
        self.assertEqual((sealed, opened + work.c[CHACHA_OPEN] // 2 * 2), (count, count))

    def make_requests(self, count: int) -> tuple[RequestPair, Deferred[list[bytes]]]:
        """A client that has asked, with nothing moved yet."""
        pair = self.make_asker()
        return pair, self.ask(pair, count)

    def make_asker(self) -> RequestPair:
        """A client that is let in."""
        clock = Clock()
        server = make_server_factory(clock, None, respond=lambda peer, payload: payload)
        pair: RequestPair = Pair(server, make_client_factory(clock, lambda: RequestClient(MANY)))
        pair.flush()
        for transport in (pair.client_transport, pair.server_transport):
            transport.writes.clear()
        return pair

    def ask(self, pair: RequestPair, count: int) -> Deferred[list[bytes]]:
        return gatherResults([pair.client.request(bytes(100)) for _ in range(count)])

    def test_answers_leave_together(self) -> None:
        """The answers to all requests of one read are one write."""
        pair, answered = self.make_requests(MANY)
        self.assertLess(MANY * (100 + PDU_OVERHEAD), READ_SIZE)
        pair.round_trip()
        self.assertEqual(len(self.successResultOf(answered)), MANY)
        self.assertLessEqual(len(pair.server_transport.writes), 1)

    def test_requests(self) -> None:
        """What one request and its answer take at both ends together, with the transports of these tests."""
        self.make_requests(1)[0].round_trip()
        pair = self.make_asker()
        with Work() as work:
            answered = self.ask(pair, MANY)
            pair.round_trip()
        self.assertEqual(len(self.successResultOf(answered)), MANY)
        if spoken() == 1:
            self.assert_sealings(work, 4 * MANY)
            self.assert_each(work.calls, 78.3)
        else:
            # What leaves together is sealed together.
            # Each request leaves alone, as it is made outside of a read; the answers leave together.
            self.assert_each(work.c[AEGIS_SEAL] + work.c[CHACHA_SEAL], 2)
            self.assert_each(work.calls, REQUEST_CALLS)

    def test_no_time_for_data(self) -> None:
        """The clock is looked at once a read, of which there are two here, and DATA sets no timer."""
        pair, _ = self.make_requests(MANY)
        with Work() as work:
            pair.round_trip()
        self.assertLessEqual(work.python["seconds"], 2)
        self.assertEqual(work.python["callLater"], 0)

    def test_reads_and_writes_of_bulk(self) -> None:
        """A chunk of a file or a stream is one write, and one read."""
        pair = Pair.make()
        pair.flush()
        pair.client_transport.writes.clear()
        payload = bytes(CHUNK_SIZE)
        with Work() as work:
            for _ in range(MANY):
                pair.client.send_data(payload)
                pair.round_trip()
        self.assertEqual(len(pair.server.payloads), MANY)
        self.assert_each(len(pair.client_transport.writes), 1)
        self.assert_each(work.python["receive_data"], 1)
        self.assert_sealings(work, 2 * MANY)


@each_version
class UploadWorkTests(WorkTestCase):
    """An upload, of which more is there to be read all the time; both ends, with the transports of these tests."""

    def test_upload(self) -> None:
        """A chunk is a write at each end; of what acknowledges them one write has several, in version 2 one record."""
        self.patch(TransportBelow, "unread", lambda below: READ_SIZE)
        # What is logged of an upload is no part of a chunk; and what a line takes, depends on who reads the log.
        self.patch(Logger, "emit", lambda *given, **fields: None)
        clock, store, chunk = Clock(), MemoryStore(), bytes(60_000)
        factory = UploadFactory(store, PAIR, SingleLogin("l", "p"), clock=clock)
        pair: Pair[UploadReceiver, UploadSender] = Pair(
            factory,
            SodiumClientFactory(
                PAIR.public, "l", "p", lambda: UploadSender(ListSource([chunk] * MANY)), clock=clock, version=spoken()
            ),
        )
        # Up to where the client knows that it is let in, and sends.
        while not pair.client.is_authenticated:
            pair.step()
        pair.server_transport.writes.clear()
        with Work() as work:
            pair.flush()
        self.assertEqual((len(store.uploads[0].content), pair.client.acknowledged), (MANY * len(chunk),) * 2)
        writes, records = len(pair.server_transport.writes), (work.c[AEGIS_SEAL] + work.c[CHACHA_SEAL]) // 2
        self.assertLessEqual(writes, MANY // TOGETHER + 3)
        if spoken() == 2:
            # Of this size two chunks leave in one record.
            self.assertLessEqual(records, MANY // 2 + MANY // TOGETHER + 6)
        self.assert_each(work.calls, 112.7 if spoken() == 2 else 107.9)


class TreeWorkTests(WorkTestCase):
    """
    Files under their names, which are not synced: a great many small ones, and a large one.
    """

    FILES, FOLDERS = 1000, 10

    def setUp(self) -> None:
        self.here, self.into = Path(self.mktemp()), Path(self.mktemp())
        self.into.mkdir()

    def make_small_files(self) -> None:
        each = self.FILES // self.FOLDERS
        names = [f"{folder:02}/{number:03}" for folder in range(self.FOLDERS) for number in range(each)]
        make_tree(self.here, {name: name.encode() * 20 for name in names})

    def assert_calls(self, count: int, most: float) -> None:
        """For each file so many calls at most, and a few hundred to begin with and for folders."""
        self.assertLessEqual(count / self.FILES, most + 0.5)

    def assert_once(self, work: Work, *names: str) -> None:
        """These were called once for each file, and a few times for folders."""
        for name in names:
            self.assertLessEqual(abs(work.c[name] - self.FILES), 10 * self.FOLDERS, name)

    def test_threads(self) -> None:
        """A small file is a few calls in the threads for the disk, and no more of the system than have to be."""
        self.make_small_files()
        found, reading, storing = walk(self.here), Reading(), Storing(str(self.into), Rules(sync=False))
        with Work() as walked:
            batches = list(iter(found.next, None))
        for batch in batches:
            for number, (entry, where) in enumerate(zip(batch.entries, batch.wheres, strict=True), batch.first):
                if entry.kind == FILE:
                    reading.add(Job(number, entry, where))
        with Work() as read:
            packs = reading.read().packs
        self.assertFalse(reading.more)
        with Work() as decided:
            for batch in batches:
                storing.announce(Announce(batch.first, batch.entries))
        with Work() as stored:
            outcome = storing.take(packs)
            rest = storing.commit()
        self.assertEqual(len(outcome.files) + len(rest.files), self.FILES)
        storing.abandon()
        found.close()
        self.assert_once(walked, "stat")
        self.assert_once(read, "open", "read", "fstat", "close")
        if hasattr(os, "O_TMPFILE"):
            self.assert_once(stored, "open", "pwrite", "utime", "link", "close")
        self.assertLess(decided.c["stat"] + decided.c["open"] + decided.c["mkdir"], 10 * self.FOLDERS)
        for work, most in ((walked, 18.5), (read, 18), (decided, 11.5), (stored, 46.5)):
            self.assert_calls(work.calls, most)

    def test_all_ends(self) -> None:
        """Small files at both ends together: threads, reactor, the connection's ends and the transports of tests."""
        self.make_small_files()
        pair = FilesPair(Files(str(self.into), sync=False))
        pair.settle()
        with Work() as work:
            pair.result_of(pair.client.store(walk(self.here)))
        self.assert_calls(work.calls, 129)
        # Several of them are a DATA, and many are settled by one.
        self.assertLessEqual(work.python["send_data"], 20)
        with Work() as work:
            pair.result_of(pair.client.store(walk(self.here)))
        self.assertEqual((work.c["read"], work.c["pwrite"]), (0, 0))
        self.assert_calls(work.calls, 72)
        self.assertEqual(len(list(self.into.rglob("???"))), self.FILES)

    def test_bulk(self) -> None:
        """Of a large file several DATA are written by one call, and a DATA takes no more calls at both ends."""
        self.here.write_bytes(bytes(PIECE_SIZE * MANY))
        # However slow it is.
        self.patch(receiving, "GATHERED_TIME", 1e9)
        self.patch(receiving, "PROGRESS_TIME", 1e9)
        pair = FilesPair(Files(str(self.into), sync=False))
        pair.settle()
        with Work() as work:
            pair.result_of(pair.client.store(walk(self.here)))
        self.assertLessEqual(work.python["write_all"], 36)
        self.assert_each(work.calls, 162)


def grown_by(connect: Callable[[], object], count: int = 50) -> float:
    """How many bytes of Python's memory one connection takes."""
    kept = [connect()]
    gc.collect()
    tracemalloc.start()
    try:
        before = tracemalloc.get_traced_memory()[0]
        kept += [connect() for _ in range(count)]
        gc.collect()
        return (tracemalloc.get_traced_memory()[0] - before) / count
    finally:
        tracemalloc.stop()


def let_in(factory: SodiumServerFactory) -> tuple[RecordingServer, MemoryTransport]:
    """Connect a server's end, and let its client log in."""
    client = new_peer_client(time.time)
    server = build(factory, RecordingServer)
    transport = MemoryTransport(server)
    server.makeConnection(transport)
    server.dataReceived(wire_of(client.initiate))
    if client.version == 2:
        list(client.receive_data(transport.take(10_000), 0.0))
        server.dataReceived(client.data_to_send())
    return server, transport


def tracked_by(connect: Callable[[], object], count: int = 50) -> float:
    """How many objects one connection has that the garbage collector looks at, each time it goes through all."""
    kept = [connect()]
    gc.collect()
    before = len(gc.get_objects())
    kept += [connect() for _ in range(count)]
    gc.collect()
    return (len(gc.get_objects()) - before) / count


def connect_plain() -> Protocol:
    """Connect an end of Twisted that does nothing."""
    plain = Protocol()
    plain.makeConnection(MemoryTransport(plain))
    return plain


def idle_memory() -> float:
    """How many bytes of Python's memory an authenticated server's end takes more than a plain one of Twisted."""
    factory = make_server_factory(Clock(), RecordingServer)

    def ours() -> RecordingServer:
        server, transport = let_in(factory)
        assert server.calls == ["authenticated"]
        transport.take(10_000)
        transport.writes.clear()
        return server

    return grown_by(ours) - grown_by(connect_plain)


def idle_objects() -> tuple[float, float]:
    """How many objects an authenticated server's end and a client's have more than a plain one: for the collector."""
    clock = Clock()
    server_factory = make_server_factory(clock)
    plain = tracked_by(connect_plain)

    def connect(kept: int) -> object:
        pair = Pair(server_factory, make_client_factory(clock))
        pair.flush()
        ends = [pair.server, pair.client]
        assert all(end.is_authenticated for end in ends)
        end = ends.pop(kept)
        ends[0].connectionLost(Failure(ConnectionDone()))
        return end

    return tracked_by(partial(connect, 0)) - plain, tracked_by(partial(connect, 1)) - plain


@cache
def measured_apart(version: int) -> list[float]:
    """
    Measure :func:`idle_memory` and :func:`idle_objects` in a process of its own: how much an object's attributes take
    depends on what others of its class had before.
    """
    code = (
        "from benchmarks.child import discard_log\n"
        "from tests.test_work import idle_memory, idle_objects; from tests.versions import speaking\n"
        "discard_log()  # what Twisted keeps of it would count\n"
        f"with speaking({version}): print(idle_memory(), *idle_objects())"
    )
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, cwd=ROOT, env=unmeasured(), capture_output=True, text=True, timeout=PATIENCE)
    if done.stderr:
        raise ValueError(done.stderr)
    return [float(number) for number in done.stdout.split()]


@each_version
class IdleTests(SynchronousTestCase):
    """An authenticated connection on which nothing happens."""

    def test_memory(self) -> None:
        """The server's end takes little more than a plain one of Twisted."""
        memory, _, _ = measured_apart(spoken())
        # Before Python 3.11 each object has a dict of its own.
        most = 4950 if spoken() == 1 else 6200
        self.assertLess(memory, most if sys.version_info >= (3, 11) else most + 1600)

    def test_objects(self) -> None:
        """
        Both ends, the client's with a factory of its own, have few objects more than a plain one. With thousands of
        connections the collector stops the process for as long as it takes to look at all of them.
        """
        _, server, client = measured_apart(spoken())
        # Before Python 3.11 each object has a dict of its own, which counts.
        more = 0.2 if sys.version_info >= (3, 11) else 5
        self.assertLessEqual(server, (23, 29)[spoken() - 1] + more)
        self.assertLessEqual(client, (25, 34)[spoken() - 1] + more)

    def test_no_garbage(self) -> None:
        """An end is freed when its connection is over, not only when the collector comes by, after many others."""
        factory = make_server_factory(Clock(), RecordingServer)

        def connect_and_leave(garbage: bytes) -> weakref.ref[RecordingServer]:
            server, transport = let_in(factory)
            if garbage:
                server.dataReceived(garbage)
            server.connectionLost(Failure(ConnectionDone()))
            self.assertIs(server.why, DecryptionFailed if garbage else over())
            # As Twisted's transports do then.
            transport.producer = None
            del transport.protocol
            return weakref.ref(server)

        gc.collect()
        gc.disable()
        self.addCleanup(gc.enable)
        for garbage in (b"", bytes(100)):
            self.assertIsNone(connect_and_leave(garbage)())


class TunnelWorkTests(WorkTestCase):
    """Two joined ends over sockets: what one read has brought leaves at once."""

    service: MemorySocket

    def setUp(self) -> None:
        self.reactor = MemoryReactor()
        self.entry = build(TunnelFactory(cast(Any, _Endpoint(self)), "tcp:backend:1", clock=self.reactor), TunnelEntry)
        self.program, handle = socket_pair()
        MemoryConnection(handle, self.entry, self.reactor)

    def test_one_turn(self) -> None:
        """A small message is one read and one send, with no timer, and nobody waits for a writable socket."""
        with Work() as work:
            for _ in range(MANY):
                self.program.send(b"question")
                self.program.move()
                self.entry.transport.doRead()
        self.assertEqual(bytes(self.service.peer.sending), b"question" * MANY)
        self.assertEqual((work.python["send"], work.python["recv"]), (2 * MANY, MANY))
        self.assertEqual((work.python["addWriter"], work.python["callLater"]), (0, 0))
        self.assert_each(work.python.total(), 13)


@only(2)
class SealedTunnelWorkTests(WorkTestCase):
    """A tunnel through one of ours, between two pairs of joined ends over sockets."""

    service: MemorySocket

    def setUp(self) -> None:
        self.reactor = clock = MemoryReactor()
        server_end, client_end = socket_pair()
        self.sealed = server_end, client_end
        exits = TunnelFactory(cast(Any, _Endpoint(self)), "tcp:backend:1", clock=clock)
        server = build(
            StreamServerFactory(exits, SERVER_PAIR, SingleLogin(LOGIN, PASSPHRASE), clock=clock, draw=lambda: 0),
            StreamEnd,
        )
        MemoryConnection(server_end, server, clock)

        class Sealed:
            def connect(self, factory: Any) -> Deferred[Any]:
                streams = StreamClientFactory(
                    factory, SERVER_PAIR.public, LOGIN, PASSPHRASE, clock=clock, version=2, draw=lambda: 0
                )
                MemoryConnection(client_end, build(streams, StreamEnd), clock)
                return Deferred()

        entries = TunnelFactory(cast(Any, Sealed()), "ours", clock=clock)
        self.program, handle = socket_pair()
        MemoryConnection(handle, build(entries, TunnelEntry), clock)
        self.run_all()

    def run_all(self) -> None:
        while any([self.sealed[0].move(), self.sealed[1].move(), self.reactor.turn()]):
            pass

    def count(self, source: MemorySocket, times: int) -> list[Work]:
        """Send messages, one by one, and count what is done for each of the two steps."""
        seal, open = Work(), Work()
        to = self.sealed[0] if source is self.program else self.sealed[1]
        reading = [self.reactor._reads[end.number] for end in (source.peer, to)]
        for _ in range(times):
            source.send(b"question")
            source.move()
            with seal:
                reading[0].doRead()
            to.peer.move()
            with open:
                reading[1].doRead()
        return [seal, open]

    def test_one_turn(self) -> None:
        """Both ways, each step is one read and one send, with no timer, and nobody waits for a writable socket."""
        for source, target in ((self.program, self.service), (self.service, self.program)):
            self.count(source, 2)  # the first read is another one
            target.peer.sending.clear()
            steps = self.count(source, MANY)
            self.assertEqual(bytes(target.peer.sending), b"question" * MANY)
            for work, most in zip(steps, (SEALING_CALLS, OPENING_CALLS), strict=True):
                self.assertEqual((work.python["send_at_once"], work.python["recv"]), (MANY, MANY))
                self.assertEqual((work.python["addWriter"], work.python["callLater"]), (0, 0))
                self.assert_each(work.python.total(), most)


class _Endpoint:
    """Connects to a socket in memory."""

    def __init__(self, test: TunnelWorkTests | SealedTunnelWorkTests) -> None:
        self._test = test

    def connect(self, factory: Any) -> Deferred[Any]:
        protocol = factory.buildProtocol(None)
        self._test.service, handle = socket_pair()
        MemoryConnection(handle, protocol, self._test.reactor)
        return succeed(protocol)
