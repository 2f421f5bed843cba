"""
Encrypted TCP for Twisted, with a server key, a login and a passphrase instead of certificates.

Importing this package installs no reactor.
"""

from .auth import AnyLogin, SingleLogin
from .authorized import AuthorizedKeys, AuthorizedKeysFile
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
    ReplayDetected,
    SodiumError,
    TooManyRequests,
    UnexpectedPDU,
    VersionMismatch,
    WindowExceeded,
)
from .core.keepalive import Timeouts
from .core.keys import KeyPair, parse_key
from .core.secretstream import RekeyAfter
from .endpoints import SodiumClientEndpoint, SodiumServerEndpoint, connect
from .factories import SodiumClientFactory, SodiumServerFactory
from .interfaces import ISodiumAvatar, ISodiumTransport, Peer
from .limits import Limits
from .protocol import SodiumClientProtocol, SodiumServerProtocol
from .replays import IReplayMemory, ReplayDatabase, ReplayMemory
from .requests import RequestClient

__version__ = "0.1.0"

__all__ = [
    "AnyLogin",
    "AuthenticationFailed",
    "AuthenticationTimeout",
    "AuthorizedKeys",
    "AuthorizedKeysFile",
    "connect",
    "DecryptionFailed",
    "InactivityTimeout",
    "InvalidKey",
    "IReplayMemory",
    "ISodiumAvatar",
    "ISodiumTransport",
    "KeyPair",
    "Limits",
    "LocalProtocolError",
    "MalformedPDU",
    "NonceMismatch",
    "parse_key",
    "PayloadTooLarge",
    "Peer",
    "PongTimeout",
    "RekeyAfter",
    "RemoteProtocolError",
    "ReplayDatabase",
    "ReplayDetected",
    "ReplayMemory",
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
]
