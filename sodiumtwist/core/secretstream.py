"""
The two directions of ``crypto_secretstream_xchacha20poly1305``, on buffers of our own.

This is the hot path, and the only place that calls libsodium through PyNaCl's inner module: the
public bindings copy each message more often and take only ``bytes``. Messages are written to
one scratch buffer per thread and leave it as ``bytes`` with one copy.

A stream is stateful: messages open in the order in which they were sealed, each once.
"""

from __future__ import annotations

import math
import threading
from dataclasses import dataclass
from typing import Union

from nacl._sodium import ffi, lib

from .errors import DecryptionFailed, LocalProtocolError, MalformedPDU
from .wire import HEADER_SIZE, KEY_SIZE, PDU_OVERHEAD, STREAM_HEADER_SIZE, STREAM_OVERHEAD, WINDOW

Buffer = Union[bytes, bytearray, memoryview]

_STATE_SIZE = lib.crypto_secretstream_xchacha20poly1305_statebytes()
_TAG_MESSAGE = lib.crypto_secretstream_xchacha20poly1305_tag_message()
_TAG_REKEY = lib.crypto_secretstream_xchacha20poly1305_tag_rekey()
_TAG_FINAL = lib.crypto_secretstream_xchacha20poly1305_tag_final()
_init_push = lib.crypto_secretstream_xchacha20poly1305_init_push
_init_pull = lib.crypto_secretstream_xchacha20poly1305_init_pull
_push = lib.crypto_secretstream_xchacha20poly1305_push
_pull = lib.crypto_secretstream_xchacha20poly1305_pull
_NULL = ffi.NULL
_buffer = ffi.buffer
_from_buffer = ffi.from_buffer


class _Scratch(threading.local):
    """Room for the largest PDU, sealed; libsodium runs without the interpreter's lock, so one a thread."""

    def __init__(self) -> None:
        self.out = ffi.new("unsigned char[]", PDU_OVERHEAD + WINDOW)
        self.tag = ffi.new("unsigned char *")


_scratch = _Scratch()


@dataclass(frozen=True)
class RekeyAfter:
    """
    When a sender moves on to a new key that can't be calculated back, by secretstream's tag REKEY on
    the last message under the old one. Receivers, the reference programs' too, follow by themselves.

    :ivar size: bytes sent since the last time, on the wire.
    :ivar seconds: since the last time; the next PDU after that has the tag.
    :raises LocalProtocolError: for a size below 1, or a time that is not over 0.
    """

    size: int = 2**30
    seconds: float = 3600.0

    def __post_init__(self) -> None:
        if self.size < 1 or not (math.isfinite(self.seconds) and self.seconds > 0):
            raise LocalProtocolError(
                f"a new key takes a size from 1 byte and a time over 0 seconds, not {self.size} and {self.seconds}"
            )


class PushStream:
    """
    Seals messages without additional data, with tag MESSAGE, or REKEY where a new key is due.

    :param key: 32 bytes, the session key to send with.
    :param rekey_size: after this many bytes a new key is due.
    :ivar header: 24 bytes, which the other end needs to open the stream.
    :ivar rekey_in: bytes until a new key is due; set to 0, the next PDU brings it.
    """

    def __init__(self, key: bytes, rekey_size: int = RekeyAfter.size) -> None:
        if len(key) != KEY_SIZE:
            raise ValueError(f"a session key of {len(key)} bytes")
        self._state = ffi.new("unsigned char[]", _STATE_SIZE)
        header = ffi.new("unsigned char[]", STREAM_HEADER_SIZE)
        _init_push(self._state, header, key)
        self.header = bytes(_buffer(header))
        self.rekey_in = self._rekey_size = rekey_size

    def push_pdu(self, header: bytes, body: Buffer) -> bytes:
        """
        Seal the two messages of one PDU.

        :param header: 12 bytes.
        :param body: up to 131070 bytes.
        :return: ``len(body) + 46`` bytes for the wire.
        """
        out = _scratch.out
        size = len(body)
        if len(header) != HEADER_SIZE or size > WINDOW:
            raise ValueError(f"a PDU of {len(header)} and {size} bytes")
        if type(body) is not bytes:
            body = _from_buffer(body)
        tag = _TAG_MESSAGE
        self.rekey_in -= PDU_OVERHEAD + size
        if self.rekey_in <= 0:
            tag, self.rekey_in = _TAG_REKEY, self._rekey_size
        _push(self._state, out, _NULL, header, HEADER_SIZE, _NULL, 0, _TAG_MESSAGE)
        _push(self._state, out + (HEADER_SIZE + STREAM_OVERHEAD), _NULL, body, size, _NULL, 0, tag)
        return _buffer(out, PDU_OVERHEAD + size)[:]


class PullStream:
    """
    Opens messages, in order.

    :param key: 32 bytes, the session key to receive with.
    :param header: 24 bytes, as the sender's :attr:`PushStream.header`.
    """

    def __init__(self, key: bytes, header: bytes) -> None:
        if len(key) != KEY_SIZE or len(header) != STREAM_HEADER_SIZE:
            raise ValueError(f"a session key of {len(key)} bytes and a stream header of {len(header)}")
        self._state = ffi.new("unsigned char[]", _STATE_SIZE)
        _init_pull(self._state, header, key)

    def pull(self, data: Buffer, offset: int, size: int) -> bytes:
        """
        Open one message where it lies.

        :param data: what was received.
        :param offset: where in ``data`` the sealed message begins.
        :param size: its plaintext's size, at most 131070; 17 bytes more are read.
        :return: the plaintext.
        :raises DecryptionFailed: when it was altered, or is not the next message of this stream.
        :raises MalformedPDU: when it has tag FINAL, which this protocol does not use.
        """
        if offset < 0 or not 0 <= size <= WINDOW or offset + size + STREAM_OVERHEAD > len(data):
            raise ValueError(f"no {size} bytes at {offset} of {len(data)}")
        scratch = _scratch
        with _from_buffer(data) as start:
            failed = _pull(
                self._state, scratch.out, _NULL, scratch.tag, start + offset, size + STREAM_OVERHEAD, _NULL, 0
            )
        if failed:
            raise DecryptionFailed("a PDU does not decrypt; it was altered on the way or sent out of order")
        if scratch.tag[0] == _TAG_FINAL:
            raise MalformedPDU("a PDU with secretstream tag FINAL")
        return _buffer(scratch.out, size)[:]
