"""
Tests of :mod:`sodiumtwist.core.events`.
"""

from __future__ import annotations

from typing import get_args

from twisted.trial.unittest import SynchronousTestCase

from sodiumtwist.core import events
from sodiumtwist.core.events import Authenticated, AuthenticationRequested, DataReceived, PingReceived, PongReceived


class ReprTests(SynchronousTestCase):
    """
    What a log may show of an event.
    """

    def test_no_passphrase(self) -> None:
        for shown in (repr, str):
            text = shown(AuthenticationRequested("username", "open sesame", b"\x09" * 32))
            self.assertIn("username", text)
            self.assertIn(repr(b"\x09" * 32), text)
            self.assertNotIn("sesame", text)

    def test_no_payload(self) -> None:
        for shown in (repr, str):
            self.assertNotIn("sesame", shown(DataReceived(b"open sesame")))

    def test_the_rest_is_shown(self) -> None:
        self.assertIn("'Welcome.'", repr(Authenticated("Welcome.")))
        self.assertIn("1234567", repr(PingReceived(1234567)))
        self.assertIn("1234567", repr(PongReceived(1234567, 0.25)))
        self.assertIn("0.25", repr(PongReceived(1234567, 0.25)))


class EqualityTests(SynchronousTestCase):
    """
    What is not shown still counts.
    """

    def test_payload(self) -> None:
        self.assertEqual(DataReceived(b"a"), DataReceived(b"a"))
        self.assertNotEqual(DataReceived(b"a"), DataReceived(b"b"))

    def test_passphrase(self) -> None:
        self.assertNotEqual(AuthenticationRequested("a", "b", b""), AuthenticationRequested("a", "c", b""))

    def test_kinds(self) -> None:
        self.assertNotEqual(PingReceived(1), PongReceived(1, 0))


class UnionTests(SynchronousTestCase):
    """
    ``Event`` is every kind there is.
    """

    def test_complete(self) -> None:
        kinds = {
            kind for kind in vars(events).values() if isinstance(kind, type) and kind.__module__ == events.__name__
        }
        self.assertEqual(set(get_args(events.Event)), kinds)
