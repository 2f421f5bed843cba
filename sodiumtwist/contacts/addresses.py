"""
Addresses as people write them: ``HOST``, ``HOST:PORT``, ``[::1]:5555``, a port alone; and Twisted's endpoint strings
made of them. An endpoint string stays as it is, but for IPv6 addresses in brackets.
"""

from __future__ import annotations

import ipaddress
import math
import re
from dataclasses import dataclass

#: Where servers listen when nothing is said.
DEFAULT_PORT = 5555

#: This machine alone. A port without a host is here: what was left out must open nothing to others.
LOOPBACK = "127.0.0.1"

#: What endpoint strings begin with: those of Twisted, of this package, and ``onion``, which is also followed by a port
#: alone. So ``tcp:5555`` names no host. One that is called so is written with a dot behind it, or as ``tcp:HOST:PORT``.
ENDPOINT_TYPES = frozenset("fd haproxy onion sodium ssl stdio systemd tcp tcp4 tcp6 tls unix".split())

# No host has # or ? in it: a URL with that could not be read again.
_HOST_AND_PORT = re.compile(r"(?:\[([0-9A-Fa-f:.]+(?:%[^\]\s#?]+)?)\]|([^\[\]:/\s=\\@*#?]+))(?::([0-9]{1,5}))?")
_PORT = re.compile(r":?([0-9]{1,5})")

#: An address as it is in URLs of other programs.
_SLASHES = re.compile(r"(tcp|tls)://([^/]+)/?")
_ANY_HOST = re.compile(r"\*(?::([0-9]{1,5}))?")

#: An IPv6 address in brackets, as a whole field of an endpoint string.
_BRACKETS = re.compile(r"(?<=[:=])\[([0-9A-Fa-f:.]+(?:%[^\]\s:]+)?)\](?=:|$)")

#: A server's endpoint string as clients write one: with the host before the port. In Twisted's own order the port is
#: first, which is a number.
_CLIENTS_WAY = re.compile(r"(tcp|tcp6|ssl):((?![0-9]+:)(?:[^:=\\]|\\.)+):([0-9]{1,5})(?=:|$)")

#: A part of an endpoint string, up to a colon without a backslash.
_PARTS = re.compile(r"(?:^|:)((?:[^:\\]|\\.)*)", re.DOTALL)


@dataclass(frozen=True)
class Address:
    """
    A host and a port.

    :ivar host: its name, or its IP address without brackets.
    :ivar port: from 1 to 65535; for servers also 0, which is any that is free.
    """

    host: str
    port: int = DEFAULT_PORT

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"

    @property
    def is_name(self) -> bool:
        """Whether the host has a name, which is to be looked up."""
        try:
            ipaddress.ip_address(self.host)
        except ValueError:
            return True
        return False

    @property
    def client_description(self) -> str:
        """The endpoint string that connects to it."""
        return f"tcp:{_escaped(self.host)}:{self.port}"

    @property
    def server_description(self) -> str:
        """The endpoint string that listens on it: on the interface that has this address, and no other."""
        return f"tcp:{self.port}:interface={_escaped(self.host)}"


def _escaped(host: str) -> str:
    return host.replace(":", r"\:")


def parse_address(text: str) -> Address | None:
    """
    Read a host and a port.

    :param text: ``HOST``, ``HOST:PORT``, ``[IPv6]``, ``[IPv6]:PORT``, or an IPv6 address alone.
    :return: ``None`` when it is something else, an endpoint string for instance.
    """
    address = _parse(text)
    return address if address is not None and address.port else None


def _parse(text: str) -> Address | None:
    found = _HOST_AND_PORT.fullmatch(text)
    if found is None:
        # In ::1:5555, is the last part of the address or a port? With brackets nobody has to guess.
        host, _, last = text.rpartition(":")
        return Address(text) if _is_ipv6(text) and not (last.isdecimal() and _is_ipv6(host)) else None
    port = DEFAULT_PORT if found[3] is None else int(found[3])
    host = found[1] or found[2]
    # A number is a port and no host, whatever the system's resolver makes of it.
    if port > 65535 or host.isdecimal() or (found[1] is not None and not _is_ipv6(host)):
        return None
    return Address(host, port)


def _is_ipv6(text: str) -> bool:
    try:
        ipaddress.IPv6Address(text)
    except ValueError:
        return False
    return True


def _without_type(text: str) -> Address | None:
    """Read an address, unless it is an endpoint string that looks like one."""
    address = _parse(text)
    return None if address is None or address.host.lower() in ENDPOINT_TYPES else address


def _without_brackets(description: str) -> str:
    return _BRACKETS.sub(lambda found: _escaped(found[1]) if _is_ipv6(found[1]) else found[0], description)


def _without_slashes(text: str) -> str:
    found = _SLASHES.fullmatch(text)
    return text if found is None else f"{found[1]}:{found[2]}"


def _port_alone(text: str) -> int | None:
    found = _PORT.fullmatch(text)
    return None if found is None or int(found[1]) > 65535 else int(found[1])


def client_address(text: str) -> Address | None:
    """
    Read where a client connects to, when that is said without an endpoint string.

    :param text: as :func:`client_description` takes it.
    :return: ``None`` for an endpoint string.
    """
    if (port := _port_alone(text)) is not None:
        return Address(LOOPBACK, port)
    address = _without_type(text)
    return address if address is not None and address.port else None


def client_description(text: str) -> str:
    """
    Make the endpoint string for a place that a client connects to.

    :param text: an address; a port alone, which is this machine's; or an endpoint string. In that, an IPv6 address may
        stand in brackets, and ``tcp6`` before one is ``tcp``, as Twisted has it for clients.
    :return: a string for ``clientFromString``. Whether it is right is not checked.
    """
    text = _without_slashes(text)
    if address := client_address(text):
        return address.client_description
    description = _without_brackets(text)
    kind, *fields = split_description(description)
    if kind == "tcp6" and fields and _is_ipv6(_plain(fields[0])):
        return description.replace("tcp6", "tcp", 1)
    return description


def server_description(text: str) -> str:
    """
    Make the endpoint string for a place that a server listens on.

    :param text: ``HOST:PORT`` or ``HOST`` for the interface that has this address, and no other; a port alone for
        loopback; ``*:PORT`` for all interfaces of IPv4; or an endpoint string, which may also be ``tcp:HOST:PORT``, as
        clients write it.
    :return: a string for ``serverFromString``. Whether it is right is not checked.
    """
    text = _without_slashes(text)
    if (port := _port_alone(text)) is not None:
        return Address(LOOPBACK, port).server_description
    if found := _ANY_HOST.fullmatch(text):
        return f"tcp:{found[1] or DEFAULT_PORT}"
    address = _without_type(text)
    if address is not None:
        return address.server_description
    return _CLIENTS_WAY.sub(_servers_way, _without_brackets(text), count=1)


def leaves_port_out(text: str) -> bool:
    """
    Tell whether a place that a server listens on would have :data:`DEFAULT_PORT` since none is named.

    :param text: as :func:`server_description` takes it.
    """
    text = _without_slashes(text)
    if found := _ANY_HOST.fullmatch(text):
        return found[1] is None
    if _port_alone(text) is not None or _without_type(text) is None:
        return False
    found = _HOST_AND_PORT.fullmatch(text)
    return found is None or found[3] is None


def _servers_way(found: re.Match[str]) -> str:
    return f"{found[1]}:{found[3]}" + ("" if found[2] == "*" else f":interface={found[2]}")


def split_description(description: str) -> list[str]:
    """Split an endpoint string at its colons, but for those with a backslash. The parts keep their backslashes."""
    return [found[1] for found in _PARTS.finditer(description)]


def take_apart(text: str) -> tuple[str, list[str], list[tuple[str, str]]]:
    """
    Take the place apart that a client connects to.

    :param text: as :func:`client_description` takes it.
    :return: the type of the endpoint; the values without a name; and those with one, each behind its name. Values have
        no backslashes.
    """
    kind, *fields = split_description(client_description(text))
    named = [field for field in fields if re.match(r"\w+=", field)]
    pairs = [(name, _plain(value)) for name, _, value in (field.partition("=") for field in named)]
    return kind, [_plain(field) for field in fields if field not in named], pairs


def has_timeout(text: str) -> bool:
    """
    Tell whether an endpoint string says for how long a client tries to connect.

    :param text: as :func:`client_description` takes it.
    """
    return any(part.startswith("timeout=") for part in split_description(client_description(text)))


def with_timeout(text: str, seconds: float) -> str:
    """
    Make the endpoint string for a client that watches the time itself: Twisted's own time, of 30 seconds, would be up
    before a longer one. One that the string has stays.

    :param text: as :func:`client_description` takes it.
    :param seconds: what the client allows.
    """
    description = client_description(text)
    kind = description.partition(":")[0].lower()
    # Behind a backslash the colon would be none; such a string is wrong anyway.
    if kind not in ("tcp", "tls", "ssl", "unix") or has_timeout(description) or description.endswith("\\"):
        return description
    # In whole seconds, as the string takes them, and later than ours.
    return f"{description}:timeout={math.ceil(seconds) + 1}"


def _plain(field: str) -> str:
    return re.sub(r"\\(.)", r"\1", field)


def is_local_client(text: str) -> bool:
    """
    Tell whether a client connects to this machine: to a loopback address, or to a UNIX socket. Where that can't be
    known before a name is looked up, or of other kinds of endpoints, the answer is no.

    :param text: as :func:`client_description` takes it.
    """
    kind, unnamed, named = take_apart(text)
    kind = kind.lower()
    if kind == "unix":
        return True
    if kind not in ("tcp", "tls", "ssl"):
        return False
    # Which one counts of two, Twisted decides. TLS may be spoken through any other endpoint.
    hosts = unnamed[:1] + [value for name, value in named if name == "host"]
    elsewhere = len(unnamed) > 2 or any(name == "endpoint" for name, _ in named)
    return bool(hosts) and not elsewhere and all(map(is_loopback, hosts))


def is_loopback(host: str) -> bool:
    """
    Tell whether a host is this machine, over its loopback interface.

    :param host: an IP address, or a name. Of names only ``localhost`` is known before it is looked up.
    """
    if host.lower() == "localhost":
        return True
    try:
        # An IPv6 address may name a network interface behind a percent sign. With one, 127.0.0.1%x.org is a name that
        # is looked up, and may be of any machine.
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
