"""
Client endpoints from their strings.
"""

from __future__ import annotations

from typing import Any

from twisted.internet.endpoints import HostnameEndpoint, clientFromString
from twisted.internet.interfaces import IReactorPluggableNameResolver, IStreamClientEndpoint

from ..contacts.addresses import client_address, client_description, with_timeout

#: Seconds in which an endpoint gives up connecting, as Twisted has it.
TIMEOUT = 30.0


def client_endpoint(reactor: Any, description: str, timeout: float | None = None) -> IStreamClientEndpoint:
    """
    Make a client endpoint from its string, as ``clientFromString`` does, or from an address; and see that its host can
    be looked up. A host that has a name in an address is tried by IPv6 and IPv4, the first that answers; with ``tcp:``
    Twisted connects to names by IPv4 alone.

    A wrong string can raise whatever Twisted's parser stumbles over: ``TypeError``, ``IndexError``, ``RuntimeError``.

    :param description: as :func:`~sodiumtwist.contacts.addresses.client_description` takes it.
    :param timeout: seconds in which the caller gives up by itself: Twisted's own time, of 30 seconds, would be up
        before a longer one. ``None`` when it does not.
    :raises ValueError: when a name can be none of a host.
    """
    endpoint: IStreamClientEndpoint
    address = client_address(description)
    # Stand-ins for a reactor may look up nothing.
    if address is not None and address.is_name and IReactorPluggableNameResolver.providedBy(reactor):
        limit = TIMEOUT if timeout is None else timeout + 1
        endpoint = HostnameEndpoint(reactor, address.host, address.port, timeout=limit)
    else:
        text = client_description(description) if timeout is None else with_timeout(description, timeout)
        endpoint = clientFromString(reactor, text)
    _check_host(endpoint)
    return endpoint


def _check_host(endpoint: Any) -> None:
    # For a name that Python takes for none, Twisted would wait until the time for connecting is over, and say no more
    # than that. Of others' endpoints nothing is known.
    attributes = getattr(endpoint, "__dict__", {})
    below = attributes.get("_wrappedEndpoint")
    if below is not None:
        _check_host(below)
    host = attributes.get("_hostText", attributes.get("_host"))
    try:
        # As the system's function will be given it.
        str(host).encode("idna")
    except UnicodeError:
        raise ValueError(
            f"{host!r} can't be a host's name, which has 1 to 63 letters, digits or hyphens between two dots"
        ) from None
