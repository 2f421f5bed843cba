"""
How many instructions of the processor a PDU takes in the core, counted by callgrind. The number is the same
whatever else the machine does, so this can be a test.

``python -m benchmarks.instructions`` prints the numbers. It ends with status 1 when the core takes more than a given
multiple of what libsodium takes for the same messages.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys

from .core import open_pair, receive_seconds
from .crypto import libsodium_there_and_back
from .payloads import payload

COUNT = 1000
SIZE = 100

#: What is counted: a PDU of 100 bytes sealed and opened by libsodium alone, through cffi; the same made of
#: a call of the core and made into an event; neither of both, to know what starting Python takes.
LIBSODIUM, CORE, NOTHING = WHAT = "libsodium", "core", "nothing"

#: The multiple of libsodium's instructions that the core may take.
BOUND = 2.2


def work(what: str) -> None:
    """
    Do the work whose instructions are counted.

    :param what: one of ``WHAT``.
    """
    body = payload(SIZE)
    client, server = open_pair()
    there_and_back = libsodium_there_and_back()
    if what == CORE:
        receive_seconds(client, server, body, COUNT, None)
    elif what == LIBSODIUM:
        for _ in range(COUNT):
            there_and_back(body)


def count() -> dict[str, int]:
    """
    Do each kind of work under callgrind, each in a child of one process.

    :return: the number of instructions of each, with those of the process before the child came.
    """
    environment = {**os.environ, "PYTHONHASHSEED": "0"}
    command = ["valgrind", "--tool=callgrind", "--callgrind-out-file=/dev/null", sys.executable, "-m", __spec__.name]
    done = subprocess.run([*command, "each"], env=environment, stderr=subprocess.PIPE, text=True)
    found = re.findall(r"Collected : (\d+)", done.stderr)
    # The last one is that of the process itself.
    if done.returncode or len(found) != len(WHAT) + 1:
        raise SystemExit(f"callgrind ended with status {done.returncode}:\n{done.stderr}")
    return dict(zip(WHAT, map(int, found[:-1]), strict=True))


def do_each() -> None:
    """Do one kind of work after the other. Children do them, for all imports take longest under callgrind."""
    for what in WHAT:
        child = os.fork()
        if not child:
            work(what)
            os._exit(0)
        _, status = os.waitpid(child, 0)
        if status:
            raise SystemExit(f"{what}: status {status}")


def main() -> int:
    if shutil.which("valgrind") is None:
        print("skipped: valgrind is not installed")
        return 0
    counted = count()
    each = {what: (counted[what] - counted[NOTHING]) / COUNT for what in (LIBSODIUM, CORE)}
    multiple = each[CORE] / each[LIBSODIUM]
    print(f"a PDU of {SIZE} bytes, sent and received: {each[CORE]:,.0f} instructions,")
    print(f"{multiple:.2f} times the {each[LIBSODIUM]:,.0f} of libsodium; {BOUND:.2f} times are allowed")
    return int(multiple > BOUND)


if __name__ == "__main__":
    if sys.argv[1:]:
        do_each()
    else:
        sys.exit(main())
