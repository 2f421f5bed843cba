"""
Where clients reach a server, as whoever runs the server says it.
"""

from __future__ import annotations

import ipaddress
import re

from twisted.python.usage import UsageError

from ..contacts.addresses import Address, client_description, parse_address, split_description


def parse_reached(text: str) -> tuple[Address, bool]:
    """
    Read where clients reach a server.

    :param text: ``HOST:PORT``, ``HOST``, ``[IPv6]:PORT``; or an endpoint string, ``tcp:HOST:PORT`` or
        ``tls:HOST:PORT``.
    :return: the address, and whether the server is under TLS.
    :raises UsageError: when it is something else.
    """
    kind, *fields = split_description(client_description(text))
    address = None
    # A port alone would be this machine's, and a URL is for others.
    if kind in ("tcp", "tls") and len(fields) == 2 and text.isprintable() and not re.fullmatch(":?[0-9]+", text):
        host, port = fields[0].replace(r"\:", ":"), fields[1]
        address = parse_address(f"[{host}]:{port}" if ":" in host else f"{host}:{port}")
    if address is None:
        raise UsageError(
            f"--endpoint takes what clients connect to, HOST:PORT or tls:HOST:PORT, not {text!r}; HOST is the "
            "server's name or address"
        )
    if _is_nowhere(address.host):
        raise UsageError(f"nobody can connect to {address.host}; give the server's name or address to --endpoint")
    return address, kind == "tls"


def _is_nowhere(host: str) -> bool:
    try:
        return ipaddress.ip_address(host.partition("%")[0]).is_unspecified
    except ValueError:
        return False
