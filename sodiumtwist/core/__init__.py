"""
The protocol without IO: no sockets, no clock, no Twisted.

Start at :mod:`~sodiumtwist.core.connection`; the wire's structures are in :mod:`~sodiumtwist.core.v1.messages`, for
version 2 in :mod:`~sodiumtwist.core.v2.messages`, the states in :mod:`~sodiumtwist.core.states`.
"""

__all__ = [
    "connection",
    "errors",
    "events",
    "keepalive",
    "keys",
    "states",
    "wire",
]
