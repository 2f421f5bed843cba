"""
Client endpoints from their strings.
"""

from __future__ import annotations

from typing import Any

from twisted.internet.endpoints import clientFromString
from twisted.internet.interfaces import IStreamClientEndpoint

from ..contacts.addresses import client_description


def client_endpoint(reactor: Any, description: str) -> IStreamClientEndpoint:
    """
    Make a client endpoint from its string, as ``clientFromString`` does, or from an address; and see that its host can
    be looked up.

    :param description: as :func:`~sodiumtwist.contacts.addresses.client_description` takes it.

    A wrong string can raise whatever Twisted's parser stumbles over: ``TypeError``, ``IndexError``, ``RuntimeError``.

    :raises ValueError: when a name can be none of a host.
    """
    endpoint: IStreamClientEndpoint = clientFromString(reactor, client_description(description))
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
            f"{ascii(host)} can't be a host's name, which has 1 to 63 letters, digits or hyphens between two dots"
        ) from None
