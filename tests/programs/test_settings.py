"""
What command lines leave when they are parsed.
"""

from __future__ import annotations

import dataclasses
import os
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from sodiumtwist.core.errors import UnsupportedProtocol
from sodiumtwist.programs import cli, options, tap, tunneltap
from sodiumtwist.protocol.factories import VERSION

from ..processes import PUBLIC, SECRET
from .test_tap import lacks_ml_kem

KEYS = ["--key", PUBLIC, "--passphrase", "geheim"]


class SettingsTests(SynchronousTestCase):
    """The settings of every command and service that has some."""

    def setUp(self) -> None:
        self.patch(os, "environ", {"PATH": os.environ["PATH"]})

    def parsed(self) -> list[Any]:
        made: list[tuple[Any, list[str]]] = [
            (cli.SendOptions(), [*KEYS, "--endpoint", "sodium:tcp:h:1:passphrase=geheim", "in"]),
            (cli.PingOptions(), KEYS),
            (cli.PasswdOptions(), ["users", "ann"]),
            (
                tap.Options(),
                ["--key", SECRET, "--passphrase", "geheim", "--forward", "sodium:tcp:h:1:passphrase=geheim"],
            ),
            (
                tunneltap.Options(),
                [
                    "--listen",
                    "tcp:1",
                    "--to",
                    "sodium:tcp:h:1:passphrase=geheim",
                    "--server-key",
                    PUBLIC,
                    "-P",
                    "geheim",
                ],
            ),
        ]
        for parsed, arguments in made:
            parsed.parseOptions(arguments)
        return [parsed.settings for parsed, _ in made]

    def test_frozen(self) -> None:
        """Nothing changes them after."""
        for settings in self.parsed():
            for field in dataclasses.fields(settings):
                self.assertRaises(dataclasses.FrozenInstanceError, setattr, settings, field.name, None)

    def test_no_secrets(self) -> None:
        """What is shown of them may stand in a log."""
        for settings in self.parsed():
            self.assertNotIn("geheim", repr(settings))
            self.assertNotIn(SECRET, repr(settings))
            self.assertNotIn(repr(bytes.fromhex(SECRET)), repr(settings))

    def test_version(self) -> None:
        """Clients speak what those in code speak, unless they are told."""
        self.assertEqual(options.DEFAULT_PROTOCOL, str(VERSION))
        tunnel = ["--listen", "tcp:1", "--to", "tcp:h:1", "--server-key", PUBLIC]
        for make, arguments in (
            (lambda: cli.SendOptions(), (*KEYS, "in")),
            (lambda: cli.PingOptions(), KEYS),
            (lambda: tunneltap.Options(), tunnel),
        ):
            for given, version in (((), VERSION), (("--protocol", "1"), 1), (("--protocol", "2"), 2)):
                parsed: Any = make()
                parsed.parseOptions([*given, *arguments])
                self.assertEqual(parsed.settings.version, version)

    def test_no_ml_kem(self) -> None:
        """Where it is missing, the one line tells the way out."""
        self.patch(options, "check_supported", lacks_ml_kem)
        ping = cli.PingOptions()
        error = self.assertRaises(UnsupportedProtocol, ping.parseOptions, ["--protocol", "2", *KEYS])
        self.assertIn("give --protocol 1, ", str(error))
        ping.parseOptions(["--protocol", "1", *KEYS])
        tunnel = tunneltap.Options()
        words = ["--protocol", "2", "--listen", "tcp:1", "--to", "tcp:h:1", "--server-key", PUBLIC]
        failed = self.assertRaises(SystemExit, tunnel.parseOptions, words)
        self.assertRegex(str(failed), r"^sodium-tunnel: version 2 needs [^\n]*give --protocol 1, ")

    def test_send(self) -> None:
        """What was said, in the types that it is used in."""
        send = cli.SendOptions()
        send.parseOptions(["--key", PUBLIC, "--user", "ann", "--quiet", "in"])
        settings = send.settings
        self.assertEqual((settings.endpoint, settings.server_key), (cli.DEFAULT_CONNECT, bytes.fromhex(PUBLIC)))
        self.assertEqual((settings.path, settings.quiet, settings.json), ("in", True, False))
        credentials = settings.credentials
        self.assertEqual((credentials.user, credentials.passphrase, credentials.pair), ("ann", "passphrase", None))
        self.assertTrue(credentials.default_passphrase)
