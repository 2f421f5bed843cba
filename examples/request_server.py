"""
A service that answers requests. Start it, then run the command that it prints:

    python examples/request_server.py
"""

from twisted.internet import endpoints, task
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTCP

from sodiumtwist import KeyPair, Peer, SingleLogin, SodiumServerFactory


async def respond(peer: Peer, payload: bytes) -> bytes:
    """Answer one request. This may await anything: answers leave in the order of the requests all the same."""
    return f"{len(payload)} bytes from {peer.login}".encode()


async def main(reactor: IReactorTCP) -> None:
    # A service that stays has a key that stays: sodiumtwist.keyfiles.read_key_file("server.key").
    pair = KeyPair.generate()
    factory = SodiumServerFactory(pair, SingleLogin("me", "open sesame"), respond)
    port = await endpoints.serverFromString(reactor, "tcp:0:interface=127.0.0.1").listen(factory)
    print(f"python examples/request_client.py {pair.public.hex()} tcp:127.0.0.1:{port.getHost().port}", flush=True)
    # Until Ctrl-C.
    await Deferred()


task.react(main)
