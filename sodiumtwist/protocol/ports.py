"""
Listening ports that several processes have at once. As :mod:`~sodiumtwist.protocol.sockets` does for connections, this
reaches into Twisted's objects, where there are no words for it.
"""

from __future__ import annotations

import socket
from typing import Any, Protocol

from twisted.internet.interfaces import IListeningPort, IProtocolFactory, IReactorTime

#: By how many connections a process may be ahead of the one that has least, and go on to accept as it can.
LEAD = 8

#: Seconds for which a process that is ahead leaves newcomers to the others. They can't take longer than that because of
#: it, also where the others hang.
STAND_BACK = 0.005

#: How many connections are accepted in a row. Twisted takes a hundred and more, and would leave the others none.
ACCEPTED_AT_ONCE = 16

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


class Balance(Protocol):
    """What processes with one port know of each other."""

    def ahead(self) -> float:
        """Tell how many connections more this process has, or has had lately, than the one that has least."""

    def accepted(self, count: int) -> None:
        """Note that this process has accepted some."""


def leave_to_others(port: IListeningPort, balance: Balance, clock: IReactorTime) -> None:
    """
    See to it that processes with one port have about as much to do. The system gives a new connection to whichever of
    them looks first, often the same for a long time; and those that stay would be with that one.

    :param port: where this process accepts.
    :param balance: what it knows of the others.
    :param clock: sets timers.
    """
    shared: Any = port
    accept = shared.doRead
    # Whether it has just stood back.
    waited = False

    def accept_again() -> None:
        nonlocal waited
        waited = True
        if shared.connected and not shared.disconnecting:
            shared.startReading()

    def accept_in_turn() -> object:
        nonlocal waited
        if not waited and balance.ahead() > LEAD:
            shared.stopReading()
            clock.callLater(STAND_BACK, accept_again)
            return None
        waited = False
        shared.numberAccepts = ACCEPTED_AT_ONCE
        before = shared.sessionno
        result: object = accept()
        balance.accepted(shared.sessionno - before)
        return result

    shared.doRead = accept_in_turn
