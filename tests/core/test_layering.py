"""
Which module may import what.
"""

from __future__ import annotations

import ast
import os
import subprocess
import sys
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

import sodiumtwist
from sodiumtwist import core

CORE = Path(core.__file__).parent
ROOT = Path(__file__).parent.parent.parent


def imported(path: Path, package: str = "sodiumtwist.core") -> set[str]:
    """
    The absolute names that a file imports, anywhere in it: modules, and what ``from`` takes out of them.

    :param package: the package that relative imports of the file start from.
    """
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            parents = package.split(".")
            base = parents[: len(parents) - node.level + 1] if node.level else []
            module = ".".join(base + ([node.module] if node.module else []))
            names.add(module)
            names.update(f"{module}.{alias.name}" for alias in node.names)
    return names


def inside(name: str, package: str) -> bool:
    """Whether a name is a package or something in it."""
    return name == package or name.startswith(f"{package}.")


class ImportedTests(SynchronousTestCase):
    """
    The scan finds every kind of import.
    """

    def test_scan(self) -> None:
        path = Path(self.mktemp())
        path.write_text(
            "import a.b\nfrom . import c\nfrom .d import e\nfrom ..f import g\nfrom .. import h\n"
            "def late():\n    import i as j, k\n    from l.m import n\n",
            encoding="utf-8",
        )
        self.assertEqual(
            imported(path),
            {
                "a.b",
                "sodiumtwist.core",
                "sodiumtwist.core.c",
                "sodiumtwist.core.d",
                "sodiumtwist.core.d.e",
                "sodiumtwist.f",
                "sodiumtwist.f.g",
                "sodiumtwist",
                "sodiumtwist.h",
                "i",
                "k",
                "l.m",
                "l.m.n",
            },
        )


class CoreTests(SynchronousTestCase):
    """
    The core stands alone.
    """

    def setUp(self) -> None:
        self.imports = {path.name: imported(path) for path in CORE.glob("*.py")}

    def importers(self, package: str) -> set[str]:
        return {file for file, names in self.imports.items() if any(inside(name, package) for name in names)}

    def test_files(self) -> None:
        self.assertIn("connection.py", self.imports)
        self.assertGreaterEqual(len(self.imports), 10)
        self.assertEqual([path for path in CORE.iterdir() if path.is_dir() and path.name != "__pycache__"], [])

    def test_no_twisted(self) -> None:
        self.assertEqual(self.importers("twisted") | self.importers("zope"), set())

    def test_no_io_and_no_clock(self) -> None:
        for module in ("socket", "ssl", "select", "selectors", "asyncio", "time", "datetime", "os", "subprocess"):
            self.assertEqual(self.importers(module), set(), module)

    def test_libsodium(self) -> None:
        self.assertEqual(self.importers("nacl"), {"keys.py", "secretstream.py", "handshake.py"})

    def test_inner_module_of_pynacl(self) -> None:
        self.assertEqual(self.importers("nacl._sodium"), {"secretstream.py"})

    def test_nothing_from_above(self) -> None:
        for file, names in self.imports.items():
            above = {name for name in names if inside(name, "sodiumtwist") and not inside(name, "sodiumtwist.core")}
            self.assertEqual(above, set(), file)

    def test_wire_knows_no_state(self) -> None:
        """The structures are below the connection, the errors below everything."""
        own = {
            file: {name.split(".")[2] for name in names if name.startswith("sodiumtwist.core.")}
            for file, names in self.imports.items()
        }
        self.assertEqual(own["errors.py"], set())
        self.assertEqual(own["wire.py"], {"errors"})
        self.assertEqual(own["states.py"], set())
        self.assertEqual([file for file, modules in own.items() if "handshake" in modules], ["connection.py"])


class ReactorTests(SynchronousTestCase):
    """
    Importing us chooses no reactor.
    """

    def imports(self, module: str) -> set[str]:
        """Import in a fresh interpreter; return the modules that are loaded then."""
        root = str(Path(sodiumtwist.__file__).parent.parent)
        output = subprocess.run(
            [sys.executable, "-c", f"import sys, {module}; print(*sorted(sys.modules))"],
            env={**os.environ, "PYTHONPATH": root},
            stdout=subprocess.PIPE,
            check=True,
        ).stdout
        return set(output.decode().split())

    def test_package(self) -> None:
        modules = self.imports("sodiumtwist")
        self.assertIn("sodiumtwist.core.connection", modules)
        self.assertNotIn("twisted.internet.reactor", modules)


class PluginDirectoryTests(SynchronousTestCase):
    """
    ``twisted/`` beside us holds a plugin, and is no package: it would hide Twisted, or the plugin.
    """

    def test_no_init(self) -> None:
        directory = ROOT / "twisted"
        self.assertTrue((directory / "plugins" / "sodiumtwist_plugin.py").is_file())
        self.assertEqual(list(directory.rglob("__init__.py*")), [])
