"""
The rounds of a reactor that was quickened.
"""

from __future__ import annotations

import socket
from typing import Any

from twisted.internet.abstract import FileDescriptor
from twisted.internet.epollreactor import EPollReactor
from twisted.internet.error import ConnectionDone, ConnectionLost
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
        #: What losing it raises.
        self.mistake: Exception | None = None
        self.names: list[str] = []
        self.kept: list[Any] = []
        self.lost: list[Failure] = []
        self.startReading()

    def logPrefix(self) -> str:
        return "reader"

    def doRead(self) -> Any:
        self.names.append(context.get(ILogContext)["system"])
        # As a pool of threads does, which runs in it what it is given here.
        self.kept.append(context.theContextTracker.currentContext().contexts[-1])
        if isinstance(self.result, RuntimeError):
            raise self.result
        return self.result

    def readConnectionLost(self, reason: Failure) -> None:
        self.lost.append(reason)

    def connectionLost(self, reason: Failure) -> None:
        self.lost.append(reason)
        if self.mistake is not None:
            raise self.mistake


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

    def test_raises_when_lost(self) -> None:
        """What a protocol raises when it is told of its end is logged, and keeps none of the others from its turn."""
        self.one.send(b"x")
        readers = [Reader(self.reactor, handle, ConnectionLost()) for handle in (self.one, self.other)]
        for reader in readers:
            reader.mistake = RuntimeError("no")
        self.reactor.doIteration(0)
        self.assertEqual(len(self.flushLoggedErrors(RuntimeError)), 2)
        self.assertEqual([len(reader.lost) for reader in readers], [1, 1])

    def test_threads(self) -> None:
        """Work that goes to a thread logs under the name of whoever gave it, though others have their turn by then."""
        reader = Reader(self.reactor, self.one)
        self.reactor.doIteration(0)
        self.assertEqual(reader.kept[0][ILogContext]["system"], "reader")

    def test_other_reactors(self) -> None:
        clock = Clock()
        quicken(clock)
        self.assertNotIn("doIteration", vars(clock))
