"""
What a connection can do and know only where its transport is a socket, and the sizes that suit one.
"""

from __future__ import annotations

import fcntl
import sys
import termios
from typing import Any

from twisted.internet.abstract import FileDescriptor
from twisted.internet.interfaces import ITransport

from .core.wire import PDU_OVERHEAD
from .interfaces import ISodiumTransport

#: How many bytes are read from a socket at once, where Twisted takes 65536: a whole PDU of the
#: largest chunks that our programs send, and with what a ``bytes`` object has on top still less than
#: the 128 KiB from which the C library maps memory anew for each.
READ_SIZE = 131000

#: How many bytes a socket is given at once, where Twisted gives it 131072: a PDU of the largest size is a
#: few more, and would take a second call for them. Also how much is sent without waiting for the reactor
#: each time it calls us: it has other connections to serve.
SEND_SIZE = 2 * 131072

#: The payload of a PDU that one read takes whole, in bytes: what files and streams are cut into.
CHUNK_SIZE = READ_SIZE - PDU_OVERHEAD


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
