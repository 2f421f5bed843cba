"""
How a server says that it keeps nothing, and how a client hears it.
"""

from __future__ import annotations

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from sodiumtwist import LocalProtocolError, SingleLogin
from sodiumtwist.core.credentials import TEXT_SIZE
from sodiumtwist.transfer.discarding import DISCARDS, hello_message, says_discarded
from sodiumtwist.transfer.receiver import UploadFactory
from sodiumtwist.transfer.stores import Store

from ..uploads import PAIR, MemoryStore


class DiscardingTests(SynchronousTestCase):
    """The end of the message."""

    def test_said_by_those_who_discard(self) -> None:
        """By them alone, whatever else the message says."""
        for message in ("Welcome.", "", "x" * (TEXT_SIZE - len(DISCARDS))):
            self.assertTrue(says_discarded(hello_message(message, keeps=False)))
            self.assertEqual(hello_message(message, keeps=True), message)
            self.assertFalse(says_discarded(message))

    def test_no_room(self) -> None:
        """The words always fit. They are counted as UTF-8."""
        for message in ("x" * (TEXT_SIZE - len(DISCARDS) + 1), "\u00e4" * 60, "a\0b"):
            self.assertRaises(LocalProtocolError, hello_message, message, keeps=False)

    def test_no_lie(self) -> None:
        """A server that keeps uploads can't say that it does not."""
        self.assertRaises(LocalProtocolError, hello_message, f"Hi.{DISCARDS}", keeps=True)

    def test_factory(self) -> None:
        """Whoever makes a server of a store that keeps nothing need not think of it."""
        messages = [
            UploadFactory(store, PAIR, SingleLogin("l", "p"), message="Hi.", clock=Clock()).message
            for store in (Store(), MemoryStore())
        ]
        self.assertEqual(messages, ["Hi. (uploads are discarded)", "Hi."])
