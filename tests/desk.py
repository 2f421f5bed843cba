"""
Requests whose answers a test gives, and both ends of them in memory.
"""

from __future__ import annotations

from twisted.internet.defer import Deferred
from twisted.internet.task import Clock

from sodiumtwist import Limits, Peer, RequestClient
from sodiumtwist.core.connection import Bounds
from sodiumtwist.protocol.requests import CONCURRENCY, REQUEST_LIMIT, Respond, Responder

from .pair import Pair, make_client_factory, make_server_factory

LARGEST = 131070


class Desk:
    """
    A ``respond`` that answers when the test fires its Deferreds.

    :ivar asked: who asked and what, for each request in order.
    :ivar answering: the Deferred that was returned, for each request in order.
    :ivar cancelled: the payloads of the requests that were cancelled.
    """

    def __init__(self) -> None:
        self.asked: list[tuple[Peer, bytes]] = []
        self.answering: list[Deferred[bytes]] = []
        self.cancelled: list[bytes] = []

    def __call__(self, peer: Peer, payload: bytes) -> Deferred[bytes]:
        self.asked.append((peer, payload))
        answering: Deferred[bytes] = Deferred(lambda _: self.cancelled.append(payload))
        self.answering.append(answering)
        return answering

    @property
    def payloads(self) -> list[bytes]:
        return [payload for _, payload in self.asked]


RequestPair = Pair[Responder, RequestClient]


def make_pair(
    respond: Respond,
    limit: int = REQUEST_LIMIT,
    concurrency: int = CONCURRENCY,
    *,
    back: Respond | None = None,
    bounds: Bounds | None = None,
    limits: Limits | None = None,
) -> RequestPair:
    """
    Connect a client that asks.

    :param back: what the client answers with, when it is asked.
    """
    clock = Clock()
    server = make_server_factory(
        clock, None, respond=respond, concurrency=concurrency, bounds=bounds, limits=limits or Limits()
    )
    return Pair(server, make_client_factory(clock, lambda: RequestClient(limit, back, concurrency), bounds=bounds))


def clock_of(pair: RequestPair) -> Clock:
    clock = pair.server.factory.clock
    assert isinstance(clock, Clock)
    return clock
