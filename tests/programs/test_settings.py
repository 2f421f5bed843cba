"""
What command lines leave when they are parsed.
"""

from __future__ import annotations

import dataclasses
import os
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from sodiumtwist.programs import cli, tap, tunneltap

from ..processes import PUBLIC, SECRET

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
        for options, arguments in made:
            options.parseOptions(arguments)
        return [options.settings for options, _ in made]

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

    def test_send(self) -> None:
        """What was said, in the types that it is used in."""
        options = cli.SendOptions()
        options.parseOptions(["--key", PUBLIC, "--user", "ann", "--quiet", "in"])
        settings = options.settings
        self.assertEqual((settings.endpoint, settings.server_key), (cli.DEFAULT_CONNECT, bytes.fromhex(PUBLIC)))
        self.assertEqual((settings.path, settings.quiet, settings.json), ("in", True, False))
        credentials = settings.credentials
        self.assertEqual((credentials.user, credentials.passphrase, credentials.pair), ("ann", "passphrase", None))
        self.assertTrue(credentials.default_passphrase)
