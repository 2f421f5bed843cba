"""
What the command lines say, checked and read: the options of each command and service. Made by the classes that parse
them, and never changed after.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from twisted.cred.checkers import ICredentialsChecker

    from ..admission.authorized import AuthorizedKeysFile
    from ..admission.limits import Limits
    from ..admission.replays import IReplayMemory
    from ..core.keepalive import Timeouts
    from ..core.keys import KeyPair
    from ..core.version import RekeyAfter

# Endpoint strings are not shown either: people write secrets into them, which is refused only later.


@dataclass(frozen=True)
class Credentials:
    """
    As whom a client comes.

    :ivar user: its login.
    :ivar passphrase: the default one when none was given.
    :ivar default_passphrase: whether none was given.
    :ivar pair: its key pair; ``None`` for a fresh one.
    """

    user: str
    passphrase: str = field(repr=False)
    default_passphrase: bool
    pair: KeyPair | None


@dataclass(frozen=True)
class ConnectSettings:
    """
    Of the commands that connect to a server.

    :ivar endpoint: the server's, a client endpoint string.
    :ivar server_key: its public key, 32 bytes.
    """

    endpoint: str = field(repr=False)
    server_key: bytes
    credentials: Credentials


@dataclass(frozen=True)
class SendSettings(ConnectSettings):
    """
    Of ``sodiumtwist send``.

    :ivar path: of the file; ``-`` for standard input.
    :ivar quiet: whether to show no progress.
    :ivar json: whether to print the closing line as JSON.
    """

    path: str
    quiet: bool = False
    json: bool = False


@dataclass(frozen=True)
class PingSettings(ConnectSettings):
    """
    Of ``sodiumtwist ping``.

    :ivar count: how many PINGs to send.
    :ivar interval: seconds between two of them.
    """

    count: int
    interval: float


@dataclass(frozen=True)
class PasswdSettings:
    """
    Of ``sodiumtwist passwd``.

    :ivar path: of the file of logins.
    :ivar delete: whether to take the login out.
    :ivar verify: whether to tell if the passphrase is right.
    :ivar passphrase_file: has the passphrase; ``None`` to ask for it.
    """

    path: str
    login: str
    delete: bool
    verify: bool
    passphrase_file: str | None


@dataclass(frozen=True)
class ServerSettings:
    """
    Of ``twistd sodium``.

    :ivar endpoints: server endpoint strings to listen on.
    :ivar pair: the server's key pair.
    :ivar fresh_pair: whether it was made for this run.
    :ivar user: login that clients must give, unless ``other_logins``.
    :ivar default_passphrase: whether the passphrase that they must give is the default one.
    :ivar other_logins: whether ``--auth`` has named checkers, which know logins of their own.
    :ivar checker: decides on logins; ``None`` where the clients' keys decide alone.
    :ivar authorized_keys: the clients' keys that get in; ``None`` for any.
    :ivar message: the line that clients get.
    :ivar file: that uploads are written to, if any.
    :ivar directory: that uploads become files in, if any.
    :ivar forward: client endpoint string that streams are handed to; ``None`` to receive files.
    :ivar warning: of what was read, for the log.
    """

    endpoints: tuple[str, ...] = field(repr=False)
    pair: KeyPair
    fresh_pair: bool
    user: str
    default_passphrase: bool
    other_logins: bool
    checker: ICredentialsChecker | None
    authorized_keys: AuthorizedKeysFile | None
    replays: IReplayMemory
    limits: Limits
    rekey: RekeyAfter
    timeouts: Timeouts
    message: str
    file: str | None
    directory: str | None
    forward: str | None = field(repr=False)
    warning: str | None


@dataclass(frozen=True)
class TunnelSettings:
    """
    Of ``twistd sodium-tunnel``.

    :ivar listen: server endpoint string for local programs.
    :ivar to: client endpoint string of the server.
    :ivar server_key: the server's public key, 32 bytes.
    :ivar warning: of what was read, for the log.
    """

    listen: str = field(repr=False)
    to: str = field(repr=False)
    server_key: bytes
    credentials: Credentials
    warning: str | None
