"""
Leaves OpenSSL out of what a command loads, where its endpoint needs none.

Twisted's reactor and endpoints load all that TLS takes, which is a fifth of the time that a short command takes. They
run without it where pyOpenSSL is not installed; so for the time of their import it seems not to be.
"""

from __future__ import annotations

import sys

#: The kinds of endpoints that no TLS is beneath.
_PLAIN = ("tcp", "unix")


def load_endpoints(description: str) -> None:
    """
    Load what Twisted connects with. Whoever needs TLS in the same process has it loaded before, or it is not there.

    :param description: the endpoint string, or an address.
    """
    # Not at the top: the command lines import this, and most of what they do needs no address.
    from ..contacts.addresses import client_description

    plain = client_description(description).partition(":")[0].lower() in _PLAIN and "OpenSSL" not in sys.modules
    if plain:
        # Python then raises ImportError for it.
        sys.modules["OpenSSL"] = None  # type: ignore[assignment]
    try:
        import twisted.internet.endpoints
        import twisted.internet.posixbase
        import twisted.internet.tcp  # noqa: F401
    finally:
        if plain:
            del sys.modules["OpenSSL"]
