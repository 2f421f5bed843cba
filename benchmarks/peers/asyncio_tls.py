"""
TLS 1.3 of asyncio, by protocols on its own event loop.
"""

from __future__ import annotations

import asyncio
import os
import ssl
from collections.abc import Callable
from typing import Any

from ..certificate import CERTIFICATE, KEY, NAME
from ..child import HOST, tell
from ..payloads import payload
from ..tasks import BULK, CONNECTIONS, Task
from .asking import measured
from .counting import ECHO, SIZE, Asker, Counter


class Server(asyncio.Protocol):
    """The server's end."""

    def __init__(self, answer: bytes) -> None:
        self._answer = answer

    def connection_made(self, transport: Any) -> None:
        self.data_received = Counter(transport.write, self._answer).receive  # type: ignore[method-assign]


class Client(asyncio.Protocol):
    """The client's end."""

    def __init__(self) -> None:
        self.closed = asyncio.get_running_loop().create_future()
        self._may_write = asyncio.Event()
        self._may_write.set()
        self._receive: Callable[[bytes], None]
        self._waiting: asyncio.Future[None] | None = None

    def connection_made(self, transport: Any) -> None:
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        self._receive(data)

    def pause_writing(self) -> None:
        self._may_write.clear()

    def resume_writing(self) -> None:
        self._may_write.set()

    def connection_lost(self, error: Exception | None) -> None:
        if self._waiting is not None and not self._waiting.done():
            self._waiting.set_exception(error or ConnectionError("the server closed"))
        self._may_write.set()
        self.closed.set_result(None)

    def _wait(self) -> asyncio.Future[None]:
        self._waiting = asyncio.get_running_loop().create_future()
        return self._waiting

    def _done(self) -> None:
        assert self._waiting is not None
        self._waiting.set_result(None)

    async def send_all(self, data: bytes, count: int) -> None:
        """Send a payload ``count`` times, and wait until the server has confirmed all."""
        confirmed = bytearray()

        def receive(data: bytes) -> None:
            confirmed.extend(data)
            if len(confirmed) == SIZE.size:
                self._done()

        self._receive = receive
        waiting = self._wait()
        self.transport.write(SIZE.pack(len(data) * count))
        for _ in range(count):
            if not self._may_write.is_set():
                await self._may_write.wait()
            self.transport.write(data)
        await waiting

    async def ask_all(self, data: bytes, count: int, window: int) -> None:
        """Make ``count`` requests, with ``window`` of them unanswered."""
        waiting = self._wait()
        self._receive = lambda data: asker.receive(data)
        asker = Asker(self.transport.write, data, count, window, self._done)
        await waiting


async def _serve(directory: str, answer: bytes) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    context.load_cert_chain(os.path.join(directory, CERTIFICATE), os.path.join(directory, KEY))
    server = await asyncio.get_running_loop().create_server(lambda: Server(answer), HOST, 0, ssl=context, backlog=1024)
    tell(port=server.sockets[0].getsockname()[1])
    await server.serve_forever()


async def _work(directory: str, port: int, task: Task) -> dict[str, Any]:
    context = ssl.create_default_context(cafile=os.path.join(directory, CERTIFICATE))
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    data = payload(task.size)

    async def connect() -> Client:
        loop = asyncio.get_running_loop()
        return (await loop.create_connection(Client, HOST, port, ssl=context, server_hostname=NAME))[1]

    async def connections(count: int) -> None:
        for _ in range(count):
            client = await connect()
            client.transport.write(ECHO)
            await client.ask_all(data, 1, 1)
            client.transport.close()
            await client.closed

    if task.workload == CONNECTIONS:
        return await measured(connections, task)
    client = await connect()
    if task.workload == BULK:
        return await measured(lambda count: client.send_all(data, count), task)
    client.transport.write(ECHO)
    return await measured(lambda count: client.ask_all(data, count, task.window), task)


def serve(directory: str, answer_size: int = 0) -> None:
    asyncio.run(_serve(directory, payload(answer_size)))


def run(directory: str, server: dict[str, Any], task: dict[str, Any]) -> dict[str, Any]:
    return asyncio.run(_work(directory, server["port"], Task(**task)))
