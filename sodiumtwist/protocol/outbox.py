"""
How PDUs get from a connection to its transport: together where they can, in order, and no faster than
it takes them.
"""

from __future__ import annotations

from collections.abc import Callable

from twisted.internet.defer import Deferred
from twisted.internet.error import ConnectionLost

from ..core.connection import ClientConnection, ServerConnection
from ..core.errors import WindowExceeded
from ..core.inbox import Buffer
from ..core.v2.sealing import MAX_BODY
from .sockets import READ_SIZE, SEND_SIZE, TransportBelow
from .unread import Unread

#: What is sent while one read is worked on waits until it is so much, in bytes, or all is done. Up to twice as much
#: goes to the transport in one piece: so a peer that takes much slowly is seen to take some.
CORK_LIMIT = 65536

#: So much, in bytes, where the transport is a socket: the peer gets to work on the first answers while
#: we make the others. With 128 small requests under way that nearly doubles how many are answered.
SOCKET_CORK_LIMIT = 2048

#: So much, in bytes, of what a producer produces: half a record of version 2. Whatever is smaller, two of it fit one.
RECORD_LIMIT = MAX_BODY // 2 + 1

#: How many PONGs a peer that takes nothing is owed at most at once. Then so many more each second: a peer whose
#: application reads nothing for hours goes on to send PINGs, about one a second at most, and no faster. Also how many
#: PONGs are made at once when it takes more again.
PONG_LIMIT = 64
PONGS_PER_SECOND = 2

#: About how many bytes of memory each PDU that waits takes beyond its own. With small answers, as to requests that are
#: refused, it is most of what they take.
PDU_MEMORY = 200


class Outbox:
    """
    What one connection sends. PDUs wait in the connection, unsealed, until the transport takes them.

    :param connection: the core's end.
    :param below: its transport.
    :param unread: the sum to which what waits here belongs; ``None`` where there is none.
    :ivar corked: whether what is sent waits for more: while one read is worked on, or a producer produces.
    :ivar limit: how many bytes wait at most while corked.
    :ivar early_limit: what ``limit`` is while the transport takes all.
    :ivar at_once: how many bytes may go to the socket without the reactor, until it calls us again.
    :ivar allowance: what ``at_once`` is each time the reactor calls us; 0 where the transport is no bare socket.
    :ivar blocked: whether the transport takes no more.
    :ivar greeting: whether a hello was sent in the read that is worked on. It may not have left the transport yet, so
        an abort must not drop it.
    :ivar owed_pongs: how many PONGs are to be sent when the transport takes more again. They are made then, so they
        take no memory.
    :ivar pings: one for each PING on its way but those that the deadlines ask for: the Deferred to tell, or ``None``
        for that which shows the server our key.
    :ivar incoming: how many bytes of messages that are being put together are in the sum.
    :ivar error: what broke the connection while it was written to.
    :ivar ended: whether the transport has ended: what is sent then is dropped.
    :ivar left_unsent: whether something was left when the transport ended, or was sent later.
    """

    __slots__ = (
        "_below",
        "_blocked_at",
        "_connection",
        "_flushing",
        "_kept",
        "_noted",
        "_shared",
        "_unread",
        "allowance",
        "at_once",
        "blocked",
        "corked",
        "early_limit",
        "ended",
        "error",
        "greeting",
        "incoming",
        "left_unsent",
        "limit",
        "owed_pongs",
        "pings",
    )

    def __init__(
        self, connection: ServerConnection | ClientConnection, below: TransportBelow, unread: Unread | None = None
    ) -> None:
        self._connection = connection
        self._below = below
        self._unread = unread
        # What the application keeps for the peer, and how much of all that waits is in the sum.
        self._kept = self._noted = self.incoming = 0
        self._shared = self._flushing = self.blocked = self.corked = self.greeting = self.ended = self.left_unsent = (
            False
        )
        self.owed_pongs = 0
        self.pings: list[Deferred[float] | None] | None = None
        self._blocked_at = 0.0
        self.error: ConnectionLost | None = None
        bare = below.is_bare_socket
        self.limit = self.early_limit = SOCKET_CORK_LIMIT if bare else CORK_LIMIT
        self.at_once = self.allowance = SEND_SIZE if bare else 0

    def send(self) -> None:
        """Send what the connection has, unless it is to wait for more."""
        if not self.corked:
            self.flush()
            self.at_once = 0  # more may follow: it waits for the reactor's next round, and leaves together
        elif self._connection.unsent.size >= self.limit:
            self.flush()

    def flush(self) -> None:
        """Send what the connection has, as far as the transport takes it."""
        if self._flushing:
            return  # the transport has called us back while it is written to below
        if self.ended:
            self.transport_ended()
            return
        connection = self._connection
        self._flushing = True
        try:
            while connection.unsent.size and not self.blocked:
                waits = self.at_once <= 0 < self.allowance and self._below.ask_for_turn()
                if not waits:
                    data: Buffer
                    if self.at_once > 0:
                        data = connection.data_passing(2 * CORK_LIMIT)
                        self.at_once -= len(data)
                        try:
                            data = self._below.send_at_once(data)
                        except ConnectionLost as error:
                            self.error = error
                            self.at_once = self.allowance = 0
                            data = bytes(data)
                        if not data:
                            continue
                        self.at_once = 0  # it is full
                    else:
                        data = connection.data_to_send(2 * CORK_LIMIT)
                    self._below.transport.write(data)
                if self._unread is not None and self._noted <= self._kept:
                    # As much may stay here or in the transport before no more is taken. How much of it does is
                    # looked at only when all together may be too much.
                    self._noted += READ_SIZE
                    self._unread.seeming += READ_SIZE
                if waits:
                    # Sealed when the socket takes it, and not before: of many connections, most of which wait, it
                    # would lie about in memory that is cold by then. And what follows in this turn leaves with it.
                    self._below.say_if_full(self._memory())
                    break
        finally:
            self._flushing = False
        unread = self._unread
        if unread is not None:
            if self.blocked:
                self._note(self._measure())
            if unread.seeming > unread.most:
                unread.look()

    def hand_over(self) -> None:
        """Give the transport what waits for its turn, and from now on all: it is a bare socket's no more."""
        self.at_once = self.allowance = 0
        if not self.corked:
            self.flush()

    def block(self, now: float) -> None:
        """The transport takes no more."""
        if not self.blocked:
            self.blocked = True
            self._blocked_at = now
        self.limit = CORK_LIMIT

    def unblock(self) -> None:
        """The transport takes more again, and the reactor has called us."""
        self.blocked = False
        self._note(self._kept)
        self.at_once = self.allowance

    def owe_pong(self, now: float) -> None:
        """
        A PING came while the transport takes no more.

        :param now: seconds of the clock.
        :raises WindowExceeded: when they come faster than those of a peer whose application is slow.
        """
        self.owed_pongs += 1
        if self.owed_pongs > PONG_LIMIT + PONGS_PER_SECOND * (now - self._blocked_at):
            raise WindowExceeded(f"the peer sends PINGs, takes nothing, and is owed {self.owed_pongs} PONGs")

    def pay_pongs(self, wall_clock: Callable[[], int]) -> None:
        """
        Send the PONGs that are owed, as many as the transport takes.

        :param wall_clock: tells the time of day in nanoseconds since the epoch.
        """
        while self.owed_pongs and not self.blocked:
            count = min(self.owed_pongs, PONG_LIMIT)
            self.owed_pongs -= count
            for _ in range(count):
                self._connection.send_pong(wall_clock())
            self.flush()

    # What waits for a peer that does not read

    def keep(self, size: int) -> None:
        """
        The application keeps something for the peer that it can't send yet.

        :param size: how many bytes more; below 0 when it keeps less.
        """
        self._kept += size
        self._note(self._noted + size)
        if self._unread is not None and self._unread.seeming > self._unread.most:
            self._unread.look()

    def share(self) -> None:
        """Large messages come, or go, on this connection; from then on the system's queues are kept short."""
        if not self._shared:
            self._shared = True
            self._below.shorten_queues()

    def count_incoming(self) -> None:
        """There is more, or less, of messages that come in parts: until the rest comes they take memory as well."""
        self.share()
        held = self._connection.incoming.held
        change, self.incoming = held - self.incoming, held
        self.keep(change)

    def held(self) -> int:
        """Tell how many bytes wait for the peer, which are noted then; none where they are in no sum."""
        if self._unread is None:
            return 0
        size = self._measure()
        # Of a transport that goes on taking, it is not told when it has less or more: it is noted with the next write.
        self._noted = size if self.blocked else self._kept
        return size

    def not_taken(self) -> int:
        """Tell how many bytes were sent that the peer's system does not have, as far as that can be known."""
        return self._connection.unsent.size + (self._below.unsent() or self._below.held())

    def _memory(self) -> int:
        """About how many bytes of memory the PDUs take that wait here."""
        unsent = self._connection.unsent
        size: int = unsent.size + PDU_MEMORY * len(unsent.queue)
        return size

    def _measure(self) -> int:
        return self._kept + self._memory() + self._below.held()

    def _note(self, size: int) -> None:
        if self._unread is not None:
            self._unread.seeming += size - self._noted
            self._noted = size

    def leave_sum(self) -> None:
        """What waits here is dropped, and counts no longer."""
        self._unread = None

    def close_gate(self) -> None:
        """The transport gets nothing more: all was handed over, or the rest is dropped."""
        self.blocked = False
        self._below.close_gate()

    def transport_ended(self) -> None:
        """Nothing more can be sent; what was not is dropped."""
        self._note(0)
        self._unread = None
        connection = self._connection
        waiting = connection.unsent.size
        connection.drop_unsent()
        # A packet of the handshake stays there, and is nothing that the application has sent.
        self.left_unsent = self.left_unsent or self.blocked or connection.unsent.size < waiting
        self.blocked = False
        self.ended = True
