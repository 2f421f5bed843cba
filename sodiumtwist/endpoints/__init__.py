"""
Any Twisted protocol over an encrypted stream: endpoints, their strings, and ``connect()`` for requests, which is in
:mod:`sodiumtwist.endpoints.connect`.
"""

import typing

from .. import doors

if typing.TYPE_CHECKING:
    from .transport import SodiumTransport as SodiumTransport
    from .wrappers import SodiumClientEndpoint as SodiumClientEndpoint, SodiumServerEndpoint as SodiumServerEndpoint

_WHERE = {
    "SodiumClientEndpoint": "wrappers",
    "SodiumServerEndpoint": "wrappers",
    "SodiumTransport": "transport",
}

__all__ = list(_WHERE)
__getattr__, __dir__ = doors.door(__name__, _WHERE)
