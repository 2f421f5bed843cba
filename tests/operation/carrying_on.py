"""
Programs that go on when servers come and go, and the servers that they need. Each is a process, and tells what it does
by lines of standard output.

``answer JOURNAL ENDPOINT``
    Answers requests. Each is written to the journal, a line for each, before its answer leaves. Several servers may
    have the same journal.
``ask ENDPOINT KEY NAME COUNT PAUSE``
    Makes so many requests at once by a :class:`~sodiumtwist.ReconnectingClient`; some seconds behind each answer, the
    next one. Tells ``answered ID``, or ``failed ID`` and why.
``echo ENDPOINT``
    Sends back what comes.
``talk ENDPOINT PAUSE``
    Says a line, waits until it comes back, and some seconds later says the next one. A ``ClientService`` connects again
    when the connection is lost, and the line is said anew. Tells ``said NUMBER`` and ``connected``.

Those that listen end by SIGTERM. The others do so in order by SIGINT: what was asked is waited for.
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable
from typing import Any

from twisted.application.internet import ClientService
from twisted.internet.defer import Deferred
from twisted.internet.endpoints import clientFromString, serverFromString
from twisted.internet.protocol import Factory, connectionDone
from twisted.internet.task import deferLater
from twisted.protocols.basic import LineReceiver
from twisted.protocols.wire import Echo
from twisted.python.failure import Failure
from zope.interface import implementer

from sodiumtwist import IDrainable, KeyPair, Peer, ReconnectingClient, SingleLogin, SodiumServerFactory, parse_key

from ..processes import SECRET

LOGIN, PASSPHRASE = "username", "from the balancer"

#: Seconds that each request takes. So some are under way whenever a server ends.
TAKES = 0.1

#: Seconds between two tries to connect. Without a limit of its own a client waits longer each time.
AGAIN = 0.1


def tell(*words: object) -> None:
    """Write a line, at once."""
    os.write(1, " ".join(map(str, words)).encode() + b"\n")


def stop_by(reactor: Any, stop: Callable[[], Deferred[Any]]) -> None:
    """Have SIGINT and SIGTERM end the program behind something."""
    reactor.addSystemEventTrigger("before", "shutdown", stop)
    reactor.run()


def answer(reactor: Any, journal: str, endpoint: str) -> None:
    """``answer``"""
    file = os.open(journal, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)

    async def respond(peer: Peer, payload: bytes) -> bytes:
        await deferLater(reactor, TAKES / 2)
        os.write(file, payload + b"\n")
        # So some that were acted on are not answered when the server is killed.
        await deferLater(reactor, TAKES / 2)
        return payload

    pair = KeyPair.from_secret(bytes.fromhex(SECRET))
    factory = SodiumServerFactory(pair, SingleLogin(LOGIN, PASSPHRASE), respond)
    ports: list[Any] = []

    async def stop() -> None:
        await ports[0].stopListening()
        await factory.drain()

    def listens(port: Any) -> None:
        ports.append(port)
        tell("listening on", f"{port.getHost().host}:{port.getHost().port}")

    serverFromString(reactor, endpoint).listen(factory).addCallback(listens)
    stop_by(reactor, lambda: Deferred.fromCoroutine(stop()))


def ask(reactor: Any, endpoint: str, key: str, name: str, at_once: str, pause: str) -> None:
    """``ask``"""
    client = ReconnectingClient(
        reactor,
        endpoint,
        parse_key(key),
        LOGIN,
        PASSPHRASE,
        wait=None,
        retry_policy=lambda attempt: AGAIN,
    )
    count, stopped = 0, False

    def next_one(_: object = None) -> None:
        nonlocal count
        if stopped:
            return
        count += 1
        this = f"{name}-{count}"
        asking = client.request(this.encode())

        def answered(payload: bytes) -> None:
            tell("answered" if payload.decode() == this else "answered wrongly", this)

        def failed(reason: Failure) -> None:
            tell("failed", this, type(reason.value).__name__, reason.getErrorMessage())

        asking.addCallbacks(answered, failed)
        # Never within the call that has answered: that of many would fill the stack.
        asking.addBoth(lambda _: reactor.callLater(float(pause), next_one))

    def stop() -> Deferred[None]:
        nonlocal stopped
        stopped = True
        return client.stopService()

    client.startService()
    for _ in range(int(at_once)):
        next_one()
    stop_by(reactor, stop)


def echo(reactor: Any, endpoint: str) -> None:
    """``echo``"""
    factory = Factory.forProtocol(Echo)
    factory.noisy = False
    listening = serverFromString(reactor, endpoint).listen(factory)
    listening.addCallback(lambda port: tell("listening on", f"{port.getHost().host}:{port.getHost().port}"))
    reactor.run()


@implementer(IDrainable)
class Talker(LineReceiver):
    """Says a line, and waits until it comes back."""

    delimiter = b"\n"
    reactor: Any
    transport: Any
    pause = 0.0
    #: How many have come back, of all connections.
    said = 0
    lost = False

    def connectionMade(self) -> None:
        tell("connected")
        self.say()

    def say(self) -> None:
        if not self.lost:
            self.sendLine(b"%d" % (Talker.said + 1))

    def lineReceived(self, line: bytes) -> None:
        if line != b"%d" % (Talker.said + 1):
            tell("wrong", line)
            return
        Talker.said += 1
        tell("said", Talker.said)
        self.reactor.callLater(self.pause, self.say)

    def drain_received(self) -> None:
        self.transport.loseConnection()

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self.lost = True
        tell("lost", reason.getErrorMessage())


def talk(reactor: Any, endpoint: str, pause: str) -> None:
    """``talk``"""
    factory = Factory.forProtocol(Talker)
    Talker.reactor, Talker.pause = reactor, float(pause)
    service = ClientService(clientFromString(reactor, endpoint), factory, lambda attempt: AGAIN, reactor)
    service.startService()
    stop_by(reactor, service.stopService)


def main(arguments: list[str]) -> None:
    """
    Run one of these programs.

    :param arguments: its name, and what it is given.
    """
    from twisted.internet import reactor

    signal.signal(signal.SIGINT, signal.default_int_handler)
    programs: dict[str, Callable[..., None]] = {"answer": answer, "ask": ask, "echo": echo, "talk": talk}
    programs[arguments[0]](reactor, *arguments[1:])


if __name__ == "__main__":
    main(sys.argv[1:])
