"""
:func:`sodiumtwist.connect` over loopback sockets.
"""

from __future__ import annotations

from twisted.cred.checkers import ICredentialsChecker
from twisted.internet import reactor
from twisted.internet.defer import CancelledError, Deferred, succeed
from twisted.internet.endpoints import serverFromString
from twisted.internet.interfaces import IProtocol, IProtocolFactory, IStreamClientEndpoint
from twisted.internet.task import Clock
from twisted.python.failure import Failure
from twisted.trial.unittest import TestCase
from zope.interface import implementer

from sodiumtwist import (
    AuthenticationFailed,
    ClosedHere,
    InvalidKey,
    LocalProtocolError,
    Peer,
    SingleLogin,
    SodiumClientFactory,
    SodiumServerFactory,
    TooManyRequests,
    connect,
)
from sodiumtwist.core.v1.messages import PDU_OVERHEAD, SEALED_CLIENT_AUTH_SIZE
from sodiumtwist.protocol.requests import Respond, Responder

from ..checkers import Undecided
from ..desk import LARGEST, Desk, RequestPair
from ..pair import CLIENT_PAIR, LOGIN, PASSPHRASE, SERVER_PAIR, Pair
from ..ports import port_number


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

    async def test_connect(self) -> None:
        """A client connects, asks, pings and closes; the server learns who it is."""
        peers: list[Peer] = []

        async def respond(peer: Peer, payload: bytes) -> bytes:
            peers.append(peer)
            return payload.upper()

        where = await self.listen(respond)
        client = await connect(reactor, where, SERVER_PAIR.public, LOGIN, PASSPHRASE, pair=CLIENT_PAIR)
        self.assertTrue(client.is_authenticated)
        self.assertEqual(client.message, "Welcome.")
        asked = [client.request(b"abc"), client.request(bytes(LARGEST))]
        self.assertEqual(await asked[0], b"ABC")
        self.assertEqual(await asked[1], bytes(LARGEST))
        self.assertGreaterEqual(await client.ping(), 0)
        self.assertEqual(peers, [Peer(LOGIN, CLIENT_PAIR.public, client.transport.getHost())] * 2)
        await client.close()
        await self.gone

    async def test_limit(self) -> None:
        """The limit that was given holds."""
        where = await self.listen(Desk())
        client = await connect(reactor, where, SERVER_PAIR.public, LOGIN, PASSPHRASE, limit=1)
        asked = client.request(b"")
        await self.assertFailure(client.request(b""), TooManyRequests)
        client.abort()
        await self.assertFailure(asked, ClosedHere)
        await self.gone

    async def test_early(self) -> None:
        """With ``early`` the client is there before the server has answered, and may ask at once."""
        where = await self.listen(lambda peer, payload: payload)
        client = await connect(reactor, where, SERVER_PAIR.public, LOGIN, PASSPHRASE, early=True)
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

        connecting = connect(clock, Memory(), SERVER_PAIR.public, LOGIN, PASSPHRASE, early=early)
        asked: Deferred[bytes] = connecting.addCallback(lambda client: client.request(b"hello"))
        return pairs[0], asked, len(pairs[0].client_transport.out)

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

    async def test_wrong_passphrase(self) -> None:
        """A refused login fails the connecting."""
        where = await self.listen(Desk())
        await self.assertFailure(connect(reactor, where, SERVER_PAIR.public, LOGIN, "wrong"), AuthenticationFailed)
        await self.gone

    async def test_early_refused(self) -> None:
        """With ``early`` a refused login fails the request, which nobody works on."""
        desk = Desk()
        where = await self.listen(desk)
        client = await connect(reactor, where, SERVER_PAIR.public, LOGIN, "wrong", early=True)
        await self.assertFailure(client.request(b"early"), AuthenticationFailed)
        await self.gone
        self.assertEqual(desk.asked, [])

    async def test_cancel(self) -> None:
        """Cancelling drops the connection that waits for the server's hello."""
        checker = Undecided()
        where = await self.listen(Desk(), checker)
        connecting = connect(reactor, where, SERVER_PAIR.public, LOGIN, PASSPHRASE)
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
        self.failureResultOf(connect(reactor, where, SERVER_PAIR.public, "l" * 129, PASSPHRASE), LocalProtocolError)
        self.failureResultOf(
            connect(reactor, where, SERVER_PAIR.public, LOGIN, PASSPHRASE, limit=0), LocalProtocolError
        )
