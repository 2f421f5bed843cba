"""
How much of what is measured: the usual run, and a quick one that shows that all works.
"""

from __future__ import annotations

from dataclasses import dataclass

#: All payloads come from this.
SEED = 20240229

KIB = 1024
MIB = 1024 * 1024


@dataclass(frozen=True)
class Plan:
    """
    Sizes are in bytes, times in seconds.

    :ivar rounds: how often each figure is taken.
    :ivar warm_up: whether it is taken once more before, which does not count.
    :ivar crypto_bytes: through one direction of one stream.
    :ivar core_bytes: likewise, for large payloads.
    :ivar core_pdus: how many, for small ones.
    :ivar bulk_bytes: from client to server.
    :ivar serial_requests: one at a time.
    :ivar in_flight_requests: 128 at once.
    :ivar connections: one after the other.
    :ivar file_bytes: the size of the file that is sent.
    :ivar pings: one after the other.
    :ivar crowds: how many connections there are at once.
    :ivar crowd_bytes: sent by them together.
    :ivar crowd_rounds_to: crowds above this are measured once, as it takes long.
    :ivar delays: of a line, each way.
    :ivar distance_bytes: over a line that takes what it gets.
    :ivar stop_and_wait_seconds: for which one DATA at a time is tried, about.
    :ivar link_rate: of a line with a limit, in bytes per second.
    :ivar link_bytes: over such a line.
    """

    rounds: int = 5
    warm_up: bool = True
    crypto_bytes: int = 256 * MIB
    core_bytes: int = 128 * MIB
    core_pdus: int = 50_000
    bulk_bytes: int = 512 * MIB
    serial_requests: int = 5_000
    in_flight_requests: int = 30_000
    connections: int = 300
    file_bytes: int = 1024 * MIB
    pings: int = 300
    crowds: tuple[int, ...] = (1, 10, 100, 1_000, 10_000)
    crowd_bytes: int = 2048 * MIB
    crowd_rounds_to: int = 1_000
    delays: tuple[float, ...] = (0.0, 0.01, 0.05, 0.1)
    distance_bytes: int = 512 * MIB
    stop_and_wait_seconds: float = 2.0
    link_rate: float = 125e6
    link_bytes: int = 256 * MIB


FULL = Plan()

QUICK = Plan(
    rounds=1,
    warm_up=False,
    crypto_bytes=4 * MIB,
    core_bytes=4 * MIB,
    core_pdus=1_000,
    bulk_bytes=16 * MIB,
    serial_requests=100,
    in_flight_requests=500,
    connections=10,
    file_bytes=16 * MIB,
    pings=10,
    crowds=(1, 10, 1_000),
    crowd_bytes=16 * MIB,
    delays=(0.0, 0.01),
    distance_bytes=16 * MIB,
    stop_and_wait_seconds=0.2,
    link_bytes=16 * MIB,
)
