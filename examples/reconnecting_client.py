"""
A client that connects again whenever it loses its connection. The server here drops the first two:

    python examples/reconnecting_client.py
"""

from twisted.application.internet import ClientService
from twisted.internet import endpoints, protocol, task
from twisted.internet.address import IPv4Address
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTCP
from twisted.protocols.basic import LineReceiver

from sodiumtwist import ISodiumTransport, KeyPair, SingleLogin, SodiumClientEndpoint, SodiumServerEndpoint


class Greeter(LineReceiver):
    transport: ISodiumTransport
    greeted = 0

    def connectionMade(self) -> None:
        Greeter.greeted += 1
        self.sendLine(b"hello, the %d. time" % Greeter.greeted)
        if Greeter.greeted < 3:
            self.transport.loseConnection()


async def main(reactor: IReactorTCP) -> None:
    third: Deferred[None] = Deferred()

    class Listener(LineReceiver):
        def lineReceived(self, line: bytes) -> None:
            print(line.decode())
            if b"3" in line:
                third.callback(None)

    pair = KeyPair.generate()
    below = endpoints.serverFromString(reactor, "tcp:0:interface=127.0.0.1")
    server = SodiumServerEndpoint(below, pair, SingleLogin("me", "open sesame"))
    port = await server.listen(protocol.Factory.forProtocol(Greeter))
    where = port.getHost()
    assert isinstance(where, IPv4Address)

    below = endpoints.clientFromString(reactor, f"tcp:127.0.0.1:{where.port}")
    endpoint = SodiumClientEndpoint(below, pair.public, "me", "open sesame")
    # So short a wait is for this example. Without retryPolicy each wait is longer than the one before, as it should be.
    service = ClientService(endpoint, protocol.Factory.forProtocol(Listener), retryPolicy=lambda failures: 0.1)
    service.startService()
    await third
    await service.stopService()


task.react(main)
