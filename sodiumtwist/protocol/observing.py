"""
What ends tell of themselves to whoever counts, as metrics do: one word for each outcome, and how long it took. Where a
factory has no observer, which is usual, nothing is called and nothing is timed.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from twisted.internet.defer import CancelledError, Deferred, maybeDeferred
from twisted.internet.error import ConnectionDone, ConnectionLost
from twisted.python.failure import Failure

from ..core.connection import Code
from ..core.errors import (
    AuthenticationFailed,
    ConnectionCut,
    DecryptionFailed,
    PeerAborted,
    RemoteProtocolError,
    ReplayDetected,
    RequestError,
    TimedOut,
    WindowExceeded,
)

#: How a login may end. Each reason belongs to one outcome.
ADMITTED, REFUSED, LEFT = "admitted", "refused", "left"

#: Why clients are not let in: each reason, and what it means.
REFUSALS = {
    "credentials": "login, passphrase or key is wrong",
    "too_many_failures": "too many logins have failed, and none is checked for now",
    "not_checked": "the server could not check the login, or not in time",
    "draining": "the server is about to stop",
    "no_room": "a limit on connections was reached",
    "replay": "the handshake was sent before, or its time is too far off",
    "handshake": "the handshake does not open: another server's key, or not this protocol",
    "timeout": "the handshake did not come in time",
    "protocol": "the handshake opened, and what follows is wrong",
    "left": "the client left before it was let in",
    "broken_off": "the server ended the connection for another reason",
}

#: How sessions of clients that were let in end, and what each outcome means.
ENDS = {
    "closed": "in order",
    "cut": "the connection broke, or ended too early",
    "timeout": "nothing was heard of the client for too long, or it took too long to close",
    "aborted": "the client broke off, and said so",
    "unread": "too much waited for the client, or it sent more than it may",
    "protocol": "the client broke the protocol",
    "broken_off": "the server broke off: its application failed, or it stopped",
}

#: What becomes of requests: each outcome, and what it means.
REQUESTS = {
    "answered": "with an answer",
    "failed": "the application failed, or its answer was none",
    "refused": "by the application, with a code and a text",
    "cancelled": "the client wants no answer any more, or is gone",
    "no_room": "too much of the client's waits, so that the application was not asked",
}

#: What becomes of files that clients send: each outcome, and what it means.
UPLOADS = {
    "stored": "it stands in its place",
    "there": "it was there before, so it was not sent",
    "failed": "it was refused, or could not be stored",
    "broken_off": "its connection ended before it was whole",
}

#: The same of files that clients get.
DOWNLOADS = {
    "sent": "the client has it",
    "there": "the client had it",
    "failed": "it could not be read, or the client did not take it",
}

#: How connections end that have come in at a tunnel.
TUNNEL_ENDS = {
    "closed": "in order, on both sides",
    "broken": "one side broke, so the other was broken off",
    "unreachable": "there was no connection to where it was to go",
    "left": "it left before there was one",
    "no_room": "there were too many",
}

_CODES: dict[int | None, str] = {
    Code.REFUSED: "credentials",
    Code.TOO_MANY_FAILURES: "too_many_failures",
    Code.NO_ROOM: "not_checked",
    Code.STORAGE: "not_checked",
    Code.SHUTTING_DOWN: "draining",
}


class NoRoom(AuthenticationFailed):
    """Turned away for a limit, which is counted and not logged one by one."""


# The first that fits counts.
_REFUSALS: tuple[tuple[type[BaseException], str], ...] = (
    (NoRoom, "no_room"),
    (ReplayDetected, "replay"),
    (DecryptionFailed, "handshake"),
    (TimedOut, "timeout"),
    # Of one that left in the middle of its handshake, or did not show that it has the key that it claims.
    (AuthenticationFailed, "left"),
    (RemoteProtocolError, "protocol"),
    (ConnectionDone, "left"),
    (ConnectionLost, "left"),
)
_ENDS: tuple[tuple[type[BaseException], str], ...] = (
    (ConnectionDone, "closed"),
    (PeerAborted, "aborted"),
    (TimedOut, "timeout"),
    (ConnectionCut, "cut"),
    (WindowExceeded, "unread"),
    (RemoteProtocolError, "protocol"),
)


def name_refusal(error: BaseException) -> str:
    """
    Say in one word why a client was not let in.

    :param error: what its connection ended with.
    :return: one of :data:`REFUSALS`.
    """
    code = getattr(error, "code", None) if isinstance(error, AuthenticationFailed) else None
    return _CODES.get(code) or next((word for kind, word in _REFUSALS if isinstance(error, kind)), "broken_off")


def name_end(error: BaseException, peer_left: bool) -> str:
    """
    Say in one word how the session of a client that was let in has ended.

    :param error: what its connection ended with.
    :param peer_left: whether nothing had ended it on our side.
    :return: one of :data:`ENDS`.
    """
    word = next((word for kind, word in _ENDS if isinstance(error, kind)), "broken_off")
    return "cut" if word == "broken_off" and peer_left else word


class Observer:
    """
    Is told what becomes of connections, logins and requests. For subclasses; each method does nothing here. They are
    called where the work is done, so they return soon, and raise nothing.
    """

    def arrived(self, end: Any) -> None:
        """
        A connection is made to a server.

        :param end: its end.
        """

    def decided(self, end: Any, outcome: str, reason: str, seconds: float) -> None:
        """
        A client was let in, or is gone and never was. Of each connection this is said once.

        :param end: the server's; it knows its ``login``, ``traffic`` and ``peer``, which is ``None`` unless it came in.
        :param outcome: :data:`ADMITTED`, :data:`REFUSED` or :data:`LEFT`.
        :param reason: one of :data:`REFUSALS`; ``""`` for one that was let in.
        :param seconds: since the connection began.
        """

    def over(self, end: Any, outcome: str, seconds: float) -> None:
        """
        The session of a client that was let in is over.

        :param end: the server's.
        :param outcome: one of :data:`ENDS`.
        :param seconds: since the connection began.
        """

    def request_over(self, outcome: str, seconds: float) -> None:
        """
        A request of a client's is done with.

        :param outcome: one of :data:`REQUESTS`.
        :param seconds: that the application has taken for it.
        """

    def uploaded(self, outcome: str, count: int, size: int) -> None:
        """
        It is known what has become of files that a client sends.

        :param outcome: one of :data:`UPLOADS`.
        :param count: of so many files.
        :param size: how many bytes those have that were stored.
        """

    def fetched(self, outcome: str, count: int, size: int) -> None:
        """
        It is known what has become of files that a client gets.

        :param outcome: one of :data:`DOWNLOADS`.
        :param count: of so many files.
        :param size: how many bytes those have that were sent.
        """

    def parted(self, end: Any, outcome: str, seconds: float) -> None:
        """
        A connection that had come in at a tunnel is over.

        :param end: that which had come in; it knows its ``traffic``.
        :param outcome: one of :data:`TUNNEL_ENDS`.
        :param seconds: since it began.
        """


def timed(respond: Callable[..., Any], observer: Observer, seconds: Callable[[], float]) -> Callable[..., Any]:
    """
    Tell an observer of what answers requests, how long each takes and what comes of it.

    :param respond: answers them: called with who asks and a payload, it gives bytes, or a Deferred or coroutine of
        them.
    :param observer: is told.
    :param seconds: tells the time.
    :return: the same in its place.
    """

    def over(result: object, begun: float) -> object:
        observer.request_over(_outcome_of(result), seconds() - begun)
        return result

    def respond_timed(peer: object, payload: bytes) -> Any:
        begun = seconds()
        try:
            answer = respond(peer, payload)
        except Exception:
            over(Failure(), begun)
            raise
        # There is nothing to wait for, as nearly always.
        if type(answer) is bytes:
            observer.request_over("answered", seconds() - begun)
            return answer
        working: Deferred[Any] = maybeDeferred(lambda: answer)
        return working.addBoth(over, begun)

    return respond_timed


def _outcome_of(result: object) -> str:
    if not isinstance(result, Failure):
        return "answered" if type(result) is bytes else "failed"
    if result.check(CancelledError):
        return "cancelled"
    return "refused" if result.check(RequestError) else "failed"
