"""
Where clients reach a server, as whoever runs the server says it.
"""

from __future__ import annotations

import ipaddress
import re

from twisted.python.usage import UsageError

from ..contacts.addresses import Address, parse_address

# What stands before a colon in the endpoint string of a server, such as tcp:5555, and is no host.
_KINDS = ("tcp", "tcp4", "tcp6", "tls", "ssl", "unix", "systemd", "haproxy", "sodium")


def parse_reached(given: str) -> tuple[Address, bool]:
    """
    Read where clients reach a server.

    :param given: ``HOST:PORT``, ``HOST``, ``[IPv6]:PORT``; or an endpoint string, ``tcp:HOST:PORT`` or
        ``tls:HOST:PORT``.
    :return: the address, and whether the server is under TLS.
    :raises UsageError: when it is something else.
    """
    kind, _, rest = given.partition(":")
    tls = kind == "tls"
    text = given
    if tls or kind == "tcp":
        # In an endpoint string, colons of an IPv6 address have a backslash, and the address no brackets.
        text = re.sub(r"((?:[^:\\]|\\:)+):([0-9]+)", r"[\1]:\2", rest).replace(r"\:", ":") if "\\" in rest else rest
    address = parse_address(text)
    if address is None or address.host.isdecimal() or address.host in _KINDS:
        raise UsageError(
            f"--endpoint takes what clients connect to, HOST:PORT or tls:HOST:PORT, not {given!r}; HOST is the "
            "server's name or address"
        )
    try:
        nowhere = ipaddress.ip_address(address.host.partition("%")[0]).is_unspecified
    except ValueError:
        nowhere = False
    if nowhere:
        raise UsageError(f"nobody can connect to {address.host}; give the server's name or address to --endpoint")
    return address, tls
