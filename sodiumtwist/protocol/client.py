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

        :return: fires after ``authenticated()``, or fails with the reason when there will be none.
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
        self._pump(begin=self._initiate)

    def _initiate(self) -> None:
        self._connection.initiate()
        if self.factory.pair is not None:
            # The server may want to see that we have this key before it serves us.
            self._send_ping()

    def _take_event(self, event: Event) -> None:
        if not isinstance(event, Authenticated):
            super()._take_event(event)
            return
        self.message = event.message
        self.peer = Peer(None, self.factory.server_key, self.transport.getPeer())
        self._now_authenticated()
        if self._error is None:
            for waiting in self._take_waiting():
                waiting.callback(None)

    def _take_waiting(self) -> list[Deferred[None]]:
        waiting, self._waiting = self._waiting, []
        return waiting

    def _before_connection_lost(self, reason: Failure, peer_left: bool) -> None:
        self._reason = reason
        for waiting in self._take_waiting():
            waiting.errback(reason)

    def _explain(self, reason: Failure) -> BaseException | None:
        if self.message is None and reason.check(ConnectionLost):
            # A server that refuses us without reading all we sent resets the connection.
            reason = Failure(ConnectionDone())
        return super()._explain(reason)
