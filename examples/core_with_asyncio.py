"""
The protocol without Twisted: ``sodiumtwist.core`` takes bytes and gives bytes, here from and to asyncio's streams. A
server that answers in capitals, and a client that asks it twice, by version 2 of the protocol, in one program:

    python examples/core_with_asyncio.py
"""

import asyncio
import time
from asyncio import StreamReader, StreamWriter
from collections.abc import AsyncIterator
from contextlib import suppress

from sodiumtwist.core.connection import ClientConnection, RecentSalts, ServerConnection, Version2, describe_code
from sodiumtwist.core.errors import RemoteProtocolError
from sodiumtwist.core.events import (
    Aborted,
    AnswerReceived,
    AuthenticationRequested,
    ConnectionOver,
    EndReceived,
    Event,
    FailureReceived,
    HandshakeComplete,
    PingReceived,
    Refused,
    RequestReceived,
)
from sodiumtwist.core.keepalive import Timeouts
from sodiumtwist.core.keys import KeyPair
from sodiumtwist.core.states import State

CLOSING_TIME = 5.0


async def events(
    connection: ClientConnection | ServerConnection, reader: StreamReader, writer: StreamWriter
) -> AsyncIterator[Event]:
    """Iterate over what happens on a connection until it is closed, keep its deadlines, and answer PINGs."""
    now = asyncio.get_running_loop().time
    while True:
        for event in connection.events(now()):
            if isinstance(event, PingReceived):
                connection.send_pong(time.time_ns())
            else:
                yield event
        if data := connection.data_to_send():
            writer.write(data)
            continue  # these may have been the last bytes, and then all is over
        if connection.state is State.CLOSED:
            return
        try:
            wanted = connection.wanted or 65536  # of strangers no more than their handshake
            data = await asyncio.wait_for(reader.read(wanted), max(0, connection.deadline() - now()))
        except asyncio.TimeoutError:
            if connection.ping_due(now()):
                connection.send_ping(now(), time.time_ns())
            continue
        if data:
            connection.receive_data(data, now())
        else:
            connection.receive_eof()  # raises, unless both ends had said that all was done


async def close(connection: ClientConnection | ServerConnection, reader: StreamReader, writer: StreamWriter) -> None:
    """Say what there is to say, and read on for a while: a reset would destroy what the other end has not read."""
    with suppress(OSError, asyncio.TimeoutError):
        writer.write(connection.data_to_send())  # why we close, where it is to be told
        writer.write_eof()
        deadline = time.monotonic() + CLOSING_TIME
        while await asyncio.wait_for(reader.read(65536), deadline - time.monotonic()):
            pass
    writer.close()


async def serve(pair: KeyPair, settings: Version2, reader: StreamReader, writer: StreamWriter) -> None:
    now = asyncio.get_running_loop().time
    connection = ServerConnection(pair, now(), versions=(2,), version_2=settings)
    try:
        async for event in events(connection, reader, writer):
            if isinstance(event, AuthenticationRequested):
                if event.matches("me", "open sesame"):
                    connection.accept(now())
                else:
                    connection.reject()
            elif isinstance(event, RequestReceived):
                connection.send_answer(event.id, event.payload.upper())
                # Who does not take the answers is asked for no more questions.
                await asyncio.wait_for(writer.drain(), Timeouts.inactivity)
            elif isinstance(event, EndReceived):
                connection.send_end()
    except (RemoteProtocolError, OSError, asyncio.TimeoutError) as error:
        print("dropped:", error)
    finally:
        await close(connection, reader, writer)


async def ask(server_key: bytes, port: int, *questions: bytes) -> list[bytes]:
    now = asyncio.get_running_loop().time
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    settings = Version2(time.time)
    connection = ClientConnection(server_key, "me", "open sesame", now(), version=2, version_2=settings)
    connection.initiate()
    asked: list[int] = []
    answers: dict[int, bytes] = {}
    try:
        async for event in events(connection, reader, writer):
            if isinstance(event, HandshakeComplete):
                asked += [connection.send_request(question) for question in questions]
                connection.send_end()
            elif isinstance(event, AnswerReceived):
                answers[event.id] = event.payload
            elif isinstance(event, ConnectionOver):
                return [answers[id] for id in asked]  # they may have come in any order
            elif isinstance(event, (Refused, FailureReceived, Aborted)):
                raise ConnectionError(f"the server says: {describe_code(event.code)}, {event.text!r}")
        raise ConnectionError("the connection was closed here")
    finally:
        await close(connection, reader, writer)


async def main() -> None:
    pair = KeyPair.generate()
    settings = Version2(time.time, RecentSalts())  # all connections of a server share them
    done = asyncio.Event()

    async def serve_one(reader: StreamReader, writer: StreamWriter) -> None:
        await serve(pair, settings, reader, writer)
        done.set()

    server = await asyncio.start_server(serve_one, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    print(b", ".join(await ask(pair.public, port, b"hello", b"world")).decode())
    await done.wait()
    server.close()


asyncio.run(main())
