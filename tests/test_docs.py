"""
The documentation: its code runs, and what is taken from the code is taken.
"""

from __future__ import annotations

import contextlib
import importlib.util
import inspect
import io
import os
import re
import shutil
import sys
from dataclasses import dataclass, field
from enum import Enum, auto
from functools import cache, partial
from itertools import chain
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

from twisted.trial.unittest import SynchronousTestCase

import sodiumtwist
from sodiumtwist.core import connection, states
from sodiumtwist.core.v2 import states as saying
from sodiumtwist.protocol import lifecycle

from . import pages as pages_module
from .pages import LANGUAGES, ROOT, PageTestCase, pages, read_blocks, read_page
from .test_layering import FOLDERS, PACKAGE, name_of

#: The ends of what pages show beside examples: units, settings and the like, which have tests of their own.
SHOWN = (".service", ".socket", ".toml", ".cfg", ".conf", ".yml", "Containerfile")


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
                    in_howto = os.path.dirname(path) == "docs/howto" and path.endswith(SHOWN)
                    self.assertTrue(in_howto or os.path.dirname(path) == "examples", path)

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

.. on: one, two

.. code-block:: sh

    true

.. literalinclude:: a.ini
   :language: ini

>>> 1 + 1
2
"""
        found = [(block.language, block.text, block.caption, block.not_run) for block in read_blocks(page)]
        self.assertEqual([block.machines for block in read_blocks(page) if block.text == "true\n"], [("one", "two")])
        self.assertEqual({block.machines for block in read_blocks(page) if block.text != "true\n"}, {("here",)})
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


class MachineTests(PageTestCase):
    """Blocks that are for several machines."""

    def read_block(self, *lines: str, machines: str = "here, third") -> None:
        text = "\n".join([f".. on: {machines}", "", ".. code-block:: sh", "", *(f"    {line}" for line in lines)])
        self.patch(pages_module, "read_page", lambda path: text)
        self.read_as_told("a page")

    def test_directories(self) -> None:
        """Each has a directory of its own, with the passphrase and nothing else."""
        self.read_block("test -e pass.txt", "test ! -e backup.tar", "echo x > made", machines="third")
        self.assertEqual(sorted(os.listdir(self.path("third"))), ["made", "pass.txt"])

    def test_same_output(self) -> None:
        """What they print is compared."""
        failed = self.assertRaises(self.failureException, self.read_block, "wc -c < pass.txt", "pwd")
        self.assertRegex(str(failed), r"line \d+: pwd$")


@cache
def from_code() -> Any:
    """The program of ``docs/``, which is no package."""
    spec = importlib.util.spec_from_file_location("from_code", os.path.join(ROOT, "docs", "from_code.py"))
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["from_code"] = module  # where its dataclasses look for it
    spec.loader.exec_module(module)
    return module


@cache
def part(name: str) -> str:
    return "\n".join(from_code().PARTS[name]()) + "\n"


class FromCodeTests(SynchronousTestCase):
    """What pages take from the code."""

    def test_current(self) -> None:
        """Each page has what the code says now; otherwise run ``python docs/from_code.py``."""
        makers = {name: partial(lambda name: part(name).splitlines(), name) for name in from_code().PARTS}
        for page in pages():
            text = read_page(page)
            renewed, stale = from_code().renew(text, makers)
            self.assertEqual(stale, [], f"{page} is stale: python docs/from_code.py")
            self.assertEqual(renewed, text)

    def test_names(self) -> None:
        """Pages name what there is, and all of it."""
        named = [name for page in pages() for name in re.findall(r"^\.\. from code: (.*)$", read_page(page), re.M)]
        self.assertEqual(sorted(named), sorted(from_code().PARTS))

    def test_renew(self) -> None:
        """What is stale is named and written anew, and all else stays as it is."""
        makers = {"one": lambda: ["1", "", "I", ""], "two": lambda: ["2"]}
        page = "Title\n\n.. from code: one\n\n{}\n\n.. end of one\n\n.. from code: two\n\n2\n\n.. end of two\n\nText\n"
        current = page.format("1\n\nI")
        self.assertEqual(from_code().renew(current, makers), (current, []))
        for stale in ("", "1", "1\n\nI\n\nby hand", "1\n\n I"):
            self.assertEqual(from_code().renew(page.format(stale), makers), (current, ["one"]), stale)
        self.assertEqual(from_code().renew(".. from code: two\n.. end of two\n", makers)[1], ["two"])

    def test_marks(self) -> None:
        """A part that nobody makes, or that does not end, is not passed over."""
        makers = {"one": lambda: ["1"]}
        for page, why in (
            (".. from code: two\n\n.. end of two\n", "no part is called 'two'; those that are: one"),
            (
                ".. from code: one\n\n1\n\n.. end of two\n",
                r"'\.\. from code: one' is not followed by '\.\. end of one'",
            ),
        ):
            with self.assertRaisesRegex(ValueError, why):
                from_code().renew(page, makers)

    def run_program(self, *arguments: str) -> tuple[int, str]:
        printed = io.StringIO()
        with contextlib.redirect_stdout(printed):
            status = from_code().main(arguments, Path(self.folder))
        return status, printed.getvalue()

    def test_program(self) -> None:
        """The program tells of stale pages, and with ``--check`` writes nothing."""
        self.folder = self.mktemp()
        path = os.path.join(self.folder, "reference", "errors.rst")
        os.makedirs(os.path.dirname(path))
        shutil.copytree(os.path.join(ROOT, "docs", "images"), os.path.join(self.folder, "images"))
        current = read_page("docs/reference/errors.rst")
        stale = current.replace("PongTimeout` –", "Timeout` –")
        self.assertNotEqual(stale, current)
        with open(path, "w", encoding="utf-8") as file:
            file.write(stale)
        status, printed = self.run_program("--check")
        self.assertEqual(status, 1)
        self.assertEqual(
            printed, f"{os.path.relpath(path)}: error-tree is stale\nto renew them: python docs/from_code.py\n"
        )
        self.assertEqual(read_page(os.path.abspath(path)), stale)
        self.assertEqual(self.run_program(), (0, f"{os.path.relpath(path)}: error-tree is renewed\n"))
        self.assertEqual(read_page(os.path.abspath(path)), current)
        self.assertEqual(self.run_program("--check"), (0, ""))

    def test_drawings(self) -> None:
        """Each drawing is the code's, has a page, and is told in words where it stands; no other file lies there."""
        drawings = from_code().DRAWINGS
        for name, drawing in drawings.items():
            current = drawing()
            self.assertEqual(read_page(f"docs/images/{name}.svg"), current.svg, "python docs/from_code.py")
            shown = "".join(read_page(page) for page in pages() if f"images/{name}.svg" in read_page(page))
            self.assertIn(" ".join(current.told.split()), " ".join(shown.split()), name)
        lying = {name for name in os.listdir(os.path.join(ROOT, "docs", "images")) if name.endswith(".svg")}
        self.assertEqual(lying - {"session.svg"}, {f"{name}.svg" for name in drawings})

    def test_stale_drawing(self) -> None:
        """A drawing that is not the code's is named, and made anew."""
        self.folder = self.mktemp()
        shutil.copytree(os.path.join(ROOT, "docs", "images"), os.path.join(self.folder, "images"))
        path = os.path.join(self.folder, "images", "version.svg")
        os.remove(path)
        named = os.path.relpath(path)
        self.assertEqual(
            self.run_program("--check"), (1, f"{named} is stale\nto renew them: python docs/from_code.py\n")
        )
        self.assertEqual(self.run_program(), (0, f"{named} is renewed\n"))
        self.assertEqual(read_page(os.path.abspath(path)), read_page("docs/images/version.svg"))

    def drawn(self, name: str) -> dict[str, list[tuple[str, str]]]:
        """Return the acts of each state in a drawing, with the states that they lead to."""
        root = ElementTree.fromstring(from_code().DRAWINGS[name]().svg)
        found: dict[str, list[tuple[str, str]]] = {}
        for group in root.iterfind(".//{*}g[@class='act']"):
            begin, act, following = (group.attrib[f"data-{which}"] for which in ("from", "act", "to"))
            *words, last = ["".join(text.itertext()) for text in group.iterfind("{*}text")]
            # What is read there is what the drawing says of itself.
            self.assertEqual((" ".join(words), last), (act, "stays" if following == begin else following))
            found.setdefault(begin, []).append((act, following))
        return found

    def test_states(self) -> None:
        """All states have a meaning, and all transitions are in the drawings."""
        tables = {name: table for name, (_, table) in from_code().TABLES.items()}
        self.assertIs(tables["server-states"], states.SERVER)
        self.assertIs(tables["client-states"], states.CLIENT)
        self.assertIs(tables["version"], states.VERSION)
        self.assertIs(tables["server-states-2"], states.SERVER_2)
        self.assertIs(tables["client-states-2"], states.CLIENT_2)
        self.assertIs(tables["lifecycle"], lifecycle.TABLE)
        for name, table in tables.items():
            text, drawn = part(name), self.drawn(name)
            for state, acts in table.items():
                self.assertRegex(text, rf"\* - {state.name}\n     - \w")
                self.assertEqual(len(drawn.pop(state.name, ())), len(acts))
                if set(acts.values()) <= {state}:
                    self.assertIn(f"{state.name} is the end.", " ".join(text.split()))
            self.assertEqual(drawn, {})
            drawn = self.drawn(name)
            for state, acts in table.items():
                for act, following in acts.items():
                    value = getattr(act, "value", act)
                    label = value if isinstance(value, str) else act.name
                    self.assertIn((label, following.name), drawn[state.name])

    def test_what_may_be_said(self) -> None:
        """All kinds of PDUs are in the drawings of version 2, at the state that they lead to."""
        pdus = from_code().pdus
        for name, table in (("sayings", saying.SAYING), ("asker", saying.ASKER), ("answerer", saying.ANSWERER)):
            drawn = self.drawn(name)
            for state, acts in table.items():
                count = 0
                labels = drawn.get(state.name, [])
                for label, following in labels:
                    if label in ("the server's WELCOME", "the last of the answer leaves"):
                        continue
                    if label == "have no room for it":
                        self.assertEqual(acts[saying.GIVE_UP].name, following)
                        count += 1
                        continue
                    for kind in label.removeprefix("send ").removeprefix("receive ").split(", "):
                        kind, more, _ = kind.partition(" with MORE")
                        number = getattr(pdus, "UNKNOWN" if kind == "one that is not known" else kind)
                        parts = {number | pdus.MORE if more else number}
                        if not more and not any(f"{kind} with MORE" in other for other, _ in labels):
                            parts.add(number | pdus.MORE)
                        for one in parts & acts.keys():
                            self.assertEqual(acts[one].name, following, f"{name}, {state.name}: {label}")
                            count += 1
                self.assertEqual(count, len(acts), f"{name}, {state.name}")

    def test_who_says_it(self) -> None:
        """Of a request, what an end sends is told apart from what it receives."""
        for name, sent in (("asker", {"CANCEL"}), ("answerer", {"ANSWER", "FAILURE"})):
            count = 0
            for act, _ in chain.from_iterable(self.drawn(name).values()):
                if found := re.fullmatch(r"(send|receive) ([A-Z, ]+?)(?: with MORE)?(, .*)?", act):
                    for kind in found[2].split(", "):
                        self.assertEqual(found[1] == "send", kind in sent, (name, kind))
                        count += 1
            self.assertGreater(count, 5)

    def test_types(self) -> None:
        """Each type of PDU is in the table, with what it says, and each code."""
        for pdu_type, rule in from_code().pdus.RULES.items():
            row = rf"\* - {pdu_type:d}\n +- {pdu_type.name}\n +- {rule.sender.value}\n(?: +- \S.*\n){{4}}"
            self.assertRegex(part("pdu-types"), row)
        for code in from_code().pdus.Code:
            words = from_code().pdus.describe_code(code)
            self.assertIn(f"   * - {code:d}\n     - {code.name}\n     - {words}\n", part("codes"))
        self.assertIn(f"   - ``{code.name}``: {code:d}\n", part("errors"))

    def test_any_table(self) -> None:
        """A table of other states is drawn, too, and an end that has no act, and a state that the table lacks."""
        self.patch(from_code(), "TABLES", {"steps": ("Steps", {Step.FIRST: {Move.GO_ON: Step.LAST}, Step.LAST: {}})})
        drawing = from_code().DRAWINGS["version"]
        drawing = partial(drawing.func, *from_code().TABLES["steps"])
        self.patch(from_code(), "DRAWINGS", {"steps": drawing})
        text = "\n".join(from_code()._states("steps"))
        self.assertIn(":alt: Steps. FIRST: GO_ON: LAST. LAST is the end.\n", text)
        self.assertIn("   * - FIRST\n     - Where it begins, in two lines.\n", text)
        self.assertEqual(self.drawn("steps"), {"FIRST": [("GO_ON", "LAST")]})
        alone = drawing.func("Steps", {Step.FIRST: {Move.GO_ON: Step.LAST}})
        self.assertIn(">LAST<", alone.svg)

    def test_errors(self) -> None:
        """All errors are in the tree, and each is explained."""
        for name in sodiumtwist.__all__:
            kind = getattr(sodiumtwist, name)
            if inspect.isclass(kind) and issubclass(kind, sodiumtwist.SodiumError):
                self.assertIn(name, part("error-tree"))
                assert kind.__doc__ is not None
                first = inspect.cleandoc(kind.__doc__).splitlines()[0]
                self.assertIn(f"{name}`\n     - {first}\n", part("error-meanings"))

    def test_raised(self) -> None:
        """What docstrings of the core and of what applications import say is raised stands on the page of errors."""
        known = read_page("docs/reference/errors.rst")
        count = 0
        for path in PACKAGE.rglob("*.py"):
            if name_of(path) in f"{FOLDERS['programs']} {FOLDERS['operation']}".split():
                continue
            for names in re.findall(r":raises ([\w., ]+):", path.read_text(encoding="utf-8")):
                for name in names.split(", "):
                    self.assertRegex(known, rf"\b{name.rpartition('.')[2]}\b", path)
                    count += 1
        self.assertGreater(count, 60)

    def test_help(self) -> None:
        """The help is that of the commands."""
        self.assertIn("      --delete            take the login out", part("help-sodiumtwist"))
        self.assertIn("-t, --to=", part("help-twistd-sodium-tunnel"))

    def test_interfaces(self) -> None:
        self.assertIn("   .. py:method:: remember(fingerprint)\n", part("admission"))

    def test_signatures(self) -> None:
        """Parameters are those of the code, and defaults are written as they are there."""
        for name, signature in (
            ("keys", '.. py:function:: parse_key(text, what="key")\n'),
            ("keys", "   .. py:method:: from_hex(text)\n      :classmethod:\n"),
            ("requests", '(reactor, endpoint, server_key=None, login="", passphrase="", *, early=False, '),
            ("requests", "   .. py:method:: request(payload, timeout=None)\n"),
            ("requests", "   .. py:method:: when_lost()\n"),
            ("pdus", "draw=random.random, concurrency=CONCURRENCY, "),
            ("limits", "Limits(connections=10_000, "),
            ("events", '(login, passphrase, public_key, fingerprint=b"", version=1)\n'),
            ("connection", "   .. py:property:: state\n"),
            ("connection", ".. py:class:: Salts\n"),
            ("connection", ".. py:data:: PENDING_LIMIT_2\n   :value: 262144\n\n   The same for version 2"),
            ("connection", "Version2(unix_time, salts=None, tolerance=TIME_TOLERANCE, "),
            ("errors", ".. py:exception:: SodiumError\n"),
        ):
            self.assertIn(signature, part(name))

    def test_fields(self) -> None:
        """What ``field()`` says of a dataclass's field is no default, unless it is one."""
        self.assertEqual(from_code()._fields(Fields), "plain, shown=(1, 2), made=list(), hidden=None")

    def test_members(self) -> None:
        """Names are left out, or put first, that are there."""
        for name, members in from_code().MEMBERS.items():
            kind = getattr(sodiumtwist, name, None) or getattr(connection, name)
            for member in (*members.first, *members.without):
                self.assertTrue(hasattr(kind, member), f"{name}.{member}")


class Step(Enum):
    #: Where it begins,
    #: in two lines.
    FIRST = auto()
    #: Where it ends.
    LAST = auto()


class Move(Enum):
    GO_ON = auto()


@dataclass
class Fields:
    plain: int = field(repr=False)
    shown: tuple[int, ...] = (1, 2)
    made: list[int] = field(default_factory=list)
    hidden: None = field(default=None, repr=False)
