"""
``sodiumtwist pipe``: whatever happens in whatever order, only what is whole looks so.
"""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

from hypothesis import example, given, strategies as st
from twisted.internet.defer import Deferred
from twisted.internet.error import ConnectionDone, ConnectionLost
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase

from sodiumtwist.programs.exits import CommandFailed
from sodiumtwist.programs.pipe import Pipe
from sodiumtwist.transfer.sources import Source


class WalkedSource(Source):
    """
    Has what the test says.

    :ivar read: what was read of it.
    :ivar closed: whether it was closed.
    """

    def __init__(self) -> None:
        super().__init__(0)
        self.read = b""
        self.closed = self.left = False

    @property
    def reading(self) -> bool:
        return self._reading and not self.closed

    def come(self, data: bytes) -> None:
        self.read += data
        self._deliver(data)

    def end(self, error: OSError | None) -> None:
        self.pause()
        self._ended(error)

    def _read_on(self) -> None:
        """The test says when."""

    def is_left(self) -> bool:
        return self.left

    def close(self) -> None:
        self.pause()
        self.closed, self._fd = True, -1


class WalkedOutput:
    """
    Takes what the test lets it.

    :ivar written: what it has taken.
    :ivar writing: what is under way.
    :ivar closed: whether its end was told.
    """

    def __init__(self) -> None:
        self.written = b""
        self.writing: tuple[bytes, Deferred[None]] | None = None
        self.closed = False

    def write(self, payload: bytes) -> Deferred[None]:
        assert self.writing is None and not self.closed
        self.writing = payload, Deferred()
        return self.writing[1]

    def close(self) -> None:
        assert self.writing is None and not self.closed
        self.closed = True


class WalkedStream:
    """
    What of a stream's transport a pipe calls.

    :ivar sent: what it was given.
    :ivar ended: whether our direction was ended.
    :ivar broken: whether it was broken off.
    """

    def __init__(self) -> None:
        self.peer = SimpleNamespace(version=2)
        self.sent = b""
        self.receiving = True
        self.ended = self.disconnecting = self.lost = False
        self.producer: Any = None

    def registerProducer(self, producer: Any, streaming: bool) -> None:
        self.producer = producer

    def unregisterProducer(self) -> None:
        self.producer = None

    def write_now(self, data: bytes) -> None:
        assert not self.ended and not self.lost
        self.sent += data

    def loseWriteConnection(self) -> None:
        assert self.producer is None
        self.ended = True

    def breakConnection(self, why: str) -> None:
        assert not self.lost
        self.disconnecting = True

    def pauseProducing(self) -> None:
        self.receiving = False

    def resumeProducing(self) -> None:
        self.receiving = True


class Walk:
    """
    A pipe whose sides do things in any order, as far as they can.

    :ivar told: how it has ended for who waits for it; ``None`` as long as it lives.
    """

    def __init__(self) -> None:
        self.stream, self.source, self.output = WalkedStream(), WalkedSource(), WalkedOutput()
        self.pipe = Pipe(self.source, self.output)
        self.told: BaseException | str | None = None
        self.pipe.over.addCallbacks(lambda _: self._tell("in order"), lambda reason: self._tell(reason.value))
        self.came = b""
        self.server_ended = self.source_ended = self.interrupted = self.ended_before = False
        self.pipe.makeConnection(self.stream)

    def _tell(self, how: BaseException | str) -> None:
        assert self.told is None
        self.told = how

    def act(self, what: str) -> None:
        """Let something happen, if it can now."""
        stream, source, output = self.stream, self.source, self.output
        hears = stream.receiving and not (self.server_ended or stream.lost or stream.disconnecting)
        if what == "read" and source.reading:
            source.come(b"%02d" % (len(source.read) % 100))
        elif what in ("source ends", "source breaks") and source.reading:
            self.source_ended = what == "source ends"
            source.end(None if self.source_ended else OSError(5, "broken"))
        elif what in ("come", "last") and hears:
            self.came += (data := b"%02d" % (len(self.came) % 100))
            self.pipe.dataReceived(data)
            if what == "last":
                # With one read.
                self.server_ended = True
                self.pipe.readConnectionLost()
            self.pipe.read_over()
        elif what == "server ends" and hears:
            self.server_ended = True
            self.pipe.readConnectionLost()
        elif what in ("written", "not written") and output.writing is not None:
            (data, writing), output.writing = output.writing, None
            if what == "written":
                output.written += data
                writing.callback(None)
            else:
                writing.errback(Failure(OSError(28, "full")))
        elif what == "full" and stream.producer is not None:
            stream.producer.pauseProducing()
        elif what == "not full" and stream.producer is not None:
            stream.producer.resumeProducing()
        elif what == "writer leaves":
            source.left = True
        elif what == "interrupt" and not (self.interrupted or stream.lost or stream.disconnecting):
            self.interrupted, self.ended_before = True, stream.ended
            self.pipe.interrupt()
        elif what == "cut" and not stream.lost:
            self._lose(ConnectionLost())
        elif what == "over" and not stream.lost:
            if stream.disconnecting:
                self._lose(ConnectionLost())
            elif stream.ended and self.server_ended:
                self._lose(ConnectionDone())

    def _lose(self, why: Exception) -> None:
        self.stream.lost = True
        self.pipe.connectionLost(Failure(why))


ACTS = (
    "read",
    "come",
    "last",
    "written",
    "source ends",
    "server ends",
    "over",
    "full",
    "not full",
    "source breaks",
    "not written",
    "writer leaves",
    "interrupt",
    "cut",
)


class OrderTests(SynchronousTestCase):
    @given(st.lists(st.sampled_from(ACTS), min_size=5, max_size=20))
    @example(["read", "writer leaves", "interrupt", "read", "source ends", "over"])
    @example(["come", "server ends", "written", "full", "interrupt", "source ends"])
    def test_any_order(self, acts: list[str]) -> None:
        """
        The service sees an end in order only behind all that standard input had, and never when it was interrupted.
        Who reads sees one only behind all that came. All is in order only where both are, and that is always told.
        """
        walk = Walk()
        for act in acts:
            walk.act(act)
            self.check(walk)
        # Whatever goes on now, it comes to an end.
        for act in ("written", "over", "cut", "written"):
            walk.act(act)
            self.check(walk)
        self.assertIsNotNone(walk.told)
        self.assertTrue(walk.source.closed)

    def check(self, walk: Walk) -> None:
        self.assertEqual(walk.stream.sent, walk.source.read)
        self.assertTrue(walk.came.startswith(walk.output.written))
        if walk.stream.ended:
            self.assertTrue(walk.source_ended)
            self.assertTrue(walk.ended_before or not walk.interrupted)
        if walk.output.closed:
            self.assertTrue(walk.server_ended)
            self.assertEqual(walk.output.written, walk.came)
        if walk.told == "in order":
            self.assertTrue(walk.stream.ended and walk.output.closed and walk.stream.lost)
        elif isinstance(walk.told, CommandFailed):
            self.assertTrue(walk.stream.disconnecting or walk.stream.lost)

    def test_in_order(self) -> None:
        """The acts above can end it so."""
        walk = Walk()
        for act in ("read", "last", "source ends", "over"):
            walk.act(act)
        self.assertIsNone(walk.told)
        walk.act("written")
        self.assertEqual(walk.told, "in order")
