"""
Records that are received, and sealed, in memory which all connections of a thread share.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator

from hypothesis import example, given, settings, strategies as st
from twisted.trial.unittest import SynchronousTestCase

from sodiumtwist.core.connection import ClientConnection, ServerConnection
from sodiumtwist.core.errors import DecryptionFailed, MalformedPDU
from sodiumtwist.core.events import DataReceived
from sodiumtwist.core.inbox import Inbox
from sodiumtwist.core.v2.inner_bindings import InnerOpener, InnerSealer
from sodiumtwist.core.v2.public_bindings import PublicOpener

from ..peers import NOW, flip
from .ends import new_client, new_server, pump
from .plain_records import AEGIS, LARGEST, SUITES, PlainOpener, PlainSealer

KEY = b"\x42" * 32


class Receiving:
    """An opener, what was sent to it, and what it has opened."""

    def __init__(self, suite: int, key: bytes = KEY) -> None:
        self.opener, self.inbox = InnerOpener(suite, key), Inbox()
        self.wire = b""
        self.bodies: list[bytes] = []

    def receive(self, most: int, take: bool = True) -> int:
        """
        Receive what was sent, as from a socket.

        :param most: how many bytes have come.
        :param take: whether what is whole is opened now.
        :return: how many bytes there was room for.
        """
        buffer = self.opener.get_buffer(self.inbox)
        if buffer is None:
            data, self.wire = self.wire[:most], self.wire[most:]
            self.inbox.put(data)
            size = 0
        else:
            size = min(most, len(buffer), len(self.wire))
            buffer[:size], self.wire = self.wire[:size], self.wire[size:]
            if not self.opener.received(self.inbox, size) or not take:
                return len(buffer)
            size = len(buffer)
        while take and self.inbox.data and (body := self.opener.receive(self.inbox)) is not None:
            self.bodies.append(bytes(body))
        return size


def sealed(suite: int, *bodies: bytes, key: bytes = KEY) -> bytes:
    """What these take on the wire."""
    sealer = InnerSealer(suite, key)
    return b"".join(sealer.seal([body], len(body)) for body in bodies)


class RoomTests(SynchronousTestCase):
    """Opening where it was received."""

    @settings(max_examples=40)
    @given(
        st.lists(st.sampled_from((0, 5, 4097, 32769, 70000, LARGEST)), max_size=5),
        st.lists(st.tuples(st.integers(0, 1), st.integers(1, 150_000), st.booleans()), max_size=20),
    )
    @example([LARGEST] * 3, [(0, 10**6, True), (0, 100_000, True), (1, 50_000, True), (0, 10**6, True)] * 3)
    @example([70000] * 5, [(0, 100_000, False), (0, 10**6, False), (1, 10**6, True), (0, 10**6, False)])
    def test_in_turn(self, sizes: list[int], steps: list[tuple[int, int, bool]]) -> None:
        """Two connections, read in any order and cut anywhere, get what was sent to each."""
        bodies = [[bytes([number]) * size for size in sizes] for number in (1, 2)]
        for suite in SUITES:
            ends = [Receiving(suite, bytes([number]) * 32) for number in (1, 2)]
            for end, sent, number in zip(ends, bodies, (1, 2), strict=True):
                end.wire = sealed(suite, *sent, key=bytes([number]) * 32)
            for number, most, take in steps:
                ends[number].receive(most, take)
            for end, sent in zip(ends, bodies, strict=True):
                while end.wire or end.inbox.size:
                    end.receive(10**6)
                self.assertTrue(end.bodies == sent)
                self.assertFalse(end.opener.inside)

    def test_exactly(self) -> None:
        """Once a large record has begun, its rest is received alone, with the next head: nothing is put together."""
        for suite in SUITES:
            end = Receiving(suite)
            record = sealed(suite, bytes(LARGEST))
            end.wire = sealed(suite, *[bytes(LARGEST)] * 4)
            first = end.receive(1000)
            self.assertEqual(first, LARGEST + 68)
            rest = end.receive(10**6)
            head_size = len(record) - LARGEST - (len(record) - LARGEST - 4) // 2
            self.assertEqual(rest, len(record) - 1000 + head_size)
            self.assertEqual(len(end.bodies), 1)
            for count in (2, 3):
                self.assertEqual((end.inbox.size, end.opener.inside), (0, True))
                self.assertEqual(end.receive(10**6), len(record))
                self.assertEqual(len(end.bodies), count)

    def test_many_small_ones(self) -> None:
        """As many as there is room for come with one read, also behind a large one."""
        bodies = [bytes(70000), *[b"small"] * 1000]
        end = Receiving(AEGIS)
        end.wire = sealed(AEGIS, *bodies)
        end.receive(10**6)
        end.receive(10**6)
        self.assertEqual(end.bodies, bodies)

    def test_rekeying(self) -> None:
        """The head behind a record that is the last one under its key has the next one."""
        for suite in SUITES:
            end, sealer = Receiving(suite), PlainSealer(suite, KEY)
            for rekey in (True, False, True, True):
                end.wire += sealer.record(bytes(50000), rekey)
            end.receive(1000)
            while end.wire:
                end.receive(10**6)
            self.assertEqual(end.bodies, [bytes(50000)] * 4)

    def test_wrong_head_behind(self) -> None:
        """A head is looked at with the record before it, which is right all the same; what is wrong is found then."""
        for suite in SUITES:
            before = len(sealed(suite, bytes(70000)))
            sealer = PlainSealer(suite, KEY)
            sealer.record(bytes(70000))
            number = sealer.number
            heads: list[tuple[bytes, type[Exception]]] = [
                (flip(sealed(suite, bytes(70000), bytes(5))[before:], 3), DecryptionFailed)
            ]
            for head in (LARGEST + 1, 1 << 30):
                sealer.number = number
                heads.append((sealer.message(head.to_bytes(4, "big")), MalformedPDU))
            for wire, error in heads:
                end = Receiving(suite)
                end.wire = sealed(suite, bytes(70000)) + wire
                end.receive(1000)
                self.assertRaises(error, end.receive, 10**6)
                self.assertEqual(end.bodies, [bytes(70000)])

    def test_another_thread(self) -> None:
        """One that goes on in another thread has its bytes with it."""
        end = Receiving(AEGIS)
        end.wire = sealed(AEGIS, b"one", bytes(70000), b"two")
        end.receive(50000, take=False)

        def go_on() -> None:
            while end.wire or end.inbox.size:
                end.receive(10**6)

        thread = threading.Thread(target=go_on)
        thread.start()
        thread.join()
        self.assertEqual(end.bodies, [b"one", bytes(70000), b"two"])

    def test_two_threads(self) -> None:
        """Each has memory of its own."""
        failed = []

        def receive(number: int) -> None:
            key, body = bytes([number]) * 32, bytes([number]) * 70000
            end = Receiving(AEGIS, key)
            end.wire = sealed(AEGIS, *[body] * 50, key=key)
            while end.wire:
                end.receive(50000)
            if end.bodies != [body] * 50:
                failed.append(number)

        threads = [threading.Thread(target=receive, args=(number,)) for number in (1, 2)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        self.assertEqual(failed, [])

    def test_public_bindings(self) -> None:
        """These open ``bytes`` alone."""
        self.assertIsNone(PublicOpener(AEGIS, KEY).get_buffer(Inbox()))


class PassingTests(SynchronousTestCase):
    """Sealed for whoever writes at once."""

    def test_view(self) -> None:
        """A large record lies where the next one is sealed; a small one is in bytes."""
        for suite in SUITES:
            sealer, opener = InnerSealer(suite, KEY), PlainOpener(suite, KEY)
            body = os.urandom(LARGEST)
            first = sealer.seal([body], LARGEST, True)
            self.assertTrue(opener.records(bytes(first)) == [(body, False)])
            self.assertIsInstance(first, memoryview)
            second = sealer.seal([bytes(LARGEST)], LARGEST, True)
            self.assertEqual(first, second)
            self.assertTrue(opener.records(bytes(second)) == [(bytes(LARGEST), False)])
            self.assertIs(type(sealer.seal([b"small"], 5, True)), bytes)
            self.assertIs(type(sealer.seal([body], LARGEST)), bytes)


def received(connection: ServerConnection | ClientConnection, wire: bytes) -> Iterator[bytes]:
    """The payloads of DATA in these bytes, received where the connection says."""
    while wire:
        buffer = connection.get_buffer()
        assert buffer is not None
        size = min(len(wire), len(buffer))
        buffer[:size], wire = wire[:size], wire[size:]
        if connection.buffer_updated(size):
            for event in connection.events(NOW):
                assert isinstance(event, DataReceived)
                yield event.payload


class ConnectionTests(SynchronousTestCase):
    """The core's calls."""

    def setUp(self) -> None:
        self.client, self.server = new_client(), new_server()

    def test_not_before_it_is_open(self) -> None:
        """Strangers make us hold no more than their handshake."""
        for connection in (self.client, self.server):
            self.assertIsNone(connection.get_buffer())
        pump(self.client, self.server)
        self.server.close()
        self.assertIsNone(self.server.get_buffer())

    def test_data(self) -> None:
        """As many records as there are, each taken as it is; two payloads fit one."""
        pump(self.client, self.server)
        payloads = [os.urandom(size) for size in (65536, 65536, 131070, 5, 0, 100_000)]
        for payload in payloads:
            self.client.send_data(payload)
        records = []
        while self.client.queued:
            records.append(bytes(self.client.data_passing()))
        self.assertEqual(len(records), 3)
        self.assertTrue(list(received(self.server, b"".join(records))) == payloads)
        self.assertEqual(self.client.data_passing(), b"")

    def test_payloads_stay(self) -> None:
        """What an application has been given does not change with what comes later, for whichever connection."""
        ends = [(self.client, self.server), (new_client(), new_server())]
        got: list[bytes] = []
        sent: list[bytes] = []
        for client, server in ends:
            pump(client, server)
        for number in range(6):
            client, server = ends[number % 2]
            payload = bytes([number]) * 131070
            client.send_data(payload)
            got += received(server, client.data_to_send())
            sent.append(payload)
        self.assertTrue(got == sent)
        self.assertEqual({type(payload) for payload in got}, {bytes})

    def test_handshake_first(self) -> None:
        """A packet of the handshake goes before all else."""
        pump(self.client, self.server)
        self.assertEqual(new_client().data_passing()[:0], b"")
        client = new_client()
        flight = client.data_passing()
        self.assertIs(type(flight), bytes)
        self.assertEqual(client.queued, 0)
