"""
What applications learn about the other end.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from twisted.internet.interfaces import IAddress, IConsumer, IPushProducer, ITransport
from zope.interface import Attribute, Interface


@dataclass(frozen=True)
class Peer:
    """
    Who is at the other end of an authenticated connection.

    :ivar login: with which the client was let in; on a client ``None``, servers have none.
    :ivar public_key: 32 bytes. A server's is proven by its hello. A client's is proven where the server
        has ``authorized_keys``, and is otherwise only what the client says.
    :ivar address: an ``IAddress``, as ``getPeer()`` of the connection's transport gives it.
    :ivar avatar: what the realm of a portal gave for the login; ``None`` without a portal.
    """

    login: str | None
    public_key: bytes
    address: IAddress
    avatar: Any = field(default=None, repr=False, compare=False)


class ISodiumAvatar(Interface):
    """
    What a portal's realm is asked for. Anything will do: the application finds it as ``peer.avatar``. The
    realm gets the :class:`Peer` as ``mind``, with a public key that is not proven yet, and its logout is
    called when the connection is over.
    """


class IStreamTransport(ITransport, IConsumer, IPushProducer):
    """What the transports of sockets, of TLS and ours have in common."""

    def loseWriteConnection() -> None:
        """End one direction and leave the other, which TLS can't."""


class ISodiumTransport(IStreamTransport):
    """The transport of an application whose stream is encrypted."""

    peer: Peer = Attribute("Who is at the other end, a :class:`Peer`.")

    def abortConnection() -> None:
        """Close at once; what was not sent yet is dropped, and the peer sees a lost connection."""
