"""
URLs of servers.
"""

from __future__ import annotations

from hypothesis import given, settings, strategies
from twisted.trial.unittest import SynchronousTestCase

from sodiumtwist.contacts.addresses import Address
from sodiumtwist.contacts.urls import ServerURL, is_url, parse_card, parse_url
from sodiumtwist.core.credentials import LOGIN_SIZE
from sodiumtwist.core.errors import InvalidKey, LocalProtocolError
from sodiumtwist.core.keys import KeyPair

from ..texts import UTF8

KEY = KeyPair.from_secret(b"\x11" * 32).public
SECRET = b"\x5e" * 16

#: What a login can be made of. Halves of characters can't be sent.
TEXT = strategies.text(strategies.characters(exclude_characters="\0", exclude_categories=["Cs"]), min_size=1)


class URLTests(SynchronousTestCase):
    """
    What a URL says.
    """

    def test_card(self) -> None:
        """The server alone: where it is, and its key."""
        url = parse_url(f"sodium://example.org:5556/#{KEY.hex()}")
        self.assertEqual(url, ServerURL(Address("example.org", 5556), KEY))
        self.assertEqual(url.endpoint, "example.org:5556")

    def test_invitation(self) -> None:
        url = parse_url(f"sodium+tls://ann@[2001:db8::1]/#{KEY.hex()}.{SECRET.hex()}")
        self.assertEqual(url, ServerURL(Address("2001:db8::1", 5555), KEY, "ann", SECRET, True))
        self.assertEqual(url.endpoint, r"tls:2001\:db8\:\:1:5555")

    def test_secret_is_not_shown(self) -> None:
        """It stands in the whole URL alone."""
        url = ServerURL(Address("h"), KEY, "ann", SECRET)
        self.assertEqual(str(url), f"sodium://ann@h:5555/#{KEY.hex()}")
        self.assertEqual(url.whole, f"{url}.{SECRET.hex()}")
        self.assertNotIn(SECRET.hex(), repr(url))
        self.assertNotIn(repr(SECRET), repr(url))

    @settings(max_examples=40)
    @given(TEXT.filter(lambda login: len(login.encode()) <= LOGIN_SIZE), strategies.booleans(), strategies.booleans())
    def test_any_login(self, login: str, tls: bool, invitation: bool) -> None:
        """What was written is read, whatever the login."""
        url = ServerURL(Address("::1", 1), KEY, login, SECRET if invitation else None, tls)
        self.assertEqual(parse_url(url.whole), url)
        self.assertTrue(is_url(url.whole))
        self.assertTrue(url.whole.isascii())

    def test_folded(self) -> None:
        """As mail programs leave it, and in capital letters."""
        text = f" SODIUM://ann@h/\n  #{KEY.hex().upper()[:30]}\r\n {KEY.hex()[30:]} "
        self.assertEqual(parse_url(text), ServerURL(Address("h"), KEY, "ann"))

    def test_no_login(self) -> None:
        for user in ("", "@"):
            self.assertIsNone(parse_url(f"sodium://{user}h/#{KEY.hex()}").login)

    def test_wrong(self) -> None:
        """It is told what is wrong, and nothing of what is secret."""
        key, secret = KEY.hex(), SECRET.hex()
        whole = "the URL is not whole: behind # stands"
        for text, says in {
            "": "a URL of a server begins with sodium://",
            f"http://h/#{key}.{secret}": "a URL of a server begins with sodium://",
            "sodium://h": whole,
            f"sodium://h/{key}.{secret}": whole,
            f"sodium://h/#{key}.": whole,
            f"sodium://h/#{key}.{secret}0": whole,
            f"sodium://h/#{key[:-1]}": whole,
            f"sodium:///#{key}.{secret}": "the URL names no HOST:PORT but ''",
            f"sodium://h:0/#{key}.{secret}": "the URL names no HOST:PORT but 'h:0'",
            f"sodium://h/{secret}#{key}.{secret}": "the URL names no HOST:PORT but 'h', or has more than /",
            f"sodium://h?{secret}#{key}.{secret}": "the URL names no HOST:PORT but 'h', or has more than /",
            f"sodium://[::1/#{key}.{secret}": "the URL names no HOST:PORT",
            f"sodium://h\u2100/#{key}.{secret}": "the URL names no HOST:PORT",
            f"sodium://%ff@h/#{key}.{secret}": "the login in the URL is not UTF-8",
            f"sodium://%00@h/#{key}.{secret}": "the login holds a NUL",
            f"sodium://{'x' * 256}@h/#{key}.{secret}": "the login is 256 bytes long",
        }.items():
            error = self.assertRaises(LocalProtocolError, parse_url, text)
            self.assertTrue(str(error).startswith(says), str(error))
            self.assertNotIn(secret, str(error))
            self.assertIsNone(error.__cause__)

    def test_host(self) -> None:
        """What means something to a shell is in no host, for URLs stand in commands that people copy."""
        for host in ("example.org", "a_b-c.", "bücher.example", "उदाहरण.example", "10.0.0.1", "[fe80::1%eth0.7]"):
            url = parse_url(f"sodium://{host}/#{KEY.hex()}")
            self.assertEqual(parse_url(str(url)), url)
        for host in (
            "x';reboot;'",
            "$(reboot)",
            "`reboot`",
            "a&b",
            "x~",
            "x\x1b[m",
            "[fe80::1%';reboot;']",
            "a\u202eb",
        ):
            text = f"sodium://{host}/#{KEY.hex()}.{SECRET.hex()}"
            error = self.assertRaises(LocalProtocolError, parse_url, text)
            self.assertNotIn(SECRET.hex(), str(error))
        for host in ("a;b", "$(reboot)"):
            self.assertRaises(LocalProtocolError, ServerURL, Address(host), KEY)

    def test_no_place_for_invitations(self) -> None:
        """Where one has no place, it is told what it is for."""
        card = f"sodium://h/#{KEY.hex()}"
        self.assertEqual(parse_card(card), parse_url(card))
        error = self.assertRaises(LocalProtocolError, parse_card, f"{card}.{SECRET.hex()}", "the key")
        self.assertEqual(str(error), "the key is an invitation; run: sodiumtwist join 'URL'")

    def test_no_key(self) -> None:
        """A key that can be none of a server is noticed, as everywhere."""
        error = self.assertRaises(InvalidKey, parse_url, f"sodium://h/#{bytes(32).hex()}.{SECRET.hex()}")
        self.assertNotIn(SECRET.hex(), str(error))
        # Of an invitation with a typing error, nobody has files that could be looked at.
        self.assertEqual(
            str(error),
            "the key in the URL is no public key: it has typing errors, or is a private one; copy the URL anew",
        )

    @settings(max_examples=40)
    @given(strategies.text(UTF8))
    def test_anything(self, text: str) -> None:
        """Only documented errors follow."""
        for start in ("sodium://", "sodium://h/#"):
            try:
                parse_url(start + text)
            except (LocalProtocolError, InvalidKey):
                pass
