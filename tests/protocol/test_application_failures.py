"""
Exceptions in an application's hooks.
"""

from __future__ import annotations

from twisted.internet.error import ConnectionDone
from twisted.internet.task import Clock
from twisted.logger import formatEvent
from twisted.trial.unittest import SynchronousTestCase

from sodiumtwist import PayloadTooLarge, PeerAborted

from ..checkers import AnyChecker, LateChecker
from ..logs import logged
from ..pair import (
    LOGIN,
    Boom,
    Pair,
    RecordingClient,
    RecordingServer,
    failed,
    make_client_factory,
    make_server_factory,
)
from ..versions import each_version, only, spoken


@each_version
class ApplicationFailureTests(SynchronousTestCase):
    """An exception in a hook ends that connection and no other."""

    def fail_in(
        self,
        server: type[RecordingServer] = RecordingServer,
        client: type[RecordingClient] = RecordingClient,
        checker: LateChecker | AnyChecker | None = None,
    ) -> Pair:
        clock = Clock()
        factory = make_server_factory(clock, server, checker)
        other = Pair(factory, make_client_factory(clock, login="other"))
        pair = Pair(factory, make_client_factory(clock, client))
        other.flush()
        pair.flush()
        for answer in checker.answers if isinstance(checker, LateChecker) else ():
            answer.callback(b"")
            pair.flush()
        if pair.client.is_authenticated:
            pair.client.send_data(b"1")
            pair.flush()
        self.assertEqual(len(self.flushLoggedErrors(Boom)), 1)
        other.flush()
        other.client.send_data(b"still there")
        other.flush()
        self.assertEqual(other.server.calls, ["authenticated", b"still there"])
        other.client.close()
        other.flush()
        self.assertEqual(clock.getDelayedCalls(), [])
        return pair

    def any_login(self) -> AnyChecker:
        return AnyChecker(lambda credentials: credentials.username)

    def test_error_without_a_text(self) -> None:
        """The connection ends also when the error can't be told as it should."""

        class Mute(Boom):
            def __str__(self) -> str:
                raise TypeError("no text")

        class Server(RecordingServer):
            def payload_received(self, payload: bytes) -> None:
                super().payload_received(payload)
                if self.peer is not None and self.peer.login == LOGIN:
                    raise Mute

        pair = self.fail_in(Server, checker=self.any_login())
        self.assertIs(pair.server.why, Mute)

    def test_payload_received_of_a_server(self) -> None:
        class Server(RecordingServer):
            def payload_received(self, payload: bytes) -> None:
                super().payload_received(payload)
                if self.peer is not None and self.peer.login == LOGIN:
                    raise Boom("in the hook")

        pair = self.fail_in(Server, checker=self.any_login())
        self.assertIs(pair.server.why, Boom)
        self.assertIs(pair.client.why, failed())

    def test_authenticated_of_a_server(self) -> None:
        class Server(RecordingServer):
            def authenticated(self) -> None:
                super().authenticated()
                if self.peer is not None and self.peer.login == LOGIN:
                    raise Boom("in the hook")

        for checker in (self.any_login(), LateChecker()):
            pair = self.fail_in(Server, checker=checker)
            self.assertIs(pair.server.why, Boom)
            self.assertEqual(pair.server.payloads, [])
            # The login was right, and the client is not told otherwise.
            self.assertEqual(pair.client.calls[0], "authenticated")
            self.assertIs(pair.client.why, ConnectionDone if spoken() == 1 else PeerAborted)

    def test_hooks_of_a_client(self) -> None:
        class InAuthenticated(RecordingClient):
            def authenticated(self) -> None:
                raise Boom("in the hook")

        class InPayload(RecordingClient):
            def payload_received(self, payload: bytes) -> None:
                raise Boom("in the hook")

        class Server(RecordingServer):
            def authenticated(self) -> None:
                super().authenticated()
                self.send_data(b"greeting")

        for client in (InAuthenticated, InPayload):
            with self.subTest(client):
                clock = Clock()
                pair = Pair.make(Server, client, clock)
                pair.flush()
                self.assertEqual(len(self.flushLoggedErrors(Boom)), 1)
                self.assertIs(pair.client.why, Boom)
                self.assertIs(pair.server.why, failed())
                self.assertEqual(clock.getDelayedCalls(), [])

    @only(2)
    def test_what_the_peer_is_told(self) -> None:
        """That the application failed, and not how."""

        class Server(RecordingServer):
            def payload_received(self, payload: bytes) -> None:
                self.send_data(b"before")
                raise Boom("a secret")

        pair = Pair.make(Server)
        pair.flush()
        pair.client.send_data(b"x")
        pair.flush()
        self.assertEqual(len(self.flushLoggedErrors(Boom)), 1)
        self.assertEqual(pair.client.payloads, [b"before"])
        reason = pair.client.reason
        assert reason is not None and isinstance(reason.value, PeerAborted)
        self.assertEqual((reason.value.code, reason.value.text), (7, "the application failed"))

    def test_misuse_in_a_hook(self) -> None:
        """An error of ours that the application does not catch is the application's."""

        class Server(RecordingServer):
            def payload_received(self, payload: bytes) -> None:
                self.send_data(bytes(200_000))

        pair = Pair.make(Server)
        pair.flush()
        pair.client.send_data(b"x")
        pair.flush()
        self.assertIs(pair.server.why, PayloadTooLarge)
        self.assertEqual(len(self.flushLoggedErrors(PayloadTooLarge)), 1)

    def test_the_log_says_whose_connection(self) -> None:
        class Server(RecordingServer):
            def payload_received(self, payload: bytes) -> None:
                raise Boom("in the hook")

        events = logged(self)
        pair = Pair.make(Server)
        pair.client.send_data(b"x")
        pair.flush()
        self.assertEqual(len(self.flushLoggedErrors(Boom)), 1)
        (event,) = [event for event in events if "log_failure" in event]
        self.assertIn("192.0.2.1:4711", formatEvent(event) or "")

    def test_callback_of_ping(self) -> None:
        """It is the Deferred's to tell, and the connection lives on."""
        pair = Pair.make()
        pair.flush()

        def callback(latency: float) -> None:
            raise Boom("in the callback")

        latency = pair.client.ping().addCallback(callback)
        pair.flush()
        self.failureResultOf(latency, Boom)
        self.assertIsNone(pair.client.reason)
