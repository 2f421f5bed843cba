"""
sodiumtwist: requests by ``connect()`` and ``respond``, bulk by protocols of PDUs.
"""

from __future__ import annotations

from statistics import median
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.endpoints import TCP4ClientEndpoint

from sodiumtwist import (
    KeyPair,
    Limits,
    SingleLogin,
    SodiumClientFactory,
    SodiumClientProtocol,
    SodiumServerFactory,
    SodiumServerProtocol,
    connect,
)
from sodiumtwist.transfer.receiver import UploadFactory
from sodiumtwist.transfer.sender import UploadSender
from sodiumtwist.transfer.sources import Source
from sodiumtwist.transfer.stores import Store

from ..child import HOST, run_in_reactor, serve_in_reactor
from ..payloads import payload
from ..tasks import BULK, CONNECTIONS, CROWD, PING, STOP_AND_WAIT, UPLOAD, Task
from ..usage import Meter
from .asking import ask_all, measured, repeat
from .counting import SIZE
from .crowding import crowd
from .producing import Repeated

PAIR = KeyPair.from_secret(bytes(range(32)))
LOGIN, PASSPHRASE = "me", "open sesame"

#: Limits that no benchmark reaches.
LIMITS = Limits(connections=1_000_000, unauthenticated=1_000_000, per_address=1_000_000)


class CountingServer(SodiumServerProtocol):
    """Counts bytes. A DATA of eight bytes tells how many follow in other DATA. The last one is answered."""

    _announced = _left = 0

    def payload_received(self, payload: bytes) -> None:
        if not self._left:
            (self._announced,) = SIZE.unpack(payload)
            self._left = self._announced
            return
        self._left -= len(payload)
        if not self._left:
            self.send_data(SIZE.pack(self._announced))


class CountingClient(SodiumClientProtocol):
    """The client's end."""

    _confirming: Deferred[bytes] | None = None

    def payload_received(self, payload: bytes) -> None:
        waiting, self._confirming = self._confirming, None
        assert waiting is not None
        waiting.callback(payload)

    def connection_lost(self, reason: Any) -> None:
        if self._confirming is not None:
            self._confirming.errback(reason)

    async def send_all(self, data: bytes, count: int) -> None:
        """Send a payload ``count`` times, and wait until the server has confirmed all."""
        confirmed: Deferred[bytes] = Deferred()
        self._confirming = confirmed
        self.send_data(SIZE.pack(len(data) * count))
        Repeated(self, self.send_data, data, count).start()
        if await confirmed != SIZE.pack(len(data) * count):
            raise ValueError("the server confirmed something else")


class RepeatedSource(Source):
    """
    Reads the same chunk from memory again and again.

    :param chunk: what is read.
    :param count: how often.
    """

    def __init__(self, chunk: bytes, count: int) -> None:
        super().__init__(-1)
        self._chunk = chunk
        self._left = count

    def resume(self) -> None:
        if self._reading:
            return
        self._reading = True
        while self._reading:
            if not self._left:
                self.pause()
                self._ended(None)
                return
            self._left -= 1
            self._deliver(self._chunk)


def serve(directory: str, answer_size: int = 0) -> None:
    checker = SingleLogin(LOGIN, PASSPHRASE)
    answer = payload(answer_size)

    def respond(peer: Any, asked: bytes) -> bytes:
        return answer or asked

    def start(reactor: Any) -> dict[str, Any]:
        factories = {
            "port": SodiumServerFactory(PAIR, checker, respond, limits=LIMITS),
            "bulk_port": SodiumServerFactory(PAIR, checker, protocol=CountingServer, limits=LIMITS),
            "upload_port": UploadFactory(Store(), PAIR, checker, limits=LIMITS),
        }
        return {
            name: reactor.listenTCP(0, factory, backlog=1024, interface=HOST).getHost().port
            for name, factory in factories.items()
        }

    serve_in_reactor(start)


async def connect_counting(reactor: Any, port: int, version: int = 2, source: str = HOST) -> CountingClient:
    """
    Connect to a server that counts bytes.

    :param port: where it listens.
    :param version: of the protocol.
    :param source: the address to connect from.
    :return: the client, when it is authenticated.
    """
    endpoint = TCP4ClientEndpoint(reactor, HOST, port, bindAddress=(source, 0))
    client = CountingClient()
    await endpoint.connect(SodiumClientFactory(PAIR.public, LOGIN, PASSPHRASE, lambda: client, version=version))
    await client.when_authenticated()
    return client


async def _work(reactor: Any, server: dict[str, Any], task: Task, early: bool, version: int) -> dict[str, Any]:
    data = payload(task.size)
    where = TCP4ClientEndpoint(reactor, HOST, server["port"])

    async def once() -> None:
        client = await connect(reactor, where, PAIR.public, LOGIN, PASSPHRASE, early=early, version=version)
        await client.request(data)
        await client.close()

    if task.workload == CONNECTIONS:
        return await repeat(once, task)
    if task.workload == CROWD:
        port = server["bulk_port"]
        return await crowd(reactor, lambda source: connect_counting(reactor, port, version, source), task)
    if task.workload == UPLOAD:
        sender = UploadSender(RepeatedSource(data, task.count))
        endpoint = TCP4ClientEndpoint(reactor, HOST, server["upload_port"])
        meter = Meter()
        await endpoint.connect(SodiumClientFactory(PAIR.public, LOGIN, PASSPHRASE, lambda: sender, version=version))
        await sender.finished
        return {**meter.read(), "seconds": sender.seconds}
    if task.workload == STOP_AND_WAIT:
        counting = await connect_counting(reactor, server["bulk_port"], version)
        meter = Meter()
        for _ in range(task.count):
            await counting.send_all(data, 1)
        return meter.read()
    if task.workload == PING:
        counting = await connect_counting(reactor, server["bulk_port"], version)
        return {"seconds": median([await counting.ping() for _ in range(task.count)])}
    if task.workload == BULK:
        counting = await connect_counting(reactor, server["bulk_port"], version)
        return await measured(lambda count: counting.send_all(data, count), task)
    client = await connect(reactor, where, PAIR.public, LOGIN, PASSPHRASE, version=version)
    return await ask_all(lambda: client.request(data), task)


def run(
    directory: str, server: dict[str, Any], task: dict[str, Any], early: bool = False, version: int = 2
) -> dict[str, Any]:
    return run_in_reactor(lambda reactor: _work(reactor, server, Task(**task), early, version))
