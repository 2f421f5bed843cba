"""
A web server behind an encrypted endpoint, and an Agent that sends it a request:

    python examples/web_over_sodium.py
"""

from twisted.internet import endpoints, protocol, task
from twisted.internet.address import IPv4Address
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTCP, IStreamClientEndpoint
from twisted.python.failure import Failure
from twisted.web.client import URI, Agent
from twisted.web.iweb import IAgentEndpointFactory
from twisted.web.resource import Resource
from twisted.web.server import Request, Site
from zope.interface import implementer

from sodiumtwist import ISodiumTransport, KeyPair, SingleLogin, SodiumClientEndpoint, SodiumServerEndpoint


class Hello(Resource):
    isLeaf = True

    def render_GET(self, request: Request) -> bytes:
        return f"hello, {ISodiumTransport(request.transport).peer.login}".encode()


@implementer(IAgentEndpointFactory)
class OneServer:
    """Sends every request to the same server."""

    def __init__(self, endpoint: IStreamClientEndpoint) -> None:
        self.endpoint = endpoint

    def endpointForURI(self, uri: URI) -> IStreamClientEndpoint:
        return self.endpoint


class Body(protocol.Protocol):
    """Collects the body of an answer."""

    def __init__(self) -> None:
        self.data = b""
        self.whole: Deferred[bytes] = Deferred()

    def dataReceived(self, data: bytes) -> None:
        self.data += data

    def connectionLost(self, reason: Failure = protocol.connectionDone) -> None:
        self.whole.callback(self.data)


async def main(reactor: IReactorTCP) -> None:
    pair = KeyPair.generate()
    below = endpoints.serverFromString(reactor, "tcp:0:interface=127.0.0.1")
    server = SodiumServerEndpoint(below, pair, SingleLogin("me", "open sesame"))
    port = await server.listen(Site(Hello()))
    where = port.getHost()
    assert isinstance(where, IPv4Address)

    below = endpoints.clientFromString(reactor, f"tcp:127.0.0.1:{where.port}")
    endpoint = SodiumClientEndpoint(below, pair.public, "me", "open sesame")
    agent = Agent.usingEndpointFactory(reactor, OneServer(endpoint))
    response = await agent.request(b"GET", b"http://any.name/")
    body = Body()
    response.deliverBody(body)
    print(response.code, (await body.whole).decode())


task.react(main)
