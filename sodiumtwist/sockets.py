"""
What a connection can do and know only where its transport is a socket.
"""

from __future__ import annotations

import fcntl
import sys
import termios
from typing import Any

from twisted.internet.abstract import FileDescriptor
from twisted.internet.interfaces import ITransport

from .interfaces import ISodiumTransport


def half_closes(transport: ITransport) -> bool:
    """
    Tell whether a transport's ``loseWriteConnection`` ends one direction and leaves the other:
    sockets' does, TLS and other wrappers hand it to the socket below and lose what they hold.
    """
    return isinstance(transport, FileDescriptor) or ISodiumTransport.providedBy(transport)


def unsent(transport: Any) -> int:
    """
    Tell how many bytes a socket's transport still holds, its kernel's buffer included; 0 where that
    can't be known.
    """
    try:
        waiting = fcntl.ioctl(transport.getHandle(), termios.TIOCOUTQ, bytes(4))
    except (AttributeError, OSError):
        return 0
    return int.from_bytes(waiting, sys.byteorder) + len(transport.dataBuffer)


def send_at_once(transport: FileDescriptor, data: bytes) -> bytes:
    """
    Give a socket what it takes now, without waiting for the reactor to find it ready: that saves the
    reactor a round, and the peer gets to work earlier.

    :param transport: when it still holds what was written before, nothing is sent.
    :return: what is left to be written.
    """
    if transport.dataBuffer or transport._tempDataLen or not transport.connected:  # it has these two for that
        return data
    sent = transport.writeSomeData(data)
    # An error is left for the reactor to meet.
    return data[sent:] if isinstance(sent, int) else data
