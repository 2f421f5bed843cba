"""
Where a listening port is.
"""

from __future__ import annotations

from twisted.internet.address import IPv4Address
from twisted.internet.interfaces import IListeningPort


def port_number(port: IListeningPort) -> int:
    """Tell which number the system has given to a TCP port."""
    address = port.getHost()
    assert isinstance(address, IPv4Address), address
    return address.port
