"""
Requests whose answers a test gives, and both ends of them in memory.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from twisted.internet.defer import Deferred
from twisted.internet.task import Clock

from sodiumtwist import Peer, RequestClient, SingleLogin, SodiumServerFactory
from sodiumtwist.protocol.requests import CONCURRENCY, REQUEST_LIMIT, Respond, Responder

from .pair import LOGIN, PASSPHRASE, SERVER_PAIR, Pair, make_client_factory

if TYPE_CHECKING:
    pass

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


def make_pair(respond: Respond, limit: int = REQUEST_LIMIT, concurrency: int = CONCURRENCY) -> RequestPair:
    clock = Clock()
    checker = SingleLogin(LOGIN, PASSPHRASE)
    server_factory = SodiumServerFactory(SERVER_PAIR, checker, respond, clock=clock, concurrency=concurrency)
    return Pair(server_factory, make_client_factory(clock, lambda: RequestClient(limit)))
