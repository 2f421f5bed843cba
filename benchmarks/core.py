"""
The second tier: the core without sockets. It turns calls into bytes, and bytes into events.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from time import perf_counter
from typing import Any

from sodiumtwist.core.connection import ClientConnection, ServerConnection
from sodiumtwist.core.keys import KeyPair

from .payloads import payload
from .plan import KIB, Plan
from .tables import Row, Table, in_turn, progress

#: How many PDUs are made at a time, outside the measured time, before receiving them is measured.
MADE_AT_ONCE = 128

READ = 64 * KIB
SIZES = {"100 B": 100, "128 KiB": 131070}


def open_pair() -> tuple[ClientConnection, ServerConnection]:
    """Make both ends of a connection that is authenticated."""
    pair = KeyPair.generate()
    client, server = ClientConnection(pair.public, "me", "secret", 0.0), ServerConnection(pair, 0.0)
    client.initiate()
    list(server.receive_data(client.data_to_send(), 0.0))
    server.accept(0.0)
    list(client.receive_data(server.data_to_send(), 0.0))
    return client, server


def send_seconds(sender: Any, body: bytes, count: int) -> float:
    """
    Measure making DATA.

    :param sender: the end that sends.
    :param body: the payload of each.
    :param count: how many.
    :return: seconds.
    """
    send, data_to_send = sender.send_data, sender.data_to_send
    began = perf_counter()
    for _ in range(count):
        send(body)
        data_to_send()
    return perf_counter() - began


def receive_seconds(sender: Any, receiver: Any, body: bytes, count: int, read: int | None) -> float:
    """
    Measure receiving DATA.

    :param sender: the end that sends.
    :param receiver: the end that receives.
    :param body: the payload of each.
    :param count: how many.
    :param read: how many bytes come at once; ``None`` for one whole PDU.
    :return: the seconds that receiving took, without making the DATA.
    """
    seconds, left, events = 0.0, count, 0
    while left:
        pdus = []
        for _ in range(min(left, MADE_AT_ONCE)):
            sender.send_data(body)
            pdus.append(sender.data_to_send())
        left -= len(pdus)
        if read is not None:
            wire = b"".join(pdus)
            pdus = [wire[start : start + read] for start in range(0, len(wire), read)]
        began = perf_counter()
        for data in pdus:
            for _ in receiver.receive_data(data, 0.0):
                events += 1
        seconds += perf_counter() - began
    if events != count:
        raise AssertionError(f"{count} DATA came as {events}")
    return seconds


def _ways(role: str) -> dict[str, Callable[[bytes, int], float]]:
    """Return what is measured for one role, by name."""

    def ends() -> tuple[Any, Any]:
        client, server = open_pair()
        return (client, server) if role == "client" else (server, client)

    def send(body: bytes, count: int) -> float:
        return send_seconds(ends()[0], body, count)

    def receive(read: int | None) -> Callable[[bytes, int], float]:
        def take(body: bytes, count: int) -> float:
            receiver, sender = ends()
            return receive_seconds(sender, receiver, body, count, read)

        return take

    return {
        f"{role} sends": send,
        f"{role} receives, whole PDUs": receive(None),
        f"{role} receives, 64 KiB reads": receive(READ),
    }


def run(plan: Plan) -> Iterator[Table]:
    """
    Take all figures of this module.

    :param plan: how much to measure.
    """
    ways = {**_ways("server"), **_ways("client")}
    for label, size in SIZES.items():
        progress(f"core, {label}")
        body = payload(size)
        count = min(plan.core_pdus, max(1, plan.core_bytes // size))
        pdus = Table(f"core-pdus-{size}", f"core alone, {label} payloads", "PDUs/s", compared=False)
        measure = {
            name: lambda take=take, body=body, count=count: count / take(body, count) for name, take in ways.items()
        }
        yield in_turn(pdus, measure, plan.rounds, plan.warm_up)
        rates = Table(f"core-bytes-{size}", f"core alone, {label} payloads, the same as bytes", "MB/s", compared=False)
        rates.rows += [Row(row.name, [sample * size / 1e6 for sample in row.samples], row.note) for row in pdus.rows]
        yield rates
