"""
What stands in for processes, in tests of whoever supervises them.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from twisted.internet.error import ProcessDone, ProcessTerminated
from twisted.internet.protocol import ProcessProtocol
from twisted.internet.testing import MemoryReactorClock
from twisted.python.failure import Failure

from sodiumtwist.operation.orders import ANSWERS, LOG, ORDERS


class FakeProcess:
    """
    A process that does what the test says.

    :ivar command: its words.
    :ivar environment: its variables.
    :ivar descriptors: which of its own descriptors are what.
    :ivar orders: what came by the pipe for them; ``None`` until that is closed.
    :ivar heard: what it was told, in order.
    :ivar signals: that it was sent.
    """

    def __init__(
        self,
        pid: int,
        protocol: ProcessProtocol,
        command: list[str],
        environment: Mapping[str, str],
        descriptors: Mapping[int, Any],
    ) -> None:
        self.pid: int | None = pid
        self.command, self.environment, self.descriptors = command, environment, descriptors
        self.orders: dict[str, Any] | None = None
        self.heard: list[dict[str, Any]] = []
        self.signals: list[str] = []
        self._protocol: Any = protocol
        self._written = b""

    def writeToChild(self, descriptor: int, data: bytes) -> None:
        assert descriptor == ORDERS
        self._written += data

    def closeChildFD(self, descriptor: int) -> None:
        assert descriptor == ORDERS
        self.orders = json.loads(self._written)

    def write(self, data: bytes) -> None:
        self.heard += map(json.loads, data.splitlines())

    def signalProcess(self, name: str) -> None:
        self.signals.append(name)

    def say(self, data: bytes) -> None:
        self._protocol.childDataReceived(2, data)

    def log(self, data: bytes) -> None:
        self._protocol.childDataReceived(LOG, data)

    def answer(self, **what: object) -> None:
        self._protocol.childDataReceived(ANSWERS, json.dumps(what).encode() + b"\n")

    def answer_badly(self, data: bytes) -> None:
        self._protocol.childDataReceived(ANSWERS, data)

    def end(self, status: int = 0, signal: int | None = None) -> None:
        """It is gone."""
        self.pid = None
        ended = ProcessDone(0) if not status and signal is None else ProcessTerminated(status or None, signal)
        self._protocol.processEnded(Failure(ended))


class ProcessReactor(MemoryReactorClock):
    """
    A reactor that starts no processes.

    :ivar processes: those that it would have started.
    :ivar error: is raised in their place.
    """

    def __init__(self) -> None:
        super().__init__()
        self.processes: list[FakeProcess] = []
        self.error: OSError | None = None

    def spawnProcess(  # type: ignore[no-untyped-def]
        self, protocol, executable, command, environment, childFDs
    ) -> FakeProcess:
        if self.error is not None:
            raise self.error
        process = FakeProcess(1000 + len(self.processes), protocol, command, environment, childFDs)
        self.processes.append(process)
        protocol.makeConnection(process)
        return process
