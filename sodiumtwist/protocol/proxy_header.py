"""
The header by which a proxy says for whom a connection speaks, where Twisted reads it and cannot.
"""

from __future__ import annotations

import weakref
from typing import Any

from twisted.internet.error import ConnectionDone
from twisted.internet.interfaces import ITransport
from twisted.python.failure import Failure

from ..admission.limits import proxy_of

#: How the header of a proxy begins in version 1 and in version 2.
_PROXY_1, _PROXY_2 = b"PROXY", b"\r\n\r\n\0\r\nQUIT\n"

#: Of version 2, what tells how long the rest is.
_PROXY_2_HEAD = 16

#: The longest header of version 1.
_PROXY_1_SIZE = 107

#: The shortest header of version 1.
_PROXY_UNKNOWN = b"PROXY UNKNOWN"


def _is_more_to_come(data: bytes) -> bool:
    """
    Tell whether these first bytes are the beginning of a proxy's header for which Twisted's parser must wait.

    :param data: all that has come.
    """
    if data.startswith(_PROXY_1):
        return b"\r\n" not in data and len(data) <= _PROXY_1_SIZE
    if data.startswith(_PROXY_2):
        return len(data) < _PROXY_2_HEAD
    return _PROXY_1.startswith(data) or _PROXY_2.startswith(data)


def read_proxy_header(transport: ITransport) -> None:
    """
    Have a connection of a proxy closed where its header can't be read, whatever is wrong with that. Twisted's parser
    foresees some of what may stand there, and raises for the rest; the reactor would log each with a traceback, and
    whoever reaches the port could fill the disk.

    The header may come in pieces. Twisted refuses one whose first piece is shorter than what tells the version, and one
    of version 1 that says no more than that the address is not known.

    :param transport: of an end, perhaps of a proxy.
    """
    proxy = proxy_of(transport)
    if proxy is None:
        return
    # No circle, lest each connection be garbage that only the collector finds.
    this = weakref.ref(proxy)
    held = b""

    def read(data: bytes) -> None:
        nonlocal held
        reader: Any = this()
        if reader._parser is None:
            data = held + data
            if _is_more_to_come(data):
                held = data
                return
            held = b""
            # With the blank that Twisted looks for. The standard has none there.
            if data.startswith(_PROXY_UNKNOWN + b"\r\n"):
                data = _PROXY_UNKNOWN + b" " + data[len(_PROXY_UNKNOWN) :]
        try:
            type(reader).dataReceived(reader, data)
        except Exception:
            if reader._proxyInfo is not None:
                raise  # it was the protocol above
            reader.loseConnection()
        if reader._proxyInfo is not None:
            vars(reader).pop("dataReceived", None)

    vars(proxy)["dataReceived"] = read


def describe_missing_header(transport: ITransport, reason: Failure) -> str | None:
    """
    Say on one line what became of the header of a proxy that did not come.

    :param transport: of an end, perhaps of a proxy, whose connection is lost.
    :param reason: why.
    :return: ``None`` where none was to come, or it came; and where something else has ended the connection.
    """
    proxy: Any = proxy_of(transport)
    if proxy is None or proxy._proxyInfo is not None or not reason.check(ConnectionDone):
        return None
    # Only the parser has closed it in order by now.
    if proxy.disconnecting:
        return "what came first is no PROXY header; this port is for a proxy that sends one"
    return "it left before a PROXY header came; this port is for a proxy that sends one"
