"""
A service that answers requests: it keeps values under names. Start it, then run the command that it prints:

    python examples/request_server.py
"""

from twisted.internet import endpoints, task
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTCP

from sodiumtwist import KeyPair, Peer, RequestError, SingleLogin, SodiumServerFactory

#: From this number on, the codes are the application's.
UNKNOWN_COMMAND = 0x80000000


class Shelf:
    """
    Values under names. ``put NAME VALUE`` puts one there, ``get NAME`` gets it, as soon as it is there.
    """

    def __init__(self) -> None:
        self.values: dict[bytes, bytes] = {}
        self.waiting: dict[bytes, list[Deferred[bytes]]] = {}

    async def respond(self, peer: Peer, payload: bytes) -> bytes:
        """Answer one request. Others are answered meanwhile, and each answer leaves when it is there."""
        command, _, rest = payload.partition(b" ")
        name, _, value = rest.partition(b" ")
        if command == b"put":
            self.values[name] = value
            for one in self.waiting.pop(name, []):
                one.callback(value)
            return f"{len(value)} bytes from {peer.login}".encode()
        if command == b"get":
            if name not in self.values:
                there: Deferred[bytes] = Deferred()
                self.waiting.setdefault(name, []).append(there)
                # If the client does not want the answer any more, this is cancelled.
                return await there
            return self.values[name]
        # The client gets this. Of any other exception it gets no more than that there was one.
        raise RequestError(UNKNOWN_COMMAND, "neither get nor put")


async def main(reactor: IReactorTCP) -> None:
    # A service that stays has a key that stays: sodiumtwist.contacts.keyfiles.read_key_file("server.key").
    pair = KeyPair.generate()
    factory = SodiumServerFactory(pair, SingleLogin("me", "open sesame"), Shelf().respond)
    port = await endpoints.serverFromString(reactor, "tcp:0:interface=127.0.0.1").listen(factory)
    print(f"python examples/request_client.py {pair.public.hex()} tcp:127.0.0.1:{port.getHost().port}", flush=True)
    # Until Ctrl-C.
    await Deferred()


task.react(main)
