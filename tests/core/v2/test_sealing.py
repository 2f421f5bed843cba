"""
Tests of :mod:`sodiumtwist.core.v2.sealing`, over both ways of calling libsodium.
"""

from __future__ import annotations

import contextlib
import os
import threading
from collections.abc import Iterable, Iterator
from typing import Any

from hypothesis import example, given, strategies as st
from twisted.trial.unittest import SynchronousTestCase

from sodiumtwist.core.errors import DecryptionFailed, MalformedPDU, RemoteProtocolError
from sodiumtwist.core.inbox import Buffer, Inbox
from sodiumtwist.core.sodium import ffi
from sodiumtwist.core.v2 import inner_bindings, records, sealing
from sodiumtwist.core.v2.inner_bindings import InnerOpener, InnerSealer
from sodiumtwist.core.v2.public_bindings import PublicOpener, PublicSealer
from sodiumtwist.core.v2.sealing import Opener, Sealer
from sodiumtwist.core.version import RekeyAfter

from ..conversation import DAMAGE, Damage, damage
from ..peers import cut, flip
from .plain_records import AEGIS, CHACHA, LARGEST, REKEY, SUITES, TAG_SIZES, PlainOpener, PlainSealer

KEY, OTHER_KEY = b"\x42" * 32, b"\x43" * 32

#: Sizes of bodies at which another way is taken.
SIZES = (0, 1, 16, 100, 4096, 4097, 32768, 32769, 65535, 65536, LARGEST - 1, LARGEST)


def receive(opener: Opener, inbox: Inbox, data: bytes) -> Iterator[bytes]:
    """The bodies of all records that are whole with these bytes."""
    inbox.put(data)
    while inbox.data and (body := opener.receive(inbox)) is not None:
        yield bytes(body)


def held_key(end: Sealer | Opener) -> Any:
    """What holds the key: memory of its own, or ``bytes``."""
    return end._key  # type: ignore[union-attr]  # each way has one of its own kind


def key_in(held: Any) -> bytes:
    return held if isinstance(held, bytes) else bytes(ffi.buffer(held))


class SealerTests(SynchronousTestCase):
    """
    Sealing.
    """

    kind: type[Sealer] = InnerSealer

    def ends(self, rekey_size: int = RekeyAfter.size) -> Iterator[tuple[Sealer, PlainOpener]]:
        """A sealer, and what opens its records, of each suite."""
        for suite in SUITES:
            yield self.kind(suite, KEY, rekey_size), PlainOpener(suite, KEY)

    def test_layout(self) -> None:
        """AEAD(c, head), 4 + T bytes, then AEAD(c + 1, body), size + T bytes, then c += 2."""
        for sealer, opener in self.ends():
            for number in range(3):
                sealed = sealer.seal([b"hello"], 5)
                self.assertIs(type(sealed), bytes)
                tag_size = opener.tag_size
                self.assertEqual(sealer.overhead, 4 + 2 * tag_size)
                self.assertEqual(len(sealed), 5 + sealer.overhead)
                self.assertEqual(opener.message(sealed[: 4 + tag_size]), b"\0\0\0\5")
                self.assertEqual(opener.message(sealed[4 + tag_size :]), b"hello")
                self.assertEqual(opener.number, 2 * number + 2)

    def test_sizes(self) -> None:
        for sealer, opener in self.ends():
            for size in SIZES:
                body = os.urandom(size)
                self.assertTrue(opener.records(sealer.seal([body], size)) == [(body, False)], size)

    def test_largest(self) -> None:
        self.assertEqual(sealing.MAX_BODY, LARGEST)

    def test_empty(self) -> None:
        """The body holds any number of PDUs, also none."""
        for sealer, opener in self.ends():
            self.assertEqual(opener.records(sealer.seal([], 0)), [(b"", False)])

    def test_pieces(self) -> None:
        """Few large ones, many small ones and what lies between; in order."""
        for sealer, opener in self.ends():
            for count, size in ((1, 70000), (2, 35000), (8, 9000), (9, 9000), (500, 50), (2, 5), (3, 0)):
                pieces = [os.urandom(size) for _ in range(count)]
                sealed = sealer.seal(pieces, count * size)
                self.assertTrue(opener.records(sealed) == [(b"".join(pieces), False)], (count, size))

    def test_kinds_of_buffers(self) -> None:
        for sealer, opener in self.ends():
            for size in (5, 70000):
                body = os.urandom(size)
                kinds: list[Buffer] = [
                    body,
                    bytearray(body),
                    memoryview(body),
                    memoryview(bytearray(b"--" + body + b"--"))[2 : 2 + size],
                ]
                for piece in kinds:
                    sealed = sealer.seal([b"before", piece], 6 + size)
                    self.assertTrue(opener.records(sealed) == [(b"before" + body, False)])

    def test_results_are_independent(self) -> None:
        for sealer, opener in self.ends():
            first, second = sealer.seal([b"first"], 5), sealer.seal([b"second"], 6)
            self.assertEqual(opener.records(first + second), [(b"first", False), (b"second", False)])

    def test_too_long(self) -> None:
        """Nothing is sealed or counted then."""
        for sealer, opener in self.ends():
            self.assertRaises(ValueError, sealer.seal, [bytes(LARGEST + 1)], LARGEST + 1)
            self.assertRaises(ValueError, sealer.seal, [bytes(1)] * (LARGEST + 1), LARGEST + 1)
            self.assertEqual(opener.records(sealer.seal([b"ok"], 2)), [(b"ok", False)])

    def test_another_size_than_the_pieces_have(self) -> None:
        """Nothing else that lies in memory leaves with them."""
        for sealer, opener in self.ends():
            for count, size in ((1, 100), (1, 70000), (2, 35000), (100, 200)):
                pieces = [bytes(size)] * count
                for wrong in (0, 1, count * size - 1, count * size + 1, LARGEST):
                    self.assertRaises(ValueError, sealer.seal, pieces, wrong)
            self.assertRaises(ValueError, sealer.seal, [bytes(LARGEST), bytes(LARGEST)], LARGEST)
            self.assertEqual(opener.records(sealer.seal([b"ok"], 2)), [(b"ok", False)])

    def test_wrong_suite_or_key(self) -> None:
        for suite, size in ((0, 32), (3, 32), (AEGIS, 0), (AEGIS, 31), (CHACHA, 33), (CHACHA, 16)):
            self.assertRaises(ValueError, self.kind, suite, bytes(size))

    def test_pieces_are_released(self) -> None:
        for sealer, _ in self.ends():
            for size in (5, 70000):
                piece = bytearray(size)
                sealer.seal([piece], size)
                piece.clear()
                self.assertEqual(piece, b"")

    def test_rekey_by_size(self) -> None:
        """The record with which so many bytes have left under one key has REKEY; tags count, too."""
        for on_wire, flags in ((100, [False, False, True] * 2), (99, [False, False, False, True] * 2)):
            for sealer, opener in self.ends(300):
                size = on_wire - sealer.overhead
                wire = b"".join(sealer.seal([bytes(size)], size) for _ in flags)
                self.assertEqual(len(wire), len(flags) * on_wire)
                self.assertEqual([flag for _, flag in opener.records(wire)], flags)

    def test_rekey_by_default(self) -> None:
        """With the record with which 2^30 bytes have left."""
        for sealer, opener in self.ends():
            self.assertEqual(sealer._rekey_in, 2**30)
            sealer._rekey_in -= 2**30 - 200
            wire = b"".join(sealer.seal([bytes(size)], size) for size in (99 - sealer.overhead, 100, 0))
            self.assertEqual([flag for _, flag in opener.records(wire)], [False, True, False])
            self.assertEqual(sealer._rekey_in, 2**30 - sealer.overhead)

    def test_rekey_now(self) -> None:
        """The next record has it, once."""
        for sealer, opener in self.ends():
            wire = sealer.seal([b"before"], 6)
            sealer.rekey()
            sealer.rekey()
            wire += sealer.seal([b"last"], 4) + sealer.seal([b"new"], 3)
            self.assertEqual(opener.records(wire), [(b"before", False), (b"last", True), (b"new", False)])

    def test_rekey_at_each_record(self) -> None:
        for sealer, opener in self.ends(1):
            wire = b"".join(sealer.seal([b"x"], 1) for _ in range(20))
            self.assertEqual(opener.records(wire), [(b"x", True)] * 20)

    def test_no_number_is_used_twice(self) -> None:
        """Also where sealing was interrupted: then a record is missing, and the connection ends."""
        for sealer, opener in self.ends():
            encrypt, nonces = sealer._encrypt, list[bytes]()  # type: ignore[attr-defined]  # each way has it

            def watched(*arguments: Any, encrypt: Any = encrypt, nonces: list[bytes] = nonces) -> Any:
                nonces.append(arguments[-2])
                if len(nonces) in (1, 5):
                    raise KeyboardInterrupt
                return encrypt(*arguments)

            sealer._encrypt = watched  # type: ignore[attr-defined]
            for _ in range(4):
                with contextlib.suppress(KeyboardInterrupt):
                    sealer.seal([b"hello"], 5)
            self.assertEqual(len(nonces), 1 + 2 + 2 + 2)
            self.assertEqual(len(set(nonces)), len(nonces))
            opener.number = 8
            self.assertEqual(opener.records(sealer.seal([b"next"], 4)), [(b"next", False)])

    def test_old_key_is_erased(self) -> None:
        for sealer, opener in self.ends():
            held = held_key(sealer)
            sealer.rekey()
            opener.records(sealer.seal([b"last"], 4))
            self.assertEqual(key_in(held_key(sealer)), opener.key)
            self.assert_erased(held)

    def assert_erased(self, held: Any) -> None:
        """What held the old key does not any more."""
        self.assertNotEqual(key_in(held), KEY)


class OpenerTests(SynchronousTestCase):
    """
    Opening.
    """

    kind: type[Opener] = InnerOpener

    def ends(self) -> Iterator[tuple[Opener, PlainSealer]]:
        """What opens records, and what makes them, of each suite."""
        for suite in SUITES:
            yield self.start(suite)

    def start(self, suite: int = AEGIS) -> tuple[Opener, PlainSealer]:
        self.inbox = Inbox()
        return self.kind(suite, KEY), PlainSealer(suite, KEY)

    def receive(self, opener: Opener, data: bytes) -> list[bytes]:
        """The bodies of all records that are whole with these bytes."""
        return list(receive(opener, self.inbox, data))

    def receive_cut(self, opener: Opener, pieces: Iterable[bytes]) -> list[bytes]:
        return [body for piece in pieces for body in self.receive(opener, piece)]

    def test_sizes(self) -> None:
        """Whole in one read, with something behind, and cut into its head and its body."""
        for opener, sealer in self.ends():
            for size in SIZES:
                body = os.urandom(size)
                record, behind = sealer.record(body), sealer.record(b"behind")
                self.assertTrue(self.receive(opener, record + behind) == [body, b"behind"], size)
                self.assertEqual(self.inbox.size, 0)
                record = sealer.record(body)
                middle = 4 + sealer.tag_size
                self.assertEqual(self.receive(opener, record[:middle]), [])
                self.assertTrue(self.receive(opener, record[middle:]) == [body], size)

    def test_many_in_one_read(self) -> None:
        """One is opened at a time, and the others stay where they are."""
        for opener, sealer in self.ends():
            bodies = [bytes([number]) * number for number in range(20)]
            read = b"".join(sealer.record(body) for body in bodies)
            self.inbox.put(read)
            self.assertEqual(opener.receive(self.inbox), b"")
            self.assertIs(self.inbox.data, read)
            self.assertEqual(self.inbox.offset, 4 + 2 * sealer.tag_size)
            self.assertEqual(self.receive(opener, b""), bodies[1:])
            self.assertEqual((self.inbox.data, self.inbox.offset), (b"", 0))

    def test_head_alone(self) -> None:
        """It is opened, once, and nothing of it waits; it is known that a body belongs behind it."""
        for opener, sealer in self.ends():
            record, middle = sealer.record(b"hello"), 4 + sealer.tag_size
            self.assertFalse(opener.inside)
            self.assertEqual(self.receive(opener, record[: middle - 1]), [])
            self.assertFalse(opener.inside)
            self.assertEqual(self.receive(opener, record[middle - 1 : middle]), [])
            self.assertTrue(opener.inside)
            self.assertEqual(self.inbox.size, 0)
            self.assertIsNone(opener.receive(self.inbox))
            self.assertEqual(self.receive(opener, record[middle:-1]), [])
            self.assertTrue(opener.inside)
            self.assertEqual(self.receive(opener, record[-1:]), [b"hello"])
            self.assertFalse(opener.inside)

    def test_inside_a_long_body(self) -> None:
        """Also where the head came with so much of the body that a shorter record would have been whole."""
        for opener, sealer in self.ends():
            record = sealer.record(bytes(100))
            self.assertEqual(self.receive(opener, record[:90]), [])
            self.assertTrue(opener.inside)
            self.assertEqual(self.inbox.size, 90 - 4 - sealer.tag_size)
            self.assertEqual(self.receive(opener, record[90:]), [bytes(100)])
            self.assertFalse(opener.inside)

    def test_cut_anywhere(self) -> None:
        for suite in SUITES:
            sealer = PlainSealer(suite, KEY)
            bodies = [b"", b"hello", bytes(100)]
            wire = b"".join(
                sealer.record(body, rekey) for body, rekey in zip(bodies, (False, True, False), strict=True)
            )
            for place in range(len(wire)):
                opener, _ = self.start(suite)
                self.assertEqual(self.receive_cut(opener, [wire[:place], wire[place:]]), bodies, place)
            opener, _ = self.start(suite)
            self.assertEqual(self.receive_cut(opener, cut(wire, [1] * len(wire))), bodies)

    def assert_refused(self, error: type[RemoteProtocolError], opener: Opener, pieces: Iterable[bytes]) -> None:
        """No body comes, but this error."""
        with self.assertRaises(error):
            for piece in pieces:
                self.assertEqual(self.receive(opener, piece), [])

    def test_sizes_beyond(self) -> None:
        """At most 135168: said by the head, before the body has come."""
        for suite in SUITES:
            for size in (LARGEST + 1, 0x00FFFFFF):
                for rekey in (0, REKEY):
                    # Alone, and with so many bytes behind it that the quick way is taken.
                    for behind in (0, 100):
                        opener, sealer = self.start(suite)
                        head = sealer.message((size | rekey).to_bytes(4, "big"))
                        self.assert_refused(MalformedPDU, opener, [head + bytes(behind)])

    def test_spare_bits(self) -> None:
        """Bits 30-24 are zero."""
        for suite in SUITES:
            for bit in range(24, 31):
                for rekey in (0, REKEY):
                    for behind in (0, 100):
                        opener, sealer = self.start(suite)
                        head = sealer.message((1 << bit | rekey | 5).to_bytes(4, "big"))
                        self.assert_refused(MalformedPDU, opener, [head + bytes(behind)])

    def test_altered(self) -> None:
        """Whichever byte, whole or cut."""
        for suite in SUITES:
            record = PlainSealer(suite, KEY).record(b"hello")
            for place in range(len(record)):
                for sizes in ([len(record)], [10], [4 + TAG_SIZES[suite]], [60]):
                    opener, _ = self.start(suite)
                    self.assert_refused(DecryptionFailed, opener, cut(flip(record, place), sizes))

    def test_altered_when_large(self) -> None:
        for suite in SUITES:
            record = PlainSealer(suite, KEY).record(bytes(LARGEST))
            for place in (0, 4 + TAG_SIZES[suite], 70000, len(record) - 1):
                for sizes in ([len(record)], [100]):
                    opener, _ = self.start(suite)
                    self.assert_refused(DecryptionFailed, opener, cut(flip(record, place), sizes))

    def test_swapped(self) -> None:
        for opener, sealer in self.ends():
            first, second = sealer.record(b"first"), sealer.record(b"other")
            self.assert_refused(DecryptionFailed, opener, [second + first])

    def test_left_out(self) -> None:
        for opener, sealer in self.ends():
            self.assertEqual(self.receive(opener, sealer.record(b"first")), [b"first"])
            sealer.record(b"second")
            self.assert_refused(DecryptionFailed, opener, [sealer.record(b"third")])

    def test_repeated(self) -> None:
        for opener, sealer in self.ends():
            first = sealer.record(b"first")
            self.assertEqual(self.receive(opener, first), [b"first"])
            self.assert_refused(DecryptionFailed, opener, [first])

    def test_swapped_head_and_body(self) -> None:
        """A head is no body of 4 bytes, nor the other way round."""
        for opener, sealer in self.ends():
            record = sealer.record(b"\0\0\0\0")
            middle = 4 + sealer.tag_size
            self.assert_refused(DecryptionFailed, opener, [record[middle:] + record[:middle]])

    def test_reflected(self) -> None:
        """What this end has sent, for each direction has a key of its own."""
        for suite in SUITES:
            opener, _ = self.start(suite)
            self.assert_refused(DecryptionFailed, opener, [PlainSealer(suite, OTHER_KEY).record(b"hello")])

    def test_other_suite(self) -> None:
        for suite, other in ((AEGIS, CHACHA), (CHACHA, AEGIS)):
            opener, _ = self.start(suite)
            self.assert_refused(DecryptionFailed, opener, [PlainSealer(other, KEY).record(bytes(100))])

    def test_old_key_after_rekey(self) -> None:
        """Whether its sender goes on to count, or begins again."""
        for suite in SUITES:
            for number in (0, 2):
                opener, sealer = self.start(suite)
                self.assertEqual(self.receive(opener, sealer.record(b"last", rekey=True)), [b"last"])
                sealer.key, sealer.number = KEY, number
                self.assert_refused(DecryptionFailed, opener, [sealer.record(b"old")])

    def test_recorded_behind_rekey(self) -> None:
        """The first record under the old key, which had the same number."""
        for opener, sealer in self.ends():
            first = sealer.record(b"first")
            self.assertEqual(self.receive(opener, first + sealer.record(b"last", rekey=True)), [b"first", b"last"])
            self.assert_refused(DecryptionFailed, opener, [first])

    def test_new_key_without_rekey(self) -> None:
        for opener, sealer in self.ends():
            self.assertEqual(self.receive(opener, sealer.record(b"first")), [b"first"])
            sealer.rekey()
            self.assert_refused(DecryptionFailed, opener, [sealer.record(b"new")])

    def test_rekey(self) -> None:
        """Receivers follow any, whole or cut, at each record and at an empty one."""
        for opener, sealer in self.ends():
            for number in range(20):
                body = bytes(number % 3)
                record = sealer.record(body, rekey=True)
                self.assertEqual(self.receive_cut(opener, cut(record, [number * 5 or 1])), [body])

    def test_rekey_waits_for_the_body(self) -> None:
        """Head and body are still under the old key."""
        for opener, sealer in self.ends():
            record = sealer.record(b"hello", rekey=True)
            middle = 4 + sealer.tag_size
            self.assertEqual(self.receive(opener, record[:middle]), [])
            self.assertEqual(self.receive(opener, record[middle:] + sealer.record(b"new")), [b"hello", b"new"])

    def test_old_key_is_erased(self) -> None:
        for opener, sealer in self.ends():
            held = held_key(opener)
            self.receive(opener, sealer.record(b"last", rekey=True))
            self.assertEqual(key_in(held_key(opener)), sealer.key)
            self.assert_erased(held)

    def assert_erased(self, held: Any) -> None:
        """What held the old key does not any more."""
        self.assertNotEqual(key_in(held), KEY)

    def test_wrong_suite_or_key(self) -> None:
        for suite, size in ((0, 32), (3, 32), (AEGIS, 0), (AEGIS, 31), (CHACHA, 33), (CHACHA, 16)):
            self.assertRaises(ValueError, self.kind, suite, bytes(size))

    def test_small_bodies_are_independent(self) -> None:
        for opener, sealer in self.ends():
            self.inbox.put(sealer.record(b"first") + sealer.record(b"other"))
            first, second = opener.receive(self.inbox), opener.receive(self.inbox)
            self.assertEqual((first, second), (b"first", b"other"))

    def test_what_was_opened_is_let_go(self) -> None:
        """With the last record of a read, not when the next read comes."""
        for opener, sealer in self.ends():
            for size in (5, LARGEST):
                for sizes in ([], [100]):
                    for piece in cut(sealer.record(bytes(size)), sizes):
                        self.inbox.put(piece)
                        body = opener.receive(self.inbox)
                    assert body is not None
                    self.assertEqual(len(body), size)
                    self.assertEqual((self.inbox.data, self.inbox.offset, self.inbox.part), (b"", 0, None))


class PublicSealerTests(SealerTests):
    """
    The same over PyNaCl's public bindings.
    """

    kind = PublicSealer

    def assert_erased(self, held: Any) -> None:
        """It was let go: ``bytes`` can't be overwritten."""
        self.assertEqual(held, KEY)


class PublicOpenerTests(OpenerTests):
    """
    The same over PyNaCl's public bindings.
    """

    kind = PublicOpener

    def assert_erased(self, held: Any) -> None:
        """It was let go: ``bytes`` can't be overwritten."""
        self.assertEqual(held, KEY)


class EquivalenceTests(SynchronousTestCase):
    """
    Both ways over libsodium are the same.
    """

    @given(
        st.sampled_from(SUITES),
        st.sampled_from([InnerOpener, PublicOpener]),
        st.lists(st.tuples(st.binary(max_size=40), st.booleans()), max_size=8),
        st.lists(st.integers(1, 150), max_size=40),
    )
    @example(AEGIS, InnerOpener, [(b"abc", True), (b"", False), (b"", True)], [1] * 300)
    def test_any_cut(
        self, suite: int, kind: type[Opener], records: list[tuple[bytes, bool]], pieces: list[int]
    ) -> None:
        """The bodies are those of one read, and ``inside`` is true from a head to its body's end."""
        opener, sealer, inbox = kind(suite, KEY), PlainSealer(suite, KEY), Inbox()
        sealed = [sealer.record(body, rekey) for body, rekey in records]
        # Between these two places, counted from the first byte of all, a record has begun for good and is not whole.
        ends = [sum(map(len, sealed[: number + 1])) for number in range(len(sealed))]
        middle = 4 + sealer.tag_size
        spans = [(end - len(record) + middle, end) for record, end in zip(sealed, ends, strict=True)]
        bodies: list[bytes] = []
        received = 0
        for piece in cut(b"".join(sealed), pieces):
            bodies += receive(opener, inbox, piece)
            received += len(piece)
            self.assertEqual(len(bodies), sum(end <= received for end in ends))
            self.assertIs(opener.inside, any(first <= received < end for first, end in spans))
        self.assertEqual(bodies, [body for body, _ in records])

    @given(
        st.sampled_from(SUITES),
        st.lists(st.tuples(st.lists(st.binary(max_size=300), max_size=12), st.booleans(), st.booleans()), max_size=12),
        st.integers(1, 2000),
        st.lists(st.integers(1, 300), max_size=20),
    )
    def test_any_records(
        self,
        suite: int,
        records: list[tuple[list[bytes], bool, bool]],
        rekey_size: int,
        pieces: list[int],
    ) -> None:
        """They seal to the same bytes and open to the same bodies, with new keys on the way, until one is damaged."""
        sealers = [kind(suite, KEY, rekey_size) for kind in (InnerSealer, PublicSealer)]
        wire, expected, damaged = b"", [], False
        for parts, rekey, altered in records:
            size = sum(map(len, parts))
            if rekey:
                for sealer in sealers:
                    sealer.rekey()
            sealed = {sealer.seal(parts, size) for sealer in sealers}
            self.assertEqual(len(sealed), 1)
            wire += flip(sealed.pop(), 5) if altered else sealed.pop()
            damaged |= altered
            if not damaged:
                expected.append(b"".join(parts))
        for kind in (InnerOpener, PublicOpener):
            self.assertEqual(self.opened(kind(suite, KEY), cut(wire, pieces)), (expected, damaged))

    @given(
        st.sampled_from(SUITES),
        st.sampled_from([InnerOpener, PublicOpener]),
        st.lists(st.tuples(st.binary(max_size=300), st.booleans()), max_size=6),
        st.lists(DAMAGE, min_size=1, max_size=2),
        st.lists(st.integers(1, 300), max_size=20),
    )
    def test_any_damage(
        self,
        suite: int,
        kind: type[Opener],
        records: list[tuple[bytes, bool]],
        damages: list[Damage],
        pieces: list[int],
    ) -> None:
        """What opens is the beginning of what was sealed; behind it is an error, or more is waited for."""
        sealer = PlainSealer(suite, KEY)
        damaged = b"".join(sealer.record(body, rekey) for body, rekey in records)
        for what, place, how in damages:
            damaged = damage(damaged or b"\0", what, place, how)
        bodies, _ = self.opened(kind(suite, KEY), cut(damaged, pieces))
        self.assertEqual(bodies, [body for body, _ in records][: len(bodies)])

    def opened(self, opener: Opener, pieces: Iterable[bytes]) -> tuple[list[bytes], bool]:
        """The bodies, and whether an error is behind them."""
        inbox, bodies = Inbox(), list[bytes]()
        try:
            for piece in pieces:
                bodies += receive(opener, inbox, piece)
        except DecryptionFailed:
            return bodies, True
        return bodies, False

    def test_large(self) -> None:
        """Where the quick way goes other ways."""
        for suite in SUITES:
            sealers = [kind(suite, KEY) for kind in (InnerSealer, PublicSealer)]
            openers = [kind(suite, KEY) for kind in (InnerOpener, PublicOpener)]
            for size in SIZES:
                body = os.urandom(size)
                first, second = (sealer.seal([body[:7], body[7:]], size) for sealer in sealers)
                self.assertTrue(first == second, size)
                for opener in openers:
                    self.assertTrue(self.opened(opener, [first]) == ([body], False), size)


class ScratchTests(SynchronousTestCase):
    """
    The buffers that all records share.
    """

    def test_one_a_thread(self) -> None:
        """libsodium runs without the interpreter's lock, so two threads may not share it."""
        seen = []
        thread = threading.Thread(target=lambda: seen.append(inner_bindings._scratch.sealed))
        thread.start()
        thread.join()
        self.assertEqual(len(seen), 1)
        self.assertNotEqual(seen[0], inner_bindings._scratch.sealed)

    def test_sealing_while_a_body_is_read(self) -> None:
        """What is sealed meanwhile, as by code that runs when garbage is collected, does not change it."""
        inbox, body = Inbox(), os.urandom(LARGEST)
        inbox.put(PlainSealer(AEGIS, KEY).record(body))
        opened = InnerOpener(AEGIS, KEY).receive(inbox)
        InnerSealer(AEGIS, KEY).seal([bytes(LARGEST)], LARGEST)
        self.assertTrue(opened == body)


class ChoiceTests(SynchronousTestCase):
    """
    Which way is taken.
    """

    def test_quick_way(self) -> None:
        """Where it is there; ``test_without_the_inner_bindings`` of version 1's tests looks at the other."""
        self.assertEqual((records.Sealer, records.Opener), (InnerSealer, InnerOpener))
