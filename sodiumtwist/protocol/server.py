"""
A server's end: one core connection, and what the server decides about its client.

An application subclasses :class:`SodiumServerProtocol`, overrides the hooks ``authenticated``, ``payload_received``
and ``connection_lost``, and sends with ``send_data``.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable
from functools import partial
from typing import cast

from twisted.internet.defer import Deferred
from twisted.internet.error import ConnectionAborted
from twisted.python.failure import Failure

from ..admission.decision import Decision, Stake, Verdict
from ..admission.limits import TurnedAway, proxy_of
from ..admission.networks import counted_address, network
from ..core.connection import PENDING_LIMIT_2, Code, ServerConnection
from ..core.errors import (
    AuthenticationFailed,
    DecryptionFailed,
    LocalProtocolError,
    RemoteProtocolError,
    WindowExceeded,
)
from ..core.events import AuthenticationRequested, Event, KeyProven
from ..core.states import State
from ..describe import describe_limit, describe_size, describe_tls_error
from ..describe.log import describe_address
from ..interfaces import Peer
from .base import SodiumProtocol
from .context import ServerContext
from .lifecycle import UNMADE, Stage, Turn, not_yet
from .observing import ADMITTED, LEFT, REFUSED, NoRoom, name_end, name_refusal
from .proxy_header import describe_missing_header, read_proxy_header
from .reading import LOGIN
from .sockets import READ_SIZE

#: Seconds that closing may take with a peer that was not let in. It has a place among those that are not
#: authenticated for so long. In version 2 it then has the usual time to read why, and to close, too.
REFUSED_CLOSING_TIME = 1.0


#: How many bytes may come behind a login of each version, until nothing more is read before it is decided on.
_PENDING: dict[int | None, int] = {1: 1, 2: PENDING_LIMIT_2}

# What the log says of a client that was let in, at its end.
_GONE = "{peer} as {login} is gone after {seconds} s, {bytes_received} bytes in, {bytes_sent} out: {reason}"
_DROPPED = "dropped {peer} as {login} after {seconds} s, {bytes_received} bytes in, {bytes_sent} out: {reason}"


# To look up a member of an enumeration is a call, and this is done for every login.
_KEY = Stake.KEY


class SodiumServerProtocol(SodiumProtocol):
    """
    A server's end.

    Before its login has come, a client may make us hold one packet of its handshake, sockets' transports given: 400
    bytes in version 1, 8208 in version 2. Its handshake is opened once. One that does not open, or came before, gets no
    answer, and the connection is closed when the time for authentication is over, not before.

    Unless a producer is registered, reading stops while the client does not take what was sent
    to it, so that answers to a client that never reads cannot pile up.

    :ivar peer: who the client is, from ``authenticated()`` on.
    :ivar login: that its handshake gave, right or wrong; ``None`` before.
    """

    factory: ServerContext
    peer: Peer | None = None
    login: str | None = None

    _connection: ServerConnection = UNMADE
    _decision: Decision | None = None

    def connectionMade(self) -> None:
        factory = self.factory
        factory.connections.add(self)
        super().connectionMade()
        if factory.observer is not None:
            factory.observer.arrived(self)
        self._below.unplaced = proxy_of(self.transport) is not None
        if self._below.unplaced:
            read_proxy_header(self.transport)
        turned_away = factory.admission.arrived(self, self._below.unplaced)
        if turned_away:
            self._turn_away(turned_away)
        if self._lifecycle.over:
            self._below.free_descriptor()
        elif not self._below.unplaced and factory.admission.lines.connections.write(None, self.transport.getPeer()):
            # As _log_connected() does, with fewer calls: this is done for every connection.
            where = describe_address(self.transport.getPeer())
            self._log.info("{peer} has connected", event="client_connected", peer=where)

    def _find_place(self) -> None:
        turned_away = self.factory.admission.note_address(self)
        self._turn_away(turned_away)
        if not turned_away:
            self._log_connected()

    @staticmethod
    def _turn_away(turned_away: Iterable[TurnedAway[SodiumServerProtocol]]) -> None:
        for one in turned_away:
            one.end.abort(NoRoom(f"turned away: {one.why}"))

    # Letting in

    def _take_event(self, event: Event) -> None:
        if isinstance(event, AuthenticationRequested):
            self._ask(event)
        elif isinstance(event, KeyProven):
            self._ask_memory()
        else:
            super()._take_event(event)

    def _ask(self, claim: AuthenticationRequested) -> None:
        """A login is to be decided on."""
        address, admission = self.transport.getPeer(), self.factory.admission
        self.login = claim.login
        if self.factory.is_draining:
            self.drain()
            return
        blocking = admission.blocked_addresses or admission.blocked_logins or admission.shared
        may_try = not blocking or admission.may_try(counted_address(self.transport), claim.login)
        self._decision = Decision(self.factory, claim, address, self._may_log_failure)
        others = None
        if may_try and admission.others is not None:
            others = partial(admission.others_allow, counted_address(self.transport), claim.login)
        verdict = self._decision.decide(claim, may_try, others)
        if not may_try:
            verdict.addCallback(self._refused_unchecked)
        self._await(verdict)

    def _refused_unchecked(self, verdict: Verdict) -> Verdict:
        # A recording is refused whether logins are checked or not, and is nobody's try.
        if not verdict.unseen and self.login is not None:
            self.factory.admission.refused(counted_address(self.transport), self.login)
        return verdict

    def _await(self, verdict: Deferred[Verdict]) -> None:
        verdict.addCallback(self._decided).addErrback(self._deciding_failed)
        if self._decision is not None and self._decision.is_open:
            # It takes time. Meanwhile the end keeps its place, and what comes behind the login waits.
            self._lifecycle.take(Turn.ASKED)
            self.factory.admission.hold_place(self)

    def _ask_memory(self) -> None:
        """The client has shown that the key is its own: its handshake can be remembered, and it be let in."""
        assert self._decision is not None
        # The PDU of the proof, and what came behind it, waits until that is decided.
        self._reading.stop(LOGIN)
        self._await(self._decision.remember(self.factory.timeouts.authentication, self._clock))

    def _decided(self, verdict: Verdict) -> None:
        if self._lifecycle.over:
            return
        if self._reading.reasons:
            self._reading.allow(LOGIN)
        peer = verdict.peer
        if peer is not None:
            if self._pumping:
                self._let_in(peer)
            else:
                self._pump(begin=lambda: self._let_in(peer))
            return
        if verdict.failure is not None:
            if self._may_log_failure(verdict.failure):
                where = self._describe_peer()
                self._log.failure(
                    "the login of {peer} could not be checked", verdict.failure, event="login_unchecked", peer=where
                )
        if verdict.error is not None:
            verdict.error.code = verdict.code  # what the client is told, if it speaks version 2
        if verdict.failed:
            self._count_failure(self.login if verdict.login_tried else None)
        if verdict.unseen:  # of version 1
            self._connection.ignore()
            self._wait_for_more()
            self._regulate()
            return
        # It keeps its place until it is gone: turned away for another, it would leave no line in the log.
        self.factory.admission.hold_place(self)
        if self._connection.undecided:
            self._connection.reject(verdict.code, verdict.text)
        if verdict.undecided and self._connection.version == 1:
            # The client takes a reset for what may go well later, and an end in order for a refusal.
            self.abort(verdict.error)
            return
        self._close(verdict.error)

    def _let_in(self, peer: Peer) -> None:
        factory = self.factory
        if self._connection.undecided:
            self._outbox.greeting = True
            # In version 2 the handshake has proven the key. What counts is what was decided, not what holds by now: a
            # handshake that was not remembered could be sent again.
            prove = self._decision.stake is _KEY  # type: ignore[union-attr]  # there was one
            self._connection.accept(self._clock.seconds(), factory.message, prove)
            self._outbox.flush()  # it does not wait for what the application does first
            if prove:
                self._wait_for_more()
                return
        self.peer = peer
        if self._decision.logout is None:  # type: ignore[union-attr]  # there was one
            self._decision = None
        if factory.admission.admitted(self):
            where = describe_address(self.transport.getPeer())
            self._log.info(
                "{peer} is authenticated as {login}, version {version}",
                event="client_admitted",
                peer=where,
                login=repr(peer.login),
                version=peer.version,
                seconds=round(self._clock.seconds() - self._connection.began, 3),
            )
        if factory.observer is not None:
            factory.observer.decided(self, ADMITTED, "", self._clock.seconds() - self.began)
        self._below.read_up_to(READ_SIZE)
        if self._reading.reasons:
            self._writing_changed()  # a stream's end reads on while writing is blocked, once its client is known
        self._now_authenticated()

    def _wait_for_more(self) -> None:
        """It is not let in, or not yet."""
        self._lifecycle.take(Turn.ANSWERED)
        # Held first where it was decided at once: it goes behind the strangers that have said nothing.
        self.factory.admission.hold_place(self)
        self.factory.admission.release_place(self)

    def _deciding_failed(self, reason: Failure) -> None:
        if reason.check(RemoteProtocolError):
            self._close(reason.value)
        else:
            self._application_failed(reason, reason.value)

    def _count_failure(self, login: str | None) -> None:
        """
        A login has failed. Others of it or from here, which are being checked, must not be that many more tries.

        :param login: ``None`` where a key was not listed, or claimed in vain.
        """
        assert self._decision is not None
        where, fingerprint = counted_address(self.transport), self._decision.fingerprint
        for end in self.factory.admission.failed(where, login, fingerprint):
            end.stop_checking()

    def stop_checking(self) -> None:
        """Refuse the login that is being checked: too many have failed meanwhile."""
        if self._decision is not None:
            self._decision.cancel()

    def _not_open(self) -> None:
        stage = self._lifecycle.stage
        if stage is Stage.ADMITTING and self._connection.buffered >= _PENDING.get(self._connection.version, 1):
            # What has come behind a login that is not decided on must wait.
            self._reading.stop(LOGIN)
        super()._not_open()
        if stage is Stage.ADMITTING:
            self._below.read_up_to(self._connection.wanted or READ_SIZE)
        elif stage is Stage.HANDSHAKE:
            self._note_stranger()
            self._read_handshake()

    def _note_stranger(self) -> None:
        if self._connection.version == 2:
            # Who has shown that it knows our key is no stranger: those must not push it out while it answers. Where
            # there are two versions, its first bytes show that, for by them it is known which one it speaks.
            state = self._connection.state
            told = state is State.AWAITING_MESSAGE_1 and len(self.factory.versions) > 1
            if told or state is State.AWAITING_MESSAGE_3:
                self.factory.admission.hold_place(self)
            elif state is State.SILENT:
                self.factory.admission.release_place(self)

    # Sending

    def _stops_reading_when_blocked(self) -> bool:
        return True

    # Ending

    def abort(self, error: BaseException | None = None) -> None:
        """
        Close at once: what was not delivered yet is dropped, except for the hello: without it the
        client would take this for a server without room.

        :param error: what ``connection_lost`` shall give as the reason.
        """
        if not self._outbox.greeting or self._lifecycle.over:
            super().abort(error)
            return
        self._outbox.greeting = False
        self._connection.drop_unsent()
        self._close(error or ConnectionAborted(), REFUSED_CLOSING_TIME)

    def drain(self) -> None:
        """
        As for both ends; and who is not let in yet is told that it comes too late, where a login is being decided on.
        """
        if not self._connection.undecided:
            super().drain()
            return
        error = AuthenticationFailed("not let in, for the server is about to stop")
        error.code = Code.SHUTTING_DOWN
        if self._connection.version == 2:
            self._connection.reject(Code.SHUTTING_DOWN, "the server is about to stop")
            self._close(error)
        else:
            self.abort(error)  # its client takes a reset for what may go well later

    def leave_untold(self, error: BaseException) -> None:
        """
        Version 1, which has no word for it: the server is about to stop. Here this breaks off.

        :param error: what ``connection_lost`` shall give as the reason.
        """
        self.abort(error)

    @property
    def is_finishing(self) -> bool:
        """Whether a server that is about to stop waits for it: there is something to finish, if only a last word."""
        lifecycle = self._lifecycle
        return lifecycle.stage is not Stage.CUT and (self.peer is not None or lifecycle.over)

    def left_unread(self) -> int:
        """Tell how many bytes wait for the client."""
        return self._outbox.held()

    def held_by(self) -> tuple[Hashable, Hashable]:
        """Tell whose client's it is, and from where."""
        if self._lifecycle.stage is Stage.UNMADE:
            raise not_yet()
        peer = self.peer
        # Without a checker anybody who has a key may give any login.
        whose = None if peer is None else peer.login if self.factory.checker is not None else peer.public_key
        return whose, network(counted_address(self.transport))

    def give_way(self, waiting: int, limit: int, held: int) -> None:
        """
        Break off, and drop what waits: it is too much for all clients together, and most of it is for this client.

        :param waiting: how many bytes wait for all clients.
        :param limit: how many may.
        :param held: how many on this connection.
        """
        self._outbox.leave_sum()
        self.abort(
            WindowExceeded(
                f"{describe_size(waiting)} wait for clients that do not read, {describe_size(held)} of it on this "
                f"connection; the limit is {describe_limit(limit)}"
            )
        )

    def _lingers(self) -> bool:
        if not isinstance(self._error, AuthenticationFailed):
            return super()._lingers()
        # Closed with something unread, a socket would reset the connection, and the client take its refusal for a
        # server that is full. What it sends behind its login is dropped as fast as it comes.
        self._below.read_up_to(READ_SIZE)
        return True

    def _closing_time(self) -> float:
        return super()._closing_time() if self.is_authenticated else REFUSED_CLOSING_TIME

    def _before_connection_lost(self, reason: Failure, peer_left: bool) -> None:
        self.factory.connections.discard(self)
        self.factory.admission.left(self)
        decision = self._decision
        if decision is not None:
            stake = decision.stake if self.peer is None else Stake.NOTHING
            decision.cancel()
            if stake is not Stake.NOTHING and (peer_left or isinstance(self._error, DecryptionFailed)):
                # Who leaves without waiting to hear must not guess for free; nor who claims keys.
                self._count_failure(self.login if stake is Stake.LOGIN else None)
            decision.log_out()
            self._decision = None
        error, observer, seconds = cast(BaseException, reason.value), self.factory.observer, self._lasted()
        if self.peer is None:
            if not isinstance(error, NoRoom):
                told = describe_tls_error(error) or describe_missing_header(self.transport, reason)
                self._log_refusal(error, told or reason.getErrorMessage())
            if observer is not None:
                why = self._name_refusal(error)
                observer.decided(self, LEFT if why == "left" else REFUSED, why, seconds)
        else:
            outcome = name_end(error, peer_left)
            self._log_end(outcome, reason)
            if observer is not None:
                observer.over(self, outcome, seconds)
        if not self.factory.connections:
            self.factory.admission.nobody_left()

    def _lasted(self) -> float:
        return self._clock.seconds() - self.began

    def _name_refusal(self, error: BaseException) -> str:
        why = name_refusal(error)
        return "draining" if why == "broken_off" and self.factory.is_draining else why

    def _may_log_failure(self, failure: Failure) -> bool:
        why = f"{failure.type.__name__}: {failure.getErrorMessage()}" if failure.type is not None else ""
        return self.factory.admission.lines.failures.write(repr(why), network(self.transport.getPeer()))

    def _application_failed(self, failure: Failure, error: BaseException | None) -> None:
        if self._lifecycle.stage is Stage.CUT and failure.check(LocalProtocolError):
            return  # it gave way while the application was sending
        if self._may_log_failure(failure):
            super()._application_failed(failure, error)
        else:
            self.abort(error)

    def _log_connected(self) -> None:
        if self.factory.admission.lines.connections.write(None, self.transport.getPeer()):
            self._log.info("{peer} has connected", event="client_connected", peer=self._describe_peer())

    def _log_end(self, outcome: str, reason: Failure) -> None:
        """A client is gone that was let in."""
        assert self.peer is not None
        lines = self.factory.admission.lines
        why = "in order" if outcome == "closed" else reason.getErrorMessage()
        line, kind = (_DROPPED, lines.ends) if reason.check(RemoteProtocolError) else (_GONE, lines.leavings)
        if kind.write(why, self.transport.getPeer()):
            traffic = self.traffic
            self._log.info(
                line,
                event="client_gone",
                peer=self._describe_peer(),
                login=repr(self.peer.login),
                version=self.peer.version,
                outcome=outcome,
                reason=why,
                seconds=round(self._lasted(), 3),
                bytes_received=traffic.bytes_received,
                bytes_sent=traffic.bytes_sent,
            )

    def _log_refusal(self, error: BaseException, why: str) -> None:
        if not self.factory.admission.lines.refusals.write(why, self.transport.getPeer()):
            return
        line, traffic, fields = "refused {peer}: {reason}", self.traffic, {}
        if self.login is not None:
            line, fields = "refused {peer} as {login}: {reason}", {"login": repr(self.login)}
        self._log.info(
            line,
            event="client_refused",
            peer=self._describe_peer(),
            outcome=self._name_refusal(error),
            reason=why,
            seconds=round(self._lasted(), 3),
            bytes_received=traffic.bytes_received,
            bytes_sent=traffic.bytes_sent,
            **fields,
        )
