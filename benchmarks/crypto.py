"""
The first tier: encryption alone. A PDU is two messages of a secretstream, 12 bytes and a body.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import count
from time import perf_counter
from typing import Any

from nacl import bindings

from sodiumtwist.core.inbox import Inbox
from sodiumtwist.core.v1.messages import ENCRYPTED_HEADER_SIZE, HEADER_SIZE, STREAM_OVERHEAD
from sodiumtwist.core.v1.records import PullStream, PushStream
from sodiumtwist.core.v2.records import Opener, Sealer
from sodiumtwist.core.v2.suites import AEGIS_256

from .payloads import payload
from .plan import Plan
from .tables import NotInstalled, Table, in_turn, progress

try:
    from nacl._sodium import ffi, lib
except ImportError:  # it is no documented part of PyNaCl, and may go
    ffi = lib = None

#: Sizes of bodies in bytes; the last is the largest that a DATA can have.
SIZES = {"100 B": 100, "64 KiB": 65536, "128 KiB": 131070}

KEY = bytes(range(32))
HEADER = bytes(HEADER_SIZE)
TAG = bindings.crypto_secretstream_xchacha20poly1305_TAG_MESSAGE

#: How many PDUs are sealed at a time, outside the measured time, before opening them is measured.
SEALED_AT_ONCE = 64


def _new_state() -> Any:
    if lib is None:
        raise NotInstalled("nacl._sodium")
    return ffi.new("unsigned char[]", lib.crypto_secretstream_xchacha20poly1305_statebytes())


def _libsodium_push() -> tuple[bytes, Callable[[bytes, bytes], None]]:
    state = _new_state()
    stream_header = ffi.new("unsigned char[]", 24)
    lib.crypto_secretstream_xchacha20poly1305_init_push(state, stream_header, KEY)
    out = ffi.new("unsigned char[]", max(SIZES.values()) + 2 * STREAM_OVERHEAD + HEADER_SIZE)
    push, null, behind = lib.crypto_secretstream_xchacha20poly1305_push, ffi.NULL, out + ENCRYPTED_HEADER_SIZE

    def seal(header: bytes, body: bytes) -> None:
        push(state, out, null, header, HEADER_SIZE, null, 0, TAG)
        push(state, behind, null, body, len(body), null, 0, TAG)

    return bytes(ffi.buffer(stream_header)), seal


def _libsodium_pull(stream_header: bytes) -> Callable[[bytes, int], None]:
    state = _new_state()
    lib.crypto_secretstream_xchacha20poly1305_init_pull(state, stream_header, KEY)
    out = ffi.new("unsigned char[]", max(SIZES.values()))
    tag = ffi.new("unsigned char *")
    pull, null, from_buffer = lib.crypto_secretstream_xchacha20poly1305_pull, ffi.NULL, ffi.from_buffer

    def open_pdu(sealed: bytes, size: int) -> None:
        start = from_buffer(sealed)
        failed = pull(state, out, null, tag, start, ENCRYPTED_HEADER_SIZE, null, 0)
        behind = start + ENCRYPTED_HEADER_SIZE
        if failed or pull(state, out, null, tag, behind, size + STREAM_OVERHEAD, null, 0):
            raise ValueError("what libsodium has sealed does not open")

    return open_pdu


def libsodium_there_and_back() -> Callable[[bytes], None]:
    """
    Begin a stream of libsodium's.

    :return: a function that seals a PDU with the given body and opens it.
    """
    state, opening = _new_state(), _new_state()
    stream_header, tag = ffi.new("unsigned char[]", 24), ffi.new("unsigned char *")
    lib.crypto_secretstream_xchacha20poly1305_init_push(state, stream_header, KEY)
    lib.crypto_secretstream_xchacha20poly1305_init_pull(opening, stream_header, KEY)
    sealed, opened = (ffi.new("unsigned char[]", max(SIZES.values()) + STREAM_OVERHEAD) for _ in range(2))
    push, pull = lib.crypto_secretstream_xchacha20poly1305_push, lib.crypto_secretstream_xchacha20poly1305_pull
    null = ffi.NULL

    def there_and_back(body: bytes) -> None:
        for message in (HEADER, body):
            size = len(message)
            push(state, sealed, null, message, size, null, 0, TAG)
            if pull(opening, opened, null, tag, sealed, size + STREAM_OVERHEAD, null, 0):
                raise ValueError("what libsodium has sealed does not open")

    return there_and_back


def libsodium_record_there_and_back() -> Callable[[bytes], None]:
    """
    Begin to count the nonces of records of version 2.

    :return: a function that seals a head and the given body with AEGIS-256, and opens both.
    """
    _new_state()  # which says it where there is no inner module
    sealed, opened = (ffi.new("unsigned char[]", max(SIZES.values()) + 32) for _ in range(2))
    encrypt, decrypt = lib.crypto_aead_aegis256_encrypt, lib.crypto_aead_aegis256_decrypt
    head, null, numbers = bytes(4), ffi.NULL, count()

    def there_and_back(body: bytes) -> None:
        for message in (head, body):
            size, nonce = len(message), next(numbers).to_bytes(32, "little")
            encrypt(sealed, null, message, size, null, 0, null, nonce, KEY)
            if decrypt(opened, null, null, sealed, size + 32, null, 0, nonce, KEY):
                raise ValueError("what libsodium has sealed does not open")

    return there_and_back


def record_there_and_back() -> Callable[[bytes], None]:
    """
    Begin both directions of records of version 2.

    :return: a function that seals a record with the given body, and opens it.
    """
    sealer, opener, inbox = Sealer(AEGIS_256, KEY), Opener(AEGIS_256, KEY), Inbox()

    def there_and_back(body: bytes) -> None:
        inbox.put(sealer.seal([body], len(body)))
        if opener.receive(inbox) is None:
            raise ValueError("a record did not come whole")

    return there_and_back


def _bindings_push() -> tuple[bytes, Callable[[bytes, bytes], bytes]]:
    state = bindings.crypto_secretstream_xchacha20poly1305_state()
    stream_header = bindings.crypto_secretstream_xchacha20poly1305_init_push(state, KEY)
    push = bindings.crypto_secretstream_xchacha20poly1305_push
    return stream_header, lambda header, body: push(state, header) + push(state, body)


def _bindings_pull(stream_header: bytes) -> Callable[[bytes, int], bytes]:
    state = bindings.crypto_secretstream_xchacha20poly1305_state()
    bindings.crypto_secretstream_xchacha20poly1305_init_pull(state, stream_header, KEY)
    pull = bindings.crypto_secretstream_xchacha20poly1305_pull

    def open_pdu(sealed: bytes, size: int) -> bytes:
        pull(state, sealed[:ENCRYPTED_HEADER_SIZE])
        return pull(state, sealed[ENCRYPTED_HEADER_SIZE:])[0]

    return open_pdu


def _our_push() -> tuple[bytes, Callable[[bytes, bytes], bytes]]:
    stream = PushStream(KEY)
    return stream.header, lambda header, body: stream.push_data(body)


def _our_pull(stream_header: bytes) -> Callable[[bytes, int], bytes]:
    pull = PullStream(KEY, stream_header).pull

    def open_pdu(sealed: bytes, size: int) -> bytes:
        pull(sealed, 0, HEADER_SIZE)
        return pull(sealed, ENCRYPTED_HEADER_SIZE, size)

    return open_pdu


PUSH = {"core.v1.records": _our_push, "libsodium itself": _libsodium_push, "nacl.bindings": _bindings_push}
PULL = {"core.v1.records": _our_pull, "libsodium itself": _libsodium_pull, "nacl.bindings": _bindings_pull}


def push_rate(begin: Callable[[], tuple[bytes, Callable[[bytes, bytes], object]]], body: bytes, count: int) -> float:
    """
    Measure sealing PDUs.

    :param begin: begins a stream.
    :param body: the body of each.
    :param count: how many.
    :return: MB of bodies in a second.
    """
    _, seal = begin()
    began = perf_counter()
    for _ in range(count):
        seal(HEADER, body)
    return len(body) * count / (perf_counter() - began) / 1e6


def pull_rate(begin: Callable[[bytes], Callable[[bytes, int], object]], body: bytes, count: int) -> float:
    """
    Measure opening PDUs.

    :param begin: begins a stream.
    :param body: the body of each.
    :param count: how many.
    :return: MB of bodies in a second.
    """
    stream = PushStream(KEY)
    open_pdu = begin(stream.header)
    size, seconds, left = len(body), 0.0, count
    while left:
        sealed = [stream.push_pdu(HEADER, body) for _ in range(min(left, SEALED_AT_ONCE))]
        left -= len(sealed)
        began = perf_counter()
        for pdu in sealed:
            open_pdu(pdu, size)
        seconds += perf_counter() - began
    return size * count / seconds / 1e6


def run(plan: Plan) -> Iterator[Table]:
    """
    Take all figures of this module.

    :param plan: how much to measure.
    """
    for label, size in SIZES.items():
        progress(f"crypto, {label}")
        body = payload(size)
        count = min(max(1, plan.crypto_bytes // size), 4 * plan.core_pdus)
        for verb, rate, ways in (("push", push_rate, PUSH), ("pull", pull_rate, PULL)):
            measure = {
                name: lambda rate=rate, begin=begin, body=body, count=count: rate(begin, body, count)
                for name, begin in ways.items()
            }
            table = Table(f"crypto-{verb}-{size}", f"secretstream {verb}, {label} PDUs", "MB/s")
            yield in_turn(table, measure, plan.rounds, plan.warm_up)
