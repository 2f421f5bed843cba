"""
The two directions of ``crypto_secretstream_xchacha20poly1305``, on buffers of our own.

This is the hot path, and the only place that calls libsodium through PyNaCl's inner module: the
public bindings copy each message more often and take only ``bytes``. Messages are opened where they lie
and sealed into one scratch buffer per thread, which they leave as ``bytes`` with one copy. Where the inner
module is missing, the public bindings do the same more slowly.

A stream is stateful: messages open in the order in which they were sealed, each once.
"""

from __future__ import annotations

import threading

from nacl import bindings
from nacl.exceptions import CryptoError

from ..errors import DecryptionFailed, MalformedPDU
from ..keys import KEY_SIZE
from ..version import Buffer, RekeyAfter
from .messages import (
    ENCRYPTED_HEADER_SIZE,
    HEADER_SIZE,
    PDU_OVERHEAD,
    STREAM_HEADER_SIZE,
    STREAM_OVERHEAD,
    WINDOW,
    PDUType,
    unpack_stream_header,
)

try:
    from nacl._sodium import ffi, lib
except ImportError:
    ffi = lib = None


_TAG_MESSAGE: int = bindings.crypto_secretstream_xchacha20poly1305_TAG_MESSAGE
_TAG_REKEY: int = bindings.crypto_secretstream_xchacha20poly1305_TAG_REKEY
_TAG_FINAL: int = bindings.crypto_secretstream_xchacha20poly1305_TAG_FINAL

#: Up to this size it is quicker to cut a message out, in bytes, than to point into what it lies in.
_CUT_OUT = 2048


class _Push:
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
        self.rekey_in = self._rekey_size = rekey_size
        self.header = self._begin(key)

    def _begin(self, key: bytes) -> bytes:
        raise NotImplementedError

    def push_pdu(self, header: bytes, body: Buffer) -> bytes:
        """
        Seal the two messages of one PDU.

        :param header: 12 bytes.
        :param body: up to 131070 bytes.
        :return: ``len(body) + 46`` bytes for the wire.
        """
        raise NotImplementedError

    def _check(self, header: bytes, size: int) -> int:
        """See that a PDU fits, and tell the tag of its body."""
        if len(header) != HEADER_SIZE or size > WINDOW:
            raise ValueError(f"a PDU of {len(header)} and {size} bytes")
        self.rekey_in -= PDU_OVERHEAD + size
        if self.rekey_in > 0:
            return _TAG_MESSAGE
        self.rekey_in = self._rekey_size
        return _TAG_REKEY


class _Pull:
    """
    Opens messages, in order.

    :param key: 32 bytes, the session key to receive with.
    :param header: 24 bytes, as the sender's :attr:`PushStream.header`.
    """

    def __init__(self, key: bytes, header: bytes) -> None:
        if len(key) != KEY_SIZE or len(header) != STREAM_HEADER_SIZE:
            raise ValueError(f"a session key of {len(key)} bytes and a stream header of {len(header)}")
        self._begin(key, header)

    def _begin(self, key: bytes, header: bytes) -> None:
        raise NotImplementedError

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
        raise NotImplementedError

    def pull_pdu(self, data: bytes, offset: int) -> tuple[PDUType, int, bytes | None]:
        """
        Open the two messages of one PDU where it lies, or only its header where not all of it is there.

        :param data: what was received.
        :param offset: where in ``data`` the sealed header begins; it is there whole.
        :return: the type, the body's size, and the body; ``None`` when that is not there whole.
        :raises DecryptionFailed, MalformedPDU: as :meth:`pull`.
        :raises RemoteProtocolError: as :func:`~sodiumtwist.core.v1.messages.unpack_stream_header`.
        """
        pdu_type, size = unpack_stream_header(self.pull(data, offset, HEADER_SIZE))
        offset += ENCRYPTED_HEADER_SIZE
        if offset + size + STREAM_OVERHEAD > len(data):
            return pdu_type, size, None
        return pdu_type, size, self.pull(data, offset, size)

    @staticmethod
    def _check(data: Buffer, offset: int, size: int) -> None:
        if offset < 0 or not 0 <= size <= WINDOW or offset + size + STREAM_OVERHEAD > len(data):
            raise ValueError(f"no {size} bytes at {offset} of {len(data)}")

    @staticmethod
    def _failed() -> DecryptionFailed:
        return DecryptionFailed("a PDU does not decrypt; it was altered on the way or sent out of order")

    @staticmethod
    def _final() -> MalformedPDU:
        return MalformedPDU("a PDU with secretstream tag FINAL")


class PublicPushStream(_Push):
    __doc__ = f"Over PyNaCl's public bindings.\n{_Push.__doc__}"

    def _begin(self, key: bytes) -> bytes:
        self._state = bindings.crypto_secretstream_xchacha20poly1305_state()
        return bytes(bindings.crypto_secretstream_xchacha20poly1305_init_push(self._state, key))

    def push_pdu(self, header: bytes, body: Buffer) -> bytes:
        tag = self._check(header, len(body))
        push = bindings.crypto_secretstream_xchacha20poly1305_push
        sealed = push(self._state, header, None, _TAG_MESSAGE) + push(self._state, bytes(body), None, tag)
        return bytes(sealed)


class PublicPullStream(_Pull):
    __doc__ = f"Over PyNaCl's public bindings.\n{_Pull.__doc__}"

    def _begin(self, key: bytes, header: bytes) -> None:
        self._state = bindings.crypto_secretstream_xchacha20poly1305_state()
        bindings.crypto_secretstream_xchacha20poly1305_init_pull(self._state, header, key)

    def pull(self, data: Buffer, offset: int, size: int) -> bytes:
        self._check(data, offset, size)
        sealed = bytes(memoryview(data)[offset : offset + size + STREAM_OVERHEAD])
        try:
            plain, tag = bindings.crypto_secretstream_xchacha20poly1305_pull(self._state, sealed, None)
        except (CryptoError, RuntimeError):
            raise self._failed() from None
        if tag == _TAG_FINAL:
            raise self._final()
        return bytes(plain)


if lib is None:
    PushStream = PublicPushStream
    PullStream = PublicPullStream
else:
    _STATE_SIZE = lib.crypto_secretstream_xchacha20poly1305_statebytes()
    _init_push = lib.crypto_secretstream_xchacha20poly1305_init_push
    _init_pull = lib.crypto_secretstream_xchacha20poly1305_init_pull
    _push = lib.crypto_secretstream_xchacha20poly1305_push
    _pull = lib.crypto_secretstream_xchacha20poly1305_pull
    _NULL = ffi.NULL
    _from_buffer = ffi.from_buffer

    class _Scratch(threading.local):
        """
        Room for the largest PDU, sealed, where its body begins there, what cuts ``bytes`` out of it, and room
        for a tag; libsodium runs without the interpreter's lock, so one a thread.
        """

        def __init__(self) -> None:
            out = ffi.new("char[]", PDU_OVERHEAD + WINDOW)
            self.out = out, out + (HEADER_SIZE + STREAM_OVERHEAD), ffi.buffer(out), ffi.new("unsigned char *")

    _scratch = _Scratch()

    class PushStream(_Push):  # type: ignore[no-redef]  # what it is, is known when it is imported
        __doc__ = _Push.__doc__

        def _begin(self, key: bytes) -> bytes:
            self._state = ffi.new("unsigned char[]", _STATE_SIZE)
            header = ffi.new("char[]", STREAM_HEADER_SIZE)
            _init_push(self._state, header, key)
            return bytes(ffi.buffer(header))

        def push_pdu(self, header: bytes, body: Buffer) -> bytes:
            size = len(body)
            tag = self._check(header, size)
            if type(body) is not bytes:
                body = _from_buffer(body)
            out, body_out, view, _ = _scratch.out
            state = self._state
            _push(state, out, _NULL, header, HEADER_SIZE, _NULL, 0, _TAG_MESSAGE)
            _push(state, body_out, _NULL, body, size, _NULL, 0, tag)
            sealed: bytes = view[: size + PDU_OVERHEAD]
            return sealed

    class PullStream(_Pull):  # type: ignore[no-redef]  # likewise
        __doc__ = _Pull.__doc__

        def _begin(self, key: bytes, header: bytes) -> None:
            self._state = ffi.new("unsigned char[]", _STATE_SIZE)
            _init_pull(self._state, header, key)

        def pull(self, data: Buffer, offset: int, size: int) -> bytes:
            self._check(data, offset, size)
            out, _, view, tag = _scratch.out
            with _from_buffer(data) as start:
                failed = _pull(self._state, out, _NULL, tag, start + offset, size + STREAM_OVERHEAD, _NULL, 0)
            if failed:
                raise self._failed()
            if tag[0] == _TAG_FINAL:
                raise self._final()
            opened: bytes = view[:size]
            return opened

        def pull_pdu(self, data: bytes, offset: int) -> tuple[PDUType, int, bytes | None]:
            # Two calls of pull() in one, for small PDUs: it is called for each.
            start = offset + ENCRYPTED_HEADER_SIZE
            sealed = data[offset:start]
            if offset < 0 or len(sealed) != ENCRYPTED_HEADER_SIZE:
                self._check(data, offset, HEADER_SIZE)
            out, _, view, tag = _scratch.out
            if _pull(self._state, out, _NULL, tag, sealed, ENCRYPTED_HEADER_SIZE, _NULL, 0):
                raise self._failed()
            if tag[0] == _TAG_FINAL:
                raise self._final()
            pdu_type, size = unpack_stream_header(view)
            end = start + size + STREAM_OVERHEAD
            if end > len(data):
                return pdu_type, size, None
            if size > _CUT_OUT:
                return pdu_type, size, self.pull(data, start, size)
            if _pull(self._state, out, _NULL, tag, data[start:end], end - start, _NULL, 0):
                raise self._failed()
            if tag[0] == _TAG_FINAL:
                raise self._final()
            return pdu_type, size, view[:size]

        pull_pdu.__doc__ = _Pull.pull_pdu.__doc__
