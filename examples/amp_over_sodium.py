"""
AMP knows nothing of encryption. Here it runs between two encrypted ends:

    python examples/amp_over_sodium.py
"""

from twisted.internet import endpoints, protocol, task
from twisted.internet.address import IPv4Address
from twisted.internet.interfaces import IReactorTCP
from twisted.protocols import amp

from sodiumtwist import ISodiumTransport, KeyPair, SingleLogin, SodiumClientEndpoint, SodiumServerEndpoint


class Sum(amp.Command):
    arguments = [(b"a", amp.Integer()), (b"b", amp.Integer())]
    response = [(b"total", amp.Integer()), (b"login", amp.Unicode())]


class Calculator(amp.AMP):
    transport: ISodiumTransport

    @Sum.responder
    def sum(self, a: int, b: int) -> dict[str, object]:
        return {"total": a + b, "login": self.transport.peer.login}


async def main(reactor: IReactorTCP) -> None:
    pair = KeyPair.generate()
    below = endpoints.serverFromString(reactor, "tcp:0:interface=127.0.0.1")
    server = SodiumServerEndpoint(below, pair, SingleLogin("me", "open sesame"))
    port = await server.listen(protocol.Factory.forProtocol(Calculator))
    where = port.getHost()
    assert isinstance(where, IPv4Address)

    below = endpoints.clientFromString(reactor, f"tcp:127.0.0.1:{where.port}")
    client = SodiumClientEndpoint(below, pair.public, "me", "open sesame")
    calculator = await endpoints.connectProtocol(client, amp.AMP())
    print(await calculator.callRemote(Sum, a=13, b=81))


task.react(main)
