"""
Secretstreams on buffers of our own, over PyNaCl's inner module. Every PDU passes through here.

Messages are opened where they lie, and sealed into one scratch buffer a thread, which they leave as ``bytes`` with
one copy.

Importing this fails where PyNaCl has no such module.
"""

from __future__ import annotations

import threading

from ..inbox import Buffer
from ..keys import KEY_SIZE
from ..sodium import ffi, lib
from ..version import RekeyAfter
from .messages import (
    ENCRYPTED_HEADER_SIZE,
    HEADER,
    HEADER_SIZE,
    MAGIC,
    PDU_OVERHEAD,
    STREAM_HEADER_SIZE,
    STREAM_OVERHEAD,
    WINDOW,
    PDUType,
    pack_data_header,
    unpack_stream_header,
)
from .secretstream import TAG_FINAL, TAG_MESSAGE, TAG_REKEY, Pull, Push

if lib is None:
    raise ImportError("this PyNaCl has no inner module that we know")

#: Up to this size it is quicker to cut a message out, in bytes, than to point into what it lies in.
_CUT_OUT = 2048

_STATE_SIZE = lib.crypto_secretstream_xchacha20poly1305_statebytes()
_init_push = lib.crypto_secretstream_xchacha20poly1305_init_push
_init_pull = lib.crypto_secretstream_xchacha20poly1305_init_pull
_push = lib.crypto_secretstream_xchacha20poly1305_push
_pull = lib.crypto_secretstream_xchacha20poly1305_pull
_NULL = ffi.NULL
_from_buffer = ffi.from_buffer
_unpack_header = HEADER.unpack_from
_DATA = PDUType.DATA


class _Scratch(threading.local):
    """
    Room for the largest PDU, sealed, where its body begins there, what cuts ``bytes`` out of it, and room
    for a tag; libsodium runs without the interpreter's lock, so one a thread.
    """

    def __init__(self) -> None:
        out = ffi.new("char[]", PDU_OVERHEAD + WINDOW)
        self.out = out, out + (HEADER_SIZE + STREAM_OVERHEAD), ffi.buffer(out), ffi.new("unsigned char *")


_scratch = _Scratch()


class InnerPushStream(Push):
    __doc__ = f"Over PyNaCl's inner module.\n{Push.__doc__}"
    __slots__ = ()

    def __init__(self, key: bytes, rekey_size: int = RekeyAfter.size) -> None:
        if len(key) != KEY_SIZE:
            raise ValueError(f"a session key of {len(key)} bytes")
        self.rekey_in = self._rekey_size = rekey_size
        self._state = ffi.new("unsigned char[]", _STATE_SIZE)
        header = ffi.new("char[]", STREAM_HEADER_SIZE)
        _init_push(self._state, header, key)
        self.header = bytes(ffi.buffer(header))

    def push(self, message: Buffer, tag: int) -> bytes:
        size = len(message)
        if size > WINDOW:
            raise ValueError(f"a message of {size} bytes")  # C would write behind the scratch buffer
        if type(message) is not bytes:
            message = _from_buffer(message)
        out, _, view, _ = _scratch.out
        _push(self._state, out, _NULL, message, size, _NULL, 0, tag)
        sealed: bytes = view[: size + STREAM_OVERHEAD]
        return sealed

    def push_data(self, payload: Buffer) -> bytes:
        # What push_pdu() does, in one, for it is called for each: sealed side by side, and copied out once.
        size = len(payload)
        if size > WINDOW:
            raise ValueError(f"a message of {size} bytes")
        sealed_size = size + PDU_OVERHEAD
        self.rekey_in -= sealed_size
        if self.rekey_in > 0:
            tag = TAG_MESSAGE
        else:
            self.rekey_in = self._rekey_size
            tag = TAG_REKEY
        if type(payload) is not bytes:
            payload = _from_buffer(payload)
        out, body_out, view, _ = _scratch.out
        state = self._state
        _push(state, out, _NULL, pack_data_header(size), HEADER_SIZE, _NULL, 0, TAG_MESSAGE)
        _push(state, body_out, _NULL, payload, size, _NULL, 0, tag)
        sealed: bytes = view[:sealed_size]
        return sealed


class InnerPullStream(Pull):
    __doc__ = f"Over PyNaCl's inner module.\n{Pull.__doc__}"
    __slots__ = ()

    def __init__(self, key: bytes, header: bytes) -> None:
        if len(key) != KEY_SIZE or len(header) != STREAM_HEADER_SIZE:
            raise ValueError(f"a session key of {len(key)} bytes and a stream header of {len(header)}")
        self._state = ffi.new("unsigned char[]", _STATE_SIZE)
        _init_pull(self._state, header, key)

    def pull(self, data: Buffer, offset: int, size: int) -> bytes:
        self._check(data, offset, size)
        out, _, view, tag = _scratch.out
        with _from_buffer(data) as start:
            failed = _pull(self._state, out, _NULL, tag, start + offset, size + STREAM_OVERHEAD, _NULL, 0)
        if failed:
            raise self._failed()
        if tag[0] == TAG_FINAL:
            raise self._final()
        opened: bytes = view[:size]
        return opened

    def pull_pdu(self, data: bytes, offset: int) -> tuple[PDUType, int, bytes | None]:
        # Two calls of pull() and one of unpack_stream_header() in one, for small PDUs: it is called for each.
        start = offset + ENCRYPTED_HEADER_SIZE
        sealed = data[offset:start]
        if offset < 0 or len(sealed) != ENCRYPTED_HEADER_SIZE:
            self._check(data, offset, HEADER_SIZE)
        out, _, view, tag = _scratch.out
        if _pull(self._state, out, _NULL, tag, sealed, ENCRYPTED_HEADER_SIZE, _NULL, 0):
            raise self._failed()
        if tag[0] == TAG_FINAL:
            raise self._final()
        pdu_type: PDUType
        magic, pdu_type, size = _unpack_header(view)
        if pdu_type == _DATA and magic == MAGIC and size <= WINDOW:
            pdu_type = _DATA  # as nearly all are
        else:
            pdu_type, size = unpack_stream_header(view)
        end = start + size + STREAM_OVERHEAD
        if end > len(data):
            return pdu_type, size, None
        if size > _CUT_OUT:
            return pdu_type, size, self.pull(data, start, size)
        if _pull(self._state, out, _NULL, tag, data[start:end], end - start, _NULL, 0):
            raise self._failed()
        if tag[0] == TAG_FINAL:
            raise self._final()
        return pdu_type, size, view[:size]
