"""
The other end, made by hand from the wire document over libsodium, with none of our own packing:
so it can also say what ours would refuse to.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from struct import pack, unpack
from typing import TYPE_CHECKING, Any, TypedDict, Union

from nacl import bindings

from sodiumtwist.core.connection import ClientConnection, ServerConnection
from sodiumtwist.core.errors import RemoteProtocolError
from sodiumtwist.core.events import AuthenticationRequested, Event
from sodiumtwist.core.keepalive import Timeouts
from sodiumtwist.core.keys import KeyPair
from sodiumtwist.core.version import RekeyAfter

if TYPE_CHECKING:
    from typing_extensions import Unpack

CLIENT_AUTH, SERVER_HELO, DATA, PING, PONG = 1, 2, 3, 4, 5
MAGIC = 0xBAADC0DE
VERSION = 0xDEADCAFE
WINDOW = 131070

TAG_MESSAGE = bindings.crypto_secretstream_xchacha20poly1305_TAG_MESSAGE
TAG_PUSH = bindings.crypto_secretstream_xchacha20poly1305_TAG_PUSH
TAG_REKEY = bindings.crypto_secretstream_xchacha20poly1305_TAG_REKEY
TAG_FINAL = bindings.crypto_secretstream_xchacha20poly1305_TAG_FINAL

#: Keys that share the same secret with everybody: the points of low order and their other spellings.
WEAK_KEYS = [
    bytes.fromhex(text)
    for text in (
        "00" * 32,
        "01" + "00" * 31,
        "e0eb7a7c3b41b8ae1656e3faf19fc46ada098deb9c32b1fd866205165f49b800",
        "5f9c95bca3508c24b1d0b1559c83ef5b04445cc4581c8e86d8224eddd09f1157",
        "ec" + "ff" * 30 + "7f",
        "ed" + "ff" * 30 + "7f",
        "ee" + "ff" * 30 + "7f",
        "00" * 31 + "80",
        "01" + "00" * 30 + "80",
        "ed" + "ff" * 31,
    )
]

#: When every connection of these tests begins.
NOW = 1000.0
SERVER_PAIR = KeyPair.from_secret(b"\x11" * 32)
CLIENT_PAIR = KeyPair.from_secret(b"\x22" * 32)
NONCE = bytes(range(24))
#: 2023-11-14 22:13:20 and 123456789 nanoseconds.
CLOCK = 1_700_000_000_123_456_789
CLOCK_BODY = bytes.fromhex("000000006553f100 075bcd15 00000000")


class AuthFields(TypedDict, total=False):
    """What may stand in CLIENT_AUTH."""

    public_key: bytes
    stream_header: bytes
    nonce: bytes
    login: bytes
    passphrase: bytes
    version: int
    pdu_type: int
    size: int
    magic: int


class HeloFields(TypedDict, total=False):
    """What may stand in SERVER_HELO."""

    nonce: bytes
    stream_header: bytes
    message: bytes
    pdu_type: int
    size: int
    magic: int


class Options(TypedDict, total=False):
    """What both our connections take."""

    timeouts: Timeouts
    draw: Callable[[], float]
    rekey: RekeyAfter


class ClientOptions(Options, total=False):
    """What our client takes."""

    pair: KeyPair
    nonce: bytes


def pack_header(pdu_type: int, size: int, magic: int = MAGIC) -> bytes:
    """The 12 bytes before every body."""
    return pack(">III", magic, pdu_type, size)


def pack_client_auth(
    public_key: bytes,
    stream_header: bytes,
    nonce: bytes = NONCE,
    login: bytes = b"username",
    passphrase: bytes = b"passphrase",
    version: int = VERSION,
    pdu_type: int = CLIENT_AUTH,
    size: int = 340,
    magic: int = MAGIC,
) -> bytes:
    """The 352 bytes of CLIENT_AUTH, with anything in them."""
    return (
        pack_header(pdu_type, size, magic)
        + pack(">I", version)
        + nonce
        + stream_header
        + public_key
        + login.ljust(128, b"\0")
        + passphrase.ljust(128, b"\0")
    )


def pack_server_helo(
    nonce: bytes,
    stream_header: bytes,
    message: bytes = b"Welcome.",
    pdu_type: int = SERVER_HELO,
    size: int = 176,
    magic: int = MAGIC,
) -> bytes:
    """The 188 bytes of SERVER_HELO, with anything in them."""
    return pack_header(pdu_type, size, magic) + nonce + stream_header + message.ljust(128, b"\0")


def plus_one(nonce: bytes) -> bytes:
    """The nonce as a little-endian integer, plus one, wrapping."""
    return ((int.from_bytes(nonce, "little") + 1) % 2**192).to_bytes(24, "little")


class PlainPush:
    """A sending stream that seals whatever it is given, with any tag."""

    def __init__(self, key: bytes) -> None:
        self._state = bindings.crypto_secretstream_xchacha20poly1305_state()
        self.header = bindings.crypto_secretstream_xchacha20poly1305_init_push(self._state, key)

    def message(self, plain: bytes, tag: int = TAG_MESSAGE) -> bytes:
        return bindings.crypto_secretstream_xchacha20poly1305_push(self._state, plain, None, tag)

    def pdu(
        self, pdu_type: int, body: bytes = b"", header_tag: int = TAG_MESSAGE, body_tag: int = TAG_MESSAGE
    ) -> bytes:
        header = self.message(pack_header(pdu_type, len(body)), header_tag)
        return header + self.message(body, body_tag)


class PlainPull:
    """A receiving stream that shows tags, and takes PDUs of any type."""

    def __init__(self, key: bytes, header: bytes) -> None:
        self._state = bindings.crypto_secretstream_xchacha20poly1305_state()
        bindings.crypto_secretstream_xchacha20poly1305_init_pull(self._state, header, key)

    def message(self, sealed: bytes) -> tuple[bytes, int]:
        return bindings.crypto_secretstream_xchacha20poly1305_pull(self._state, sealed)

    def pdus(self, wire: bytes) -> list[tuple[int, bytes]]:
        """Open whole PDUs, all with tag MESSAGE: their types and bodies."""
        opened = []
        while wire:
            header, header_tag = self.message(wire[:29])
            magic, pdu_type, size = unpack(">III", header)
            body, body_tag = self.message(wire[29 : 46 + size])
            if (magic, header_tag, body_tag, len(body)) != (MAGIC, TAG_MESSAGE, TAG_MESSAGE, size):
                raise ValueError(f"magic {magic:#x}, tags {header_tag} and {body_tag}, {len(body)} bytes for {size}")
            opened.append((pdu_type, body))
            wire = wire[46 + size :]
        return opened


class PlainClient:
    """
    A client by hand, with a fresh key pair.

    :ivar pull: what it receives with, when it has read SERVER_HELO.
    """

    pull: PlainPull

    def __init__(self, server_key: bytes = SERVER_PAIR.public) -> None:
        self.public, self.secret = bindings.crypto_kx_keypair()
        self._server_key = server_key
        self._receive_key, self.send_key = bindings.crypto_kx_client_session_keys(self.public, self.secret, server_key)
        self.push = PlainPush(self.send_key)

    def client_auth(self, **fields: Unpack[AuthFields]) -> bytes:
        """CLIENT_AUTH sealed, 400 bytes."""
        fields.setdefault("public_key", self.public)
        fields.setdefault("stream_header", self.push.header)
        return bindings.crypto_box_seal(pack_client_auth(**fields), self._server_key)

    def read_server_helo(self, sealed: bytes) -> bytes:
        """Open SERVER_HELO, and get ready to receive."""
        plain = bindings.crypto_box_seal_open(sealed, self.public, self.secret)
        self.pull = PlainPull(self._receive_key, plain[36:60])
        return plain


class PlainServer:
    """
    A server by hand.

    :ivar push: what it sends with, when it has read CLIENT_AUTH.
    :ivar pull: what it receives with, when it has read CLIENT_AUTH.
    """

    push: PlainPush
    pull: PlainPull

    def __init__(self, pair: KeyPair = SERVER_PAIR) -> None:
        self._pair = pair

    def read_client_auth(self, sealed: bytes) -> bytes:
        """Open CLIENT_AUTH, and get ready to answer."""
        plain = bindings.crypto_box_seal_open(sealed, self._pair.public, self._pair.secret)
        self.nonce, stream_header, self.client_key = plain[16:40], plain[40:64], plain[64:96]
        receive_key, self.send_key = bindings.crypto_kx_server_session_keys(
            self._pair.public, self._pair.secret, self.client_key
        )
        self.push, self.pull = PlainPush(self.send_key), PlainPull(receive_key, stream_header)
        return plain

    def server_helo(self, **fields: Unpack[HeloFields]) -> bytes:
        """SERVER_HELO sealed, 236 bytes."""
        fields.setdefault("nonce", plus_one(self.nonce))
        fields.setdefault("stream_header", self.push.header)
        return bindings.crypto_box_seal(pack_server_helo(**fields), self.client_key)


#: Our end, and the other one.
Connection = Union[ServerConnection, ClientConnection]
Peer = Union[PlainServer, PlainClient]


def wire_of(send: Callable[..., object], *arguments: Any, **keywords: Any) -> bytes:
    """
    Send something, and take what our end then writes.

    :param send: a method of one of our connections: ``initiate``, ``accept``, ``send_data`` and the like.
    """
    send(*arguments, **keywords)
    connection: Connection = getattr(send, "__self__")  # noqa: B009  # of any bound method, as types do not know
    return connection.data_to_send()


def new_client(**options: Unpack[ClientOptions]) -> ClientConnection:
    """Our client, with the defaults of the reference programs."""
    return ClientConnection(SERVER_PAIR.public, "username", "passphrase", NOW, **options)


def waiting_client(**options: Unpack[ClientOptions]) -> tuple[ClientConnection, PlainServer]:
    """Our client with its CLIENT_AUTH sent, and the server that has read it."""
    client, server = new_client(**options), PlainServer()
    server.read_client_auth(wire_of(client.initiate))
    return client, server


def open_client(**options: Unpack[ClientOptions]) -> tuple[ClientConnection, PlainServer]:
    """Our client, authenticated, and the server at its other end."""
    client, server = waiting_client(**options)
    list(client.receive_data(server.server_helo(), NOW))
    return client, server


def deciding_server(**options: Unpack[Options]) -> tuple[ServerConnection, PlainClient]:
    """Our server with a login to decide on, and the client whose login it is."""
    server, client = ServerConnection(SERVER_PAIR, NOW, **options), PlainClient()
    list(server.receive_data(client.client_auth(), NOW))
    return server, client


def silent_server(**options: Unpack[Options]) -> ServerConnection:
    """Our server, when what came first does not open."""
    server = ServerConnection(SERVER_PAIR, NOW, **options)
    list(server.receive_data(bytes(400), NOW))
    return server


def unproven_server(**options: Unpack[Options]) -> tuple[ServerConnection, PlainClient]:
    """Our server when it waits for the proof of the client's key, and the client that has it."""
    server, client = deciding_server(**options)
    client.read_server_helo(wire_of(server.accept, NOW, prove=True))
    return server, client


def open_server(**options: Unpack[Options]) -> tuple[ServerConnection, PlainClient]:
    """Our server with its client authenticated, and that client."""
    server, client = deciding_server(**options)
    client.read_server_helo(wire_of(server.accept, NOW))
    return server, client


def open_pair(**options: Unpack[Options]) -> tuple[ClientConnection, ServerConnection]:
    """Our client and our server, authenticated with each other."""
    client, server = new_client(**options), ServerConnection(SERVER_PAIR, NOW, **options)
    list(server.receive_data(wire_of(client.initiate), NOW))
    list(client.receive_data(wire_of(server.accept, NOW), NOW))
    return client, server


def the_request(events: Iterable[Event]) -> AuthenticationRequested:
    """The login to decide on, which is the only event."""
    (event,) = events
    assert isinstance(event, AuthenticationRequested), event
    return event


def take(events: Iterable[Event]) -> tuple[list[Event], RemoteProtocolError | None]:
    """Take events to the end, or to the error there; any other exception passes."""
    taken: list[Event] = []
    try:
        taken.extend(events)
    except RemoteProtocolError as error:
        return taken, error
    return taken, None


def cut(data: bytes, sizes: Iterable[int]) -> Iterator[bytes]:
    """Cut into pieces of these sizes, and what is left."""
    start = 0
    for size in sizes:
        if start >= len(data):
            return
        yield data[start : start + size]
        start += size
    if start < len(data):
        yield data[start:]


def flip(data: bytes, place: int, mask: int = 1) -> bytes:
    """Change one byte."""
    altered = bytearray(data)
    altered[place] ^= mask
    return bytes(altered)
