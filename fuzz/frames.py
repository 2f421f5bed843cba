"""
A server or a client of version 2, and anything that comes before the records: raw bytes, frames of anything, altered
messages, and messages with anything in them::

    python fuzz/frames.py [libFuzzer's arguments] [folder for new inputs] fuzz/corpus/frames
"""

if __name__ == "__main__":
    from program import run

    run("frames")

from collections.abc import Callable, Iterable
from functools import lru_cache, partial
from typing import Union, cast

from fuzz.harness import Input
from fuzz.payloads import choice_in, credentials_in, offer_in
from sodiumtwist.core.errors import DecryptionFailed, MalformedPDU, RemoteProtocolError, ReplayDetected, VersionMismatch
from sodiumtwist.core.events import AuthenticationRequested
from sodiumtwist.core.inbox import Inbox
from sodiumtwist.core.keys import KeyPair
from sodiumtwist.core.v2.agreement import EphemeralKey
from sodiumtwist.core.v2.handshake import ClientHandshake, Drawn, ServerHandshake
from sodiumtwist.core.v2.messages import Offer, pack_credentials, pack_offer
from sodiumtwist.core.v2.veil import RecentSalts, Veil
from sodiumtwist.core.version import Refusal
from tests.core.peers import CLIENT_PAIR, SERVER_PAIR, cut
from tests.core.v2.plain_handshakes import TIME, PlainClient, PlainServer, StandInKem

CLIENT = 0x01
#: What the rest of the input is.
RAW, FRAME, MESSAGE, PAYLOAD = range(4)


class KnownKey(EphemeralKey):
    """A key that knows its last products: most inputs bring the same points, and multiplying takes most of the time."""

    def __init__(self, secret: bytes) -> None:
        super().__init__(secret)
        self.multiply = lru_cache(1000)(super().multiply)  # type: ignore[method-assign]


KEM = StandInKem()
CLIENT_KEY, SERVER_KEY = (cast(KeyPair, KnownKey(pair.secret)) for pair in (CLIENT_PAIR, SERVER_PAIR))
#: Make the client's ephemeral key, and the server's.
CLIENTS, SERVERS = (partial(lambda key: key, KnownKey(bytes([number]) * 32)) for number in (0x33, 0x44))
SUITES = (1, 2)
OFFER, CHOICE = pack_offer(Offer(TIME, SUITES)), b"\2\0\0"
CREDENTIALS = pack_credentials("ann", "secret")[:20]

Handshake = Union[ClientHandshake, ServerHandshake]
Made = Union[bytes, AuthenticationRequested, Refusal]


def new_server() -> ServerHandshake:
    drawn = Drawn(lambda: bytes(32), lambda: 0, SERVERS, KEM)
    return ServerHandshake(SERVER_KEY, lambda: TIME, RecentSalts(), has=SUITES, drawn=drawn)


def new_client() -> ClientHandshake:
    drawn = Drawn(lambda: bytes(range(32)), lambda: 0, CLIENTS, KEM)
    return ClientHandshake(CLIENT_KEY, SERVER_PAIR.public, "ann", "secret", TIME, offered=SUITES, drawn=drawn)


def play(handshake: Handshake, pieces: Iterable[bytes]) -> tuple[list[Made], type[RemoteProtocolError] | None]:
    """
    Feed an end.

    :return: what it made, and the kind of the error that ended it.
    """
    inbox = Inbox()
    made: list[Made] = []
    for piece in pieces:
        inbox.put(piece)
        try:
            while (result := handshake.receive(inbox)) is not None:
                made.append(result)
        except RemoteProtocolError as error:
            assert vars(handshake) == {"wanted": 0}, "secrets are left"
            assert handshake.receive(inbox) is None, "it goes on behind an error"
            return made, type(error)
        assert not handshake.wanted or inbox.size < handshake.wanted, "more waits than is wanted"
    return made, None


def frame_of_anything(source: Input, veil: Veil) -> tuple[bytes, type[RemoteProtocolError] | None]:
    """
    Seal what the input says, with a size that may be wrong.

    :return: the frame, and the error that it must give. What is in it is no message of Noise.
    """
    size, message = source.number(2), source.rest()
    frame = b"".join(veil._cipher.seal(plain) for plain in (size.to_bytes(2, "big"), message))
    if not 1 <= size <= 8192:
        return frame, MalformedPDU
    return frame, DecryptionFailed if len(message) >= size else None


def altering(source: Input) -> tuple[Callable[[bytes], bytes], list[bool]]:
    """Make what alters a message as the input says, and a list that tells afterwards whether it did."""
    size = source.number(2)
    altered: list[bool] = []

    def alter(message: bytes) -> bytes:
        # Not all of it is gone: an empty message can't be sealed in a frame, which has its own option.
        result = source.over(message)[: len(message) - size % len(message)]
        altered.append(result != message)
        return result

    return alter, altered


def to_server(kind: int, source: Input, sizes: list[int]) -> None:
    """What comes to a server."""
    server = new_server()
    if kind == RAW:
        wire = source.rest()
        assert play(server, cut(wire, sizes)) == ([], DecryptionFailed if len(wire) >= 50 else None)
        return
    if kind == FRAME:
        salt = source.take(32).ljust(32)
        frame, error = frame_of_anything(source, Veil(SERVER_PAIR.public, salt))
        assert play(server, cut(salt + frame, sizes)) == ([], error)
        return
    if kind == MESSAGE:
        alter, altered = altering(source)
        made, error = play(
            server, cut(PlainClient(OFFER, alter, CLIENT_KEY, new_ephemeral=CLIENTS, kem=KEM).first_flight, sizes)
        )
        assert (len(made), error) == ((0, DecryptionFailed) if altered[0] else (1, None))
        return
    offer = source.over(OFFER) + source.take(source.number())
    client = PlainClient(offer, pair=CLIENT_KEY, new_ephemeral=CLIENTS, kem=KEM)
    made, error = play(server, cut(client.first_flight, sizes))
    expected = offer_in(offer)
    if expected is None:
        assert (made, error) == ([], MalformedPDU)
    elif abs(expected[0] - TIME) > 86400:
        assert (made, error) == ([], ReplayDetected)
    elif not set(expected[1]) & set(SUITES):
        assert (made, error) == ([], VersionMismatch)
    else:
        answer = made[0]
        assert error is None and len(made) == 1 and isinstance(answer, bytes)
        choice = choice_in(client.read_answer(answer))
        assert choice == min(set(expected[1]) & set(SUITES))
        credentials = source.over(CREDENTIALS) + source.rest()
        made, error = play(server, cut(client.credentials(credentials), sizes))
        told = credentials_in(credentials)
        assert error is None and len(server.session.channel_binding) == 32
        if told is None:
            assert isinstance(made[0], Refusal) and made[0].code == 6 and made[1:] == []
        else:
            assert made == [AuthenticationRequested(*told, CLIENT_PAIR.public, version=2)]


def to_client(kind: int, source: Input, sizes: list[int]) -> None:
    """What comes to a client."""
    client = new_client()
    if kind == RAW:
        wire = source.rest()
        assert play(client, cut(wire, sizes)) == ([], DecryptionFailed if len(wire) >= 50 else None)
        return
    if kind == FRAME:
        salt = source.take(32).ljust(32)
        frame, error = frame_of_anything(source, Veil(SERVER_PAIR.public, client.first_flight[:32] + salt))
        assert play(client, cut(salt + frame, sizes)) == ([], error)
        return
    server = PlainServer(client.first_flight, SERVER_KEY, new_ephemeral=SERVERS, kem=KEM)
    if kind == MESSAGE:
        alter, altered = altering(source)
        made, error = play(client, cut(server.answer(CHOICE, alter), sizes))
        assert (len(made), error) == ((0, DecryptionFailed) if altered[0] else (1, None))
        return
    payload = source.over(CHOICE) + source.rest()
    made, error = play(client, cut(server.answer(payload), sizes))
    if (choice := choice_in(payload)) in SUITES:
        assert error is None and client.session.suite == choice
        (credentials,) = made
        assert isinstance(credentials, bytes) and len(credentials) == 610
    else:
        assert (made, error) == ([], MalformedPDU)


def one_input(data: bytes) -> None:
    """
    Play one input.

    :param data: a byte of options, the cuts, and what the options say.
    """
    # The largest message has 8192 bytes; what our peers by hand can't send is not played.
    source = Input(data[:6000])
    options = source.number()
    sizes = source.sizes()
    (to_client if options & CLIENT else to_server)(options >> 1 & 3, source, sizes)
