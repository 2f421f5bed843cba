"""
The command line: ``python -m benchmarks --help``.
"""

from __future__ import annotations

import argparse
import datetime
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace

from . import (
    __doc__ as what_there_is,
    beside,
    core,
    crypto,
    distance,
    files,
    loopback,
    scale,
    start,
    trees,
    tunnels,
    workers,
)
from .busy import describe_load
from .machine import describe_machine, describe_versions
from .plan import FULL, MIB, QUICK, SEED, Plan
from .plot import draw
from .tables import Failed, NotInstalled, Row, Table
from .tasks import ANSWERS, BULK, CONNECTIONS, IN_FLIGHT, SERIAL

WORKLOADS = (BULK, SERIAL, IN_FLIGHT, ANSWERS, CONNECTIONS)

#: What else can be measured besides the workloads, by name.
SECTIONS: dict[str, Callable[[Plan], Iterator[Table]]] = {
    "crypto": crypto.run,
    "core": core.run,
    "ping": beside.run,
    "start": start.run,
    "scale": scale.run,
    "workers": workers.run,
    "distance": distance.run,
}

#: What else is compared with others, by name.
COMPARISONS: dict[str, Callable[[Plan, Sequence[str] | None], Iterator[Table]]] = {
    "send": files.run,
    "trees": trees.run,
    "tunnel": tunnels.run,
}

NAMES = ("crypto", "core", *WORKLOADS, *COMPARISONS, "ping", "start", "scale", "workers", "distance")


def positive(text: str) -> int:
    """
    Read a number of the command line.

    :raises argparse.ArgumentTypeError: when it is none, or below 1.
    """
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"takes a number from 1 on, not {text!r}")
    return int(text)


def parse_options(arguments: Sequence[str]) -> argparse.Namespace:
    """
    Read the command line.

    :raises SystemExit: when something in it is wrong.
    """
    assert what_there_is is not None
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks", description=what_there_is, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--only", nargs="+", choices=NAMES, default=NAMES, metavar="NAME", help="what to measure")
    keys = list(dict.fromkeys([*(peer.key for peer in loopback.PEERS), *files.NAMES, *trees.NAMES, *tunnels.NAMES]))
    parser.add_argument(
        "--peers",
        nargs="+",
        choices=keys,
        metavar="PEER",
        help=f"what to compare in {', '.join((*WORKLOADS, *COMPARISONS))}, of {', '.join(keys)}",
    )
    parser.add_argument("--quick", action="store_true", help="little of each: that it works, not how fast it is")
    parser.add_argument("--rounds", type=positive, metavar="N", help="how often each figure is taken: for a quick look")
    parser.add_argument("--file-size", type=positive, metavar="MIB", help="the size of the file that is sent, in MiB")
    parser.add_argument("--json", metavar="FILE", help="write all figures to this file")
    parser.add_argument("--plot", metavar="FILE.svg", help="draw what decides, beside the best of the others")
    return parser.parse_args(arguments)


def measure(options: argparse.Namespace, plan: Plan) -> Iterator[Table]:
    """
    Measure what was asked for, in the order of :data:`NAMES`. Where something fails before there is a table, there is
    one that says so, and the others are measured.
    """
    for name in NAMES:
        if name not in options.only:
            continue
        try:
            if name in COMPARISONS:
                yield from COMPARISONS[name](plan, options.peers)
            elif name in SECTIONS:
                yield from SECTIONS[name](plan)
            elif name == next(workload for workload in WORKLOADS if workload in options.only):
                yield from loopback.run_workloads(plan, options.only, options.peers)
        except (Failed, NotInstalled, OSError, subprocess.SubprocessError) as failure:
            yield Table(name, name, "", [Row("all of it", note=f"failed: {failure}")], failed=True)


def main(arguments: Sequence[str]) -> int:
    """
    Measure, print the tables and write what else was asked for.

    :return: the exit status: 1 when something that was to be measured did not work.
    """
    options = parse_options(arguments)
    plan = QUICK if options.quick else FULL
    if options.rounds is not None:
        plan = replace(plan, rounds=options.rounds)
    if options.file_size is not None:
        plan = replace(plan, file_bytes=options.file_size * MIB)
    machine, versions = describe_machine(), describe_versions()
    for name, value in {**machine, **versions}.items():
        print(f"{name}: {value}")
    if options.quick:
        print("quick: these figures show that all works, and not how fast it is")
    load = describe_load(os.getloadavg()[0], os.cpu_count() or 1)
    tables = []
    began = time.monotonic()
    for table in measure(options, plan):
        tables.append(table)
        print(f"\n{table.as_text()}", flush=True)
    busy = [load] * bool(load) + [f"{table.key}: {table.busy}" for table in tables if table.busy]
    if busy:
        print("\nthis machine was not quiet, so the figures are worth less")
        for line in busy:
            print(f"  {line}")
    if options.json:
        figures = {
            "date": datetime.date.today().isoformat(),
            "minutes": round((time.monotonic() - began) / 60),
            "machine": machine,
            "versions": versions,
            "seed": SEED,
            "quick": options.quick,
            "busy": busy,
            "tables": [table.as_json() for table in tables],
        }
        with open(options.json, "w", encoding="utf-8") as file:
            json.dump(figures, file, indent=1)
            file.write("\n")
    if options.plot:
        draw(tables, options.plot)
    return int(any(table.failed for table in tables))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
