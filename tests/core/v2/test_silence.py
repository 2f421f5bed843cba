"""
What a prober sees of a server: the same for all that is wrong, with version 1 beside version 2, and with either alone.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

from nacl import bindings
from twisted.trial.unittest import SynchronousTestCase

from sodiumtwist.core.connection import ServerConnection
from sodiumtwist.core.errors import RemoteProtocolError
from sodiumtwist.core.keys import KeyPair
from sodiumtwist.core.states import State
from sodiumtwist.core.v2.agreement import ENCAPSULATION_KEY_SIZE, ML_KEM_768, DecapsulationKey, EphemeralKey
from sodiumtwist.core.v2.handshake import Drawn
from sodiumtwist.core.v2.veil import RecentSalts

from ..peers import NOW, WEAK_KEYS, PlainClient, flip
from .ends import UNIX_TIME, new_client, new_server

#: How many bytes are sent, and then no more.
SIZES = (1, 31, 32, 33, 49, 50, 51, 399, 400, 401, 5000)

VERSIONS = ((1, 2), (2,), (1,))


class BadPoint(EphemeralKey):
    """One that is a point of low order."""

    def __init__(self, point: bytes) -> None:
        super().__init__()
        self.public = point


class Unreduced:
    """An encapsulation key whose numbers are beyond the modulus."""

    def generate(self) -> DecapsulationKey:
        key = ML_KEM_768.generate()
        key.public = b"\xff" * ENCAPSULATION_KEY_SIZE
        return key

    def encapsulate(self, public: bytes) -> tuple[bytes, bytes]:
        raise NotImplementedError


def flight(**settings: Any) -> bytes:
    """What a client of version 2 sends first."""
    return new_client(**settings).data_to_send()


def flights() -> dict[str, bytes]:
    """What can be wrong in a first flight, at least of version 2."""
    elsewhere = KeyPair.generate().public
    good = flight()
    return {
        "zeros": bytes(5000),
        "garbage": os.urandom(5000),
        "printable": b"GET / HTTP/1.1\r\n" * 313,
        "version 1, another key": PlainClient(elsewhere).client_auth(),
        "version 1, altered": flip(PlainClient().client_auth(), 200),
        "version 1, malformed": PlainClient().client_auth(version=7),
        "version 1, a bad point": PlainClient().client_auth(public_key=WEAK_KEYS[2]),
        "version 2, another key": flight(server_key=elsewhere),
        "version 2, salt altered": flip(good, 20),
        "version 2, size altered": flip(good, 40),
        "version 2, a bit altered": flip(good, 700),
        "version 2, two days old": flight(unix_time=lambda: UNIX_TIME - 172_800.0),
        "version 2, of the day after tomorrow": flight(unix_time=lambda: UNIX_TIME + 172_800.0),
        "version 2, a bad point": flight(drawn=Drawn(ephemeral=lambda: BadPoint(WEAK_KEYS[3]))),
        "version 2, an unreduced key": flight(drawn=Drawn(kem=Unreduced())),
        "version 2, no suite": flight(suites=()),
        "version 2, another suite": flight(suites=(7,)),
    }


class Seen(NamedTuple):
    """
    What a prober sees.

    :ivar sent: what it is told.
    :ivar reads: whether the server goes on reading, so that it does not reset the connection when it closes.
    :ivar closes_at: when it closes.
    """

    sent: bytes
    reads: bool
    closes_at: float


def probe(server: ServerConnection, pieces: Iterable[bytes]) -> Seen:
    """Send pieces, and look at the server until it closes."""
    sent = b""
    for piece in pieces:
        assert list(server.receive_data(piece, NOW + 1)) == []
        sent += server.data_to_send()
    reads = server.state is not State.CLOSED and server.wanted != 0
    closes_at = server.deadline()
    assert server.ping_due(closes_at - 0.001) is False
    try:
        server.ping_due(closes_at)
    except RemoteProtocolError:
        sent += server.data_to_send()
    assert server.state is State.CLOSED
    return Seen(sent, reads, closes_at)


#: What one sees who says nothing at all; the moment is the one that was drawn.
NOTHING = Seen(b"", True, NOW + 9.5)


class SilenceTests(SynchronousTestCase):
    """Nobody learns more than one who says nothing."""

    def test_first_flights(self) -> None:
        """Whole, with something behind, and cut where the server looks at it, in one piece or more."""
        for versions in VERSIONS:
            for what, wrong in flights().items():
                for size in SIZES:
                    start = wrong[:size] if size < 5000 else wrong.ljust(5000, b"x")
                    for pieces in ([start], [start[:1], start[1:]], [start[:49], start[49:]], [start, b"more"]):
                        seen = probe(new_server(versions), pieces)
                        self.assertEqual(seen, NOTHING, (versions, what, size))

    def test_cut_ones_that_were_right(self) -> None:
        """A handshake that stalls is no other case."""
        for versions in VERSIONS:
            for right in (flight(), PlainClient().client_auth()):
                for size in SIZES:
                    if size < 400:
                        self.assertEqual(probe(new_server(versions), [right[:size]]), NOTHING, (versions, size))

    def test_repeated(self) -> None:
        """Also where only another end of the same server has seen it."""
        for versions in ((1, 2), (2,)):
            salts = RecentSalts()
            first = flight()
            server = new_server(versions, salts)
            list(server.receive_data(first, NOW))
            self.assertNotEqual(server.data_to_send(), b"")
            self.assertEqual(probe(new_server(versions, salts), [first]), NOTHING)

    def test_behind_the_answer(self) -> None:
        """Message 3 tells no more, where it does not open."""
        for wrong in (b"", b"x", bytes(18), os.urandom(5000), "altered", "cut"):
            client, server = new_client(), new_server()
            list(server.receive_data(client.data_to_send(), NOW))
            list(client.receive_data(server.data_to_send(), NOW))
            third = client.data_to_send()
            piece = {"altered": flip(third, 100), "cut": third[:-1]}[wrong] if isinstance(wrong, str) else wrong
            self.assertEqual(probe(server, [piece]), NOTHING)

    def test_the_error_keeps_nothing(self) -> None:
        """It waits for as long as the server is silent; the frames that it came through hold what was opened."""
        for versions in VERSIONS:
            server = new_server(versions)
            list(server.receive_data(PlainClient().client_auth(passphrase=b"\xff secret"), NOW))
            error = server._ignored
            assert error is not None
            self.assertEqual((error.__traceback__, error.__context__, error.__cause__), (None, None, None))

    def test_the_peer_closes(self) -> None:
        """Then we do, at once, and the error says why nothing came of it."""
        for versions in VERSIONS:
            server = new_server(versions)
            list(server.receive_data(bytes(500), NOW))
            self.assertRaises(RemoteProtocolError, server.receive_eof)
            self.assertEqual((server.state, server.data_to_send()), (State.CLOSED, b""))


class CostTests(SynchronousTestCase):
    """What a prober makes us calculate."""

    def count(self, server: ServerConnection, data: bytes) -> Counter[str]:
        """Count the multiplications of curve points that some bytes cost."""
        counts: Counter[str] = Counter()

        def counted(name: str, function: Callable[..., Any]) -> Callable[..., Any]:
            def count(*arguments: Any) -> Any:
                counts[name] += 1
                return function(*arguments)

            return count

        for name in ("crypto_scalarmult", "crypto_scalarmult_base", "crypto_box_seal_open"):
            self.patch(bindings, name, counted(name, getattr(bindings, name)))
        self.patch(EphemeralKey, "multiply", counted("multiply", EphemeralKey.multiply))
        list(server.receive_data(data, NOW))
        return counts

    def test_garbage(self) -> None:
        """None, with version 1 off."""
        for what, wrong in flights().items():
            if not any(part in what for part in ("suite", "two days old", "after tomorrow", "point", "unreduced")):
                self.assertEqual(self.count(new_server((2,)), wrong), {}, what)

    def test_version_1(self) -> None:
        """With version 1 on, garbage is opened as its handshake, which takes a multiplication."""
        self.assertEqual(self.count(new_server(), os.urandom(5000)), {"crypto_box_seal_open": 1})

    def test_old(self) -> None:
        """The time is looked at behind the first one, and before any other."""
        self.assertEqual(self.count(new_server((2,)), flights()["version 2, two days old"]), {"crypto_scalarmult": 1})

    def test_repeated(self) -> None:
        """It is looked up before the first."""
        salts, first = RecentSalts(), flight()
        salts.remember(first[:32])
        self.assertEqual(self.count(new_server((2,), salts), first), {})
