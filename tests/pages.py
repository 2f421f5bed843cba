"""
Pages of reST whose code is run: it finds the blocks and tables of a page, and does what the page tells its reader to.

How each kind of block is marked:

- Each block names a language of this list. A ``::`` without a language is a mistake.
- ``sh``: each line is a command, which goes on in the next one behind a backslash. They are run in order, in one
  directory for the page. Each ends with status 0, or with that of a comment ``# status N`` behind it. One with the
  comment ``# Ctrl-C`` is interrupted when the server has a part of what it sends. Servers stay until another takes
  their port. ``HOST`` is this machine, ``PUBLICKEY`` belongs to ``server.key``, and ports are free ones.
- ``.. on: NAME, NAME``, as a comment before a block of ``sh``: it is for these machines, each of which has a directory
  of its own with the passphrase in it, and a user of its own who knows no server yet; ``here`` is the page's, where
  the files to send are. What is run on several prints the same on each. A server stays on the first of them.
- ``sodium://…``, up to the ``…``: the URL that an earlier command printed.
- ``python``: a program. What it prints stands in comments behind its prints, with ``…`` for anything.
- A block with a ``:caption:`` is a file of that name, which later commands of the page use.
- ``text``, ``ini``, ``toml``, ``docker``, ``nginx``, ``yaml``: not code to run; output, drawings, settings.
- ``.. not run: WHY``, as a comment before a block of ``sh`` or ``python``: tests can't run it.
"""

from __future__ import annotations

import os
import pty
import re
import shlex
import shutil
import signal
import socket
import sys
import termios
import textwrap
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from fcntl import ioctl
from typing import Any

from sodiumtwist.contacts.keyfiles import read_key_file, write_key_file
from sodiumtwist.core.keys import KeyPair

from .certificates import Authority
from .own_folders import folders
from .processes import SODIUMTWIST, TWISTD, ProcessTestCase, Running, clean_environment, wait_until

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))

STANDINS = [sys.executable, os.path.join(ROOT, "tests", "standins.py")]

PASSPHRASE = "correct horse battery staple"

#: The languages that blocks may have, and whether their code is run.
LANGUAGES = {
    "sh": True,
    "python": True,
    "text": False,
    "ini": False,
    "toml": False,
    "docker": False,
    "nginx": False,
    "yaml": False,
}

#: The machine whose directory is the page's.
HERE = "here"

_DIRECTIVE = re.compile(r"( *)\.\. (code-block|code|sourcecode|parsed-literal|literalinclude|doctest)::(.*)")
_OPTION = re.compile(r" +:([a-z-]+): *(.*)")


@dataclass
class Block:
    """
    A block of a page.

    :ivar line: where it begins, from 1.
    :ivar language: empty for a block that names none.
    :ivar text: the text without its indentation; for an included file, its path in the repository.
    :ivar caption: its file name; empty when it is not a file.
    :ivar not_run: why it is not run; empty when it is run.
    :ivar included: whether it is an included file.
    :ivar machines: where it is run.
    """

    line: int
    language: str
    text: str
    caption: str = ""
    not_run: str = ""
    included: bool = False
    machines: tuple[str, ...] = (HERE,)

    def commands(self) -> list[str]:
        """The lines of a block of commands. One that ends with a backslash goes on in the next."""
        return re.sub(r" *\\\n *", " ", self.text).splitlines()


def _indentation(line: str) -> int:
    return len(line) - len(line.lstrip())


def read_blocks(text: str) -> list[Block]:
    """
    Find the blocks of a page.

    :param text: the page.
    """
    lines = text.splitlines()
    blocks: list[Block] = []
    not_run = ""
    machines: tuple[str, ...] = (HERE,)
    number = 0
    while number < len(lines):
        line = lines[number]
        number += 1
        directive = _DIRECTIVE.fullmatch(line)
        literal = line.rstrip().endswith("::") and not line.lstrip().startswith("..")
        if directive or literal:
            block = Block(number, directive[3].strip() if directive else "", "", not_run=not_run, machines=machines)
            own = _indentation(line)
            while directive and number < len(lines) and (option := _OPTION.fullmatch(lines[number])):
                if option[1] == "caption":
                    block.caption = option[2]
                elif option[1] == "language":
                    block.text, block.language, block.included = block.language, option[2], True
                number += 1
            begin = number
            while number < len(lines) and (not lines[number].strip() or _indentation(lines[number]) > own):
                number += 1
            if not block.included:
                block.text = textwrap.dedent("\n".join(lines[begin:number])).strip("\n") + "\n"
            blocks.append(block)
        elif re.match(r" *>>> ", line):
            blocks.append(Block(number, "", line))
        elif line.startswith(".. not run:"):
            not_run = line.removeprefix(".. not run:").strip()
            continue
        elif line.startswith(".. on:"):
            machines = tuple(line.removeprefix(".. on:").replace(",", " ").split())
            continue
        if line.strip():
            not_run, machines = "", (HERE,)
    return blocks


def read_page(path: str) -> str:
    """Read a page by its path in the repository."""
    with open(os.path.join(ROOT, path), encoding="utf-8") as file:
        return file.read()


def pages() -> Iterator[str]:
    """Return the paths of all pages in the repository."""
    yield from ("README.rst", "SECURITY.rst", "CHANGELOG.rst", "CONTRIBUTING.rst")
    # Not what Sphinx has built there.
    for directory, _, names in os.walk(os.path.join(ROOT, "docs")):
        if "_build" not in directory:
            for name in names:
                if name.endswith(".rst"):
                    yield os.path.relpath(os.path.join(directory, name), ROOT)


def rows(page: str) -> list[list[str]]:
    """Return the rows of a page's list-tables, as the texts of their cells."""
    found: list[list[str]] = []
    within = False
    for line in read_page(page).splitlines():
        if cell := re.fullmatch(r"   ([*] |  )- ?(.*)", line):
            if cell[1] == "* ":
                found.append([])
            found[-1].append(cell[2])
            within = True
        elif line.strip():
            within = within and line.startswith("       ")
            if within:
                found[-1][-1] += " " + line.strip()
    return found


#: Patterns of commands that run until they are ended, and of what each prints when it is ready.
STAYING = {
    "twistd": r"(?:listening on 127\.0\.0\.1:| starting on )(\d+)",
    "./server": r"listening on 127\.0\.0\.1:(\d+)",
    "./client": r"acknowledged()",
}

#: A URL that is too long for a page, and what a command prints.
_SHORTENED = re.compile(r"sodium://[^\s']*…")
_PRINTED = re.compile(r"sodium(?:\+tls)?://\S+#\S+")

_LISTENING = re.compile(r"(?:\b(tcp|ssl):|(?<=--listen )tcp:127\.0\.0\.1:)(\d+)(?![\d.])(?::interface=127\.0\.0\.1)?")


def _words(command: str) -> list[str]:
    """The words of a command of ours that a shell would start as it stands; nothing for others."""
    text = re.sub(r" # (status \d+|Ctrl-C)$", "", command)
    if re.search(r"[|&;<>()$`\\*?\[\]~{}!]| #", text):
        return []
    program, *arguments = shlex.split(text)
    start = {"sodiumtwist": SODIUMTWIST, "twistd": TWISTD}.get(program, [])
    return [*start, *arguments] if start else []


class PageTestCase(ProcessTestCase):
    """Does what a page tells its reader to, in a directory of its own."""

    def setUp(self) -> None:
        super().setUp()
        self._bin = self.path("bin")
        os.mkdir(self._bin)
        for name, command in {
            "sodiumtwist": SODIUMTWIST,
            "twistd": TWISTD,
            "trial": [sys.executable, "-m", "twisted.trial"],
            "python": [sys.executable],
            "redis-cli": [*STANDINS, "redis-cli"],
            "../client": [*STANDINS, "client"],
            "../server": [*STANDINS, "server"],
        }.items():
            path = os.path.join(self._bin, name)
            with open(path, "w") as file:
                file.write(f'#!/bin/sh\nexec {shlex.join(command)} "$@"\n')
            os.chmod(path, 0o755)
        self.environment = clean_environment(
            PATH=f"{self._bin}{os.pathsep}{os.environ['PATH']}", PYTHONPATH=ROOT, SSL_CERT_FILE=self.path("roots.pem")
        )
        self._servers: dict[str, tuple[str, Running]] = {}
        self._files: dict[str, str] = {}
        self._machines = {HERE: self.directory}
        self._url = ""

    def read_as_told(self, path: str) -> None:
        """
        Run all blocks of a page, in order.

        :param path: of the page in the repository.
        """
        page = read_page(path)
        blocks = [
            block
            for block in read_blocks(page)
            if (LANGUAGES[block.language] or block.caption) and not (block.included or block.not_run)
        ]
        self._prepare(page, "".join(block.text for block in blocks))
        for block in blocks:
            where = f"{path}, line {block.line}"
            if block.caption:
                self._files[block.caption] = block.text
            elif block.language == "python":
                self._run_program(block.text, where)
            else:
                for line in block.commands():
                    self._run_command(line, where, block.machines)
        for _, server in list(self._servers.values())[::-1]:
            server.stop()
        self._check_uploads(page)

    def _prepare(self, page: str, code: str) -> None:
        """
        Have what a page takes for granted, unless it makes that itself.

        :param code: what of it is run.
        """
        if "--output server.key" not in code:
            write_key_file(self.path("server.key"), KeyPair.generate())
        if "> pass.txt" not in code:
            with open(self.path("pass.txt"), "w", opener=lambda name, flags: os.open(name, flags, 0o600)) as file:
                file.write(PASSPHRASE + "\n")
        self.make_file("backup.tar", 300_000)
        if "photos" in code:
            os.makedirs(self.path("photos", "2025", "empty"))
            self.make_file("photos/beach.jpg", 200_000)
            # Large enough to be interrupted.
            self.make_file("photos/2025/film.mov", 48 << 20 if "# Ctrl-C" in code else 200_000)
        if "tls.pem" in page:
            authority = Authority("known")
            authority.issue(self.path("tls.pem"), "localhost")
            authority.publish(self.path("roots"))
            with open(self.path("roots.pem"), "wb") as file:
                file.write(authority.pem())
        if "6379" in page:
            database = self.run_process([*STANDINS, "database"], env=self.environment)
            self._servers["6379"] = (database.wait_for(r"listening on 127\.0\.0\.1:(\d+)")[1], database)

    def _check_uploads(self, page: str) -> None:
        """What was uploaded is what was sent, and stands where the page says."""
        if not os.path.isdir(self._uploads()):
            return
        stored = self._stored()
        self.assertTrue(stored)
        for name in stored:
            self.assertFalse(name.endswith((".partial", ".part")), name)
            login, _, path = name.partition("/")
            # Uploads of version 1 have names that the server makes, and stand beside the folders of the logins.
            sent = path if path else "backup.tar"
            if os.path.exists(self.path(sent)):
                self.assertTrue(self.read(os.path.join(self._uploads(), name)) == self.read(sent), name)
            else:
                self.assertIn(f"--name {path} ", page)

    def _find(self, name: str) -> str:
        """Return the path of a file or folder on the machine that has it; on the page's when none has."""
        paths = [os.path.join(directory, name) for directory in self._machines.values()]
        return next(filter(os.path.exists, paths), paths[0])

    def _uploads(self) -> str:
        return self._find("uploads")

    def _stored(self) -> list[str]:
        uploads = self._uploads()
        return [
            os.path.relpath(os.path.join(folder, name), uploads)
            for folder, _, names in os.walk(uploads)
            for name in names
        ]

    def _run_program(self, text: str, where: str) -> None:
        # The program listens on a port that is written in it, so a free one is found for it beforehand.
        expected = re.findall(r"print\(.*\)  # (.*)", text)
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = probe.getsockname()[1]
        with open(self.path("program.py"), "w") as file:
            file.write(text.replace("5556", str(port)))
        program = self.run_process([sys.executable, "program.py"], env=self.environment)
        self.assertEqual((program.wait(), program.errors), (0, []), where)
        pattern = "\n".join(re.escape(line).replace("…", ".*") for line in expected)
        self.assertRegex("\n".join(program.output), rf"\A{pattern}\Z", where)

    def _localised(self, text: str) -> tuple[str, list[str]]:
        """
        Put names and ports of this machine in the place of those on the page.

        :return: the changed text, and the ports that it listens on.
        """
        listening: list[str] = []

        def listen(found: re.Match[str]) -> str:
            if found[2] not in listening:
                listening.append(found[2])
            # A server that takes another one's place is found where that was.
            port = self._servers[found[2]][0] if found[2] in self._servers else 0
            return f"{found[1] or 'tcp'}:{port}:interface=127.0.0.1"

        text = _LISTENING.sub(listen, text)
        if found := re.match(r"\./server .*-R (\d+)", text):
            listening.append(found[1])
            text = text.replace(f"-R {found[1]}", "-R 0")
        # What is not listened on is connected to: the ports of servers that were started by earlier commands.
        for port, (actual, _) in self._servers.items():
            if port not in listening:
                text = re.sub(rf"\b{port}\b", actual, text)
        if os.path.exists(key_file := self._find("server.key")):
            pair = read_key_file(key_file)
            text = text.replace("PUBLICKEY", pair.public.hex()).replace("PRIVATEKEY", pair.secret.hex())
        # The certificate is for the name, and not for the address.
        return text.replace("HOST", "localhost" if "tls:" in text else "127.0.0.1"), listening

    def _run_command(self, line: str, where: str, machines: tuple[str, ...]) -> None:
        where = f"{where}: {line}"
        command, listening = self._localised(_SHORTENED.sub(self._url, line))
        for name, text in self._files.items():
            if name in map(os.path.basename, shlex.split(line)):
                text, ports = self._localised(text)
                listening += ports
                with open(self.path(name), "w") as file:
                    file.write(text)
        program = line.split()[0]
        if program not in STAYING or "--check" in line:
            printed = [self._run_to_its_end(command, where, self._directory_of(machine)) for machine in machines]
            self._url = next(filter(_PRINTED.fullmatch, printed[0]), self._url)
            for other in printed[1:]:
                self.assertEqual(printed[0], other, where)
            return
        for port in listening:
            if port in self._servers:
                self._servers[port][1].stop()
        # Several servers run in one directory, and a second one would refuse the first one's file.
        command = command.replace("twistd -n", "twistd --pidfile= -n", 1)
        directory = self._directory_of(machines[0])
        words = _words(command) or ["sh", "-c", f"exec {command}"]
        running = self.run_process(words, env=self._environment(directory), cwd=directory)
        actual = running.wait_for(STAYING[program])[1]
        for port in listening:
            self._servers[port] = (actual, running)
        if program == "./client":
            running.stop(signal.SIGINT)
            wait_until(lambda: [name for name in os.listdir(self._uploads()) if name[0] != "."], "the upload")

    def _directory_of(self, machine: str) -> str:
        if machine not in self._machines:
            self._machines[machine] = self.path(machine)
            os.mkdir(self._machines[machine])
            if os.path.exists(self.path("pass.txt")):
                shutil.copy(self.path("pass.txt"), self._machines[machine])
        return self._machines[machine]

    def _environment(self, directory: str) -> dict[str, str]:
        """Each machine has its own user."""
        return self.environment | folders(os.path.join(self.path("users"), os.path.relpath(directory, self.directory)))

    def _interrupt(self, running: Running) -> None:
        """Do as Ctrl-C on its terminal does, once a part of a file is there."""

        def parts() -> list[int]:
            # It may have got its name in between; then this fails as it should, for nothing was interrupted.
            return [
                os.path.getsize(os.path.join(self._uploads(), name))
                for name in self._stored()
                if name.endswith(".part") and os.path.exists(os.path.join(self._uploads(), name))
            ]

        wait_until(lambda: any(parts()), "a part of a file")
        os.killpg(running.pid, signal.SIGINT)

    def _run_to_its_end(self, command: str, where: str, directory: str) -> list[str]:
        """
        Run a command that ends.

        :return: what it printed.
        """
        keywords: dict[str, Any] = {"env": self._environment(directory), "start_new_session": True, "cwd": directory}
        # passwd asks for the passphrase on its terminal, so it gets one.
        asks = " passwd " in command and "--passphrase-file" not in command and "--delete" not in command
        if asks:
            terminal, inner = pty.openpty()
            self.addCleanup(os.close, terminal)
            keywords.update(stdin=inner, preexec_fn=lambda: ioctl(inner, termios.TIOCSCTTY, 0))
        running = self.run_process(_words(command) or ["sh", "-c", command], **keywords)
        self.addCleanup(self._kill_session, running)
        if asks:
            os.close(inner)
            for prompt in ("Passphrase: ", "Again: "):
                shown = ""
                while not shown.endswith(prompt):
                    shown += os.read(terminal, 1024).decode()
                os.write(terminal, f"{PASSPHRASE}\n".encode())
        interrupted = command.endswith(" # Ctrl-C")
        if interrupted:
            self._interrupt(running)
        status = re.search(r" # status (\d+)$", command)
        expected = 130 if interrupted else int(status[1]) if status else 0
        ended = running.wait()
        # A shell that a signal ends has the status that it would report itself.
        self.assertEqual(ended if ended >= 0 else 128 - ended, expected, f"{where}\n{running.output + running.errors}")
        return running.output

    def _kill_session(self, running: Running) -> None:
        """End a shell that hangs, and all that it has started."""
        with suppress(ProcessLookupError):
            os.killpg(running.pid, signal.SIGKILL)
