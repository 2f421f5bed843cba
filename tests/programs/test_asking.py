"""
A client without a passphrase: when it takes the default one, when it needs none, and when it asks for one.
"""

from __future__ import annotations

import getpass
import os
import shlex
import signal
from collections.abc import Callable

from twisted.python.usage import UsageError
from twisted.trial.unittest import SynchronousTestCase

from sodiumtwist import KeyPair
from sodiumtwist.contacts.keyfiles import write_key_file
from sodiumtwist.programs import asking, client_options, tunneltap
from sodiumtwist.programs.asking import ask_passphrase, choose_passphrase
from sodiumtwist.programs.settings import Credentials

from .. import NO_FOLDERS
from ..processes import PUBLIC, SODIUMTWIST, ProcessTestCase
from ..signals import as_at_start
from ..terminal import on_terminal


class ChoiceTests(SynchronousTestCase):
    """Which passphrase it is."""

    def setUp(self) -> None:
        self.patch(os, "environ", {"PATH": os.environ["PATH"], **NO_FOLDERS})
        self.asked: list[str] = []
        self.patch(asking, "ask_passphrase", self.ask)

    def ask(self, prompt: str, instead: str) -> str:
        self.asked.append(prompt)
        return "typed"

    def test_choice(self) -> None:
        for given, has_identity, endpoint, chosen in (
            ("given", False, "example.org", ("given", False)),
            ("given", True, "127.0.0.1:5555", ("given", False)),
            (None, False, "127.0.0.1:5555", ("passphrase", True)),
            (None, False, "[::1]:5555", ("passphrase", True)),
            (None, False, "unix:/tmp/x", ("passphrase", True)),
            (None, True, "127.0.0.1:5555", ("passphrase", True)),
            (None, True, "example.org:5555", ("", False)),
            (None, False, "example.org:5555", ("typed", False)),
            (None, False, "0.0.0.0:5555", ("typed", False)),
            (None, False, "tcp:localhost.example.org:80", ("typed", False)),
        ):
            self.assertEqual(choose_passphrase(given, has_identity, "ann", endpoint), chosen, endpoint)
        self.assertEqual(self.asked[0], "Passphrase of ann at example.org:5555: ")

    def credentials(self, *words: str) -> Credentials:
        options = client_options.PingOptions()
        options.parseOptions([*words, "--server-key", PUBLIC])
        return options.settings.credentials

    def test_command(self) -> None:
        """The default one, which everybody knows, goes to no other machine."""
        us = self.credentials("--to", "127.0.0.1:7000")
        self.assertEqual((us.passphrase, us.default_passphrase, self.asked), ("passphrase", True, []))
        us = self.credentials("--to", "example.org", "--user", "ann")
        self.assertEqual((us.passphrase, us.default_passphrase), ("typed", False))
        self.assertEqual(self.asked, ["Passphrase of ann at example.org: "])

    def test_tunnel(self) -> None:
        """So it is for the tunnel, before it becomes a daemon."""
        options = tunneltap.Options()
        options.parseOptions(["--listen", "7000", "--to", "example.org", "--server-key", PUBLIC])
        self.assertEqual(options.settings.credentials.passphrase, "typed")

    def test_identity(self) -> None:
        """A key of our own may be enough."""
        path = self.mktemp()
        write_key_file(path, KeyPair.generate())
        us = self.credentials("--to", "example.org", "--identity", path)
        self.assertEqual((us.passphrase, us.default_passphrase, self.asked), ("", False, []))

    def test_nothing_for_nothing(self) -> None:
        """Nobody is asked when something else is wrong."""
        for words in (("--protocol", "3"), ("--timeout", "0"), ("--identity", "missing")):
            self.assertRaises((UsageError, OSError), self.credentials, "--to", "example.org", *words)
        for where, line in (
            ("::1:5555", "an IPv6 address stands in brackets, as in [::1]:5555"),
            ("example.org:99999", "a port is a number from 1 to 65535"),
            ("a..b", "'a..b' can't be a host's name"),
        ):
            self.assertIn(line, str(self.assertRaises(UsageError, self.credentials, "--to", where)))
        self.credentials("--to", "tls:example.org:443")
        self.assertEqual(len(self.asked), 1)


class TimeoutTests(SynchronousTestCase):
    """``--timeout``"""

    def setUp(self) -> None:
        self.patch(os, "environ", {"PATH": os.environ["PATH"], **NO_FOLDERS})

    def timeout(self, *words: str) -> float:
        options = client_options.PingOptions()
        options.parseOptions([*words, "--to", "7000", "--server-key", PUBLIC])
        return options.settings.timeout

    def test_values(self) -> None:
        self.assertEqual(
            [self.timeout(), self.timeout("--timeout", "2.5"), self.timeout("--timeout", "3600")], [15, 2.5, 3600]
        )
        for wrong in ("0", "-1", "soon", "nan", "inf", "3601", ""):
            error = self.assertRaises(UsageError, self.timeout, "--timeout", wrong)
            self.assertEqual(str(error), f"--timeout takes a number of seconds up to 3600, not {wrong!r}")


class AskingTests(SynchronousTestCase):
    """What becomes of what is typed."""

    def answer(self, answer: Callable[[str], str]) -> None:
        as_at_start(self)
        self.patch(getpass, "getpass", answer)

    def test_mistakes(self) -> None:
        def no_terminal(prompt: str) -> str:
            raise getpass.GetPassWarning

        for answer, line in (
            (no_terminal, "there is no terminal to ask for the passphrase; use --passphrase-file, or --identity where"),
            (lambda prompt: "", "no passphrase was typed"),
        ):
            self.answer(answer)
            self.assertIn(
                line, str(self.assertRaises(UsageError, choose_passphrase, None, False, "ann", "example.org"))
            )

    def test_shown(self) -> None:
        """Nothing that a terminal would obey."""
        asked: list[str] = []

        def answer(prompt: str) -> str:
            asked.append(prompt)
            return "typed"

        self.answer(answer)
        choose_passphrase(None, False, "an\x1bn", "example.org")
        self.assertEqual(asked, ["Passphrase of an?n at example.org: "])

    def test_signals(self) -> None:
        """While it asks, each raises, so that the terminal shows again what is typed; then all is as before."""
        numbers = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
        meanwhile: list[object] = []

        def answer(prompt: str) -> str:
            meanwhile.extend(map(signal.getsignal, numbers))
            return "typed"

        self.answer(answer)
        before = list(map(signal.getsignal, numbers))
        self.assertEqual(ask_passphrase(), "typed")
        self.assertEqual(list(map(signal.getsignal, numbers)), before)
        self.assertNotIn(signal.SIG_DFL, meanwhile)


class TerminalTests(ProcessTestCase):
    """The real thing."""

    def test_asks(self) -> None:
        """It is asked for on the terminal, also where standard input is what to send."""
        with open(self.path("pass"), "w", opener=lambda path, flags: os.open(path, flags, 0o600)) as file:
            file.write("open sesame\n")
        self.start_server("--passphrase-file", "pass", "--file", "out")
        # This machine, by a name that is not known to be its own before it is looked up.
        where = self.endpoint.replace("tcp:127.0.0.1", "127.1")
        command = f"echo content | {shlex.join(SODIUMTWIST)} send - --to {where} --server-key {PUBLIC}"
        status, shown = on_terminal(["/bin/sh", "-c", command], self.directory, (b"open sesame\n",))
        self.assertEqual(status, 0, shown)
        self.assertIn(f"Passphrase of username at {where}: ".encode(), shown)
        self.assertNotIn(b"open sesame", shown)
        self.assertEqual(self.read("out"), b"content\n")
