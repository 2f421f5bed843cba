"""
The command line: ``python -m tests.day --help``.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager

from sodiumtwist.protocol.draining import DRAIN_TIMEOUT

from . import __doc__ as what_it_is
from .account import Account
from .happenings import Happenings
from .processes import processor_time
from .site import Site

#: Seconds of a day of which each thing happens once. In longer ones it happens again.
ROUND = 120.0

#: How much more memory a server may have at the end of the day than before noon, in bytes.
GROWTH = 8_000_000

#: Seconds between two looks at clients; and at the memory of servers, as a part of the day.
TURN, LOOK = 0.1, 0.01

#: Which part of the day clients may take to finish when a server drains, where that is less than usual.
DRAIN_SHARE = 60

#: Seconds that one thing that happens may take, until a server is there again, say.
LONGEST = 60.0

#: Seconds in which clients come to an end at the evening.
EVENING = 60.0

#: Bytes of the file system for what clients send.
DISK = 1_000_000_000


@contextmanager
def disk(directory: str, size: int) -> Iterator[int]:
    """
    Mount a file system in memory, if that is allowed.

    :param directory: where.
    :param size: how many bytes it takes.
    :return: how many it takes; 0 where it is none of its own.
    """
    os.mkdir(directory)
    mounting = ["mount", "-t", "tmpfs", "-o", f"size={size}", "none", directory]
    if subprocess.run(mounting, stderr=subprocess.DEVNULL).returncode:
        yield 0
        return
    try:
        yield size
    finally:
        subprocess.run(["umount", "-l", directory], check=True)


def run(seconds: float, load: float, size: int = DISK) -> Account:
    """
    Let a day pass.

    :param seconds: how long it takes.
    :param load: how much clients do, from 0 to 1.
    :param size: how many bytes the disk takes.
    """
    with tempfile.TemporaryDirectory(prefix="sodiumtwist-day-") as directory:
        place = os.path.join(directory, "place")
        with disk(place, size) as room:
            site = Site(directory, place, load, min(DRAIN_TIMEOUT, max(1.0, seconds / DRAIN_SHARE)))
            try:
                return _run(site, Happenings(site, room), seconds)
            finally:
                site.close()


def _run(site: Site, happenings: Happenings, seconds: float) -> Account:
    # In a short one, what was started anew does not have all that it needs before noon.
    account = Account(site, GROWTH if seconds >= ROUND else math.inf)
    site.open()
    account.begin()
    site.let_in()
    rounds = max(1, round(seconds / ROUND))
    waiting = [
        ((number + part) / rounds, happening) for number in range(rounds) for part, happening in happenings.of_a_day()
    ]
    under_way = None
    began = since = time.monotonic()
    looked = 0.0
    while (part := (time.monotonic() - began) / seconds) < 1 or waiting or under_way:
        if under_way is None and waiting and part >= waiting[0][0]:
            under_way, since = waiting.pop(0)[1](), time.monotonic()
        if under_way is not None:
            under_way = under_way if next(under_way, "over") is None else None
            if under_way is not None and time.monotonic() - since > LONGEST:
                account.problems.append(f"what was to happen at {part:.2f} of the day has not come to its end")
                under_way = None
        _turn(site, account)
        if part - looked >= LOOK:
            looked = part
            account.look(part)
            account.put_away()
        time.sleep(TURN)
    limit = time.monotonic() + EVENING
    while not all(sender.is_idle for sender in site.senders) and time.monotonic() < limit:
        _turn(site, account, True)
        time.sleep(TURN)
    account.problems += [f"{sender.name} did not come to its end" for sender in site.senders if not sender.is_idle]
    site.send_home()
    account.listen(time.monotonic())
    site.wait_until_empty()
    account.close()
    account.figures |= happenings.counts
    account.figures["processor time of those who are there all day"] = round(
        sum(processor_time(pid) for _, pid in site.those_of_all_day()), 1
    )
    account.problems += site.end()
    account.figures["bytes of logs"] = site.logged
    return account


def _turn(site: Site, account: Account, stopping: bool = False) -> None:
    now = time.monotonic()
    for sender in site.senders:
        sender.turn(now, stopping)
    account.listen(now)


def main() -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(
        prog="python -m tests.day", description=what_it_is, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--minutes", type=float, default=10.0, metavar="N", help="how long the day takes [default: 10]")
    parser.add_argument("--load", type=float, default=1.0, metavar="PART", help="how much clients do, up to 1")
    parser.add_argument("--json", metavar="FILE", help="write the figures to this file")
    options = parser.parse_args()
    # So that it ends what it has started.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    account = run(options.minutes * 60, options.load)
    for name, value in account.figures.items():
        print(f"{name}: {value}")
    for problem in account.problems:
        print(f"PROBLEM: {problem}")
    if options.json:
        with open(options.json, "w", encoding="utf-8") as file:
            json.dump({"figures": account.figures, "problems": account.problems}, file, indent=1)
    sys.exit(bool(account.problems))


if __name__ == "__main__":
    main()
