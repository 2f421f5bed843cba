"""
One server that is one process, and one that is two, on as many cores: fresh logins, and requests through its streams.

The clients work on the same cores, so the time that passes says nothing. What counts is the processor time of the
server's own processes: with a core for each it could do so many logins in a second, or requests, as the busiest of them
takes time for; and no more than all of them together leave room for, whoever supervises among them. Each process that
serves has a client's process of its own: a server with more cores is given as much more to do at once.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from functools import partial

from .child import HOST
from .plan import Plan
from .processes import Child
from .programs import LISTENING, PAIR, TWISTD, Program
from .tables import Failed, Figure, Table, in_turn, progress
from .usage import processor_seconds

#: How many workers, and so cores.
WORKERS = 2

WAYS: Mapping[str, tuple[Sequence[str], int]] = {
    "one process": ((), 0),
    f"{WORKERS} workers": (("--workers", str(WORKERS)), WORKERS),
}

#: Nobody is turned away, and logins have no line of the log each: so many in a second have none in the long run.
LIMITS = ("unauthenticated=10000", "per-address=10000", "client-lines=1", "stranger-lines=1")

WHAT = {"logins": "fresh logins", "requests": "requests of 128 bytes through streams to an echo"}


def children_of(process: int) -> list[int]:
    """Tell the numbers of a process's children."""
    with open(f"/proc/{process}/task/{process}/children", encoding="ascii") as file:
        return [int(number) for number in file.read().split()]


def _taken(process: int) -> float:
    seconds = processor_seconds(process)
    if seconds is None:
        raise Failed("this system does not tell the processor time of processes")
    return seconds


def busiest(whole: float, each: list[float], cores: int) -> float:
    """
    Tell the least seconds in which the work could have been done.

    :param whole: seconds of processor time, of all processes.
    :param each: of those that serve.
    :param cores: how many there are.
    """
    return max([whole / cores, *each])


def _measure(what: str, options: Sequence[str], workers: int, count: int) -> Figure:
    with ExitStack() as stack:
        place = ["--discard"]
        if what == "requests":
            echo = stack.enter_context(Child("peers.workers", "serve"))
            place = ["--forward", f"tcp:{HOST}:{echo.hear()['port']}"]
        limits = [word for limit in LIMITS for word in ("--limit", limit)]
        serving = "".join(rf"(?=.*worker {number} serves)" for number in range(1, 1 + workers))
        command = [*TWISTD, "sodium", "--endpoint", f"tcp:0:interface={HOST}", *place, *limits, *options]
        ready = rf"(?s){serving}.*?{LISTENING}"
        server = stack.enter_context(Program(command, ready, SODIUMTWIST_KEY=PAIR.secret.hex()))
        asked = {"what": what, "port": int(server.found), "key": PAIR.secret.hex(), "count": count}
        clients = [stack.enter_context(Child("peers.workers", "run", **asked)) for _ in range(workers or 1)]
        # Each has done some of it by now, to warm up.
        for client in clients:
            client.hear()
        pid = server.process.pid
        serve = children_of(pid)
        before, each_before = _taken(pid), [_taken(worker) for worker in serve]
        for client in clients:
            client.say_go()
        for client in clients:
            client.hear()
        each = [_taken(worker) - taken for worker, taken in zip(serve, each_before, strict=True)]
        whole = _taken(pid) - before
    done = count * len(clients)
    return Figure.of_pieces(done, busiest(whole, each, len(clients)), whole)


def run(plan: Plan) -> Iterator[Table]:
    """
    Take all figures of this module.

    :param plan: how much to measure.
    """
    counts = {"logins": plan.worker_logins, "requests": plan.worker_requests}
    for what, title in WHAT.items():
        progress(f"workers, {title}")
        table = Table(
            f"workers-{what}",
            f"workers, {title}, with {WORKERS} cores",
            "/s with a core for each process",
            upside_down=True,
            cpu_unit="s per 1,000",
        )
        measure = {name: partial(_measure, what, *way, counts[what]) for name, way in WAYS.items()}
        in_turn(table, measure, plan.rounds, plan.warm_up)
        yield table
