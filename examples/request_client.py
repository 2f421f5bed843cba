"""
A client of the service of request_server.py, with three requests:

    python examples/request_client.py PUBLICKEY tcp:127.0.0.1:PORT
"""

import sys

from twisted.internet import task
from twisted.internet.interfaces import IReactorTCP

from sodiumtwist import RequestFailed, connect, parse_key


async def main(reactor: IReactorTCP, key: str, endpoint: str) -> None:
    # Behind the block, the connection is closed when all is answered.
    async with connect(reactor, endpoint, parse_key(key, "server's public key"), "me", "open sesame") as client:
        # This one is answered when there is some tea, and nothing waits for it meanwhile.
        tea = client.request(b"get tea")
        print((await client.request(b"put tea " + bytes(1_000_000))).decode())
        print(len(await tea), "bytes of tea")
        try:
            await client.request(b"drink tea", timeout=10)
        except RequestFailed as error:
            print(f"failed with code {error.code:#x}: {error}")


task.react(main, sys.argv[1:])
