"""
Where a listening port is.
"""

from __future__ import annotations

from twisted.internet.address import IPv4Address
from twisted.internet.interfaces import IListeningPort


def port_number(port: IListeningPort) -> int:
    """The number that the system gave to one of TCP."""
    address = port.getHost()
    assert isinstance(address, IPv4Address), address
    return address.port
