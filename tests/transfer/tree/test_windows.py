"""
A sender announces no more than a receiver takes.
"""

from __future__ import annotations

import os

from twisted.trial.unittest import SynchronousTestCase

from sodiumtwist.transfer.tree import sending, walking
from sodiumtwist.transfer.tree.messages import ANNOUNCEMENT_SIZE, ENTRIES, UNSETTLED, UNSETTLED_SIZE
from sodiumtwist.transfer.tree.sending import Sending
from sodiumtwist.transfer.tree.walking import Root, Walk

from .senders import ReceiverInHand, ThreadInHand, make_tree


class WindowTests(SynchronousTestCase):
    """What is announced and not settled."""

    def announced(self) -> int:
        """Send a tree to a receiver that settles nothing, and count what it hears of."""
        root = self.mktemp()
        make_tree(root, **{f"{'n' * 90}{number:02}": b"" for number in range(60)})
        receiver, thread = ReceiverInHand(), ThreadInHand()
        sent = Sending(receiver, thread, Walk([Root(b"top", os.fsencode(root))])).start()
        while thread.waiting or receiver.questions:
            thread.step() if thread.waiting else receiver.answer()
        self.assertNoResult(sent)
        return len(receiver.entries)

    def test_entries(self) -> None:
        """They are at most so many,"""
        self.assertLessEqual(sending.WINDOW, UNSETTLED)
        for module in (sending, walking):
            self.patch(module, "ENTRIES", 10)
        self.patch(sending, "WINDOW", 20)
        # One of them is the folder, which is settled by its verdict.
        self.assertEqual(self.announced(), 20)

    def test_paths(self) -> None:
        """and their paths have at most so many bytes together."""
        self.assertLessEqual(sending.PATHS_WINDOW + ANNOUNCEMENT_SIZE, UNSETTLED_SIZE)
        self.assertGreater(sending.PATHS_WINDOW, 2 * ENTRIES * 255)
        for module in (sending, walking):
            self.patch(module, "ANNOUNCEMENT_SIZE", 1_000)
        self.patch(sending, "PATHS_WINDOW", 3_000)
        self.assertLess(self.announced() * 96, 3_000 + 200)
        self.assertGreater(self.announced() * 96, 1_500)
