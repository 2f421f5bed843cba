from twisted.application.service import ServiceMaker
from twisted.internet.interfaces import IStreamClientEndpointStringParserWithReactor, IStreamServerEndpointStringParser
from twisted.plugin import IPlugin
from zope.interface import implementer


@implementer(IPlugin, IStreamServerEndpointStringParser, IStreamClientEndpointStringParserWithReactor)
class _Strings:
    """Every program that reads endpoint strings loads this, so the rest is imported when it is used."""

    prefix = "sodium"

    def parseStreamServer(self, reactor, *arguments, **keywords):
        from sodiumtwist.endpoints import server_from_string

        return server_from_string(reactor, arguments, keywords)

    def parseStreamClient(self, reactor, *arguments, **keywords):
        from sodiumtwist.endpoints import client_from_string

        return client_from_string(reactor, arguments, keywords)


sodium_strings = _Strings()
sodium = ServiceMaker("sodium", "sodiumtwist.tap", "Receive files or forward streams over encrypted TCP.", "sodium")
sodium_tunnel = ServiceMaker(
    "sodium-tunnel", "sodiumtwist.tunneltap", "Carry local connections over encrypted TCP.", "sodium-tunnel"
)
