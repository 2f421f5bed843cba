"""
Recorded sessions with the reference programs, to be played to our two ends and spoken by them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from struct import unpack

from twisted.trial.unittest import SynchronousTestCase

from sodiumtwist.core.connection import ClientConnection, ServerConnection
from sodiumtwist.core.events import AuthenticationRequested, DataReceived, Event, PingReceived, PongReceived
from sodiumtwist.core.keys import KeyPair
from sodiumtwist.core.states import State

from ..vectors import Session, Step, load_session
from .peers import DATA, NOW, PING, PONG, Connection, PlainPull, cut, wire_of


def clock(body: bytes) -> int:
    """The time that a PING or PONG holds, in nanoseconds."""
    seconds: int
    nanoseconds: int
    seconds, nanoseconds = unpack(">QI", body[:12])
    return seconds * 10**9 + nanoseconds


def message(session: Session) -> str:
    """The message of the recorded SERVER_HELO."""
    return session.server_helo[60:].rstrip(b"\0").decode()


def new_server(session: Session) -> ServerConnection:
    """Our server with the recorded server's key."""
    return ServerConnection(KeyPair.from_secret(session.server_secret_key), NOW)


def client_pair(session: Session) -> KeyPair:
    """The recorded client's, where it is known."""
    assert session.client_secret_key is not None
    return KeyPair.from_secret(session.client_secret_key)


def new_client(session: Session) -> ClientConnection:
    """Our client with the recorded client's keys and nonce."""
    return ClientConnection(
        KeyPair.from_secret(session.server_secret_key).public,
        session.login,
        session.passphrase,
        NOW,
        client_pair(session),
        nonce=session.client_auth[16:40],
    )


def send_pings(connection: Connection, session: Session, side: str) -> None:
    """Ask for the PONGs that ``side`` received."""
    for step in session.sent_to(side):
        if step.type == PONG:
            wire_of(connection.send_ping, NOW, 0)


def play_to_server(session: Session, pieces: Iterable[bytes]) -> tuple[ServerConnection, list[Event]]:
    """Feed our server with what the recorded one received."""
    events: list[Event] = []
    server = new_server(session)
    for piece in pieces:
        for event in server.receive_data(piece, NOW):
            events.append(event)
            if isinstance(event, AuthenticationRequested):
                wire_of(server.accept, NOW)
                send_pings(server, session, "server")
    return server, events


def play_to_client(session: Session, pieces: Iterable[bytes]) -> tuple[ClientConnection, list[Event]]:
    """Feed our client with what the recorded one received."""
    events: list[Event] = []
    client = new_client(session)
    wire_of(client.initiate)
    send_pings(client, session, "client")
    for piece in pieces:
        events += client.receive_data(piece, NOW)
    return client, events


def stream_events(session: Session, side: str) -> list[Event]:
    """The events of the stream PDUs that ``side`` received."""
    make: dict[int, Callable[[bytes], Event]] = {
        DATA: DataReceived,
        PING: lambda body: PingReceived(clock(body)),
        PONG: lambda body: PongReceived(clock(body), 0),
    }
    return [make[step.type](step.body) for step in session.sent_to(side)[1:]]


class PlayedTestCase(SynchronousTestCase):
    """
    One direction of one recording.

    :ivar side: to whom.
    :ivar session: the recording.
    :ivar wire: all that ``side`` received.
    :ivar first: the event of the handshake.
    :ivar rest: the events behind it.
    """

    side: str
    session: Session
    wire: bytes
    first: Event
    rest: list[Event]

    def play(self, pieces: Iterable[bytes]) -> tuple[Connection, list[Event]]:
        """Our end and its events."""
        raise NotImplementedError

    def check(self, pieces: Iterable[bytes]) -> None:
        connection, events = self.play(pieces)
        self.assertEqual(events[0], self.first)
        self.assertEqual(events[1:], self.rest)
        self.assertIs(connection.state, State.OPEN)
        self.assertEqual(connection.buffered, 0)
        connection.receive_eof()

    def test_whole(self) -> None:
        self.check([self.wire])

    def test_byte_by_byte(self) -> None:
        self.check(cut(self.wire, [1] * len(self.wire)))

    def test_pdu_by_pdu(self) -> None:
        self.check([step.wire for step in self.session.sent_to(self.side)])


class PlayedToServerTestCase(PlayedTestCase):
    """
    The direction to the server.

    :ivar peer: which of the two was the reference program.
    """

    peer: str
    side = "server"

    def setUp(self) -> None:
        self.session = load_session(self.peer)
        self.wire = self.session.wire_to("server")
        self.first = AuthenticationRequested("username", "passphrase", self.session.client_auth[64:96])
        self.rest = stream_events(self.session, "server")

    def play(self, pieces: Iterable[bytes]) -> tuple[Connection, list[Event]]:
        return play_to_server(self.session, pieces)


class SpokenTestCase(SynchronousTestCase):
    """
    Assertions about what we send in the place of a recorded end.
    """

    def assertLikeRecorded(self, sealed: bytes, plain: bytes, recorded: Step, stream_header: slice) -> None:
        """A handshake PDU is as recorded, but for its stream header."""
        self.assertEqual(len(sealed), len(recorded.wire))
        self.assertEqual(len(plain), len(recorded.plain))
        self.assertEqual(plain[: stream_header.start], recorded.plain[: stream_header.start])
        self.assertEqual(plain[stream_header.stop :], recorded.plain[stream_header.stop :])
        self.assertNotEqual(plain[stream_header], recorded.plain[stream_header])

    def assertSaysTheSame(self, connection: Connection, pull: PlainPull, steps: list[Step]) -> None:
        """Sent again by us, each PDU has the recorded size and opens to the recorded body."""
        say: dict[int, Callable[[bytes], bytes]] = {
            DATA: lambda body: wire_of(connection.send_data, body),
            PING: lambda body: wire_of(connection.send_ping, NOW, clock(body)),
            PONG: lambda body: wire_of(connection.send_pong, clock(body)),
        }
        for step in steps:
            sealed = say[step.type](step.body)
            self.assertEqual(len(sealed), len(step.wire))
            # We leave nothing in the padding, where the reference has anything.
            body = step.body if step.type == DATA else step.body[:12] + bytes(4)
            self.assertEqual(pull.pdus(sealed), [(step.type, body)])
