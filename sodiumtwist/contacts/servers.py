"""
Servers by name, in the file ``servers.toml`` of the user's configuration folder::

    [home]
    endpoint = "example.org:5555"
    server-key = "7b4e909bbe7ffe44c465a220037d608ee35897d31ef972f07f74892cb0f73f13"
    login = "ann"
    identity = "/home/ann/.local/share/sodiumtwist/identities/home.key"
    protocol = 2

``passphrase-file`` may stand beside ``identity`` or in its place. Of all, only ``endpoint`` and ``server-key`` must be
there. People may write to the file; comments stay. ``~`` is the user's home, and other paths are relative to the folder
of the file.
"""

from __future__ import annotations

import ipaddress
import os
import re
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from typing import Any

from ..core.credentials import LOGIN_SIZE, encode_text
from ..core.errors import InvalidKey, LocalProtocolError, SodiumError
from ..core.keys import KEY_SIZE, check_server_key, parse_key
from ..core.version import VERSIONS
from ..describe.fingerprints import fingerprint
from .addresses import ENDPOINT_TYPES, take_apart
from .servers_file import change_text, parse, place_of, read_text, with_table, without_table
from .urls import ServerURL, is_url

#: What the folders of configuration and data are called.
PROGRAM = "sodiumtwist"

#: How many names an error lists.
NAMES_LISTED = 10

#: How many characters a name has at most.
NAME_SIZE = 64

_NAME = re.compile(rf"[A-Za-z0-9][A-Za-z0-9._-]{{0,{NAME_SIZE - 1}}}")
_KEY = re.compile(rf"[0-9A-Fa-f]{{{2 * KEY_SIZE}}}")

#: The keys of a table, and of what kind their values are.
_KINDS: Mapping[str, type] = {
    "endpoint": str,
    "server-key": str,
    "login": str,
    "identity": str,
    "passphrase-file": str,
    "protocol": int,
}
_WORDS = {str: "a text in quotes", int: "a number"}


class ServerKeyChanged(InvalidKey):
    """A server that is known is said to have another key."""


@dataclass(frozen=True)
class KnownServer:
    """
    A server that has a name.

    :ivar name: what it is called; empty for one without a name.
    :ivar endpoint: where it is: HOST:PORT, or a client's endpoint string.
    :ivar server_key: its public key, 32 bytes.
    :ivar login: ours there; empty where it is not said.
    :ivar identity: the path of the file with our private key; ``None`` for a fresh key.
    :ivar passphrase_file: the path of the file with our passphrase; ``None`` when there is none.
    :ivar protocol: the version of the protocol.
    """

    name: str
    endpoint: str
    server_key: bytes
    login: str = ""
    identity: str | None = None
    passphrase_file: str | None = None
    protocol: int = 2

    def __str__(self) -> str:
        return f"{self.login}@{self.endpoint}" if self.login else self.endpoint

    @classmethod
    def from_url(
        cls,
        name: str,
        url: ServerURL,
        identity: str | None = None,
        passphrase_file: str | None = None,
        protocol: int = 2,
    ) -> KnownServer:
        """
        Make it of a URL.

        :param name: what it is called; empty for one without a name.
        :param url: its secret is not kept.
        """
        return cls(name, url.endpoint, url.server_key, url.login or "", identity, passphrase_file, protocol)


def servers_path() -> str:
    """
    Give the path of ``servers.toml``.

    :raises LocalProtocolError: when the user has no home.
    """
    # Here, as below: commands that know all by their options do without it.
    import platformdirs

    return os.path.join(_folder(platformdirs.user_config_dir, "XDG_CONFIG_HOME"), "servers.toml")


def identities_folder() -> str:
    """
    Give the path of the folder for the keys that ``sodiumtwist join`` makes.

    :raises LocalProtocolError: when the user has no home.
    """
    import platformdirs

    return os.path.join(_folder(platformdirs.user_data_dir, "XDG_DATA_HOME"), "identities")


def _folder(find: Callable[[str], str], variable: str) -> str:
    try:
        path = find(PROGRAM)
    # Some releases raise for a user without a home. Others give a path that begins with "~", as they find it.
    except RuntimeError:
        path = ""
    if not os.path.isabs(path):
        raise LocalProtocolError(f"the user has no folder for what sodiumtwist keeps; set $HOME, or ${variable}")
    return path


def check_name(name: str) -> str:
    """
    Check that a server can be called so.

    :return: the name.
    :raises LocalProtocolError: when it can't.
    """
    if not _NAME.fullmatch(name):
        raise LocalProtocolError(
            f"a server can't be called {name!r}: its name is 1 to {NAME_SIZE} letters, digits, dots, hyphens and "
            "underscores, and begins with a letter or digit"
        )
    if _KEY.fullmatch(name):
        raise LocalProtocolError("a server can't be called by 64 hex digits, which are taken for a key")
    if name.lower() in ENDPOINT_TYPES:
        raise LocalProtocolError(f"a server can't be called {name}: endpoint strings begin so; choose another name")
    return name


def read_servers() -> dict[str, KnownServer]:
    """
    Read the servers by name, in the order of the file; none where there is no file.

    :raises OSError: when the file can't be read.
    :raises LocalProtocolError: when it is not as it should be, with its line; and when others can change it.
    """
    try:
        path = servers_path()
    # Who has no home knows no servers.
    except LocalProtocolError:
        return {}
    return _read(path, read_text(path))


def _read(path: str, text: str) -> dict[str, KnownServer]:
    return {name: _server(path, text, name, table) for name, table in parse(path, text).items()}


def _server(path: str, text: str, name: str, table: Any) -> KnownServer:
    """
    Make a server of its table.

    :raises LocalProtocolError: when something in it is wrong.
    """
    key = ""
    try:
        if not isinstance(table, dict):
            raise LocalProtocolError(f"{name!r} stands in no table; each server begins with a line [NAME]")
        check_name(name)
        for key, value in table.items():
            kind = _KINDS.get(key)
            if kind is None:
                quote = ", and a NAME with a dot stands in quotes" if isinstance(value, dict) else ""
                raise LocalProtocolError(f"there is no {key!r}, but {', '.join(_KINDS)}{quote}")
            # True is an int as well.
            if type(value) is not kind or value == "":
                raise LocalProtocolError(f"{key} takes {_WORDS[kind]}")
        key = ""
        for key in ("endpoint", "server-key"):
            if key not in table:
                raise LocalProtocolError(f"{name} lacks {key}")
        key = "endpoint"
        if is_url(table[key]):
            raise LocalProtocolError(
                f"{key} takes HOST:PORT or an endpoint string; sodiumtwist add NAME 'URL' takes URLs"
            )
        key = "server-key"
        server_key = parse_key(table[key], key)
        key = "login"
        login = table.get(key, "")
        encode_text(key, login, LOGIN_SIZE)
        key = "protocol"
        protocol = table.get(key, VERSIONS[-1])
        if protocol not in VERSIONS:
            raise LocalProtocolError(f"protocol takes {' or '.join(map(str, VERSIONS))}")
        folder = os.path.dirname(path)
        files = {
            key: os.path.join(folder, os.path.expanduser(table[key]))
            for key in ("identity", "passphrase-file")
            if key in table
        }
    except SodiumError as error:
        raise LocalProtocolError(f"{path}: {place_of(text, name, key)}{error}") from None
    return KnownServer(
        name, table["endpoint"], server_key, login, files.get("identity"), files.get("passphrase-file"), protocol
    )


def _table(server: KnownServer) -> dict[str, Any]:
    values = {
        "endpoint": server.endpoint,
        "server-key": server.server_key.hex(),
        "login": server.login,
        "identity": server.identity,
        "passphrase-file": server.passphrase_file,
        "protocol": server.protocol,
    }
    return {key: value for key, value in values.items() if value}


def name_for(host: str, servers: Collection[str]) -> str:
    """
    Choose a name for a server.

    :param host: its name or IP address.
    :param servers: the names that are taken.
    """
    first = host if host.replace(".", "").isdigit() else host.partition(".")[0]
    try:
        name = check_name(first)
    except LocalProtocolError:
        name = "server"
    number, chosen = 1, name
    while chosen in servers:
        number += 1
        chosen = f"{name[: NAME_SIZE - 4]}-{number}"
    return chosen


def find_server(name: str | None) -> KnownServer:
    """
    Find a server.

    :param name: its name; ``None`` for the only one that is known.
    :raises OSError: when the file can't be read.
    :raises LocalProtocolError: when there is no such server, or more than one for ``None``. The error lists the names.
    """
    servers = read_servers()
    if name is None and len(servers) == 1:
        return next(iter(servers.values()))
    if name is None and servers:
        raise LocalProtocolError(f"several servers are known, so name one: {_listed(servers)}")
    if name is None or name not in servers:
        raise _unknown(name, servers)
    return servers[name]


def servers_at(endpoint: str) -> list[KnownServer]:
    """
    Find the servers that are known at an endpoint: by one name for each login of ours, say.

    :param endpoint: HOST:PORT, or a client's endpoint string.
    :raises OSError: when the file can't be read.
    :raises LocalProtocolError: when it is not as it should be.
    """
    place = _place(endpoint)
    return [server for server in read_servers().values() if _place(server.endpoint) == place]


def _unknown(name: str | None, servers: Mapping[str, KnownServer]) -> LocalProtocolError:
    if not servers:
        return LocalProtocolError(
            "no server is known by a name; with an invitation run: sodiumtwist join 'URL'; with the URL of a server: "
            "sodiumtwist add NAME 'URL'"
        )
    return LocalProtocolError(f"no server is known by the name {name!r}, but {_listed(servers)}")


def _listed(servers: Mapping[str, KnownServer]) -> str:
    names = list(servers)
    more = len(names) - NAMES_LISTED
    return ", ".join(names[:NAMES_LISTED]) + (f" and {more} more" if more > 0 else "")


def add_server(server: KnownServer, *, try_only: bool = False) -> None:
    """
    Write a server into the file. One that stands there already, just so, is left as it is.

    :param try_only: whether to find out alone that it can be done.
    :raises OSError: when it can't be written.
    :raises ServerKeyChanged: when the endpoint is known with another key, under whatever name.
    :raises LocalProtocolError: when the name is taken, or can't be one; and when the file is not as it should be.
    """
    check_name(server.name)
    check_server_key(server.server_key)
    encode_text("login", server.login, LOGIN_SIZE)
    path = servers_path()

    def add(text: str) -> str:
        servers = _read(path, text)
        known = servers.get(server.name)
        if known == server:
            return text
        _check_key(servers, server.endpoint, server.server_key)
        if known is not None:
            raise _taken(known, server)
        return with_table(text, server.name, _table(server))

    change_text(path, add, try_only=try_only)


def _taken(known: KnownServer, server: KnownServer) -> LocalProtocolError:
    if _place(known.endpoint) == _place(server.endpoint) or known.server_key == server.server_key:
        return LocalProtocolError(
            f"{known.name} is known, as {known}; to change it run first: sodiumtwist forget {known.name}"
        )
    return LocalProtocolError(f"the name {known.name} is taken, by {known}; choose another one")


def forget_server(name: str) -> KnownServer:
    """
    Take a server out of the file.

    :return: what it was.
    :raises OSError: when the file can't be written.
    :raises LocalProtocolError: when there is no such server, and when the file is not as it should be.
    """
    path = servers_path()
    # To change a file that is missing would make it.
    servers = read_servers()

    def forget(text: str) -> str:
        nonlocal servers
        servers = _read(path, text)
        if name not in servers:
            raise _unknown(name, servers)
        return without_table(path, text, name)

    if name not in servers:
        raise _unknown(name, servers)
    change_text(path, forget)
    return servers[name]


def check_known_key(endpoint: str, server_key: bytes) -> None:
    """
    Check that no server is known at an endpoint with another key.

    :param endpoint: HOST:PORT, or a client's endpoint string.
    :raises OSError: when the file of servers can't be read.
    :raises ServerKeyChanged: when one is, with both fingerprints.
    :raises LocalProtocolError: when the file is not as it should be.
    """
    _check_key(read_servers(), endpoint, server_key)


def _check_key(servers: Mapping[str, KnownServer], endpoint: str, server_key: bytes) -> None:
    place = _place(endpoint)
    for server in servers.values():
        if server.server_key != server_key and _place(server.endpoint) == place:
            raise ServerKeyChanged(
                f"the server at {server.endpoint} is known as {server.name} with another key: fingerprint "
                f"{fingerprint(server.server_key)} is kept, {fingerprint(server_key)} was given; somebody may stand in "
                f"for it, so ask its owner; if the key was changed, run: sodiumtwist forget {server.name}"
            )


def _place(endpoint: str) -> object:
    """Bring an endpoint to a form by which two can be compared, however they are written."""
    kind, unnamed, pairs = take_apart(endpoint)
    if kind.lower() not in ("tcp", "tls", "ssl"):
        return endpoint
    named, rest = dict(pairs), iter(unnamed)
    return _host(named.get("host") or next(rest, "")), named.get("port") or next(rest, "")


def _host(host: str) -> str:
    try:
        return str(ipaddress.ip_address(host))
    except ValueError:
        return host.lower().rstrip(".")
