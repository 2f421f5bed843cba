"""
:func:`sodiumtwist.connect` over loopback sockets.
"""

from __future__ import annotations

import socket
import sys
from typing import Any, cast

from twisted.cred.checkers import ICredentialsChecker
from twisted.internet import reactor
from twisted.internet.defer import CancelledError, Deferred, succeed
from twisted.internet.endpoints import serverFromString
from twisted.internet.interfaces import IProtocol, IProtocolFactory, IStreamClientEndpoint
from twisted.internet.task import Clock, deferLater
from twisted.python.failure import Failure
from twisted.trial.unittest import TestCase
from zope.interface import implementer

from sodiumtwist import (
    AuthenticationFailed,
    ClosedHere,
    InvalidKey,
    LocalProtocolError,
    PayloadTooLarge,
    Peer,
    RequestClient,
    SingleLogin,
    SodiumClientFactory,
    SodiumServerFactory,
    TooManyRequests,
    connect,
)
from sodiumtwist.core.connection import Bounds
from sodiumtwist.core.v1.messages import PDU_OVERHEAD, SEALED_CLIENT_AUTH_SIZE
from sodiumtwist.endpoints.connect import Connecting
from sodiumtwist.protocol.requests import Respond, Responder
from sodiumtwist.protocol.sockets import QUEUE_PER_SECOND, SHORT_QUEUE

from ..checkers import Undecided
from ..desk import LARGEST, Desk, RequestPair
from ..pair import CLIENT_PAIR, LOGIN, PASSPHRASE, SERVER_PAIR, Pair
from ..ports import port_number
from ..versions import each_version, only, spoken


@each_version
class ConnectTests(TestCase):
    """:func:`sodiumtwist.connect` over loopback sockets."""

    timeout = 10

    async def listen(self, respond: Respond, checker: ICredentialsChecker | None = None) -> str:
        """
        Listen until the test is over.

        :return: the endpoint string to connect to. ``self.gone`` fires when the first connection has gone.
        """
        gone: Deferred[None] = Deferred()
        self.gone = gone

        class Watched(Responder):
            def connection_lost(self, reason: Failure) -> None:
                super().connection_lost(reason)
                gone.callback(None)

        checker = checker or SingleLogin(LOGIN, PASSPHRASE)
        factory = SodiumServerFactory(SERVER_PAIR, checker, respond)
        factory.protocol = Watched
        port = await serverFromString(reactor, "tcp:0:interface=127.0.0.1").listen(factory)
        self.addCleanup(port.stopListening)
        return f"tcp:127.0.0.1:{port_number(port)}"

    def connect(self, where: str, passphrase: str = PASSPHRASE, **arguments: Any) -> Connecting[RequestClient]:
        return connect(reactor, where, SERVER_PAIR.public, LOGIN, passphrase, version=spoken(), **arguments)

    async def test_connect(self) -> None:
        """A client connects, asks, pings and closes; the server learns who it is."""
        peers: list[Peer] = []

        async def respond(peer: Peer, payload: bytes) -> bytes:
            peers.append(peer)
            return payload.upper()

        where = await self.listen(respond)
        client = await self.connect(where, pair=CLIENT_PAIR)
        self.assertTrue(client.is_authenticated)
        self.assertEqual(client.message, "Welcome.")
        asked = [client.request(b"abc"), client.request(bytes(LARGEST))]
        self.assertEqual(await asked[0], b"ABC")
        self.assertEqual(await asked[1], bytes(LARGEST))
        self.assertGreaterEqual(await client.ping(), 0)
        self.assertEqual(peers, [Peer(LOGIN, CLIENT_PAIR.public, client.transport.getHost(), version=spoken())] * 2)
        await client.close()
        await self.gone

    async def test_limit(self) -> None:
        """The limit that was given holds."""
        where = await self.listen(Desk())
        client = await self.connect(where, limit=1)
        asked = client.request(b"")
        await self.assertFailure(client.request(b""), TooManyRequests)
        client.abort()
        await self.assertFailure(asked, ClosedHere)
        await self.gone

    async def test_early(self) -> None:
        """With ``early`` the client is there before the server has answered, and may ask at once."""
        where = await self.listen(lambda peer, payload: payload)
        client = await self.connect(where, early=True)
        self.assertFalse(client.is_authenticated)
        self.assertEqual(await client.request(b"early"), b"early")
        self.assertTrue(client.is_authenticated)
        await client.close()
        await self.gone

    def connect_in_memory(self, respond: Respond, early: bool) -> tuple[RequestPair, Deferred[bytes], int]:
        """
        Connect with :func:`connect` and ask at once when it is there.

        :return: the pair, the answer, and how many bytes the client had written before anything moved.
        """
        clock = Clock()
        server_factory = SodiumServerFactory(SERVER_PAIR, SingleLogin(LOGIN, PASSPHRASE), respond, clock=clock)
        pairs: list[RequestPair] = []

        @implementer(IStreamClientEndpoint)
        class Memory:
            def connect(self, protocolFactory: IProtocolFactory) -> Deferred[IProtocol]:
                assert isinstance(protocolFactory, SodiumClientFactory)
                pairs.append(Pair(server_factory, protocolFactory))
                return succeed(pairs[0].client)

        connecting = connect(clock, Memory(), SERVER_PAIR.public, LOGIN, PASSPHRASE, early=early, version=spoken())
        asked: Deferred[bytes] = connecting.addCallback(lambda client: client.request(b"hello"))
        return pairs[0], asked, len(pairs[0].client_transport.out)

    @only(2)
    def test_round_trips_of_version_2(self) -> None:
        """Two to the first answer with ``early``, three without."""
        for early, trips in ((True, 2), (False, 3)):
            pair, asked, _ = self.connect_in_memory(lambda peer, payload: payload.upper(), early)
            for _ in range(trips):
                self.assertNoResult(asked)
                pair.round_trip()
            self.assertEqual(self.successResultOf(asked), b"HELLO")

    @only(1)
    def test_round_trips(self) -> None:
        """One to the first answer with ``early``, in the segment of the login; two without. Counted."""
        pdu = len(b"hello") + PDU_OVERHEAD
        for early, written, trips in ((True, SEALED_CLIENT_AUTH_SIZE + pdu, 1), (False, SEALED_CLIENT_AUTH_SIZE, 2)):
            pair, asked, size = self.connect_in_memory(lambda peer, payload: payload.upper(), early)
            self.assertEqual(size, written)
            for _ in range(trips):
                self.assertNoResult(asked)
                pair.round_trip()
            self.assertEqual(self.successResultOf(asked), b"HELLO")

    async def test_context(self) -> None:
        """``async with`` waits for what was asked, and closes in order."""
        where = await self.listen(lambda peer, payload: deferLater(reactor, 0, lambda: b"answer"))
        async with self.connect(where) as client:
            asked = client.request(b"x")
        self.assertEqual(self.successResultOf(asked), b"answer")
        self.assertIsNone(self.successResultOf(client.when_lost()))
        await self.gone

    async def test_context_failed(self) -> None:
        """An exception comes out, and the connection is broken off."""
        where = await self.listen(Desk())
        with self.assertRaises(ZeroDivisionError):
            async with self.connect(where, early=True) as client:
                asked = client.request(b"x")
                raise ZeroDivisionError
        await self.assertFailure(asked, ClosedHere)
        await self.gone

    async def test_context_cancelled(self) -> None:
        """Who waits no longer for the answers at its end leaves no connection behind."""
        where = await self.listen(Desk())
        asked: list[Deferred[bytes]] = []

        async def ask() -> None:
            async with self.connect(where) as client:
                asked.append(client.request(b"x"))
                reactor.callLater(0, lambda: asking.cancel())

        asking = Deferred.fromCoroutine(ask())
        await self.assertFailure(asking, CancelledError)
        await self.assertFailure(asked[0], ClosedHere)
        await self.gone

    async def test_context_refused(self) -> None:
        """Where there is no client, the block is not begun."""
        where = await self.listen(Desk())
        with self.assertRaises(AuthenticationFailed):
            async with self.connect(where, "wrong"):
                self.fail("it was let in")
        await self.gone

    async def test_subclass(self) -> None:
        """``protocol`` may be a subclass."""

        class Client(RequestClient):
            def shout(self, text: str) -> Deferred[bytes]:
                return self.request(text.encode())

        where = await self.listen(lambda peer, payload: payload.upper())
        async with connect(
            reactor, where, SERVER_PAIR.public, LOGIN, PASSPHRASE, version=spoken(), protocol=Client
        ) as client:
            self.assertEqual(await client.shout("abc"), b"ABC")
        await self.gone

    @only(2)
    async def test_respond(self) -> None:
        """The client answers what the server asks, within its own bounds."""

        async def respond(peer: Peer, payload: bytes) -> bytes:
            return await peer.request(payload)

        where = await self.listen(respond)
        bounds = Bounds(message=1000)
        async with self.connect(where, respond=lambda peer, payload: payload.upper(), bounds=bounds) as client:
            self.assertEqual(await client.request(b"abc"), b"ABC")
            await self.assertFailure(client.request(bytes(1001)), PayloadTooLarge)
        await self.gone

    @only(2)
    async def test_short_queues(self) -> None:
        """With large messages, the system holds little of what small ones would wait for."""
        where = await self.listen(lambda peer, payload: payload)
        async with self.connect(where) as client:
            handle = cast(Any, client.transport).getHandle()
            before = handle.getsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF)
            await client.request(bytes(65536))
            self.assertEqual(handle.getsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF), before)
            await client.request(bytes(65537))
            if sys.platform == "linux":
                # Linux doubles what is asked for.
                held = handle.getsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF)
                self.assertLessEqual(held, 2 * max(SHORT_QUEUE, 0.02 * QUEUE_PER_SECOND))
                self.assertEqual(handle.getsockopt(socket.IPPROTO_TCP, 25), SHORT_QUEUE)
        await self.gone

    async def test_wrong_passphrase(self) -> None:
        """A refused login fails the connecting."""
        where = await self.listen(Desk())
        await self.assertFailure(self.connect(where, "wrong"), AuthenticationFailed)
        await self.gone

    async def test_early_refused(self) -> None:
        """With ``early`` a refused login fails the request, which nobody works on."""
        desk = Desk()
        where = await self.listen(desk)
        client = await self.connect(where, "wrong", early=True)
        await self.assertFailure(client.request(b"early"), AuthenticationFailed)
        await self.gone
        self.assertEqual(desk.asked, [])

    async def test_cancel(self) -> None:
        """Cancelling drops the connection that waits for the server's hello."""
        checker = Undecided()
        where = await self.listen(Desk(), checker)
        connecting = self.connect(where)
        await checker.asked
        self.assertNoResult(connecting)
        connecting.cancel()
        await self.assertFailure(connecting, CancelledError)
        await self.gone

    def test_wrong_arguments(self) -> None:
        """What is wrong with the arguments fails the Deferred, before anything is connected."""
        where = "tcp:127.0.0.1:1"
        wrong = ("", "nonsense:127.0.0.1:1", "tcp:127.0.0.1:http-ish", "tcp:h:1\\", "unix", ":", "tls:h", "tcp:a..b:1")
        for endpoint in wrong:
            reason = self.failureResultOf(connect(reactor, endpoint, SERVER_PAIR.public, LOGIN, PASSPHRASE), ValueError)
            self.assertIn(f"bad endpoint string {endpoint!r}", str(reason.value))
        self.failureResultOf(connect(reactor, where, b"short", LOGIN, PASSPHRASE), InvalidKey)
        self.failureResultOf(connect(reactor, where, SERVER_PAIR.public, "l" * 256, PASSPHRASE), LocalProtocolError)
        self.failureResultOf(self.connect(where, limit=0), LocalProtocolError)
        self.failureResultOf(self.connect(where, respond=lambda peer, payload: b"", concurrency=0), LocalProtocolError)
