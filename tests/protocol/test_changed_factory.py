"""
A server's factory that takes other rules while it runs: each login is decided on by one set of them.
"""

from __future__ import annotations

from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from sodiumtwist import (
    AuthorizedKeys,
    AuthorizedKeysFile,
    Limits,
    RekeyAfter,
    SodiumServerFactory,
    SodiumServerProtocol,
    Timeouts,
)
from sodiumtwist.admission.replays import ReplayMemory

from ..checkers import LateChecker
from ..pair import CLIENT_PAIR, LOGIN, SERVER_PAIR, Pair, RecordingClient, make_client_factory, make_server_factory
from ..versions import each_version, spoken

LISTED = AuthorizedKeys([(CLIENT_PAIR.public, None)])
OTHERS = AuthorizedKeys([(SERVER_PAIR.public, None)])


class Remembering(ReplayMemory):
    """Notes what it remembers."""

    def __init__(self) -> None:
        super().__init__()
        self.remembered: list[bytes] = []

    def remember(self, fingerprint: bytes) -> bool:
        self.remembered.append(fingerprint)
        return super().remember(fingerprint)


@each_version
class ChangedRulesTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.clock = Clock()
        self.checker = LateChecker()
        self.replays = Remembering()

    def change(self, factory: SodiumServerFactory, checker: LateChecker | None, keys: AuthorizedKeys | None) -> None:
        factory.change(SERVER_PAIR, checker, keys, "Hi.", Timeouts(), Limits(), RekeyAfter())

    def log_in(self, keys: AuthorizedKeys | None) -> Pair[SodiumServerProtocol, RecordingClient]:
        """Have a client log in, whose passphrase is being checked."""
        self.factory = make_server_factory(self.clock, checker=self.checker, authorized_keys=keys, replays=self.replays)
        pair: Pair[SodiumServerProtocol, RecordingClient] = Pair(
            self.factory, make_client_factory(self.clock, pair=CLIENT_PAIR)
        )
        pair.flush()
        self.assertEqual(len(self.checker.answers), 1)
        return pair

    def answer(self, pair: Pair[SodiumServerProtocol, RecordingClient]) -> None:
        self.checker.answers[0].callback(LOGIN.encode())
        pair.flush()

    def test_keys_are_asked_for_meanwhile(self) -> None:
        """Who was asked for none comes in by that, and is remembered once."""
        pair = self.log_in(None)
        self.change(self.factory, self.checker, OTHERS)
        self.answer(pair)
        self.assertEqual(pair.client.calls, ["authenticated"])
        self.assertEqual(len(self.replays.remembered), 1 if spoken() == 1 else 0)

    def test_keys_are_no_longer_asked_for(self) -> None:
        """Who was asked for one shows it, and is remembered: its handshake could be sent again otherwise."""
        pair = self.log_in(LISTED)
        self.change(self.factory, self.checker, None)
        self.answer(pair)
        self.assertEqual(pair.client.calls, ["authenticated"])
        self.assertEqual(len(self.replays.remembered), 1 if spoken() == 1 else 0)

    def test_both_change(self) -> None:
        """Not half of the old rules and half of the new ones: the passphrase that was asked for is still needed."""
        path = self.mktemp()
        with open(path, "w") as file:
            file.write(f"{CLIENT_PAIR.public.hex()}\n")
        keys, reading = AuthorizedKeysFile(path), Deferred[AuthorizedKeys]()
        self.patch(keys, "latest", lambda: reading)
        factory = make_server_factory(self.clock, checker=self.checker, authorized_keys=keys)
        pair: Pair[SodiumServerProtocol, RecordingClient] = Pair(
            factory, make_client_factory(self.clock, pair=CLIENT_PAIR)
        )
        pair.flush()
        self.change(factory, None, OTHERS)
        reading.callback(LISTED)
        pair.flush()
        self.assertEqual((pair.client.calls, len(self.checker.answers)), ([], 1))
        self.answer(pair)
        self.assertEqual(pair.client.calls, ["authenticated"])
