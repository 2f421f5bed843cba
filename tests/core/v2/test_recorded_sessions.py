"""
Recorded sessions of version 2, played by whole connections in either role: what ours sends has the recorded bytes, as
far as it says things in the same parts, and what the other end sent is understood, however it is cut.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from hypothesis import given, settings, strategies as st
from twisted.trial.unittest import SynchronousTestCase

from sodiumtwist.core.connection import ClientConnection, ServerConnection
from sodiumtwist.core.events import (
    AnswerReceived,
    Authenticated,
    AuthenticationRequested,
    ConnectionOver,
    DataReceived,
    DrainReceived,
    EndReceived,
    Event,
    FailureReceived,
    HandshakeComplete,
    PingReceived,
    PongReceived,
    Refused,
    RequestCancelled,
    RequestReceived,
)
from sodiumtwist.core.v2.handshake import Drawn
from sodiumtwist.core.v2.session import V2Records, Version2
from sodiumtwist.core.v2.veil import RecentSalts

from ..peers import NOW, cut
from .recorded import Recorded, fixed_key, sessions

Way = Callable[[bytes], Iterator[bytes]]


def settings_of(recorded: Recorded, server: bool) -> Version2:
    """What makes our end draw what was drawn for the recorded one."""
    extensions = [
        [(number, bytes.fromhex(value)) for number, value in message] for message in recorded["extensions_of_messages"]
    ]
    side = "server" if server else "client"
    drawn = Drawn(
        salt=lambda: recorded.bytes_of("server_salt" if server else "salt"),
        padding=lambda: int(recorded["padding_of_messages_1_and_2"][server]),
        ephemeral=fixed_key(recorded.bytes_of(f"{side}_ephemeral")),
        kem=recorded.kem,
        extensions=(extensions[1],) if server else (extensions[0], extensions[2]),
    )
    # In the order of the records that have one: the first, and the one with END.
    paddings = [
        len(payload) // 2
        for record in recorded["records"]
        if record["to"] != side and record["pdus"] and record["pdus"][0][0] in ("WELCOME", "REFUSED", "END", "REQUEST")
        for name, _, _, payload in record["pdus"]
        if name == "PADDING"
    ]
    return Version2(
        unix_time=lambda: float(recorded["time"]),
        salts=RecentSalts() if server else None,
        suites=[recorded["suite"]] if server else recorded["suites_offered"],
        drawn=drawn,
        padding=iter(paddings).__next__,
    )


class Player:
    """
    One of our ends in a recorded session.

    :ivar sent: pairs of what it sent and what is recorded, where it says the same in the same parts.
    :ivar heard: the events.
    """

    def __init__(self, recorded: Recorded, side: str, way: Way) -> None:
        self.recorded, self.side, self.way = recorded, side, way
        self.heard: list[Event] = []
        self.sent: list[tuple[bytes, bytes]] = []
        self.exact = True
        self.parts: dict[tuple[str | int, int], bytes] = {}
        self.early: set[int] = set()
        self.connection: ServerConnection | ClientConnection
        if side == "server":
            self.connection = ServerConnection(
                recorded.server_pair, NOW, versions=(1, 2), version_2=settings_of(recorded, True)
            )
        else:
            self.connection = ClientConnection(
                recorded.bytes_of("server_public"),
                recorded.login,
                recorded.passphrase,
                NOW,
                recorded.client_pair,
                version=2,
                version_2=settings_of(recorded, False),
            )
            self.connection.initiate()

    def play(self) -> None:
        """Play the whole session."""
        records = [None, None, None, *self.recorded["records"]]
        for place, (step, record) in enumerate(zip(self.recorded["steps"], records, strict=True)):
            wire = bytes.fromhex(step["wire"])
            if step["to"] == self.side:
                if record is not None and "DRAIN" in [pdu[0] for pdu in record["pdus"]]:
                    self.cross(records[place + 1])
                for piece in self.way(wire):
                    self.heard += self.connection.receive_data(piece, NOW)
            else:
                if record is not None:
                    self.prepare()
                    for pdu in record["pdus"]:
                        self.say(*pdu)
                ours = self.connection.data_to_send()
                if self.exact:
                    self.sent.append((ours, wire))
        self.heard += self.connection.events(NOW)

    def cross(self, record: dict[str, Any]) -> None:
        """A DRAIN is on the way to us, and our next request crosses it."""
        for name, _, number, payload in record["pdus"]:
            if name == "REQUEST":
                assert self.connection.send_request(bytes.fromhex(payload)) == number
                self.early.add(number)

    def whole(self, number: int) -> bytes:
        """All of a request of ours that is recorded in parts."""
        return b"".join(
            bytes.fromhex(payload)
            for record in self.recorded["records"]
            if record["to"] != self.side
            for name, _, asked, payload in record["pdus"]
            if (name, asked) == ("REQUEST", number)
        )

    def prepare(self) -> None:
        """Have our end give the numbers that were given."""
        records = self.connection._records
        if isinstance(records, V2Records) and not records.dialogue.unanswered:
            records.dialogue._pings._next = max(records.dialogue._pings._next, 7)
            if self.side == "server":
                records.dialogue.asker._next = 1

    def say(self, name: str | int, flags: int, number: int, payload: str) -> None:
        """Say one PDU; of a request in parts all with its first one, of an answer with its last."""
        connection, content = self.connection, bytes.fromhex(payload)
        if flags or not isinstance(name, str):
            # Ours leaves in one part, and no types of the future are sent.
            self.exact = False
            self.parts[name, number] = self.parts.get((name, number), b"") + content
            if name == "REQUEST":
                self.early.add(number)
                assert connection.send_request(self.whole(number)) == number
            return
        content = self.parts.pop((name, number), b"") + content
        if name == "WELCOME":
            assert isinstance(connection, ServerConnection)
            connection.accept(NOW, content.decode())
            self.heard += connection.events(NOW)  # what came early
        elif name == "REFUSED":
            assert isinstance(connection, ServerConnection)
            connection.reject(int.from_bytes(content[:4], "big"), content[4:].decode())
        elif name == "REQUEST" and number in self.early:
            self.early.discard(number)
        elif name == "REQUEST":
            assert connection.send_request(content) == number
        elif name == "ANSWER":
            connection.send_answer(number, content)
        elif name == "FAILURE":
            connection.send_failure(number, int.from_bytes(content[:4], "big"), content[4:].decode())
        elif name == "PING":
            # Ours always has a timestamp in it.
            assert isinstance(connection._records, V2Records)
            connection._keepalive.ping_sent(NOW)
            connection._records.dialogue.ping(content)
        elif name == "PADDING":
            pass
        else:
            calls: dict[str, Callable[[], Any]] = {
                "DATA": lambda: connection.send_data(content),
                "PONG": lambda: connection.send_pong(0),
                "END": connection.send_end,
                "DRAIN": connection.send_drain,
                "CANCEL": lambda: connection.send_cancel(number),
            }
            calls[name]()


def expected(recorded: Recorded, side: str) -> list[Event]:
    """What an end must hear, but for PONGs."""
    heard: list[Event] = []
    parts: dict[tuple[str, int], bytes] = {}
    makers: dict[str, Callable[[int, bytes], Event]] = {
        "WELCOME": lambda _, content: Authenticated(content.decode()),
        "REFUSED": lambda _, content: Refused(int.from_bytes(content[:4], "big"), content[4:].decode()),
        "DATA": lambda _, content: DataReceived(content),
        "PING": lambda _, content: PingReceived(int.from_bytes(content, "big")),
        "PONG": lambda _, content: PongReceived(int.from_bytes(content, "big"), 0.0, True),
        "REQUEST": RequestReceived,
        "ANSWER": AnswerReceived,
        "FAILURE": lambda n, content: FailureReceived(n, int.from_bytes(content[:4], "big"), content[4:].decode()),
        "CANCEL": lambda number, _: RequestCancelled(number),
        "END": lambda *_: EndReceived(),
        "DRAIN": lambda *_: DrainReceived(),
    }
    if side == "server":
        heard.append(
            AuthenticationRequested(recorded.login, recorded.passphrase, recorded.client_pair.public, version=2)
        )
    else:
        heard.append(HandshakeComplete())
    for record in recorded["records"]:
        if record["to"] == side:
            for name, flags, number, payload in record["pdus"]:
                content = bytes.fromhex(payload)
                if flags:
                    parts[name, number] = parts.get((name, number), b"") + content
                elif name in makers:
                    heard.append(makers[name](number, parts.pop((name, number), b"") + content))
    return heard


class SessionTests(SynchronousTestCase):
    """All sessions."""

    def play(self, recorded: Recorded, side: str, way: Way) -> Player:
        player = Player(recorded, side, way)
        player.play()
        events = [event for event in player.heard if event != ConnectionOver()]
        self.assertEqual(events, expected(recorded, side), (recorded["name"], side))
        over = recorded["records"][-1]["pdus"][0][0] == "END"
        self.assertEqual(ConnectionOver() in player.heard, over)
        for ours, theirs in player.sent:
            self.assertEqual(ours.hex(), theirs.hex(), (recorded["name"], side))
        return player

    def test_whole(self) -> None:
        for recorded in sessions():
            for side in ("server", "client"):
                player = self.play(recorded, side, lambda wire: iter([wire]))
                # The handshake, and what is said before the first message in parts.
                self.assertGreaterEqual(len(player.sent), {"server": 2, "client": 2}[side])

    def test_byte_by_byte(self) -> None:
        for recorded in sessions():
            for side in ("server", "client"):
                self.play(recorded, side, lambda wire: cut(wire, [1] * 3000))

    @settings(max_examples=30)
    @given(st.integers(0, 3), st.booleans(), st.lists(st.integers(1, 3000), max_size=20))
    def test_random_cuts(self, number: int, server: bool, sizes: list[int]) -> None:
        self.play(list(sessions())[number], "server" if server else "client", lambda wire: cut(wire, sizes))
