"""
The structures of protocol version 1 as bytes: no encryption, no state, no IO.

All integers are big-endian. Sizes are in bytes. The names are those of the wire document:
a *PDU* is a 12-byte *header* and a *body* of up to :data:`WINDOW` bytes.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from enum import IntEnum
from functools import lru_cache, partial
from struct import Struct

from ..credentials import TEXT_SIZE, pack_text
from ..errors import MalformedPDU, UnexpectedPDU, VersionMismatch, WindowExceeded
from ..keys import KEY_SIZE

MAGIC = 0xBAADC0DE
VERSION = 0xDEADCAFE

#: The largest body of any PDU, and so the largest payload of one DATA.
WINDOW = 2 * 65535


NONCE_SIZE = 24
#: What ``crypto_secretstream_xchacha20poly1305`` calls its header.
STREAM_HEADER_SIZE = 24
#: What a secretstream message has on top of its plaintext.
STREAM_OVERHEAD = 17
#: What ``crypto_box_seal`` has on top of its plaintext.
SEAL_OVERHEAD = 48

#: A PDU's header: magic, type, size of the body.
HEADER = Struct(">III")
_CLIENT_AUTH = Struct(f">I{NONCE_SIZE}s{STREAM_HEADER_SIZE}s{KEY_SIZE}s{TEXT_SIZE}s{TEXT_SIZE}s")
_SERVER_HELO = Struct(f">{NONCE_SIZE}s{STREAM_HEADER_SIZE}s{TEXT_SIZE}s")
_TIMESTAMP = Struct(">QI")
_PADDED_TIMESTAMP = Struct(">QI4x")

HEADER_SIZE = HEADER.size
CLIENT_AUTH_SIZE = HEADER_SIZE + _CLIENT_AUTH.size
SERVER_HELO_SIZE = HEADER_SIZE + _SERVER_HELO.size
SEALED_CLIENT_AUTH_SIZE = CLIENT_AUTH_SIZE + SEAL_OVERHEAD
SEALED_SERVER_HELO_SIZE = SERVER_HELO_SIZE + SEAL_OVERHEAD
#: A stream PDU's header on the wire, and what a stream PDU takes there beyond its body.
ENCRYPTED_HEADER_SIZE = HEADER_SIZE + STREAM_OVERHEAD
PDU_OVERHEAD = ENCRYPTED_HEADER_SIZE + STREAM_OVERHEAD

#: Body sizes of PING and PONG: 16 as 64-bit systems lay the structure out, 12 without padding.
TIMESTAMP_SIZES = (_PADDED_TIMESTAMP.size, _TIMESTAMP.size)


class PDUType(IntEnum):
    """The type field of a PDU header (offset 4, 4 bytes)."""

    CLIENT_AUTH = 1
    SERVER_HELO = 2
    DATA = 3
    PING = 4
    PONG = 5


#: The types by number; quicker than calling the enumeration.
PDU_TYPES = {int(pdu_type): pdu_type for pdu_type in PDUType}
_DATA = PDUType.DATA


@dataclass
class ClientAuth:
    """
    CLIENT_AUTH: what a client says first.

    :ivar nonce: 24 random bytes, which SERVER_HELO returns plus one.
    :ivar stream_header: 24 bytes, of the secretstream from client to server.
    :ivar public_key: 32 bytes, the client's.
    :ivar login: up to 128 bytes of UTF-8, no NUL.
    :ivar passphrase: likewise.
    """

    nonce: bytes
    stream_header: bytes
    public_key: bytes
    login: str
    passphrase: str = field(repr=False)


@dataclass
class ServerHelo:
    """
    SERVER_HELO: the answer that makes a client authenticated.

    :ivar nonce: the client's nonce plus one, 24 bytes.
    :ivar stream_header: 24 bytes, of the secretstream from server to client.
    :ivar message: up to 128 bytes of UTF-8, no NUL.
    """

    nonce: bytes
    stream_header: bytes
    message: str


def _text_bytes(text_field: bytes) -> bytes:
    return text_field.partition(b"\0")[0]


def _unpack_text(what: str, text_field: bytes) -> str:
    try:
        return _text_bytes(text_field).decode("utf-8")
    except UnicodeDecodeError:
        raise MalformedPDU(f"the {what} is not UTF-8") from None


def pack_header(pdu_type: PDUType, body_size: int) -> bytes:
    """Make the 12-byte header that announces a body of ``body_size`` bytes."""
    return HEADER.pack(MAGIC, pdu_type, body_size)


#: ``pack_header`` for a DATA, which nearly all are.
pack_data_header: Callable[[int], bytes] = partial(HEADER.pack, MAGIC, _DATA)


def _unpack_header(data: bytes) -> tuple[PDUType, int]:
    magic, pdu_type, body_size = HEADER.unpack_from(data)
    if magic != MAGIC:
        raise MalformedPDU("a PDU header without the protocol's magic number")
    try:
        pdu_type = PDU_TYPES[pdu_type]
    except KeyError:
        raise MalformedPDU(f"a PDU of unknown type {pdu_type}") from None
    if body_size > WINDOW:
        raise WindowExceeded(f"a {pdu_type.name} of {body_size} bytes was announced; at most {WINDOW} are allowed")
    return pdu_type, body_size


def unpack_stream_header(data: bytes) -> tuple[PDUType, int]:
    """
    Read the decrypted header of a PDU after the handshake, and judge it before its body comes.

    :param data: 12 bytes.
    :return: the type (DATA, PING or PONG) and the body's size.
    :raises MalformedPDU: for a wrong magic, an unknown type, or a PING or PONG of odd size.
    :raises UnexpectedPDU: for CLIENT_AUTH and SERVER_HELO.
    :raises WindowExceeded: for a body over 131070 bytes.
    """
    magic, number, body_size = HEADER.unpack_from(data)
    if number == _DATA and magic == MAGIC and body_size <= WINDOW:
        return _DATA, body_size  # as nearly all are
    pdu_type, body_size = _unpack_header(data)
    if pdu_type is PDUType.CLIENT_AUTH or pdu_type is PDUType.SERVER_HELO:
        raise UnexpectedPDU(f"a {pdu_type.name} after the handshake")
    if body_size not in TIMESTAMP_SIZES:
        raise MalformedPDU(f"a {pdu_type.name} of {body_size} bytes; it has 16 or 12")
    return pdu_type, body_size


def _check_handshake_header(data: bytes, expected: PDUType, size: int) -> None:
    pdu_type, body_size = _unpack_header(data)
    if pdu_type is not expected:
        raise UnexpectedPDU(f"a {pdu_type.name} where {expected.name} belongs")
    if len(data) != size or body_size != size - HEADER_SIZE:
        raise MalformedPDU(f"a {expected.name} with a body of {body_size} bytes; it has {size - HEADER_SIZE}")


def pack_client_auth(auth: ClientAuth) -> bytes:
    """
    Make the 352 bytes of CLIENT_AUTH, unsealed.

    :raises LocalProtocolError: when login or passphrase do not fit their fields.
    """
    return pack_header(PDUType.CLIENT_AUTH, _CLIENT_AUTH.size) + _CLIENT_AUTH.pack(
        VERSION,
        auth.nonce,
        auth.stream_header,
        auth.public_key,
        pack_text("login", auth.login),
        pack_text("passphrase", auth.passphrase),
    )


def unpack_client_auth(data: bytes) -> ClientAuth:
    """
    Read an opened CLIENT_AUTH.

    :param data: 352 bytes.
    :raises MalformedPDU: for a wrong magic, type or size, or a text that is not UTF-8.
    :raises UnexpectedPDU: for another type of PDU.
    :raises WindowExceeded: for an announced body over 131070 bytes.
    :raises VersionMismatch: for another version than 0xDEADCAFE.
    """
    _check_handshake_header(data, PDUType.CLIENT_AUTH, CLIENT_AUTH_SIZE)
    version, nonce, stream_header, public_key, login, passphrase = _CLIENT_AUTH.unpack_from(data, HEADER_SIZE)
    if version != VERSION:
        raise VersionMismatch(f"the client speaks version {version:#010x}; this server {VERSION:#010x}")
    return ClientAuth(
        nonce,
        stream_header,
        public_key,
        _unpack_text("login", login),
        _unpack_text("passphrase", passphrase),
    )


#: The message is the same for each client of a server.
_pack_message = lru_cache(maxsize=16)(partial(pack_text, "message"))


def pack_server_helo(helo: ServerHelo) -> bytes:
    """
    Make the 188 bytes of SERVER_HELO, unsealed.

    :raises LocalProtocolError: when the message does not fit its field.
    """
    return pack_header(PDUType.SERVER_HELO, _SERVER_HELO.size) + _SERVER_HELO.pack(
        helo.nonce, helo.stream_header, _pack_message(helo.message)
    )


def unpack_server_helo(data: bytes) -> ServerHelo:
    """
    Read an opened SERVER_HELO. The message is for people: what is not UTF-8 in it is replaced.

    :param data: 188 bytes.
    :raises MalformedPDU: for a wrong magic, type or size.
    :raises UnexpectedPDU: for another type of PDU.
    :raises WindowExceeded: for an announced body over 131070 bytes.
    """
    _check_handshake_header(data, PDUType.SERVER_HELO, SERVER_HELO_SIZE)
    nonce, stream_header, message = _SERVER_HELO.unpack_from(data, HEADER_SIZE)
    return ServerHelo(nonce, stream_header, _text_bytes(message).decode("utf-8", "replace"))


def pack_timestamp(nanoseconds: int) -> bytes:
    """
    Make the 16-byte body of a PING or PONG: seconds u64, nanoseconds u32, 4 zero bytes.

    :param nanoseconds: the sender's wall clock since the epoch, as ``time.time_ns()`` gives it.
    """
    return _PADDED_TIMESTAMP.pack(*divmod(nanoseconds, 1_000_000_000))


def unpack_timestamp(body: bytes) -> int:
    """
    Read the body of a PING or PONG, 16 or 12 bytes; padding is not looked at.

    :return: nanoseconds since the epoch by the sender's clock, which may say anything.
    """
    seconds: int
    nanoseconds: int
    seconds, nanoseconds = _TIMESTAMP.unpack_from(body)
    return seconds * 1_000_000_000 + nanoseconds
