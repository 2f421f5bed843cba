"""
Secrets that must not be seen anywhere, and not be kept.
"""

from __future__ import annotations

import base64
from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NoReturn

from twisted.cred.checkers import ICredentialsChecker
from twisted.cred.credentials import UsernamePassword
from twisted.internet.task import Clock
from twisted.logger import eventAsJSON, eventAsText, formatEvent
from twisted.trial.unittest import SynchronousTestCase

from sodiumtwist import AuthenticationFailed, AuthorizedKeys, KeyPair, SingleLogin, SodiumServerProtocol
from sodiumtwist.core.v1 import handshake
from sodiumtwist.core.v1.handshake import SessionKeys
from sodiumtwist.core.v2 import handshake as handshake_2
from sodiumtwist.core.v2.handshake import Session
from sodiumtwist.operation.logs import json_line

from .checkers import AnyChecker, LateChecker
from .logs import logged
from .observed import ObservedTestCase
from .pair import (
    CLIENT_PAIR,
    LOGIN,
    PASSPHRASE,
    SERVER_PAIR,
    Boom,
    ClientArguments,
    EchoServer,
    Pair,
    RecordingServer,
    make_client_factory,
    make_server_factory,
)
from .secret_texts import SECRETS, secrets_in
from .versions import each_version, spoken

if TYPE_CHECKING:
    from typing_extensions import Unpack


@each_version
class SecretsTests(SynchronousTestCase):
    """What must not be seen anywhere."""

    wrong = "Wr0ng-p\u00e4ssphrase"
    secrets = (*SECRETS, wrong.encode())

    def assert_no_secrets(self, text: str | None) -> None:
        assert text is not None
        self.assertEqual(secrets_in(text, self.secrets), [])

    def test_the_test(self) -> None:
        """It finds what it looks for."""
        for text in (PASSPHRASE, f"{SERVER_PAIR.secret!r}", CLIENT_PAIR.secret.hex(), ascii(self.wrong)):
            self.assertRaises(self.failureException, self.assert_no_secrets, text)

    def test_repr(self) -> None:
        """At every moment of a session."""
        clock = Clock()
        checker = SingleLogin(LOGIN, PASSPHRASE)
        server_factory = make_server_factory(clock, checker=checker)
        client_factory = make_client_factory(clock)
        pair = Pair(server_factory, client_factory)
        things = [
            SERVER_PAIR, CLIENT_PAIR, checker, server_factory, client_factory, pair.server, pair.client,
            pair.server._connection, pair.client._connection,
        ]  # fmt: skip

        def look() -> None:
            for thing in things:
                self.assert_no_secrets(f"{thing!r} {thing} {[thing]}")

        look()
        pair.flush()
        look()
        pair.client.close()
        pair.flush()
        look()
        self.assertIn(repr(SERVER_PAIR.public), repr(SERVER_PAIR))

    def test_log(self) -> None:
        """Whole sessions, good and bad ones, in every form in which their events can be written."""
        events = logged(self)

        class Faulty(RecordingServer):
            def payload_received(self, payload: bytes) -> None:
                raise Boom("in the hook")

        def raises(credentials: UsernamePassword) -> NoReturn:
            raise Boom("in the checker")

        def session(
            server: type[RecordingServer] = RecordingServer,
            checker: ICredentialsChecker | None = None,
            **client: Unpack[ClientArguments],
        ) -> None:
            clock = Clock()
            pair = Pair(make_server_factory(clock, server, checker), make_client_factory(clock, **client))
            pair.flush()
            if pair.client.is_authenticated:
                pair.client.send_data(b"payload")
                pair.client.ping().addErrback(lambda reason: None)
                pair.flush()
            clock.advance(10)
            pair.client.close()
            pair.flush()

        session()
        session(passphrase=self.wrong)
        session(checker=AnyChecker(raises))
        session(checker=LateChecker())
        session(Faulty)
        session(server_key=KeyPair.generate().public)
        self.assertEqual(len(self.flushLoggedErrors(Boom)), 2)
        ours = [event for event in events if isinstance(event["log_source"], SodiumServerProtocol)]
        self.assertEqual(len(ours), 16)
        for event in events:
            self.assert_no_secrets(formatEvent(event))
            self.assert_no_secrets(eventAsText(event))
            self.assert_no_secrets(eventAsJSON(event))
            self.assert_no_secrets(json_line(event))
            for value in event.values():
                self.assert_no_secrets(f"{value} {value!r}")

    def test_reasons(self) -> None:
        """Those of a refusal, with their tracebacks."""
        clock = Clock()
        pair = Pair(make_server_factory(clock), make_client_factory(clock, passphrase=self.wrong))
        pair.flush()
        for reason in (pair.server.reason, pair.client.reason):
            assert reason is not None
            self.assertIs(reason.type, AuthenticationFailed)
            self.assert_no_secrets(f"{reason} {reason!r} {reason.value!r}")
            for detail in ("default", "verbose"):
                self.assert_no_secrets(reason.getTraceback(detail=detail))


@each_version
class SecretTests(ObservedTestCase):
    """What must not be seen anywhere, and not be kept."""

    def forms(self, secret: bytes) -> list[str]:
        return [
            secret.decode("latin-1"),
            repr(secret)[2:-1],
            secret.hex(),
            base64.b64encode(secret).decode().rstrip("="),
        ]

    def note_session_keys(self) -> list[bytes]:
        """A list to which the session keys of all that connect from now on are added."""
        keys: list[bytes] = []
        for name in ("client_session_keys", "server_session_keys"):
            make: Callable[[KeyPair, bytes], SessionKeys] = getattr(handshake, name)

            def note(pair: KeyPair, key: bytes, make: Callable[[KeyPair, bytes], SessionKeys] = make) -> SessionKeys:
                made = make(pair, key)
                keys.extend((made.receive, made.send))
                return made

            self.patch(handshake, name, note)

        def note_session(*arguments: Any) -> Session:
            session = Session(*arguments)
            keys.extend((session.receive, session.send))
            return session

        self.patch(handshake_2, "Session", note_session)
        return keys

    def test_log(self) -> None:
        """A whole day of a server, with all that is refused, in every field of every event."""
        session_keys = self.note_session_keys()
        factory = make_server_factory(
            self.clock, EchoServer, authorized_keys=AuthorizedKeys([(CLIENT_PAIR.public, None)])
        )
        wrong = "Wr0ng-passphrase"
        clients: list[ClientArguments] = [
            {"pair": CLIENT_PAIR},
            {"pair": CLIENT_PAIR, "passphrase": wrong},
            {},
            {"server_key": KeyPair.generate().public},
        ]
        for client in clients:
            pair = Pair(factory, make_client_factory(self.clock, **client))
            pair.flush()
            if pair.client.is_authenticated:
                pair.client.send_data(b"Payl0ad-of-tests")
                pair.flush()
                pair.server_transport.out += b"x" * 46
                pair.flush()
            self.clock.advance(10)
            pair.flush()
        self.assertGreater(len(self.events), 3)
        text = "\n".join(
            [formatEvent(event) for event in self.events]
            + [eventAsJSON(event) for event in self.events]
            + [json_line(event) for event in self.events]
            + [repr(event) for event in self.events]
        )
        secrets = [PASSPHRASE.encode(), wrong.encode(), SERVER_PAIR.secret, CLIENT_PAIR.secret, b"Payl0ad-of-tests"]
        self.assertGreaterEqual(len(session_keys), 4)
        for secret in [*secrets, *session_keys]:
            for form in self.forms(secret):
                self.assertNotIn(form, text)

    def test_dropped_when_used_up(self) -> None:
        """With the session up, no object that hangs on either end holds a passphrase or a session key."""
        # Of version 2 they are the keys of the records, until there are new ones.
        keys = self.note_session_keys() if spoken() == 1 else []
        pair = Pair(make_server_factory(self.clock), make_client_factory(self.clock))
        # Only the factories know the passphrase from then on.
        pair.flush()
        self.assertTrue(pair.server.is_authenticated)
        for end in (pair.server, pair.client):
            held = self.reach(end._connection) + self.reach({k: v for k, v in vars(end).items() if k != "factory"})
            for secret in (PASSPHRASE, PASSPHRASE.encode(), *keys):
                self.assertNotIn(secret, held)

    def reach(self, start: object) -> list[str | bytes]:
        """The texts and bytes that hang on an object, by attributes and items."""
        found: list[str | bytes] = []
        todo, seen = [start], set()
        while todo:
            thing = todo.pop()
            if id(thing) in seen:
                continue
            seen.add(id(thing))
            if isinstance(thing, (str, bytes, bytearray)):
                found.append(bytes(thing) if isinstance(thing, bytearray) else thing)
            elif isinstance(thing, dict):
                todo += [*thing.keys(), *thing.values()]
            elif isinstance(thing, (list, tuple, set, frozenset, deque)):
                todo += list(thing)
            elif type(thing).__module__.startswith("sodiumtwist") and not isinstance(thing, type):
                if type(thing).__name__.endswith("Factory"):
                    continue
                todo.append(getattr(thing, "__dict__", {}))
                slots = [slot for kind in type(thing).__mro__ for slot in getattr(kind, "__slots__", ())]
                todo += [getattr(thing, slot) for slot in slots if slot != "__weakref__" and hasattr(thing, slot)]
        return found
