"""
How long the commands take from the start of their process to its end, beside what each program with Twisted's
reactor takes to import it.
"""

from __future__ import annotations

import os
import sys
import tempfile
import time
from collections.abc import Iterator
from functools import partial

from .child import HOST
from .plan import Plan
from .programs import LISTENING, PAIR, TWISTD, Program, run_to_end
from .tables import Table, in_turn, progress

SODIUMTWIST = [sys.executable, "-m", "sodiumtwist"]


def milliseconds(command: list[str]) -> float:
    """
    Run a command.

    :return: milliseconds until it has ended.
    :raises Failed: when it ends with an error, or takes too long.
    """
    began = time.perf_counter()
    run_to_end(command)
    return (time.perf_counter() - began) * 1000


def run(plan: Plan) -> Iterator[Table]:
    """
    Take all figures of this module.

    :param plan: how much to measure.
    """
    progress("start of the commands")
    with tempfile.TemporaryDirectory() as directory:
        key, two = os.path.join(directory, "server.key"), os.path.join(directory, "two")
        with open(key, "w", opener=lambda path, flags: os.open(path, flags, 0o600)) as file:
            file.write(PAIR.secret.hex() + "\n")
        with open(two, "wb") as data:
            data.write(b"hi")
        endpoint = f"tcp:0:interface={HOST}"
        serve = [*TWISTD, "sodium", "--key-file", key, "--endpoint", endpoint, "--directory", directory]
        with Program(serve, LISTENING) as server:
            send = ["send", "--quiet", "--key", PAIR.public.hex(), "--endpoint", f"tcp:{HOST}:{server.found}", two]
            ways = {
                "import twisted.internet.reactor": [sys.executable, "-c", "import twisted.internet.reactor"],
                "sodiumtwist --version": [*SODIUMTWIST, "--version"],
                "sodiumtwist keygen": [*SODIUMTWIST, "keygen"],
                "sodiumtwist pubkey": [*SODIUMTWIST, "pubkey", key],
                "sodiumtwist send, 2 bytes": [*SODIUMTWIST, *send],
            }
            table = Table("start", "a command, from its start to its end", "ms", upside_down=True, better="less")
            measure = {name: partial(milliseconds, command) for name, command in ways.items()}
            yield in_turn(table, measure, plan.starts, plan.warm_up)
