"""
Addresses as people write them: ``HOST``, ``HOST:PORT``, ``[::1]:5555``, and endpoint strings.
"""

from __future__ import annotations

import ipaddress
import re
from dataclasses import dataclass

#: Where servers listen when nothing is said.
DEFAULT_PORT = 5555

_HOST_AND_PORT = re.compile(r"(?:\[([0-9A-Fa-f:.]+(?:%[^\]\s]+)?)\]|([^\[\]:/\s=\\]+))(?::([0-9]{1,5}))?")


@dataclass(frozen=True)
class Address:
    """
    A host and a port.

    :ivar host: its name, or its IP address without brackets.
    :ivar port: from 1 to 65535.
    """

    host: str
    port: int = DEFAULT_PORT

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"

    @property
    def client_description(self) -> str:
        """The endpoint string that connects to it."""
        return f"tcp:{self.host}:{self.port}".replace(self.host, self.host.replace(":", r"\:"), 1)


def parse_address(text: str) -> Address | None:
    """
    Read a host and a port.

    :param text: ``HOST``, ``HOST:PORT``, ``[IPv6]``, ``[IPv6]:PORT``, or an IPv6 address alone.
    :return: ``None`` when it is something else, an endpoint string for instance.
    """
    found = _HOST_AND_PORT.fullmatch(text)
    if found is None:
        try:
            return Address(str(ipaddress.IPv6Address(text)))
        except ValueError:
            return None
    port = DEFAULT_PORT if found[3] is None else int(found[3])
    return Address(found[1] or found[2], port) if 0 < port < 65536 else None
