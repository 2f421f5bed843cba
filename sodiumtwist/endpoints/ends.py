"""
What ends a stream, in each version of the protocol. A stream asks once which one is spoken, when it opens.

In version 1 an empty DATA is the end of its direction, and how a connection closes says nothing that could be trusted.
In version 2 END is. A connection without it was cut, however its transport has gone; who breaks a stream off says so,
by ABORT.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from twisted.internet.error import ConnectionDone, ConnectionLost, NoProtocol
from twisted.python.failure import Failure

from ..core.connection import Code, describe_code
from ..core.errors import ClosingTimeout, ConnectionCut, PeerAborted
from ..core.states import State
from ..protocol.farewell import NO_END, BrokenOff

_NOT_TAKEN = "the peer closed before it took all that was sent to it"


@dataclass(frozen=True, slots=True)
class Course:
    """
    How far a stream had come when its connection was lost.

    :ivar ended: whether its own end was sent.
    :ivar peer_ended: whether the peer's end came.
    :ivar closed: whether it was closed here, or broken off.
    :ivar left_unsent: whether something was left when the transport ended, or sent later.
    :ivar written_late: whether the application has written when the peer's end had ended its own direction as well.
    """

    ended: bool
    peer_ended: bool
    closed: bool
    left_unsent: bool
    written_late: bool


class ByEmptyData:
    """Version 1."""

    #: Whether DATA of no bytes is the peer's end.
    empty_is_end = True
    #: Whether a connection that is broken off behind the end of its stream is reset, to show that.
    resets = True

    def turn_away(self, end: Any) -> None:
        """
        Close: the application has no protocol for this peer.

        :param end: the end that closes.
        """
        end._close(NoProtocol())

    def say_end(self, end: Any) -> None:
        """
        Say the end of the stream.

        :param end: the end that says it.
        """
        # A peer that has closed before we took its end waits for none of ours, so it is not missing either.
        if not end._outbox.ended:
            end.send_data(b"")

    def break_off(self, end: Any, why: str) -> None:
        """
        Close behind what was written, without the end of the stream.

        :param end: the end that does.
        :param why: what to tell the peer.
        """
        end._close(BrokenOff())

    def close(self, end: Any, in_order: bool) -> bool:
        """
        Tell whether somebody may close, who is not the application.

        :param in_order: whether the end of the stream was sent.
        """
        return True

    def judge(self, reason: Failure, course: Course) -> Failure:
        """
        Tell the application how its stream has ended.

        :param reason: what the connection says.
        :param course: how far it had come.
        """
        unsent = course.left_unsent or course.written_late
        if course.peer_ended and course.ended and not unsent and reason.check(ConnectionLost):
            # Our end was answered by a peer that had closed already: nothing is missing.
            return Failure(ConnectionDone())
        if reason.check(ConnectionDone):
            if unsent:
                return Failure(ConnectionLost(_NOT_TAKEN))
            if not (course.peer_ended or course.closed):
                return Failure(ConnectionLost(NO_END))
        return reason


class ByEnd:
    """Version 2."""

    empty_is_end = False
    resets = False

    def turn_away(self, end: Any) -> None:
        """Say that there is no room, and close."""
        end.abort_with(Code.NO_ROOM, "the application takes no connection now", NoProtocol())

    def say_end(self, end: Any) -> None:
        """Say the end of the stream, and go on receiving."""
        # Not by close(), from which on nothing is received.
        end._connection.send_end()
        end._sent()

    def break_off(self, end: Any, why: str) -> None:
        """Close behind what was written, however slow the peer takes it, and tell it why."""
        if end._lifecycle.over:
            return
        # Not by abort_with(), which drops what a peer has not taken yet. Where the peer has broken off itself, and the
        # application takes what came before, there is nobody to tell.
        if end._connection.state is State.OPEN:
            end._connection.abort(Code.CANCELLED, why)
        end._close(BrokenOff())

    def close(self, end: Any, in_order: bool) -> bool:
        """Tell whether somebody may close, who is not the application: END would say that this was all."""
        return in_order

    def judge(self, reason: Failure, course: Course) -> Failure:
        """Tell the application how its stream has ended: in order only where both have said their ends."""
        error = reason.value
        if isinstance(error, PeerAborted):
            return _lost(f"the other end broke off: {describe_abort(error)}", error)
        if isinstance(error, (ConnectionCut, ClosingTimeout)):
            return _lost(str(error), error)
        if reason.check(ConnectionDone):
            if course.written_late:
                return Failure(ConnectionLost(_NOT_TAKEN))
            if not (course.ended and course.peer_ended):
                return Failure(ConnectionLost(NO_END))
        return reason


def describe_abort(error: PeerAborted) -> str:
    """Say why a peer has broken off: in its own words, else by its code."""
    return error.text or describe_code(error.code or 0)


def _lost(text: str, cause: BaseException) -> Failure:
    # What programs for sockets know. Who wants to know more finds it as the cause.
    error = ConnectionLost(text)
    error.__cause__ = cause
    return Failure(error)


Ending = ByEmptyData | ByEnd

#: By the version of the protocol.
ENDINGS: dict[int, Ending] = {1: ByEmptyData(), 2: ByEnd()}
