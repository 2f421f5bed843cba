"""
The documentation: its code runs, and what is taken from the code is taken.
"""

from __future__ import annotations

import configparser
import importlib.util
import inspect
import os
import re
import shutil
import signal
import subprocess
from unittest import SkipTest

from twisted.trial.unittest import SynchronousTestCase

import sodiumtwist
from sodiumtwist.core import states

from .pages import LANGUAGES, ROOT, PageTestCase, pages, read_blocks, read_page
from .processes import SODIUMTWIST, TWISTD, ProcessTestCase
from .test_layering import FOLDERS, PACKAGE, name_of

UNIT = os.path.join("docs", "howto", "sodiumtwist.service")


class PageTests(PageTestCase):
    """One test for each page that has code."""


def _add_tests() -> None:
    for page in pages():
        if page == "CONTRIBUTING.rst":
            continue  # test_contributing.py runs it in a copy of the repository
        blocks = read_blocks(read_page(page))
        if any(LANGUAGES.get(block.language, True) and not (block.not_run or block.included) for block in blocks):

            def run(self: PageTests, page: str = page) -> None:
                self.read_as_told(page)

            name = "test_" + re.sub(r"\W+", "_", page.removesuffix(".rst").removeprefix("docs/"))
            setattr(PageTests, name, run)


_add_tests()


class BlockTests(SynchronousTestCase):
    """What is to be run, and what is not, is said of each block."""

    def test_marked(self) -> None:
        """No page has a block of which it is not known what to do with it."""
        for page in pages():
            for block in read_blocks(read_page(page)):
                self.assertIn(block.language, LANGUAGES, f"{page}, line {block.line}: a block of which language?")
                if block.not_run:
                    self.assertTrue(LANGUAGES[block.language], f"{page}, line {block.line}: that is never run")

    def test_files_are_used(self) -> None:
        """A block that is a file is named by a command behind it."""
        for page in pages():
            blocks = read_blocks(read_page(page))
            for number, block in enumerate(blocks):
                if block.caption:
                    behind = [other.text for other in blocks[number:] if other.language == "sh" and not other.not_run]
                    self.assertIn(block.caption, map(os.path.basename, " ".join(behind).split()), page)

    def test_included(self) -> None:
        """What is included is there, and another test runs it."""
        for page in pages():
            for block in read_blocks(read_page(page)):
                if block.included:
                    path = os.path.relpath(os.path.join(ROOT, os.path.dirname(page), block.text), ROOT)
                    self.assertTrue(os.path.isfile(os.path.join(ROOT, path)), path)
                    self.assertTrue(path == UNIT or os.path.dirname(path) == "examples", path)

    def test_kinds(self) -> None:
        """How blocks are found."""
        page = """
Some text::

    a literal block

.. code-block:: python
   :caption: a.py

    print("a")

    print("b")

.. not run: it takes a year

.. code-block:: sh

    sleep 31536000

Text.

.. code-block:: sh

    true

.. literalinclude:: a.ini
   :language: ini

>>> 1 + 1
2
"""
        found = [(block.language, block.text, block.caption, block.not_run) for block in read_blocks(page)]
        self.assertEqual(
            found,
            [
                ("", "a literal block\n", "", ""),
                ("python", 'print("a")\n\nprint("b")\n', "a.py", ""),
                ("sh", "sleep 31536000\n", "", "it takes a year"),
                ("sh", "true\n", "", ""),
                ("ini", "a.ini", "", ""),
                ("", ">>> 1 + 1", "", ""),
            ],
        )


class FromCodeTests(SynchronousTestCase):
    """What is taken from the code when the pages are built."""

    def setUp(self) -> None:
        path = os.path.join(ROOT, "docs", "from_code.py")
        spec = importlib.util.spec_from_file_location("from_code", path)
        assert spec is not None and spec.loader is not None
        self.from_code = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(self.from_code)

    def part(self, name: str) -> str:
        return "\n".join(self.from_code.PARTS[name]()) + "\n"

    def test_names(self) -> None:
        """Pages name what there is, and all of it."""
        named = [name for page in pages() for name in re.findall(r"^\.\. from-code:: (.*)$", read_page(page), re.M)]
        self.assertEqual(sorted(named), sorted(self.from_code.PARTS))

    def test_states(self) -> None:
        """All states are in the tables, with a meaning, and all transitions in the drawings."""
        for side, table in (("server", states.SERVER), ("client", states.CLIENT)):
            meanings = self.part(f"{side}-states")
            drawing = self.part(f"{side}-drawing")
            for state, acts in table.items():
                self.assertRegex(meanings, rf"\* - {state.name}\n     - \w")
                for act, following in acts.items():
                    if act is not states.Act.CLOSE:
                        where = r"\(stays\)" if following is state else following.name
                        self.assertRegex(drawing, rf"(?s) {state.name}\n.*-- {act.value} -+> {where}\n")

    def test_errors(self) -> None:
        tree = self.part("errors")
        for name in sodiumtwist.__all__:
            kind = getattr(sodiumtwist, name)
            if inspect.isclass(kind) and issubclass(kind, sodiumtwist.SodiumError):
                self.assertIn(name, tree)

    def test_raised(self) -> None:
        """What docstrings of the core and of what applications import say is raised stands on the page of errors."""
        known = self.part("errors") + read_page("docs/reference/errors.rst")
        count = 0
        for path in PACKAGE.rglob("*.py"):
            if name_of(path) in FOLDERS["programs"].split():
                continue
            for names in re.findall(r":raises ([\w., ]+):", path.read_text(encoding="utf-8")):
                for name in names.split(", "):
                    self.assertRegex(known, rf"\b{name.rpartition('.')[2]}\b", path)
                    count += 1
        self.assertGreater(count, 60)

    def test_help(self) -> None:
        """The help is that of the commands."""
        self.assertIn("      --delete            take the login out", self.part("help-sodiumtwist"))
        self.assertIn("-t, --to=", self.part("help-twistd-sodium-tunnel"))

    def test_interfaces(self) -> None:
        self.assertIn(".. py:method:: remember(fingerprint)", self.part("IReplayMemory"))


class UnitTests(ProcessTestCase):
    """The unit for systemd."""

    def unit(self) -> configparser.RawConfigParser:
        unit = configparser.RawConfigParser(strict=False)
        unit.optionxform = str  # type: ignore[assignment,method-assign]
        unit.read_string(read_page(UNIT))
        return unit

    def test_verify(self) -> None:
        """systemd has nothing to say against it."""
        program = shutil.which("systemd-analyze")
        if program is None:
            raise SkipTest("systemd-analyze is not installed (Debian: apt-get install systemd)")
        path = self.path("sodiumtwist.service")
        with open(path, "w") as file:
            file.write(read_page(UNIT).replace("/opt/sodiumtwist/bin/twistd", "/bin/sh"))
        done = subprocess.run([program, "verify", path], capture_output=True, text=True)
        about = [line for line in done.stderr.splitlines() if "sodiumtwist.service" in line]
        self.assertEqual((done.returncode, about), (0, []), done.stderr)

    def test_hardened(self) -> None:
        """It runs as a user of its own, who can write in one directory."""
        service = self.unit()["Service"]
        for name, value in {
            "User": "sodiumtwist",
            "StateDirectory": "sodiumtwist",
            "NoNewPrivileges": "yes",
            "ProtectSystem": "strict",
            "CapabilityBoundingSet": "",
        }.items():
            self.assertEqual(service[name], value)

    def test_runs(self) -> None:
        """Its command receives a file, and ends when systemd ends it."""
        command = self.unit()["Service"]["ExecStart"].split()
        self.assertEqual(command[0], "/opt/sodiumtwist/bin/twistd")
        self.assertEqual(self.run_process([*SODIUMTWIST, "keygen", "--output", "server.key"]).wait(), 0)
        with open(self.path("pass.txt"), "w") as file:
            file.write("open sesame\n")
        os.chmod(self.path("pass.txt"), 0o400)
        arguments = [argument.replace("/etc/sodiumtwist", self.directory) for argument in command[1:]]
        self.assertIn("tcp:5555", arguments)
        arguments[arguments.index("tcp:5555")] = "tcp:0:interface=127.0.0.1"
        server = self.run_process([*TWISTD, *arguments])
        self.find_endpoint(server)
        self.make_file("backup.tar", 300_000)
        key = server.wait_for(r"public key: (\w+)")[1]
        client = self.start_client("send", "--passphrase-file", "pass.txt", "backup.tar", key=key)
        self.assertEqual((client.wait(), client.errors), (0, []))
        (name,) = os.listdir(self.path("uploads"))
        self.assertTrue(self.read(os.path.join("uploads", name)) == self.read("backup.tar"))
        self.assertEqual(server.stop(), -signal.SIGTERM)
        self.assertEqual(server.errors, [])
