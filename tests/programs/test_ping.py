"""
What ``sodiumtwist ping`` counts, with a server in memory.
"""

from __future__ import annotations

import contextlib
import errno
import io
import sys
from dataclasses import replace
from typing import cast

from twisted.internet.defer import Deferred, ensureDeferred, succeed
from twisted.internet.interfaces import IProtocol, IProtocolFactory
from twisted.internet.task import Clock
from twisted.internet.testing import MemoryReactorClock
from twisted.python.usage import UsageError
from twisted.trial.unittest import SynchronousTestCase

from sodiumtwist import SodiumClientFactory
from sodiumtwist.programs import commands, output
from sodiumtwist.programs.exits import CommandFailed
from sodiumtwist.programs.output import OutputLost
from sodiumtwist.programs.settings import Credentials, PingSettings

from ..pair import LOGIN, PASSPHRASE, SERVER_PAIR, Pair, make_server_factory
from ..versions import each_version, spoken
from .test_output import Broken


class Endpoint:
    """
    Its server says nothing.

    :param connects: whether there is one.
    """

    def __init__(self, connects: bool) -> None:
        self._connects = connects
        self.pairs: list[Pair] = []

    def connect(self, factory: IProtocolFactory) -> Deferred[IProtocol]:
        if not self._connects:
            return Deferred()
        self.pairs.append(Pair(make_server_factory(Clock()), cast(SodiumClientFactory, factory)))
        return succeed(self.pairs[0].client)


@each_version
class PingTests(SynchronousTestCase):
    def settings(self, host: str = "host") -> PingSettings:
        return PingSettings(
            f"tcp:{host}:1", SERVER_PAIR.public, Credentials(LOGIN, PASSPHRASE, False, None), spoken(), 3, 1.0
        )

    def test_silence(self) -> None:
        """It is said once what is waited for: a connection, or a word of the server."""
        for connected, says in (
            (False, "still trying to connect to tcp:host:1; it may take 15 seconds in all, or what --timeout says"),
            (True, "connected to tcp:host:1, and still waiting for a word of the server; it may take 15 seconds in "),
        ):
            clock, errors = Clock(), io.StringIO()
            endpoint = Endpoint(connected)
            self.patch(commands, "make_endpoint", lambda reactor, settings, endpoint=endpoint: endpoint)
            with contextlib.redirect_stderr(errors):
                pinging = ensureDeferred(commands.ping(clock, self.settings()))
                clock.advance(2.9)
                self.assertEqual(errors.getvalue(), "")
                clock.advance(0.1)
                clock.advance(5)
            self.assertIn(f"sodiumtwist: {says}", errors.getvalue())
            self.assertEqual(errors.getvalue().count("\n"), 1)
            pinging.addErrback(lambda reason: None)

    def timed_out(self, where: object, **keywords: object) -> tuple[Clock, Deferred[None]]:
        """Begin PINGs that nobody answers."""
        self.errors = io.StringIO()
        self.patch(sys, "stderr", self.errors)
        self.patch(commands, "make_endpoint", lambda reactor, settings: where)
        clock = Clock()
        return clock, ensureDeferred(commands.ping(clock, replace(self.settings(), **keywords)))  # type: ignore[arg-type]

    def test_timeout_of_connecting(self) -> None:
        clock, pinging = self.timed_out(Endpoint(False), timeout=20.0)
        clock.advance(19.9)
        self.assertNoResult(pinging)
        clock.advance(0.1)
        failed = self.failureResultOf(pinging, CommandFailed).value
        self.assertEqual(failed.status, 2)
        self.assertEqual(
            str(failed),
            "cannot connect to tcp:host:1: there was no answer within 20 seconds: the host is gone, or a firewall lets "
            "nothing through to it; --timeout waits longer",
        )

    def test_timeout_behind_connecting(self) -> None:
        """What connecting took is not left for the server to let us in."""
        connected: Deferred[IProtocol] = Deferred()
        endpoint, waiting = Endpoint(True), Endpoint(False)
        self.patch(waiting, "connect", lambda factory: connected.addCallback(lambda _: endpoint.connect(factory)))
        clock, pinging = self.timed_out(waiting, timeout=20.0)
        clock.advance(15)
        connected.callback(None)  # type: ignore[arg-type]
        clock.advance(4.9)
        self.assertNoResult(pinging)
        clock.advance(0.1)
        endpoint.pairs[0].flush()
        failed = self.failureResultOf(pinging, CommandFailed).value
        self.assertEqual((failed.status, "not authenticated within 5 seconds" in str(failed)), (3, True), failed)

    def test_timeout_of_the_endpoint(self) -> None:
        """One that the endpoint string has is the one for connecting."""
        clock, pinging = self.timed_out(Endpoint(False), endpoint="tcp:host:1:timeout=60")
        clock.advance(59)
        self.assertNoResult(pinging)
        self.assertIn("still trying to connect to tcp:host:1:timeout=60; its timeout= says", self.errors.getvalue())
        pinging.cancel()
        self.failureResultOf(pinging, CommandFailed)

    def test_no_host(self) -> None:
        """A name that none can have is told before anything is looked up, which would never end."""
        pinging = ensureDeferred(commands.ping(MemoryReactorClock(), self.settings("a..b")))
        line = str(self.failureResultOf(pinging, UsageError).value)
        self.assertIn("bad endpoint string 'tcp:a..b:1': 'a..b' can't be a host's name, which has ", line)

    def test_interrupted_while_connecting(self) -> None:
        """Then there is nothing to close, and nothing to say but that."""
        clock = Clock()
        self.patch(commands, "make_endpoint", lambda reactor, settings: Endpoint(False))
        pinging = ensureDeferred(commands.ping(clock, self.settings()))
        pinging.cancel()
        failure = self.failureResultOf(pinging, CommandFailed)
        self.assertEqual((failure.value.status, str(failure.value)), (130, "interrupted"))
        self.assertEqual(clock.getDelayedCalls(), [])

    def ping(self, clock: Clock) -> tuple[Deferred[None], Pair]:
        """Begin three PINGs, one a second, of which the first is answered."""
        pairs: list[Pair] = []

        class Endpoint:
            def connect(self, factory: IProtocolFactory) -> Deferred[IProtocol]:
                pairs.append(Pair(make_server_factory(clock), cast(SodiumClientFactory, factory)))
                return succeed(pairs[0].client)

        self.patch(commands, "make_endpoint", lambda reactor, settings: Endpoint())
        pinging = ensureDeferred(commands.ping(clock, self.settings()))
        pairs[0].flush()
        return pinging, pairs[0]

    def test_output_lost(self) -> None:
        """It ends when nobody sees what it measures, and does not call the connection broken for it."""
        self.patch(output, "discard_standard_output", lambda: None)
        with contextlib.redirect_stdout(Broken(errno.ENOSPC)):
            pinging, pair = self.ping(Clock())
        self.failureResultOf(pinging, OutputLost)

    def test_too_late_is_not_sent(self) -> None:
        """A PING for which the connection had ended by then does not count as sent."""
        clock = Clock()
        shown = io.StringIO()
        with contextlib.redirect_stdout(shown):
            pinging, pair = self.ping(clock)
            pair.server.abort()
            pair.flush()
            clock.advance(1)
        failure = self.failureResultOf(pinging, CommandFailed)
        self.assertIn("1 PINGs answered", failure.getErrorMessage())
        self.assertIn("1 sent, 1 answered", shown.getvalue())
