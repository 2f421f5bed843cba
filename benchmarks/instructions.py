"""
How many instructions of the processor a PDU takes in the core, counted by callgrind. The number is the same
whatever else the machine does, so this can be a test.

``python -m benchmarks.instructions`` prints the numbers. It ends with status 1 when the core takes more than given
multiples of what libsodium takes for the same messages.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys

from .core import open_pair, receive_seconds
from .crypto import libsodium_record_there_and_back, libsodium_there_and_back, record_there_and_back
from .payloads import payload

COUNT = 1000
SIZE = 100

#: What is counted: a PDU of 100 bytes sealed and opened by libsodium alone, through cffi; the same made of
#: a call of the core and made into an event; a record of version 2, of 100 bytes, sealed and opened by libsodium
#: alone; the same by the core; none of these, to know what starting Python takes.
LIBSODIUM, CORE, LIBSODIUM_RECORD, RECORD, NOTHING = WHAT = "libsodium", "core", "libsodium-record", "record", "nothing"

#: The multiples of libsodium's instructions that the core may take: what, by what, and by which name.
BOUNDS = [(CORE, LIBSODIUM, "PDU", 2.2), (RECORD, LIBSODIUM_RECORD, "record of version 2", 2.0)]


def work(what: str) -> None:
    """
    Do the work whose instructions are counted.

    :param what: one of ``WHAT``.
    """
    body = payload(SIZE)
    client, server = open_pair()
    ways = {
        LIBSODIUM: libsodium_there_and_back(),
        LIBSODIUM_RECORD: libsodium_record_there_and_back(),
        RECORD: record_there_and_back(),
    }
    if what == CORE:
        receive_seconds(client, server, body, COUNT, None)
    elif what in ways:
        there_and_back = ways[what]
        for _ in range(COUNT):
            there_and_back(body)


def work_in_children() -> None:
    """Do each kind of work in a process of its own, which has started when it begins; print which process did what."""
    for what in WHAT:
        child = os.fork()
        if not child:
            work(what)
            os._exit(0)
        print(what, child, flush=True)
        _, status = os.waitpid(child, 0)
        if status:
            raise SystemExit(f"{what} failed")


def count() -> dict[str, int]:
    """
    Do each kind of work under callgrind. Python starts once for all of them, for under callgrind that takes seconds.

    :return: the number of instructions of each.
    """
    command = ["valgrind", "--tool=callgrind", "--callgrind-out-file=/dev/null", sys.executable, "-m", __spec__.name]
    done = subprocess.run(
        [*command, "children"], env={**os.environ, "PYTHONHASHSEED": "0"}, capture_output=True, text=True
    )
    collected = dict(re.findall(r"^==(\d+)== Collected : (\d+)", done.stderr, re.MULTILINE))
    children = dict(line.split() for line in done.stdout.splitlines())
    if done.returncode or set(children) != set(WHAT) or not set(children.values()) <= set(collected):
        raise SystemExit(f"callgrind ended with status {done.returncode}:\n{done.stderr}")
    return {what: int(collected[child]) for what, child in children.items()}


def main() -> int:
    if shutil.which("valgrind") is None:
        print("skipped: valgrind is not installed")
        return 0
    counted = count()
    each = {what: (counted[what] - counted[NOTHING]) / COUNT for what in WHAT}
    too_many = False
    for ours, libsodium, name, bound in BOUNDS:
        multiple = each[ours] / each[libsodium]
        too_many |= multiple > bound
        print(f"a {name} of {SIZE} bytes, sent and received: {each[ours]:,.0f} instructions,")
        print(f"{multiple:.2f} times the {each[libsodium]:,.0f} of libsodium; {bound:.2f} times are allowed")
    return int(too_many)


if __name__ == "__main__":
    if sys.argv[1:]:
        work_in_children()
    else:
        sys.exit(main())
