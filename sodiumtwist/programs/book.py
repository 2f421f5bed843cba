"""
``sodiumtwist add``, ``sodiumtwist servers`` and ``sodiumtwist forget``: the servers that have a name.
"""

from __future__ import annotations

import json
import os
import shlex

from ..contacts.identities import delete_key
from ..contacts.servers import KnownServer, add_server, forget_server, read_servers
from ..describe import printable
from ..describe.fingerprints import fingerprint
from .output import print_error, print_line, print_text, tell


def add(server: KnownServer) -> None:
    """
    Keep a server by its name.

    :raises OSError: when it can't be written.
    :raises SodiumError: when the name is taken, and when the server is known with another key.
    """
    add_server(server)
    tell(f"added {server.name}: {server}, fingerprint {fingerprint(server.server_key)}")


def list_servers(as_json: bool) -> None:
    """
    Print the servers, a line each.

    :param as_json: whether to print objects.
    :raises OSError: when the file can't be read.
    :raises OutputLost: when they can't be printed.
    :raises LocalProtocolError: when the file is not as it should be.
    """
    servers = list(read_servers().values())
    if as_json:
        for server in servers:
            print_text(_as_json(server))
        return
    if not servers:
        print_error("no server is known by a name; sodiumtwist join and sodiumtwist add make them known")
    rows = [list(map(printable, _row(server))) for server in servers]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        print_line("  ".join(map(str.ljust, row, widths)).rstrip())


def _row(server: KnownServer) -> list[str]:
    files = [path for path in (server.identity, server.passphrase_file) if path]
    return [server.name, str(server), fingerprint(server.server_key), ", ".join(files)]


def _as_json(server: KnownServer) -> str:
    return json.dumps(
        {
            "event": "server",
            "name": server.name,
            "endpoint": server.endpoint,
            "login": server.login or None,
            "server_key": server.server_key.hex(),
            "fingerprint": fingerprint(server.server_key),
            "identity": server.identity,
            "passphrase_file": server.passphrase_file,
            "protocol": server.protocol,
        }
    )


def forget(name: str, delete: bool) -> None:
    """
    Forget a server.

    :param delete: whether to delete its key, too.
    :raises OSError: when a file can't be written, or the key not be deleted.
    :raises LocalProtocolError: when there is no such server, and when the file of servers is not as it should be.
    """
    server = forget_server(name)
    tell(f"forgot {name}: {server}")
    path = server.identity
    if path is None:
        return
    others = [other.name for other in read_servers().values() if other.identity == path]
    if others:
        tell(f"its key stays, for {others[0]} has the same: {path}")
    elif not os.path.lexists(path):
        tell(f"its key is gone already: {path}")
    elif not delete:
        tell(f"its key stays: {path}; to delete it: rm {shlex.quote(path)}")
    elif delete_key(path):
        tell(f"its key is deleted: {path}")
    else:
        tell(f"its key stays, for sodiumtwist join has not made it: {path}")
