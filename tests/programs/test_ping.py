"""
What ``sodiumtwist ping`` counts, with a server in memory.
"""

from __future__ import annotations

import contextlib
import errno
import io
from typing import cast

from twisted.internet.defer import Deferred, ensureDeferred, succeed
from twisted.internet.interfaces import IProtocol, IProtocolFactory
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from sodiumtwist import SodiumClientFactory
from sodiumtwist.programs import commands, output
from sodiumtwist.programs.exits import CommandFailed
from sodiumtwist.programs.output import OutputLost
from sodiumtwist.programs.settings import Credentials, PingSettings

from ..pair import LOGIN, PASSPHRASE, SERVER_PAIR, Pair, make_server_factory
from .test_output import Broken


class PingTests(SynchronousTestCase):
    def ping(self, clock: Clock) -> tuple[Deferred[None], Pair]:
        """Begin three PINGs, one a second, of which the first is answered."""
        pairs: list[Pair] = []

        class Endpoint:
            def connect(self, factory: IProtocolFactory) -> Deferred[IProtocol]:
                pairs.append(Pair(make_server_factory(clock), cast(SodiumClientFactory, factory)))
                return succeed(pairs[0].client)

        self.patch(commands, "make_endpoint", lambda reactor, settings: Endpoint())
        settings = PingSettings("tcp:host:1", SERVER_PAIR.public, Credentials(LOGIN, PASSPHRASE, False, None), 3, 1.0)
        pinging = ensureDeferred(commands.ping(clock, settings))
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
