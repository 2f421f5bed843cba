"""
Which server a client talks to, and as whom: what the options, an argument, an URL and the servers that are known by
name say together.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, replace

from twisted.python import usage

from ..contacts.addresses import is_local_client
from ..contacts.fingerprints import fingerprint
from ..contacts.lookup import can_be_name, look_up, read_identity, read_kept_passphrase
from ..contacts.servers import KnownServer, ServerKeyChanged, find_server
from ..core.errors import LocalProtocolError
from ..core.keys import KeyPair
from ..keyfiles import read_key_file, read_passphrase, read_server_key
from .asking import ask_passphrase
from .options import (
    CLIENT_PARAMETERS,
    DEFAULT_LOGIN,
    DEFAULT_PASSPHRASE,
    DEFAULT_PROTOCOL,
    check_credentials,
    check_versions,
    protocol_version,
)
from .settings import ConnectSettings, Credentials

#: Where a server is looked for when its key is given, and nothing else.
DEFAULT_CONNECT = "127.0.0.1:5555"

#: What a client tells about the server, and about itself.
SERVER_PARAMETERS = [
    ["to", "t", None, "the server: NAME, URL, HOST:PORT or endpoint"],
    ["server-key", "k", None, "its public key, where --to has none"],
    *CLIENT_PARAMETERS,
]


@dataclass(frozen=True)
class Asked:
    """
    What a command line says about the server.

    :ivar settings: what is needed to connect.
    :ivar by_default: whether it names no server, and the only known one is taken.
    :ivar warnings: lines for people.
    """

    settings: ConnectSettings
    by_default: bool
    warnings: tuple[str, ...]


def read_server(options: usage.Options, argument: str | None = None, owners: Collection[int] = ()) -> Asked:
    """
    Read what the options of :data:`SERVER_PARAMETERS`, and perhaps an argument, say about the server and the client.
    Files that they name are read.

    What an option says goes before what is known of the server.

    :param options: parsed.
    :param argument: which server an argument names, in the words of ``--to``; ``None`` when none does.
    :param owners: the numbers of users that files may belong to, beside root and the user of this process.
    :raises UsageError: when no server, or more than one, is named, and for a version that there is not.
    :raises OSError: when a file can't be read.
    :raises SodiumError: when a key, a file, the login or the passphrase is wrong, for an invitation, and for a server
        with another key than it is known with.
    """
    version = None if options["protocol"] is None else protocol_version(options["protocol"])
    server = _named(options, argument)
    by_default = server is None and argument is None and options["to"] is None and options["server-key"] is None
    if by_default:
        server = _only_known()
    elif server is None and options["server-key"] is None:
        raise _no_key(argument or options["to"])
    where = argument if options["to"] is None else options["to"]
    endpoint = DEFAULT_CONNECT if where is None else where
    if server is not None:
        endpoint = server.endpoint
    if version is None:
        version = int(DEFAULT_PROTOCOL) if server is None else server.protocol
    identity = options["identity"]
    pair = read_identity(server, owners) if identity is None else read_key_file(identity, owners)
    # The factory checks these again. Here the mistake is told before the reactor is loaded and a file opened.
    key = _read_key(options, server, pair)
    check_versions((version,))
    login = options["user"] or (server is not None and server.login) or DEFAULT_LOGIN
    passphrase, warning = _read_passphrase(options, server, owners)
    default = False
    if passphrase is None:
        # The default one is no secret: it is for a server on this machine, and for no other.
        default = is_local_client(endpoint) and (pair is None or identity is not None)
        if default:
            passphrase = DEFAULT_PASSPHRASE
        else:
            passphrase = ask_passphrase(f"Passphrase of {login} at {endpoint}: ") if pair is None else ""
    check_credentials(login, passphrase, (version,))
    settings = ConnectSettings(
        endpoint,
        key,
        Credentials(login, passphrase, default, pair),
        version,
        known_as=None if server is None else server.name or None,
    )
    return Asked(settings, by_default, () if warning is None else (warning,))


def _named(options: usage.Options, argument: str | None) -> KnownServer | None:
    """
    Find the server that is named, by an URL or by a name that is known.

    :return: ``None`` when nothing is named, or an address alone.
    """
    to, key = options["to"], options["server-key"]
    if argument is not None and to is not None:
        raise usage.UsageError(f"--to and {ascii(argument)} both say which server; give one")
    where = argument if to is None else to
    if where is not None:
        if not where:
            raise usage.UsageError("--to is empty; it takes a server's name, its URL, HOST:PORT or an endpoint string")
        if server := look_up(where):
            return server
    if key is None:
        return None
    # Who has the key from a name or an URL has the place, too; --to may be another way there.
    server = look_up(key)
    return server if server is None or where is None else replace(server, endpoint=where)


def _only_known() -> KnownServer:
    try:
        return find_server(None)
    except LocalProtocolError as error:
        raise usage.UsageError(f"{error}; or give --to and --server-key") from None


def _no_key(where: str) -> usage.UsageError:
    missing = "--server-key is missing: the server's public key, which the server logs when it starts"
    if can_be_name(where):
        try:
            find_server(where)
        except LocalProtocolError as error:
            return usage.UsageError(f"{error}; if it is a host's name, {missing}")
    return usage.UsageError(missing)


def _read_key(options: usage.Options, server: KnownServer | None, pair: KeyPair | None) -> bytes:
    given = options["server-key"]
    if given is None:
        assert server is not None
        return server.server_key
    other = look_up(given)
    if other is None:
        key = read_server_key(given, "server's public key", pair)
    else:
        key = other.server_key
    # Which of both is right, nobody knows here.
    if server is not None and key != server.server_key:
        raise ServerKeyChanged(
            f"{server.name or 'the URL'} has another key than --server-key: fingerprint "
            f"{fingerprint(server.server_key)}, not {fingerprint(key)}"
        )
    return key


def _read_passphrase(
    options: usage.Options, server: KnownServer | None, owners: Collection[int]
) -> tuple[str | None, str | None]:
    given, warning = read_passphrase(
        options["passphrase-file"], "--passphrase-file", options["passphrase"], "--passphrase", owners
    )
    return read_kept_passphrase(server, owners) if given is None else (given, warning)
