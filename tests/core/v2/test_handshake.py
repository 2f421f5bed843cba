"""
Both ends of the handshake, with each other and with peers that do what they should not.
"""

from __future__ import annotations

import gc
import weakref
from collections.abc import Callable, Sequence
from dataclasses import replace
from random import Random
from typing import Any
from unittest import mock

from hypothesis import given, settings, strategies as st
from nacl import bindings
from twisted.trial.unittest import SynchronousTestCase

from sodiumtwist.core.errors import (
    DecryptionFailed,
    InvalidKey,
    LocalProtocolError,
    MalformedPDU,
    RemoteProtocolError,
    ReplayDetected,
    UnsupportedProtocol,
    VersionMismatch,
)
from sodiumtwist.core.events import AuthenticationRequested
from sodiumtwist.core.inbox import Inbox
from sodiumtwist.core.keys import KeyPair
from sodiumtwist.core.v2 import agreement, handshake, messages, noise, suites
from sodiumtwist.core.v2.agreement import ML_KEM_768, EphemeralKey
from sodiumtwist.core.v2.handshake import TIME_TOLERANCE, ClientHandshake, Drawn, ServerHandshake
from sodiumtwist.core.v2.messages import Offer, pack_offer
from sodiumtwist.core.v2.veil import OPENING_SIZE, RecentSalts, Veil
from sodiumtwist.core.version import Refusal

from ..peers import CLIENT_PAIR, SERVER_PAIR, WEAK_KEYS, cut, flip
from .plain_handshakes import TIME, PlainClient, PlainServer, StandInKem
from .recorded import fed, fixed_key, sessions


def new_client(login: str = "ann", passphrase: str = "secret", time: int = TIME, **options: Any) -> ClientHandshake:
    return ClientHandshake(CLIENT_PAIR, SERVER_PAIR.public, login, passphrase, time, **options)


def new_server(salts: RecentSalts | None = None, **options: Any) -> ServerHandshake:
    return ServerHandshake(SERVER_PAIR, lambda: float(TIME), RecentSalts() if salts is None else salts, **options)


def one(made: Sequence[Any]) -> Any:
    """What was made, which is one thing."""
    (only,) = made
    return only


class TogetherTests(SynchronousTestCase):
    """Our client and our server."""

    def shake(self, client: ClientHandshake, server: ServerHandshake) -> Any:
        answer = one(fed(server, [client.first_flight]))
        return one(fed(server, fed(client, [answer])))

    def test_session(self) -> None:
        """Both have the same; each sends with what the other receives with."""
        client, server = new_client(), new_server()
        request = self.shake(client, server)
        self.assertEqual(request, AuthenticationRequested("ann", "secret", CLIENT_PAIR.public, version=2))
        self.assertEqual(
            client.session, replace(server.session, send=server.session.receive, receive=server.session.send)
        )
        self.assertNotEqual(client.session.send, client.session.receive)
        self.assertEqual(len(client.session.channel_binding), 32)

    def test_fresh_pair(self) -> None:
        """A client without a key pair makes one: while the server works, if it is told to, or when it is needed."""
        made: list[KeyPair] = []

        def generate() -> KeyPair:
            made.append(CLIENT_PAIR)
            return CLIENT_PAIR

        # Not self.patch(), which would put back a bound method where the class has one of its own.
        patched = mock.patch.object(KeyPair, "generate", staticmethod(generate))
        patched.start()
        self.addCleanup(patched.stop)
        for prepared in (1, 2, 0):
            client, server = ClientHandshake(None, SERVER_PAIR.public, "ann", "secret", TIME), new_server()
            made.clear()
            for _ in range(prepared):
                client.prepare()
            self.assertEqual(len(made), min(prepared, 1))
            self.assertEqual(self.shake(client, server).public_key, CLIENT_PAIR.public)
            self.assertEqual(len(made), 1)

    def test_no_credentials(self) -> None:
        request = self.shake(new_client("", ""), new_server())
        self.assertEqual(request, AuthenticationRequested("", "", CLIENT_PAIR.public, version=2))

    def test_each_is_another(self) -> None:
        """With the same keys and credentials, nothing comes again: salts, keys, hashes, fingerprints."""
        seen: set[bytes] = set()
        for _ in range(3):
            client, server = new_client(), new_server()
            first = client.first_flight
            request = self.shake(client, server)
            seen |= {first[:32], client.session.send, client.session.receive, client.session.channel_binding}
            self.assertEqual(len(request.fingerprint), 16)
            seen.add(request.fingerprint)
        self.assertEqual(len(seen), 15)

    def test_what_the_keys_come_of(self) -> None:
        """
        The static keys are not enough, whoever gets them later: there are other keys with another ephemeral key of
        either end, and with another secret in the KEM's ciphertext. With all of it the same, so are the keys.
        """
        shared = bytes(32)

        class Kem(StandInKem):
            def __init__(self, shared: bytes) -> None:
                self.shared = shared

            def encapsulate(self, public: bytes) -> tuple[bytes, bytes]:
                return bytes(1088), self.shared

            def decapsulate(self, ciphertext: bytes) -> bytes:
                return self.shared

        def keys(clients: int = 1, servers: int = 2, shared: bytes = shared) -> tuple[bytes, bytes]:
            client, server = (
                Drawn(lambda: bytes(32), lambda: 0, fixed_key(bytes([secret]) * 32), Kem(shared))
                for secret in (clients, servers)
            )
            ours = new_client(offered=(2,), drawn=client)
            self.shake(ours, new_server(drawn=server))
            return ours.session.send, ours.session.receive

        made = [keys(), keys(clients=3), keys(servers=4), keys(shared=b"\1" * 32)]
        self.assertEqual(len({key for pair in made for key in pair}), 8)
        self.assertEqual(keys(), made[0])

    def test_nothing_in_clear(self) -> None:
        """Of login, passphrase and the client's key nothing can be seen, by whoever has the server's public key."""
        client, server = new_client(), new_server()
        first = client.first_flight
        second = one(fed(server, [first]))
        third = one(fed(client, [second]))
        unveiled = b""
        for salts, frames in [(first[:32], first[32:] + third), (first[:32] + second[:32], second[32:])]:
            veil = Veil(SERVER_PAIR.public, salts)
            while frames:
                end = 18 + veil.open_size(frames[:18])
                unveiled += veil.open_message(frames[18:end])
                frames = frames[end:]
        for secret in (b"ann", b"secret", CLIENT_PAIR.public):
            self.assertNotIn(secret, first + second + third + unveiled)

    def test_suites(self) -> None:
        """The server's first that the client has; unknown ones are passed over."""
        for offered, has, chosen in [
            ((1, 2), (1, 2), 1),
            ((2, 1), (1, 2), 1),
            ((1, 2), (2,), 2),
            ((2,), (1, 2), 2),
            ((77, 0, 2, 2), (1, 2), 2),
        ]:
            client, server = new_client(offered=offered), new_server(has=has)
            self.shake(client, server)
            self.assertEqual((client.session.suite, server.session.suite), (chosen, chosen))

    def test_own_suites(self) -> None:
        """Where none are given, those of this machine."""
        self.patch(suites, "available", lambda: (2,))
        client = new_client()
        self.assertEqual(messages.unpack_offer(PlainServer(client.first_flight).offer), Offer(TIME, (2,)))
        self.shake(client, server := new_server())
        self.assertEqual(server.session.suite, 2)

    def test_secrets_are_not_shown(self) -> None:
        client, server = new_client(), new_server()
        request = self.shake(client, server)
        for key in (client.session.send, client.session.receive):
            self.assertNotIn(repr(key), repr(client.session))
        self.assertNotIn("secret", repr(request))

    def test_secrets_are_dropped(self) -> None:
        """When it is over, nothing but the session is left, and the Noise state is gone."""
        client, server = new_client(), new_server()
        self.shake(client, server)
        for end in (client, server):
            self.assertEqual(vars(end), {"wanted": 0, "session": end.session})

    def test_secrets_are_dropped_on_failure(self) -> None:
        """Also while somebody keeps the error, as a server does until the deadline, with all that led to it."""
        gc.disable()
        self.addCleanup(gc.enable)
        errors = []
        client, server, peer = new_client(), new_server(), PlainClient()
        fed(server, [peer.first_flight])
        answer = PlainServer(client.first_flight).answer(b"\2\0\0", lambda message: flip(message, -1))
        states = [weakref.ref(end._noise) for end in (client, server)]
        received: list[tuple[ClientHandshake | ServerHandshake, bytes]] = [(client, answer)]
        received.append((server, peer.veil.seal(bytes(100))))
        for end, flight in received:
            try:
                fed(end, [flight])
            except DecryptionFailed as error:
                errors.append(error)
        self.assertEqual([vars(client), vars(server)], [{"wanted": 0}] * 2)
        self.assertEqual([state() for state in states], [None, None])
        self.assertEqual(len(errors), 2)

    def test_longest_credentials(self) -> None:
        pair = ("l" * 255, "p" * 4096)
        self.assertEqual(self.shake(new_client(*pair), new_server()).passphrase, pair[1])

    def test_not_decided_by_the_passphrase(self) -> None:
        """What was asked for can be compared, in any length that fits."""
        request = self.shake(new_client("l" * 255, "p" * 4096), new_server())
        self.assertIs(request.matches("l" * 255, "p" * 4096), True)
        self.assertIs(request.matches("l" * 255, "p" * 4095), False)


class WantedTests(SynchronousTestCase):
    """How much is read."""

    def test_no_byte_too_many(self) -> None:
        """Each end takes what it waits for, and leaves what lies behind it."""
        client, server = new_client(), new_server()
        inbox = Inbox()

        def receive(end: ClientHandshake | ServerHandshake, data: bytes, parts: int) -> Any:
            for _ in range(parts - 1):
                inbox.put(data[: end.wanted])
                data = data[end.wanted :]
                self.assertIsNone(end.receive(inbox))
                self.assertEqual(inbox.size, 0)
            self.assertEqual(len(data), end.wanted)
            inbox.put(data + b"behind")
            result = end.receive(inbox)
            self.assertEqual(inbox.size, 6)
            inbox.clear()
            return result

        self.assertEqual((client.wanted, server.wanted), (50, 50))
        answer = receive(server, client.first_flight, 2)
        self.assertEqual(server.wanted, 18)
        credentials = receive(client, answer, 2)
        self.assertIsInstance(receive(server, credentials, 2), AuthenticationRequested)
        self.assertEqual((client.wanted, server.wanted), (0, 0))

    def test_nothing_more(self) -> None:
        """An end that is done takes nothing."""
        client, server = new_client(), new_server()
        fed(server, fed(client, fed(server, [client.first_flight])))
        for end in (client, server):
            inbox = Inbox()
            inbox.put(b"records")
            self.assertIsNone(end.receive(inbox))
            self.assertEqual(inbox.size, 7)

    def test_a_flight_in_one_read(self) -> None:
        """Both of a client's flights together, which no client can have sent: the second waits."""
        recorded = next(sessions())
        server = recorded.server()
        made = fed(server, [recorded.flights[0] + recorded.flights[2] + b"records"])
        self.assertEqual(made[0], recorded.flights[1])
        self.assertIsInstance(made[1], AuthenticationRequested)


class LengthTests(SynchronousTestCase):
    """What sizes tell."""

    def setUp(self) -> None:
        self.patch(bindings, "randombytes", Random(4).randbytes)

    def test_first_two(self) -> None:
        """They vary evenly over 1024 bytes, from the least that a message takes."""
        first, second = [], []
        for _ in range(200):
            client = new_client(offered=(1, 2), drawn=Drawn(kem=StandInKem()))
            first.append(len(client.first_flight) - 1327)
            second.append(len(one(fed(new_server(drawn=Drawn(kem=StandInKem())), [client.first_flight]))) - 1221)
        for extra in (first, second):
            self.assertGreaterEqual(min(extra), 0)
            self.assertLess(max(extra), 1024)
            quarters = [sum(size // 256 == quarter for size in extra) for quarter in range(4)]
            self.assertTrue(all(30 < count < 70 for count in quarters), quarters)
        self.assertNotEqual(first, second)

    def test_bounds(self) -> None:
        """1326 bytes with one suite and no padding, 2350 with two and the most."""
        for offered, padding, size in [((2,), 0, 1326), ((1, 2), 1023, 2350)]:
            client = new_client(offered=offered, drawn=Drawn(padding=lambda: padding))  # noqa: B023
            self.assertEqual(len(client.first_flight), size)

    def test_third(self) -> None:
        """It does not tell how long login and passphrase are, nor whether there are any."""
        sizes = set()
        for login, passphrase in [("", ""), ("a", ""), ("", "p" * 506), ("l" * 255, "p" * 251), ("ann", "secret")]:
            client = new_client(login, passphrase)
            sizes.add(len(one(fed(client, fed(new_server(), [client.first_flight])))))
        self.assertEqual(sizes, {610})


class ServerTests(SynchronousTestCase):
    """A server, and clients by hand."""

    def assertSilence(
        self, flight: bytes, expected: type[RemoteProtocolError], server: ServerHandshake | None = None
    ) -> str:
        """A first flight fails, and nothing comes of it. Return what the error says."""
        salts = RecentSalts()
        server = new_server(salts) if server is None else server
        error = self.assertRaises(RemoteProtocolError, fed, server, [flight])
        self.assertIs(type(error), expected)
        self.assertEqual(vars(server), {"wanted": 0})
        # What did not pass every check is not remembered.
        self.assertIs(salts.seen(flight[:32]), False)
        return str(error)

    def test_by_hand(self) -> None:
        """What follows differs from this, which passes."""
        client, server = PlainClient(), new_server()
        choice = client.read_answer(one(fed(server, [client.first_flight])))
        self.assertEqual(messages.unpack_choice(choice), server._suite)
        request = one(fed(server, [client.credentials(messages.pack_credentials("ann", "secret"))]))
        self.assertEqual(request, AuthenticationRequested("ann", "secret", CLIENT_PAIR.public, version=2))

    def test_garbage(self) -> None:
        self.patch(noise, "multiply", self.fail)
        for flight in (bytes(50), b"GET / HTTP/1.1\r\n" * 10, b"\xff" * 5000):
            self.assertSilence(flight, DecryptionFailed)

    def test_sizes(self) -> None:
        for size in (0, 8193, 65535):
            client = PlainClient()
            front = Veil(SERVER_PAIR.public, client.salt)._cipher.seal(size.to_bytes(2, "big"))
            self.assertSilence(client.salt + front, MalformedPDU)

    def test_any_part_altered(self) -> None:
        """Salt, size, message; the last by who knows the server's key: its point, its KEM key, its payload."""
        flight = PlainClient().first_flight
        for place in (0, 31, 32, 49, 50, 81, 82, 1300, len(flight) - 1):
            self.assertSilence(flip(flight, place), DecryptionFailed)
        for place in (0, 31, 32, 1231, 1232, -1):
            altered = PlainClient(alter=lambda message: flip(message, place)).first_flight  # noqa: B023
            self.assertSilence(altered, DecryptionFailed)

    def test_short_messages(self) -> None:
        for size in (1, 31, 32, 33, 1231, 1232, 1247):
            cut_short = PlainClient(alter=lambda message: message[:size]).first_flight  # noqa: B023
            self.assertSilence(cut_short, DecryptionFailed)

    def test_bad_points(self) -> None:
        for key in WEAK_KEYS:
            flight = PlainClient(alter=lambda message: key + message[32:]).first_flight  # noqa: B023
            self.assertSilence(flight, DecryptionFailed)

    def test_unreduced_kem_keys(self) -> None:
        """Each number of the key, set to the modulus or beyond, is noticed before any key is made."""
        for place, number in [(0, 3329), (1, 3329), (2, 4095), (766, 3329), (767, 4095)]:

            class Unreduced(StandInKem):
                public = (number << 12 * place).to_bytes(1152, "little") + bytes(32)

            flight = PlainClient(kem=Unreduced()).first_flight
            self.assertSilence(flight, DecryptionFailed, new_server(drawn=Drawn(ephemeral=self.fail)))

    def test_malformed_offers(self) -> None:
        offer = pack_offer(Offer(TIME, (1, 2)))
        for payload in (
            b"",
            offer[:7],
            offer[:8] + b"\0\0\0",
            offer[:9],
            offer[:-1],
            offer[:-2] + b"\0\1",
            offer[:-2] + b"\0\1x",
        ):
            self.assertSilence(PlainClient(payload).first_flight, MalformedPDU)

    def test_no_suite_in_common(self) -> None:
        for offered in [(99,), (0, 3, 255)]:
            flight = PlainClient(pack_offer(Offer(TIME, offered))).first_flight
            self.assertIn(str(list(offered)), self.assertSilence(flight, VersionMismatch))
        self.assertSilence(
            PlainClient(pack_offer(Offer(TIME, (1,)))).first_flight, VersionMismatch, new_server(has=(2,))
        )

    def test_two_days_old(self) -> None:
        """A time too far off, either way, is silence; before the server makes a key."""
        for off in (-2 * 86400, -86401, 86401, 2 * 86400, -TIME, 2**63):
            flight = PlainClient(pack_offer(Offer(TIME + off, (1, 2)))).first_flight
            said = self.assertSilence(flight, ReplayDetected, new_server(drawn=Drawn(ephemeral=self.fail)))
            self.assertIn(f"off by {abs(off)} s", said)

    def test_times_that_pass(self) -> None:
        self.assertEqual(TIME_TOLERANCE, 86400)
        for off, tolerance in [(-86400, 86400), (86400, 86400), (9, 10.0), (-TIME, 0), (2**63, 0)]:
            flight = PlainClient(pack_offer(Offer(TIME + off, (1, 2)))).first_flight
            self.assertIsInstance(one(fed(new_server(tolerance=tolerance), [flight])), bytes)

    def test_repeated(self) -> None:
        """A flight that was answered once is not answered again, and then costs no multiplication."""
        salts, flight = RecentSalts(), new_client().first_flight
        fed(new_server(salts), [flight])
        self.patch(noise, "multiply", self.fail)
        self.assertRaises(ReplayDetected, fed, new_server(salts), [flight])

    def test_remembered_when_it_has_passed(self) -> None:
        """One that was cut short may come whole, for nothing was answered."""
        salts, flight = RecentSalts(), new_client().first_flight
        for size in (49, 50, 1000, len(flight) - 1):
            self.assertEqual(fed(new_server(salts), [flight[:size]]), [])
        self.assertRaises(DecryptionFailed, fed, new_server(salts), [flip(flight, len(flight) - 1)])
        self.assertIsInstance(one(fed(new_server(salts), [flight])), bytes)

    def test_a_session_sent_again(self) -> None:
        """Also where the server's memory is empty: its own keys are others, so the third message does not open."""
        client, server = new_client(), new_server()
        first = client.first_flight
        third = one(fed(client, fed(server, [first])))
        fed(server, [third])
        again = new_server()
        self.assertIsInstance(one(fed(again, [first])), bytes)
        self.assertRaises(DecryptionFailed, fed, again, [third])

    def test_order(self) -> None:
        """What is done for a first flight, in order: what costs least first."""
        done: list[str] = []

        class Noting(RecentSalts):
            def seen(self, salt: bytes) -> bool:
                done.append("seen")
                return super().seen(salt)

            def remember(self, salt: bytes) -> None:
                done.append("remember")
                super().remember(salt)

        def noted(name: str, function: Callable[..., Any]) -> Callable[..., Any]:
            def note(*arguments: Any) -> Any:
                done.append(name)
                return function(*arguments)

            return note

        self.patch(noise, "multiply", noted("multiply", agreement.multiply))
        self.patch(noise, "check_encapsulation_key", noted("check", agreement.check_encapsulation_key))
        flight = new_client().first_flight
        done.clear()
        server = ServerHandshake(
            SERVER_PAIR,
            noted("time", lambda: float(TIME)),
            Noting(),
            drawn=Drawn(ephemeral=noted("e", EphemeralKey)),
        )
        fed(server, [flight])
        self.assertEqual(done, ["seen", "multiply", "check", "time", "remember", "e", "multiply"])

    def credentials(self, payload: bytes) -> tuple[Any, ServerHandshake]:
        client, server = PlainClient(), new_server()
        client.read_answer(one(fed(server, [client.first_flight])))
        return one(fed(server, [client.credentials(payload)])), server

    def test_malformed_credentials(self) -> None:
        """They opened, so the client is told: with code 6, under the session's keys."""
        for payload in [
            b"",
            b"\2",
            b"\1\xff",
            b"\1\1\0\0\0\0\0",
            b"\1\1\xff\0\0\0\0",
            b"\1\0\x10\1" + bytes(5000),
            b"\0\0\5",
        ]:
            refusal, server = self.credentials(payload)
            assert isinstance(refusal, Refusal), refusal
            self.assertEqual(refusal.code, 6)
            self.assertEqual(len(server.session.send), 32)
            self.assertEqual(server.wanted, 0)

    def test_credentials_of_any_size(self) -> None:
        self.assertEqual(self.credentials(b"\0\0\0")[0], AuthenticationRequested("", "", CLIENT_PAIR.public, version=2))

    def test_credentials_that_do_not_open(self) -> None:
        for place in (0, 17, 18, 49, 50, 66, -1):
            client, server = PlainClient(), new_server()
            client.read_answer(one(fed(server, [client.first_flight])))
            self.assertRaises(DecryptionFailed, fed, server, [flip(client.credentials(bytes(512)), place)])
            self.assertEqual(vars(server), {"wanted": 0})

    def test_claimed_key(self) -> None:
        """A client that has only the public half of a key can't say that it is its own."""
        client, server = PlainClient(pair=KeyPair(CLIENT_PAIR.public, b"\x77" * 32)), new_server()
        client.read_answer(one(fed(server, [client.first_flight])))
        self.assertRaises(DecryptionFailed, fed, server, [client.credentials(bytes(512))])

    def test_weak_key_of_a_client(self) -> None:
        """A key that everybody has is nobody's."""
        client, server = PlainClient(), new_server()
        client.read_answer(one(fed(server, [client.first_flight])))
        client.noise._public = WEAK_KEYS[1]
        self.patch(noise, "multiply", lambda key, point: bytes(32))
        frame = client.credentials(bytes(512))
        self.patch(noise, "multiply", agreement.multiply)
        self.assertRaises(DecryptionFailed, fed, server, [frame])

    @settings(max_examples=50)
    @given(st.binary(max_size=3000), st.lists(st.integers(1, 400), max_size=10))
    def test_any_bytes(self, data: bytes, sizes: list[int]) -> None:
        """Garbage is an error of the peer's, or too little."""
        try:
            self.assertEqual(fed(new_server(), cut(data, sizes)), [])
        except RemoteProtocolError:
            self.assertGreaterEqual(len(data), OPENING_SIZE)


class ClientTests(SynchronousTestCase):
    """A client, and servers by hand."""

    def test_by_hand(self) -> None:
        client = new_client()
        server = PlainServer(client.first_flight)
        self.assertEqual(len(one(fed(client, [server.answer(b"\2\0\0")]))), 610)
        self.assertEqual(client.session.suite, 2)

    def test_suite_not_offered(self) -> None:
        for offered, chosen in [((2,), 1), ((1,), 2), ((1, 2), 0), ((1, 2), 99)]:
            client = new_client(offered=offered)
            answer = PlainServer(client.first_flight).answer(bytes((chosen, 0, 0)))
            error = self.assertRaises(MalformedPDU, fed, client, [answer])
            self.assertIn(f"suite {chosen}", str(error))
            self.assertEqual(vars(client), {"wanted": 0})

    def test_malformed_choices(self) -> None:
        for payload in (b"", b"\2", b"\2\0", b"\2\0\1", b"\2\0\1x"):
            client = new_client()
            self.assertRaises(MalformedPDU, fed, client, [PlainServer(client.first_flight).answer(payload)])

    def test_altered(self) -> None:
        for place in (0, 31, 32, 49, 50, 81, 82, 1200, -1):
            client = new_client()
            answer = one(fed(new_server(), [client.first_flight]))
            self.assertRaises(DecryptionFailed, fed, client, [flip(answer, place)])

    def test_answer_of_others(self) -> None:
        """What speaks another protocol is told apart from a hello that was altered."""
        for answer, says in (
            (b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\nConnection: close\r\n\r\n", "a web server answers"),
            (b"SSH-2.0-OpenSSH_9.6\r\n" * 3, "an SSH server answers"),
            (b"\x15\x03\x01\0\2\2\x46" + bytes(50), "TLS is spoken at that port"),
            (bytes(50), "is there a server of this protocol?"),
        ):
            error = self.assertRaises(DecryptionFailed, fed, new_client(), [answer])
            self.assertIn(f"the answer is no hello of that key; {says}", str(error))

    def test_tls_without_tls(self) -> None:
        """A server tells a client of TLS from one that has another key."""
        for flight, says in (
            (b"\x16\x03\x01\2\0" + bytes(512), "the first packet is that of TLS, which is not spoken at this port"),
            (bytes(512), "the first packet does not open; the peer has another server key"),
        ):
            error = self.assertRaises(DecryptionFailed, fed, new_server(), [flight])
            self.assertIn(says, str(error))

    def test_wrong_ciphertext(self) -> None:
        """Decapsulating it does not fail, but gives another secret: the payload behind it does not open."""
        client = new_client()

        class Wrong(StandInKem):
            def encapsulate(self, public: bytes) -> tuple[bytes, bytes]:
                ciphertext, shared = ML_KEM_768.encapsulate(public)
                return flip(ciphertext, 500), shared

        answer = PlainServer(client.first_flight, kem=Wrong()).answer(b"\2\0\0")
        self.assertRaises(DecryptionFailed, fed, client, [answer])

    def test_answer_to_another(self) -> None:
        answer = one(fed(new_server(), [new_client().first_flight]))
        self.assertRaises(DecryptionFailed, fed, new_client(), [answer])

    def test_another_server(self) -> None:
        """Who has the server's public key, and not its secret one, can make nothing that the client takes."""
        client = new_client()
        server = ServerHandshake(KeyPair(SERVER_PAIR.public, CLIENT_PAIR.secret), lambda: TIME, RecentSalts())
        self.assertRaises(DecryptionFailed, fed, server, [client.first_flight])

    def test_weak_server_keys(self) -> None:
        for key in [*WEAK_KEYS, b"\x09" * 31, b"\x09" * 33]:
            self.assertRaises(InvalidKey, ClientHandshake, CLIENT_PAIR, key, "", "", TIME)

    def test_texts_that_do_not_fit(self) -> None:
        for login, passphrase in [("l" * 256, ""), ("", "p" * 4097), ("\0", ""), ("", "\0")]:
            self.assertRaises(LocalProtocolError, new_client, login, passphrase)

    def test_time(self) -> None:
        """Whole seconds, none before 1970."""
        for time, sent in [(TIME, TIME), (1.9, 1), (-1, 0)]:
            client = new_client(time=time)  # type: ignore[arg-type]
            self.assertEqual(messages.unpack_offer(PlainServer(client.first_flight).offer).time, sent)


class SupportTests(SynchronousTestCase):
    def test_no_ml_kem(self) -> None:
        """Where it is missing, neither end begins."""

        def check() -> None:
            raise UnsupportedProtocol("no")

        self.patch(handshake, "check_supported", check)
        self.assertRaises(UnsupportedProtocol, new_client)
        self.assertRaises(UnsupportedProtocol, new_server)
