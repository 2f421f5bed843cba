"""
Records on buffers of our own, over PyNaCl's inner module. All that is sent and received passes through here.

Each thread has three buffers. Records are sealed in the first, which they leave as ``bytes`` with one copy, or as a
view for whoever writes at once. What is received into the third is opened there. What comes as ``bytes`` is opened into
the second.

Importing this fails where PyNaCl has no such module.
"""

from __future__ import annotations

import struct
import threading
from collections.abc import Sequence
from typing import Any

from ..inbox import Buffer, Inbox, Room
from ..keys import KEY_SIZE
from ..sodium import ffi, lib
from ..version import RekeyAfter
from .sealing import HEAD_SIZE, MAX_BODY, REKEY, REKEY_PERSON, TAG_SIZES, Opener, Sealer
from .suites import AEGIS_256, CHACHA20_POLY1305

if lib is None:
    raise ImportError("this PyNaCl has no inner module that we know")

#: Up to this size it is quicker to cut a sealed message out, in bytes, than to point into what it lies in.
_CUT_OUT = 4096

#: Up to this size a body is given in bytes, of which many small payloads are quicker to take. A larger one stays in
#: the scratch buffer, for its payloads are copied out of it anyway.
_IN_BYTES = 32768

#: From this size on, so few pieces are put together where they are sealed. Many are quicker to join, but from 128 KiB
#: on, joining takes memory that the system gives anew each time, and that takes longer than to seal it.
_IN_PLACE = 65536
_FEW = 8

#: The most bytes of a record on the wire, and what is received at once where it is not known how many are to come.
_LARGEST = HEAD_SIZE + MAX_BODY + 2 * max(TAG_SIZES.values())

#: From so many bytes on, what is missing of a record is received alone, with the head behind it: then the next one
#: begins with its body, and nothing has to be put together.
_ALONE = 32768

_ENCRYPT = {
    AEGIS_256: lib.crypto_aead_aegis256_encrypt,
    CHACHA20_POLY1305: lib.crypto_aead_chacha20poly1305_ietf_encrypt,
}
_DECRYPT = {
    AEGIS_256: lib.crypto_aead_aegis256_decrypt,
    CHACHA20_POLY1305: lib.crypto_aead_chacha20poly1305_ietf_decrypt,
}
_blake2b = lib.crypto_generichash_blake2b_salt_personal
_NULL = ffi.NULL
_NO_SALT = bytes(16)
_from_buffer = ffi.from_buffer
_unpack_head = struct.Struct(">I").unpack_from


class _Scratch(threading.local):
    """
    Room for the largest record, with what cuts ``bytes`` out of it, and a view of it; libsodium runs without the
    interpreter's lock, so one a thread.

    :ivar sealed: what is sealed.
    :ivar opened: what is opened. It is another, since the last body may still be read when something is sealed.
    :ivar received: what is received, and opened where it lies.
    :ivar room: makes room in it.
    """

    def __init__(self) -> None:
        self.sealed, self.opened, self.received = _memory(_LARGEST), _memory(_LARGEST), _memory(2 * _LARGEST)
        self.room = Room(self.received[2])


def _memory(size: int) -> tuple[Any, Any, memoryview]:
    out = ffi.new("unsigned char[]", size)
    buffer = ffi.buffer(out)
    return out, buffer, memoryview(buffer)


_scratch = _Scratch()


def _next_key(key: Any) -> None:
    """Put the next key in the place of this one: so the old one is erased."""
    _blake2b(key, KEY_SIZE, _NULL, 0, key, KEY_SIZE, _NO_SALT, REKEY_PERSON)


class InnerSealer(Sealer):
    __doc__ = f"Over PyNaCl's inner module.\n{Sealer.__doc__}"
    __slots__ = ("_encrypt", "_key")

    def __init__(self, suite: int, key: bytes, rekey_size: int = RekeyAfter.size) -> None:
        super().__init__(suite, key, rekey_size)
        self._encrypt = _ENCRYPT[suite]
        self._key = ffi.new("unsigned char[]", KEY_SIZE)
        ffi.memmove(self._key, key, KEY_SIZE)

    def seal(self, pieces: Sequence[Buffer], size: int, passing: bool = False) -> Any:
        if size > MAX_BODY:
            raise ValueError(f"a record of {size} bytes")  # C would write behind the scratch buffer
        out, buffer, view = _scratch.sealed
        start = self._sealed_head_size
        body_out = out + start
        if size >= _IN_PLACE and len(pieces) <= _FEW:
            end = start
            for piece in pieces:
                place = end
                end += len(piece)
                view[place:end] = piece
            joined, body = end - start, body_out
        else:
            body = b"".join(pieces)
            joined = len(body)
        if joined != size:
            raise ValueError(f"a record of {size} bytes from {joined}")
        sealed_size = size + self.overhead
        number, nonce_size = self._nonce, self._nonce_size
        self._nonce = number + self._stride  # first: whatever is raised, no number is used twice
        self._rekey_in -= sealed_size
        if self._rekey_in > 0:
            head = size
        else:
            self._rekey_in = self._rekey_size
            head = size | REKEY
        encrypt, key = self._encrypt, self._key
        nonce, body_nonce = number.to_bytes(nonce_size, "little"), (number + self._step).to_bytes(nonce_size, "little")
        encrypt(out, _NULL, head.to_bytes(HEAD_SIZE, "big"), HEAD_SIZE, _NULL, 0, _NULL, nonce, key)
        encrypt(body_out, _NULL, body, size, _NULL, 0, _NULL, body_nonce, key)
        if head != size:
            self._next_key()
        # Small ones are copied about as quickly as looked at.
        return view[:sealed_size] if passing and size > _CUT_OUT else buffer[:sealed_size]

    def _next_key(self) -> None:
        _next_key(self._key)
        self._nonce = 0


class InnerOpener(Opener):
    __doc__ = f"Over PyNaCl's inner module.\n{Opener.__doc__}"
    __slots__ = ("_decrypt", "_key")

    def __init__(self, suite: int, key: bytes) -> None:
        super().__init__(suite, key)
        self._decrypt = _DECRYPT[suite]
        self._key = ffi.new("unsigned char[]", KEY_SIZE)
        ffi.memmove(self._key, key, KEY_SIZE)

    def get_buffer(self, inbox: Inbox) -> memoryview | None:
        size, head = _LARGEST, self._head
        if head is not None:
            missing = (head & ~REKEY) + self._tag_size + self._sealed_head_size - len(inbox.data) + inbox.offset
            if inbox.part is not None:
                missing -= len(inbox.part)
            if missing >= _ALONE:
                size = missing
        return _scratch.room.get_buffer(inbox, size)

    def received(self, inbox: Inbox, size: int) -> bool:
        _scratch.room.received(inbox, size)
        head = self._head
        return (
            head is None or inbox.part is not None or len(inbox.data) - inbox.offset >= (head & ~REKEY) + self._tag_size
        )

    def receive(self, inbox: Inbox) -> Buffer | None:
        # What Opener.receive() does, with all in one for a record that lies whole in one read, as most do.
        data, offset, head = inbox.data, inbox.offset, self._head
        received, head_size = len(data), self._sealed_head_size
        scratch = _scratch
        in_room = type(data) is memoryview
        if inbox.part is not None or (
            scratch.room.inbox is not inbox if in_room else offset + self.overhead > received
        ):
            return super().receive(inbox)
        opened, buffer, view = scratch.opened
        if in_room:
            if head is None and offset + head_size > received:
                return None  # it stays there
            place, buffer, view = scratch.received
            lies = place + offset
        decrypt, key, number, nonce_size = self._decrypt, self._key, self._nonce, self._nonce_size
        if head is None:
            nonce, body_offset = number.to_bytes(nonce_size, "little"), offset + head_size
            sealed = lies if in_room else data[offset:body_offset]
            if decrypt(opened, _NULL, _NULL, sealed, head_size, _NULL, 0, nonce, key):
                raise self._failed()
            (head,) = _unpack_head(scratch.opened[1])
            size = head if head <= MAX_BODY else self._judged(head) & ~REKEY
            offset = body_offset
        else:
            size = head & ~REKEY
        end = offset + size + self._tag_size
        if end > received:
            self._head = head
            inbox.offset = offset
            return None if in_room else super().receive(inbox)
        if in_room:
            sealed = opened = place + offset
            begin = offset
        else:
            sealed = data[offset:end] if size <= _CUT_OUT else _from_buffer(data) + offset
            begin = 0
        nonce = (number + self._step).to_bytes(nonce_size, "little")
        if decrypt(opened, _NULL, _NULL, sealed, end - offset, _NULL, 0, nonce, key):
            raise self._failed()
        self._head = None
        if head == size:
            self._nonce = number + self._stride
        else:
            self._next_key()
        if end == received:
            inbox.data, inbox.offset = b"", 0
        else:
            inbox.offset = end
            if in_room and end + head_size == received:
                self._look_ahead(inbox, place + end)
        return buffer[begin : begin + size] if size <= _IN_BYTES else view[begin : begin + size]

    def _look_ahead(self, inbox: Inbox, sealed: Any) -> None:
        """Open the next head, which has come alone. If anything is wrong with it, that is found behind this record."""
        opened, buffer, _ = _scratch.opened
        number = self._nonce.to_bytes(self._nonce_size, "little")
        if self._decrypt(opened, _NULL, _NULL, sealed, self._sealed_head_size, _NULL, 0, number, self._key):
            return
        (head,) = _unpack_head(buffer)
        if head & ~REKEY <= MAX_BODY:
            self._head = head
            inbox.data, inbox.offset = b"", 0

    def _open(self, nonce: int, data: Buffer, offset: int, size: int) -> Buffer:
        out, buffer, view = _scratch.opened
        number = nonce.to_bytes(self._nonce_size, "little")
        with _from_buffer(data) as start:
            failed = self._decrypt(
                out, _NULL, _NULL, start + offset, size + self._tag_size, _NULL, 0, number, self._key
            )
        if failed:
            raise self._failed()
        return buffer[:size] if size <= _IN_BYTES else view[:size]

    def _next_key(self) -> None:
        _next_key(self._key)
        self._nonce = 0
