"""
Packages whose names are looked up when they are used.
"""

from __future__ import annotations

import ast
import subprocess
import sys
from importlib import import_module
from pathlib import Path
from types import ModuleType

from twisted.trial.unittest import SynchronousTestCase

import sodiumtwist
from sodiumtwist.lazy_names import look_up_later

PACKAGE = Path(sodiumtwist.__file__).parent

#: The packages that are doors, with the files that make them such.
DOORS = {
    ".".join(("sodiumtwist", *path.parent.relative_to(PACKAGE).parts)): path
    for path in PACKAGE.rglob("__init__.py")
    if "lazy_names.look_up_later(" in path.read_text(encoding="utf-8")
}


class DoorTests(SynchronousTestCase):
    """A door of its own, made for the test."""

    def setUp(self) -> None:
        """The package ``front`` has one name at its door, from its module ``front.room``."""
        self.package, self.room = ModuleType("front"), ModuleType("front.room")
        self.room.table = self.table = object()  # type: ignore[attr-defined]
        self.package.__path__ = []
        for module in (self.package, self.room):
            self.addCleanup(sys.modules.pop, module.__name__)
            sys.modules[module.__name__] = module
        self.looked_up: list[str] = []
        look_up, list_names = look_up_later("front", {"table": "room", "chair": "missing"})

        def look(name: str) -> object:
            self.looked_up.append(name)
            return look_up(name)

        self.package.__getattr__ = look  # type: ignore[method-assign]
        self.package.__dir__ = list_names  # type: ignore[method-assign]

    def test_looked_up_once(self) -> None:
        """Then the package has it, and Python asks no more."""
        self.assertNotIn("table", vars(self.package))
        for _ in range(3):
            self.assertIs(self.package.table, self.table)
        self.assertEqual(self.looked_up, ["table"])
        self.assertIs(vars(self.package)["table"], self.table)

    def test_unknown(self) -> None:
        """The error says what Python's own would."""
        with self.assertRaises(AttributeError) as caught:
            self.package.lamp  # noqa: B018  # that it raises is the point
        plain = ModuleType("front")
        with self.assertRaises(AttributeError) as expected:
            plain.lamp  # noqa: B018
        self.assertEqual(str(caught.exception), str(expected.exception))
        self.assertFalse(hasattr(self.package, "lamp"))

    def test_missing_module(self) -> None:
        """That is no missing attribute, and is not hidden as one."""
        with self.assertRaises(ModuleNotFoundError):
            self.package.chair  # noqa: B018

    def test_dir(self) -> None:
        """It has the names that were not used yet, and all that the package has besides, each once and in order."""
        self.package.window = 1  # type: ignore[attr-defined]
        before = dir(self.package)
        self.assertLessEqual({"table", "chair", "window", "__name__"}, set(before))
        self.assertEqual(before, sorted(set(before)))
        self.package.table  # noqa: B018
        self.assertEqual(dir(self.package), before)


class OurDoorsTests(SynchronousTestCase):
    """Those of the package."""

    def test_which(self) -> None:
        """The folders that offer something, apart from those whose modules are what they offer."""
        folders = ("", ".admission", ".endpoints", ".protocol", ".transfer")
        self.assertEqual(sorted(DOORS), [f"sodiumtwist{folder}" for folder in folders])

    @staticmethod
    def seen_by_type_checkers(tree: ast.Module) -> dict[str, str]:
        """The names that a file imports for them, and the module of each."""
        (block,) = (node for node in tree.body if isinstance(node, ast.If))
        assert ast.unparse(block.test) == "TYPE_CHECKING"
        names: dict[str, str] = {}
        for node in block.body:
            assert isinstance(node, ast.ImportFrom) and node.level == 1 and node.module, ast.unparse(node)
            for alias in node.names:
                # Only a name that is imported "as" itself is offered, to strict type checkers.
                assert alias.asname == alias.name and alias.name not in names, alias.name
                names[alias.name] = node.module
        return names

    def test_type_checkers_see_the_same(self) -> None:
        """What they are told and what is looked up are the same names from the same modules."""
        for package, path in DOORS.items():
            tree = ast.parse(path.read_text(encoding="utf-8"))
            (table,) = (
                ast.literal_eval(node.value)
                for node in tree.body
                if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "_WHERE"
            )
            self.assertEqual(self.seen_by_type_checkers(tree), table, package)
            self.assertEqual(import_module(package).__all__, list(table), package)

    def test_where_they_are_made(self) -> None:
        """Each name leads to what its module makes, and not to what that imports from elsewhere."""
        for package in DOORS:
            module = import_module(package)
            for name in module.__all__:
                offered = getattr(module, name)
                where = vars(module)["_WHERE"][name]
                self.assertEqual(offered.__module__, f"{package}.{where}", name)
                self.assertIs(offered, getattr(import_module(f"{package}.{where}"), name))

    def test_nothing_is_loaded_before(self) -> None:
        """Behind each door."""
        for package in DOORS:
            program = f"import sys, {package}; print(*(name for name in sys.modules if name.startswith('{package}.')))"
            loaded = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout
            self.assertEqual(set(loaded.split()) - {"sodiumtwist.lazy_names"}, set(), package)
