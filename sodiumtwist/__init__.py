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
    UnexpectedPDU,
    VersionMismatch,
    WindowExceeded,
)
from .core.keepalive import Timeouts
from .core.keys import KeyPair, parse_key
from .protocol import SodiumClientFactory, SodiumClientProtocol, SodiumServerFactory, SodiumServerProtocol

__version__ = "0.1.0"

__all__ = [
    "AuthenticationFailed",
    "AuthenticationTimeout",
    "DecryptionFailed",
    "InactivityTimeout",
    "InvalidKey",
    "KeyPair",
    "LocalProtocolError",
    "MalformedPDU",
    "NonceMismatch",
    "PayloadTooLarge",
    "PongTimeout",
    "RemoteProtocolError",
    "SingleLogin",
    "SodiumClientFactory",
    "SodiumClientProtocol",
    "SodiumError",
    "SodiumServerFactory",
    "SodiumServerProtocol",
    "Timeouts",
    "UnexpectedPDU",
    "VersionMismatch",
    "WindowExceeded",
    "parse_key",
]
