"""
Any Twisted protocol over an encrypted stream: endpoints, their strings, and ``connect()`` for requests, which is in
:mod:`sodiumtwist.endpoints.connect`.
"""

from .. import lazy_names

TYPE_CHECKING = False  # type checkers know better; to import it takes time
if TYPE_CHECKING:
    from .transport import SodiumTransport as SodiumTransport
    from .wrappers import SodiumClientEndpoint as SodiumClientEndpoint, SodiumServerEndpoint as SodiumServerEndpoint

del TYPE_CHECKING

_WHERE = {
    "SodiumClientEndpoint": "wrappers",
    "SodiumServerEndpoint": "wrappers",
    "SodiumTransport": "transport",
}

__all__ = list(_WHERE)
__getattr__, __dir__ = lazy_names.look_up_later(__name__, _WHERE)
