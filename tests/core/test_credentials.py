"""
Tests of :mod:`sodiumtwist.core.credentials`, and of what compares with it.
"""

from __future__ import annotations

import hmac

from twisted.trial.unittest import SynchronousTestCase

from sodiumtwist.core.credentials import pack_credentials, pad_credentials, same_credentials
from sodiumtwist.core.errors import LocalProtocolError
from sodiumtwist.core.events import AuthenticationRequested


class PackCredentialsTests(SynchronousTestCase):
    """
    Login and passphrase side by side.
    """

    def test_layout(self) -> None:
        self.assertEqual(pack_credentials("me", "sesame"), b"me" + bytes(126) + b"sesame" + bytes(122))

    def test_longest(self) -> None:
        self.assertEqual(pack_credentials("l" * 128, "p" * 128), b"l" * 128 + b"p" * 128)

    def test_does_not_fit(self) -> None:
        for texts in (("x" * 129, ""), ("", "x" * 129), ("a\0", ""), ("", "\0")):
            with self.assertRaises(LocalProtocolError):
                pack_credentials(*texts)


class PadCredentialsTests(SynchronousTestCase):
    """
    The same for what version 2 allows.
    """

    def test_layout(self) -> None:
        self.assertEqual(pad_credentials("me", "sesame"), b"me" + bytes(253) + b"sesame" + bytes(4090))

    def test_longest(self) -> None:
        self.assertEqual(pad_credentials("l" * 255, "p" * 4096), b"l" * 255 + b"p" * 4096)

    def test_does_not_fit(self) -> None:
        for texts in (("x" * 256, ""), ("", "x" * 4097), ("\u00e9" * 128, ""), ("a\0", ""), ("", "\0")):
            with self.assertRaises(LocalProtocolError):
                pad_credentials(*texts)


class SameCredentialsTests(SynchronousTestCase):
    """
    Comparing.
    """

    def test_same(self) -> None:
        self.assertIs(same_credentials(pack_credentials("a", "b"), pack_credentials("a", "b")), True)

    def test_different(self) -> None:
        for texts in (("a", "c"), ("c", "b"), ("", "ab"), ("ab", ""), ("b", "a"), ("a", "b "), ("A", "b")):
            self.assertIs(same_credentials(pack_credentials("a", "b"), pack_credentials(*texts)), False)

    def test_in_constant_time(self) -> None:
        """The comparison is left to the one function that promises this."""
        compared: list[tuple[bytes, bytes]] = []

        def compare(given: bytes, expected: bytes) -> bool:
            compared.append((given, expected))
            return True

        self.patch(hmac, "compare_digest", compare)
        same_credentials(b"given", b"expected")
        self.assertEqual([set(texts) for texts in compared], [{b"given", b"expected"}])


class MatchesTests(SynchronousTestCase):
    """
    :meth:`AuthenticationRequested.matches`.
    """

    def request(self, login: str = "username", passphrase: str = "passphrase") -> AuthenticationRequested:
        return AuthenticationRequested(login, passphrase, bytes(32))

    def test_right(self) -> None:
        self.assertIs(self.request().matches("username", "passphrase"), True)

    def test_wrong(self) -> None:
        for login, passphrase in [
            ("username", "Passphrase"),
            ("Username", "passphrase"),
            ("username", ""),
            ("", "passphrase"),
            ("", ""),
            ("passphrase", "username"),
            ("usernamep", "assphrase"),
            ("username", "passphrase\u200b"),
        ]:
            self.assertIs(self.request().matches(login, passphrase), False, f"{login}, {passphrase}")

    def test_empty(self) -> None:
        self.assertIs(self.request("", "").matches("", ""), True)

    def test_longest(self) -> None:
        request = self.request("l" * 128, "p" * 128)
        self.assertIs(request.matches("l" * 128, "p" * 128), True)
        self.assertIs(request.matches("l" * 128, "p" * 127 + "q"), False)

    def test_beyond_ascii(self) -> None:
        request = self.request("J\u00f6rg", "\u2603")
        self.assertIs(request.matches("J\u00f6rg", "\u2603"), True)
        self.assertIs(request.matches("Jo\u0308rg", "\u2603"), False)

    def test_expected_that_does_not_fit(self) -> None:
        for texts in (("x" * 129, ""), ("", "x" * 129), ("username\0", "passphrase")):
            with self.assertRaises(LocalProtocolError):
                self.request().matches(*texts)


class MatchesOfVersion2Tests(MatchesTests):
    """
    The same of version 2, with longer texts.
    """

    def request(self, login: str = "username", passphrase: str = "passphrase") -> AuthenticationRequested:
        return AuthenticationRequested(login, passphrase, bytes(32), version=2)

    def test_longest(self) -> None:
        request = self.request("l" * 255, "p" * 4096)
        self.assertIs(request.matches("l" * 255, "p" * 4096), True)
        self.assertIs(request.matches("l" * 255, "p" * 4095 + "q"), False)
        self.assertIs(request.matches("l" * 255, "p" * 4095), False)

    def test_expected_that_does_not_fit(self) -> None:
        for texts in (("x" * 256, ""), ("", "x" * 4097), ("username\0", "passphrase")):
            with self.assertRaises(LocalProtocolError):
                self.request().matches(*texts)

    def test_fields_of_one_size(self) -> None:
        """Whatever the texts, what is compared has one size, so that the time tells nothing about them."""
        compared: list[int] = []

        def compare(given: bytes, expected: bytes) -> bool:
            compared.extend((len(given), len(expected)))
            return True

        self.patch(hmac, "compare_digest", compare)
        for login, passphrase in [("", ""), ("a", "b"), ("l" * 255, "p" * 4096)]:
            self.request(login, passphrase).matches("login", "passphrase")
        self.assertEqual(set(compared), {255 + 4096})
