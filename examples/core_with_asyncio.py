"""
The protocol without Twisted: ``sodiumtwist.core`` takes bytes and gives bytes, here from and to asyncio's streams. A
server that answers in capitals, and its client, in one program:

    python examples/core_with_asyncio.py
"""

import asyncio
import time
from asyncio import StreamReader, StreamWriter
from collections.abc import AsyncIterator

from sodiumtwist.core.connection import ClientConnection, ServerConnection
from sodiumtwist.core.errors import MalformedPDU, RemoteProtocolError
from sodiumtwist.core.events import Authenticated, AuthenticationRequested, DataReceived, Event, PingReceived
from sodiumtwist.core.keys import KeyPair


async def events(
    connection: ClientConnection | ServerConnection, reader: StreamReader, writer: StreamWriter
) -> AsyncIterator[Event]:
    """Iterate over what happens on a connection, keep its deadlines, and answer PINGs."""
    now = asyncio.get_running_loop().time
    while True:
        try:
            data = await asyncio.wait_for(reader.read(65536), max(0, connection.deadline() - now()))
        except asyncio.TimeoutError:
            if connection.ping_due(now()):
                connection.send_ping(now(), time.time_ns())
                writer.write(connection.data_to_send())
            continue
        if not data:
            connection.receive_eof()
            return
        for event in connection.receive_data(data, now()):
            if isinstance(event, PingReceived):
                connection.send_pong(time.time_ns())
            else:
                yield event
        writer.write(connection.data_to_send())
        await writer.drain()


async def serve(pair: KeyPair, reader: StreamReader, writer: StreamWriter) -> None:
    now = asyncio.get_running_loop().time
    connection = ServerConnection(pair, now())
    try:
        async for event in events(connection, reader, writer):
            if isinstance(event, AuthenticationRequested):
                if not event.matches("me", "open sesame"):
                    connection.reject()
                    break
                connection.accept(now())
            elif isinstance(event, DataReceived):
                connection.send_data(event.payload.upper())
    except RemoteProtocolError as error:
        print("dropped:", error)
    finally:
        writer.write(connection.data_to_send())  # answers to what came before an error
        writer.close()


async def ask(server_key: bytes, port: int, question: bytes) -> bytes:
    now = asyncio.get_running_loop().time
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    connection = ClientConnection(server_key, "me", "open sesame", now())
    connection.initiate()
    writer.write(connection.data_to_send())
    try:
        async for event in events(connection, reader, writer):
            if isinstance(event, Authenticated):
                connection.send_data(question)
            elif isinstance(event, DataReceived):
                return event.payload
        raise MalformedPDU("the server closed without an answer")
    finally:
        writer.close()


async def main() -> None:
    pair = KeyPair.generate()
    done = asyncio.Event()

    async def serve_one(reader: StreamReader, writer: StreamWriter) -> None:
        await serve(pair, reader, writer)
        done.set()

    server = await asyncio.start_server(serve_one, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    print((await ask(pair.public, port, b"hello, world")).decode())
    await done.wait()
    server.close()


asyncio.run(main())
