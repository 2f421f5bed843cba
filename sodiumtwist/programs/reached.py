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


def parse_reached(text: str) -> tuple[Address, bool]:
    """
    Read where clients reach a server.

    :param text: ``HOST:PORT``, ``HOST``, ``[IPv6]:PORT``; or an endpoint string ``tcp:HOST:PORT`` or ``tls:HOST:PORT``.
    :return: the address, and whether the server is under TLS.
    :raises UsageError: when it is something else.
    """
    kind, _, rest = text.partition(":")
    tls = kind == "tls"
    address = parse_address(rest.replace(r"\:", ":") if tls or kind == "tcp" else text)
    # An IPv6 address in an endpoint string has no brackets.
    if address is None and (tls or kind == "tcp"):
        found = re.fullmatch(r"((?:[^:\\]|\\:)+):([0-9]{1,5})", rest)
        address = parse_address(f"[{found[1]}]:{found[2]}".replace(r"\:", ":")) if found is not None else None
    if address is None or address.host.isdecimal() or address.host in _KINDS:
        raise UsageError(
            f"--endpoint takes what clients connect to, HOST:PORT or tls:HOST:PORT, not {ascii(text)}; HOST is the "
            "server's name or address"
        )
    try:
        nowhere = ipaddress.ip_address(address.host.partition("%")[0]).is_unspecified
    except ValueError:
        nowhere = False
    if nowhere:
        raise UsageError(f"nobody can connect to {address.host}; give the server's name or address to --endpoint")
    return address, tls
