"""
Under which name a line of the log stands that is written while a connection is worked on. Twisted asks each transport
for that name before it reads or writes, and a transport has asked its protocol, once, when the connection was made.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from twisted.internet.abstract import FileDescriptor
from twisted.internet.interfaces import ILoggingContext
from twisted.python import log


def log_prefix(named: Any) -> str:
    """
    Tell how log lines begin that are about something.

    :param named: a protocol, a factory or a transport: what it says itself, else the name of its class.
    """
    return str(named.logPrefix()) if ILoggingContext.providedBy(named) else type(named).__name__


def _named_below(transport: Any) -> Any:
    """
    Return the transport that the reactor asks for its name when it reads or writes: a socket's, also where TLS, another
    wrapper or a stream of ours is in between; ``None`` where there is none.
    """
    while transport is not None and not isinstance(transport, FileDescriptor):
        # What carries a stream of ours is its end's transport.
        transport = getattr(getattr(transport, "_end", transport), "transport", None)
    return transport


def rename_in_log(transport: Any, before: str, after: str) -> None:
    """
    Have the log name what a transport carries by another name from now on.

    :param transport: a socket's, or what is above one.
    :param before: how the old name begins.
    :param after: how the new one begins.
    """
    below = _named_below(transport)
    # Behind it stand what wraps it, as TLS, and the number and the address of the connection.
    name = getattr(below, "logstr", "")
    if name.startswith(before):
        below.logstr = after + name.removeprefix(before)


def call_as(transport: Any, named: Any, function: Callable[[], object]) -> None:
    """
    Call something from a timer as the reactor would while it reads from a transport: under its name.

    :param transport: a socket's, or what is above one.
    :param named: gives the name where there is no socket.
    :param function: what to call.
    """
    below = _named_below(transport)
    log.callWithContext({"system": log_prefix(named if below is None else below)}, function)
