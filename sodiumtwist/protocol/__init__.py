"""
The Twisted face of one connection: its two ends, what makes them, and requests.
"""

from .. import lazy_names

TYPE_CHECKING = False  # type checkers know better; to import it takes time
if TYPE_CHECKING:
    from .base import SodiumProtocol as SodiumProtocol
    from .client import SodiumClientProtocol as SodiumClientProtocol
    from .factories import SodiumClientFactory as SodiumClientFactory, SodiumServerFactory as SodiumServerFactory
    from .requests import RequestClient as RequestClient
    from .server import SodiumServerProtocol as SodiumServerProtocol

del TYPE_CHECKING

_WHERE = {
    "RequestClient": "requests",
    "SodiumClientFactory": "factories",
    "SodiumClientProtocol": "client",
    "SodiumProtocol": "base",
    "SodiumServerFactory": "factories",
    "SodiumServerProtocol": "server",
}

__all__ = list(_WHERE)
__getattr__, __dir__ = lazy_names.look_up_later(__name__, _WHERE)
