"""
libsodium's secretstream alone. It seals what the others send in bulk, on one core of the processor, and needs no
server.
"""

from __future__ import annotations

from time import perf_counter
from typing import Any

from ..crypto import HEADER, PUSH
from ..payloads import payload
from ..tasks import Task


def run(directory: str, server: dict[str, Any], task: dict[str, Any]) -> dict[str, Any]:
    work = Task(**task)
    data, (_, seal) = payload(work.size), PUSH["libsodium itself"]()
    for _ in range(work.warm_up):
        seal(HEADER, data)
    began = perf_counter()
    for _ in range(work.count):
        seal(HEADER, data)
    return {"seconds": perf_counter() - began}
