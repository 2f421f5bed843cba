"""
Programs for tests under load, each of them a process. ``strangers PORT`` connects and never logs in.
``senders ENDPOINT KEY FILE…`` sends files, all at once.

Each line of standard input asks for a step, in JSON. A line of JSON answers when the step is done. Both programs end
when standard input ends, and after :data:`LIFETIME` in any case.
"""

from __future__ import annotations

import json
import os
import select
import signal
import socket
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from twisted.internet import task
from twisted.internet.defer import Deferred, gatherResults
from twisted.internet.endpoints import clientFromString

from sodiumtwist import SodiumClientFactory
from sodiumtwist.core.keepalive import Timeouts
from sodiumtwist.core.keys import parse_key
from sodiumtwist.programs.options import DEFAULT_LOGIN, DEFAULT_PASSPHRASE
from sodiumtwist.transfer.sources import open_source
from sodiumtwist.transfer.tree.client import FileClient
from sodiumtwist.transfer.tree.report import STORED, FileResult, Report
from sodiumtwist.transfer.tree.sending import Stream

#: Seconds after which these programs end by themselves, so that none outlives a test that was killed.
LIFETIME = 240

#: How many connections may be in the making at once.
BURST = 100

#: How many bytes a noisy stranger sends at first: fewer than a handshake has, exactly as many, and more.
SIZES = (1, 399, 400, 401, 5000)

#: One in so many noisy strangers goes on sending, a few bytes each second.
SLOW_SHARE = 4


@dataclass
class Stranger:
    """
    One connection.

    :ivar data: what to send at first.
    :ivar slow: whether to go on with a few bytes each second.
    """

    socket: socket.socket
    data: bytes
    slow: bool
    connected: bool = False


class Strangers:
    """
    Connections that send nothing or noise, and are held until the server closes them.

    :param port: the server's, on 127.0.0.1.
    :ivar counts: connections that the server has ``closed`` in order, that it has ``reset``, that ``failed`` to be
        made; and bytes ``received``.
    """

    def __init__(self, port: int) -> None:
        self._port = port
        self._poll = select.epoll()
        self._open: dict[int, Stranger] = {}
        self._connecting = 0
        self.counts = dict.fromkeys(("closed", "reset", "failed", "received"), 0)

    def _connect(self, host: str, data: bytes, slow: bool) -> None:
        connection = socket.socket()
        connection.setblocking(False)
        # Servers limit connections from one address.
        connection.bind((host, 0))
        connection.connect_ex(("127.0.0.1", self._port))
        self._open[connection.fileno()] = Stranger(connection, data, slow)
        self._connecting += 1
        self._poll.register(connection, select.EPOLLIN | select.EPOLLOUT)

    def _end(self, stranger: Stranger) -> None:
        # One less is being made, if this one still was.
        self._connecting -= not stranger.connected
        del self._open[stranger.socket.fileno()]
        stranger.socket.close()

    def _look(self, stranger: Stranger) -> None:
        try:
            if not stranger.connected:
                # The system tells an error only once. Asked for here, a reset would look like an end in order later.
                error = stranger.socket.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
                if error:
                    raise OSError(error, os.strerror(error))
                stranger.connected = True
                self._connecting -= 1
                self._poll.modify(stranger.socket, select.EPOLLIN)
                if stranger.data:
                    stranger.socket.send(stranger.data)
            received = stranger.socket.recv(65536)
        except BlockingIOError:
            return
        except (ConnectionResetError, BrokenPipeError):
            self.counts["reset"] += 1
        except OSError:
            self.counts["failed"] += 1
        else:
            self.counts["received"] += len(received)
            if received:
                return
            self.counts["closed"] += 1
        self._end(stranger)

    def _wait(self, seconds: float) -> bool:
        """
        Wait for something to come, and take it.

        :return: whether there is something on standard input.
        """
        asked = False
        for number, _ in self._poll.poll(seconds):
            if number == 0:
                asked = True
            elif number in self._open:
                self._look(self._open[number])
        return asked

    def _go_on_sending(self) -> None:
        for stranger in list(self._open.values()):
            if stranger.connected and stranger.slow:
                try:
                    stranger.socket.send(os.urandom(20))
                except BlockingIOError:
                    pass
                except OSError:
                    self.counts["reset"] += 1
                    self._end(stranger)

    def open(self, hosts: Sequence[str] = (), silent: int = 0, noisy: int = 0) -> dict[str, Any]:
        """
        Make more connections.

        :param hosts: source addresses, taken in turn.
        :param silent: how many send nothing.
        :param noisy: how many send random bytes.
        :return: ``counts`` so far, how many are ``open``, and the ``seconds`` this took.
        """
        began = time.monotonic()
        total = silent + noisy
        for number in range(total):
            # The noisy ones are spread evenly among the silent ones.
            turn, position = divmod(number * noisy, total)
            if position < noisy:
                data, slow = os.urandom(SIZES[turn % len(SIZES)]), turn % SLOW_SHARE == 0
            else:
                data, slow = b"", False
            self._connect(hosts[number % len(hosts)], data, slow)
            while self._connecting >= BURST:
                self._wait(1)
        while self._connecting:
            self._wait(1)
        return {**self.counts, "open": len(self._open), "seconds": time.monotonic() - began}

    def run(self) -> None:
        """Do the steps that standard input asks for."""
        self._poll.register(0, select.EPOLLIN)
        # Unbuffered, or a line could wait where the poll does not see it.
        stdin = open(0, "rb", buffering=0, closefd=False)
        next_sending = time.monotonic() + 1
        while True:
            if self._wait(0.2):
                line = stdin.readline()
                if not line:
                    return
                print(json.dumps(self.open(**json.loads(line))), flush=True)
            if time.monotonic() >= next_sending:
                self._go_on_sending()
                next_sending = time.monotonic() + 1


class Told(Report):
    """What became of the one file that is sent."""

    result: FileResult | None = None

    def settled(self, result: FileResult) -> None:
        self.result = result


async def send_all(reactor: Any, endpoint: str, key: bytes, paths: list[str]) -> dict[str, Any]:
    """
    Send files at once, each over a connection of its own, and without a name, so that each becomes a file each time.

    :return: the ``seconds`` that each took from connecting until it was stored, and the ``failures``.
    """
    seconds, failures = [], []
    # A busy machine is no failure.
    timeouts = Timeouts(authentication=LIFETIME)

    async def connect() -> FileClient | None:
        client = FileClient()
        factory = SodiumClientFactory(key, DEFAULT_LOGIN, DEFAULT_PASSPHRASE, lambda: client, timeouts=timeouts)
        try:
            await clientFromString(reactor, endpoint).connect(factory)
            await client.when_authenticated()
        except Exception as error:
            failures.append(f"{type(error).__name__}: {error}")
            return None
        return client

    async def send(client: FileClient | None, path: str) -> None:
        if client is None:
            return
        told = Told()
        try:
            await client.store(Stream(open_source(path, reactor), b""), told)
            assert told.result is not None and told.result.outcome == STORED, told.result
            seconds.append(reactor.seconds() - began)
            await client.close()
        except Exception as error:
            failures.append(f"{type(error).__name__}: {error}")

    began = reactor.seconds()
    # First all are let in: what the first ones send would take the time that the others have for that.
    clients = await gatherResults([Deferred.fromCoroutine(connect()) for _ in paths])
    await gatherResults([Deferred.fromCoroutine(send(*each)) for each in zip(clients, paths, strict=True)])
    return {"seconds": seconds, "failures": failures}


async def run_senders(reactor: Any, endpoint: str, key: str, *paths: str) -> None:
    """Send all files each time that standard input asks for it."""
    print(json.dumps("ready"), flush=True)
    while sys.stdin.readline():
        print(json.dumps(await send_all(reactor, endpoint, parse_key(key), list(paths))), flush=True)


def main(what: str, *arguments: str) -> None:
    signal.alarm(LIFETIME)
    if what == "strangers":
        Strangers(int(arguments[0])).run()
    else:
        task.react(run_senders, arguments)


if __name__ == "__main__":
    main(*sys.argv[1:])
