"""
Which module may import what.
"""

from __future__ import annotations

import ast
import os
import re
import subprocess
import sys
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

import sodiumtwist

PACKAGE = Path(sodiumtwist.__file__).parent
ROOT = PACKAGE.parent
PLUGIN = ROOT / "twisted" / "plugins" / "sodiumtwist_plugin.py"

#: Every module of the package, from the ground up: each imports only from floors below its own, and on
#: its own floor only what stands before it here, except for types. So there are no circles, and this is an
#: order to read them in.
FLOORS = {
    # The protocol: no Twisted, no IO, no clock.
    1: """
        core  core.errors  core.wire  core.states  core.keepalive  core.credentials  core.keys
        core.secretstream  core.handshake  core.events  core.base  core.connection
    """,
    # Twisted over the core: what applications import.
    2: """
        addresses  interfaces  tls_errors  sockets  producers
        failed_logins  limits  keyfiles  watched  auth  authorized  passwords  argon2  replays
        sending  closing  base  protocol  requests  factories  streams  endpoints  testing  __init__
    """,
    # Programs.
    3: """
        output  descriptors  options  listening
        sources  pipes  uploads  stores  transfer  tunnel
        services  tap  tunneltap  running  commands  demo  cli  __main__
    """,
}

ORDER = [name for names in FLOORS.values() for name in names.split()]


def name_of(path: Path) -> str:
    """The name of a module within the package: ``core.wire``, ``core``, ``__init__``."""
    names = list(path.relative_to(PACKAGE).with_suffix("").parts)
    if len(names) > 1 and names[-1] == "__init__":
        names.pop()
    return ".".join(names)


class WithoutTypes(ast.NodeTransformer):
    """Leaves out what only type checkers see."""

    def visit_If(self, node: ast.If) -> ast.AST:
        if ast.unparse(node.test) == "TYPE_CHECKING":
            node.body = []
        return self.generic_visit(node)


def imported(path: Path, package: str, *, types: bool = True) -> set[str]:
    """
    The absolute names that a file imports, anywhere in it: modules, and what ``from`` takes out of them.

    :param package: the package that relative imports of the file start from.
    :param types: whether imports for type checkers count.
    """
    names: set[str] = set()
    tree: ast.AST = ast.parse(path.read_text(encoding="utf-8"))
    for node in ast.walk(tree if types else WithoutTypes().visit(tree)):
        if isinstance(node, ast.Import):
            names.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            parents = package.split(".")
            base = parents[: len(parents) - node.level + 1] if node.level else []
            module = ".".join(base + ([node.module] if node.module else []))
            names.update(f"{module}.{alias.name}" for alias in node.names)
    return names


def inside(name: str, package: str) -> bool:
    """Whether a name is a package or something in it."""
    return name == package or name.startswith(f"{package}.")


MODULES = {name_of(path): path for path in PACKAGE.rglob("*.py")}

PARENTS = {name: ".".join(["sodiumtwist", *path.relative_to(PACKAGE).parent.parts]) for name, path in MODULES.items()}
IMPORTS = {name: imported(path, PARENTS[name]) for name, path in MODULES.items()}
RUN_IMPORTS = {name: imported(path, PARENTS[name], types=False) for name, path in MODULES.items()}


def own_imports(name: str, imports: dict[str, set[str]] = IMPORTS) -> set[str]:
    """The modules of the package that one of them imports."""
    own = set()
    for absolute in imports[name]:
        if inside(absolute, "sodiumtwist"):
            # The longest part of the name that is a module; the rest is something in it.
            parts = absolute.split(".")[1:]
            while parts and ".".join(parts) not in MODULES:
                parts.pop()
            own.add(".".join(parts) or "__init__")
    return own


def importers(package: str) -> set[str]:
    """The modules that import a package or something in it."""
    return {name for name, names in IMPORTS.items() if any(inside(imported, package) for imported in names)}


class ImportedTests(SynchronousTestCase):
    """
    The scan finds every kind of import.
    """

    def test_scan(self) -> None:
        path = Path(self.mktemp())
        path.write_text(
            "import a.b\nfrom . import c\nfrom .d import e\nfrom ..f import g\nfrom .. import h\n"
            "def late():\n    import i as j, k\n    from l.m import n\n"
            "if TYPE_CHECKING:\n    from .o import p\n",
            encoding="utf-8",
        )
        found = imported(path, "sodiumtwist.core")
        self.assertEqual(found - imported(path, "sodiumtwist.core", types=False), {"sodiumtwist.core.o.p"})
        self.assertEqual(
            found,
            {
                "a.b",
                "sodiumtwist.core.c",
                "sodiumtwist.core.d.e",
                "sodiumtwist.f.g",
                "sodiumtwist.h",
                "i",
                "k",
                "l.m.n",
                "sodiumtwist.core.o.p",
            },
        )

    def test_own(self) -> None:
        """Of what is imported from a module, the module counts; of the package itself, its ``__init__``."""
        self.assertIn("core.wire", own_imports("core.connection"))
        self.assertEqual(own_imports("__main__"), {"cli"})
        self.assertIn("__init__", own_imports("options"))

    def test_nothing_is_imported_by_its_name(self) -> None:
        """The scan would not see that."""
        for name, path in MODULES.items():
            self.assertNotRegex(path.read_text(encoding="utf-8"), r"\bimport_module\b|\b__import__\b", name)


class FloorTests(SynchronousTestCase):
    """
    Imports point down.
    """

    def test_every_module_has_its_floor(self) -> None:
        self.assertEqual(sorted(ORDER), sorted(MODULES))

    def test_core_is_the_first_floor(self) -> None:
        self.assertEqual(sorted(FLOORS[1].split()), sorted(name for name in MODULES if inside(name, "core")))

    def test_imports_point_down(self) -> None:
        """From floor to floor, be it for types alone."""
        floor_of = {name: floor for floor, names in FLOORS.items() for name in names.split()}
        up = [
            f"{name} imports {other}"
            for name in MODULES
            for other in own_imports(name)
            if floor_of[other] > floor_of[name]
        ]
        self.assertEqual(up, [])

    def test_no_circles(self) -> None:
        """Within a floor, of imports that are run."""
        ahead = [
            f"{name} imports {other}"
            for name in MODULES
            for other in own_imports(name, RUN_IMPORTS)
            if ORDER.index(other) >= ORDER.index(name)
        ]
        self.assertEqual(ahead, [])


class CoreTests(SynchronousTestCase):
    """
    The core stands alone.
    """

    def assert_not_in_core(self, package: str) -> None:
        self.assertEqual({name for name in importers(package) if inside(name, "core")}, set(), package)

    def test_no_twisted(self) -> None:
        self.assert_not_in_core("twisted")
        self.assert_not_in_core("zope")

    def test_no_io_and_no_clock(self) -> None:
        for module in ("socket", "ssl", "select", "selectors", "asyncio", "time", "datetime", "os", "subprocess"):
            self.assert_not_in_core(module)

    def test_libsodium(self) -> None:
        """Of the core only these, and above it what stores passphrases."""
        core = {"core.keys", "core.secretstream", "core.handshake"}
        self.assertEqual(importers("nacl"), core | {"passwords", "argon2"})

    def test_inner_module_of_pynacl(self) -> None:
        """One file knows it, however it is reached."""
        paths = [*MODULES.values(), PLUGIN]
        naming = [path.name for path in paths if re.search(r"\b_sodium\b", path.read_text(encoding="utf-8"))]
        self.assertEqual(naming, ["secretstream.py"])

    def test_wire_knows_no_state(self) -> None:
        """The structures are below the connection, the errors below everything."""
        self.assertEqual(own_imports("core.errors"), set())
        self.assertEqual(own_imports("core.wire"), {"core.errors"})
        self.assertEqual(own_imports("core.states"), set())
        self.assertEqual([name for name in MODULES if "core.handshake" in own_imports(name)], ["core.connection"])


class ReactorTests(SynchronousTestCase):
    """
    Importing us chooses no reactor.
    """

    def loaded(self, *modules: str) -> set[str]:
        """Import in a fresh interpreter; return the modules that are loaded then."""
        output = subprocess.run(
            [sys.executable, "-c", f"import sys, {', '.join(modules)}; print(*sorted(sys.modules))"],
            env={**os.environ, "PYTHONPATH": str(ROOT)},
            stdout=subprocess.PIPE,
            check=True,
        ).stdout
        return set(output.decode().split())

    def test_package(self) -> None:
        modules = self.loaded("sodiumtwist")
        self.assertIn("sodiumtwist.core.connection", modules)
        self.assertNotIn("twisted.internet.reactor", modules)

    def test_every_module(self) -> None:
        names = [f"sodiumtwist.{name}" for name in MODULES if name != "__init__"]
        self.assertNotIn("twisted.internet.reactor", self.loaded(*names))

    def test_core_without_twisted(self) -> None:
        """The core loads where there is no Twisted, but for the package around it."""
        program = (
            "import sys, types\n"
            f"package = types.ModuleType('sodiumtwist'); package.__path__ = [{str(PACKAGE)!r}]\n"
            "sys.modules['sodiumtwist'] = package; sys.modules['twisted'] = None\n"
            "import sodiumtwist.core.connection"
        )
        subprocess.run([sys.executable, "-c", program], check=True)


class PluginDirectoryTests(SynchronousTestCase):
    """
    ``twisted/`` beside us holds a plugin, and is no package: it would hide Twisted, or the plugin.
    """

    def test_no_init(self) -> None:
        self.assertTrue(PLUGIN.is_file())
        self.assertEqual(list((ROOT / "twisted").rglob("__init__.py*")), [])
