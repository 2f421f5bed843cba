"""
The dialogues of the recorded sessions, which an implementation made that shares no code with ours: what it said is
understood, and what we say in its place has its bytes.
"""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from sodiumtwist.core.events import (
    AnswerReceived,
    Authenticated,
    DataReceived,
    DrainReceived,
    EndReceived,
    Event,
    FailureReceived,
    PingReceived,
    PongReceived,
    Refused,
    RequestCancelled,
    RequestReceived,
)
from sodiumtwist.core.v2.pdus import HEADER, LARGEST_PAYLOAD, read_body, read_reason

from .recorded_records import Session, sessions
from .talk import End, shown

CLOCK = int.from_bytes(b"12345678", "big")

#: What either end is told, in the sessions that end in order.
TOLD: dict[str, list[Event]] = {
    "server": [
        RequestReceived(0, b"early"),
        RequestReceived(1, b"first"),
        RequestReceived(2, b"second"),
        PingReceived(CLOCK),
        AnswerReceived(1, b"me too"),
        RequestReceived(4, b"small"),
        RequestReceived(3, b"a" * 50 + b"b" * 50),
        DataReceived(b""),
        DataReceived(b"x" * 1000),
        PingReceived(0),
        RequestReceived(5, b"never mind"),
        RequestCancelled(5),
        EndReceived(),
    ],
    "client": [
        Authenticated("Welcome."),
        AnswerReceived(0, b"at once"),
        PongReceived(CLOCK, 0.0),
        AnswerReceived(2, b"2nd"),
        FailureReceived(1, 7, "no such thing"),
        RequestReceived(1, b"and you?"),
        AnswerReceived(4, b"4th"),
        AnswerReceived(3, b"3rd, in two"),
        PongReceived(0, 0.0),
        DrainReceived(),
        FailureReceived(5, 10, "cancelled"),
        EndReceived(),
    ],
}


class Player(End):
    """Says what one side of a recorded session has said."""

    def __init__(self, server: bool) -> None:
        super().__init__(server)
        self._parts: dict[tuple[object, object], bytes] = {}

    def say(self, name: object, more: bool, id: int, payload: bytes) -> None:
        """Say a PDU; a message in parts as a whole, with its last part."""
        dialogue = self.dialogue
        if more:
            self._parts[name, id] = payload
            return
        payload = self._parts.pop((name, id), b"") + payload
        if name == "WELCOME":
            dialogue.welcome(payload.decode())
        elif name == "REFUSED":
            dialogue.refuse(*read_reason(payload))
        elif name == "DATA":
            self.data(payload)
        elif name == "PING":
            dialogue._pings._next = id
            assert dialogue.ping(payload) == id
        elif name == "PONG":
            dialogue.pong()
        elif name == "REQUEST":
            dialogue.asker._next = id
            dialogue._may_ask = True  # one of them crossed a DRAIN
            assert dialogue.request(payload) == id
        elif name == "ANSWER":
            dialogue.answer(id, payload)
        elif name == "FAILURE":
            dialogue.fail(id, *read_reason(payload))
        elif name == "END":
            dialogue.end()
        elif name == "DRAIN":
            dialogue.drain()
        elif name == "CANCEL":
            dialogue.cancel(id)
        else:
            assert name in ("PADDING", 128), name


class RecordedDialogueTests(SynchronousTestCase):
    """Each session, by either end."""

    def play(self, session: Session, side: str) -> list[Event]:
        """Say what the side said, hear what it heard, and compare."""
        end = Player(side == "server")
        for record in session.records:
            if record.to == side:
                end.hear(record.body)
                continue
            pdus, error = read_body(record.body)
            self.assertIsNone(error)
            names = shown(pdus)
            for name, more, id, payload in names:
                end.say(name, bool(more), int(str(id)), payload if isinstance(payload, bytes) else b"")
            said = end.take()
            # Request 3 and its answer are small and in parts all the same, which ours never are.
            if not any(name in ("REQUEST", "ANSWER") and id == 3 for name, _, id, _ in names):
                kept = [
                    pdu
                    for pdu, name in zip(self.cut(record.body), names, strict=True)
                    if name[0] not in ("PADDING", 128)
                ]
                self.assertEqual(said, b"".join(kept), f"{session.name}: {names}")
        if session.name != "refused":
            self.assertTrue(end.dialogue.over)
        return end.events

    def cut(self, body: bytes) -> list[bytes]:
        """Cut a body into its PDUs."""
        pdus = []
        while body:
            size = 12 + HEADER.unpack_from(body)[2]
            pdus.append(body[:size])
            body = body[size:]
        return pdus

    def test_sessions(self) -> None:
        for session in sessions():
            for side in ("client", "server"):
                events = self.play(session, side)
                if session.name == "refused":
                    self.assertEqual(events, [Refused(1, "login or passphrase is wrong")] if side == "client" else [])
                    continue
                if session.name.startswith("AEGIS") and side == "server":
                    largest = events.pop(-2)
                    assert isinstance(largest, DataReceived)
                    self.assertEqual(len(largest.payload), LARGEST_PAYLOAD)
                self.assertEqual(events, TOLD[side])

    def test_same_bytes(self) -> None:
        """What is read and laid out again is what was recorded, but for what says nothing."""
        for session in sessions():
            for record in session.records:
                pdus, error = read_body(record.body)
                self.assertIsNone(error)
                again = [HEADER.pack(kind, id, len(payload)) + payload for kind, id, payload in pdus]
                names = [name for name, *_ in shown(pdus)]
                for name, laid_out, recorded in zip(names, again, self.cut(record.body), strict=True):
                    if name not in ("PADDING", 128):
                        self.assertEqual(laid_out, recorded)
