"""
How PDUs get from a connection to its transport: together where they can, in order, and no faster than
it takes them.
"""

from __future__ import annotations

import weakref
from collections import deque
from collections.abc import Iterable, Sequence

from twisted.internet.error import ConnectionLost
from twisted.internet.protocol import Protocol

from ..core.connection import ClientConnection, ServerConnection
from ..core.errors import LocalProtocolError
from ..core.version import Buffer
from ..interfaces import IStreamTransport
from .producers import WriteGate
from .sockets import CHUNK_SIZE, SEND_SIZE, is_bare_socket, send_at_once

#: What is sent while one read is worked on waits until it is so much, in bytes, or all is done.
CORK_LIMIT = 65536

#: So much, in bytes, where the transport is a socket: the peer gets to work on the first answers while
#: we make the others. With 128 small requests under way that nearly doubles how many are answered.
SOCKET_CORK_LIMIT = 2048


class SendingProtocol(Protocol):
    """
    One core connection that sends to a transport.
    """

    transport: IStreamTransport

    _connection: ServerConnection | ClientConnection = None  # type: ignore[assignment]  # before connectionMade()
    _done = False
    # While one read is worked on, or a producer produces, what is sent waits in _corked.
    _corking = False
    _cork_limit = _early_limit = CORK_LIMIT
    # How many bytes may be sent without the reactor until it calls us again.
    _at_once = _at_once_limit = 0
    _send_error: ConnectionLost | None = None
    _write_blocked = False
    _draining = False
    _gated = False

    def _begin_to_send(self) -> None:
        """The transport is there."""
        # What is looked at for each PDU is the instance's own: Python finds that sooner than a default in the class.
        self._done = self._write_blocked = False
        self._corked: list[bytes] = []
        self._corked_size = 0
        # What was to be written while the transport took no more.
        self._outgoing: deque[bytes] = deque()
        self.transport.registerProducer(WriteGate(self._writing_blocked, self._writing_unblocked), True)
        self._gated = True
        if is_bare_socket(self.transport):
            self.transport.SEND_LIMIT = SEND_SIZE
            self._early_limit = SOCKET_CORK_LIMIT
            self._at_once = self._at_once_limit = SEND_SIZE
        else:
            self._close_with_transport()

    def _close_with_transport(self) -> None:
        """
        Have the ``loseConnection`` of TLS and the like close in order, as ``ClientService`` calls it: their own waits
        for the producer that we are to them, and that for ever.
        """
        # Not a circle, lest each connection be garbage that only the collector finds.
        this = weakref.ref(self)

        def close() -> None:
            protocol = this()
            if protocol is not None:
                protocol.close()

        self.transport.loseConnection = close  # type: ignore[method-assign]

    def close(self) -> None:
        """Close in order."""
        raise NotImplementedError

    def _writing_blocked(self) -> None:
        """The transport takes no more."""
        raise NotImplementedError

    def _writing_unblocked(self) -> None:
        """The transport takes more again."""
        raise NotImplementedError

    def _open_gate(self) -> None:
        # A producer that stays registered keeps Twisted from closing.
        if self._gated:
            self._gated = self._write_blocked = False
            vars(self.transport).pop("loseConnection", None)
            self.transport.unregisterProducer()

    def send_data(self, payload: Buffer) -> None:
        """
        Send one DATA.

        :param payload: 0 to 131070 bytes.
        :raises PayloadTooLarge: when it is longer.
        :raises LocalProtocolError: before ``authenticated()`` on a server, and when it is over.
        :raises TypeError: for anything but contiguous bytes.
        """
        if self._done or self._connection is None:
            self._check_usable()
        data = self._connection.send_data(payload)
        if self._corking:
            self._corked.append(data)
            self._corked_size += len(data)
            if self._corked_size >= self._cork_limit:
                self._flush()
        else:
            self._hand_over((data,))
            self._at_once = 0  # more may follow, and leave together

    def write(self, data: Buffer) -> None:
        """
        Send bytes in as many DATA as they need (``IConsumer``).

        :raises LocalProtocolError, TypeError: as :meth:`send_data`.
        """
        self._check_usable()
        view = memoryview(data).cast("B")
        # All of it is sealed before any is handed over: a producer that is paused meanwhile may write
        # more, which comes behind.
        pdus = [self._connection.send_data(view[at : at + CHUNK_SIZE]) for at in range(0, len(view), CHUNK_SIZE)]
        self._write(pdus)

    def _check_usable(self) -> None:
        if self._done:
            raise LocalProtocolError("the connection is closed")
        if self._connection is None:
            raise LocalProtocolError("there is no connection yet")

    def _write(self, pdus: Sequence[bytes]) -> None:
        if not self._corking:
            self._hand_over(pdus)
            self._at_once = 0
            return
        self._corked += pdus
        self._corked_size += sum(map(len, pdus))
        if self._corked_size >= self._cork_limit:
            self._flush()

    def _flush(self) -> None:
        corked = self._corked
        if not corked:
            return
        size, self._corked, self._corked_size = self._corked_size, [], 0
        if len(corked) > 1 and size <= 2 * CORK_LIMIT:
            corked = [b"".join(corked)]
        self._hand_over(corked)

    def _hand_over(self, pieces: Iterable[bytes]) -> None:
        """Write, piece by piece, so that a peer that takes much slowly is seen to take some."""
        self._outgoing.extend(pieces)
        if not self._draining:
            self._drain()

    def _drain(self) -> None:
        self._draining = True
        try:
            while self._outgoing and not self._write_blocked:
                data = self._outgoing.popleft()
                if self._at_once > 0:
                    self._at_once -= len(data)
                    try:
                        data = send_at_once(self.transport, data)
                    except ConnectionLost as error:
                        self._send_error = error
                        self._at_once = self._at_once_limit = 0
                    if not data:
                        continue
                self.transport.write(data)
        finally:
            self._draining = False
