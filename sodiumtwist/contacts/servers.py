"""
Servers by name, in the file ``servers.toml`` of the user's configuration folder::

    [home]
    endpoint = "example.org:5555"
    server-key = "7b4e909bbe7ffe44c465a220037d608ee35897d31ef972f07f74892cb0f73f13"
    login = "ann"
    identity = "/home/ann/.local/share/sodiumtwist/home.key"
    protocol = 2

``passphrase-file`` may stand beside ``identity`` or in its place. People may write to the file; comments stay.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import platformdirs
import tomlkit

from ..core.errors import InvalidKey, LocalProtocolError
from ..core.keys import parse_key

#: What the folders of configuration and data are called.
PROGRAM = "sodiumtwist"


class ServerKeyChanged(InvalidKey):
    """A server that is known is said to have another key."""


@dataclass(frozen=True)
class KnownServer:
    """
    A server that has a name.

    :ivar name: what it is called.
    :ivar endpoint: where it is: HOST:PORT, or a client's endpoint string.
    :ivar server_key: its public key, 32 bytes.
    :ivar login: ours there.
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


def servers_path() -> str:
    """The path of ``servers.toml``."""
    return os.path.join(platformdirs.user_config_dir(PROGRAM), "servers.toml")


def identities_folder() -> str:
    """The path of the folder for the keys that ``sodiumtwist join`` makes."""
    return os.path.join(platformdirs.user_data_dir(PROGRAM), "identities")


def read_servers() -> dict[str, KnownServer]:
    """
    Read the servers by name, in the order of the file; none where there is no file.

    :raises OSError: when the file can't be read.
    :raises LocalProtocolError: when it is not as it should be.
    """
    try:
        with open(servers_path(), encoding="utf-8") as file:
            tables: Mapping[str, Any] = tomlkit.load(file).unwrap()
    except (FileNotFoundError, NotADirectoryError):
        return {}
    return {name: _server(name, table) for name, table in tables.items()}


def _server(name: str, table: Mapping[str, Any]) -> KnownServer:
    return KnownServer(
        name,
        table["endpoint"],
        parse_key(table["server-key"], "server's public key"),
        table.get("login", ""),
        table.get("identity"),
        table.get("passphrase-file"),
        table.get("protocol", 2),
    )


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
    if name is None or name not in servers:
        raise LocalProtocolError(f"no server is known by the name {name!r}; known are {', '.join(servers)}")
    return servers[name]


def add_server(server: KnownServer) -> None:
    """
    Write a server into the file.

    :raises OSError: when it can't be written.
    :raises ServerKeyChanged: when the name, or the endpoint under another name, is known with another key.
    :raises LocalProtocolError: when the name is taken, or can't be one.
    """
    raise NotImplementedError


def forget_server(name: str) -> KnownServer:
    """
    Take a server out of the file.

    :return: what it was.
    :raises OSError: when the file can't be written.
    :raises LocalProtocolError: when there is no such server.
    """
    raise NotImplementedError


def check_known_key(endpoint: str, server_key: bytes) -> None:
    """
    Check that no server is known at an endpoint with another key.

    :raises ServerKeyChanged: when one is, with both fingerprints.
    """
    raise NotImplementedError
