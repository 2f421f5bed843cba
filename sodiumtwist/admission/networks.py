"""
What counts as one address.

Whoever has one IPv6 customer's network has 64 bits of addresses, and some IPv6 addresses stand for an IPv4 address. A
limit must see one stranger where there is one, and many where there are many.
"""

from __future__ import annotations

import ipaddress
from functools import lru_cache

from twisted.internet.interfaces import IAddress, ITransport
from twisted.protocols.policies import ProtocolWrapper

# The IPv4 address is in the last 32 bits: addresses of a NAT64 translator (RFC 6052), those that sockets for both
# families show (RFC 4291), and those of an old translator (RFC 2765).
_IPV4_AT_THE_END = tuple(ipaddress.IPv6Network(one) for one in ("64:ff9b::/96", "::ffff:0:0/96", "::ffff:0:0:0/96"))

# For translators inside a network (RFC 8215). Whoever runs it chooses where in these the IPv4 address stands, so nobody
# else can find it. But a whole address has one IPv4 address, wherever it stands.
_LOCAL_NAT64 = ipaddress.IPv6Network("64:ff9b:1::/48")


def counted_address(transport: ITransport) -> IAddress:
    """
    Find the address that a connection is counted by.

    :param transport: of a server's end.
    :return: the client's address; but where a proxy says that its client has none, the proxy's. Otherwise whoever can
        reach a ``haproxy:`` port would be rid of all that is counted, by claiming to come from a UNIX socket.
    """
    address = transport.getPeer()
    while getattr(address, "host", None) is None and isinstance(transport, ProtocolWrapper):
        assert transport.transport is not None  # it has been asked for its peer
        transport = transport.transport
        address = transport.getPeer()
    return address


def network(address: object) -> str | None:
    """
    Tell what counts as one address.

    :param address: as ``getPeer()`` returns it.
    :return: an IPv4 address, the first 64 bits of an IPv6 address, or ``None`` for UNIX sockets. An IPv6 address that
        stands for an IPv4 address counts as that: of NAT64, of 6to4, of Teredo, and of a socket for both.
    """
    host = getattr(address, "host", None)
    return None if host is None else _network(host)


@lru_cache(maxsize=4096)
def _network(host: str) -> str:
    try:
        parsed = ipaddress.ip_address(host.partition("%")[0])
    except ValueError:
        return ascii(host)
    if isinstance(parsed, ipaddress.IPv4Address):
        return str(parsed)
    if any(parsed in translated for translated in _IPV4_AT_THE_END):
        return str(ipaddress.IPv4Address(int(parsed) & 0xFFFFFFFF))
    # Whoever has an IPv4 address has 65,536 networks of 64 bits by 6to4.
    if parsed.sixtofour is not None:
        return str(parsed.sixtofour)
    # The first 64 bits name the Teredo server, which all its clients share; the client's own address comes behind.
    if parsed.teredo is not None:
        return str(parsed.teredo[1])
    if parsed in _LOCAL_NAT64:
        return str(parsed)
    return str(ipaddress.ip_network((parsed, 64), strict=False))


@lru_cache(maxsize=4096)
def wider_network(where: str) -> str:
    """
    Tell of which larger network something is. An attacker who has many addresses often has them in few of these: to
    get an IPv6 network of 48 bits, which is 65,536 of 64 bits, is as easy as to get one.

    :param where: as :func:`network` tells it.
    :return: the network of 24 bits of an IPv4 address, that of 48 bits of an IPv6 network; anything else as it is.
    """
    try:
        parsed = ipaddress.ip_network(where)
    except ValueError:
        return where
    return str(parsed.supernet(new_prefix=24 if parsed.version == 4 else 48))
