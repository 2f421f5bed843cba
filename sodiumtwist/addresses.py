"""
Addresses for people: in log lines and in commands to copy.
"""

from __future__ import annotations

import re


def describe_address(address: object) -> str:
    """
    Say where a peer or a listening port is, on one line.

    :param address: as ``getPeer()`` or ``getHost()`` return it.
    :return: ``127.0.0.1:5555``, ``[::1]:5555``, or the path of a UNIX socket.
    """
    host, port = getattr(address, "host", None), getattr(address, "port", None)
    if host is not None and port is not None:
        return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
    name = getattr(address, "name", None)
    if name is not None:
        return ascii(name.decode("utf-8", "replace") if isinstance(name, bytes) else name)
    return "a UNIX socket" if hasattr(address, "name") else ascii(str(address))


_SECRETS = re.compile(r"\b(auth|key|passphrase|privateKeyHex)=(?:[^:\\]|\\.)*")


def masked(description: str) -> str:
    """
    Make an endpoint string fit for logs: without the values that may be secrets.
    """
    return _SECRETS.sub(r"\1=…", description)


def describe_bad_endpoint(description: str, example: str, error: Exception) -> str:
    """
    Say on one line that an endpoint string is not understood, and why.

    :param example: of a right one.
    :param error: what parsing it raised.
    """
    why = str(error) or type(error).__name__
    return f"bad endpoint string {ascii(masked(description))}; one is for instance {example} ({why})"
