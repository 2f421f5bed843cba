"""
A client's end.
"""

from __future__ import annotations

from twisted.internet.defer import Deferred, fail, succeed
from twisted.internet.error import ConnectionDone, ConnectionLost
from twisted.python.failure import Failure

from ..core.connection import ClientConnection
from ..core.events import Authenticated, Event
from ..interfaces import Peer
from .base import SodiumProtocol
from .context import ClientContext


class SodiumClientProtocol(SodiumProtocol):
    """
    A client's end.

    :ivar peer: who the server is, from ``authenticated()`` on.
    :ivar message: the server's line for the user, from ``authenticated()`` on.
    """

    factory: ClientContext
    peer: Peer | None = None
    message: str | None = None

    _connection: ClientConnection
    _reason: Failure | None = None

    def when_authenticated(self) -> Deferred[None]:
        """
        Wait for the server's hello.

        :return: fires after ``authenticated()``. Fails with the reason when the connection ends before that.
        """
        if self._reason is not None:
            return fail(self._reason)
        if self.peer is not None:
            return succeed(None)
        waiting: Deferred[None] = Deferred()
        self._waiting.append(waiting)
        return waiting

    def connectionMade(self) -> None:
        self._waiting: list[Deferred[None]] = []
        super().connectionMade()
        # In the pump, where what is sent waits: the handshake and a PING behind it leave together.
        self._pump(begin=self._initiate)

    def _initiate(self) -> None:
        self._connection.initiate()
        if self.factory.pair is not None:
            # The server may want to see that we have this key before it lets us in.
            self._send_ping()

    def _take_event(self, event: Event) -> None:
        if not isinstance(event, Authenticated):
            super()._take_event(event)
            return
        self.message = event.message
        self.peer = Peer(None, self.factory.server_key, self.transport.getPeer())
        self._now_authenticated()
        # The hook may have broken the connection off. Then they are told why, by _before_connection_lost().
        if self._error is None:
            for waiting in self._take_waiting():
                waiting.callback(None)

    def _take_waiting(self) -> list[Deferred[None]]:
        # All at once: what one of them calls may wait anew, or cancel another.
        waiting, self._waiting = self._waiting, []
        return waiting

    def _before_connection_lost(self, reason: Failure, peer_left: bool) -> None:
        self._reason = reason
        for waiting in self._take_waiting():
            waiting.errback(reason)

    def _explain(self, reason: Failure) -> BaseException | None:
        # A server that refuses us before it has read all that we sent resets the connection. That is a refusal, too.
        if self.message is None and reason.check(ConnectionLost):
            reason = Failure(ConnectionDone())
        return super()._explain(reason)
