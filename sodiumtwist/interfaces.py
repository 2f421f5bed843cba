"""
What applications learn about the other end.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from twisted.internet.interfaces import ITransport
from zope.interface import Attribute


@dataclass(frozen=True)
class Peer:
    """
    Who is at the other end of an authenticated connection.

    :ivar login: with which the client was let in; on a client ``None``, servers have none.
    :ivar public_key: 32 bytes.
    :ivar address: an ``IAddress``, as ``getPeer()`` of the connection's transport gives it.
    """

    login: str | None
    public_key: bytes
    address: Any


class ISodiumTransport(ITransport):
    """The transport of an application whose stream is encrypted."""

    peer: Peer = Attribute("Who is at the other end, a :class:`Peer`.")
