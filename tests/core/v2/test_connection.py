"""
Version 2 as the ends of a connection speak it; the rules of its parts are tested beside them.
"""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from sodiumtwist.core.connection import PENDING_LIMIT_2, Bounds, ClientConnection, ServerConnection
from sodiumtwist.core.errors import (
    AuthenticationFailed,
    AuthenticationTimeout,
    ConnectionCut,
    DecryptionFailed,
    LocalProtocolError,
    MalformedPDU,
    RemoteProtocolError,
    ServerUnavailable,
    UnexpectedPDU,
)
from sodiumtwist.core.events import (
    Aborted,
    AnswerReceived,
    Authenticated,
    AuthenticationRequested,
    ConnectionOver,
    DataReceived,
    DrainReceived,
    EndReceived,
    FailureReceived,
    HandshakeComplete,
    PingReceived,
    PongReceived,
    Refused,
    RequestCancelled,
    RequestReceived,
)
from sodiumtwist.core.states import State
from sodiumtwist.core.v2 import messages
from sodiumtwist.core.v2.pdus import BrokenAbort, Code
from sodiumtwist.core.v2.session import V2Records
from sodiumtwist.core.v2.veil import RecentSalts

from ..peers import CLIENT_PAIR, CLOCK, NOW, SERVER_PAIR, PlainClient, take, wire_of
from .ends import UNIX_TIME, new_client, new_server, open_pair, pump, version_2


class HandshakeTests(SynchronousTestCase):
    """From nothing to open."""

    def test_open(self) -> None:
        for versions in ((1, 2), (2,)):
            client, server = new_client(), new_server(versions)
            by_client, by_server = pump(client, server)
            self.assertEqual(by_client, [HandshakeComplete(), Authenticated("Hello.")])
            asked = AuthenticationRequested("username", "passphrase", CLIENT_PAIR.public, version=2)
            self.assertEqual(by_server, [asked])
            self.assertEqual((client.state, server.state), (State.OPEN, State.OPEN))
            self.assertEqual((client.version, server.version), (2, 2))
            self.assertEqual((client.largest, server.largest), (135156, 135156))

    def test_byte_by_byte(self) -> None:
        """The version is told by the 50th byte; no byte is asked for that is not needed."""
        client, server = new_client(), new_server()
        flight = client.data_to_send()
        for place in range(len(flight)):
            self.assertIs(server.state, State.AWAITING_VERSION if place < 50 else State.AWAITING_MESSAGE_1)
            self.assertEqual(server.wanted, (50 if place < 50 else len(flight)) - place)
            self.assertEqual(list(server.receive_data(flight[place : place + 1], NOW)), [])
        self.assertIs(server.state, State.AWAITING_MESSAGE_3)
        for byte in server.data_to_send():
            self.assertIs(client.state, State.AWAITING_MESSAGE_2)
            self.assertIsNotNone(client.wanted)
            events = list(client.receive_data(bytes((byte,)), NOW))
        self.assertEqual(events, [HandshakeComplete()])
        self.assertIsNone(client.wanted)
        events = [event for byte in client.data_to_send() for event in server.receive_data(bytes((byte,)), NOW)]
        self.assertEqual(len(events), 1)
        self.assertEqual(server.wanted, PENDING_LIMIT_2)

    def test_version_1_beside_it(self) -> None:
        """On the same port; what has come stays where it is until it is told."""
        for size in (1, 49, 50, 51, 399, 400):
            server, client = new_server(), PlainClient()
            flight = client.client_auth()
            events = [*server.receive_data(flight[:size], NOW), *server.receive_data(flight[size:], NOW)]
            self.assertEqual([type(event) for event in events], [AuthenticationRequested])
            self.assertEqual(server.version, 1)
            client.read_server_helo(wire_of(server.accept, NOW))

    def test_only_one_version(self) -> None:
        """The other one is garbage then."""
        for versions, flight in (((2,), PlainClient().client_auth()), ((1,), wire_of_client())):
            server = new_server(versions)
            self.assertEqual(list(server.receive_data(flight, NOW)), [])
            self.assertIs(server.state, State.SILENT)

    def test_versions_that_are_none(self) -> None:
        for versions in ((), (3,), (1, 3), (0,)):
            self.assertRaises(LocalProtocolError, ServerConnection, SERVER_PAIR, NOW, versions=versions)
        for version in (0, 3):
            with self.assertRaises(LocalProtocolError):
                ClientConnection(SERVER_PAIR.public, "", "", NOW, version=version)

    def test_what_version_2_needs(self) -> None:
        with self.assertRaises(LocalProtocolError):
            ServerConnection(SERVER_PAIR, NOW, versions=(1, 2))
        with self.assertRaises(LocalProtocolError):
            ServerConnection(SERVER_PAIR, NOW, versions=(2,), version_2=version_2())
        with self.assertRaises(LocalProtocolError):
            ClientConnection(SERVER_PAIR.public, "", "", NOW, version=2)

    def test_a_login_for_another_version(self) -> None:
        """It is refused as if the passphrase were wrong, in both versions."""
        client, server = new_client(), new_server()
        by_client, _ = pump(client, server, lambda server: self.assertIs(server.accept(NOW, versions=(1,)), False))
        self.assertEqual(by_client[1:], [Refused(Code.REFUSED, "login, passphrase or key refused")])
        server = new_server()
        list(server.receive_data(PlainClient().client_auth(), NOW))
        self.assertIs(server.accept(NOW, versions=(2,)), False)
        self.assertEqual((server.state, server.data_to_send()), (State.CLOSED, b""))

    def test_channel_binding(self) -> None:
        """The same at both ends of one connection, and at no other."""
        bindings = set()
        for _ in range(2):
            client, server = new_client(), new_server()
            self.assertIsNone(client.channel_binding)
            pump(client, server)
            assert client.channel_binding is not None
            self.assertEqual(len(client.channel_binding), 32)
            self.assertEqual(client.channel_binding, server.channel_binding)
            bindings.add(client.channel_binding)
        self.assertEqual(len(bindings), 2)
        self.assertIsNone(new_server((1,)).channel_binding)

    def test_secrets_go_with_the_handshake(self) -> None:
        client, server = open_pair()
        self.assertEqual((client._handshake, server._handshake), (None, None))


def wire_of_client() -> bytes:
    """The first flight of a client."""
    return new_client().data_to_send()


class DecisionTests(SynchronousTestCase):
    """What a server says to who has shown that it knows the server's key."""

    def test_reject(self) -> None:
        client, server = new_client(), new_server()
        by_client, _ = pump(client, server, lambda server: server.reject(Code.TOO_MANY_FAILURES, "wait"))
        self.assertEqual(by_client, [HandshakeComplete(), Refused(2, "wait")])
        self.assertEqual((client.state, server.state), (State.CLOSED, State.CLOSED))
        self.assertIsNone(server._records)
        self.assertRaises(LocalProtocolError, server.reject)

    def test_text_too_long(self) -> None:
        """Then nothing is decided."""
        client, server = new_client(), new_server()

        def decide(server: ServerConnection) -> None:
            self.assertRaises(LocalProtocolError, server.accept, NOW, "x" * 1025)
            self.assertRaises(LocalProtocolError, server.reject, 1, "x" * 1025)
            self.assertIs(server.state, State.DECIDING)
            server.accept(NOW, "x" * 1024)

        by_client, _ = pump(client, server, decide)
        self.assertEqual(by_client[1:], [Authenticated("x" * 1024)])

    def test_ignore_is_for_version_1(self) -> None:
        client, server = new_client(), new_server()
        pump(client, server, lambda server: self.assertRaises(LocalProtocolError, server.ignore))
        self.assertIs(server.state, State.DECIDING)

    def test_undecided_in_time(self) -> None:
        """The client is told."""
        client, server = new_client(), new_server()
        pump(client, server, lambda server: None)
        self.assertRaises(AuthenticationTimeout, server.ping_due, server.deadline())
        by_client = list(client.receive_data(server.data_to_send(), NOW))
        self.assertEqual(by_client, [Refused(Code.NO_ROOM, "the server could not decide in time; try again later")])

    def test_malformed_credentials(self) -> None:
        """They opened, so the client knows the server's key, and is told."""
        self.patch(messages, "pack_credentials", lambda *_: b"\x02" + bytes(511))
        client, server = new_client(), new_server()
        server_flight = wire_of_server(client, server)
        self.assertEqual(list(client.receive_data(server_flight, NOW)), [HandshakeComplete()])
        events, error = take(server.receive_data(client.data_to_send(), NOW))
        self.assertEqual((events, type(error), server.state), ([], MalformedPDU, State.CLOSED))
        (refused,) = client.receive_data(server.data_to_send(), NOW)
        self.assertEqual((type(refused), getattr(refused, "code", None)), (Refused, Code.PROTOCOL_BROKEN))

    def test_a_record_of_nothing(self) -> None:
        """It may come before WELCOME, for there is no PDU in it; and says no more than that the server lives."""
        client, server = new_client(), new_server()
        list(client.receive_data(wire_of_server(client, server), NOW))
        list(server.receive_data(client.data_to_send(), NOW))
        assert isinstance(server._records, V2Records)
        self.assertEqual(list(client.receive_data(server._records._sealer.seal([], 0), NOW)), [])
        self.assertIs(client.state, State.AWAITING_WELCOME)
        server.accept(NOW, "Hello.")
        self.assertEqual(list(client.receive_data(server.data_to_send(), NOW)), [Authenticated("Hello.")])

    def test_nothing_to_decide(self) -> None:
        """Before there is a login, and when it was decided on."""
        for server in (new_server((2,)), open_pair()[1]):
            state = server.state
            self.assertRaises(LocalProtocolError, server.accept, NOW)
            self.assertRaises(LocalProtocolError, server.reject)
            self.assertIs(server.state, state)

    def test_the_client_leaves(self) -> None:
        """In the middle of the handshake, and while it is decided on, which is no fault of it."""
        client, server = new_client(), new_server()
        list(client.receive_data(wire_of_server(client, server), NOW))
        third = client.data_to_send()
        error = self.assertRaises(AuthenticationFailed, server.receive_eof)
        self.assertIn("middle of the handshake", str(error))
        self.assertEqual((server.state, list(server.receive_data(third, NOW))), (State.CLOSED, []))
        client, server = new_client(), new_server()
        pump(client, server, lambda server: None)
        server.receive_eof()
        self.assertIs(server.state, State.CLOSED)

    def test_early(self) -> None:
        """What comes behind the handshake waits unopened, and is looked at when it is decided."""
        client, server = new_client(), new_server()
        list(client.receive_data(wire_of_server(client, server), NOW))
        self.assertRaises(LocalProtocolError, client.send_drain)
        self.assertRaises(LocalProtocolError, client.abort, 6, "no")
        client.send_data(b"early")
        asked = client.send_request(b"what?")
        flight = client.data_to_send()
        self.assertEqual(len(list(server.receive_data(flight, NOW))), 1)
        waiting = server.buffered
        self.assertGreater(waiting, 0)
        self.assertEqual(list(server.events(NOW)), [])
        self.assertEqual(server.wanted, PENDING_LIMIT_2 - waiting)
        server.accept(NOW)
        self.assertEqual(list(server.events(NOW)), [DataReceived(b"early"), RequestReceived(asked, b"what?")])
        self.assertIsNone(server.wanted)

    def test_early_and_refused(self) -> None:
        """Nothing of it is acted on."""
        client, server = new_client(), new_server()
        list(client.receive_data(wire_of_server(client, server), NOW))
        client.send_request(b"what?")
        list(server.receive_data(client.data_to_send(), NOW))
        server.reject()
        self.assertEqual((list(server.events(NOW)), server.buffered), ([], 0))
        self.assertEqual([type(event) for event in client.receive_data(server.data_to_send(), NOW)], [Refused])
        self.assertEqual(client.data_to_send(), b"")

    def test_early_and_broken(self) -> None:
        """The answer to that goes behind WELCOME."""
        client, server = new_client(), new_server()
        list(client.receive_data(wire_of_server(client, server), NOW))
        assert client._records is not None
        client.unsent.queue.append((b"\x0e" + bytes(11),))
        client.unsent.size += 12
        list(server.receive_data(client.data_to_send(), NOW))
        server.accept(NOW)
        self.assertRaises(MalformedPDU, list, server.events(NOW))
        heard = list(client.receive_data(server.data_to_send(), NOW))
        self.assertEqual([type(event) for event in heard], [Authenticated, Aborted])
        self.assertEqual(getattr(heard[1], "code", None), Code.PROTOCOL_BROKEN)


def wire_of_server(client: ClientConnection, server: ServerConnection) -> bytes:
    """The server's flight in answer to the client's first one."""
    assert list(server.receive_data(client.data_to_send(), NOW)) == []
    return server.data_to_send()


class OpenTests(SynchronousTestCase):
    """Both ends of an open connection."""

    def test_all_sayings(self) -> None:
        """The same calls and events at both ends."""
        for swap in (False, True):
            client, server = open_pair()
            one, other = (server, client) if swap else (client, server)
            one.send_data(b"data")
            one.send_ping(NOW, CLOCK)
            ids = [one.send_request(payload) for payload in (b"first", b"", bytes(200_000))]
            heard = pump(client, server)[0 if swap else 1]
            self.assertEqual(heard[:2], [DataReceived(b"data"), PingReceived(CLOCK)])
            expected = [RequestReceived(*asked) for asked in zip(ids, (b"first", b"", bytes(200_000)), strict=True)]
            self.assertEqual(heard[2:], expected)
            self.assertEqual(one.unanswered, tuple(ids))
            other.send_pong(0)
            other.send_answer(ids[1], bytes(300_000))
            other.send_failure(ids[0], 0x80000000, "no")
            one.send_cancel(ids[2])
            by_client, by_server = pump(client, server)
            by_one, by_other = (by_server, by_client) if swap else (by_client, by_server)
            pong, *rest = by_one
            assert isinstance(pong, PongReceived)
            self.assertEqual((pong.timestamp, pong.asked), (CLOCK, True))
            self.assertEqual(rest, [FailureReceived(ids[0], 0x80000000, "no"), AnswerReceived(ids[1], bytes(300_000))])
            self.assertEqual(by_other, [RequestCancelled(ids[2])])
            other.send_failure(ids[2], Code.CANCELLED, "")
            other.send_drain()
            by_client, by_server = pump(client, server)
            self.assertEqual(
                by_server if swap else by_client, [FailureReceived(ids[2], Code.CANCELLED, ""), DrainReceived()]
            )
            self.assertEqual(one.unanswered, ())

    def test_over(self) -> None:
        """When both have ended and all is answered: not before, whoever is the last."""
        client, server = open_pair()
        asked = client.send_request(b"what?")
        client.send_end()
        self.assertRaises(LocalProtocolError, client.send_data, b"more")
        self.assertRaises(LocalProtocolError, client.send_request, b"more")
        self.assertRaises(LocalProtocolError, client.send_end)
        client.send_ping(NOW, CLOCK)
        self.assertEqual(
            pump(client, server)[1], [RequestReceived(asked, b"what?"), EndReceived(), PingReceived(CLOCK)]
        )
        server.send_pong(0)
        server.send_end()
        by_client, by_server = pump(client, server)
        self.assertEqual([type(event) for event in by_client], [PongReceived, EndReceived])
        self.assertEqual((by_server, server.state), ([], State.OPEN))
        server.send_answer(asked, b"that")
        by_client, by_server = pump(client, server)
        self.assertEqual(by_client, [AnswerReceived(asked, b"that"), ConnectionOver()])
        self.assertEqual(by_server, [ConnectionOver()])
        for end in (client, server):
            self.assertIs(end.state, State.CLOSED)
            end.receive_eof()

    def test_over_for_the_peer(self) -> None:
        """It closes in order where only signs of life were left to send."""
        client, server = open_pair()
        client.send_end()
        server.send_end()
        pump_once(client, server)
        client.send_ping(NOW, CLOCK)
        list(client.receive_data(server.data_to_send(), NOW))
        client.receive_eof()

    def test_cut(self) -> None:
        """Before that it was cut, wherever."""
        ways = [
            lambda one, other: None,
            lambda one, other: one.send_end(),
            lambda one, other: other.send_end(),
            lambda one, other: (other.send_request(b"?"), one.send_end(), other.send_end()),
        ]
        for way in ways:
            for swap in (False, True):
                client, server = open_pair()
                one, other = (server, client) if swap else (client, server)
                way(one, other)
                pump(client, server)
                self.assertRaises(ConnectionCut, one.receive_eof)
                self.assertIs(one.state, State.CLOSED)

    def test_cut_with_an_answer_unsent(self) -> None:
        """The peer has not got it."""
        client, server = open_pair()
        asked = client.send_request(b"what?")
        client.send_end()
        server.send_end()
        pump(client, server)
        server.send_answer(asked, b"that")
        self.assertRaises(ConnectionCut, server.receive_eof)
        self.assertRaises(ConnectionCut, client.receive_eof)
        self.assertEqual(client.unanswered, (asked,))

    def test_not_sent(self) -> None:
        """What has not left when the connection was cut, nobody has acted on; without a connection there is nothing."""
        client, server = open_pair()
        self.assertEqual(new_client().not_sent, frozenset())
        client.send_request(b"sent")
        client.data_to_send()
        asked = client.send_request(b"not sent")
        self.assertEqual(client.not_sent, {asked})
        client.drop_unsent()
        client.close()
        self.assertEqual(client.not_sent, {asked})

    def test_incoming(self) -> None:
        """It can be told how much is being put together, and what the bounds are; a closed one keeps nothing."""
        client, server = open_pair()
        self.assertEqual(new_client().incoming.held, 0)
        self.assertEqual(server.bounds, Bounds())
        self.assertEqual(ClientConnection(SERVER_PAIR.public, "", "", NOW).bounds, Bounds())
        client.send_request(bytes(1_000_000))
        list(server.receive_data(client.data_to_send(200_000), NOW))
        held = server.incoming.held
        self.assertIn(held, range(65536, 200_000))
        server.send_ping(NOW, CLOCK)
        server.close()
        self.assertEqual(server.incoming.held, 0)

    def test_abort(self) -> None:
        """It is the last thing."""
        client, server = open_pair()
        server.send_request(bytes(1_000_000))
        server.abort(Code.SHUTTING_DOWN, "good night")
        self.assertIs(server.state, State.CLOSED)
        client.send_data(b"in vain")
        self.assertEqual(
            list(client.receive_data(server.data_to_send(), NOW)), [Aborted(Code.SHUTTING_DOWN, "good night")]
        )
        self.assertEqual((client.state, client.data_to_send()), (State.CLOSED, b""))
        client.receive_eof()

    def test_altered(self) -> None:
        """Who alters it is told nothing, and what waited is dropped."""
        client, server = open_pair()
        client.send_data(b"data")
        wire = bytearray(client.data_to_send())
        wire[-1] ^= 1
        server.send_data(b"unsent")
        events, error = take(server.receive_data(bytes(wire), NOW))
        self.assertEqual((events, type(error)), ([], DecryptionFailed))
        self.assertEqual((server.state, server.data_to_send()), (State.CLOSED, b""))

    def test_broken(self) -> None:
        """What stands before it counts, and the peer is told why."""
        client, server = open_pair()
        client.send_data(b"before")
        client.unsent.queue.append((b"\x0e" + bytes(11),))
        client.unsent.size += 12
        client.send_data(b"behind")
        events, error = take(server.receive_data(client.data_to_send(), NOW))
        self.assertEqual((events, type(error)), ([DataReceived(b"before")], MalformedPDU))
        (aborted,) = client.receive_data(server.data_to_send(), NOW)
        assert isinstance(aborted, Aborted)
        self.assertEqual(aborted.code, Code.PROTOCOL_BROKEN)

    def test_at_the_wrong_moment(self) -> None:
        """“The PDUs before it count, then ABORT 6”, and no END; what follows is dropped."""
        for swap in (False, True):
            client, server = open_pair()
            one, other = (server, client) if swap else (client, server)
            one.send_data(b"before")
            one.unsent.queue.append((b"\x05" + bytes(11),))  # a PONG to nothing
            one.unsent.size += 12
            one.send_data(b"behind")
            other.send_end()
            events, error = take(other.receive_data(one.data_to_send(), NOW))
            self.assertEqual(
                (events, type(error), other.state), ([DataReceived(b"before")], UnexpectedPDU, State.CLOSED)
            )
            (aborted,) = one.receive_data(other.data_to_send(), NOW)
            self.assertEqual(aborted, Aborted(Code.PROTOCOL_BROKEN, str(error)))
            self.assertEqual(list(other.events(NOW)), [])

    def test_broken_abort(self) -> None:
        """“No reply comes, not to a broken one either”."""
        client, server = open_pair()
        client.send_data(b"before")
        client.unsent.queue.append((b"\x0c" + bytes(11),))  # without its code
        client.unsent.size += 12
        server.send_data(b"unsent")
        events, error = take(server.receive_data(client.data_to_send(), NOW))
        self.assertEqual((events, type(error)), ([DataReceived(b"before")], BrokenAbort))
        self.assertEqual((server.state, server.data_to_send()), (State.CLOSED, b""))

    def test_one_at_a_time(self) -> None:
        """Who takes an event may go on with the rest later; until then it waits, and counts."""
        client, server = open_pair()
        for number in range(3):
            client.send_data(bytes((number,)))
        events = server.receive_data(client.data_to_send(), NOW)
        self.assertEqual(next(events), DataReceived(b"\0"))
        self.assertGreater(server.buffered, 0)
        self.assertEqual(list(server.events(NOW)), [DataReceived(b"\1"), DataReceived(b"\2")])
        self.assertEqual(server.buffered, 0)

    def test_events_left_and_closed(self) -> None:
        client, server = open_pair()
        client.send_data(b"one")
        client.send_data(b"two")
        next(server.receive_data(client.data_to_send(), NOW))
        server.close()
        self.assertEqual((server.buffered, list(server.events(NOW))), (0, []))

    def test_pongs_owed(self) -> None:
        """With 64 of them nothing more is taken until they have left."""
        client, server = open_pair()
        for number in range(100):
            client._keepalive._asked = 0
            client.send_ping(NOW, number)
        client.send_data(b"behind")
        events = list(server.receive_data(client.data_to_send(), NOW))
        self.assertEqual(events, [PingReceived(number) for number in range(64)])
        self.assertEqual(list(server.events(NOW)), [])
        for _ in range(64):
            server.send_pong(0)
        self.assertEqual(list(server.events(NOW)), [])
        server.data_to_send()
        rest = [PingReceived(number) for number in range(64, 100)]
        self.assertEqual(list(server.events(NOW)), [*rest, DataReceived(b"behind")])

    def test_pongs_in_any_order(self) -> None:
        """Each has the time and the asker of its own PING, whichever comes first."""
        client, server = open_pair()
        client.send_ping(NOW, 1)
        self.assertIs(client.ping_due(NOW + 60), True)
        client.send_ping(NOW + 60, 2)
        list(server.receive_data(client.data_to_send(), NOW + 60))
        assert server._records is not None
        pings = server._records.dialogue._pings.received
        pings[0] = pings.pop(0)
        server.send_pong(0)
        (pong,) = client.receive_data(server.data_to_send(), NOW + 61)
        assert isinstance(pong, PongReceived)
        self.assertEqual((pong.timestamp, pong.latency, pong.asked), (2, 1, False))
        server.send_pong(0)
        (pong,) = client.receive_data(server.data_to_send(), NOW + 62)
        assert isinstance(pong, PongReceived)
        self.assertEqual((pong.timestamp, pong.latency, pong.asked), (1, 62, True))

    def test_life(self) -> None:
        """A record that says nothing shows life, a part of a message too."""
        client, server = open_pair()
        client.send_request(bytes(200_000))
        list(server.receive_data(client.data_to_send(70_000), NOW + 100))
        self.assertEqual(server._keepalive.heard_at, NOW + 100)

    def test_version_1_asks_nothing(self) -> None:
        server, client = new_server((1,)), PlainClient()
        list(server.receive_data(client.client_auth(), NOW))
        wire_of(server.accept, NOW)
        calls = [
            lambda: server.send_request(b""),
            lambda: server.send_answer(0, b""),
            lambda: server.send_failure(0, 1, ""),
            lambda: server.send_cancel(0),
            server.send_end,
            server.send_drain,
            lambda: server.abort(1, ""),
        ]
        for call in calls:
            self.assertIn("version 2", str(self.assertRaises(LocalProtocolError, call)))
        self.assertEqual(server.unanswered, ())


def pump_once(client: ClientConnection, server: ServerConnection) -> None:
    """Carry what the client has to say."""
    list(server.receive_data(client.data_to_send(), NOW))


class NoAnswerTests(SynchronousTestCase):
    """What a client learns that gets none."""

    def test_closed(self) -> None:
        client = new_client()
        client.data_to_send()
        error = self.assertRaises(ServerUnavailable, client.receive_eof)
        for reason in ("another key", "version 1 alone", "clock", "compare the key", "to a C program, speak version 1"):
            self.assertIn(reason, str(error))

    def test_silence(self) -> None:
        client = new_client()
        error = self.assertRaises(AuthenticationTimeout, client.ping_due, client.deadline())
        for reason in ("another key", "version 1 alone", "clock", "compare the key", "to a C program, speak version 1"):
            self.assertIn(reason, str(error))

    def test_cut_before_welcome(self) -> None:
        client, server = new_client(), new_server()
        list(client.receive_data(wire_of_server(client, server), NOW))
        self.assertRaises(ConnectionCut, client.receive_eof)

    def test_no_welcome(self) -> None:
        client, server = new_client(), new_server()
        list(client.receive_data(wire_of_server(client, server), NOW))
        error = self.assertRaises(AuthenticationTimeout, client.ping_due, client.deadline())
        self.assertNotIn("another key", str(error))

    def test_garbage(self) -> None:
        """The client closes at once, and says nothing."""
        client = new_client()
        client.data_to_send()
        self.assertRaises(RemoteProtocolError, list, client.receive_data(bytes(50), NOW))
        self.assertEqual((client.state, client.data_to_send()), (State.CLOSED, b""))

    def test_clocks(self) -> None:
        """The server is silent to a flight of the day before yesterday, unless its check is off."""
        for tolerance, state in ((86_400, State.SILENT), (0, State.AWAITING_MESSAGE_3)):
            server, client = new_server(tolerance=tolerance), new_client(unix_time=lambda: UNIX_TIME - 172_800.0)
            self.assertEqual(list(server.receive_data(client.data_to_send(), NOW)), [])
            self.assertIs(server.state, state)


class RepeatedTests(SynchronousTestCase):
    def test_a_session_sent_again(self) -> None:
        """Nothing is reached with it, also where the server has forgotten it."""
        for salts in (RecentSalts(), None):
            client, server = new_client(), new_server(salts=salts)
            first = client.data_to_send()
            list(server.receive_data(first, NOW))
            list(client.receive_data(server.data_to_send(), NOW))
            client.send_request(b"pay")
            third = client.data_to_send()
            self.assertEqual(len(list(server.receive_data(third, NOW))), 1)
            again = new_server(salts=salts)
            self.assertEqual(list(again.receive_data(first, NOW)), [])
            answer = again.data_to_send()
            self.assertEqual(len(answer) > 0, salts is None)
            self.assertEqual(list(again.receive_data(third, NOW)), [])
            self.assertIs(again.state, State.SILENT)
            self.assertEqual(again.data_to_send(), b"")
