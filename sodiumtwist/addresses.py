"""
Addresses for people: in log lines and in commands to copy.
"""

from __future__ import annotations

from typing import Any


def describe_address(address: Any) -> str:
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


def describe_bad_endpoint(description: str, example: str, error: Exception) -> str:
    """
    Say on one line that an endpoint string is not understood, and why.

    :param example: of a right one.
    :param error: what parsing it raised.
    """
    why = str(error) or type(error).__name__
    if why.startswith("sodium: "):
        return f"bad endpoint string: {why}"  # which may hold a secret that does not belong there
    return f"bad endpoint string {ascii(description)}; one is for instance {example} ({why})"
