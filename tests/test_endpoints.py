"""
Endpoint wrappers and endpoint strings, over loopback, with programs that know nothing of them.
"""

from __future__ import annotations

import hashlib
import os
import sqlite3
import sys
import textwrap
from contextlib import closing
from typing import Any

from twisted.application.internet import ClientService
from twisted.internet import endpoints, reactor
from twisted.internet.defer import CancelledError, Deferred, ensureDeferred
from twisted.internet.endpoints import clientFromString, quoteStringArgument, serverFromString
from twisted.internet.protocol import Factory, Protocol
from twisted.protocols.basic import LineReceiver
from twisted.protocols.wire import Echo
from twisted.python.systemd import ListenFDs
from twisted.trial.unittest import SynchronousTestCase, TestCase

from sodiumtwist import KeyPair, SingleLogin, SodiumClientEndpoint, SodiumServerEndpoint
from sodiumtwist.core.errors import AuthenticationFailed, InvalidKey, LocalProtocolError
from sodiumtwist.endpoints import client_from_string, server_from_string
from sodiumtwist.keyfiles import write_key_file
from sodiumtwist.streams import ServerStream, StreamServerFactory

from .pair import LOGIN, PASSPHRASE, SERVER_PAIR
from .processes import TWISTD, ProcessTestCase, wait_until
from .test_requests import Undecided
from .test_tls import Authority


class Lines(LineReceiver):
    """Asks with a line and is done with the answer."""

    def __init__(self) -> None:
        self.answered: Deferred[bytes] = Deferred()
        self.lost: Deferred[Any] = Deferred()

    def lineReceived(self, line: bytes) -> None:
        self.answered.callback(line)

    def connectionLost(self, reason: Any) -> None:  # type: ignore[override]
        self.lost.callback(reason.type)


class SecretsTestCase(SynchronousTestCase):
    """Has the files that endpoint strings name."""

    def make_secrets(self) -> tuple[str, str]:
        directory = self.mktemp()
        os.mkdir(directory)
        # A name with all that needs to be quoted.
        self.key_file = os.path.join(directory, "k:=\\ey")
        self.passphrase_file = os.path.join(directory, "pass")
        for path, text in ((self.key_file, SERVER_PAIR.secret.hex()), (self.passphrase_file, PASSPHRASE)):
            with open(path, "w", opener=lambda name, flags: os.open(name, flags, 0o600)) as file:
                file.write(text + "\n")
        self.key_only = f"keyFile={quoteStringArgument(self.key_file)}"
        self.identity = KeyPair.generate()
        self.identity_file = os.path.join(directory, "identity")
        write_key_file(self.identity_file, self.identity)
        self.list_file = os.path.join(directory, "authorized")
        with open(self.list_file, "w") as file:
            file.write(f"{self.identity.public.hex()}\n")
        secrets = f"login={LOGIN}:passphraseFile={quoteStringArgument(self.passphrase_file)}"
        return (
            f"{secrets}:keyFile={quoteStringArgument(self.key_file)}",
            f"{secrets}:serverKey={SERVER_PAIR.public.hex()}",
        )


class StringTests(SecretsTestCase):
    """What the strings mean."""

    def setUp(self) -> None:
        self.for_server, self.for_client = self.make_secrets()
        for name in ("SODIUMTWIST_KEY", "SODIUMTWIST_PASSPHRASE"):
            if name in os.environ:
                self.patch(os, "environ", {key: os.environ[key] for key in os.environ if key != name})

    def make_server(self, string: str) -> Any:
        return serverFromString(reactor, string)._endpoint

    def make_client(self, string: str) -> Any:
        return clientFromString(reactor, string)._endpoint

    def test_server(self) -> None:
        """The inner endpoint is what it would be alone, wherever our keywords stand."""
        for string in (
            f"sodium:tcp:5555:interface=127.0.0.1:{self.for_server}",
            f"sodium:tcp:{self.for_server}:5555:interface=127.0.0.1",
            f"sodium:{self.for_server}:tcp:port=5555:interface=127.0.0.1",
        ):
            inner = self.make_server(string)
            self.assertEqual((inner._port, inner._interface), (5555, "127.0.0.1"))
        self.assertEqual(self.make_server(f"sodium:unix:a\\:b\\=c\\\\d:{self.for_server}")._address, "a:b=c\\d")
        inner = self.make_server(f"sodium:unix:address=a\\:b=c:mode=600:{self.for_server}")
        self.assertEqual((inner._address, inner._mode), ("a:b=c", 0o600))
        proxied = self.make_server(f"sodium:haproxy:tcp:5555:{self.for_server}")
        self.assertEqual(proxied._wrappedEndpoint._port, 5555)
        proxied = self.make_server(f"sodium:haproxy:unix:a\\:b:{self.for_server}")
        self.assertEqual(proxied._wrappedEndpoint._address, "a:b")

    def test_server_under_tls(self) -> None:
        """``ssl:`` with its files, whose names may need quoting, and the ``tls:`` of newer Twisteds."""
        directory = os.path.abspath(self.mktemp())
        os.mkdir(directory)
        path = Authority("known").issue(os.path.join(directory, "a:b=c.pem"), "localhost")
        quoted = quoteStringArgument(path).replace("=", "\\=")
        inner = self.make_server(
            f"sodium:ssl:443:privateKey={quoted}:certKey={quoted}:interface=127.0.0.1:{self.for_server}"
        )
        self.assertEqual((inner._port, inner._interface), (443, "127.0.0.1"))
        if hasattr(endpoints, "_TLSServerEndpointParser"):
            inner = self.make_server(f"sodium:tls:{directory}:443:interface=127.0.0.1:{self.for_server}")
            self.assertIsNotNone(inner)

    def test_server_of_systemd(self) -> None:
        """A socket by its name, with a colon in it."""
        sockets = ListenFDs([3], ["web:x"])
        self.patch(endpoints._SystemdParser, "_sddaemon", sockets)
        inner = self.make_server(f"sodium:systemd:domain=INET:name=web\\:x:{self.for_server}")
        self.assertEqual(inner.fileno, 3)

    def test_client(self) -> None:
        inner = self.make_client(f"sodium:tcp:example.org:5555:timeout=7:{self.for_client}")
        self.assertEqual((inner._host, inner._port, inner._timeout), ("example.org", 5555, 7))
        inner = self.make_client(f"sodium:unix:path=a\\:b=c:{self.for_client}")
        self.assertEqual(inner._path, "a:b=c")
        inner = self.make_client(f"sodium:tls:example.org:443:timeout=7:{self.for_client}")
        below = inner._wrappedEndpoint
        self.assertEqual((below._hostText, below._port), ("example.org", 443))

    def test_mistakes(self) -> None:
        """The error names the keyword."""

        def without(name: str, string: str) -> str:
            return ":".join(part for part in string.split(":") if not part.startswith(name + "="))

        server = f"sodium:tcp:5555:login=me:passphraseFile={self.passphrase_file}"
        client = f"sodium:tcp:host:5555:{self.for_client}"
        for make, string, error, named in (
            (self.make_server, server, ValueError, "missing: keyFile= (or $SODIUMTWIST_KEY)"),
            (
                self.make_server,
                "sodium:tcp:5555",
                ValueError,
                "keyFile= (or $SODIUMTWIST_KEY), login=, passphraseFile= (or $SODIUMTWIST_PASSPHRASE)",
            ),
            (
                self.make_client,
                "sodium:tcp:host:5555",
                ValueError,
                "missing: serverKey=, login=, passphraseFile= (or $SODIUMTWIST_PASSPHRASE)",
            ),
            (self.make_client, f"sodium:tls:host:443:bogus=1:odd=2:{self.for_client}", ValueError, "bogus, odd; so"),
            (self.make_server, f"sodium:tcp:5555:{without('login', self.for_server)}", ValueError, "missing: login="),
            (
                self.make_server,
                f"sodium:tcp:5555:{without('passphraseFile', self.for_server)}",
                ValueError,
                "missing: passphraseFile= (or $SODIUMTWIST_PASSPHRASE)",
            ),
            (self.make_server, f"sodium:tcp:5555:{self.for_server}:passphrase=x", ValueError, "use passphraseFile="),
            (self.make_server, f"sodium:tcp:5555:{self.for_server}:key=x", ValueError, "use keyFile="),
            (
                self.make_server,
                f"sodium:tcp:5555:{self.for_server}:keyFlie=x",
                ValueError,
                "unknown keyword keyFlie; sodium takes keyFile, login, passphraseFile, auth, authorizedKeys, replayDB, "
                "and tcp",
            ),
            (self.make_server, f"sodium:{self.for_server}", ValueError, "which endpoint"),
            (self.make_server, f"{server}:keyFile=missing", ValueError, "sodium: keyFile=missing: No such file"),
            (self.make_server, f"sodium:tcp:5555:{self.for_server}:auth=nobody", LocalProtocolError, "unknown kind"),
            (self.make_server, f"sodium:tcp:5555:{self.for_server}:auth=none", ValueError, "auth=none excludes login="),
            (self.make_server, f"sodium:tcp:5555:{self.key_only}:auth=none", ValueError, "missing: authorizedKeys="),
            (
                self.make_server,
                f"sodium:tcp:5555:{self.for_server}:authorizedKeys=missing",
                ValueError,
                "sodium: authorizedKeys=missing: No such file",
            ),
            (
                self.make_server,
                f"sodium:tcp:5555:{self.for_server}:replayDB=missing/db",
                ValueError,
                "sodium: replayDB=missing/db: No such file",
            ),
            (self.make_client, f"{client}:identityFile=missing", ValueError, "sodium: identityFile=missing: No such"),
            (self.make_server, f"{server}:keyFile={self.passphrase_file}", InvalidKey, "pass"),
            (self.make_client, without("serverKey", client), ValueError, "missing: serverKey="),
            (self.make_client, without("login", client), ValueError, "missing: login="),
            (self.make_client, f"{client}:keyFile=x", ValueError, "unknown keyword keyFile"),
            (self.make_client, f"{without('serverKey', client)}:serverKey=12", InvalidKey, "serverKey"),
        ):
            self.assertIn(named, str(self.assertRaises(error, make, string)), string)

    def test_environment(self) -> None:
        """Secrets may be there instead; in both places is a mistake."""
        given = {"SODIUMTWIST_KEY": SERVER_PAIR.secret.hex(), "SODIUMTWIST_PASSPHRASE": PASSPHRASE}
        self.patch(os, "environ", {**os.environ, **given})
        server = server_from_string(reactor, ("tcp", "5555"), {"login": "me"})
        self.assertIsInstance(server, SodiumServerEndpoint)
        client = {"login": "me", "serverKey": SERVER_PAIR.public.hex()}
        self.assertIsInstance(client_from_string(reactor, ("tcp", "host", "5555"), client), SodiumClientEndpoint)
        twice = {"login": "me", "keyFile": self.key_file}
        error = self.assertRaises(LocalProtocolError, server_from_string, reactor, ("tcp", "5555"), twice)
        self.assertIn("keyFile= and from $SODIUMTWIST_KEY; use one", str(error))

    def test_plugin_is_light(self) -> None:
        """Programs that only look for endpoint strings do not load the package."""
        program = """
            import sys
            import twisted.plugins.sodiumtwist_plugin
            sys.exit("sodiumtwist" in sys.modules)
        """
        case = ProcessTestCase()
        case.setUp()
        self.addCleanup(case.doCleanups)
        self.assertEqual(case.run_process([sys.executable, "-c", textwrap.dedent(program)]).wait(), 0)


class WhoStringTests(TestCase):
    """Strings that say who may come in, end to end."""

    setUp = StringTests.setUp
    make_secrets = SecretsTestCase.make_secrets

    async def talk(self, server: str, client: str) -> None:
        port = await serverFromString(reactor, f"sodium:tcp:0:interface=127.0.0.1:{server}").listen(
            Factory.forProtocol(Echo)
        )
        self.addCleanup(port.stopListening)
        endpoint = clientFromString(reactor, f"sodium:tcp:127.0.0.1:{port.getHost().port}:{client}")
        lines: Any = await endpoint.connect(Factory.forProtocol(Lines))
        lines.sendLine(b"hello")
        self.assertEqual(await lines.answered, b"hello")
        lines.transport.loseConnection()
        await lines.lost

    async def test_key_alone(self) -> None:
        """``auth=none`` and a list of keys: neither login nor passphrase on either side."""
        server = f"{self.key_only}:auth=none:authorizedKeys={self.list_file}"
        client = f"serverKey={SERVER_PAIR.public.hex()}:identityFile={self.identity_file}"
        await self.talk(server, client)
        await self.assertFailure(ensureDeferred(self.talk(server, self.for_client)), AuthenticationFailed)

    async def test_key_and_login(self) -> None:
        """Both count."""
        server = f"{self.for_server}:authorizedKeys={self.list_file}"
        await self.talk(server, f"{self.for_client}:identityFile={self.identity_file}")
        for client in (self.for_client, f"serverKey={SERVER_PAIR.public.hex()}:identityFile={self.identity_file}"):
            await self.assertFailure(ensureDeferred(self.talk(server, client)), AuthenticationFailed)

    async def test_checker(self) -> None:
        """``auth=`` takes what ``--auth`` takes, and stands beside a login."""
        users = os.path.join(os.path.dirname(self.list_file), "users")
        with open(users, "w") as file:
            file.write("ann:secret\n")
        with open(self.passphrase_file + "2", "w") as file:
            file.write("secret")
        as_ann = f"login=ann:passphraseFile={self.passphrase_file}2:serverKey={SERVER_PAIR.public.hex()}"
        await self.talk(f"{self.key_only}:auth=file\\:{users}", as_ann)
        for client in (as_ann, self.for_client):
            await self.talk(f"{self.for_server}:auth=file\\:{users}", client)
        refused = ensureDeferred(self.talk(f"{self.key_only}:auth=file\\:{users}", self.for_client))
        await self.assertFailure(refused, AuthenticationFailed)

    async def test_replay_database(self) -> None:
        path = os.path.join(os.path.dirname(self.list_file), "replays")
        await self.talk(f"{self.for_server}:replayDB={path}", self.for_client)
        with closing(sqlite3.connect(path)) as database:
            self.assertEqual(list(database.execute("SELECT count(*) FROM handshakes")), [(1,)])


class WrapperTests(TestCase):
    """Endpoints that wrap others, with real sockets."""

    async def listen(self, protocol: Any, where: str = "tcp:0:interface=127.0.0.1") -> Any:
        self.checker = SingleLogin(LOGIN, PASSPHRASE)
        below = serverFromString(reactor, where)
        port = await SodiumServerEndpoint(below, SERVER_PAIR, self.checker).listen(Factory.forProtocol(protocol))
        self.addCleanup(port.stopListening)
        return port

    def client(self, where: str, passphrase: str = PASSPHRASE) -> SodiumClientEndpoint:
        return SodiumClientEndpoint(clientFromString(reactor, where), SERVER_PAIR.public, LOGIN, passphrase)

    async def test_sockets(self) -> None:
        """A line there and back, over TCP and a UNIX socket; closing is seen as such at both ends."""
        path = os.path.join(self.mktemp())
        for where in ("tcp:0:interface=127.0.0.1", f"unix:{path}"):
            port = await self.listen(Echo, where)
            there = f"tcp:127.0.0.1:{port.getHost().port}" if where.startswith("tcp") else where
            lines: Any = await self.client(there).connect(Factory.forProtocol(Lines))
            lines.sendLine(b"hello")
            self.assertEqual(await lines.answered, b"hello")
            lines.transport.loseConnection()
            self.assertEqual((await lines.lost).__name__, "ConnectionDone")

    async def test_refused(self) -> None:
        """It is a failure to connect, and no application is built."""
        port = await self.listen(Echo)
        built: list[None] = []
        factory = Factory.forProtocol(lambda: built.append(None))
        connecting = self.client(f"tcp:127.0.0.1:{port.getHost().port}", "wrong").connect(factory)
        await self.assertFailure(connecting, AuthenticationFailed)
        self.assertEqual(built, [])

    async def test_cancel(self) -> None:
        """A connection that waits for the server's hello is dropped, and no application is built."""
        built: list[None] = []
        checker = Undecided()
        lost: Deferred[None] = Deferred()

        class Watched(ServerStream):
            def connection_lost(self, reason: Any) -> None:
                super().connection_lost(reason)
                lost.callback(None)

        self.patch(StreamServerFactory, "protocol", Watched)
        below = serverFromString(reactor, "tcp:0:interface=127.0.0.1")
        port = await SodiumServerEndpoint(below, SERVER_PAIR, checker).listen(Factory.forProtocol(Echo))
        self.addCleanup(port.stopListening)
        factory = Factory.forProtocol(lambda: built.append(None))
        connecting = self.client(f"tcp:127.0.0.1:{port.getHost().port}").connect(factory)
        await checker.asked
        connecting.cancel()
        await self.assertFailure(connecting, CancelledError)
        await lost
        self.assertEqual(built, [])

    async def test_large_answer_before_close(self) -> None:
        """All of it arrives, though the other end was still sending."""

        class Flood(Protocol):
            def dataReceived(self, data: bytes) -> None:
                self.transport.write(bytes(5_000_000))
                self.transport.loseConnection()

        class Sink(Protocol):
            received = 0

            def connectionMade(self) -> None:
                self.lost: Deferred[Any] = Deferred()
                self.transport.write(bytes(3_000_000))

            def dataReceived(self, data: bytes) -> None:
                self.received += len(data)

            def connectionLost(self, reason: Any) -> None:  # type: ignore[override]
                self.lost.callback(reason.type)

        port = await self.listen(Flood)
        sink: Any = await self.client(f"tcp:127.0.0.1:{port.getHost().port}").connect(Factory.forProtocol(Sink))
        self.assertEqual((await sink.lost).__name__, "ConnectionDone")
        self.assertEqual(sink.received, 5_000_000)

    async def test_client_service_after_a_refusal(self) -> None:
        """It tries again, and gets in when the server has changed its mind."""
        port = await self.listen(Echo)
        checker, refusals = self.checker, []
        letting_in = checker.requestAvatarId

        def decide(credentials: Any) -> Any:
            if len(refusals) < 2:
                refusals.append(None)
                return SingleLogin(LOGIN, "another").requestAvatarId(credentials)
            return letting_in(credentials)

        self.patch(checker, "requestAvatarId", decide)
        endpoint = self.client(f"tcp:127.0.0.1:{port.getHost().port}")
        attempts: list[int] = []

        def policy(attempt: int) -> float:
            attempts.append(attempt)
            return 0.0

        service = ClientService(endpoint, Factory.forProtocol(Lines), retryPolicy=policy)
        service.startService()
        self.addCleanup(service.stopService)
        await self.assertFailure(service.whenConnected(failAfterFailures=1), AuthenticationFailed)
        connected: Deferred[Any] = Deferred()
        reactor.callLater(0, lambda: service.whenConnected().chainDeferred(connected))  # type: ignore[attr-defined]
        lines = await connected
        self.assertEqual(len(refusals), 2)
        self.assertEqual(attempts, [1, 2])
        lines.sendLine(b"hello")
        self.assertEqual(await lines.answered, b"hello")


class ProgramTests(ProcessTestCase, SecretsTestCase):
    """Programs that know nothing of us, each a process."""

    def setUp(self) -> None:
        ProcessTestCase.setUp(self)
        self.for_server, self.for_client = self.make_secrets()

    def secrets(self) -> tuple[str, str]:
        root = os.getcwd()
        return (
            self.for_server.replace("passphraseFile=", f"passphraseFile={root}/").replace(
                "keyFile=", f"keyFile={root}/"
            ),
            self.for_client.replace("passphraseFile=", f"passphraseFile={root}/"),
        )

    def run_program(self, text: str, *arguments: str) -> Any:
        return self.run_process([sys.executable, "-c", textwrap.dedent(text), *arguments])

    def test_web(self) -> None:
        """``twistd web`` answers an Agent."""
        server, client = self.secrets()
        self.make_file("page.html", 300_000, mode=0o644)
        listen = f"sodium:tcp:0:interface=127.0.0.1:{server}"
        web = self.run_process([*TWISTD, "-n", "--pidfile=", "web", "--path", ".", "--listen", listen])
        port = web.wait_for(r"StreamServerFactory starting on (\d+)|Site starting on (\d+)")
        number = port[1] or port[2]
        got = self.run_program(
            """
            import hashlib, sys
            from twisted.internet import reactor, task
            from twisted.internet.endpoints import clientFromString
            from twisted.web.client import URI, Agent, readBody
            from twisted.web.iweb import IAgentEndpointFactory
            from zope.interface import implementer

            @implementer(IAgentEndpointFactory)
            class Endpoints:
                def endpointForURI(self, uri):
                    return clientFromString(reactor, sys.argv[1])

            async def main(reactor):
                agent = Agent.usingEndpointFactory(reactor, Endpoints())
                for _ in range(2):
                    response = await agent.request(b"GET", b"http://x/page.html")
                    print(response.code, hashlib.sha256(await readBody(response)).hexdigest())

            task.react(main)
            """,
            f"sodium:tcp:127.0.0.1:{number}:{client}",
        )
        self.assertEqual(got.wait(), 0, got.errors)
        self.assertEqual(got.output, [f"200 {hashlib.sha256(self.read('page.html')).hexdigest()}"] * 2)

    def test_amp(self) -> None:
        """An AMP service and its client, written for plain endpoints."""
        server, client = self.secrets()
        command = """
            import sys
            from twisted.internet import reactor, task
            from twisted.internet.defer import ensureDeferred
            from twisted.internet.endpoints import clientFromString, connectProtocol, serverFromString
            from twisted.internet.protocol import Factory
            from twisted.protocols import amp

            class Sum(amp.Command):
                arguments = [(b"a", amp.Integer()), (b"b", amp.Integer())]
                response = [(b"total", amp.Integer())]

            class Math(amp.AMP):
                @Sum.responder
                def sum(self, a, b):
                    return {"total": a + b}

            async def serve():
                port = await serverFromString(reactor, sys.argv[2]).listen(Factory.forProtocol(Math))
                print("port", port.getHost().port, flush=True)

            async def ask():
                protocol = await connectProtocol(clientFromString(reactor, sys.argv[2]), amp.AMP())
                for number in range(100):
                    answer = await protocol.callRemote(Sum, a=number, b=1)
                    assert answer["total"] == number + 1
                print("all right")
                reactor.stop()

            reactor.callWhenRunning(lambda: ensureDeferred({"serve": serve, "ask": ask}[sys.argv[1]]()))
            reactor.run()
        """
        service = self.run_program(command, "serve", f"sodium:tcp:0:interface=127.0.0.1:{server}")
        number = service.wait_for(r"port (\d+)")[1]
        asked = self.run_program(command, "ask", f"sodium:tcp:127.0.0.1:{number}:{client}")
        asked.wait_for("all right")
        self.assertEqual(asked.wait(), 0)

    def test_irc(self) -> None:
        """``twistd words``, an IRC server, and Twisted's client for it."""
        server, client = self.secrets()
        listen = f"sodium:tcp:0:interface=127.0.0.1:{server}"
        words = self.run_process([*TWISTD, "-n", "--pidfile=", "words", "--auth", "memory:me:pw", "--irc-port", listen])
        number = words.wait_for(r"Factory starting on (\d+)")[1]
        talk = self.run_program(
            """
            import sys
            from twisted.internet import reactor, task
            from twisted.internet.defer import Deferred
            from twisted.internet.endpoints import clientFromString, connectProtocol
            from twisted.words.protocols.irc import IRCClient

            class Client(IRCClient):
                nickname, username, password = "me", "me", "pw"

                def __init__(self):
                    self.ready = Deferred()

                def signedOn(self):
                    self.ready.callback("signed on")

            async def main(reactor):
                client = await connectProtocol(clientFromString(reactor, sys.argv[1]), Client())
                print(await client.ready)

            task.react(main)
            """,
            f"sodium:tcp:127.0.0.1:{number}:{client}",
        )
        self.assertEqual(talk.wait(), 0, talk.errors)
        self.assertEqual(talk.output, ["signed on"])

    def test_client_service(self) -> None:
        """It comes back when the server was restarted, and does not mind being refused in between."""
        server, client = self.secrets()
        serve = """
            import os, sys
            from twisted.internet import reactor
            from twisted.internet.defer import ensureDeferred
            from twisted.internet.endpoints import serverFromString
            from twisted.internet.protocol import Factory
            from twisted.protocols.wire import Echo

            async def serve():
                port = await serverFromString(reactor, sys.argv[1]).listen(Factory.forProtocol(Echo))
                print("port", port.getHost().port, flush=True)

            reactor.callWhenRunning(lambda: ensureDeferred(serve()))
            reactor.run()
        """
        keep = """
            import sys
            from twisted.application.internet import ClientService
            from twisted.internet import reactor
            from twisted.internet.endpoints import clientFromString
            from twisted.internet.protocol import Factory
            from twisted.protocols.basic import LineReceiver

            class Lines(LineReceiver):
                def connectionMade(self):
                    self.sendLine(b"hello")

                def lineReceived(self, line):
                    print(line.decode(), flush=True)

            def watch():
                connecting = service.whenConnected(failAfterFailures=1)
                connecting.addErrback(lambda reason: print("failed:", reason.type.__name__, flush=True))

            def soon(attempt):
                reactor.callLater(0, watch)
                return 0.1

            service = ClientService(
                clientFromString(reactor, sys.argv[1]), Factory.forProtocol(Lines), retryPolicy=soon
            )
            service.startService()
            reactor.run()
        """
        first = self.run_program(serve, f"sodium:tcp:0:interface=127.0.0.1:{server}")
        number = first.wait_for(r"port (\d+)")[1]
        there = f"sodium:tcp:{number}:interface=127.0.0.1:{server}"
        keeping = self.run_program(keep, f"sodium:tcp:127.0.0.1:{number}:{client}")
        keeping.wait_for("hello")
        first.stop()
        strict = self.run_program(serve, there.replace(f"login={LOGIN}", "login=another"))
        strict.wait_for("port")
        keeping.wait_for("failed: AuthenticationFailed")
        strict.stop()
        heard = len([line for line in keeping.output if line == "hello"])
        again = self.run_program(serve, there)
        again.wait_for("port")
        wait_until(lambda: len([line for line in keeping.output if line == "hello"]) > heard, "the third server")
