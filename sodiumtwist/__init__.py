"""
Encrypted TCP for Twisted, with a server key, a login and a passphrase instead of certificates.

Importing this package installs no reactor, and loads nothing before a name of it is used.
"""

from . import lazy_names

TYPE_CHECKING = False  # type checkers know better; to import it takes time
if TYPE_CHECKING:
    from .admission.authorized import AuthorizedKeys as AuthorizedKeys, AuthorizedKeysFile as AuthorizedKeysFile
    from .admission.checkers import AnyLogin as AnyLogin, SingleLogin as SingleLogin
    from .admission.limits import Limits as Limits
    from .admission.replay_database import ReplayDatabase as ReplayDatabase
    from .admission.replays import IReplayMemory as IReplayMemory, ReplayMemory as ReplayMemory
    from .core.errors import (
        AuthenticationFailed as AuthenticationFailed,
        AuthenticationTimeout as AuthenticationTimeout,
        ClosedByPeer as ClosedByPeer,
        ClosedHere as ClosedHere,
        ClosingTimeout as ClosingTimeout,
        ConnectionCut as ConnectionCut,
        DecryptionFailed as DecryptionFailed,
        InactivityTimeout as InactivityTimeout,
        InvalidKey as InvalidKey,
        LocalProtocolError as LocalProtocolError,
        MalformedPDU as MalformedPDU,
        NonceMismatch as NonceMismatch,
        NotDone as NotDone,
        NotLetIn as NotLetIn,
        PayloadTooLarge as PayloadTooLarge,
        PeerAborted as PeerAborted,
        PongTimeout as PongTimeout,
        RemoteProtocolError as RemoteProtocolError,
        ReplayDetected as ReplayDetected,
        RequestError as RequestError,
        RequestFailed as RequestFailed,
        RequestTimeout as RequestTimeout,
        ServerUnavailable as ServerUnavailable,
        SodiumError as SodiumError,
        TimedOut as TimedOut,
        TooManyFailures as TooManyFailures,
        TooManyRequests as TooManyRequests,
        UnexpectedPDU as UnexpectedPDU,
        UnsupportedProtocol as UnsupportedProtocol,
        VersionMismatch as VersionMismatch,
        WindowExceeded as WindowExceeded,
    )
    from .core.keepalive import Timeouts as Timeouts
    from .core.keys import KeyPair as KeyPair, parse_key as parse_key
    from .core.v2.incoming import Bounds as Bounds
    from .core.v2.pdus import Code as Code
    from .core.version import RekeyAfter as RekeyAfter
    from .endpoints.connect import connect as connect
    from .endpoints.reconnecting import ReconnectingClient as ReconnectingClient
    from .endpoints.wrappers import (
        SodiumClientEndpoint as SodiumClientEndpoint,
        SodiumServerEndpoint as SodiumServerEndpoint,
    )
    from .interfaces import (
        IDrainable as IDrainable,
        ISodiumAvatar as ISodiumAvatar,
        ISodiumTransport as ISodiumTransport,
        Peer as Peer,
    )
    from .protocol.client import SodiumClientProtocol as SodiumClientProtocol
    from .protocol.factories import (
        SodiumClientFactory as SodiumClientFactory,
        SodiumServerFactory as SodiumServerFactory,
    )
    from .protocol.requests import RequestClient as RequestClient
    from .protocol.server import SodiumServerProtocol as SodiumServerProtocol

__version__ = "0.1.0"

del TYPE_CHECKING

_WHERE = {
    "AnyLogin": "admission.checkers",
    "AuthenticationFailed": "core.errors",
    "AuthenticationTimeout": "core.errors",
    "AuthorizedKeys": "admission.authorized",
    "AuthorizedKeysFile": "admission.authorized",
    "Bounds": "core.v2.incoming",
    "ClosedByPeer": "core.errors",
    "ClosedHere": "core.errors",
    "ClosingTimeout": "core.errors",
    "Code": "core.v2.pdus",
    "connect": "endpoints.connect",
    "ConnectionCut": "core.errors",
    "DecryptionFailed": "core.errors",
    "IDrainable": "interfaces",
    "InactivityTimeout": "core.errors",
    "InvalidKey": "core.errors",
    "IReplayMemory": "admission.replays",
    "ISodiumAvatar": "interfaces",
    "ISodiumTransport": "interfaces",
    "KeyPair": "core.keys",
    "Limits": "admission.limits",
    "LocalProtocolError": "core.errors",
    "MalformedPDU": "core.errors",
    "NonceMismatch": "core.errors",
    "NotDone": "core.errors",
    "NotLetIn": "core.errors",
    "parse_key": "core.keys",
    "PayloadTooLarge": "core.errors",
    "Peer": "interfaces",
    "PeerAborted": "core.errors",
    "PongTimeout": "core.errors",
    "ReconnectingClient": "endpoints.reconnecting",
    "RekeyAfter": "core.version",
    "RemoteProtocolError": "core.errors",
    "ReplayDatabase": "admission.replay_database",
    "ReplayDetected": "core.errors",
    "ReplayMemory": "admission.replays",
    "RequestClient": "protocol.requests",
    "RequestError": "core.errors",
    "RequestFailed": "core.errors",
    "RequestTimeout": "core.errors",
    "ServerUnavailable": "core.errors",
    "SingleLogin": "admission.checkers",
    "SodiumClientEndpoint": "endpoints.wrappers",
    "SodiumClientFactory": "protocol.factories",
    "SodiumClientProtocol": "protocol.client",
    "SodiumError": "core.errors",
    "SodiumServerEndpoint": "endpoints.wrappers",
    "SodiumServerFactory": "protocol.factories",
    "SodiumServerProtocol": "protocol.server",
    "TimedOut": "core.errors",
    "Timeouts": "core.keepalive",
    "TooManyFailures": "core.errors",
    "TooManyRequests": "core.errors",
    "UnexpectedPDU": "core.errors",
    "UnsupportedProtocol": "core.errors",
    "VersionMismatch": "core.errors",
    "WindowExceeded": "core.errors",
}

__all__ = list(_WHERE)
__getattr__, __dir__ = lazy_names.look_up_later(__name__, _WHERE)
