"""
Servers that the user of a test knows by name.
"""

from __future__ import annotations

import os

from twisted.trial.unittest import SynchronousTestCase

from sodiumtwist.contacts.servers import servers_path

from .own_folders import use_own_folders
from .processes import PUBLIC


def know(test: SynchronousTestCase, folder: str, /, **servers: dict[str, str | int]) -> None:
    """
    Let this process, and those that the test starts, know servers until the test is over.

    :param folder: a directory of the test's own.
    :param servers: by name, what is known of each besides a key.
    """
    use_own_folders(test, folder)
    write_servers(**servers)


def write_servers(**servers: dict[str, str | int]) -> None:
    """Write which servers are known. Nobody else may read it."""
    path = servers_path()
    os.makedirs(os.path.dirname(path), mode=0o700, exist_ok=True)
    lines = []
    for name, fields in servers.items():
        lines.append(f"[{name}]")
        lines += [f"{key} = {value!r}" for key, value in ({"server-key": PUBLIC} | fields).items()]
    with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as file:
        file.write("\n".join(lines) + "\n")
