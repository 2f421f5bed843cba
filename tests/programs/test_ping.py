"""
What ``sodiumtwist ping`` counts, with a server in memory.
"""

from __future__ import annotations

import contextlib
import io
from typing import cast

from twisted.internet.defer import Deferred, ensureDeferred, succeed
from twisted.internet.interfaces import IProtocol, IProtocolFactory
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from sodiumtwist import SodiumClientFactory
from sodiumtwist.programs import commands
from sodiumtwist.programs.exits import CommandFailed
from sodiumtwist.programs.settings import Credentials, PingSettings

from ..pair import LOGIN, PASSPHRASE, SERVER_PAIR, Pair, make_server_factory


class PingTests(SynchronousTestCase):
    def test_too_late_is_not_sent(self) -> None:
        """A PING for which the connection had ended by then does not count as sent."""
        clock = Clock()
        pairs: list[Pair] = []

        class Endpoint:
            def connect(self, factory: IProtocolFactory) -> Deferred[IProtocol]:
                pairs.append(Pair(make_server_factory(clock), cast(SodiumClientFactory, factory)))
                return succeed(pairs[0].client)

        self.patch(commands, "make_endpoint", lambda reactor, settings: Endpoint())
        settings = PingSettings("tcp:host:1", SERVER_PAIR.public, Credentials(LOGIN, PASSPHRASE, False, None), 3, 1.0)
        output = io.StringIO()
        with contextlib.redirect_stdout(output):
            pinging = ensureDeferred(commands.ping(clock, settings))
            pairs[0].flush()
            pairs[0].server.abort()
            pairs[0].flush()
            clock.advance(1)
        failure = self.failureResultOf(pinging, CommandFailed)
        self.assertIn("1 PINGs answered", failure.getErrorMessage())
        self.assertIn("1 sent, 1 answered", output.getvalue())
