"""
Which server a client talks to, and as whom: what the options, an argument, a URL and the servers that are known by
name say together.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, replace

from twisted.python import usage

from ..contacts.keyfiles import read_key_file, read_passphrase, read_server_key
from ..contacts.lookup import can_be_name, check_same_key, look_up, read_identity, read_kept_passphrase
from ..contacts.servers import KnownServer, check_known_key, find_server, servers_at
from ..core.errors import LocalProtocolError
from ..describe import describe_error
from .asking import Ask, choose_passphrase
from .options import (
    DEFAULT_LOGIN,
    DEFAULT_PROTOCOL,
    check_credentials,
    check_versions,
    connect_timeout,
    protocol_version,
)
from .settings import ConnectSettings, Credentials

#: Where a server is looked for when its key is given, and nothing else.
DEFAULT_CONNECT = "127.0.0.1:5555"


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


def read_server(
    options: usage.Options, argument: str | None = None, owners: Collection[int] = (), ask: Ask | None = None
) -> Asked:
    """
    Read what the options of :data:`~sodiumtwist.programs.options.SERVER_PARAMETERS`, and perhaps an argument, say about
    the server and the client. Files that they name are read.

    What an option says goes before what is known of the server.

    :param options: parsed.
    :param argument: which server an argument names, in the words of ``--to``; ``None`` when none does.
    :param owners: the numbers of users that files may belong to, beside root and the user of this process.
    :param ask: asks for the passphrase, where it is to be typed; ``None`` for the terminal.
    :raises UsageError: when no server, or more than one, is named, and for a version that there is not.
    :raises OSError: when a file can't be read.
    :raises SodiumError: when a key, a file, the login or the passphrase is wrong, for an invitation, and for a server
        with another key than it is known with.
    """
    version = None if options["protocol"] is None else protocol_version(options["protocol"])
    timeout = connect_timeout(options["timeout"])
    where, given_key = _where(options, argument), options["server-key"]
    warnings: list[str] = []
    server = _find(where, given_key, warnings)
    endpoint = server.endpoint if server is not None else where or DEFAULT_CONNECT
    if version is None:
        version = int(DEFAULT_PROTOCOL) if server is None else server.protocol
    identity = options["identity"]
    pair = read_identity(server, owners) if identity is None else read_key_file(identity, owners)
    # The factory checks these again. Here the mistake is told before the reactor is loaded and a file opened.
    if given_key is not None:
        key = read_server_key(given_key, "server's public key", pair, owners)
    else:
        assert server is not None
        key = server.server_key
    _check_known(server, endpoint, key, warnings)
    check_versions((version,))
    login = options["user"]
    if login is None:
        login = (server is not None and server.login) or DEFAULT_LOGIN
    given = _read_passphrase(options, server, owners, warnings)
    passphrase, default = choose_passphrase(given, pair is not None, login, endpoint, ask)
    check_credentials(login, passphrase, (version,))
    known_as = None if server is None else server.name or None
    if identity is None and server is not None:
        identity = server.identity
    us = Credentials(login, passphrase, default, pair, identity)
    settings = ConnectSettings(endpoint, key, us, version, known_as=known_as, timeout=timeout)
    return Asked(settings, where is None and given_key is None, tuple(dict.fromkeys(warnings)))


def _where(options: usage.Options, argument: str | None) -> str | None:
    to: str | None = options["to"]
    if argument is not None and to is not None:
        raise usage.UsageError(f"--to and {argument!r} both say which server; give one")
    where = argument if to is None else to
    if where == "":
        raise usage.UsageError("--to is empty; it takes a server's name, its URL, HOST:PORT or an endpoint string")
    # As other commands have it before a file.
    if where is not None and where.endswith(":") and can_be_name(where[:-1]):
        return where[:-1]
    return where


def _find(where: str | None, given_key: str | None, warnings: list[str]) -> KnownServer | None:
    """
    Find the server that is meant, by its name, its URL, or where a known one is.

    :return: ``None`` for one of which nothing is known, whose key was given.
    """
    if where is None and given_key is None:
        return _only_known()
    # A file of servers with mistakes is in the way of nobody who needs no name. Who needs one is told below.
    server = None if where is None else look_up(where, warnings.append)
    if server is not None:
        return server
    if given_key is None:
        return _known_at(where or "")
    # Who gives the key by a name or a URL has said where, too; --to may be another way there.
    server = look_up(given_key, warnings.append)
    return server if server is None or where is None else replace(server, endpoint=where)


def _check_known(server: KnownServer | None, endpoint: str, key: bytes, warnings: list[str]) -> None:
    """
    See that the key is the one that is known of the server.

    :raises ServerKeyChanged: when it is not.
    """
    if server is not None:
        check_same_key(server, key)
    if server is None or not server.name:
        try:
            check_known_key(endpoint, key)
        except (OSError, LocalProtocolError) as error:
            warnings.append(describe_error(error))


def _only_known() -> KnownServer:
    try:
        return find_server(None)
    except LocalProtocolError as error:
        raise usage.UsageError(f"{error}; or give --to and --server-key") from None


def _known_at(where: str) -> KnownServer:
    missing = "--server-key is missing: the server's public key, which the server logs when it starts"
    there = servers_at(where)
    if len(there) == 1:
        # How to get there is what was said: by TLS, say, or in another time.
        return replace(there[0], endpoint=where)
    if there:
        raise usage.UsageError(
            f"several servers are known there, so name one: {', '.join(server.name for server in there)}"
        )
    if can_be_name(where):
        try:
            find_server(where)
        except LocalProtocolError as error:
            raise usage.UsageError(f"{error}; if it is a host's name, {missing}") from None
    raise usage.UsageError(missing)


def _read_passphrase(
    options: usage.Options, server: KnownServer | None, owners: Collection[int], warnings: list[str]
) -> str | None:
    given, warning = read_passphrase(
        options["passphrase-file"], "--passphrase-file", options["passphrase"], "--passphrase", owners
    )
    if given is None:
        given, warning = read_kept_passphrase(server, owners)
    if warning is not None:
        warnings.append(warning)
    # Where our key is kept for a server, it is what we come in with.
    if given is None and server is not None and server.identity is not None and options["identity"] is None:
        return ""
    return given
