"""
``sodiumtwist invite`` and ``sodiumtwist url``, and a server that is running meanwhile.
"""

from __future__ import annotations

import errno
import os
import time

from twisted.python.usage import UsageError
from twisted.trial.unittest import SynchronousTestCase

from sodiumtwist import KeyPair
from sodiumtwist.admission.authorized import parse_authorized_keys
from sodiumtwist.admission.invitations import hash_secret, passphrase_of
from sodiumtwist.admission.passwords import read_passwords
from sodiumtwist.contacts.addresses import Address
from sodiumtwist.contacts.urls import ServerURL, parse_url
from sodiumtwist.describe.fingerprints import fingerprint
from sodiumtwist.programs import inviting
from sodiumtwist.programs.durations import parse_duration
from sodiumtwist.programs.output import OutputLost
from sodiumtwist.programs.reached import parse_reached

from ..admission.test_passwords import cheap
from ..processes import PUBLIC, SECRET
from .test_who_processes import WhoTestCase

SERVER_KEY = bytes.fromhex(PUBLIC)
FINGERPRINT = f"sodiumtwist: fingerprint of the server's key: {fingerprint(SERVER_KEY)}"


class InvitingTestCase(WhoTestCase):
    def setUp(self) -> None:
        super().setUp()
        self.write("server.key", SECRET)

    def invite(self, *options: str, endpoint: str = "example.org:5555") -> tuple[ServerURL, list[str]]:
        """Invite somebody; return the URL that is printed, and what is said beside it."""
        status, output, errors = self.call(
            "invite", "--key-file", "server.key", "--keys", "keys", "--endpoint", endpoint, *options
        )
        self.assertEqual(status, 0, errors)
        (line,) = output
        return parse_url(line), errors


class InviteTests(InvitingTestCase):
    def test_url(self) -> None:
        """Alone on standard output; beside it what to do with it. Only its hash is stored."""
        before = time.time()
        url, errors = self.invite("ann")
        self.assertEqual((url.address, url.server_key, url.login), (Address("example.org", 5555), SERVER_KEY, "ann"))
        assert url.secret is not None
        (invitation,) = parse_authorized_keys(self.read("keys").decode()).invitations.values()
        self.assertEqual((invitation.login, invitation.digest), ("ann", hash_secret(url.secret)))
        self.assertTrue(before + 86399 <= invitation.time <= time.time() + 86400)
        when = time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime(invitation.time))
        self.assertEqual(
            errors,
            [
                f"sodiumtwist: whoever has this line first comes in as ann, once, until {when}; send it to ann alone",
                "sodiumtwist: ann runs: sodiumtwist join 'THE LINE', in quotes",
                "sodiumtwist: the server runs with: --authorized-keys keys --auth none",
                FINGERPRINT,
            ],
        )
        secret = url.secret.hex()
        self.assertNotIn(secret, self.read("keys").decode() + "".join(errors))

    def test_users(self) -> None:
        """A login that is not there is added; one with a passphrase keeps it, and that is told."""
        self.write("users", f"bob:{cheap('right')}\n")
        for login, told in (("ann", False), ("bob", True)):
            _, errors = self.invite("--users", "users", login)
            warnings = [line for line in errors if "warning" in line]
            expected = f"sodiumtwist: warning: {login} has a passphrase in users, so later both are asked for: key and"
            self.assertEqual([line[: len(expected)] for line in warnings], [expected] if told else [])
            self.assertIn("sodiumtwist: the server runs with: --authorized-keys keys --auth argon2:users", errors)
        self.assertEqual(dict(read_passwords(self.path("users")))["ann"], "$key$")

    def test_other_letters(self) -> None:
        """A login is stored as clients send it, and is a part of the URL."""
        url, _ = self.invite("e\u0301 @/")
        self.assertEqual(url.login, "\u00e9 @/")
        self.assertIn('Z "\u00e9 @/"  # invited ', self.read("keys").decode())

    def test_expires(self) -> None:
        self.invite("--expires", "30m", "ann")
        (invitation,) = parse_authorized_keys(self.read("keys").decode()).invitations.values()
        self.assertLess(abs(invitation.time - time.time() - 1800), 60)

    def test_loopback(self) -> None:
        """Nobody else reaches the server by that."""
        for host in ("127.0.0.1", "localhost", "[::1]"):
            _, errors = self.invite("ann", endpoint=host)
            self.assertRegex(errors[-1], "^sodiumtwist: warning: .* is this machine alone: no other one reaches")

    def test_placeholder(self) -> None:
        """What the documentation writes for the server's name was copied with the rest."""
        _, errors = self.invite("ann", endpoint="HOST:5555")
        self.assertRegex(
            errors[-1], "^sodiumtwist: warning: HOST stands for the server's name or address, .* its place$"
        )

    def test_output_lost(self) -> None:
        """An invitation whose URL nobody has is withdrawn. Others stay."""
        self.invite("bob")
        before = self.read("keys")

        def full(line: str) -> None:
            raise OutputLost(OSError(errno.ENOSPC, "No space left on device"))

        self.patch(inviting, "print_text", full)
        status, _, errors = self.call(
            "invite", "--key-file", "server.key", "--keys", "keys", "--endpoint", "example.org", "ann"
        )
        self.assertEqual((status, errors), (6, ["sodiumtwist: standard output: No space left on device"]))
        self.assertEqual(self.read("keys"), before)

    def test_mistakes(self) -> None:
        """One line each, and nothing is stored."""
        key = ("--key-file", "server.key")
        keys, endpoint = ("--keys", "keys"), ("--endpoint", "example.org")
        for arguments, words in (
            (("invite", *key, *keys, *endpoint), "LOGIN is missing"),
            (("invite", *key, *endpoint, "ann"), "where does the server list its clients' keys. --keys FILE"),
            (("invite", *key, *keys, "ann"), "where do clients reach the server. --endpoint HOST:PORT"),
            (("invite", *keys, *endpoint, "ann"), "which is the server's key. --key-file FILE"),
            (("invite", *key, *keys, *endpoint, ""), "that is no login for such a file"),
            (("invite", *key, *keys, *endpoint, "a\nb"), "that is no login for such a file"),
            (("invite", *key, *keys, *endpoint, "--expires", "1", "ann"), "--expires takes a time such as 30m"),
            (("invite", *key, *keys, *endpoint, "--expires", "0s", "ann"), "--expires takes a time such as 30m"),
            (("invite", *key, *keys, *endpoint, "--expires", "366d", "ann"), "--expires takes a time such as 30m"),
            (("invite", *key, *keys, "--endpoint", "tcp:5555", "ann"), "--endpoint takes what clients connect to"),
            (("invite", *key, "--keys", "no/keys", *endpoint, "ann"), "no.*: No such file or directory"),
            (("url", *endpoint), "which is the server's key. --key-file FILE"),
            (("url", *key), "where do clients reach the server. --endpoint HOST:PORT"),
        ):
            status, output, errors = self.call(*arguments)
            self.assertEqual((status, output), (1, []), arguments)
            self.assert_one_line(errors, f"^sodiumtwist: .*{words}")
        self.assertEqual(os.listdir(self.directory), ["server.key"])


class URLTests(InvitingTestCase):
    def test_url(self) -> None:
        """It holds no secret."""
        for arguments, expected in (
            (["--endpoint", "example.org"], f"sodium://example.org:5555/#{PUBLIC}"),
            (["--endpoint", "tls:example.org:443", "ann"], f"sodium+tls://ann@example.org:443/#{PUBLIC}"),
        ):
            status, output, errors = self.call("url", "--key-file", "server.key", *arguments)
            self.assertEqual((status, output, errors), (0, [expected], [FINGERPRINT]))


class RunningTests(InvitingTestCase):
    """A server that goes on running."""

    def test_joined(self) -> None:
        """The server need not start again; whoever joined comes in by its key from then on."""
        options = ("--directory", "uploads", "--auth", "argon2:users", "--authorized-keys", "keys")
        self.write("users", "")
        self.write("keys", "")
        server = self.start_server(*options)
        url, _ = self.invite("--users", "users", "ann")
        assert url.secret is not None
        pair = KeyPair.generate()
        self.write("me.key", pair.secret.hex())
        mine = ("--user", "ann", "--identity", "me.key", "--passphrase-file")
        self.write("secret", passphrase_of(url.secret))
        self.write("any", "thing")
        for passphrase in ("secret", "any"):
            sent = self.send(*mine, passphrase)
            self.assertEqual(sent.process.returncode, 0, sent.errors)
        server.wait_for(rf"'ann' has joined by an invitation, .*fingerprint {fingerprint(pair.public)}")
        server.stop()
        self.assertNotIn(url.secret.hex(), "".join(server.output + server.errors))


class ParseTests(SynchronousTestCase):
    def test_durations(self) -> None:
        for text, seconds in (("90s", 90), ("30m", 1800), ("24H", 86400), ("7d", 604800), ("0s", 0)):
            self.assertEqual(parse_duration(text), seconds)
        for text in ("", "1", "h", "1.5h", "-1h", "1w", "1 h", "\u0661h", "9999999999s"):
            self.assertRaises(ValueError, parse_duration, text)

    def test_reached(self) -> None:
        for text, address, tls in (
            ("example.org", Address("example.org"), False),
            ("example.org:7", Address("example.org", 7), False),
            ("[::1]:7", Address("::1", 7), False),
            ("2001:db8::1", Address("2001:db8::1"), False),
            ("tcp:example.org:7", Address("example.org", 7), False),
            ("tls:example.org:7", Address("example.org", 7), True),
            ("tls:[2001:db8::1]:7", Address("2001:db8::1", 7), True),
            (r"tcp:2001\:db8\:\:1:7", Address("2001:db8::1", 7), False),
        ):
            self.assertEqual(parse_reached(text), (address, tls), text)
        # The last ones would make a URL that nobody can read.
        unreadable = ("example#org", "example?org", "[fe80::1%a#b]", "example\x1borg")
        others = ("tcp:5555", "tls:5555", "tcp:5555:interface=example.org", "unix:/run/x")
        for text in ("", ":5555", "5555", *others, *unreadable):
            error = self.assertRaises(UsageError, parse_reached, text)
            self.assertIn("--endpoint takes what clients connect to", str(error), text)
        for text in ("0.0.0.0", "[::]:5555"):
            self.assertIn("nobody can connect to", str(self.assertRaises(UsageError, parse_reached, text)))
