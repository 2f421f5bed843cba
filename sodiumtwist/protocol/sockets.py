"""
What a connection can do and know only where its transport is a socket, and the sizes that suit one.
"""

from __future__ import annotations

import errno
import fcntl
import sys
import termios
from typing import Any, TypeGuard

from twisted.internet.abstract import FileDescriptor
from twisted.internet.error import ConnectionLost
from twisted.internet.interfaces import ITransport

from ..core.wire import PDU_OVERHEAD
from ..interfaces import ISodiumTransport

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


def is_bare_socket(transport: Any) -> TypeGuard[FileDescriptor]:
    """Tell whether what is written to a transport goes to its socket as it is: after ``startTLS`` it does not."""
    return isinstance(transport, FileDescriptor) and not getattr(transport, "TLS", False)


def half_closes(transport: ITransport) -> bool:
    """
    Tell whether a transport's ``loseWriteConnection`` ends one direction and leaves the other:
    sockets' does, TLS and other wrappers hand it to the socket below and lose what they hold.
    """
    return is_bare_socket(transport) or ISodiumTransport.providedBy(transport)


def unsent(transport: Any) -> int:
    """
    Tell how many bytes a socket's transport still holds, its kernel's buffer included; 0 where that
    can't be known.
    """
    try:
        waiting = fcntl.ioctl(transport.getHandle(), termios.TIOCOUTQ, bytes(4))
    except (AttributeError, TypeError, OSError):
        return 0
    return int.from_bytes(waiting, sys.byteorder) + len(transport.dataBuffer)


def send_at_once(transport: Any, data: bytes) -> bytes:
    """
    Give a socket what it takes now, without waiting for the reactor to find it ready: that saves the
    reactor a round, and the peer gets to work earlier.

    :param transport: a bare socket's. When it still holds what was written before, or may not write, nothing
        is sent.
    :return: what is left to be written.
    :raises ConnectionLost: when the connection is broken, which a socket tells once: the reactor would read an
        end in order instead.
    """
    if (
        transport.dataBuffer
        or transport._tempDataLen
        or not transport.connected
        or getattr(transport, "TLS", False)
        or getattr(transport, "_aborting", False)
        or getattr(transport, "_sendmsgQueue", None)
    ):
        return data
    try:
        return data[transport.getHandle().send(data) :]
    except (BlockingIOError, InterruptedError, BrokenPipeError):
        # A pipe is broken, too, where the peer has closed in order before; the reactor reads that.
        return data
    except OSError as error:
        if error.errno == errno.ENOBUFS:
            return data
        raise ConnectionLost(str(error)) from None
