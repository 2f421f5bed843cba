"""
What applications learn about the other end, and the interfaces of what they are given.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any
from weakref import ref

from twisted.internet.defer import Deferred, fail
from twisted.internet.interfaces import IAddress, IConsumer, IProtocol, IPushProducer, ITransport
from zope.interface import Attribute, Interface

from .core.errors import ClosedHere, LocalProtocolError, NotDone
from .core.inbox import Buffer

#: What a peer is told when a stream is broken off, and nobody says why.
BROKEN_OFF = "the stream was broken off"


@dataclass(frozen=True)
class Peer:
    """
    Who is at the other end of an authenticated connection.

    :ivar login: the login that the client was let in with. On a client it is ``None``: servers have none.
    :ivar public_key: 32 bytes. A server's key is proven by its hello. A client's key is proven when the server
        has ``authorized_keys``; otherwise it is only what the client says.
    :ivar address: an ``IAddress``, as ``getPeer()`` of the connection's transport gives it.
    :ivar avatar: what the realm of a portal gave for the login; ``None`` without a portal.
    :ivar version: of the protocol that is spoken.

    In version 2 it can be asked, by :meth:`request`.
    """

    # The avatar is left out of repr and ==: it is an object of the application, which may show secrets.
    login: str | None
    public_key: bytes
    address: IAddress
    avatar: Any = field(default=None, repr=False, compare=False)
    version: int = 1
    # What gives the end that asks it, as long as there is one. It is a weak reference, lest all be garbage that only
    # the collector finds.
    _end: Callable[[], Any] | None = field(default=None, init=False, repr=False, compare=False)
    # Why that end is over: who keeps this, and not the end, is told the same.
    _over: NotDone | None = field(default=None, init=False, repr=False, compare=False)

    def asked_by(self, end: Any) -> Peer:
        """Return one that ``end`` asks."""
        peer = object.__new__(type(self))
        # As copy() does, in a tenth of the time: each login makes one.
        vars(peer).update(vars(self), _end=ref(end))
        return peer

    def ended(self, why: NotDone) -> None:
        """The connection is over."""
        # A copy, which has no traceback with what is in its frames.
        object.__setattr__(self, "_over", why.of_request(True))

    def request(self, payload: Buffer, timeout: float | None = None) -> Deferred[bytes]:
        """
        Ask it, in a responder or later, as long as its connection lives.

        :param payload: up to 16 MiB, or what the bounds say.
        :param timeout: how many seconds to wait for the answer; ``None`` for as long as the connection lives.
        :return: fires with the answer. Fails with a :exc:`~sodiumtwist.core.errors.NotDone`, as
            :meth:`RequestClient.request` does; and with :exc:`~sodiumtwist.core.errors.LocalProtocolError` where the
            end asks nothing: in version 1 no server can.
        :raises TypeError: for anything but contiguous bytes.
        """
        if self._end is None:
            return fail(LocalProtocolError("it can't be asked: that takes requests, and on a server version 2"))
        if self._over is not None:
            return fail(self._over.of_request(True))
        end = self._end()
        if end is None:
            return fail(ClosedHere("the connection is over"))
        asked: Deferred[bytes] = end.request(payload, timeout)
        return asked


class ISodiumAvatar(Interface):
    """
    The interface that a portal's realm is asked for. The avatar may be anything; the application finds it as
    ``peer.avatar``. The realm gets the :class:`Peer` as ``mind``, with a public key that is not proven yet. The logout
    that it returns is called when the connection is over.
    """


class IDrainable(Interface):
    """
    What the protocol of an encrypted stream may provide, to hear that the other end is about to stop. It has nothing to
    do for that: its stream goes on, for as long as the other end gives it. If it can end sooner, it had better.
    """

    def drain_received() -> None:
        """The other end is about to stop: begin nothing new in this stream, and close it when all is done."""


class IReadListener(Interface):
    """
    What the protocol of an encrypted stream may provide that hands on what it receives: so it can hand on in one piece
    what came together.
    """

    def read_over() -> None:
        """All was delivered that came with one read of the socket, or is not delivered yet."""


class IStreamTransport(ITransport, IConsumer, IPushProducer):
    """What our transports have in common with those of sockets and of TLS."""

    def loseWriteConnection() -> None:
        """End the direction in which we write, and leave the other. TLS can't do that."""


class ISodiumTransport(IStreamTransport):
    """The transport of an application whose stream is encrypted."""

    peer: Peer = Attribute("Who is at the other end, a :class:`Peer`.")
    protocol: IProtocol = Attribute("The protocol that gets what comes. Another one can be put in its place.")

    def write_now(data: bytes) -> None:
        """
        Send bytes, and what was written before, without waiting for more that may be written in this turn of the
        reactor. For whoever has all of it. A producer may be paused within this call.
        """

    def breakConnection(why: str = BROKEN_OFF) -> None:
        """
        Close when all is sent that was written, but without the end of the stream, so that the peer sees that the
        connection was lost.

        :param why: a line for a person, up to 1024 bytes of UTF-8, which the peer sees in version 2.
        """

    def abortConnection() -> None:
        """Close at once. What was not sent yet is dropped, and the peer sees that the connection was lost."""

    def startTLS(contextFactory: Any, normal: bool = True) -> None:
        """
        From here on speak TLS within the stream. The transport then has ``getPeerCertificate()``.

        :param contextFactory: as for a socket's transport.
        :param normal: whether the client of the stream is that of TLS; else its server is.
        """
