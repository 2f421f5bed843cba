"""
The two directions of ``crypto_secretstream_xchacha20poly1305``: what both ways of calling libsodium share. These
are :mod:`~sodiumtwist.core.v1.inner_bindings`, which is quick, and :mod:`~sodiumtwist.core.v1.public_bindings`, which
is always there.

A stream is stateful: messages open in the order in which they were sealed, each once.
"""

from __future__ import annotations

from nacl import bindings

from ..errors import DecryptionFailed, MalformedPDU
from ..inbox import Buffer
from ..version import RekeyAfter
from .messages import (
    ENCRYPTED_HEADER_SIZE,
    HEADER_SIZE,
    PDU_OVERHEAD,
    STREAM_OVERHEAD,
    WINDOW,
    PDUType,
    pack_data_header,
    unpack_stream_header,
)

TAG_MESSAGE: int = bindings.crypto_secretstream_xchacha20poly1305_TAG_MESSAGE
TAG_REKEY: int = bindings.crypto_secretstream_xchacha20poly1305_TAG_REKEY
TAG_FINAL: int = bindings.crypto_secretstream_xchacha20poly1305_TAG_FINAL


class Push:
    """
    Seals messages without additional data, with tag MESSAGE, or REKEY where a new key is due.

    :param key: 32 bytes, the session key to send with.
    :param rekey_size: after this many bytes a new key is due.
    :ivar header: 24 bytes, which the other end needs to open the stream.
    :ivar rekey_in: bytes until a new key is due; set to 0, the next PDU brings it.
    """

    __slots__ = ("_rekey_size", "_state", "header", "rekey_in")

    header: bytes
    rekey_in: int
    _rekey_size: int

    def __init__(self, key: bytes, rekey_size: int = RekeyAfter.size) -> None:
        raise NotImplementedError

    def push(self, message: Buffer, tag: int) -> bytes:
        """
        Seal one message.

        :param message: up to 131070 bytes.
        :param tag: of libsodium's.
        :return: 17 bytes more.
        :raises ValueError: when it is longer.
        """
        raise NotImplementedError

    def push_pdu(self, header: bytes, body: Buffer) -> bytes:
        """
        Seal the two messages of one PDU.

        :param header: 12 bytes.
        :param body: up to 131070 bytes.
        :return: ``len(body) + 46`` bytes for the wire.
        :raises ValueError: for other sizes.
        """
        size = len(body)
        if len(header) != HEADER_SIZE or size > WINDOW:
            raise ValueError(f"a PDU of {len(header)} and {size} bytes")
        return self.push(header, TAG_MESSAGE) + self.push(body, self._tag_of_body(size))

    def push_data(self, payload: Buffer) -> bytes:
        """
        Seal a DATA.

        :param payload: up to 131070 bytes.
        :return: ``len(payload) + 46`` bytes for the wire.
        :raises ValueError: when it is longer.
        """
        return self.push_pdu(pack_data_header(len(payload)), payload)

    def _tag_of_body(self, size: int) -> int:
        """Count a PDU, and tell the tag of its body."""
        self.rekey_in -= size + PDU_OVERHEAD
        if self.rekey_in > 0:
            return TAG_MESSAGE
        self.rekey_in = self._rekey_size
        return TAG_REKEY


class Pull:
    """
    Opens messages, in order.

    :param key: 32 bytes, the session key to receive with.
    :param header: 24 bytes, as the sender's :attr:`Push.header`.
    """

    __slots__ = ("_state",)

    def __init__(self, key: bytes, header: bytes) -> None:
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
