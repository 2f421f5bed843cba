"""
One server that is one process, and one that is two, on as many cores: fresh logins, and requests through its streams.

The clients work on the same cores, so the time that passes says nothing. What counts is the processor time of the
server's own processes: with a core for each it could do so many logins in a second, or requests, as the busiest of them
takes time for; and no more than all of them together leave room for, whoever supervises among them.

Each process that serves has a client's process of its own. The server that is one process has another one of its kind
beside it, with its own client: so the machine is as busy with one way as with the other.
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

#: How each is started, how many of them, and how many workers each has.
WAYS: Mapping[str, tuple[Sequence[str], int, int]] = {
    "one process": ((), WORKERS, 0),
    f"{WORKERS} workers": (("--workers", str(WORKERS)), 1, WORKERS),
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


class _Server:
    """
    A server whose processor time is measured.

    :param command: starts it.
    :param workers: how many it has.
    :param stack: ends it.
    """

    def __init__(self, command: Sequence[str], workers: int, stack: ExitStack) -> None:
        serving = "".join(rf"(?=.*worker {number} serves)" for number in range(1, 1 + workers))
        ready = rf"(?s){serving}.*?{LISTENING}"
        program = stack.enter_context(Program([*command], ready, SODIUMTWIST_KEY=PAIR.secret.hex()))
        self.port = int(program.found)
        self._pid = program.process.pid
        self._workers = children_of(self._pid)

    def begin(self) -> None:
        """What it takes counts from now on."""
        self._before = self._now()

    def _now(self) -> list[float]:
        return [_taken(process) for process in (self._pid, *self._workers)]

    def taken(self) -> tuple[float, float]:
        """Tell the least seconds in which that could have been done, and those of all its processes."""
        whole, *each = (now - before for now, before in zip(self._now(), self._before, strict=True))
        return busiest(whole, each, len(each) or 1), whole


def _measure(what: str, options: Sequence[str], servers: int, workers: int, count: int) -> Figure:
    with ExitStack() as stack:
        place = ["--discard"]
        if what == "requests":
            echo = stack.enter_context(Child("peers.workers", "serve"))
            place = ["--forward", f"tcp:{HOST}:{echo.hear()['port']}"]
        limits = [word for limit in LIMITS for word in ("--limit", limit)]
        command = [*TWISTD, "sodium", "--endpoint", f"tcp:0:interface={HOST}", *place, *limits, *options]
        started = [_Server(command, workers, stack) for _ in range(servers)]
        asked = {"what": what, "key": PAIR.secret.hex(), "count": count}
        clients = [
            stack.enter_context(Child("peers.workers", "run", port=server.port, **asked))
            for server in started
            for _ in range(workers or 1)
        ]
        # Each has done some of it by now, to warm up.
        for client in clients:
            client.hear()
        for server in started:
            server.begin()
        for client in clients:
            client.say_go()
        for client in clients:
            client.hear()
        least, whole = (sum(seconds) for seconds in zip(*(server.taken() for server in started), strict=True))
    # Of several servers, the mean.
    return Figure.of_pieces(count * len(clients), least, whole)


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
