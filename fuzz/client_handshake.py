"""
A client, and any answer to it: raw bytes, or bytes that are sealed so that they open::

    python fuzz/client_handshake.py [libFuzzer's arguments] [folder for new inputs] fuzz/corpus/client_handshake
"""

if __name__ == "__main__":
    from program import run

    run("client_handshake")

from struct import unpack

from nacl import bindings

from fuzz.harness import Input, Watched
from sodiumtwist.core.errors import AuthenticationFailed, AuthenticationTimeout, DecryptionFailed
from sodiumtwist.core.events import Authenticated
from sodiumtwist.core.keys import KeyPair
from sodiumtwist.core.states import State
from tests.core.peers import CLOCK, MAGIC, NONCE, NOW, SERVER_HELO, cut, new_client, pack_server_helo, plus_one, wire_of

CLIENT_PAIR = KeyPair.from_secret(b"\x22" * 32)
PLAIN = pack_server_helo(plus_one(NONCE), bytes(24))

RAW, EARLY, BY_TIME = 0x01, 0x02, 0x04


def hello_in(plain: bytes) -> Authenticated | None:
    """Tell which event an opened SERVER_HELO must make; ``None`` for none."""
    if unpack(">III", plain[:12]) != (MAGIC, SERVER_HELO, 176) or plain[12:36] != plus_one(NONCE):
        return None
    return Authenticated(plain[60:].split(b"\0")[0].decode("utf-8", "replace"))


def one_input(data: bytes) -> None:
    """
    Play one input.

    :param data: a byte of options, the cuts, the difference to an ordinary SERVER_HELO, and what comes behind it.
        With RAW: a byte of options, the cuts, and all that comes.
    """
    source = Input(data)
    options = source.number()
    sizes = source.sizes()
    client = new_client(pair=CLIENT_PAIR, nonce=NONCE)
    wire_of(client.initiate)
    if options & EARLY:
        wire_of(client.send_data, b"early")
        wire_of(client.send_ping, NOW, CLOCK)
    watched = Watched(client)
    if options & RAW:
        watched.feed(cut(source.rest(), sizes))
        assert watched.events in ([], [Authenticated("Welcome.")])
    else:
        plain = source.over(PLAIN)
        watched.feed(cut(bindings.crypto_box_seal(plain, CLIENT_PAIR.public) + source.rest(), sizes))
        expected = hello_in(plain)
        assert watched.events == ([] if expected is None else [expected]), watched.events
        assert expected is not None or watched.error is not None
    if watched.events and watched.error is not None:
        assert isinstance(watched.error, DecryptionFailed), "bytes behind a hello that nobody has sealed"
    waiting, by_time = client.state is State.AWAITING_SERVER_HELO, bool(options & BY_TIME)
    error = watched.finish(by_time)
    if waiting:
        assert isinstance(error, AuthenticationTimeout if by_time else AuthenticationFailed)
