"""
How a connection that ended too early becomes a line and an exit status, with a server in memory.
"""

from __future__ import annotations

import contextlib
import gc
import io
from collections.abc import Callable
from typing import cast

from twisted.cred.checkers import ICredentialsChecker
from twisted.cred.credentials import IUsernamePassword
from twisted.cred.error import UnauthorizedLogin
from twisted.internet.defer import Deferred, TimeoutError, ensureDeferred, fail, succeed
from twisted.internet.error import ConnectionDone
from twisted.internet.interfaces import IProtocol, IProtocolFactory
from twisted.internet.protocol import Factory
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase
from zope.interface import implementer

from sodiumtwist import (
    AuthenticationFailed,
    AuthenticationTimeout,
    ClosedByPeer,
    ConnectionCut,
    NotDone,
    PeerAborted,
    ServerUnavailable,
    SodiumClientFactory,
    TooManyFailures,
)
from sodiumtwist.core.client import NO_ANSWER
from sodiumtwist.core.connection import Code
from sodiumtwist.describe.fingerprints import fingerprint
from sodiumtwist.endpoints.wrappers import SodiumClientEndpoint
from sodiumtwist.programs import commands
from sodiumtwist.programs.exits import CommandFailed
from sodiumtwist.programs.settings import ConnectSettings, Credentials, PingSettings
from sodiumtwist.programs.silent_servers import explain_silence
from sodiumtwist.programs.tunneltap import AdvisedEndpoint
from sodiumtwist.transfer.tree.place import Files

from ..pair import LOGIN, PASSPHRASE, SERVER_PAIR, Pair, RecordingServer, make_server_factory
from ..transfer.tree.ends import FilesPair
from ..versions import each_version, only, spoken

WHERE = "tcp:host:1"
US = Credentials(LOGIN, PASSPHRASE, False, SERVER_PAIR)


def with_code(error: NotDone, code: int) -> NotDone:
    """An error whose reason the server has given."""
    error.code = code
    return error


class StatusTests(SynchronousTestCase):
    """Each reason has its status, and a line that says it."""

    def explain(
        self,
        reason: BaseException,
        let_in: bool = True,
        version: int = 2,
        stopping: bool = False,
        known_as: str | None = None,
    ) -> tuple[int, str]:
        client = commands._Pinger()
        client.message = "Welcome." if let_in else None
        client.stopping = stopping
        settings = ConnectSettings(WHERE, SERVER_PAIR.public, US, version, known_as=known_as)
        failed = commands.explain_loss(settings, client, reason, "far")
        self.assertNotIn("\n", str(failed))
        return failed.status, str(failed)

    def test_not_let_in(self) -> None:
        for reason, status, line in (
            (AuthenticationFailed("wrong"), 3, "refused by tcp:host:1: wrong"),
            (with_code(AuthenticationFailed("wrong"), Code.REFUSED), 3, "refused by tcp:host:1: wrong"),
            (with_code(AuthenticationFailed("odd"), 99), 3, "refused by tcp:host:1: odd"),
            (with_code(TooManyFailures("later"), Code.TOO_MANY_FAILURES), 7, "not let in by tcp:host:1: later"),
            (with_code(ServerUnavailable("full"), Code.NO_ROOM), 8, "not let in by tcp:host:1: full"),
            (with_code(ServerUnavailable("stops"), Code.SHUTTING_DOWN), 9, "not let in by tcp:host:1: stops"),
            (ServerUnavailable("left"), 2, "cannot connect to tcp:host:1: left"),
            (ConnectionCut("cut"), 2, "cannot connect to tcp:host:1: cut"),
            (ConnectionDone(), 2, "cannot connect to tcp:host:1: Connection was closed cleanly."),
        ):
            self.assertEqual(self.explain(reason, let_in=False), (status, line))

    def test_what_was_shown(self) -> None:
        """
        Who gives a key is told which, and nothing of a passphrase; who gives none, what else there is. A key that is
        in no file yet has nobody to ask for.
        """
        shown = f"; our key is that of me.key, fingerprint {fingerprint(SERVER_PAIR.public)}; "
        for us, hint in (
            (Credentials("ann", "", False, SERVER_PAIR, "me.key"), f"{shown}is it listed there, for the login ann?"),
            (Credentials("ann", "", True, SERVER_PAIR, "me.key"), f"{shown}is it listed there, for the login ann?"),
            (Credentials("ann", "", False, SERVER_PAIR), ""),
            (Credentials("ann", "", False, None), "; no --identity was given, which a server with --authorized-keys "),
            (Credentials("ann", "", True, None), "; no passphrase was given, so the default one was tried; no --ident"),
        ):
            settings = ConnectSettings(WHERE, SERVER_PAIR.public, us, 2)
            failed = commands.explain_loss(settings, commands._Pinger(), AuthenticationFailed("wrong"), "far")
            line = f"refused by {WHERE}: wrong{hint}"
            self.assertTrue(str(failed).startswith(line) if hint else str(failed) == line, failed)

    def test_let_in(self) -> None:
        for reason, status, line in (
            (PeerAborted(Code.NO_ROOM, "too many"), 8, "the server says: too many"),
            (PeerAborted(Code.SHUTTING_DOWN, "bye"), 9, "the server says: bye"),
            (PeerAborted(Code.STORAGE, "the disk is full"), 10, "the server says: the disk is full"),
            (PeerAborted(Code.STORAGE, ""), 10, "the server says: storage failed"),
            (
                PeerAborted(Code.APPLICATION_FAILED, "the application failed"),
                4,
                "the server says: the application failed",
            ),
            (PeerAborted(2**31, "odd"), 4, "the server says: odd"),
            (ConnectionCut("cut"), 4, "cut"),
            (ClosedByPeer("closed"), 4, "closed"),
            (ConnectionDone(), 4, "the server closed the connection or went away, see its log"),
        ):
            self.assertEqual(self.explain(reason), (status, f"broken on the way, far: {line}"))

    def test_stopping(self) -> None:
        """A server that has said that it is about to stop was shut down, however it ended; its last word counts."""
        for reason in (ConnectionDone(), ConnectionCut("cut"), ClosedByPeer("closed")):
            expected = (9, "broken on the way, far: the server is shutting down")
            self.assertEqual(self.explain(reason, stopping=True), expected)
        told = PeerAborted(Code.STORAGE, "the disk is full")
        self.assertEqual(self.explain(told, stopping=True)[0], 10)

    def test_silence(self) -> None:
        """What to try is said of the version that was spoken, and nothing of logins."""
        for reason, version, tip in (
            (AuthenticationTimeout(f"late: {NO_ANSWER}"), 2, "only to a C program, speak version 1, by --protocol 1"),
            (ServerUnavailable(f"left: {NO_ANSWER}"), 2, "only to a C program, speak version 1, by --protocol 1"),
            (AuthenticationTimeout("late"), 1, "it may also speak version 2 alone: give --protocol 2"),
        ):
            status, line = self.explain(reason, let_in=False, version=version)
            left = isinstance(reason, ServerUnavailable)
            self.assertEqual(status, 2 if left else 3)
            verdict = "cannot connect to" if left else "refused by"
            self.assertTrue(line.startswith(f"{verdict} tcp:host:1: {reason}"), line)
            self.assertTrue(line.endswith(tip), line)

    def test_silence_of_a_known_server(self) -> None:
        """Its key may have changed: what is kept is told, and what to do. Of other errors that would mislead."""
        kept = (
            "home may have a new key, or somebody stands in for it: kept is fingerprint "
            f"{fingerprint(SERVER_PAIR.public)}; ask its owner, and if it has another one now, run sodiumtwist forget "
            "home, and join or add it anew"
        )
        other = "; if not, both clocks may differ by more than a day, and only a C program wants --protocol 1"
        for reason, version, said in (
            (AuthenticationTimeout(f"late: {NO_ANSWER}"), 2, f"late: {kept}{other}"),
            (AuthenticationTimeout("late"), 1, f"late; it may also speak version 2 alone: give --protocol 2; {kept}"),
        ):
            _, line = self.explain(reason, let_in=False, version=version, known_as="home")
            self.assertEqual(line, f"refused by tcp:host:1: {said}")
        _, line = self.explain(AuthenticationFailed("wrong"), let_in=False, known_as="home")
        self.assertNotIn("new key", line)

    def test_tunnel(self) -> None:
        """A tunnel says it, too; other errors pass as they are."""
        other = ServerUnavailable("full")
        for reason, tip in (
            (ServerUnavailable(NO_ANSWER), "only to a C program, speak version 1, by --protocol 1"),
            (other, "full"),
        ):

            class Silent:
                def connect(self, factory: IProtocolFactory) -> Deferred[IProtocol]:
                    return fail(reason)  # noqa: B023

            endpoint = AdvisedEndpoint(cast(SodiumClientEndpoint, Silent()), lambda error: explain_silence(error, 2))
            error = self.failureResultOf(endpoint.connect(Factory()), type(reason)).value
            self.assertTrue(str(error).endswith(tip), error)
            self.assertEqual(error is other, reason is other)

    def test_tunnel_gives_up(self) -> None:
        """It waits for no host longer than it was told."""
        clock, waiting = Clock(), Deferred[IProtocol]()

        class Gone:
            def connect(self, factory: IProtocolFactory) -> Deferred[IProtocol]:
                return waiting

        connecting = AdvisedEndpoint(cast(SodiumClientEndpoint, Gone()), lambda error: "", 20.0, clock).connect(
            Factory()
        )
        clock.advance(19.9)
        self.assertNoResult(connecting)
        clock.advance(0.1)
        error = self.failureResultOf(connecting, TimeoutError).value
        self.assertIn("there was no answer within 20 seconds: the host is gone, or ", str(error))


@implementer(ICredentialsChecker)
class Refuses:
    credentialInterfaces = (IUsernamePassword,)

    def requestAvatarId(self, credentials: object) -> Deferred[bytes | tuple[()]]:
        return fail(UnauthorizedLogin("no"))


class Never(RecordingServer):
    """Never says its end."""

    def end_received(self) -> None:
        pass


@each_version
class PingTests(SynchronousTestCase):
    """``sodiumtwist ping`` to its end."""

    def ping(self, then: Callable[[Pair], object], checker: ICredentialsChecker | None = None) -> tuple[int, str, str]:
        """
        Begin three PINGs.

        :param then: what happens behind the first.
        :return: the status, the line of the error, and the first of those that were printed.
        """
        clock, pairs, shown = Clock(), [], io.StringIO()

        class Endpoint:
            def connect(self, factory: IProtocolFactory) -> Deferred[IProtocol]:
                server = make_server_factory(clock, RecordingServer, checker)
                pairs.append(Pair(server, cast(SodiumClientFactory, factory)))
                return succeed(pairs[0].client)

        self.patch(commands, "make_endpoint", lambda reactor, settings: Endpoint())
        settings = PingSettings(WHERE, SERVER_PAIR.public, US, spoken(), 3, 1.0)
        with contextlib.redirect_stdout(shown):
            pinging = ensureDeferred(commands.ping(clock, settings))
            pairs[0].flush()
            then(pairs[0])
            pairs[0].flush()
            for _ in range(9):
                clock.advance(1)
                pairs[0].flush()
        first = shown.getvalue().partition("\n")[0]
        if isinstance(pinging.result, type(None)):
            return 0, "", first
        failed = self.failureResultOf(pinging, CommandFailed).value
        return failed.status, str(failed), first

    def test_done(self) -> None:
        """The version is told, and the connection closed in order."""
        pairs: list[Pair] = []
        done = self.ping(pairs.append)
        self.assertEqual(done, (0, "", f"PING tcp:host:1 by protocol version {spoken()}: Welcome."))
        self.assertEqual(pairs[0].server.why, ConnectionDone)

    @only(2)
    def test_waits_for_the_end(self) -> None:
        """It ends when the server has, too; a server that does not keeps it for two seconds, and changes nothing."""
        clock = Clock()

        class Endpoint:
            def connect(self, factory: IProtocolFactory) -> Deferred[IProtocol]:
                pairs.append(Pair(make_server_factory(clock, Never), cast(SodiumClientFactory, factory)))
                return succeed(pairs[0].client)

        pairs: list[Pair] = []
        self.patch(commands, "make_endpoint", lambda reactor, settings: Endpoint())
        settings = PingSettings(WHERE, SERVER_PAIR.public, US, spoken(), 1, 1.0)
        with contextlib.redirect_stdout(io.StringIO()):
            pinging = ensureDeferred(commands.ping(clock, settings))
            pairs[0].flush()
            clock.advance(1.5)
            self.assertNoResult(pinging)
            clock.advance(0.5)
            self.assertIsNone(self.successResultOf(pinging))

    def test_refused(self) -> None:
        status, line, _ = self.ping(lambda pair: None, Refuses())
        self.assertEqual(status, 3)
        self.assertIn("refused by tcp:host:1: ", line)

    @only(2)
    def test_server_says_why(self) -> None:
        """Whatever it says is shown on one line."""
        status, line, _ = self.ping(lambda pair: pair.server.abort_with(Code.STORAGE, "full\nup\x1b[2J"))
        self.assertEqual((status, line), (10, "broken on the way, 1 PINGs answered: the server says: full?up?[2J"))

    @only(2)
    def test_server_stops(self) -> None:
        """A server that is about to stop is left at once, in order."""
        pairs: list[Pair] = []

        def stop(pair: Pair) -> None:
            pairs.append(pair)
            pair.server.drain()

        status, line, _ = self.ping(stop)
        self.assertEqual((status, line), (9, "broken on the way, 1 PINGs answered: the server is shutting down"))
        self.assertEqual(pairs[0].server.why, ConnectionDone)


class LeavingTests(SynchronousTestCase):
    """The end of a connection on which all is done."""

    def test_cut(self) -> None:
        """Whether it is cut then, or nobody waits any more, nothing is said of it: not even that nobody was told."""
        for gives_up in (False, True):
            pair = FilesPair(Files(self.mktemp()))
            pair.flush()
            leaving = ensureDeferred(commands.leave(Clock(), pair.client))
            if gives_up:
                leaving.cancel()
                self.successResultOf(leaving)
            pair.cut()
            self.successResultOf(leaving)
            del pair, leaving
            gc.collect()
            self.assertEqual(self.flushLoggedErrors(), [])
