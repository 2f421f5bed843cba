"""
The sender's half of the file dialogue, with a receiver and a thread in memory.
"""

from __future__ import annotations

import os

from twisted.internet.defer import Deferred
from twisted.trial.unittest import SynchronousTestCase

from sodiumtwist.transfer.tree.report import STORED
from sodiumtwist.transfer.tree.sending import Sending
from sodiumtwist.transfer.tree.walking import Root, Walk

from .senders import ReceiverInHand, ThreadInHand, Told, make_tree, write


class SendingTestCase(SynchronousTestCase):
    """Makes a folder, and what sends it."""

    def setUp(self) -> None:
        self.root = self.mktemp()
        make_tree(self.root)
        self.receiver = ReceiverInHand()
        self.thread = ThreadInHand()
        self.told = Told()

    def start(self, dry: bool = False, digests: bool = False) -> Deferred[None]:
        self.walk = Walk([Root(b"top", os.fsencode(self.root))])
        self.sending = Sending(self.receiver, self.thread, self.walk, self.told, dry, digests)
        return self.sending.start()

    def write(self, name: str, data: bytes) -> None:
        write(os.path.join(self.root, name), data)

    def run_all(self) -> None:
        """Let both ends do what they can, until nothing is left."""
        while self.thread.waiting or self.receiver.questions or self.receiver.payloads:
            if self.thread.waiting:
                self.thread.step()
            elif self.receiver.payloads:
                self.receiver.take()
                self.sending.data_received(self.receiver.outcome())
            else:
                self.receiver.answer()


class WholeTests(SendingTestCase):
    """
    From the first announcement to the last answer.
    """

    def test_tree(self) -> None:
        self.write("a", b"alpha")
        self.write("empty", b"")
        os.mkdir(os.path.join(self.root, "inside"))
        self.write("inside/large", b"0123456789" * 100_000)
        sent = self.start()
        self.run_all()
        self.successResultOf(sent)
        self.assertEqual(
            self.receiver.contents,
            {b"top/a": b"alpha", b"top/empty": b"", b"top/inside/large": b"0123456789" * 100_000},
        )
        self.assertEqual([result.path for result in self.told.results], [b"top/a", b"top/empty", b"top/inside/large"])
        self.assertEqual({result.outcome for result in self.told.results}, {STORED})
        self.assertEqual((self.told.files, self.told.size), (3, 1_000_005))
        self.assertEqual(self.told.bytes_written, 1_000_005)
        times = {
            path: os.stat(os.path.join(self.root, name)).st_mtime_ns
            for path, name in ((b"top", "."), (b"top/inside", "inside"))
        }
        self.assertEqual(self.receiver.times, times)
        self.assertIsNone(self.receiver.producer)
