"""
Tests of :mod:`sodiumtwist.core.v2.dialogue`: one end, the other by hand. Sentences in quotes are the wire document's.
"""

from __future__ import annotations

from collections.abc import Callable

from twisted.trial.unittest import SynchronousTestCase

from sodiumtwist.core.errors import (
    LocalProtocolError,
    MalformedPDU,
    PayloadTooLarge,
    RemoteProtocolError,
    UnexpectedPDU,
    WindowExceeded,
)
from sodiumtwist.core.events import (
    Aborted,
    AnswerReceived,
    Authenticated,
    DataReceived,
    DrainReceived,
    EndReceived,
    FailureReceived,
    PingReceived,
    PongReceived,
    Refused,
    RequestReceived,
)
from sodiumtwist.core.v2.incoming import Bounds
from sodiumtwist.core.v2.pdus import read_body

from .talk import ROOM, TYPES, End, pdu, reason, welcomed_client, welcoming_server

WELCOME = pdu("WELCOME", b"Welcome.")


class DialogueTestCase(SynchronousTestCase):
    def assert_broken(self, end: End, *pdus: bytes, pattern: str = "") -> None:
        """The last of these breaks a rule, and those before it count."""
        end.hear(*pdus[:-1])
        with self.assertRaisesRegex(UnexpectedPDU, pattern) as caught:
            end.hear(pdus[-1])
        end.dialogue.drop_unsent()
        end.dialogue.broken(caught.exception)
        self.assertEqual(end.said(), [("ABORT", False, 0, reason(6, str(caught.exception)))])

    def assert_refused(self, *calls: Callable[[], object], pattern: str = "") -> None:
        """What may not be called has no effect."""
        for call in calls:
            self.assertRaisesRegex(LocalProtocolError, pattern, call)

    def calls(self, end: End) -> dict[str, Callable[[], object]]:
        """What can be sent at any time, by type."""
        dialogue = end.dialogue
        return {
            "WELCOME": lambda: dialogue.welcome(""),
            "REFUSED": lambda: dialogue.refuse(1, ""),
            "PING": lambda: dialogue.ping(),
            "REQUEST": lambda: dialogue.request(b"x"),
            "END": lambda: dialogue.end(),
            "PADDING": lambda: dialogue.padding(1),
            "DRAIN": lambda: dialogue.drain(),
            "ABORT": lambda: dialogue.abort(4, ""),
        }

    def assert_may_say(self, make: Callable[[], End], expected: str) -> None:
        """These can be sent, and nothing else."""
        allowed = set()
        for name in self.calls(make()):
            end = make()
            try:
                self.calls(end)[name]()
            except LocalProtocolError:
                self.assertEqual(end.take(), b"", name)
            else:
                self.assertEqual(end.said()[0][0], name)
                allowed.add(name)
        if make().dialogue.may_send_data:
            allowed.add("DATA")
        self.assertEqual(allowed, set(expected.split()))


class OpeningTests(DialogueTestCase):
    """“First PDU, once”, and what goes before."""

    def test_welcome(self) -> None:
        server = End(True)
        server.dialogue.welcome("Hello ☃", padding=3)
        self.assertEqual(server.take(), pdu("WELCOME", "Hello ☃".encode()) + pdu("PADDING", bytes(3)))
        client = End(False)
        self.assertEqual(
            client.hear(pdu("WELCOME", "Hello ☃".encode()) + pdu("PADDING", bytes(3))), [Authenticated("Hello ☃")]
        )

    def test_no_padding(self) -> None:
        server = End(True)
        server.dialogue.welcome("")
        self.assertEqual(server.take(), pdu("WELCOME"))

    def test_refused(self) -> None:
        """“Instead of WELCOME; nothing the client sent was acted on”."""
        server = End(True)
        server.dialogue.refuse(1, "no", padding=0)
        self.assertEqual(server.take(), pdu("REFUSED", reason(1, "no")) + pdu("PADDING"))
        self.assertEqual(server.hear(pdu("REQUEST", b"x"), pdu("END"), pdu("DATA", b"x")), [])
        client = End(False)
        client.dialogue.request(b"x")
        self.assertEqual(client.hear(pdu("REFUSED", reason(1, "no")), pdu("PADDING")), [Refused(1, "no")])
        self.assertEqual(client.dialogue.unanswered, (0,))
        self.assertEqual(client.take(), b"")

    def test_what_a_server_may_say(self) -> None:
        self.assert_may_say(lambda: End(True), "WELCOME REFUSED")
        self.assert_may_say(welcoming_server, "DATA PING REQUEST END PADDING DRAIN ABORT")

        def refusing() -> End:
            server = End(True)
            server.dialogue.refuse(1, "")
            server.take()
            return server

        self.assert_may_say(refusing, "")

    def test_what_a_client_may_say(self) -> None:
        """“The client may send right behind message 3 (by its own rule no DRAIN or ABORT)”."""
        self.assert_may_say(lambda: End(False), "DATA PING REQUEST END PADDING")
        self.assert_may_say(welcomed_client, "DATA PING REQUEST END PADDING DRAIN ABORT")

        def refused() -> End:
            client = End(False)
            client.hear(pdu("REFUSED", reason(1)))
            return client

        self.assert_may_say(refused, "")

    def test_early_end(self) -> None:
        """A client may say all it has before it knows whether it is let in."""
        client = End(False)
        client.dialogue.request(b"x")
        client.dialogue.end()
        self.assert_refused(client.dialogue.drain, lambda: client.dialogue.request(b"y"), client.dialogue.end)
        self.assertFalse(client.dialogue.may_send_data)
        client.hear(WELCOME)
        self.assertFalse(client.dialogue.may_send_data)
        self.assert_refused(lambda: client.dialogue.request(b"y"), client.dialogue.end)
        client.dialogue.drain()
        self.assertEqual([one[0] for one in client.said()], ["REQUEST", "END", "DRAIN"])

    def test_nothing_precedes_it(self) -> None:
        """“Nothing precedes WELCOME or REFUSED”, also nothing that is passed over."""
        for name in set(TYPES) - {"WELCOME", "REFUSED", "ABORT"}:
            payload = bytes(4) if name == "FAILURE" else b""
            self.assert_broken(End(False), pdu(name, payload), pattern=f"{name} before WELCOME or REFUSED")
        self.assert_broken(End(False), pdu(200), pattern="type 128 before WELCOME")

    def test_second_welcome(self) -> None:
        """“A second WELCOME”; “REFUSED behind WELCOME”."""
        self.assert_broken(End(False), WELCOME, WELCOME, pattern="WELCOME behind WELCOME")
        self.assert_broken(End(False), WELCOME, pdu("REFUSED", reason(1)), pattern="REFUSED behind WELCOME")

    def test_from_the_client(self) -> None:
        """“Either of them from the client”."""
        self.assert_broken(welcoming_server(), WELCOME)
        self.assert_broken(welcoming_server(), pdu("REFUSED", reason(1)))

    def test_early(self) -> None:
        """What a client said early comes when the server has decided; “a broken PDU there gets its
        ABORT behind WELCOME”."""
        server = End(True)
        server.dialogue.welcome("")
        self.assertEqual(
            server.hear(pdu("DATA", b"x"), pdu("REQUEST", b"y")), [DataReceived(b"x"), RequestReceived(0, b"y")]
        )
        with self.assertRaises(UnexpectedPDU) as caught:
            server.hear(pdu("REQUEST", b"y"))
        server.dialogue.broken(caught.exception)
        self.assertEqual([one[0] for one in server.said()], ["WELCOME", "ABORT"])

    def test_lines(self) -> None:
        """A line that is too long is refused, and nothing has happened."""
        for call in (End(True).dialogue.welcome, lambda text: End(True).dialogue.refuse(1, text)):
            self.assertRaisesRegex(LocalProtocolError, "1025 bytes", call, "x" * 1025)
        server = End(True)
        self.assert_refused(lambda: server.dialogue.welcome("x" * 1025), lambda: server.dialogue.refuse(-1, ""))
        server.dialogue.welcome("x" * 1024)


class DataTests(DialogueTestCase):
    """“One payload, in order”."""

    def test_data(self) -> None:
        for end in (welcomed_client(), welcoming_server()):
            payloads = [b"", b"x", bytes(ROOM - 12)]
            events = [event for payload in payloads for event in end.hear(pdu("DATA", payload))]
            self.assertEqual(events, [DataReceived(payload) for payload in payloads])

    def test_nothing(self) -> None:
        """PADDING is “ignored”, and so are types that are not known."""
        self.assertEqual(welcoming_server().hear(pdu("PADDING", bytes(50)), pdu(131, b"x", 77)), [])


class PingTests(DialogueTestCase):
    """“Up to 64 bytes, echoed”."""

    def test_ping(self) -> None:
        end = welcoming_server()
        self.assertEqual(end.dialogue.ping(b"12345678"), 0)
        self.assertEqual(end.dialogue.ping(bytes(64)), 1)
        self.assertEqual(end.take(), pdu("PING", b"12345678", 0) + pdu("PING", bytes(64), 1))
        pongs = end.hear(pdu("PONG", bytes(64), 1), pdu("PONG", b"12345678", 0))
        self.assertEqual(pongs, [PongReceived(0, 0.0), PongReceived(0x3132333435363738, 0.0)])

    def test_pong(self) -> None:
        """The oldest first. A payload of 8 bytes is a number."""
        end = welcomed_client()
        pings = end.hear(pdu("PING", b"12345678", 7), pdu("PING", b"", 3))
        self.assertEqual(pings, [PingReceived(0x3132333435363738), PingReceived(0)])
        end.dialogue.pong()
        end.dialogue.pong()
        self.assert_refused(end.dialogue.pong, pattern="no PING waits")
        self.assertEqual(end.take(), pdu("PONG", b"12345678", 7) + pdu("PONG", b"", 3))

    def test_too_large(self) -> None:
        self.assertRaises(PayloadTooLarge, welcomed_client().dialogue.ping, bytes(65))

    def test_ids(self) -> None:
        """One number after the other, without those in use."""
        end = welcomed_client()
        end.dialogue.ping()
        end.dialogue._pings._next = 2**32 - 1
        self.assertEqual([end.dialogue.ping() for _ in range(2)], [2**32 - 1, 1])

    def test_owed(self) -> None:
        """“64 PONGs unsent, then reading stops”: until it has left, a PONG is owed."""
        end = welcomed_client()
        for id in range(3):
            end.hear(pdu("PING", b"", id))
        end.dialogue.pong()
        self.assertEqual(end.dialogue.pongs_owed, 3)
        end.take()
        self.assertEqual(end.dialogue.pongs_owed, 2)
        end.dialogue.pong()
        end.dialogue.pong()
        end.take(12)
        self.assertEqual(end.dialogue.pongs_owed, 1)

    def test_id_in_use(self) -> None:
        """“A PING with an id in use”. “A PING's id is free again with its PONG”."""
        for answered in (False, True):
            end = welcomed_client()
            end.hear(pdu("PING", b"", 5))
            if answered:
                end.dialogue.pong()  # which has not left
            self.assert_broken(end, pdu("PING", b"", 5), pattern="PING with the id 5, which is in use")
        end = welcomed_client()
        for _ in range(2):
            end.hear(pdu("PING", b"", 5))
            end.dialogue.pong()
            end.take()

    def test_own_space(self) -> None:
        """“One space a direction for requests, another for PINGs”."""
        end = welcomed_client()
        end.hear(pdu("REQUEST", b"", 0), pdu("PING", b"", 0))
        self.assertEqual((end.dialogue.request(b""), end.dialogue.ping()), (0, 0))

    def test_pong_to_nothing(self) -> None:
        """“A PONG to nothing or with other bytes”."""
        end = welcomed_client()
        self.assert_broken(end, pdu("PONG", b"", 0), pattern="PONG with the id 0 to no PING")
        end = welcomed_client()
        end.dialogue.ping(b"x")
        self.assert_broken(end, pdu("PONG", b"x", 0), pattern="to no PING")  # it has not left
        for room in (ROOM, 13):
            for payload in (b"", b"y", b"xx"):
                end = welcomed_client()
                end.dialogue.ping(b"x")
                end.take(room)
                self.assert_broken(end, pdu("PONG", payload, 0), pattern="with other bytes")
        end = welcomed_client()
        end.dialogue.ping(b"x")
        end.take()
        self.assert_broken(end, pdu("PONG", b"x", 0), pdu("PONG", b"x", 0))


class EndTests(DialogueTestCase):
    """END and DRAIN."""

    def test_end(self) -> None:
        end = welcomed_client()
        self.assertEqual(end.hear(pdu("END"), pdu("PADDING", bytes(9))), [EndReceived()])

    def test_behind_end(self) -> None:
        """“DATA or REQUEST behind END”, “a second END”."""
        for behind in (pdu("DATA"), pdu("REQUEST", b"x"), pdu("REQUEST", b"x", 1, more=True), pdu("END")):
            for drained in (False, True):
                end = welcoming_server()
                if drained:
                    end.hear(pdu("DRAIN"))
                self.assert_broken(end, pdu("END"), behind, pattern="behind END")

    def test_all_else_may_come(self) -> None:
        """“All else may come”, behind END."""
        end = welcomed_client()
        id = end.dialogue.request(b"x")
        end.dialogue.ping(b"")
        end.take()
        events = end.hear(
            *(
                pdu("END"),
                pdu("PING"),
                pdu("PONG"),
                pdu("ANSWER", b"y", id),
                pdu("PADDING"),
                pdu("CANCEL"),
                pdu("DRAIN"),
            )
        )
        kinds = [EndReceived, PingReceived, PongReceived, AnswerReceived, DrainReceived]
        self.assertEqual([type(event) for event in events], kinds)
        self.assertEqual(end.hear(pdu("ABORT", reason(4, "x"))), [Aborted(4, "x")])

    def test_say_behind_end(self) -> None:
        for make in (welcomed_client, welcoming_server):

            def ended(make: Callable[[], End] = make) -> End:
                end = make()
                end.dialogue.end()
                end.take()
                return end

            self.assert_may_say(ended, "PING PADDING DRAIN ABORT")

    def test_answer_behind_end(self) -> None:
        end = welcoming_server()
        end.hear(pdu("REQUEST", b"x", 0), pdu("REQUEST", b"x", 1), pdu("PING"))
        end.dialogue.end()
        end.dialogue.answer(0, b"y")
        end.dialogue.fail(1, 7, "")
        end.dialogue.pong()
        self.assertEqual([one[0] for one in end.said()], ["END", "ANSWER", "FAILURE", "PONG"])

    def test_cancel_behind_end(self) -> None:
        end = welcomed_client()
        end.dialogue.request(b"x")
        end.dialogue.end()
        end.dialogue.cancel(0)
        self.assertEqual([one[0] for one in end.said()], ["REQUEST", "END", "CANCEL"])

    def test_end_before_last_part(self) -> None:
        """“END before the last part of a REQUEST”, also of one whose parts are dropped."""
        part = pdu("REQUEST", b"x", 5, more=True)
        self.assert_broken(welcoming_server(), part, pdu("END"), pattern="END before the last part")
        self.assert_broken(welcoming_server(Bounds(requests=1)), pdu("REQUEST", b"x"), part, pdu("END"))
        end = welcoming_server()
        end.hear(part, pdu("REQUEST", b"y", 5), pdu("END"))

    def test_end_before_last_part_of_an_answer(self) -> None:
        """Which is no question of its sender's."""
        end = welcomed_client()
        end.dialogue.request(b"x")
        end.take()
        self.assertEqual(
            end.hear(pdu("ANSWER", b"x", more=True), pdu("END"), pdu("ANSWER")),
            [EndReceived(), AnswerReceived(0, b"x")],
        )

    def test_drain(self) -> None:
        """“Ask nothing new here, close when done: the sender is about to stop”."""
        for make in (welcomed_client, welcoming_server):
            end = make()
            end.dialogue.request(b"before")
            self.assertEqual(end.hear(pdu("DRAIN")), [DrainReceived()])
            self.assert_refused(lambda end=end: end.dialogue.request(b"x"), pattern="the peer is about to stop")  # type: ignore[misc]
            self.assertTrue(end.dialogue.may_send_data)
            self.assertEqual([one[0] for one in end.said()], ["REQUEST"])
            end.dialogue.end()
            self.assert_refused(lambda end=end: end.dialogue.request(b"x"), pattern="cannot send REQUEST behind END")  # type: ignore[misc]

    def test_drain_behind_end(self) -> None:
        end = welcomed_client()
        end.hear(pdu("END"), pdu("DRAIN"))
        self.assert_refused(lambda: end.dialogue.request(b"x"), pattern="about to stop")

    def test_second_drain(self) -> None:
        """“A second ... DRAIN”."""
        for before in ([pdu("DRAIN")], [pdu("DRAIN"), pdu("END")], [pdu("END"), pdu("DRAIN")]):
            self.assert_broken(welcoming_server(), *before, pdu("DRAIN"))
        for make in (welcomed_client, welcoming_server):

            def draining(make: Callable[[], End] = make) -> End:
                end = make()
                end.dialogue.drain()
                end.take()
                return end

            self.assert_may_say(draining, "DATA PING REQUEST END PADDING ABORT")

    def test_requests_that_cross_a_drain(self) -> None:
        """“REQUESTs that cross it are answered or get FAILURE 4”. “Its sender may still ask”."""
        end = welcoming_server()
        end.dialogue.drain()
        end.hear(pdu("REQUEST", b"x", 0), pdu("REQUEST", b"x", 1))
        end.dialogue.answer(0, b"")
        end.dialogue.fail(1, 4, "stopping")
        end.dialogue.request(b"y")
        self.assertEqual([one[0] for one in end.said()], ["DRAIN", "ANSWER", "FAILURE", "REQUEST"])
        other = welcoming_server()
        other.hear(pdu("DRAIN"), pdu("REQUEST", b"x"), pdu("DATA"))
        other.hear(pdu("END"))


class OverTests(DialogueTestCase):
    """Rule 5: “a connection is over in order when END was sent and received, every REQUEST of either side is answered
    and nothing is left to send”."""

    def test_nothing_else(self) -> None:
        for ours_first in (False, True):
            end = welcomed_client()
            for step in (ours_first, not ours_first):
                self.assertFalse(end.dialogue.over)
                if step:
                    end.dialogue.end()
                    self.assertFalse(end.dialogue.over)
                    end.take()
                else:
                    end.hear(pdu("END"))
            self.assertTrue(end.dialogue.over)

    def test_left_to_send(self) -> None:
        """END itself, an answer, or anything else."""
        end = welcoming_server()
        end.hear(pdu("REQUEST", b"x"), pdu("END"))
        end.dialogue.end()
        end.take()
        self.assertFalse(end.dialogue.over)
        end.dialogue.answer(0, bytes(200000))
        while end.unsent.size:
            self.assertFalse(end.dialogue.over)
            end.take()
        self.assertTrue(end.dialogue.over)
        end.dialogue.ping()
        self.assertFalse(end.dialogue.over)

    def test_settled(self) -> None:
        """The peer needs no signs of life to see that all is over, but END and what is larger than a part."""
        end = welcoming_server()
        end.hear(pdu("REQUEST", b"x", 0), pdu("REQUEST", b"x", 1), pdu("END"))
        end.dialogue.end()
        end.take()
        end.dialogue.answer(0, b"")
        self.assertFalse(end.dialogue.settled)
        end.dialogue.answer(1, bytes(100000))
        self.assertFalse(end.dialogue.settled)
        end.take(13)
        self.assertFalse(end.dialogue.settled)
        end.take()
        end.dialogue.ping()
        end.dialogue.padding(5)
        self.assertTrue(end.dialogue.settled)
        self.assertFalse(end.dialogue.over)

    def test_settled_behind_data(self) -> None:
        end = welcomed_client()
        end.hear(pdu("END"))
        end.data(b"x")
        end.dialogue.end()
        self.assertFalse(end.dialogue.settled)
        end.take()
        self.assertTrue(end.dialogue.settled)

    def test_own_requests(self) -> None:
        """Answered means: whole."""
        end = welcomed_client()
        end.dialogue.request(b"x")
        end.dialogue.end()
        end.take()
        end.hear(pdu("END"))
        self.assertFalse(end.dialogue.over)
        end.hear(pdu("ANSWER", b"x", more=True))
        self.assertFalse(end.dialogue.over)
        end.hear(pdu("ANSWER", b"x"))
        self.assertTrue(end.dialogue.over)

    def test_early(self) -> None:
        """Nothing is over before the server has decided."""
        client, server = End(False), End(True)
        client.dialogue.end()
        client.take()
        self.assertFalse(client.dialogue.over)
        self.assertFalse(server.dialogue.over)

    def test_not_in_order(self) -> None:
        """An ABORT behind both is no order."""
        end = welcomed_client()
        end.dialogue.end()
        end.take()
        end.dialogue.abort(4, "")
        end.take()
        self.assertFalse(end.dialogue.over)


class AbortTests(DialogueTestCase):
    """ABORT: “why the sender closes now”."""

    def test_abort(self) -> None:
        end = welcoming_server()
        end.dialogue.abort(0x80000001, "☃")
        self.assertEqual(end.take(), pdu("ABORT", reason(0x80000001, "☃")))
        for call in self.calls(end).values():
            self.assertRaisesRegex(LocalProtocolError, "when all is over", call)

    def test_received(self) -> None:
        """“No reply comes”; “what follows it is dropped”; what waits here need not leave."""
        for make in (welcomed_client, welcoming_server):
            end = make()
            end.dialogue.request(bytes(100000))
            end.dialogue.request(b"x")
            events = end.hear(pdu("ABORT", reason(4, "stopping")), pdu("DATA", b"x"))
            self.assertEqual(events, [Aborted(4, "stopping")])
            self.assertEqual(end.hear(pdu("DATA", b"x"), pdu("ABORT", reason(4)), pdu("WELCOME")), [])
            end.dialogue.broken(RemoteProtocolError("what follows is broken"))
            self.assertEqual(end.take(), b"")
            self.assertEqual(end.dialogue.unanswered, (0, 1))
            self.assert_refused(lambda end=end: end.dialogue.abort(4, ""), pattern="when all is over")  # type: ignore[misc]

    def test_broken(self) -> None:
        """“No reply comes, not to a broken one either”."""
        end = welcomed_client()
        body = pdu("DATA", b"x") + pdu("ABORT", b"\0\0\0")
        self.assertRaises(MalformedPDU, end.hear, body)
        self.assertEqual(end.events, [DataReceived(b"x")])
        error = read_body(body)[1]
        assert error is not None
        end.data(b"what waits")
        end.dialogue.broken(error)
        self.assertEqual(end.take(), b"")
        self.assertFalse(end.dialogue.may_send_data)
        self.assertEqual(end.hear(pdu("DATA", b"x")), [])

    def test_before_welcome(self) -> None:
        """There it breaks a rule, and gets no reply."""
        end = End(False)
        end.dialogue.request(b"x")
        with self.assertRaises(UnexpectedPDU) as caught:
            end.hear(pdu("ABORT", reason(4)))
        end.dialogue.broken(caught.exception)
        self.assertEqual(end.take(), b"")

    def test_dropped_behind_ours(self) -> None:
        """Whoever has said its last reads and drops."""
        end = welcoming_server()
        end.dialogue.abort(4, "")
        self.assertEqual(end.hear(pdu("REQUEST", b"x"), pdu("ABORT", reason(4)), pdu("WELCOME")), [])

    def test_long_reason(self) -> None:
        """What is said of the peer's mistake fits a line."""
        end = welcomed_client()
        end.dialogue.broken(UnexpectedPDU("☃" * 2000))
        self.assertEqual(end.take(), pdu("ABORT", reason(6, "☃" * 256)))

    def test_code(self) -> None:
        """6 where the peer broke the protocol, 3 where it only made us keep too much."""
        for error, code in ((UnexpectedPDU("x"), 6), (WindowExceeded("x"), 3)):
            end = welcomed_client()
            end.dialogue.broken(error)
            self.assertEqual(end.take(), pdu("ABORT", reason(code, "x")))

    def test_broken_before_welcome(self) -> None:
        """The server has said something, so it has decided."""
        end = End(False)
        end.dialogue.broken(MalformedPDU("x"))
        self.assertEqual(end.take(), pdu("ABORT", reason(6, "x")))

    def test_line(self) -> None:
        end = welcomed_client()
        self.assert_refused(lambda: end.dialogue.abort(4, "x" * 1025), lambda: end.dialogue.abort(2**32, ""))
        end.dialogue.padding(65536)
        self.assertRaises(PayloadTooLarge, end.dialogue.padding, 65537)
        self.assertEqual(len(end.take()), 65548)


class FailureReprTests(SynchronousTestCase):
    def test_control_characters(self) -> None:
        """They stay in the event, and its ``repr`` shows none of them."""
        client = welcomed_client()
        client.dialogue.request(b"x")
        client.take()
        (event,) = client.hear(pdu("FAILURE", reason(7, "\x1b[0m\n")))
        self.assertEqual(event, FailureReceived(0, 7, "\x1b[0m\n"))
        self.assertNotIn("\x1b", repr(event))
