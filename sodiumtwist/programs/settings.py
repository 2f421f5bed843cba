"""
What each command and service is asked for: its options, checked, with what was read from files.

The classes that parse the command lines make these settings. Nothing changes them afterwards.
"""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

# For type checkers alone: commands that connect nowhere load none of it.
if TYPE_CHECKING:
    from twisted.cred.checkers import ICredentialsChecker

    from ..admission.authorized import AuthorizedKeysFile
    from ..admission.limits import Limits
    from ..admission.replays import IReplayMemory
    from ..admission.watched import WatchedFile
    from ..contacts.urls import ServerURL
    from ..core.connection import Salts
    from ..core.keepalive import Timeouts
    from ..core.keys import KeyPair
    from ..core.version import RekeyAfter
    from ..tunnel import TunnelLimits
    from .service_user import ServiceUser

#: Seconds that connecting may take, until the server has let the client in, when nothing else is said.
CONNECT_TIMEOUT = 15.0

# What repr() shows may get into a log: so no passphrase, and no endpoint string either. People write secrets into
# those, and only later is that refused.


@dataclass(frozen=True)
class Credentials:
    """
    Who a client says it is.

    :ivar user: the login.
    :ivar passphrase: the passphrase; the default one when none was given.
    :ivar default_passphrase: whether no passphrase was given.
    :ivar pair: the client's key pair; ``None`` for a fresh one.
    :ivar identity: the path of the file that the pair was read from; ``None`` when it was in none.
    """

    user: str
    passphrase: str = field(repr=False)
    default_passphrase: bool
    pair: KeyPair | None
    identity: str | None = None


@dataclass(frozen=True)
class ConnectSettings:
    """
    What a command needs that connects to a server.

    :ivar endpoint: the endpoint string of the server, for clients.
    :ivar server_key: the server's public key, 32 bytes.
    :ivar credentials: who the client says it is.
    :ivar version: of the protocol.
    :ivar known_as: the name by which the server is known here; ``None`` for another one.
    :ivar timeout: seconds for connecting, until the server has let us in.
    """

    endpoint: str = field(repr=False)
    server_key: bytes
    credentials: Credentials
    version: int
    known_as: str | None = field(default=None, kw_only=True)
    timeout: float = field(default=CONNECT_TIMEOUT, kw_only=True)


@dataclass(frozen=True, kw_only=True)
class FilesSettings(ConnectSettings):
    """
    What ``sodiumtwist send`` and ``sodiumtwist get`` have in common.

    :ivar resume: whether what is there already may be used.
    :ivar dry_run: whether to show alone what would go.
    :ivar quiet: whether to show no progress.
    :ivar verbose: whether to print a line for each file.
    :ivar json: whether to print all as JSON.
    """

    resume: bool = True
    dry_run: bool = False
    quiet: bool = False
    verbose: bool = False
    json: bool = False


@dataclass(frozen=True)
class SendSettings(FilesSettings):
    """
    What ``sodiumtwist send`` is to do.

    :ivar paths: of files and folders; ``-`` alone for standard input.
    :ivar name: what the only one is to be called; ``None`` for its own name.
    """

    paths: tuple[str, ...]
    name: str | None = None

    def name_of(self, path: str) -> str:
        """
        Tell what a file or folder is to be called, however it is named on the command line.

        :return: empty for standard input, and for the root of all.
        :raises OSError: when the current directory is gone.
        """
        if self.name is not None:
            return self.name
        return "" if path == "-" else os.path.basename(os.path.abspath(path))


@dataclass(frozen=True)
class GetSettings(FilesSettings):
    """
    What ``sodiumtwist get`` is to do.

    :ivar remotes: paths of files and folders of the server; an empty one is all of them.
    :ivar into: the path of the folder that they go to.
    :ivar existing: what becomes of a file that is there: ``rename``, ``replace`` or ``refuse``.
    """

    remotes: tuple[bytes, ...]
    into: str
    existing: str = "rename"


@dataclass(frozen=True)
class ListSettings(ConnectSettings):
    """
    What ``sodiumtwist list`` is to do.

    :ivar remote: the path of a folder or file of the server; empty for all.
    :ivar json: whether to print all as JSON.
    """

    remote: bytes
    json: bool = False


@dataclass(frozen=True)
class PingSettings(ConnectSettings):
    """
    What ``sodiumtwist ping`` is to do.

    :ivar count: how many PINGs to send.
    :ivar interval: the seconds between two PINGs.
    """

    count: int
    interval: float


@dataclass(frozen=True)
class JoinSettings:
    """
    What ``sodiumtwist join`` is to do.

    :ivar url: of the server, with the secret of an invitation.
    :ivar login: whom the invitation is for.
    :ivar secret: of the invitation, 16 bytes.
    :ivar name: what the server is to be called.
    :ivar timeout: seconds for connecting, until the server has let us in.
    """

    url: ServerURL
    login: str
    secret: bytes = field(repr=False)
    name: str
    timeout: float = CONNECT_TIMEOUT


@dataclass(frozen=True)
class PasswdSettings:
    """
    What ``sodiumtwist passwd`` is to do.

    :ivar path: the path of the file of logins.
    :ivar login: the login to add, change, take out or verify.
    :ivar delete: whether to take the login out.
    :ivar verify: whether to tell if the passphrase is right, and change nothing.
    :ivar passphrase_file: the path of a file with the passphrase; ``None`` to ask for it.
    :ivar mark: whether to mark the login for version 2 of the protocol alone.
    """

    path: str
    login: str
    delete: bool
    verify: bool
    passphrase_file: str | None
    mark: bool = False


@dataclass(frozen=True)
class InviteSettings:
    """
    What ``sodiumtwist invite`` is to do.

    :ivar login: whom to invite.
    :ivar server: the URL of the server, for that login.
    :ivar keys: the path of the list of clients' keys.
    :ivar users: the path of the file of logins; ``None`` where the keys decide alone.
    :ivar valid: for how many seconds.
    """

    login: str
    server: ServerURL
    keys: str
    users: str | None
    valid: int


@dataclass(frozen=True)
class StoreSettings:
    """
    What several servers with one key remember together.

    :ivar url: of the server that keeps it.
    :ivar local: whether each remembers by itself while that is down; if not, no login is checked then.
    :ivar seconds: within which it has to answer.
    :ivar replays: how many handshakes it remembers.
    """

    url: str = field(repr=False)
    local: bool
    seconds: float
    replays: int


@dataclass(frozen=True)
class ServerSettings:
    """
    What ``twistd sodium`` is to do.

    :ivar endpoints: the endpoint strings to listen on.
    :ivar pair: the server's key pair.
    :ivar fresh_pair: whether the pair was made for this run.
    :ivar user: the login that clients must give, unless ``other_logins``.
    :ivar default_passphrase: whether the passphrase that clients must give is the default one.
    :ivar other_logins: whether ``--auth`` has named checkers, which know logins of their own.
    :ivar checker: decides on logins; ``None`` where the clients' keys decide alone.
    :ivar authorized_keys: the clients' keys that get in; ``None`` for any.
    :ivar replays: remembers the handshakes that were accepted.
    :ivar salts: remembers the first flights of clients of version 2; ``None`` for a memory of this run.
    :ivar limits: how many connections, and how many tries.
    :ivar rekey: when to send with a new key.
    :ivar timeouts: the deadlines of each connection.
    :ivar message: the line that clients get.
    :ivar file: the path that each upload is written to; ``None`` when there is none.
    :ivar directory: the directory in which each upload becomes a file; ``None`` when there is none.
    :ivar existing: what becomes of a file in it whose name is taken: ``rename``, ``replace`` or ``refuse``.
    :ivar quota: how many bytes the files of one login in it may have; ``None`` for no limit.
    :ivar discard: whether uploads are acknowledged and kept nowhere.
    :ivar sync: whether an upload is on the disk before it is confirmed.
    :ivar max_upload: how many bytes an upload may have.
    :ivar min_free: how many bytes of their file system uploads leave free; ``None`` for the default.
    :ivar on_stored: the words of the command to run for each stored file; ``None`` for none.
    :ivar on_stored_seconds: how long that may take for one file.
    :ivar share: the directory that clients may read; ``None`` when there is none.
    :ivar share_per_login: whether each login may read its own folder in it, and nothing else.
    :ivar partial_age: how many seconds an unfinished file of a login is kept, at least.
    :ivar forward: the endpoint string that streams are handed to; ``None`` to receive files.
    :ivar warning: a line for the log about a file that was read; ``None`` when all is well.
    :ivar versions: of the protocol, which clients may speak.
    :ivar tolerance: how many seconds the clock of a client of version 2 may be off; 0 for any.
    :ivar drain_timeout: how many seconds clients get to finish when it is stopped.
    :ivar store: what several servers remember together; ``None`` where this one is alone.
    :ivar files: who may come in, and are read again when they change.
    :ivar runs_as: as whom the service runs in the end; ``None`` for who starts it.
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
    salts: Salts | None
    limits: Limits
    rekey: RekeyAfter
    timeouts: Timeouts
    message: str
    file: str | None
    directory: str | None
    existing: str
    quota: int | None
    discard: bool
    sync: bool
    max_upload: int
    min_free: int | None
    on_stored: tuple[str, ...] | None = field(repr=False)
    on_stored_seconds: float
    share: str | None
    share_per_login: bool
    partial_age: float
    forward: str | None = field(repr=False)
    warning: str | None
    versions: tuple[int, ...]
    tolerance: float
    drain_timeout: float
    store: StoreSettings | None = None
    files: tuple[WatchedFile[Any], ...] = ()
    runs_as: ServiceUser | None = None

    @property
    def scope(self) -> str:
        """Whose memory it is that several servers share: that of all with this key, and of no others."""
        return self.pair.public.hex()[:16]


@dataclass(frozen=True, kw_only=True)
class TunnelSettings(ConnectSettings):
    """
    What ``twistd sodium-tunnel`` is to do.

    :ivar listen: the endpoint string to listen on for local programs.
    :ivar limits: how many connections.
    :ivar warning: a line for the log about a file that was read; ``None`` when all is well.
    :ivar timeouts: the deadlines of each connection.
    :ivar drain_timeout: how many seconds connections get to finish when it is stopped.
    :ivar runs_as: as whom the service runs in the end; ``None`` for who starts it.
    """

    listen: str = field(repr=False)
    limits: TunnelLimits
    warning: str | None
    timeouts: Timeouts
    drain_timeout: float
    runs_as: ServiceUser | None
