"""
Two real ends that speak version 2, and the bytes between them.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from sodiumtwist.core.connection import ClientConnection, ServerConnection
from sodiumtwist.core.events import AuthenticationRequested, Event
from sodiumtwist.core.v2.handshake import Drawn
from sodiumtwist.core.v2.session import Version2
from sodiumtwist.core.v2.veil import RecentSalts, Salts

from ..peers import CLIENT_PAIR, NOW, SERVER_PAIR

#: The wall clock of both ends.
UNIX_TIME = 1_800_000_000


def version_2(salts: Salts | None = None, **settings: Any) -> Version2:
    """The settings of an end, with a clock that stands still and no padding."""
    drawn = Drawn(padding=lambda: 0)
    chosen = {"unix_time": lambda: float(UNIX_TIME), "padding": lambda: 0, "drawn": drawn, **settings}
    return Version2(salts=salts, **chosen)


def new_server(versions: Sequence[int] = (1, 2), salts: Salts | None = None, **settings: Any) -> ServerConnection:
    """A server that nobody has said anything to; it draws the middle of all times."""
    return ServerConnection(
        SERVER_PAIR,
        NOW,
        draw=lambda: 0.5,
        versions=versions,
        version_2=version_2(salts or RecentSalts(), **settings),
    )


def new_client(
    login: str = "username", passphrase: str = "passphrase", server_key: bytes = SERVER_PAIR.public, **settings: Any
) -> ClientConnection:
    """A client of version 2 whose first flight waits to be taken."""
    client = ClientConnection(
        server_key, login, passphrase, NOW, CLIENT_PAIR, version=2, version_2=version_2(**settings)
    )
    client.initiate()
    return client


def accept(server: ServerConnection) -> None:
    """Let the client in."""
    server.accept(NOW, "Hello.")


def pump(
    client: ClientConnection,
    server: ServerConnection,
    decide: Callable[[ServerConnection], object] = accept,
    now: float = NOW,
) -> tuple[list[Event], list[Event]]:
    """
    Carry what both ends have to say, until neither says any more.

    :param decide: what the server does when it is asked.
    :return: what the client heard, and what the server heard.
    """
    by_client: list[Event] = []
    by_server: list[Event] = []
    while client.queued or server.queued:
        for event in server.receive_data(client.data_to_send(), now):
            by_server.append(event)
            if isinstance(event, AuthenticationRequested):
                decide(server)
        by_server += server.events(now)
        by_client += client.receive_data(server.data_to_send(), now)
        # What becomes of an end may depend on its own last bytes.
        by_server += server.events(now)
        by_client += client.events(now)
    by_client += client.events(now)
    return by_client, by_server


def open_pair(**settings: Any) -> tuple[ClientConnection, ServerConnection]:
    """Two ends that are open."""
    client, server = new_client(**settings), new_server()
    pump(client, server)
    return client, server
