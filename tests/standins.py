"""
Simple stand-ins for programs that pages take for granted: ``python tests/standins.py NAME …``.
"""

from __future__ import annotations

import getopt
import socket
import sys
import threading
import time


def _options(arguments: list[str]) -> dict[str, str]:
    defaults = {"-U": "username", "-P": "passphrase", "-r": "127.0.0.1", "-R": "5555"}
    return {**defaults, **dict(getopt.getopt(arguments, "k:U:P:r:R:f:")[0])}


def _listen(port: str = "0") -> socket.socket:
    listening = socket.create_server(("127.0.0.1", int(port)))
    print(f"listening on 127.0.0.1:{listening.getsockname()[1]}", flush=True)
    return listening


def client(arguments: list[str]) -> None:
    """
    Do what the C client does: send one DATA at a time, not framed, and stay connected until ended.
    """
    from sodiumtwist.core.connection import ClientConnection
    from sodiumtwist.core.events import Authenticated, DataReceived, PingReceived
    from sodiumtwist.core.keys import parse_key
    from sodiumtwist.core.v1.messages import WINDOW

    options = _options(arguments)
    key = parse_key(options["-k"], "server's key")
    connection = ClientConnection(key, options["-U"], options["-P"], time.monotonic())
    with socket.create_connection((options["-r"], int(options["-R"]))) as transport, open(options["-f"], "rb") as file:
        connection.initiate()
        transport.sendall(connection.data_to_send())
        while data := transport.recv(65536):
            for event in connection.receive_data(data, time.monotonic()):
                if isinstance(event, PingReceived):
                    connection.send_pong(time.time_ns())
                    transport.sendall(connection.data_to_send())
                elif isinstance(event, (Authenticated, DataReceived)):
                    if payload := file.read(WINDOW):
                        connection.send_data(payload)
                        transport.sendall(connection.data_to_send())
                    else:
                        print("all is acknowledged", flush=True)
        connection.receive_eof()


def server(arguments: list[str]) -> None:
    """
    Do what the C server does: write each DATA to the one file, and acknowledge it.
    """
    from sodiumtwist.core.connection import ServerConnection
    from sodiumtwist.core.events import AuthenticationRequested, DataReceived
    from sodiumtwist.core.keys import KeyPair

    options = _options(arguments)
    pair = KeyPair.from_hex(options["-k"])
    with _listen(options["-R"]) as listening, open(options["-f"], "wb") as file:
        while True:
            transport, _ = listening.accept()
            connection = ServerConnection(pair, time.monotonic())
            with transport:
                while data := transport.recv(65536):
                    for event in connection.receive_data(data, time.monotonic()):
                        if isinstance(event, AuthenticationRequested):
                            if not event.matches(options["-U"], options["-P"]):
                                raise SystemExit("wrong login or passphrase")
                            connection.accept(time.monotonic())
                            transport.sendall(connection.data_to_send())
                        elif isinstance(event, DataReceived):
                            file.write(event.payload)
                            file.flush()
                            text = f"DATA OK: RECEIVED {len(event.payload)} BYTES"
                            connection.send_data(text.encode().ljust(32, b"\0"))
                            transport.sendall(connection.data_to_send())


def database(arguments: list[str]) -> None:
    """
    Be a Redis server that knows only PING.
    """

    def serve(transport: socket.socket) -> None:
        with transport, transport.makefile("rb") as lines:
            for line in lines:
                if line.strip().upper() == b"PING":
                    transport.sendall(b"+PONG\r\n")

    with _listen() as listening:
        while True:
            threading.Thread(target=serve, args=(listening.accept()[0],), daemon=True).start()


def redis_cli(arguments: list[str]) -> None:
    """
    Do what ``redis-cli -p PORT ping`` does.
    """
    ((_, port),), words = getopt.getopt(arguments, "p:")
    with socket.create_connection(("127.0.0.1", int(port))) as transport, transport.makefile("rb") as lines:
        transport.sendall(" ".join(words).encode() + b"\r\n")
        if lines.readline() != b"+PONG\r\n":
            raise SystemExit("no PONG")
    print("PONG")


PROGRAMS = {"client": client, "server": server, "database": database, "redis-cli": redis_cli}

if __name__ == "__main__":
    PROGRAMS[sys.argv[1]](sys.argv[2:])
