"""
Encrypted TCP for Twisted, with a server key, a login and a passphrase instead of certificates.

Importing this package installs no reactor.
"""

from .auth import SingleLogin
from .core.errors import (
    AuthenticationFailed,
    AuthenticationTimeout,
    DecryptionFailed,
    InactivityTimeout,
    InvalidKey,
    LocalProtocolError,
    MalformedPDU,
    NonceMismatch,
    PayloadTooLarge,
    PongTimeout,
    RemoteProtocolError,
    SodiumError,
    TooManyRequests,
    UnexpectedPDU,
    VersionMismatch,
    WindowExceeded,
)
from .core.keepalive import Timeouts
from .core.keys import KeyPair, parse_key
from .endpoints import SodiumClientEndpoint, SodiumServerEndpoint, connect
from .factories import SodiumClientFactory, SodiumServerFactory
from .interfaces import ISodiumTransport, Peer
from .protocol import SodiumClientProtocol, SodiumServerProtocol
from .requests import RequestClient

__version__ = "0.1.0"

__all__ = [
    "AuthenticationFailed",
    "AuthenticationTimeout",
    "DecryptionFailed",
    "InactivityTimeout",
    "ISodiumTransport",
    "InvalidKey",
    "KeyPair",
    "LocalProtocolError",
    "MalformedPDU",
    "NonceMismatch",
    "PayloadTooLarge",
    "Peer",
    "PongTimeout",
    "RemoteProtocolError",
    "RequestClient",
    "SingleLogin",
    "SodiumClientEndpoint",
    "SodiumClientFactory",
    "SodiumClientProtocol",
    "SodiumError",
    "SodiumServerEndpoint",
    "SodiumServerFactory",
    "SodiumServerProtocol",
    "Timeouts",
    "TooManyRequests",
    "UnexpectedPDU",
    "VersionMismatch",
    "WindowExceeded",
    "connect",
    "parse_key",
]
