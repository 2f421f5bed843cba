"""
The structures of protocol version 1 as bytes, without encryption, state or IO.

All integers are big-endian. Sizes are in bytes. The names and numbers are those of the wire document,
``docs/explanation/wire.rst``: a *PDU* is a 12-byte *header* and a *body* of up to :data:`WINDOW` bytes.
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

#: The largest body of any PDU, and so the largest payload of one DATA. The reference programs allow no more.
WINDOW = 2 * 65535

NONCE_SIZE = 24
#: The size of what ``crypto_secretstream_xchacha20poly1305`` calls its header.
STREAM_HEADER_SIZE = 24
#: What a secretstream message takes beyond its plaintext.
STREAM_OVERHEAD = 17
#: What ``crypto_box_seal`` adds to its plaintext.
SEAL_OVERHEAD = 48

#: A PDU's header: magic, type, size of the body.
HEADER = Struct(">III")
_CLIENT_AUTH = Struct(f">I{NONCE_SIZE}s{STREAM_HEADER_SIZE}s{KEY_SIZE}s{TEXT_SIZE}s{TEXT_SIZE}s")
_SERVER_HELO = Struct(f">{NONCE_SIZE}s{STREAM_HEADER_SIZE}s{TEXT_SIZE}s")
_TIMESTAMP = Struct(">QI")
# The C structure has padding on 64-bit systems. The reference leaks bytes of its stack there; x packs zeros.
_PADDED_TIMESTAMP = Struct(">QI4x")

HEADER_SIZE = HEADER.size
CLIENT_AUTH_SIZE = HEADER_SIZE + _CLIENT_AUTH.size
SERVER_HELO_SIZE = HEADER_SIZE + _SERVER_HELO.size
SEALED_CLIENT_AUTH_SIZE = CLIENT_AUTH_SIZE + SEAL_OVERHEAD
SEALED_SERVER_HELO_SIZE = SERVER_HELO_SIZE + SEAL_OVERHEAD
#: What the header of a stream PDU takes on the wire: it is a message of the stream by itself.
ENCRYPTED_HEADER_SIZE = HEADER_SIZE + STREAM_OVERHEAD
#: What a stream PDU takes on the wire beyond its body.
PDU_OVERHEAD = ENCRYPTED_HEADER_SIZE + STREAM_OVERHEAD

#: Body sizes of PING and PONG: 16 from 64-bit builds of the reference, 12 from 32-bit ones, which have no padding.
TIMESTAMP_SIZES = (_PADDED_TIMESTAMP.size, _TIMESTAMP.size)


class PDUType(IntEnum):
    """The type field of a PDU header (offset 4, 4 bytes)."""

    CLIENT_AUTH = 1
    SERVER_HELO = 2
    DATA = 3
    PING = 4
    PONG = 5


#: The types by number. Looking one up here is quicker than calling the enumeration.
PDU_TYPES = {int(pdu_type): pdu_type for pdu_type in PDUType}
# A global name costs less than an attribute of the enumeration, and each PDU asks for it.
_DATA = PDUType.DATA


@dataclass
class ClientAuth:
    """
    CLIENT_AUTH: what a client says first.

    :ivar nonce: 24 random bytes. SERVER_HELO returns them plus one.
    :ivar stream_header: the 24 bytes with which the secretstream from client to server begins.
    :ivar public_key: the client's, 32 bytes.
    :ivar login: up to 128 bytes of UTF-8, no NUL.
    :ivar passphrase: up to 128 bytes of UTF-8, no NUL; ``repr`` does not show it.
    """

    nonce: bytes
    stream_header: bytes
    public_key: bytes
    login: str
    passphrase: str = field(repr=False)


@dataclass
class ServerHelo:
    """
    SERVER_HELO: the answer to a client that is let in.

    :ivar nonce: the client's nonce plus one, 24 bytes.
    :ivar stream_header: the 24 bytes with which the secretstream from server to client begins.
    :ivar message: up to 128 bytes of UTF-8, no NUL.
    """

    nonce: bytes
    stream_header: bytes
    message: str


def _text_bytes(text_field: bytes) -> bytes:
    # What follows the first NUL may be anything, and a text of all 128 bytes has no NUL.
    return text_field.partition(b"\0")[0]


def _unpack_text(what: str, text_field: bytes) -> str:
    try:
        # Strictly: with replacements, two different logins could become the same one.
        return _text_bytes(text_field).decode("utf-8")
    # Without its cause: a UnicodeDecodeError shows the bytes, which may be a passphrase.
    except UnicodeDecodeError:
        raise MalformedPDU(f"the {what} is not UTF-8") from None


def pack_header(pdu_type: PDUType, body_size: int) -> bytes:
    """Make the 12-byte header that announces a body of ``body_size`` bytes."""
    return HEADER.pack(MAGIC, pdu_type, body_size)


#: :func:`pack_header` for a DATA, quicker: nearly all PDUs are DATA, and a small one is mostly such work.
pack_data_header: Callable[[int], bytes] = partial(HEADER.pack, MAGIC, _DATA)


def _unpack_header(data: bytes) -> tuple[PDUType, int]:
    """
    Read a header and check what holds for each type.

    :param data: 12 bytes or more.
    :raises MalformedPDU: for a wrong magic or an unknown type.
    :raises WindowExceeded: for a body over 131070 bytes.
    """
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
    Read the decrypted header of a PDU after the handshake. It is judged before its body comes, so that nothing
    is kept for a body that is not allowed.

    :param data: 12 bytes.
    :return: the type (DATA, PING or PONG) and the body's size in bytes.
    :raises MalformedPDU: for a wrong magic, an unknown type, or a PING or PONG whose body has neither 16 nor 12 bytes.
    :raises UnexpectedPDU: for CLIENT_AUTH and SERVER_HELO.
    :raises WindowExceeded: for a body over 131070 bytes.
    """
    magic, number, body_size = HEADER.unpack_from(data)
    # Nearly all are DATA. These checks stand here once more, to save them a call.
    if number == _DATA and magic == MAGIC and body_size <= WINDOW:
        return _DATA, body_size
    pdu_type, body_size = _unpack_header(data)
    if pdu_type is PDUType.CLIENT_AUTH or pdu_type is PDUType.SERVER_HELO:
        raise UnexpectedPDU(f"a {pdu_type.name} after the handshake")
    if body_size not in TIMESTAMP_SIZES:
        raise MalformedPDU(f"a {pdu_type.name} of {body_size} bytes; it has 16 or 12")
    return pdu_type, body_size


def _check_handshake_header(data: bytes, expected: PDUType, size: int) -> None:
    """
    See that an opened handshake PDU is the one that belongs here.

    :param size: what the whole PDU must have, in bytes. Its fields are read at fixed places, so a header that
        announces another size is an error.
    """
    pdu_type, body_size = _unpack_header(data)
    if pdu_type is not expected:
        raise UnexpectedPDU(f"a {pdu_type.name} where {expected.name} belongs")
    if len(data) != size or body_size != size - HEADER_SIZE:
        raise MalformedPDU(f"a {expected.name} with a body of {body_size} bytes; it has {size - HEADER_SIZE}")


def pack_client_auth(auth: ClientAuth) -> bytes:
    """
    Make the 352 bytes of CLIENT_AUTH, before they are sealed.

    :raises LocalProtocolError: when the login or the passphrase does not fit its field.
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
    Read a CLIENT_AUTH that was opened.

    :param data: 352 bytes.
    :raises MalformedPDU: for a wrong magic, an unknown type, a wrong size, or a text that is not UTF-8.
    :raises UnexpectedPDU: for another type of PDU.
    :raises WindowExceeded: when a body over 131070 bytes is announced.
    :raises VersionMismatch: for another version than 0xDEADCAFE.
    """
    _check_handshake_header(data, PDUType.CLIENT_AUTH, CLIENT_AUTH_SIZE)
    version, nonce, stream_header, public_key, login, passphrase = _CLIENT_AUTH.unpack_from(data, HEADER_SIZE)
    # Before the texts: in another version there may be something else in their place.
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
    Make the 188 bytes of SERVER_HELO, before they are sealed.

    :raises LocalProtocolError: when the message does not fit its field.
    """
    return pack_header(PDUType.SERVER_HELO, _SERVER_HELO.size) + _SERVER_HELO.pack(
        helo.nonce, helo.stream_header, _pack_message(helo.message)
    )


def unpack_server_helo(data: bytes) -> ServerHelo:
    """
    Read a SERVER_HELO that was opened. The message is for people, so what is not UTF-8 in it is replaced.

    :param data: 188 bytes.
    :raises MalformedPDU: for a wrong magic, an unknown type or a wrong size.
    :raises UnexpectedPDU: for another type of PDU.
    :raises WindowExceeded: when a body over 131070 bytes is announced.
    """
    _check_handshake_header(data, PDUType.SERVER_HELO, SERVER_HELO_SIZE)
    nonce, stream_header, message = _SERVER_HELO.unpack_from(data, HEADER_SIZE)
    return ServerHelo(nonce, stream_header, _text_bytes(message).decode("utf-8", "replace"))


def pack_timestamp(nanoseconds: int) -> bytes:
    """
    Make the body of a PING or PONG, 16 bytes: seconds u64, nanoseconds u32, 4 zero bytes.

    :param nanoseconds: since the epoch by the sender's wall clock, as ``time.time_ns()`` gives them.
    """
    return _PADDED_TIMESTAMP.pack(*divmod(nanoseconds, 1_000_000_000))


def unpack_timestamp(body: bytes) -> int:
    """
    Read the body of a PING or PONG.

    :param body: 16 or 12 bytes. The padding may hold anything and is not read.
    :return: nanoseconds since the epoch by the sender's clock, which may be wrong.
    """
    seconds: int
    nanoseconds: int
    seconds, nanoseconds = _TIMESTAMP.unpack_from(body)
    return seconds * 1_000_000_000 + nanoseconds
