"""
sodiumtwist on Twisted's asyncio reactor, with the event loop of uvloop at both ends.
"""

from __future__ import annotations

from typing import Any

import uvloop
from twisted.internet import asyncioreactor

from . import sodium


def serve(directory: str, answer_size: int = 0) -> None:
    asyncioreactor.install(uvloop.new_event_loop())
    sodium.serve(directory, answer_size)


def run(directory: str, server: dict[str, Any], task: dict[str, Any]) -> dict[str, Any]:
    asyncioreactor.install(uvloop.new_event_loop())
    return sodium.run(directory, server, task)
