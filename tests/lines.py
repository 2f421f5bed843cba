"""
An application that asks with a line.
"""

from __future__ import annotations

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IStreamClientEndpoint, ITransport
from twisted.internet.protocol import Factory, connectionDone
from twisted.protocols.basic import LineReceiver
from twisted.python.failure import Failure


class Lines(LineReceiver):
    """
    Asks with a line, and waits for one line as the answer.

    :ivar answered: fires with the answer.
    :ivar lost: fires with the type of the reason when the connection is gone.
    """

    transport: ITransport

    def __init__(self) -> None:
        self.answered: Deferred[bytes] = Deferred()
        self.lost: Deferred[type[BaseException] | None] = Deferred()

    def lineReceived(self, line: bytes) -> None:
        self.answered.callback(line)

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self.lost.callback(reason.type)


async def connect_lines(endpoint: IStreamClientEndpoint) -> Lines:
    """Connect a :class:`Lines`."""
    lines = await endpoint.connect(Factory.forProtocol(Lines))
    assert isinstance(lines, Lines)
    return lines
