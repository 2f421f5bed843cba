"""
The rounds of a reactor that was quickened.
"""

from __future__ import annotations

import socket
from typing import Any

from twisted.internet.abstract import FileDescriptor
from twisted.internet.epollreactor import EPollReactor
from twisted.internet.error import ConnectionDone
from twisted.internet.task import Clock
from twisted.python import context
from twisted.python.failure import Failure
from twisted.python.log import ILogContext
from twisted.trial.unittest import SynchronousTestCase

from sodiumtwist.protocol.rounds import quicken


class Reader(FileDescriptor):
    """Notes under which name it reads, and does then what it is told."""

    def __init__(self, reactor: Any, handle: socket.socket, result: object = None) -> None:
        super().__init__(reactor)
        self.fileno = handle.fileno  # type: ignore[method-assign]
        self.result = result
        self.names: list[str] = []
        self.lost: list[Failure] = []
        self.startReading()

    def logPrefix(self) -> str:
        return "reader"

    def doRead(self) -> Any:
        self.names.append(context.get(ILogContext)["system"])
        if isinstance(self.result, RuntimeError):
            raise self.result
        return self.result

    def readConnectionLost(self, reason: Failure) -> None:
        self.lost.append(reason)

    def connectionLost(self, reason: Failure) -> None:
        self.lost.append(reason)


class RoundsTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.reactor = EPollReactor()
        quicken(self.reactor)
        self.one, self.other = socket.socketpair()
        for handle in (self.one, self.other, self.reactor._poller):
            self.addCleanup(handle.close)
        self.other.send(b"x")

    def test_name(self) -> None:
        """What is logged while a socket is read stands under its name, and nothing behind that does."""
        reader = Reader(self.reactor, self.one)
        self.reactor.doIteration(0)
        self.assertEqual(reader.names, ["reader"])
        self.assertEqual(context.get(ILogContext)["system"], "-")

    def test_end(self) -> None:
        reader = Reader(self.reactor, self.one, ConnectionDone())
        self.reactor.doIteration(0)
        self.assertTrue(reader.lost[0].check(ConnectionDone))
        self.assertEqual(self.reactor.getReaders(), [each for each in self.reactor.getReaders() if each is not reader])

    def test_raises(self) -> None:
        """What a protocol raises is logged, and ends its connection alone."""
        reader = Reader(self.reactor, self.one, RuntimeError("no"))
        self.reactor.doIteration(0)
        self.assertEqual(len(self.flushLoggedErrors(RuntimeError)), 1)
        self.assertTrue(reader.lost[0].check(RuntimeError))

    def test_threads(self) -> None:
        """What a read begins in a thread keeps its name there, whatever is read meanwhile."""
        reader = Reader(self.reactor, self.one)
        kept: list[Any] = []
        # As a thread pool takes it.
        reader.doRead = lambda: kept.append(  # type: ignore[method-assign]
            context.theContextTracker.currentContext().contexts[-1]
        )
        self.reactor.doIteration(0)
        reader.logPrefix = lambda: "renamed"  # type: ignore[method-assign]
        self.reactor.doIteration(0)
        self.assertEqual([each[ILogContext]["system"] for each in kept], ["reader", "renamed"])

    def test_no_name(self) -> None:
        """What fails to say its name is read all the same."""
        reader = Reader(self.reactor, self.one)

        def fail() -> str:
            raise RuntimeError("no name")

        reader.logPrefix = fail  # type: ignore[method-assign]
        self.reactor.doIteration(0)
        self.assertEqual(len(reader.names), 1)
        self.assertEqual(len(self.flushLoggedErrors(RuntimeError)), 1)

    def test_end_raises(self) -> None:
        """What raises when it is lost keeps no other one from its turn."""
        first, last = Reader(self.reactor, self.one, ConnectionDone()), Reader(self.reactor, self.other)
        self.one.send(b"x")

        def fail(reason: Failure) -> None:
            raise RuntimeError("no")

        first.readConnectionLost = first.connectionLost = fail  # type: ignore[method-assign]
        last.readConnectionLost = fail  # type: ignore[method-assign]
        self.reactor.doIteration(0)
        self.assertEqual(len(last.names), 1)
        self.assertEqual(len(self.flushLoggedErrors(RuntimeError)), 1)

    def test_other_reactors(self) -> None:
        clock = Clock()
        quicken(clock)
        self.assertNotIn("doIteration", vars(clock))
