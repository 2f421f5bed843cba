"""
libsodium's secretstream alone. It seals what the others send in bulk, on one core of the processor, and needs no
server.
"""

from __future__ import annotations

from typing import Any

from ..crypto import HEADER, PUSH
from ..payloads import payload
from ..tasks import Task
from ..usage import Meter


def run(directory: str, server: dict[str, Any], task: dict[str, Any]) -> dict[str, Any]:
    work = Task(**task)
    data, (_, seal) = payload(work.size), PUSH["libsodium itself"]()
    for _ in range(work.warm_up):
        seal(HEADER, data)
    meter = Meter()
    for _ in range(work.count):
        seal(HEADER, data)
    return {**meter.read(), "wire": None}
