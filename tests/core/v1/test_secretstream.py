"""
Tests of :mod:`sodiumtwist.core.v1.secretstream`.
"""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap
import threading

from hypothesis import given, strategies as st
from twisted.trial.unittest import SynchronousTestCase

import sodiumtwist
from sodiumtwist.core.errors import DecryptionFailed, MalformedPDU
from sodiumtwist.core.v1 import inner_bindings
from sodiumtwist.core.v1.public_bindings import PublicPullStream, PublicPushStream
from sodiumtwist.core.v1.records import PullStream, PushStream
from sodiumtwist.core.v1.secretstream import Pull, Push

from ..peers import (
    DATA,
    TAG_FINAL,
    TAG_MESSAGE,
    TAG_PUSH,
    TAG_REKEY,
    WINDOW,
    PlainPull,
    PlainPush,
    flip,
    pack_header,
)

KEY = b"\x42" * 32
ROOT = os.path.dirname(os.path.dirname(os.path.abspath(sodiumtwist.__file__)))


class PushStreamTests(SynchronousTestCase):
    """
    Sealing.
    """

    kind = PushStream

    def setUp(self) -> None:
        self.push = self.kind(KEY)
        self.pull = PlainPull(KEY, self.push.header)

    def test_header(self) -> None:
        self.assertEqual(len(self.push.header), 24)
        self.assertIs(type(self.push.header), bytes)
        self.assertNotEqual(self.push.header, self.kind(KEY).header)

    def test_two_messages(self) -> None:
        """29 bytes for the header, 17 more than the body for the body, both with tag MESSAGE."""
        header = pack_header(DATA, 5)
        sealed = self.push.push_pdu(header, b"hello")
        self.assertEqual(len(sealed), 51)
        self.assertEqual(self.pull.message(sealed[:29]), (header, TAG_MESSAGE))
        self.assertEqual(self.pull.message(sealed[29:]), (b"hello", TAG_MESSAGE))

    def test_sizes(self) -> None:
        for size in (0, 1, 16, 100, 65536, WINDOW):
            body = os.urandom(size)
            sealed = self.push.push_pdu(pack_header(DATA, size), body)
            self.assertEqual(len(sealed), size + 46)
            self.assertEqual(self.pull.pdus(sealed), [(DATA, body)])

    def test_kinds_of_buffers(self) -> None:
        for body in (b"hello", bytearray(b"hello"), memoryview(b"hello"), memoryview(bytearray(b"--hello--"))[2:7]):
            sealed = self.push.push_pdu(pack_header(DATA, 5), body)
            self.assertIs(type(sealed), bytes)
            self.assertEqual(self.pull.pdus(sealed), [(DATA, b"hello")])

    def test_results_are_independent(self) -> None:
        first = self.push.push_pdu(pack_header(DATA, 5), b"first")
        second = self.push.push_pdu(pack_header(DATA, 6), b"second")
        self.assertEqual(self.pull.pdus(first + second), [(DATA, b"first"), (DATA, b"second")])

    def test_body_too_long(self) -> None:
        with self.assertRaises(ValueError):
            self.push.push_pdu(pack_header(DATA, WINDOW + 1), bytes(WINDOW + 1))
        self.assertRaises(ValueError, self.push.push_data, bytes(WINDOW + 1))
        self.assertRaises(ValueError, self.push.push, bytes(WINDOW + 1), TAG_MESSAGE)
        sealed = self.push.push_pdu(pack_header(DATA, 2), b"ok")
        self.assertEqual(self.pull.pdus(sealed), [(DATA, b"ok")])

    def test_wrong_header_size(self) -> None:
        for size in (0, 11, 13):
            with self.assertRaises(ValueError):
                self.push.push_pdu(bytes(size), b"")

    def test_wrong_key_size(self) -> None:
        for size in (0, 31, 33):
            with self.assertRaises(ValueError):
                self.kind(bytes(size))

    def test_body_is_released(self) -> None:
        body = bytearray(b"hello")
        self.push.push_pdu(pack_header(DATA, 5), body)
        body.clear()
        self.assertEqual(body, b"")


class PullStreamTests(SynchronousTestCase):
    """
    Opening.
    """

    kind = PullStream

    def setUp(self) -> None:
        self.push = PlainPush(KEY)
        self.pull = self.kind(KEY, self.push.header)

    def test_message(self) -> None:
        opened = self.pull.pull(self.push.message(b"hello"), 0, 5)
        self.assertEqual(opened, b"hello")
        self.assertIs(type(opened), bytes)

    def test_sizes(self) -> None:
        for size in (0, 1, 12, 16, WINDOW):
            body = os.urandom(size)
            self.assertEqual(self.pull.pull(self.push.message(body), 0, size), body)

    def test_where_it_lies(self) -> None:
        for kind in (bytes, bytearray, memoryview):
            data = kind(b"before" + self.push.message(b"hello") + b"behind")
            self.assertEqual(self.pull.pull(data, 6, 5), b"hello")

    def test_results_are_independent(self) -> None:
        first = self.pull.pull(self.push.message(b"first"), 0, 5)
        second = self.pull.pull(self.push.message(b"other"), 0, 5)
        self.assertEqual((first, second), (b"first", b"other"))

    def test_never_reads_beyond_the_data(self) -> None:
        sealed = self.push.message(b"hello")
        for offset, size in [(0, 6), (1, 5), (0, WINDOW), (-1, 5), (0, -1), (0, -17), (22, 5), (100, 0)]:
            with self.assertRaises(ValueError):
                self.pull.pull(sealed, offset, size)
        self.assertEqual(self.pull.pull(sealed, 0, 5), b"hello")

    def test_never_writes_beyond_the_scratch_buffer(self) -> None:
        with self.assertRaises(ValueError):
            self.pull.pull(bytes(2 * WINDOW), 0, WINDOW + 1)

    def test_altered(self) -> None:
        """Whichever byte changed; and what comes next can still be the right message."""
        sealed = self.push.message(b"hello")
        for place in range(len(sealed)):
            with self.assertRaises(DecryptionFailed):
                self.pull.pull(flip(sealed, place), 0, 5)
        self.assertEqual(self.pull.pull(sealed, 0, 5), b"hello")

    def test_wrong_size(self) -> None:
        sealed = self.push.message(b"hello")
        with self.assertRaises(DecryptionFailed):
            self.pull.pull(sealed, 0, 4)
        with self.assertRaises(DecryptionFailed):
            self.pull.pull(sealed + b"\0", 0, 6)

    def test_out_of_order(self) -> None:
        first, second = self.push.message(b"first"), self.push.message(b"other")
        with self.assertRaises(DecryptionFailed):
            self.pull.pull(second, 0, 5)
        self.assertEqual(self.pull.pull(first, 0, 5), b"first")
        with self.assertRaises(DecryptionFailed):
            self.pull.pull(first, 0, 5)
        self.assertEqual(self.pull.pull(second, 0, 5), b"other")

    def test_wrong_key_or_header(self) -> None:
        for pull in (self.kind(b"\x43" * 32, self.push.header), self.kind(KEY, bytes(24))):
            with self.assertRaises(DecryptionFailed):
                pull.pull(self.push.message(b"hello"), 0, 5)

    def test_tag_final(self) -> None:
        with self.assertRaises(MalformedPDU):
            self.pull.pull(self.push.message(b"hello", TAG_FINAL), 0, 5)

    def test_tags_push_and_rekey(self) -> None:
        for tag in (TAG_PUSH, TAG_REKEY, TAG_MESSAGE, TAG_REKEY, TAG_PUSH, TAG_MESSAGE):
            self.assertEqual(self.pull.pull(self.push.message(b"hello", tag), 0, 5), b"hello")

    def test_wrong_sizes_of_key_and_header(self) -> None:
        for key_size, header_size in [(31, 24), (33, 24), (32, 23), (32, 25), (0, 0)]:
            with self.assertRaises(ValueError):
                self.kind(bytes(key_size), bytes(header_size))

    def test_data_is_released(self) -> None:
        """A buffer can be resized afterwards, also after a failure."""
        data = bytearray(self.push.message(b"hello"))
        self.pull.pull(data, 0, 5)
        data += b"more"
        data[0] ^= 1
        self.assertRaises(DecryptionFailed, self.pull.pull, data, 0, 5)
        data.clear()
        self.assertEqual(data, b"")

    def _pdu(self, body: bytes, header_tag: int = TAG_MESSAGE, body_tag: int = TAG_MESSAGE) -> bytes:
        header = pack_header(DATA, len(body))
        return self.push.message(header, header_tag) + self.push.message(body, body_tag)

    def test_pdu(self) -> None:
        """Where it lies, small and too large to be cut out."""
        for size in (0, 1, 100, 2048, 2049, WINDOW):
            body = os.urandom(size)
            data = b"before" + self._pdu(body) + b"behind"
            self.assertTrue(self.pull.pull_pdu(data, 6) == (DATA, size, body))

    def test_pdu_without_its_body(self) -> None:
        """The header is opened, and the body when it has come."""
        for left_off in (1, 22, 21):
            sealed = self._pdu(b"hello")
            self.assertEqual(self.pull.pull_pdu(sealed[:-left_off], 0), (DATA, 5, None))
            self.assertEqual(self.pull.pull(sealed, 29, 5), b"hello")

    def test_pdu_altered(self) -> None:
        """Header or body; the other of the two opens."""
        sealed = self._pdu(b"hello")
        for place in range(29):
            self.assertRaises(DecryptionFailed, self.pull.pull_pdu, flip(sealed, place), 0)
        self.assertRaises(DecryptionFailed, self.pull.pull_pdu, flip(sealed, 29), 0)
        self.assertEqual(self.pull.pull(sealed, 29, 5), b"hello")

    def test_pdu_with_tag_final(self) -> None:
        for tags in [(TAG_FINAL, TAG_MESSAGE), (TAG_MESSAGE, TAG_FINAL)]:
            self.setUp()
            self.assertRaises(MalformedPDU, self.pull.pull_pdu, self._pdu(b"hello", *tags), 0)

    def test_pdu_of_unknown_type(self) -> None:
        sealed = self.push.message(pack_header(9, 5)) + self.push.message(b"hello")
        self.assertRaises(MalformedPDU, self.pull.pull_pdu, sealed, 0)

    def test_pdu_never_reads_beyond_the_data(self) -> None:
        sealed = self._pdu(b"")
        for data, offset in [(b"", 0), (sealed[:28], 0), (sealed, 18), (sealed, 46), (sealed, 100), (sealed, -46)]:
            self.assertRaises(ValueError, self.pull.pull_pdu, data, offset)
        self.assertEqual(self.pull.pull_pdu(sealed, 0), (DATA, 0, b""))


class PublicPushStreamTests(PushStreamTests):
    """
    The same over PyNaCl's public bindings.
    """

    kind = PublicPushStream


class PublicPullStreamTests(PullStreamTests):
    """
    Likewise.
    """

    kind = PublicPullStream


class EquivalenceTests(SynchronousTestCase):
    """
    Both ways over libsodium are the same.
    """

    @given(
        st.lists(st.tuples(st.binary(max_size=3000), st.booleans(), st.booleans()), max_size=20),
        st.integers(1, 5000),
        st.sampled_from([PushStream, PublicPushStream]),
        st.sampled_from([PullStream, PublicPullStream]),
    )
    def test_any_messages(
        self,
        bodies: list[tuple[bytes, bool, bool]],
        rekey_size: int,
        push_kind: type[Push],
        pull_kind: type[Pull],
    ) -> None:
        """Whichever seals and whichever opens, with new keys on the way, and whatever is damaged between."""
        push = push_kind(KEY, rekey_size)
        pull, other = pull_kind(KEY, push.header), PullStream(KEY, push.header)
        for body, at_once, damaged in bodies:
            sealed = push.push_data(body) if at_once else push.push_pdu(pack_header(DATA, len(body)), body)
            if damaged:
                for stream in (pull, other):
                    self.assertRaises(DecryptionFailed, stream.pull, flip(sealed, 5), 0, 12)
            self.assertEqual(pull.pull_pdu(sealed, 0), (DATA, len(body), body))
            self.assertEqual(other.pull(sealed, 0, 12), pack_header(DATA, len(body)))
            self.assertEqual(other.pull(sealed, 29, len(body)), body)

    def test_largest(self) -> None:
        """Also where a message is too large to be cut out of what it lies in."""
        push, data = PushStream(KEY), os.urandom(WINDOW)
        sealed = push.push_pdu(pack_header(DATA, WINDOW), data)
        pull = PublicPullStream(KEY, push.header)
        pull.pull(sealed, 0, 12)
        self.assertTrue(pull.pull(sealed, 29, WINDOW) == data)

    def test_without_the_inner_bindings(self) -> None:
        """Then the public bindings serve, and nobody notices."""
        program = """
            import builtins
            real = builtins.__import__

            def without(name, globals=None, *arguments):
                if name == "nacl._sodium" and (globals or {}).get("__name__") == "sodiumtwist.core.sodium":
                    raise ImportError(name)
                return real(name, globals, *arguments)

            builtins.__import__ = without
            from sodiumtwist.core.v1 import public_bindings, records
            from sodiumtwist.core.v2 import public_bindings as v2_public_bindings, records as v2_records
            from sodiumtwist.core.connection import ClientConnection, ServerConnection
            from sodiumtwist.core.keys import KeyPair

            assert records.PushStream is public_bindings.PublicPushStream
            assert v2_records.Sealer is v2_public_bindings.PublicSealer
            pair = KeyPair.generate()
            client, server = ClientConnection(pair.public, "u", "p", 0), ServerConnection(pair, 0)
            client.initiate()
            list(server.receive_data(client.data_to_send(), 0))
            server.accept(0)
            list(client.receive_data(server.data_to_send(), 0))
            client.send_data(b"hello")
            (event,) = server.receive_data(client.data_to_send(), 0)
            print(event.payload)
        """
        done = subprocess.run(
            [sys.executable, "-c", textwrap.dedent(program)],
            capture_output=True,
            env={**os.environ, "PYTHONPATH": ROOT},
        )
        self.assertEqual((done.stdout, done.stderr), (b"b'hello'\n", b""))


class ScratchTests(SynchronousTestCase):
    """
    The buffer that all streams share.
    """

    def test_one_a_thread(self) -> None:
        """libsodium runs without the interpreter's lock, so two threads may not share it."""
        seen = []
        thread = threading.Thread(target=lambda: seen.append(inner_bindings._scratch.out))
        thread.start()
        thread.join()
        self.assertEqual(len(seen), 1)
        self.assertNotEqual(seen[0], inner_bindings._scratch.out)
