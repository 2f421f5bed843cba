"""
Secretstreams over PyNaCl's public bindings, which copy each message more often and take only ``bytes``. They are
there with every PyNaCl.
"""

from __future__ import annotations

from nacl import bindings
from nacl.exceptions import CryptoError

from ..inbox import Buffer
from ..keys import KEY_SIZE
from ..version import RekeyAfter
from .messages import STREAM_HEADER_SIZE, STREAM_OVERHEAD, WINDOW
from .secretstream import TAG_FINAL, Pull, Push


class PublicPushStream(Push):
    __doc__ = f"Over PyNaCl's public bindings.\n{Push.__doc__}"
    __slots__ = ()

    def __init__(self, key: bytes, rekey_size: int = RekeyAfter.size) -> None:
        if len(key) != KEY_SIZE:
            raise ValueError(f"a session key of {len(key)} bytes")
        self.rekey_in = self._rekey_size = rekey_size
        self._state = bindings.crypto_secretstream_xchacha20poly1305_state()
        self.header = bytes(bindings.crypto_secretstream_xchacha20poly1305_init_push(self._state, key))

    def push(self, message: Buffer, tag: int) -> bytes:
        if len(message) > WINDOW:
            raise ValueError(f"a message of {len(message)} bytes")
        sealed = bindings.crypto_secretstream_xchacha20poly1305_push(self._state, bytes(message), None, tag)
        return bytes(sealed)


class PublicPullStream(Pull):
    __doc__ = f"Over PyNaCl's public bindings.\n{Pull.__doc__}"
    __slots__ = ()

    def __init__(self, key: bytes, header: bytes) -> None:
        if len(key) != KEY_SIZE or len(header) != STREAM_HEADER_SIZE:
            raise ValueError(f"a session key of {len(key)} bytes and a stream header of {len(header)}")
        self._state = bindings.crypto_secretstream_xchacha20poly1305_state()
        bindings.crypto_secretstream_xchacha20poly1305_init_pull(self._state, header, key)

    def pull(self, data: Buffer, offset: int, size: int) -> bytes:
        self._check(data, offset, size)
        sealed = bytes(memoryview(data)[offset : offset + size + STREAM_OVERHEAD])
        try:
            plain, tag = bindings.crypto_secretstream_xchacha20poly1305_pull(self._state, sealed, None)
        except (CryptoError, RuntimeError):
            raise self._failed() from None
        if tag == TAG_FINAL:
            raise self._final()
        return bytes(plain)
