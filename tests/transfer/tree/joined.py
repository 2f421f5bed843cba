"""
Both halves of the file dialogue in one process: a sender and a receiver with a line between them, on real folders. In
what order things happen, and where the line is cut, is chosen by chance, from a seed.
"""

from __future__ import annotations

import os
import random
import shutil
from collections import deque
from collections.abc import Callable
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.error import ConnectionLost
from twisted.python.failure import Failure

from sodiumtwist.transfer.tree.messages import FILE, Outcome, decode_outcome, decode_request
from sodiumtwist.transfer.tree.pieces import split
from sodiumtwist.transfer.tree.receiving import Receiving
from sodiumtwist.transfer.tree.sending import Sending
from sodiumtwist.transfer.tree.storing import Rules, Storing
from sodiumtwist.transfer.tree.walking import Root, Walk

from .senders import ThreadInHand, Told

#: With so many messages on their way, the line takes no more.
FULL = 6


class Side:
    """
    One end of the line.

    :ivar outgoing: what has left and has not come, in order: what to do with it at the other end.
    :ivar producer: who is paused while too much is on its way.
    :ivar reading: whether it takes what comes.
    :ivar aborted: what it has broken off with.
    """

    def __init__(self) -> None:
        self.outgoing: deque[Callable[[], None]] = deque()
        self.peer: Side
        self.half: Any = None
        self.producer: Any = None
        self.paused = False
        self.reading = True
        self.over = False
        self.aborted: list[tuple[int, str]] = []
        self.watch: Callable[[bytes], None] = lambda payload: None

    # What the halves call

    def request(self, payload: Any) -> Deferred[bytes]:
        answered: Deferred[bytes] = Deferred()
        payload = bytes(payload)

        def ask() -> None:
            self.peer.half.asked(decode_request(payload)).addBoth(answer)

        def answer(result: bytes | Failure) -> None:
            if not self.peer.over:
                self.peer.send(lambda: answered.callback(result))

        self.send(ask)
        return answered

    def send_data(self, payload: Any) -> None:
        assert not self.over
        # It may be used again.
        payload = bytes(payload)
        assert len(payload) <= 131070

        def deliver() -> None:
            self.watch(payload)
            self.peer.half.data_received(payload)

        self.send(deliver)

    def registerProducer(self, producer: Any, streaming: bool) -> None:
        assert self.producer is None
        self.producer = producer

    def unregisterProducer(self) -> None:
        self.producer = None

    def pauseProducing(self) -> None:
        self.reading = False

    def resumeProducing(self) -> None:
        self.reading = True

    def abort_with(self, code: int, text: str, error: BaseException | None = None) -> None:
        self.aborted.append((code, text))

    # What the line does

    def send(self, arrive: Callable[[], None]) -> None:
        self.outgoing.append(arrive)
        if len(self.outgoing) >= FULL and self.producer is not None and not self.paused:
            self.paused = True
            self.producer.pauseProducing()

    def carry(self) -> None:
        """Let the next message arrive."""
        self.outgoing.popleft()()
        if self.paused and len(self.outgoing) < FULL // 2 and not self.over:
            self.paused = False
            if self.producer is not None:
                self.producer.resumeProducing()


class Session:
    """
    One try to send a tree.

    :param chance: chooses what happens next.
    :param source: the folder that is sent.
    :param target: where it goes.
    :param confirmed: paths of files that receivers have confirmed; the session adds those of its own.
    :param dry: whether nothing is sent.
    :param before: another session, whose receiver may still have work to do.
    :ivar sent_again: how many bytes came of files that were confirmed before.
    :ivar done: whether the sender has come to a good end; ``None`` while it has come to none.
    """

    def __init__(
        self,
        chance: random.Random,
        source: str,
        target: str,
        rules: Rules,
        confirmed: set[bytes],
        dry: bool = False,
        before: Session | None = None,
    ) -> None:
        self._chance = chance
        self._confirmed = confirmed
        self._before = frozenset(confirmed)
        self._paths: dict[int, bytes] = {}
        self.sent_again = 0
        self.told = Told()
        self.done: bool | None = None
        self.reason: Failure | None = None
        self._threads = ThreadInHand(), ThreadInHand()
        self._others: tuple[ThreadInHand, ...] = () if before is None else before._threads + before._others
        self.sender, self.receiver = Side(), Side()
        self.sender.peer, self.receiver.peer = self.receiver, self.sender
        root = Root(os.path.basename(os.fsencode(source)), os.fsencode(source))
        self._sending = Sending(self.sender, self._threads[0], Walk([root]), self.told, dry)
        self._storing = Storing(target, rules)
        self._receiving = Receiving(self.receiver, self._threads[1], self._storing)
        self.sender.half, self.receiver.half = self._sending, self
        self.sender.watch, self.receiver.watch = self._pieces, self._outcome
        self._sending.start().addCallbacks(self._ended_well, self._failed)

    def _ended_well(self, result: None) -> None:
        self.done = True

    def _failed(self, reason: Failure) -> None:
        self.done, self.reason = False, reason

    # What the receiver's half gets, to look at it before

    def asked(self, message: Any) -> Deferred[bytes]:
        for number, entry in enumerate(getattr(message, "entries", ()), getattr(message, "first", 0)):
            if entry.kind == FILE:
                self._paths[number] = entry.path
        return self._receiving.asked(message)

    def data_received(self, payload: bytes) -> None:
        self._receiving.data_received(payload)

    def _pieces(self, payload: bytes) -> None:
        for number, _, _, data in split(payload):
            if self._paths[number] in self._before:
                self.sent_again += len(data)

    def _outcome(self, payload: bytes) -> None:
        outcome: Outcome = decode_outcome(payload)
        self._confirmed.update(self._paths[settled.number] for settled in outcome.files if not settled.code)

    # Steps

    def _steps(self) -> list[Callable[[], None]]:
        """What can happen next."""
        sides = [side for side in (self.sender, self.receiver) if side.outgoing and side.peer.reading]
        threads = (*self._threads, *self._others)
        return [*(side.carry for side in sides), *(thread.step for thread in threads if thread.waiting)]

    def run(self, most: int | None = None) -> int:
        """
        Let things happen.

        :param most: how many; ``None`` for all.
        :return: how many did.
        """
        count = 0
        while (most is None or count < most) and (steps := self._steps()):
            self._chance.choice(steps)()
            count += 1
        return count

    def cut(self, lost: str = "both", finish: bool = True) -> None:
        """
        Cut the line.

        :param lost: which ends are told: ``both``, ``receiver`` or ``sender``. The other one was killed.
        :param finish: whether each end does what is left for it before the next session begins.
        """
        reason = Failure(ConnectionLost())
        for side in (self.sender, self.receiver):
            side.over = True
            side.outgoing.clear()
        if lost != "receiver":
            self._sending.lost(reason)
            if finish:
                self._finish(self._threads[0])
        if lost != "sender":
            self._receiving.lost()
            if finish:
                self._finish(self._threads[1])

    def end(self) -> None:
        """The connection ends in order."""
        self._receiving.lost()
        for thread in self._threads + self._others:
            self._finish(thread)

    @staticmethod
    def _finish(thread: ThreadInHand) -> None:
        while thread.waiting:
            thread.step()


def as_it_is(target: str) -> str:
    """
    Take a folder as it is on the disk in this moment, as if its receiver had been killed: no lock of it holds any more,
    and what has no name is gone.

    :return: another folder, which is like it.
    """
    left = f"{target}-left"
    # Whoever was killed may still do something in the old place.
    shutil.copytree(target, left, symlinks=True)
    return left
