"""
Servers that are stopped by a signal while their clients are busy.
"""

from __future__ import annotations

import os
import signal
import socket
from typing import Any

from twisted.internet import reactor
from twisted.internet.address import IPv4Address
from twisted.internet.defer import Deferred, gatherResults
from twisted.internet.endpoints import TCP4ClientEndpoint
from twisted.internet.interfaces import IProtocol, IProtocolFactory, IStreamClientEndpoint
from twisted.internet.task import deferLater
from twisted.internet.threads import deferToThread
from twisted.python.failure import Failure
from twisted.trial.unittest import TestCase
from zope.interface import implementer

from sodiumtwist import (
    PeerAborted,
    ReconnectingClient,
    ServerUnavailable,
    SodiumClientFactory,
    SodiumClientProtocol,
    connect,
)
from sodiumtwist.core.connection import Code
from sodiumtwist.programs.listening import SAME_SIGNAL
from sodiumtwist.programs.options import DEFAULT_LOGIN, DEFAULT_PASSPHRASE

from ..pair import LOGIN, PASSPHRASE, SERVER_PAIR
from ..processes import PUBLIC, TWISTD, Running, clean_environment

SERVER = f"""
from twisted.application.internet import StreamServerEndpointService
from twisted.application.service import Application
from twisted.internet import endpoints, reactor
from twisted.internet.defer import gatherResults
from twisted.internet.task import deferLater
from sodiumtwist import KeyPair, SingleLogin, SodiumServerFactory

class Service(StreamServerEndpointService):
    def stopService(self):
        return gatherResults([super().stopService(), factory.drain()])

async def respond(peer, payload):
    await deferLater(reactor, 0.02)
    return payload.upper()

pair = KeyPair.from_secret({SERVER_PAIR.secret!r})
factory = SodiumServerFactory(pair, SingleLogin({LOGIN!r}, {PASSPHRASE!r}), respond)
factory.noisy = True
application = Application("upper")
endpoint = endpoints.serverFromString(reactor, "tcp:%s:interface=127.0.0.1")
Service(endpoint, factory).setServiceParent(application)
"""


class Holder(SodiumClientProtocol):
    """Takes no notice of a server that is about to stop."""

    def __init__(self) -> None:
        self.drained: Deferred[None] = Deferred()
        self.lost: Deferred[BaseException | None] = Deferred()

    def drain_received(self) -> None:
        self.drained.callback(None)

    def connection_lost(self, reason: Failure) -> None:
        why: BaseException | None = reason.value
        later: Deferred[BaseException | None] = self.lost
        reactor.callLater(0, later.callback, why)


@implementer(IStreamClientEndpoint)
class Late:
    """
    Connects a socket at once, and speaks on it when it is asked to connect.

    :param port: where the server is.
    """

    def __init__(self, port: int) -> None:
        self._socket = socket.create_connection(("127.0.0.1", port), 10)
        self._socket.setblocking(False)

    def connect(self, protocolFactory: IProtocolFactory) -> Deferred[IProtocol]:
        made: Deferred[IProtocol] = Deferred()

        class Kept:
            """Builds what the other factory builds, and gives it to who connects."""

            def __getattr__(self, name: str) -> object:
                return getattr(protocolFactory, name)

            def buildProtocol(self, address: IPv4Address) -> IProtocol | None:
                built = protocolFactory.buildProtocol(address)
                reactor.callLater(0, made.callback, built)
                return built

        made_of: Any = reactor
        made_of.adoptStreamConnection(self._socket.fileno(), socket.AF_INET, Kept())
        self._socket.close()
        return made


class ReplacedTests(TestCase):
    """Servers in processes of their own, and their clients here."""

    timeout = 60

    def run_server(self, *arguments: str) -> Running:
        server = Running([*TWISTD, "-n", "--pidfile=", *arguments], env=clean_environment())
        self.addCleanup(server.stop, signal.SIGKILL)
        return server

    def write_server(self, port: str) -> str:
        path: str = os.path.abspath(self.mktemp())
        with open(path, "w", encoding="utf-8") as file:
            file.write(SERVER % port)
        return path

    async def test_replaced_under_load(self) -> None:
        """A server is replaced by another one behind its port, and no request fails, nor is one lost."""
        first = self.run_server("-y", self.write_server("0"))
        port = (await deferToThread(first.wait_for, r"starting on (\d+)"))[1]
        client = ReconnectingClient(
            reactor,
            f"tcp:127.0.0.1:{port}",
            SERVER_PAIR.public,
            LOGIN,
            PASSPHRASE,
            version=2,
            retry_policy=lambda attempt: 0.05,
        )
        client.startService()
        self.addCleanup(client.stopService)
        answers, over = 0, False

        async def ask(who: int) -> None:
            nonlocal answers
            while not over:
                asked = b"request %d of %d" % (answers, who)
                self.assertEqual(await client.request(asked), asked.upper())
                answers += 1

        load = gatherResults([Deferred.fromCoroutine(ask(who)) for who in range(10)], consumeErrors=True)
        await client.request(b"the first")
        first.process.send_signal(signal.SIGTERM)
        await deferToThread(first.wait_for, rf"Port {port} Closed")
        second = self.run_server("-y", self.write_server(port))
        self.assertNotIn("Traceback", "".join(first.output))
        await deferToThread(second.wait_for, "is authenticated")
        before = answers
        while answers < before + 10:
            await deferLater(reactor, 0.01)
        over = True
        await load
        await deferToThread(first.wait)
        await client.stopService()
        await deferToThread(second.stop)

    async def test_held(self) -> None:
        """
        Who logs in while others finish sees why it does not get in; a client that never ends holds the server no longer
        than a second signal, and sees why, too.
        """
        server = self.run_server("sodium", "--discard", "--key", "11" * 32, "--endpoint", "tcp:0:interface=127.0.0.1")
        port = int((await deferToThread(server.wait_for, r"listening on 127\.0\.0\.1:(\d+)"))[1])
        key = bytes.fromhex(PUBLIC)
        factory = SodiumClientFactory(key, DEFAULT_LOGIN, DEFAULT_PASSPHRASE, Holder, version=2)
        holder = await TCP4ClientEndpoint(reactor, "127.0.0.1", port).connect(factory)
        assert isinstance(holder, Holder)
        late = Late(port)
        await holder.when_authenticated()
        server.process.send_signal(signal.SIGTERM)
        await holder.drained
        drained_at = reactor.seconds()
        login = connect(reactor, late, key, DEFAULT_LOGIN, DEFAULT_PASSPHRASE, version=2)
        error: Any = await self.assertFailure(login, ServerUnavailable)
        self.assertEqual(error.code, Code.SHUTTING_DOWN)
        await deferLater(reactor, max(0, drained_at + SAME_SIGNAL + 0.1 - reactor.seconds()))
        server.process.send_signal(signal.SIGTERM)
        why = await holder.lost
        assert isinstance(why, PeerAborted), why
        self.assertEqual(why.code, Code.SHUTTING_DOWN)
        self.assertEqual(await deferToThread(server.wait), -signal.SIGTERM)
