"""
What Twisted's programs find of sodiumtwist: endpoint strings, a checker of logins, and services for ``twistd``.
"""

# Every program that looks for plugins imports this, so the package itself is imported only when it is used. Neither
# here nor in twisted/ may an __init__.py be: it would hide Twisted's own package.

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from twisted.application.service import ServiceMaker
from twisted.cred.credentials import IUsernamePassword
from twisted.cred.strcred import ICheckerFactory
from twisted.internet.interfaces import IStreamClientEndpointStringParserWithReactor, IStreamServerEndpointStringParser
from twisted.plugin import IPlugin
from zope.interface import implementer

if TYPE_CHECKING:
    from sodiumtwist import SodiumClientEndpoint, SodiumServerEndpoint
    from sodiumtwist.admission.argon2 import Argon2File


@implementer(IPlugin, IStreamServerEndpointStringParser, IStreamClientEndpointStringParserWithReactor)
class _Strings:
    """The endpoint strings ``sodium:…``, of servers and of clients."""

    prefix = "sodium"

    def parseStreamServer(self, reactor: Any, *arguments: Any, **keywords: Any) -> SodiumServerEndpoint:
        from sodiumtwist.endpoints.strings import server_from_string

        return server_from_string(reactor, arguments, keywords)

    def parseStreamClient(self, reactor: Any, *arguments: Any, **keywords: Any) -> SodiumClientEndpoint:
        from sodiumtwist.endpoints.strings import client_from_string

        return client_from_string(reactor, arguments, keywords)


@implementer(IPlugin, IStreamClientEndpointStringParserWithReactor)
class _URLs:
    """The URLs ``sodium+tls://…`` as strings of clients. Those without TLS begin as all other strings do."""

    prefix = "sodium+tls"

    def parseStreamClient(self, reactor: Any, *arguments: Any, **keywords: Any) -> SodiumClientEndpoint:
        from sodiumtwist.endpoints.strings import client_from_string

        return client_from_string(reactor, arguments, keywords, self.prefix)


@implementer(IPlugin, ICheckerFactory)
class _Argon2:
    """The checker ``argon2`` of ``--auth``."""

    authType = "argon2"
    argStringFormat = "FILE[:concurrency=2][:queue=128]"
    authHelp = """
        Logins from a file of Argon2id strings, as 'sodiumtwist passwd FILE LOGIN' writes it. The file is read
        again when it changes. A verification takes some 80 ms and 64 MiB in a thread: so many run at
        once (concurrency), so many more may wait (queue), and beyond that logins are refused.
    """
    credentialInterfaces = (IUsernamePassword,)

    def generateChecker(self, argument: str) -> Argon2File:
        from sodiumtwist.admission.argon2 import from_argument

        return from_argument(argument)


# Twisted takes what stands at the top of the module, under any name. Services are imported when twistd runs them.
sodium_strings = _Strings()
sodium_urls = _URLs()
sodium_argon2 = _Argon2()
sodium = ServiceMaker(
    "sodium", "sodiumtwist.programs.tap", "Receive files or forward streams over encrypted TCP.", "sodium"
)
sodium_tunnel = ServiceMaker(
    "sodium-tunnel", "sodiumtwist.programs.tunneltap", "Carry local connections over encrypted TCP.", "sodium-tunnel"
)
