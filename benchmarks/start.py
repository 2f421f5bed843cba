"""
How long the commands take from the start of their process to its end, beside what each program with Twisted's
reactor takes to import it.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from functools import partial

from sodiumtwist import KeyPair

from .child import HOST
from .files import TWISTD, Program
from .plan import Plan
from .processes import PATIENCE
from .tables import Failed, Table, in_turn, progress

SODIUMTWIST = [sys.executable, "-m", "sodiumtwist"]

#: The key of the server, in its text form.
KEY = KeyPair.from_secret(bytes(range(32)))


def milliseconds(command: list[str]) -> float:
    """
    Run a command.

    :return: milliseconds until it has ended.
    :raises Failed: when it ends with an error, or takes too long.
    """
    began = time.perf_counter()
    try:
        # Users have compiled modules; whoever sets this variable would have them compiled each time.
        environment = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
        done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, timeout=PATIENCE, env=environment)
    except subprocess.TimeoutExpired:
        raise Failed(f"it took over {PATIENCE:g} seconds") from None
    if done.returncode:
        raise Failed((done.stderr.decode("utf-8", "replace").strip().splitlines() or ["no output"])[-1])
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
            file.write(KEY.secret.hex() + "\n")
        with open(two, "wb") as data:
            data.write(b"hi")
        endpoint = f"tcp:0:interface={HOST}"
        serve = [
            *TWISTD,
            "-n",
            "--pidfile=",
            "sodium",
            "--key-file",
            key,
            "--endpoint",
            endpoint,
            "--directory",
            directory,
        ]
        with Program(serve, r"listening on (127\.0\.0\.1:\d+)") as server:
            send = ["send", "--quiet", "--key", KEY.public.hex(), "--endpoint", f"tcp:{server.found[1]}", two]
            ways = {
                "import twisted.internet.reactor": [sys.executable, "-c", "import twisted.internet.reactor"],
                "sodiumtwist --version": [*SODIUMTWIST, "--version"],
                "sodiumtwist keygen": [*SODIUMTWIST, "keygen"],
                "sodiumtwist pubkey": [*SODIUMTWIST, "pubkey", key],
                "sodiumtwist send, 2 bytes": [*SODIUMTWIST, *send],
            }
            table = Table("start", "a command, from its start to its end", "ms", upside_down=True)
            measure = {name: partial(milliseconds, command) for name, command in ways.items()}
            yield in_turn(table, measure, plan.starts, plan.warm_up)
