"""
The second tier: the core without sockets. It turns calls into bytes, and bytes into events.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from time import perf_counter, time
from typing import Any

from sodiumtwist.core.connection import ClientConnection, ServerConnection
from sodiumtwist.core.events import AuthenticationRequested, DataReceived, RequestReceived
from sodiumtwist.core.keys import KeyPair
from sodiumtwist.core.v2.session import Version2
from sodiumtwist.core.v2.veil import RecentSalts

from .payloads import payload
from .plan import KIB, Plan
from .tables import Row, Table, in_turn, progress

#: How many PDUs are made at a time, outside the measured time, before receiving them is measured.
MADE_AT_ONCE = 128

READ = 64 * KIB
#: How many requests are asked before any is answered.
IN_FLIGHT = 128
SIZES = {"100 B": 100, "128 KiB": 131070}


def open_pair(version: int = 1) -> tuple[ClientConnection, ServerConnection]:
    """
    Make both ends of a connection that is authenticated.

    :param version: of the protocol.
    """
    pair, settings = KeyPair.generate(), Version2(time, RecentSalts(1))
    client = ClientConnection(pair.public, "me", "secret", 0.0, version=version, version_2=settings)
    server = ServerConnection(pair, 0.0, versions=[version], version_2=settings)
    client.initiate()
    for _ in range(2):  # version 2 takes as many
        for event in server.receive_data(client.data_to_send(), 0.0):
            if isinstance(event, AuthenticationRequested):
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


def there_seconds(version: int, body: bytes, count: int) -> float:
    """
    Measure DATA from a call to the other end's event, one at a time.

    :param version: of the protocol.
    :param body: the payload of each.
    :param count: how many.
    :return: seconds.
    """
    sender, receiver = open_pair(version)
    began = perf_counter()
    for _ in range(count):
        sender.send_data(body)
        for event in receiver.receive_data(sender.data_to_send(), 0.0):
            if type(event) is not DataReceived:
                raise AssertionError(f"a DATA came as {event}")
    return perf_counter() - began


def there_and_back_seconds(version: int, body: bytes, count: int) -> float:
    """
    Measure requests and their answers, ``IN_FLIGHT`` at a time. In version 1 both are DATA, told apart by their order.

    :param version: of the protocol.
    :param body: the payload of each.
    :param count: how many times so many.
    :return: seconds.
    """
    client, server = open_pair(version)
    ask: Callable[[bytes], object] = client.send_data if version == 1 else client.send_request
    answers = 0
    began = perf_counter()
    for _ in range(count):
        for _ in range(IN_FLIGHT):
            ask(body)
        for event in server.receive_data(client.data_to_send(), 0.0):
            if isinstance(event, RequestReceived):
                server.send_answer(event.id, event.payload)
            elif isinstance(event, DataReceived):
                server.send_data(event.payload)
        for _ in client.receive_data(server.data_to_send(), 0.0):
            answers += 1
    seconds = perf_counter() - began
    if answers != count * IN_FLIGHT:
        raise AssertionError(f"{answers} answers to {count * IN_FLIGHT} requests")
    return seconds


def _versions(plan: Plan) -> Iterator[Table]:
    """Compare the versions of the protocol."""
    size = SIZES["128 KiB"]
    body, count = payload(size), max(1, plan.core_bytes // size)
    bulk = Table("core-versions-bulk", "core alone, 128 KiB payloads, sent and received", "MB/s")
    progress("core, both versions")
    rates = {
        f"version {version}": lambda version=version: count * size / there_seconds(version, body, count) / 1e6
        for version in (2, 1)
    }
    yield in_turn(bulk, rates, plan.rounds, plan.warm_up)
    small, times = payload(SIZES["100 B"]), max(1, plan.core_pdus // IN_FLIGHT)
    title = f"core alone, {IN_FLIGHT} requests of 100 B at once, asked and answered"
    rates = {
        f"version {version}": lambda version=version: times * IN_FLIGHT / there_and_back_seconds(version, small, times)
        for version in (2, 1)
    }
    yield in_turn(Table("core-versions-requests", title, "requests/s"), rates, plan.rounds, plan.warm_up)


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
        rates.busy = pdus.busy
        yield rates
    yield from _versions(plan)
