"""
Programs that know nothing of us, on our endpoints, each a process.
"""

from __future__ import annotations

import hashlib
import sys
import textwrap

from ..endpoint_files import EndpointFiles
from ..pair import LOGIN
from ..processes import TWISTD, ProcessTestCase, Running, wait_until


class ProgramTests(ProcessTestCase):
    """Programs that know nothing of us, each a process."""

    def setUp(self) -> None:
        super().setUp()
        self.files = EndpointFiles(self.path("files"))

    def run_program(self, text: str, *arguments: str) -> Running:
        return self.run_process([sys.executable, "-c", textwrap.dedent(text), *arguments])

    def test_web(self) -> None:
        """``twistd web`` answers an Agent."""
        server, client = self.files.for_server, self.files.for_client
        self.make_file("page.html", 300_000, mode=0o644)
        listen = f"sodium:tcp:0:interface=127.0.0.1:{server}"
        web = self.run_process([*TWISTD, "-n", "--pidfile=", "web", "--path", ".", "--listen", listen])
        port = web.wait_for(r"Site \(sodium\) starting on (\d+)")
        number = port[1]
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
        server, client = self.files.for_server, self.files.for_client
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
        server, client = self.files.for_server, self.files.for_client
        listen = f"sodium:tcp:0:interface=127.0.0.1:{server}"
        words = self.run_process([*TWISTD, "-n", "--pidfile=", "words", "--auth", "memory:me:pw", "--irc-port", listen])
        number = words.wait_for(r"Factory \(sodium\) starting on (\d+)")[1]
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
        server, client = self.files.for_server, self.files.for_client
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
