"""
The commands for the other end, which a server's log shows to be copied.
"""

from __future__ import annotations

import ipaddress
import os
import shlex
from socket import gethostname

from twisted.internet.endpoints import quoteStringArgument
from twisted.internet.interfaces import IAddress

from ..contacts.addresses import Address
from .options import DEFAULT_LOGIN, DEFAULT_PROTOCOL
from .settings import ServerSettings


def _credentials(settings: ServerSettings) -> list[str]:
    """Return the options with which a client gets in. Words in capitals stand in for what only the client has."""
    words = []
    # The logins are in a file, or somewhere else; which one the reader has is not known here.
    if settings.other_logins:
        words += ["--user", "LOGIN"]
    elif settings.user != DEFAULT_LOGIN:
        words += ["--user", settings.user]
    # A client takes the default passphrase by itself; and any will do where the clients' keys decide alone.
    if settings.checker is not None and not settings.default_passphrase:
        words += ["--passphrase-file", "PASSPHRASEFILE"]
    if settings.authorized_keys is not None:
        words += ["--identity", "KEYFILE"]
    # Only where the client would speak another version by itself.
    if DEFAULT_PROTOCOL not in map(str, settings.versions):
        words += ["--protocol", str(settings.versions[0])]
    return words


def _client_endpoint(description: str, address: object) -> str:
    """
    Say where clients reach this server: as an address, or as an endpoint string where that does not tell all.

    :param description: the endpoint string of the server.
    :param address: where it listens, with the number that port 0 became.
    """
    # A UNIX socket has neither of them, but a name.
    host, port = getattr(address, "host", None), getattr(address, "port", None)
    if host is None or port is None:
        name = getattr(address, "name", None) or "PATH"
        return f"unix:{quoteStringArgument(os.fsdecode(name))}"
    # Nobody can connect to 0.0.0.0. What this machine calls itself is the best guess at what others call it.
    if ipaddress.ip_address(host.partition("%")[0]).is_unspecified:
        host = gethostname()
    if description.startswith(("ssl:", "tls:")):
        return f"tls:{quoteStringArgument(host)}:{port}"
    return str(Address(host, port))


def send_command(description: str, address: IAddress, settings: ServerSettings) -> str:
    """
    Make the command that sends a file to this server. It names no passphrase.

    :param description: the endpoint string of the server.
    :param address: where it listens, with the number that port 0 became.
    :param settings: what the server was asked for.
    """
    # Under their names go many, and whole folders. They are more than one in version 2 alone.
    many = settings.directory is not None and 2 in settings.versions
    words = ["sodiumtwist", "send"]
    return _client_command(words, description, address, settings, "PATH..." if many else "FILE")


def get_command(description: str, address: IAddress, settings: ServerSettings) -> str:
    """
    Make the command that gets what this server shares. It names no passphrase. Its parameters are those of
    :func:`send_command`.
    """
    return _client_command(["sodiumtwist", "get"], description, address, settings, "REMOTE")


def list_command(description: str, address: IAddress, settings: ServerSettings) -> str:
    """
    Make the command that shows what this server shares. It names no passphrase. Its parameters are those of
    :func:`send_command`.
    """
    return _client_command(["sodiumtwist", "list"], description, address, settings)


def _client_command(
    words: list[str], description: str, address: IAddress, settings: ServerSettings, *arguments: str
) -> str:
    server = ["--to", _client_endpoint(description, address), "--server-key", settings.pair.public.hex()]
    return shlex.join([*words, *server, *_credentials(settings), *arguments])


def tunnel_command(description: str, address: IAddress, settings: ServerSettings) -> str:
    """
    Make the command that connects a local port to this server. It names no passphrase.

    :param description: the endpoint string of the server.
    :param address: where it listens, with the number that port 0 became.
    :param settings: what the server was asked for.
    """
    return _client_command(["twistd", "-n", "sodium-tunnel", "--listen", "LOCALPORT"], description, address, settings)


def pipe_command(description: str, address: IAddress, settings: ServerSettings) -> str:
    """
    Make the command that connects standard input and output to this server; the parameters are those of
    :func:`tunnel_command`.
    """
    return _client_command(["sodiumtwist", "pipe"], description, address, settings)


def invite_command(description: str, address: IAddress, settings: ServerSettings) -> str | None:
    """
    Make the command that lets somebody in by an invitation; the parameters are those of :func:`send_command`.

    :return: ``None`` where nobody can be invited: invitations stand in a list of clients' keys, are for version 2 of
        the protocol, and their URLs name a host.
    """
    endpoint = _client_endpoint(description, address)
    if settings.authorized_keys is None or 2 not in settings.versions or endpoint.startswith("unix:"):
        return None
    keys = settings.authorized_keys.file.path
    server = ["--key-file", "SERVERKEYFILE", "--keys", keys, "--endpoint", endpoint]
    return shlex.join(["sodiumtwist", "invite", *server, "LOGIN"])
