"""
One end of a connection without IO, which speaks by three calls: ``receive_data`` takes received bytes and gives
events, ``send_…`` takes what is to be said, ``data_to_send`` gives the bytes to write.

Call ``data_to_send`` after any other call, or after several; what was sent meanwhile is sealed together. Any
:exc:`~sodiumtwist.core.errors.RemoteProtocolError` ends the connection: write what ``data_to_send`` still gives, close
the transport, and say nothing more. What is received after that is dropped.
"""

from __future__ import annotations

from .client import ClientConnection
from .server import PENDING_LIMIT, PENDING_LIMIT_2, ServerConnection
from .v2.incoming import Bounds
from .v2.pdus import Code, describe_code
from .v2.session import Version2
from .v2.veil import RecentSalts, Salts

__all__ = [
    "PENDING_LIMIT",
    "PENDING_LIMIT_2",
    "Bounds",
    "ClientConnection",
    "Code",
    "RecentSalts",
    "Salts",
    "ServerConnection",
    "Version2",
    "describe_code",
]
