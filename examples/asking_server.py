"""
A server that asks its clients. Here it needs to know something of a client before it can answer it:

    python examples/asking_server.py
"""

from twisted.internet import endpoints, task
from twisted.internet.interfaces import IReactorTCP

from sodiumtwist import KeyPair, Peer, SingleLogin, SodiumServerFactory, connect


async def greet(peer: Peer, payload: bytes) -> bytes:
    """The server: answer a client, whom it asks first."""
    name = await peer.request(b"what is your name?")
    return b"hello, " + name


async def tell(peer: Peer, payload: bytes) -> bytes:
    """The client: answer the server."""
    return b"Ann" if payload == b"what is your name?" else b"that is mine to know"


async def main(reactor: IReactorTCP) -> None:
    pair = KeyPair.generate()
    factory = SodiumServerFactory(pair, SingleLogin("me", "open sesame"), greet)
    port = await endpoints.serverFromString(reactor, "tcp:0:interface=127.0.0.1").listen(factory)
    where = f"tcp:127.0.0.1:{port.getHost().port}"
    async with connect(reactor, where, pair.public, "me", "open sesame", respond=tell) as client:
        print((await client.request(b"greet me")).decode())


task.react(main)
