"""
Keys where others are due: wherever one is read, that is said at once and on one line, and no key is shown.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from unittest.mock import patch

from twisted.internet.endpoints import clientFromString, serverFromString
from twisted.internet.testing import MemoryReactorClock
from twisted.logger import formatEvent
from twisted.trial.unittest import SynchronousTestCase

from sodiumtwist import InvalidKey, KeyPair, LocalProtocolError, SodiumServerFactory
from sodiumtwist.contacts.keyfiles import write_key_file
from sodiumtwist.describe.fingerprints import fingerprint
from sodiumtwist.programs import services, tap, tunneltap
from sodiumtwist.programs.settings import ServerSettings

from ..logs import logged
from ..processes import PUBLIC, SECRET, ProcessTestCase, clean_environment, with_place

URL = f"sodium://ann@host:5555/#{PUBLIC}"
INVITATION = f"{URL}.{'12' * 16}"

PRIVATE_GIVEN = "server.key holds a private key, and the public one is wanted: server.key.pub"
PUBLIC_GIVEN = "server.key.pub holds a public key, and the private one is wanted: server.key"


class MixedKeysTests(ProcessTestCase):
    """Each program, and endpoint strings."""

    def setUp(self) -> None:
        super().setUp()
        self.addCleanup(os.chdir, os.getcwd())
        os.chdir(self.directory)
        write_key_file("server.key", KeyPair.from_hex(SECRET))
        write_key_file("me.key", KeyPair.from_hex("13" * 32))

    def assert_one(self, line: str, says: str) -> None:
        self.assertIn(says, line)
        self.assertNotRegex(line, "[0-9a-f]{16}")

    def refused(self, options: Callable[[], tap.Options | tunneltap.Options], *arguments: str) -> str:
        with patch.dict(os.environ, clean_environment(), clear=True):
            return str(self.assertRaises(SystemExit, options().parseOptions, [*arguments]))

    def test_commands(self) -> None:
        """``sodiumtwist``"""
        at = ["--to", "127.0.0.1:1", "--passphrase", "p"]
        for arguments, says in (
            (["ping", *at, "--server-key", "server.key"], PRIVATE_GIVEN),
            (["list", *at, "--key", "server.key"], PRIVATE_GIVEN),
            (["send", *at, "-k", f"private key: {SECRET}", "me.key"], "has to be a public key, not a private one"),
            (["send", *at, "-k", SECRET, "me.key"], "a private key was given in its place"),
            (["get", *at, "--server-key", "me.key.pub", "--identity", "me.key", "x"], "is our own public key"),
            (["ping", *at, "--server-key", fingerprint(bytes.fromhex(PUBLIC))], "is a fingerprint, which only serves"),
            (["ping", *at, "--server-key", INVITATION], "this is an invitation; run: sodiumtwist join 'URL'"),
            (["ping", *at, "--server-key", "server.key.pub", "--identity", "server.key.pub"], PUBLIC_GIVEN),
            (["ping", *at, "--server-key", PUBLIC, "--passphrase-file", "me.key"], "the passphrase comes from"),
            (["ping", *at[:2], "--server-key", PUBLIC, "--passphrase-file", "me.key"], "me.key is a key file, and no"),
            (["add", "home", URL, "--identity", "server.key.pub"], PUBLIC_GIVEN),
        ):
            status, output, errors = self.call(*arguments)
            self.assertEqual((status, output, len(errors)), (1, [], 1), (arguments, errors))
            self.assert_one(errors[0], says)

    def test_misplaced_invitations(self) -> None:
        """Its secret is shown by no line that tells what was given, so whoever sees that can't join by it."""
        at = ["--to", "127.0.0.1:1", "--server-key", PUBLIC]
        lines = []
        for arguments in (
            [INVITATION],
            ["servers", INVITATION],
            ["forget", INVITATION],
            ["join", f"--{INVITATION}"],
            ["join", INVITATION, INVITATION],
            ["join", f"{INVITATION[:-1]}\u00e9"],
            ["ping", *at, "--identity", INVITATION],
            ["ping", *at, "--passphrase-file", INVITATION],
            ["url", "--key-file", "server.key", "--endpoint", INVITATION],
        ):
            status, output, errors = self.call(*arguments)
            self.assertEqual((status, output, len(errors)), (1, [], 1), (arguments, errors))
            lines += errors
        for arguments in ([INVITATION], ["--authorized-keys", INVITATION, "--auth", "none", "--discard"]):
            lines.append(self.refused(tap.Options, *arguments))
        for arguments in (["--endpoint", INVITATION, "--discard"], ["--forward", INVITATION]):
            options = tap.Options()
            options.parseOptions(["--key", SECRET, "--passphrase", "p", *arguments])
            lines.append(str(self.assertRaises(SystemExit, tap.makeService, options, MemoryReactorClock())))
        for line in lines:
            self.assertNotIn(INVITATION[-32:-2], line)
        self.assertIn(f"{INVITATION[:-32]}\u2026", lines[1])

    def test_public_key_of_the_server(self) -> None:
        """Where only that is needed, both files will do."""
        urls = [self.call("url", "--key-file", name, "--endpoint", "host") for name in ("server.key", "server.key.pub")]
        self.assertEqual(urls[0], urls[1])
        self.assertEqual(urls[0][:2], (0, [f"sodium://host:5555/#{PUBLIC}"]))

    def test_server(self) -> None:
        """``twistd sodium``"""
        for name, text in (("keys", f"private key: {SECRET} ann\n"), ("swapped", f"ann {PUBLIC}\n")):
            with open(name, "w") as file:
                file.write(text)
        os.chmod("keys", 0o600)
        for arguments, says in (
            (["--key-file", "server.key.pub"], PUBLIC_GIVEN),
            (["--key", "server.key"], "--key takes the private key itself; name its file by --key-file"),
            (["--key", f"public key: {PUBLIC}"], "--key is a public key, and the private one is wanted"),
            (["--key", URL], "--key is a URL, which has a public key; the private one is wanted"),
            (["--auth", "none", "--authorized-keys", "me.key"], "me.key: line 3: it is a private key, which nobody"),
            (["--auth", "none", "--authorized-keys", "keys"], "keys: line 1: it is a private key, which nobody but"),
            (["--auth", "none", "--authorized-keys", "swapped"], "line 1: the key stands before the login"),
            (["--passphrase-file", "server.key"], "server.key is a key file, and no passphrase file"),
        ):
            self.assert_one(self.refused(tap.Options, *with_place(arguments)), says)

    def test_tunnel(self) -> None:
        """``twistd sodium-tunnel``"""
        right = ["--listen", "tcp:127.0.0.1:7000", "--to", "127.0.0.1:1"]
        for arguments, says in (
            (["--server-key", "server.key"], PRIVATE_GIVEN),
            (["--server-key", PUBLIC, "--identity", "server.key.pub"], PUBLIC_GIVEN),
        ):
            self.assert_one(self.refused(tunneltap.Options, *right, *arguments), says)

    def test_strings(self) -> None:
        """Those that begin with ``sodium:``."""
        reactor = MemoryReactorClock()
        for make, string, says in (
            (serverFromString, "sodium:tcp:0:keyFile=server.key.pub:login=me:passphraseFile=pass", PUBLIC_GIVEN),
            (clientFromString, "sodium:tcp:h:1:serverKey=server.key:identityFile=me.key", PRIVATE_GIVEN),
            (clientFromString, f"sodium:tcp:h:1:serverKey={PUBLIC}:identityFile=server.key.pub", PUBLIC_GIVEN),
        ):
            with patch.dict(os.environ, clean_environment(), clear=True):
                error = self.assertRaises((InvalidKey, LocalProtocolError), make, reactor, string)
            self.assert_one(str(error), says)
            # Programs that take endpoint strings show tracebacks.
            self.assertTrue(error.__suppress_context__ or error.__context__ is None)

    def test_right(self) -> None:
        """The files that are meant are taken, in the same places."""
        reactor = MemoryReactorClock()
        with patch.dict(os.environ, clean_environment(), clear=True):
            clientFromString(reactor, "sodium:tcp:h:1:serverKey=server.key.pub:identityFile=me.key")
            tunnel, server = tunneltap.Options(), tap.Options()
            listen = ["--listen", "tcp:127.0.0.1:7000", "--to", "127.0.0.1:1"]
            tunnel.parseOptions([*listen, "--server-key", "server.key.pub", "--identity", "me.key"])
            server.parseOptions(with_place(["--key-file", "server.key", "--authorized-keys", "me.key.pub"]))
        self.assertEqual(tunnel.settings.server_key.hex(), PUBLIC)
        self.assertEqual(server.settings.pair.public.hex(), PUBLIC)


class StartTests(SynchronousTestCase):
    """What a server says of keys when it starts."""

    def announce(self, *arguments: str) -> list[str]:
        options = tap.Options()
        with patch.dict(os.environ, clean_environment(), clear=True):
            options.parseOptions(with_place(arguments))
        events = logged(self)
        settings: ServerSettings = options.settings
        factory = SodiumServerFactory(settings.pair, settings.checker, authorized_keys=settings.authorized_keys)
        services.SodiumService(settings, [], factory, MemoryReactorClock(), {}).announce()
        return [formatEvent(event) for event in events]

    def test_fingerprint(self) -> None:
        """Beside the key, on a line of its own."""
        lines = self.announce("--key", SECRET)
        self.assertEqual(lines, [f"public key: {PUBLIC}", f"fingerprint {fingerprint(bytes.fromhex(PUBLIC))}"])

    def test_may_be_public(self) -> None:
        """A public key that was given as the private one: digits alone can't tell."""
        lines = self.announce("--key", PUBLIC)
        self.assertEqual(len(lines), 3)
        self.assertIn("the private key could be a public one that was given in its place", lines[2])
        self.assertEqual(len(self.announce("--key", f"private key: {PUBLIC}")), 2)

    def test_private_keys_in_the_list(self) -> None:
        """They are told by their lines."""
        path = os.path.abspath(self.mktemp())
        with open(path, "w") as file:
            file.write(f"{PUBLIC} ann\n{SECRET} bob\n")
        lines = self.announce("--key", SECRET, "--authorized-keys", path, "--auth", "none")
        self.assertEqual(len(lines), 3)
        self.assertTrue(lines[2].startswith(f"{path} has keys that are no public ones, in lines 2: private keys, "))


class DeviceTests(ProcessTestCase):
    """No mode makes a key file of a device, so no command tells to change it."""

    def test_dev_null(self) -> None:
        key = ["--to", "127.0.0.1:1", "--server-key", PUBLIC]
        for arguments in (
            ["pubkey", "/dev/null"],
            ["keygen", "--output", "/dev/null"],
            ["ping", *key, "--identity", "/dev/null"],
            ["ping", *key, "--passphrase-file", "/dev/null"],
            ["ping", "--to", "127.0.0.1:1", "--server-key", "/dev/null"],
            ["passwd", "/dev/null", "ann"],
            ["passwd", "users.txt", "ann", "--passphrase-file", "/dev/null"],
            ["url", "--key-file", "/dev/null", "--endpoint", "host"],
            ["invite", "--key-file", "/dev/null", "--keys", "keys.txt", "--endpoint", "host", "ann"],
        ):
            status, output, errors = self.call(*arguments)
            self.assertEqual((status, output), (1, []), arguments)
            self.assert_one_line(errors, "/dev/null")
            self.assertNotIn("chmod", errors[0])
            self.assertNotIn("mkfifo", errors[0])
            self.assertNotIn("sodiumtwist pubkey", errors[0])
