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
from collections.abc import Callable
from typing import Any

from .core import IN_FLIGHT, open_pair, receive_seconds
from .crypto import libsodium_record_there_and_back, libsodium_there_and_back, record_there_and_back
from .payloads import payload
from .plan import KIB

SIZE = 100
LARGE_SIZE = 64 * KIB

#: What is counted: a PDU of 100 bytes sealed and opened by libsodium alone, through cffi; the same made of
#: a call of the core and made into an event; a record of version 2, of 100 bytes, sealed and opened by libsodium
#: alone; the same by the core; a request of 100 bytes and its answer of as many in version 2, one at a time and 128 at
#: once; a record of 64 KiB by libsodium alone, and DATA of as many bytes in version 2; none of these, to know what
#: starting Python takes.
LIBSODIUM, CORE, LIBSODIUM_RECORD, RECORD = "libsodium", "core", "libsodium-record", "record"
REQUEST, REQUESTS, LIBSODIUM_LARGE, LARGE = "request", "requests", "libsodium-large", "large"
NOTHING = "nothing"

#: How often each is done: what takes long, less often.
COUNTS = {
    LIBSODIUM: 1000,
    CORE: 1000,
    LIBSODIUM_RECORD: 1000,
    RECORD: 1000,
    REQUEST: 200,
    REQUESTS: 4 * IN_FLIGHT,
    LIBSODIUM_LARGE: 50,
    LARGE: 50,
    NOTHING: 1,
}

#: Otherwise the C library copies large pieces by one instruction a byte, or else not, as they happen to lie.
COPYING = f"glibc.cpu.x86_rep_movsb_threshold={1 << 30}"

#: The multiples of libsodium's instructions that the core may take: what, by what, and by which name.
BOUNDS = [
    (CORE, LIBSODIUM, "a PDU of 100 bytes, sent and received", 2.2),
    (RECORD, LIBSODIUM_RECORD, "a record of version 2 of 100 bytes, sent and received", 2.0),
    (REQUEST, LIBSODIUM_RECORD, "a request of 100 bytes and its answer, beside one record", 10.2),
    (REQUESTS, LIBSODIUM_RECORD, "the same, 128 at once", 3.3),
    (LARGE, LIBSODIUM_LARGE, "DATA of version 2 of 64 KiB, sent and received", 1.6),
]


def _ask_and_answer(client: Any, server: Any, body: bytes, count: int) -> None:
    """Have so many requests on their way at once, and their answers."""
    for _ in range(count):
        client.send_request(body)
    for event in server.receive_data(client.data_to_send(), 0.0):
        server.send_answer(event.id, event.payload)
    if len(list(client.receive_data(server.data_to_send(), 0.0))) != count:
        raise AssertionError("a request without an answer")


def _send_and_receive(client: Any, server: Any, body: bytes) -> None:
    client.send_data(body)
    (event,) = server.receive_data(client.data_to_send(), 0.0)
    if event.payload != body:
        raise AssertionError("DATA came as something else")


def ways() -> dict[str, Callable[[int], object]]:
    """
    Begin all that is counted.

    :return: by what it is, a function that does it so many times.
    """
    body, large = payload(SIZE), payload(LARGE_SIZE)
    client, server = open_pair()
    client_2, server_2 = open_pair(2)
    libsodium, libsodium_record = libsodium_there_and_back(), libsodium_record_there_and_back()
    record = record_there_and_back()

    def times(work: Callable[..., object], *arguments: Any) -> Callable[[int], object]:
        return lambda count: [work(*arguments) for _ in range(count)]

    return {
        LIBSODIUM: times(libsodium, body),
        CORE: lambda count: receive_seconds(client, server, body, count, None),
        LIBSODIUM_RECORD: times(libsodium_record, body),
        RECORD: times(record, body),
        REQUEST: times(_ask_and_answer, client_2, server_2, body, 1),
        REQUESTS: lambda count: times(_ask_and_answer, client_2, server_2, body, IN_FLIGHT)(count // IN_FLIGHT),
        LIBSODIUM_LARGE: times(libsodium_record, large),
        LARGE: times(_send_and_receive, client_2, server_2, large),
        NOTHING: lambda count: None,
    }


def work_in_children() -> None:
    """Do each kind of work in a process of its own, which has started when it begins; print which process did what."""
    for what, work in ways().items():
        child = os.fork()
        if not child:
            work(COUNTS[what])
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
    environment = {**os.environ, "PYTHONHASHSEED": "0", "GLIBC_TUNABLES": COPYING}
    done = subprocess.run([*command, "children"], env=environment, capture_output=True, text=True)
    collected = dict(re.findall(r"^==(\d+)== Collected : (\d+)", done.stderr, re.MULTILINE))
    children = dict(line.split() for line in done.stdout.splitlines())
    if done.returncode or set(children) != set(COUNTS) or not set(children.values()) <= set(collected):
        raise SystemExit(f"callgrind ended with status {done.returncode}:\n{done.stderr}")
    return {what: int(collected[child]) for what, child in children.items()}


def main() -> int:
    if shutil.which("valgrind") is None:
        print("skipped: valgrind is not installed")
        return 0
    counted = count()
    each = {what: (counted[what] - counted[NOTHING]) / times for what, times in COUNTS.items()}
    too_many = False
    for ours, libsodium, name, bound in BOUNDS:
        multiple = each[ours] / each[libsodium]
        too_many |= multiple > bound
        print(f"{name}: {each[ours]:,.0f} instructions,")
        print(f"{multiple:.2f} times the {each[libsodium]:,.0f} of libsodium; {bound:.2f} times are allowed")
    return int(too_many)


if __name__ == "__main__":
    if sys.argv[1:]:
        work_in_children()
    else:
        sys.exit(main())
