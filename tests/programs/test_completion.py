"""
Completion, as the shells themselves do it.
"""

from __future__ import annotations

import io
import os
import pty
import select
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any, cast
from unittest import SkipTest

from twisted.trial.unittest import SynchronousTestCase

from sodiumtwist.contacts.servers import servers_path
from sodiumtwist.programs import cli, tap, tunneltap
from sodiumtwist.programs.completers import CompleteFilesAndPlaces, CompletePlaces, CompleteServers
from sodiumtwist.programs.completion import SCRIPTS

from ..known_servers import write_servers
from ..own_folders import use_own_folders

#: What is typed, and what becomes of it by the tabulator key, in any of the shells.
COMPLETED = {
    "sodiumtwist ser": "sodiumtwist servers ",
    "sodiumtwist send --qui": "sodiumtwist send --quiet ",
    "sodiumtwist send --to ho": "sodiumtwist send --to home ",
    "sodiumtwist send --to=ho": "sodiumtwist send --to=home ",
    "sodiumtwist send notes.txt ho": "sodiumtwist send notes.txt home:",
    "sodiumtwist send no": "sodiumtwist send notes.txt ",
    "sodiumtwist get ho": "sodiumtwist get home:",
    "sodiumtwist get --existing ref": "sodiumtwist get --existing refuse ",
    "sodiumtwist ping w": "sodiumtwist ping work.example ",
    "sodiumtwist pipe ho": "sodiumtwist pipe home ",
    "sodiumtwist forget w": "sodiumtwist forget work.example ",
    "sodiumtwist keygen -o no": "sodiumtwist keygen -o notes.txt ",
    "sodiumtwist completion f": "sodiumtwist completion fish ",
    "sodiumtwist send --endp": "sodiumtwist send --endp",
    "sodiumtwist list --nonsense": "sodiumtwist list --nonsense",
}

#: The same for twistd. In zsh it is Twisted's own completion, see test_help.
TWISTD_COMPLETED = {
    "twistd sodium-t": "twistd sodium-tunnel ",
    "twistd -n sodium --disc": "twistd -n sodium --discard ",
    "twistd sodium-tunnel --to ho": "twistd sodium-tunnel --to home ",
    "twistd sodium --protocol=2": "twistd sodium --protocol=2 ",
    "twistd sodium --limit conn": "twistd sodium --limit connections=",
    "twistd sodium --directory fold": "twistd sodium --directory folder/",
}

#: Seconds until a shell is believed not to answer.
PATIENCE = 30.0


def script(shell: str) -> str:
    """What ``sodiumtwist completion`` prints."""
    sys.stdout, before = io.StringIO(), sys.stdout
    try:
        cli.main(["completion", shell])
        return sys.stdout.getvalue()
    finally:
        sys.stdout = before


class ShellTests(SynchronousTestCase):
    """What is typed into a shell. There, a program of two lines stands in for what tells the names of servers."""

    def setUp(self) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="sodiumtwist-test-"))
        self.addCleanup(shutil.rmtree, self.folder)
        (self.folder / "bin").mkdir()
        (self.folder / "here" / "folder").mkdir(parents=True)
        (self.folder / "here" / "notes.txt").touch()
        program = self.folder / "bin" / "sodiumtwist"
        program.write_text('#!/bin/sh\n[ "$*" = "completion servers" ] && printf "home\\nwork.example\\n"\n')
        program.chmod(0o700)
        self.environment = {
            "PATH": f"{self.folder}/bin:{os.environ['PATH']}",
            "HOME": str(self.folder),
            "TERM": "dumb",
            "LC_ALL": "C.UTF-8",
        }

    def shell(self, name: str) -> str:
        """The path of a shell; and of its script beside, which is ``script`` in the folder."""
        program = shutil.which(name)
        if program is None:
            if os.environ.get("CI"):
                self.fail(f"{name} is not installed, and here it must be")
            raise SkipTest(f"{name} is not installed (Debian: apt-get install {name})")
        (self.folder / "script").write_text(script(name))
        return program

    def typed(self, command: list[str], prepare: str, show: bytes, lines: dict[str, str]) -> None:
        """
        Type lines into an interactive shell, each with the tabulator key behind it, and compare what stands there then.

        :param command: starts the shell.
        :param prepare: a line that binds ``show`` to print the line between ``<<`` and ``>>``, and to empty it.
        """
        main, terminal = pty.openpty()
        self.addCleanup(os.close, main)
        process = subprocess.Popen(
            command,
            stdin=terminal,
            stdout=terminal,
            stderr=terminal,
            env=self.environment,
            cwd=self.folder / "here",
            start_new_session=True,
        )
        self.addCleanup(process.wait)
        self.addCleanup(process.kill)
        os.close(terminal)
        seen = b""

        def read_to(mark: bytes) -> bytes:
            nonlocal seen
            end = time.monotonic() + PATIENCE
            while mark not in seen:
                if not select.select([main], [], [], max(0, end - time.monotonic()))[0]:
                    self.fail(f"no {mark!r} in {seen!r}")
                seen += os.read(main, 4096)
            found, _, seen = seen.partition(mark)
            return found

        # In two parts, or it would be found where the terminal echoes it.
        os.write(main, f"{prepare}; printf '%s%s' rea dy\n".encode())
        read_to(b"ready")
        for line, completed in lines.items():
            os.write(main, line.encode() + b"\t" + show)
            self.assertEqual(read_to(b">>").rpartition(b"<<")[2].decode(), completed, command[0])

    def test_bash(self) -> None:
        """In bash, without any scripts of others."""
        prepare = (
            f"source {self.folder}/script; bind 'set bell-style none'; "
            """bind -x '"\\C-t": printf "<<%s>>" "$READLINE_LINE"; READLINE_LINE='"""
        )
        # bash takes what stands behind a colon for a word of its own; it is no file of this machine.
        there = {line: line for line in ("sodiumtwist list home:", "sodiumtwist get home:no")}
        self.typed(
            [self.shell("bash"), "--norc", "--noprofile", "-i"],
            prepare,
            b"\x14",
            {**COMPLETED, **TWISTD_COMPLETED, **there},
        )

    def test_zsh(self) -> None:
        """In zsh; its names of long options end with =."""
        prepare = (
            f"autoload -Uz compinit; compinit -D -u; source {self.folder}/script; "
            """show() { print -rn -- "<<$BUFFER>>"; BUFFER= }; zle -N show; bindkey '^T' show"""
        )
        zsh = [self.shell("zsh"), "-f", "-i"]
        value = {"sodiumtwist passwd --pas": "sodiumtwist passwd --passphrase-file="}
        self.typed(zsh, prepare, b"\x14", {**COMPLETED, **value})

    def test_fish(self) -> None:
        """In fish, which tells what it would offer."""
        fish = self.shell("fish")
        lines = {**COMPLETED, **TWISTD_COMPLETED}
        asked = "".join(f"echo '<<'; complete -C '{line}'\n" for line in lines)
        done = subprocess.run(
            [fish, "--no-config", "-c", f"source {self.folder}/script\n{asked}"],
            capture_output=True,
            env=self.environment,
            cwd=self.folder / "here",
            timeout=PATIENCE,
        )
        self.assertEqual(done.stderr, b"")
        answers = done.stdout.decode().split("<<\n")[1:]
        for (line, completed), answer in zip(lines.items(), answers, strict=True):
            last = completed.rstrip().rpartition(" ")[2]
            offered = [each.partition("\t")[0] for each in answer.splitlines()]
            self.assertEqual(offered, [] if line == completed else [last], line)


class ScriptTests(SynchronousTestCase):
    """What the scripts know."""

    def test_all_options(self) -> None:
        """Each option that the help names, of each command; no other."""
        kinds: list[Any] = [kind for _, _, kind, _ in cast(list[Any], cli.Options.subCommands)]
        marks = {"bash": "--{}", "zsh": "--{}", "fish": " -l {} "}
        for shell, mark in marks.items():
            text = script(shell)
            for kind in (*kinds, tap.Options, tunneltap.Options):
                if shell == "zsh" and kind in (tap.Options, tunneltap.Options):
                    continue  # Twisted knows these itself
                options = kind()
                for name in options.longOpt:
                    if name.rstrip("=") not in options.hidden:
                        self.assertIn(mark.format(name.rstrip("=")), text, (shell, kind))
            # A name of old for another option.
            self.assertNotRegex(text, r"send .*--endpoint")

    def test_servers(self) -> None:
        """Wherever the help of a command has SERVER for an argument, the names of servers are completed."""
        for _, _, kind, _ in cast(list[Any], cli.Options.subCommands):
            if "SERVER" in kind.synopsis:
                self.assertIsInstance(
                    vars(kind)["compData"].extraActions[0],
                    (CompleteServers, CompletePlaces, CompleteFilesAndPlaces),
                    kind,
                )

    def test_shells_parse_them(self) -> None:
        """Nothing in a text about an option ends a word of the script too early."""
        for shell in SCRIPTS:
            if program := shutil.which(shell):
                done = subprocess.run([program, "-n"], input=script(shell).encode(), capture_output=True)
                self.assertEqual((done.returncode, done.stderr), (0, b""), shell)

    def test_names(self) -> None:
        """The names of servers are asked for each time; where no list of them can be read, there are none."""
        use_own_folders(self, self.mktemp())
        self.assertEqual(script("servers"), "")
        write_servers(home={"endpoint": "tcp:host:5555"}, work={"endpoint": "host:5555"})
        self.assertEqual(script("servers"), "home\nwork\n")
        Path(servers_path()).write_text("[")
        self.assertEqual(script("servers"), "")

    def test_unknown_shell(self) -> None:
        """One line names those that there are."""
        self.patch(sys, "stderr", errors := io.StringIO())
        for words, line in (
            (["tcsh"], "completion is for bash, zsh and fish, not 'tcsh'"),
            ([], "SHELL is missing"),
        ):
            errors.truncate(0)
            self.assertEqual(self.assertRaises(SystemExit, cli.main, ["completion", *words]).code, 1)
            self.assertIn(line, errors.getvalue())
