"""
Listening ports that several processes have at once. As :mod:`~sodiumtwist.protocol.sockets` does for connections, this
reaches into Twisted's objects, where there are no words for it.
"""

from __future__ import annotations

import socket
from typing import Any

from twisted.internet.interfaces import IListeningPort, IProtocolFactory

#: In place of the path of a UNIX socket: a name that is in no folder, so that nothing there is changed or removed.
_NO_PATH = b"\0"


def hand_on(port: IListeningPort) -> tuple[int, int]:
    """
    Leave a port to other processes: here nothing is accepted any more. To close it leaves it open there.

    :return: its descriptor, and its address family.
    """
    listening: Any = port
    listening.stopReading()
    # Twisted would shut it down for all who have it.
    listening._shouldShutdown = False
    return listening.fileno(), int(listening.socket.family)


def adopt(reactor: Any, descriptor: int, family: int, backlog: int, factory: IProtocolFactory) -> IListeningPort:
    """
    Accept on a socket that another process has made, and takes care of.

    :param reactor: watches it.
    :param descriptor: of the socket. It stays open when the port is closed.
    :param family: of its address.
    :param backlog: how many may wait to be accepted.
    :param factory: makes the protocols.
    """
    if family != socket.AF_UNIX:
        port: IListeningPort = reactor.adoptStreamPort(descriptor, family, factory)
        return port
    # Not at the top: not every system has it.
    from twisted.internet import unix

    shared: Any = unix.Port._fromListeningDescriptor(reactor, descriptor, factory)
    # Else its mode would be set once more, and it would be removed from its folder at the end.
    shared._bindPath = _NO_PATH
    shared._shouldShutdown = False
    shared.backlog = backlog
    shared.startListening()
    adopted: IListeningPort = shared
    return adopted
