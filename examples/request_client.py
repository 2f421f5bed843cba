"""
A client that sends three requests to the service of request_server.py:

    python examples/request_client.py PUBLICKEY tcp:127.0.0.1:PORT
"""

import sys

from twisted.internet import task
from twisted.internet.defer import gatherResults
from twisted.internet.interfaces import IReactorTCP

from sodiumtwist import connect, parse_key


async def main(reactor: IReactorTCP, key: str, endpoint: str) -> None:
    client = await connect(reactor, endpoint, parse_key(key, "server's public key"), "me", "open sesame")
    # All three are on their way at once.
    for answer in await gatherResults([client.request(bytes(size)) for size in (0, 10, 131070)]):
        print(answer.decode())
    await client.close()


task.react(main, sys.argv[1:])
