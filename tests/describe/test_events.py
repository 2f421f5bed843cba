"""
The names of the lines of the log: calls and table are one.
"""

from __future__ import annotations

import ast
from collections import defaultdict
from collections.abc import Iterator

from twisted.trial.unittest import SynchronousTestCase

from sodiumtwist.describe.events import EVENTS, FIELDS, OTHER

from ..test_layering import PACKAGE

#: The methods of a logger, with the level of each.
LEVELS = {
    "debug": "debug",
    "info": "info",
    "warn": "warn",
    "error": "error",
    "critical": "critical",
    "failure": "critical",
}


def calls() -> Iterator[tuple[str, ast.Call]]:
    """All calls of a logger in the package, each with the place where it is."""
    for path in sorted(PACKAGE.rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr in LEVELS:
                if ast.unparse(node.func.value).rpartition(".")[2] in ("log", "_log"):
                    yield f"{path.relative_to(PACKAGE)}:{node.lineno}", node


def named(call: ast.Call, keyword: str) -> ast.expr | None:
    return next((each.value for each in call.keywords if each.arg == keyword), None)


def names_in_source() -> set[str]:
    """All names that calls give, also those of lines that others write for them."""
    names = set()
    for path in PACKAGE.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Constant) and node.value in EVENTS:
                names.add(str(node.value))
    return names


class EventTests(SynchronousTestCase):
    """:data:`~sodiumtwist.describe.events.EVENTS`"""

    def test_calls(self) -> None:
        """Each line has a name of the table, is as urgent as it says there, and gives no other fields."""
        count = 0
        for where, call in calls():
            event = named(call, "event")
            self.assertIsInstance(event, (ast.Constant, ast.Name), f"{where}: a line without a name")
            if not isinstance(event, ast.Constant):
                continue
            self.assertIn(event.value, EVENTS, where)
            kind = EVENTS[str(event.value)]
            assert isinstance(call.func, ast.Attribute)
            self.assertEqual(LEVELS[call.func.attr], kind.level, where)
            given = {each.arg for each in call.keywords if each.arg not in (None, "event", "failure")}
            self.assertLessEqual(given, set(kind.fields.split()), where)
            count += 1
        self.assertGreater(count, 80)

    def test_all_used(self) -> None:
        """The table has no name that no line has."""
        self.assertEqual(set(EVENTS) - names_in_source(), set())

    def test_fields(self) -> None:
        """Each field of the table is given by some call that has its name."""
        given: dict[str, set[str | None]] = defaultdict(set)
        open_ended = set()
        for _, call in calls():
            event = named(call, "event")
            if isinstance(event, ast.Constant):
                given[str(event.value)].update(each.arg for each in call.keywords)
                if any(each.arg is None for each in call.keywords):
                    open_ended.add(event.value)
        for name, kind in EVENTS.items():
            if name in given and name not in open_ended:
                self.assertLessEqual(set(kind.fields.split()), given[name], name)

    def test_words(self) -> None:
        """Names are in one style, levels are Twisted's, and no field takes a name that each line has."""
        reserved = {"time", "level", "event", "system", "message", "traceback", "format", "failure"}
        for name, kind in EVENTS.items():
            self.assertRegex(name, r"\A[a-z]+(_[a-z]+)*\Z")
            self.assertIn(kind.level, ("info", "warn", "error", "critical"), name)
            self.assertEqual(set(kind.fields.split()) & reserved, set(), name)
            self.assertLessEqual(set(kind.fields.split()), set(FIELDS), name)
            self.assertRegex(kind.meaning, r"\A[^.]+[^.]\Z|--on-stored", name)
        self.assertNotIn(OTHER, EVENTS)
        self.assertEqual(set(FIELDS), {field for kind in EVENTS.values() for field in kind.fields.split()})
