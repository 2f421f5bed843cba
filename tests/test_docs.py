"""
The documentation: its code runs, and what it tells is what the code has.
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
from collections.abc import Iterator
from fractions import Fraction
from typing import Any
from unittest import SkipTest

from twisted.python.reflect import namedAny
from twisted.trial.unittest import SynchronousTestCase
from zope.interface.interface import InterfaceClass

import sodiumtwist
from sodiumtwist import argon2, requests, running
from sodiumtwist.core import states, wire
from sodiumtwist.endpoints import CLIENT_KEYWORDS, SERVER_KEYWORDS
from sodiumtwist.tap import LIMITS, Options
from sodiumtwist.transfer import ACKNOWLEDGEMENT_SIZE, acknowledgement

from .pages import LANGUAGES, ROOT, PageTestCase, read_blocks, read_page
from .processes import SODIUMTWIST, TWISTD, ProcessTestCase
from .test_layering import FLOORS, PACKAGE, name_of

UNIT = os.path.join("docs", "howto", "sodiumtwist.service")


def pages() -> Iterator[str]:
    """All pages, as paths in the repository."""
    yield from ("README.rst", "SECURITY.rst", "CHANGELOG.rst", "CONTRIBUTING.rst")
    for directory, _, names in os.walk(os.path.join(ROOT, "docs")):
        if "_build" not in directory:
            for name in names:
                if name.endswith(".rst"):
                    yield os.path.relpath(os.path.join(directory, name), ROOT)


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


def find(path: str, name: str) -> Any:
    """Return what a page calls ``path: name``, in the package."""
    return namedAny(f"sodiumtwist.{path.removesuffix('.py').replace('/', '.')}.{name}")


class NameTests(SynchronousTestCase):
    """Names of code, written ``file: name``, and of tests, written as trial takes them."""

    def test_code(self) -> None:
        """What pages name is there. CONTRIBUTING.rst has its own test for that."""
        count = 0
        for page in set(pages()) - {"CONTRIBUTING.rst"}:
            for path, name in re.findall(r"``([a-z_/0-9]+\.py): ([\w.]+)(?:\(\w+\))?``", read_page(page)):
                find(path, name)
                count += 1
        self.assertGreater(count, 80)

    def test_tests(self) -> None:
        """So are the tests, each a module, a class or a test."""
        count = 0
        for page in pages():
            text = read_page(page)
            self.assertNotRegex(text, r"test_\w+\.py: \w*Tests?\b", page)
            for name in re.findall(r"\btests(?:\.core)?\.test_[\w.]*\w", text):
                found = namedAny(name)
                self.assertTrue(inspect.ismodule(found) or callable(found), name)
                count += 1
        self.assertGreater(count, 60)

    def test_files(self) -> None:
        """So are the files."""
        count = 0
        for page in pages():
            for path in re.findall(r"``((?:\w+/)+(?:\w+\.\w+)?)``", read_page(page)):
                self.assertTrue(os.path.exists(os.path.join(ROOT, path)), f"{page}: {path}")
                count += 1
        self.assertGreater(count, 30)

    def test_references(self) -> None:
        """So is what docstrings refer to by its module, also where no page shows them."""
        count = 0
        for path in PACKAGE.rglob("*.py"):
            for name in re.findall(r":[a-z]+:`~?(sodiumtwist\.[\w.]+)`", path.read_text(encoding="utf-8")):
                owner, _, last = name.rpartition(".")
                if isinstance(interface := namedAny(owner), InterfaceClass):
                    self.assertIn(last, interface)
                else:
                    namedAny(name)
                count += 1
        self.assertGreater(count, 30)

    def test_fields_have_tests(self) -> None:
        """Each row of the map has code and a test."""
        for what, code, test in [row for row in rows("docs/reference/source.rst") if row[0] not in ("Field", "What")]:
            self.assertRegex(code, r"^``[a-z_/0-9]+\.py: [\w.]+``$", what)
            self.assertRegex(test, r"^``tests\.(core\.)?test_\w+\.\w+\.test_\w+``$", what)

    def test_floors(self) -> None:
        """The drawing has modules on the floors where they are."""
        page = read_page("docs/reference/source.rst")
        for floor, name in ((1, "core"), (2, "Twisted"), (3, "programs")):
            drawn = re.search(rf"^    {name} +(.*)$", page, re.M)
            assert drawn is not None
            prefix = "core." if floor == 1 else ""
            self.assertLessEqual({prefix + module for module in drawn[1].split(", ")}, set(FLOORS[floor].split()))

    def test_public_names(self) -> None:
        """The API's page has each public name, and no others of the package itself."""
        page = read_page("docs/reference/api.rst")
        listed = re.findall(r"^\.\. (?:autoclass|autofunction|autoexception|from-code):: (\w+)$", page, re.M)
        files = page[page.index("sodiumtwist.keyfiles") : page.index("py:currentmodule")]
        self.assertEqual(
            sorted(set(listed) - set(re.findall(r":: (\w+_file)$", files, re.M))), sorted(sodiumtwist.__all__)
        )


#: Numbers among the package's constants that bound nothing, and why they have no row in the table of limits.
NO_LIMITS = {
    "the marks of the protocol and of its version": "core.wire.MAGIC core.wire.VERSION",
    "sizes of fields, which the page on the wire has": """
        core.wire.NONCE_SIZE core.wire.KEY_SIZE core.wire.STREAM_HEADER_SIZE core.wire.STREAM_OVERHEAD
        core.wire.SEAL_OVERHEAD core.wire.HEADER_SIZE core.wire.CLIENT_AUTH_SIZE core.wire.SERVER_HELO_SIZE
        core.wire.ENCRYPTED_HEADER_SIZE core.wire.PDU_OVERHEAD transfer.ACKNOWLEDGEMENT_SIZE
    """,
    "the size of a hash": "core.handshake.FINGERPRINT_SIZE",
    "the marks of a database": "replays.APPLICATION_ID replays.SCHEMA_VERSION",
    "exit statuses, which the page on sodiumtwist has": """
        running.EXIT_USAGE running.EXIT_NOT_CONNECTED running.EXIT_REFUSED running.EXIT_BROKEN
        running.EXIT_INTERRUPTED running.EXIT_OUTPUT_GONE
    """,
}


def is_number(value: object) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


class LimitTests(SynchronousTestCase):
    """The tables of limits."""

    # What is in KiB has that unit in the code, too; and what is in nanoseconds.
    UNITS = {"": 1, "bytes": 1, "s": 1, "ns": 1, "KiB": 1, "MiB": 1 << 20, "GiB": 1 << 30}

    def value(self, where: str) -> Any:
        named = re.fullmatch(r"``(.*): ([\w.]+)(?:\((\w+)\))?``", where)
        assert named is not None, where
        path, name, argument = named.groups()
        found = find(path, name)
        if argument is not None:
            return inspect.signature(found).parameters[argument].default
        return found.cache_parameters()["maxsize"] if hasattr(found, "cache_parameters") else found

    def table(self) -> list[list[str]]:
        return [row for row in rows("docs/reference/limits.rst") if row[0] != "Limit"]

    def changed_by(self) -> Iterator[tuple[str, str]]:
        """Where a limit stands, and a name of what changes it."""
        for _, _, where, how in self.table():
            self.assertRegex(how, r"\A(–|``[^`]+``(, ``[^`]+``)*)\Z", where)
            for name in re.findall(r"``([^`]+)``", how):
                yield where.strip("`"), name

    def test_numbers(self) -> None:
        """They have the numbers of the code."""
        self.assertGreater(len(self.table()), 60)
        for what, default, where, _ in self.table():
            number, _, unit = default.partition(" ")
            self.assertEqual(float(Fraction(number.replace(",", ""))) * self.UNITS[unit], self.value(where), what)

    def test_constants(self) -> None:
        """Each number among the package's constants has a row, or is known to be none."""
        listed = [where for _, _, where, _ in self.table()]
        known = {name for names in NO_LIMITS.values() for name in names.split()}
        found = set()
        for file in PACKAGE.rglob("*.py"):
            path, module = file.relative_to(PACKAGE).as_posix(), name_of(file)
            for name in re.findall(r"^([A-Z][A-Z_0-9]*)(?:: .*)? = ", file.read_text(encoding="utf-8"), re.M):
                if is_number(find(path, name)):
                    found.add(f"{module}.{name}")
                    if f"{module}.{name}" not in known:
                        self.assertIn(f"``{path}: {name}``", listed)
        self.assertEqual(known - found, set())

    def test_fields_and_arguments(self) -> None:
        """So has each number that may be given in code."""
        listed = {where.strip("`") for _, _, where, _ in self.table()}
        named = {name for _, name in self.changed_by()}
        for name in sodiumtwist.__all__:
            given = getattr(sodiumtwist, name)
            try:
                parameters = inspect.signature(given).parameters.values()
            except ValueError:
                continue  # an exception or an interface
            path = given.__module__.removeprefix("sodiumtwist.").replace(".", "/") + ".py"
            for parameter in parameters:
                if is_number(parameter.default):
                    where = {f"{path}: {name}.{parameter.name}", f"{path}: {name}({parameter.name})"}
                    self.assertTrue(where & listed or f"{name}({parameter.name}=)" in named, where)

    def test_limit_names(self) -> None:
        """Each name of ``--limit`` stands where its limit is, and no other does."""
        bare = {(where, name) for where, name in self.changed_by() if re.fullmatch(r"[a-z][a-z-]*", name)}
        self.assertEqual({name for _, name in bare}, set(LIMITS))
        for where, name in bare:
            kind, argument = LIMITS[name]
            self.assertRegex(where, rf": ({kind.__name__}\.{argument}|Replay\w+\({argument}\))$")

    def test_options(self) -> None:
        """What is said to change a limit does."""
        for where, name in self.changed_by():
            argument = where.rpartition(".")[2]
            if name.startswith("--"):
                options = Options()
                options.parseOptions([name, "7"])
                self.assertEqual(getattr(options["timeouts"], argument), 7, name)
            elif setting := re.fullmatch(r"argon2:FILE:(\w+)=", name):
                self.assertEqual(
                    inspect.signature(argon2.Argon2File).parameters[setting[1]].default, self.value(f"``{where}``")
                )
                self.assertRaisesRegex(
                    FileNotFoundError, "'/nowhere'", argon2.from_argument, f"/nowhere:{setting[1]}=7"
                )
            elif call := re.fullmatch(r"(\w+)\((\w+)=\)", name):
                parameters = inspect.signature(getattr(sodiumtwist, call[1])).parameters
                self.assertEqual(parameters[call[2]].default, self.value(f"``{where}``"), name)
            else:
                self.assertIn(name, LIMITS)


class TextTests(SynchronousTestCase):
    """Other facts."""

    def test_exit_statuses(self) -> None:
        listed = [int(row[0]) for row in rows("docs/reference/sodiumtwist.rst")]
        known = [getattr(running, name) for name in dir(running) if name.startswith("EXIT_")]
        ended = [128 + number for number in (signal.SIGHUP, signal.SIGTERM)]
        self.assertEqual(listed, sorted([0, *known, *ended]))

    def test_layouts(self) -> None:
        """The fields of the wire follow each other, and have the sizes of the structures."""
        tables: list[list[tuple[int, int]]] = []
        for row in rows("docs/explanation/wire.rst"):
            if row[0] == "Offset":
                tables.append([])
            else:
                tables[-1].append((int(row[0]), int(row[1])))
        for table in tables:
            self.assertEqual([offset for offset, _ in table], [sum(s for _, s in table[:n]) for n in range(len(table))])
        sizes = [sum(size for _, size in table) for table in tables]
        self.assertEqual(sizes, [wire.CLIENT_AUTH_SIZE, wire.SERVER_HELO_SIZE, wire.TIMESTAMP_SIZES[0]])

    def test_defaults(self) -> None:
        """Pages that tell a default in passing tell what it is."""
        limits, timeouts, rekey = sodiumtwist.Limits(), sodiumtwist.Timeouts(), sodiumtwist.RekeyAfter()
        memory, database = (
            inspect.signature(kind).parameters["limit"].default
            for kind in (sodiumtwist.ReplayMemory, sodiumtwist.ReplayDatabase)
        )
        self.assertEqual((limits.failures_per_address, limits.failure_seconds), (limits.failures_per_login, 60))
        self.assertEqual((argon2.CONCURRENCY, rekey.size, rekey.seconds), (2, 1 << 30, 3600))
        for page, *facts in (
            (
                "SECURITY.rst",
                f"{limits.failures_per_login} failures in a minute from one address or for one login",
                f"two at a time, {argon2.QUEUE} more wait",
                f"takes nothing for {timeouts.inactivity:g} s ends",
                f"{wire.SEALED_CLIENT_AUTH_SIZE} bytes, {timeouts.authentication:g} seconds and one X25519 each",
                "after 1 GiB or an hour",
                f"packets have {wire.SEALED_CLIENT_AUTH_SIZE} and {wire.SEALED_SERVER_HELO_SIZE} bytes",
            ),
            (
                "docs/howto/logins.rst",
                f"Two logins are verified at once, in threads, for some 80 ms and 64 MiB each, and {argon2.QUEUE} more",
                f"the last {memory:,} of them, until it ends",
                f"it remembers {database:,}, also after a restart",
            ),
            (
                "docs/howto/embed.rst",
                f"at most {requests.REQUEST_LIMIT} unanswered",
                f"at most {requests.CONCURRENCY} of one connection at once",
                f"at most {wire.WINDOW} bytes",
            ),
            ("docs/howto/systemd.rst", f"so that {limits.connections:,} connections find room"),
            (
                "docs/howto/testing.rst",
                f"a PING comes after {timeouts.ping_interval:g} seconds",
                f"keep silent for {timeouts.inactivity:g} is gone",
            ),
        ):
            text = " ".join(read_page(page).split())
            for fact in facts:
                self.assertIn(fact, text, page)

    def test_wire(self) -> None:
        """The page on the wire has the numbers of the code."""
        page = " ".join(read_page("docs/explanation/wire.rst").split())
        types = " ".join(f"{pdu_type.value} {pdu_type.name}" for pdu_type in wire.PDUType)
        for fact in (
            f"type {types} In the handshake",
            f"{wire.MAGIC:X} {min(wire.PDUType)} to {max(wire.PDUType)} type",
            f"version, ``{wire.VERSION:X}``",
            f"body, 0 to {wire.WINDOW} bytes",
            f"0 4 8 {wire.HEADER_SIZE} +--",
            f"|<--------- {wire.ENCRYPTED_HEADER_SIZE} --------->|<------ size + {wire.STREAM_OVERHEAD} ------>|",
            f"An empty body has its {wire.STREAM_OVERHEAD} bytes",
            f"CLIENT_AUTH, sealed to the server's key: {wire.SEALED_CLIENT_AUTH_SIZE} bytes",
            f"SERVER_HELO, sealed to the client's key: {wire.SEALED_SERVER_HELO_SIZE} bytes",
            f"{wire.CLIENT_AUTH_SIZE} bytes before the seal, which adds {wire.SEAL_OVERHEAD}:",
            f"{wire.SERVER_HELO_SIZE} bytes before the seal, which adds {wire.SEAL_OVERHEAD}:",
            f"header: type {wire.PDUType.CLIENT_AUTH:d}, size {wire.CLIENT_AUTH_SIZE - wire.HEADER_SIZE}",
            f"header: type {wire.PDUType.SERVER_HELO:d}, size {wire.SERVER_HELO_SIZE - wire.HEADER_SIZE}",
            f"a DATA of {ACKNOWLEDGEMENT_SIZE} bytes, ``{acknowledgement(wire.WINDOW).decode().rstrip(chr(0))}``",
        ):
            self.assertIn(fact, page)

    def test_keywords(self) -> None:
        """The page on endpoint strings has all keywords."""
        listed = [row[0].strip("`") for row in rows("docs/reference/endpoints.rst") if row[0] != "Keyword"]
        self.assertEqual(listed, [*SERVER_KEYWORDS, *CLIENT_KEYWORDS])


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
            if name_of(path) in FLOORS[3].split():
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
        done = subprocess.run([program, "verify", "--man=no", path], capture_output=True, text=True)
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
