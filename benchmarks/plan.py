"""
How much is measured: by the usual run, and by a quick one that only shows that everything works.
"""

from __future__ import annotations

from dataclasses import dataclass

#: The seed that all payloads come from.
SEED = 20240229

KIB = 1024
MIB = 1024 * KIB
GIB = 1024 * MIB


@dataclass(frozen=True)
class Plan:
    """
    Sizes are in bytes, times in seconds.

    :ivar rounds: how often each figure is taken.
    :ivar warm_up: whether it is taken once more before, which does not count.
    :ivar crypto_bytes: bytes through one direction of one stream.
    :ivar core_bytes: bytes through one direction of the core, in large payloads.
    :ivar core_pdus: how many small PDUs go through one direction of the core.
    :ivar bulk_bytes: bytes from client to server.
    :ivar serial_requests: how many requests are made one at a time.
    :ivar in_flight_requests: how many requests are made, 128 of them at once.
    :ivar answers: how many requests are answered by 64 KiB, 16 of them at once.
    :ivar connections: how many connections are made, one after the other.
    :ivar file_bytes: the size of the file that is sent.
    :ivar tree_files: how many files a folder that is sent has, in folders of it.
    :ivar tree_folders: how many folders those are.
    :ivar tree_file_bytes: the size of each of these files.
    :ivar tunnel_requests: how many requests go through a tunnel; six times as many where they go 16 at a time.
    :ivar pings: how many PINGs are sent, one after the other.
    :ivar starts: how often each command is started.
    :ivar crowds: numbers of connections that there are at once.
    :ivar crowd_bytes: bytes that all connections of a crowd send together.
    :ivar crowd_rounds_to: the largest crowd that is measured in each round. Larger ones take long, so they are
        measured once.
    :ivar worker_logins: how many logins each process of a server is given.
    :ivar worker_requests: how many requests.
    :ivar delays: the delays of lines, in each direction.
    :ivar distance_bytes: bytes over a line without a limit.
    :ivar stop_and_wait_seconds: for about so long, one DATA at a time is sent.
    :ivar link_rate: the rate of a line with a limit, in bytes per second.
    :ivar link_bytes: bytes over a line with a limit.
    """

    rounds: int = 5
    warm_up: bool = True
    crypto_bytes: int = 256 * MIB
    core_bytes: int = 128 * MIB
    core_pdus: int = 50_000
    bulk_bytes: int = 512 * MIB
    serial_requests: int = 5_000
    in_flight_requests: int = 30_000
    answers: int = 5_000
    connections: int = 300
    file_bytes: int = 1024 * MIB
    tree_files: int = 10_000
    tree_folders: int = 100
    tree_file_bytes: int = 4 * KIB
    tunnel_requests: int = 30_000
    pings: int = 300
    starts: int = 11
    crowds: tuple[int, ...] = (1, 10, 100, 1_000, 10_000)
    crowd_bytes: int = 2048 * MIB
    crowd_rounds_to: int = 1_000
    worker_logins: int = 1_000
    worker_requests: int = 20_000
    delays: tuple[float, ...] = (0.0, 0.01, 0.05, 0.1)
    distance_bytes: int = 512 * MIB
    stop_and_wait_seconds: float = 1.0
    link_rate: float = 125e6
    link_bytes: int = 128 * MIB


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
    answers=100,
    connections=10,
    file_bytes=16 * MIB,
    tree_files=200,
    tree_folders=10,
    tunnel_requests=1_000,
    pings=10,
    starts=1,
    crowds=(1, 10, 1_000),
    crowd_bytes=16 * MIB,
    worker_logins=10,
    worker_requests=100,
    delays=(0.0, 0.01),
    distance_bytes=16 * MIB,
    stop_and_wait_seconds=0.2,
    link_bytes=16 * MIB,
)
