"""
What the commands say of themselves: ``--help``, ``--version``, completion in the shell.
"""

from __future__ import annotations

import io
import os
import re
import shlex
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable
from typing import cast

from twisted.internet.testing import MemoryReactorClock
from twisted.python import usage
from twisted.scripts.twistd import ServerOptions  # type: ignore[attr-defined]  # which one, depends on the platform
from twisted.trial.unittest import SynchronousTestCase

from sodiumtwist import KeyPair, __version__
from sodiumtwist.contacts.keyfiles import write_key_file
from sodiumtwist.programs import asking, cli, client_options, tap, tunneltap
from sodiumtwist.programs.commands import make_endpoint

from .. import NO_FOLDERS
from ..known_servers import know
from ..pages import read_page
from ..processes import PUBLIC, SODIUMTWIST, TWISTD, ProcessTestCase

#: Name, short name, options and purpose of each.
SUBCOMMANDS = cast(list[tuple[str, None, type[usage.Options], str]], cli.Options.subCommands)
SERVICES = ["sodium", "sodium-tunnel"]
COMMANDS = [["sodiumtwist"]]
COMMANDS += [["sodiumtwist", name] for name, *_ in SUBCOMMANDS]
COMMANDS += [["twistd", name] for name in SERVICES]

#: Lines of a screen, without the one where the prompt stands then.
SCREEN = 23


class SaidTestCase(SynchronousTestCase):
    """Runs command lines in this process, on a screen of 80 columns."""

    def setUp(self) -> None:
        self.patch(os, "environ", {"PATH": os.environ["PATH"], "COLUMNS": "80", **NO_FOLDERS})

    def parse(self, words: list[str]) -> usage.Options:
        """Give a command to the parser that it would meet; return the options of the last subcommand."""
        self.patch(sys, "argv", words)
        options: usage.Options = cli.Options() if words[0] == "sodiumtwist" else ServerOptions()
        options.parseOptions(words[1:])
        last: usage.Options = options.subOptions
        return last

    def said(self, words: list[str]) -> str:
        """What a command prints that then exits with status 0."""
        self.patch(sys, "stdout", output := io.StringIO())
        ended = self.assertRaises(SystemExit, self.parse, words)
        self.assertIn(ended.code, (0, None))
        return output.getvalue()


class HelpTests(SaidTestCase):
    """``--help``"""

    def test_screen(self) -> None:
        """Each of a command fits a screen. Those of services have their example there, and are not much longer."""
        for command in COMMANDS:
            lines = self.said([*command, "--help"]).splitlines()
            self.assertLessEqual(max(map(len, lines)), 80, command)
            self.assertLessEqual(len(lines), {"sodium": 56, "sodium-tunnel": 34}.get(command[-1], SCREEN), command)
            self.assertRegex(lines[0], rf"^Usage: {command[0]} (\[options\] )?{' '.join(command[1:])}")
            self.assertRegex("\n".join(lines[1:SCREEN]), r"(?s)^\n[A-Z].*\.\n\nExamples?:\n  (sodiumtwist|twistd) ")

    def test_short(self) -> None:
        """``-h`` says the same."""
        for command in COMMANDS:
            self.assertEqual(self.said([*command, "-h"]), self.said([*command, "--help"]))

    def test_any_terminal(self) -> None:
        """A wide one changes nothing, a narrow or strange one breaks nothing, and ASCII is enough."""
        for command in COMMANDS:
            for columns in ("", "nonsense", "0", "7", "200"):
                os.environ["COLUMNS"] = columns
                text = self.said([*command, "--help"])
                self.assertTrue(text.isascii(), command)
                self.assertLessEqual(max(map(len, text.splitlines())), 80, command)

    def test_reference(self) -> None:
        """The synopsis of the reference is that of each help."""
        page = read_page("docs/reference/sodiumtwist.rst")
        written = {re.sub(r"\\ |[`*]", "", line) for line in re.findall(r"^\| (``sodiumtwist .*)$", page, re.M)}
        usages = [self.said(["sodiumtwist", name, "--help"]).splitlines()[0] for name, *_ in SUBCOMMANDS]
        self.assertEqual(written, {line.removeprefix("Usage: ") for line in usages})

    def examples(self) -> list[list[str]]:
        """The words of each example in any help."""
        found = []
        for command in COMMANDS:
            text = re.split(r"\n\n", self.said([*command, "--help"]).partition("Example")[2])[0]
            lines = text.partition(":\n")[2].replace("\\\n", " ").splitlines()
            self.assertTrue(lines)
            found += [self.ours(shlex.split(line)) for line in lines]
        return found

    def ours(self, words: list[str]) -> list[str]:
        """Leave out what another program and the shell make of it."""
        if words[0] == "ssh":
            words = words[2].partition("=")[2].split()
        return words[: words.index("<")] if "<" in words else words

    def test_examples(self) -> None:
        """Each is understood, and what it names can be had."""
        directory = tempfile.mkdtemp(prefix="sodiumtwist-test-")
        self.addCleanup(shutil.rmtree, directory)
        self.addCleanup(os.chdir, os.getcwd())
        os.chdir(directory)
        write_key_file("server.key", KeyPair.generate())
        with open(os.open("pass.txt", os.O_WRONLY | os.O_CREAT, 0o600), "w") as file:
            file.write("open sesame\n")
        with open(os.open("keys.txt", os.O_WRONLY | os.O_CREAT, 0o600), "w") as file:
            file.write(f"{PUBLIC} ann\n")
        know(self, directory, home={"endpoint": "example.org:5555", "passphrase-file": os.path.abspath("pass.txt")})
        self.patch(asking, "ask_passphrase", lambda *said: "open sesame")
        for example in self.examples():
            words = [word.replace("PUBLICKEY", PUBLIC).replace("SECRET", "5e" * 16) for word in example]
            if words[-1] == "--help":
                self.said(words)
                continue
            options = self.parse(words)
            if isinstance(options, client_options.ConnectOptions):
                make_endpoint(MemoryReactorClock(), options.settings)
            for module in (tap, tunneltap):
                if isinstance(options, module.Options):
                    module.makeService(options, MemoryReactorClock())

    def test_version(self) -> None:
        """``--version`` is ours everywhere."""
        for command in COMMANDS:
            self.assertEqual(self.said([*command, "--version"]), f"sodiumtwist {__version__}\n")


class ProcessHelpTests(ProcessTestCase):
    """The same, of real processes."""

    forked = False  # the streams are Python's own

    def test_no_command(self) -> None:
        """Nothing asked for: the help, on standard error, with status 1."""
        alone = self.run_process(SODIUMTWIST)
        helped = self.run_process([*SODIUMTWIST, "--help"])
        self.assertEqual((alone.wait(), alone.output), (1, []))
        self.assertEqual((helped.wait(), helped.errors), (0, []))
        self.assertEqual(alone.errors, helped.output)

    def test_nobody_reads(self) -> None:
        """What can't be printed is one line, and no traceback."""
        for command in (SODIUMTWIST, [*SODIUMTWIST, "send"], [*TWISTD, "sodium"]):
            script = f"{shlex.join([*command, '--help'])} >/dev/full"
            # As users have it: with the other tests' PYTHONUNBUFFERED, nothing would be left to flush.
            full = self.run_process(["sh", "-c", script], env={"PATH": os.environ["PATH"], **NO_FOLDERS})
            self.assertEqual(full.wait(), 6)
            self.assert_one_line(full.errors, "^sodium(twist)?: standard output: No space left on device$")


class CompletionTests(SaidTestCase):
    """What Twisted's completion for zsh is told, which is quoted as for any POSIX shell."""

    def complete(self, *words: str) -> list[str]:
        """The arguments of zsh's ``_arguments`` and ``_describe`` for the last, unfinished word."""
        self.patch(usage.Options, "_shellCompFile", code := io.BytesIO())
        self.patch(sys, "argv", list(words))
        ended = self.assertRaises(SystemExit, self.parse, [*words, "--_shell-completion", f"zsh:{len(words)}"])
        self.assertEqual(ended.code, 0)
        self.assertTrue(code.getvalue().startswith(b"#compdef "))
        stubs = """
            _arguments() { printf '%s\\n' "$@"; false; }
            _describe() { printf '%s\\n' "${_zsh_subcmds_array[@]}"; }
        """
        done = subprocess.run(
            ["bash", "-c", f"{stubs}\ncomplete_it() {{\n{code.getvalue().decode()}\n}}; complete_it"],
            capture_output=True,
            env={"PATH": os.environ["PATH"], **NO_FOLDERS},
        )
        self.assertEqual(done.stderr, b"")
        return done.stdout.decode().splitlines()

    def test_commands(self) -> None:
        """Every subcommand, with what it does."""
        shown = self.complete("sodiumtwist", "")
        for name, _, _, purpose in SUBCOMMANDS:
            self.assertIn(f"{name}:{purpose}", shown)

    def test_options(self) -> None:
        """Every option of every command, long and short."""
        for command in COMMANDS:
            shown = " ".join(self.complete(*command, "-"))
            options = self.options_of(command)
            for name in options.longOpt:
                self.assertRegex(shown, rf"(^|[ )*])--{name}\[", command)
            for letter in options.shortOpt.replace(":", ""):
                self.assertRegex(shown, rf"(^|[ )*])-{letter}\[", command)

    def options_of(self, command: list[str]) -> usage.Options:
        kinds: dict[tuple[str, ...], Callable[[], usage.Options]] = {
            ("sodiumtwist",): cli.Options,
            ("twistd", "sodium"): tap.Options,
            ("twistd", "sodium-tunnel"): tunneltap.Options,
        }
        kinds.update({("sodiumtwist", name): kind for name, _, kind, _ in SUBCOMMANDS})
        return kinds[tuple(command)]()

    def test_files(self) -> None:
        """File names, where they are asked for."""
        for words, action in [
            (["sodiumtwist", "keygen", "--output", ""], r"--output=\[.*\]:output \(\*\):_files"),
            (["sodiumtwist", "pubkey", ""], r"^:key file \(\*\):_files"),
            (["sodiumtwist", "passwd", ""], r"^:file of logins \(\*\):_files"),
            (["sodiumtwist", "send", "--quiet", ""], r"^\*:files and folders to send \(\*\):_files"),
            (["sodiumtwist", "send", "--identity", ""], r"--identity=\[.*\]:identity \(\*\):_files"),
            (["sodiumtwist", "get", "--existing", ""], r"--existing=\[.*\]:existing:\(rename replace refuse\)"),
            (["sodiumtwist", "demo", ""], r"^:file to send \(\*\):_files"),
            (["twistd", "-n", "sodium", "--key-file", ""], r"--key-file=\[.*\]:key-file \(\*\):_files"),
            (["twistd", "-n", "sodium", "--directory", ""], r"--directory=\[.*\]:directory:_directories"),
            (["twistd", "sodium-tunnel", "--passphrase-file", ""], r"--passphrase-file=\[.*\]:.*:_files"),
            (["sodiumtwist", "ping", "--protocol", ""], r"--protocol=\[.*\]:protocol:\(1 2\)"),
            (["twistd", "sodium", "--protocol", ""], r"--protocol=\[.*\]:protocol:\(1 2\)"),
        ]:
            self.assertTrue(any(re.search(action, line) for line in self.complete(*words)), words)

    def test_again_and_not_both(self) -> None:
        """What may be repeated is offered again; of what exclude each other, one."""
        shown = self.complete("twistd", "sodium", "-")
        for name in ("endpoint", "auth", "limit"):
            self.assertTrue(any(line.startswith(f"*--{name}=") for line in shown), name)
        (line,) = (line for line in shown if "--directory=" in line)
        self.assertRegex(line, r"^\(.*--file --forward.*\)--directory=")
