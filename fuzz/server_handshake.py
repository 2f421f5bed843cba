"""
A server, and anything that comes first: raw bytes, or bytes that are sealed so that they open::

    python fuzz/server_handshake.py [libFuzzer's arguments] [folder for new inputs] fuzz/corpus/server_handshake
"""

if __name__ == "__main__":
    from program import run

    run("server_handshake")

from struct import unpack

from nacl import bindings

from fuzz.harness import Input, Watched
from sodiumtwist.core.connection import ServerConnection
from sodiumtwist.core.errors import DecryptionFailed
from sodiumtwist.core.events import AuthenticationRequested
from sodiumtwist.core.states import State
from tests.core.peers import (
    CLIENT_AUTH,
    MAGIC,
    NONCE,
    NOW,
    SERVER_PAIR,
    VERSION,
    WEAK_KEYS,
    cut,
    pack_client_auth,
    wire_of,
)

CLIENT_KEY = bindings.crypto_scalarmult_base(b"\x22" * 32)
PLAIN = pack_client_auth(CLIENT_KEY, bytes(24), NONCE)

RAW, LATE, BY_TIME = 0x01, 0x02, 0x04
DECISIONS = ["accept", "prove", "reject", "ignore"]


def request_in(plain: bytes) -> AuthenticationRequested | None:
    """Tell which request an opened CLIENT_AUTH must make; ``None`` for none."""
    if unpack(">IIII", plain[:16]) != (MAGIC, CLIENT_AUTH, 340, VERSION):
        return None
    try:
        login, passphrase = (field.split(b"\0")[0].decode() for field in (plain[96:224], plain[224:]))
    except UnicodeDecodeError:
        return None
    if plain[64:96] in WEAK_KEYS:
        return None
    return AuthenticationRequested(login, passphrase, plain[64:96])


def one_input(data: bytes) -> None:
    """
    Play one input.

    :param data: a byte of options, the cuts, the difference to an ordinary CLIENT_AUTH, and what comes behind it.
        With RAW: a byte of options, the cuts, and all that comes.
    """
    source = Input(data)
    options = source.number()
    sizes = source.sizes()
    server = ServerConnection(SERVER_PAIR, NOW, draw=lambda: 0)
    decision = DECISIONS[options >> 3 & 3]

    def decide() -> None:
        if decision == "reject":
            server.reject()
        elif decision == "ignore":
            server.ignore()
        else:
            assert len(wire_of(server.accept, NOW, prove=decision == "prove")) == 236

    watched = Watched(server, (lambda: None) if options & LATE else decide)
    if options & RAW:
        sealed = source.rest()
    else:
        plain = source.over(PLAIN)
        sealed, expected = bindings.crypto_box_seal(plain, SERVER_PAIR.public) + source.rest(), request_in(plain)
    watched.feed(cut(sealed, sizes))
    if server.state is State.DECIDING:
        assert watched.events[1:] == [], "an event before the decision"
        if options & LATE:
            watched.decide_now(decide)
    if options & RAW:
        # What the seed corpus has sealed before opens, too.
        assert all(isinstance(event, AuthenticationRequested) for event in watched.events)
    else:
        assert watched.events == ([] if expected is None else [expected]), watched.events
        assert expected is not None or server.state is State.SILENT
    if watched.events and watched.error is not None:
        assert isinstance(watched.error, DecryptionFailed), "bytes behind a handshake that nobody has sealed"
    watched.finish(bool(options & BY_TIME))
