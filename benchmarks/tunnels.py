"""
Tunnels in front of a redis, by whole programs: our two ends, a pair of stunnel and a pair of spiped, and none.
redis-benchmark, which the redis package has, makes the requests by 50 connections.

All programs share the machine's cores. So a tunnel that takes less processor time leaves more to the others. What is
told of processor time is that of the two ends of a tunnel alone, and of bytes what is between them.
"""

from __future__ import annotations

import csv
import os
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from functools import partial

from .certificate import CERTIFICATE, KEY, NAME, make_certificate
from .child import HOST
from .plan import Plan
from .programs import LISTENING, PAIR, TWISTD, Program, find, free_port, run_to_end
from .tables import Failed, Figure, Table, in_turn, progress
from .usage import Meter

CONNECTIONS = 50

#: How many requests a connection makes before it waits for answers.
PIPELINES = (1, 16)

#: A request of ``redis-benchmark -t get`` and its answer, for there is no such key. On the way through a tunnel they
#: pass loopback thrice, once of these encrypted.
PLAIN_SIZE = len(b"*2\r\n$3\r\nGET\r\n$16\r\nkey:__rand_int__\r\n" + b"$-1\r\n")

STUNNEL_CONFIGURATION = """
foreground = yes
pid =
sslVersionMin = TLSv1.3
socket = l:TCP_NODELAY=1
socket = r:TCP_NODELAY=1

[redis]
accept = {host}:{port}
connect = {host}:{to}
"""
STUNNEL_SERVER = "cert = {directory}/{certificate}\nkey = {directory}/{key}\n"
STUNNEL_CLIENT = "client = yes\nCAfile = {directory}/{certificate}\nverifyChain = yes\ncheckHost = {name}\n"


def requests_per_second(output: str) -> float:
    """
    Read what ``redis-benchmark --csv`` has written.

    :raises Failed: when it is something else.
    """
    # Newer ones write a line of titles before the figures.
    for row in csv.reader(output.splitlines()):
        if len(row) > 1 and row[0] == "GET":
            return float(row[1])
    raise Failed(f"redis-benchmark said {output.strip()[:100]!r}")


class Tunnels:
    """
    Starts what is needed, when it is needed for the first time.

    :param directory: for keys and configurations.
    :param stack: ends the programs.
    """

    def __init__(self, directory: str, stack: ExitStack) -> None:
        self._directory = directory
        self._stack = stack
        self._redis = 0
        self._made: dict[str, tuple[int, list[int]]] = {}
        #: How to make each one: called with the port behind it, gives both ends, the entrance first, and its port.
        self.ways: dict[str, Callable[[int], tuple[int, list[Program]]]] = {
            "sodiumtwist": partial(self._ours, 2),
            "sodiumtwist-1": partial(self._ours, 1),
            "stunnel": self._stunnel,
            "spiped": self._spiped,
            "redis": lambda port: (port, []),
        }

    def measure(self, key: str, pipeline: int, count: int) -> Figure:
        """
        Make requests through a tunnel.

        :param key: of the tunnel.
        :param pipeline: how many requests a connection makes before it waits for answers.
        :param count: how many requests are made.
        :raises NotInstalled: when a program is missing.
        :raises Failed: when one does not work.
        """
        benchmark = find("redis-benchmark")
        port, ends = self._entrance(key)
        command = [benchmark, "-h", HOST, "-p", str(port), "-t", "get", "-c", str(CONNECTIONS)]
        meter = Meter(ends)
        output = run_to_end([*command, "-P", str(pipeline), "-n", str(count), "--csv"])
        told = meter.read()
        wire = told["wire"]
        if wire is not None and ends:
            wire = max(0, wire - 2 * PLAIN_SIZE * count)
        seconds = count / requests_per_second(output)
        return Figure.of_pieces(count, seconds, told["cpu"] if ends else None, wire)

    def _entrance(self, key: str) -> tuple[int, list[int]]:
        if not self._redis:
            port = free_port()
            command = [find("redis-server"), "--bind", HOST, "--port", str(port), "--save", "", "--appendonly", "no"]
            self._start([*command, "--dir", self._directory], port)
            make_certificate(self._directory)
            self._redis = port
        if key not in self._made:
            port, ends = self.ways[key](self._redis)
            self._made[key] = port, [end.process.pid for end in ends]
        return self._made[key]

    def _start(self, command: list[str], ready: str | int, **environment: str) -> Program:
        return self._stack.enter_context(Program(command, ready, **environment))

    def _ours(self, version: int, to: int) -> tuple[int, list[Program]]:
        anywhere, protocol = f"tcp:0:interface={HOST}", ["--protocol", str(version)]
        serve = [*TWISTD, "sodium", *protocol, "--endpoint", anywhere, "--forward", f"tcp:{HOST}:{to}"]
        server = self._start(serve, LISTENING, SODIUMTWIST_KEY=PAIR.secret.hex())
        tunnel = [*TWISTD, "sodium-tunnel", *protocol, "--server-key", PAIR.public.hex(), "--listen", anywhere]
        client = self._start([*tunnel, "--to", f"tcp:{HOST}:{server.found}"], LISTENING)
        return int(client.found), [client, server]

    def _stunnel(self, to: int) -> tuple[int, list[Program]]:
        names = {"directory": self._directory, "certificate": CERTIFICATE, "key": KEY, "name": NAME}
        ends: list[Program] = []
        for side, more in (("server", STUNNEL_SERVER), ("client", STUNNEL_CLIENT)):
            port = free_port()
            configuration = os.path.join(self._directory, f"stunnel-{side}")
            with open(configuration, "w", encoding="utf-8") as file:
                file.write((STUNNEL_CONFIGURATION + more).format(host=HOST, port=port, to=to, **names))
            ends.insert(0, self._start([find("stunnel"), configuration], port))
            to = port
        return to, ends

    def _spiped(self, to: int) -> tuple[int, list[Program]]:
        key = os.path.join(self._directory, "spiped-key")
        with open(key, "wb") as file:
            file.write(os.urandom(32))
        ends: list[Program] = []
        for side in ("-d", "-e"):
            port = free_port()
            command = [find("spiped"), side, "-F", "-k", key, "-s", f"[{HOST}]:{port}", "-t", f"[{HOST}]:{to}"]
            ends.insert(0, self._start(command, port))
            to = port
        return to, ends


#: Names of the rows, by their keys.
NAMES = {
    "sodiumtwist": "sodiumtwist",
    "sodiumtwist-1": "sodiumtwist, version 1",
    "stunnel": "stunnel, TLS 1.3",
    "spiped": "spiped",
    "redis": "no tunnel",
}


def run(plan: Plan, keys: Sequence[str] | None = None) -> Iterator[Table]:
    """
    Take all figures of this module.

    :param plan: how much to measure.
    :param keys: the keys of the tunnels; ``None`` for all of them.
    """
    chosen = [key for key in NAMES if keys is None or key in keys]
    if not chosen:
        return
    with tempfile.TemporaryDirectory(prefix="sodiumtwist-bench-") as directory, ExitStack() as stack:
        tunnels = Tunnels(directory, stack)
        for pipeline in PIPELINES:
            count = plan.tunnel_requests * (1 if pipeline == 1 else 6)
            title = f"redis-benchmark -t get -P {pipeline}, {CONNECTIONS} connections, through a tunnel"
            progress(title)
            table = Table(f"tunnel-{pipeline}", title, "requests/s", wire_unit="bytes per request")
            table.cpu_unit = "s per 1,000 requests, both ends of the tunnel"
            measure = {key: partial(tunnels.measure, key, pipeline, count) for key in chosen}
            yield in_turn(table, measure, plan.rounds, plan.warm_up, NAMES)
