"""
ZeroMQ with CURVE: a DEALER asks a ROUTER that lets in one client's key.

A message of eight bytes says how many bytes follow in other messages, and the server confirms when they have come.
Any other message is sent back, or answered by what the server has been given.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import zmq
from zmq.auth.thread import ThreadAuthenticator

from ..child import HOST, tell
from ..payloads import payload
from ..tables import NotInstalled
from ..tasks import BULK, CONNECTIONS, IN_FLIGHT, WINDOWS, Task
from ..usage import Meter
from .counting import SIZE

#: How many messages may wait in a socket, so that bulk does not fill the memory.
HIGH_WATER = 256

#: How many answers may wait. A ROUTER drops what is more, and learns late which ones have left.
ANSWERS_HIGH_WATER = 8 * WINDOWS[IN_FLIGHT]


class _OneKey:
    """
    Lets in one client.

    :param key: its public key.
    """

    def __init__(self, key: bytes) -> None:
        self._key = key

    def callback(self, domain: str, key: bytes) -> bool:
        return bool(key == self._key)


def serve(directory: str, answer_size: int = 0) -> None:
    if not zmq.has("curve"):
        raise NotInstalled("libzmq with CURVE")
    context = zmq.Context()
    server_public, server_secret = zmq.curve_keypair()
    client_public, client_secret = zmq.curve_keypair()
    authenticator = ThreadAuthenticator(context)
    authenticator.start()
    authenticator.configure_curve_callback("*", credentials_provider=_OneKey(client_public))
    router = context.socket(zmq.ROUTER)
    router.curve_server, router.curve_secretkey, router.curve_publickey = True, server_secret, server_public
    router.rcvhwm, router.sndhwm = HIGH_WATER, ANSWERS_HIGH_WATER
    port = router.bind_to_random_port(f"tcp://{HOST}")
    keys = {"server_public": server_public, "client_public": client_public, "client_secret": client_secret}
    tell(port=port, **{name: key.decode() for name, key in keys.items()})
    _answer(router, payload(answer_size))


def _answer(router: Any, answer: bytes) -> None:
    left: dict[bytes, list[int]] = {}
    receive, send, size_of_size = router.recv_multipart, router.send_multipart, SIZE.size
    while True:
        parts = receive()
        who, data = parts
        announced = left.get(who)
        if announced is not None:
            announced[1] -= len(data)
            if announced[1] <= 0:
                del left[who]
                send([who, SIZE.pack(announced[0])])
        elif len(data) == size_of_size:
            (size,) = SIZE.unpack(data)
            left[who] = [size, size]
        else:
            send([who, answer or data])


def run(directory: str, server: dict[str, Any], task: dict[str, Any]) -> dict[str, Any]:
    context, work = zmq.Context(), Task(**task)
    data = payload(work.size)

    def connect() -> Any:
        dealer = context.socket(zmq.DEALER)
        dealer.curve_serverkey = server["server_public"].encode()
        dealer.curve_publickey = server["client_public"].encode()
        dealer.curve_secretkey = server["client_secret"].encode()
        dealer.rcvhwm = dealer.sndhwm = HIGH_WATER
        dealer.connect(f"tcp://{HOST}:{server['port']}")
        return dealer

    def connections(count: int) -> None:
        for _ in range(count):
            dealer = connect()
            dealer.send(data)
            dealer.recv()
            dealer.close(linger=0)

    if work.workload == CONNECTIONS:
        return _measured(connections, work)
    dealer = connect()

    def bulk(count: int) -> None:
        dealer.send(SIZE.pack(len(data) * count))
        for _ in range(count):
            dealer.send(data)
        if dealer.recv() != SIZE.pack(len(data) * count):
            raise ValueError("the server confirmed something else")

    def requests(count: int) -> None:
        first = min(count, work.window)
        for _ in range(first):
            dealer.send(data)
        for _ in range(count - first):
            dealer.recv()
            dealer.send(data)
        for _ in range(first):
            dealer.recv()

    return _measured(bulk if work.workload == BULK else requests, work)


def _measured(way: Callable[[int], None], task: Task) -> dict[str, Any]:
    way(task.warm_up)
    meter = Meter()
    way(task.count)
    return meter.read()
