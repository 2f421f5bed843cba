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

#: Every module of the package, folder by folder from the ground up: each imports only from folders above it in
#: this table and, in its own folder, only what stands before it here, also for types alone. So there are no
#: circles, and this is an order to read them in. A folder's door, its ``__init__``, comes behind what it offers.
FOLDERS = {
    "lazy_names": "lazy_names",
    # The protocol: no Twisted, no IO, no clock.
    "core": """
        core.errors  core.credentials  core.keys  core.sodium  core.states  core.keepalive  core.events  core.inbox
        core.strangers  core.unsent  core.version
        core.v1.messages  core.v1.secretstream  core.v1.public_bindings  core.v1.inner_bindings  core.v1.records
        core.v1.handshake  core.v1
        core.v2.suites  core.v2.chacha  core.v2.agreement  core.v2.noise  core.v2.veil  core.v2.messages
        core.v2.handshake
        core.v2.sealing  core.v2.public_bindings  core.v2.inner_bindings  core.v2.records
        core.v2.pdus  core.v2.states  core.v2.incoming  core.v2.outgoing  core.v2.asker  core.v2.answerer
        core.v2.pings  core.v2.dialogue  core.v2.session  core.v2
        core.wire  core.base  core.asking  core.server  core.client  core.connection  core
    """,
    # Words for people, and what applications learn about the other end.
    "describe": """
        describe.sizes  describe.words  describe.events  describe.log  describe.fingerprints  describe  interfaces
    """,
    # Who may come in, and the files that say so: whose they are, who may use them, when the disk has them.
    "admission": """
        admission.replacing
        admission.files  admission.marks  admission.updating  admission.invitations
        admission.checkers  admission.watched  admission.authorized  admission.joining
        admission.passwords  admission.networks  admission.regulars  admission.fair_queue  admission.argon2
        admission.plaintext  admission.checker_strings  admission.replays  admission.shared_store
        admission.stored_salts  admission.replay_database  admission.count_min_sketch  admission.shared_counts
        admission.summed_lines
        admission.failed_logins  admission.reported  admission.limits  admission.decision
        admission
    """,
    # Whom we know: addresses and URLs of servers, their keys, and servers by name.
    "contacts": """
        contacts.addresses  contacts.urls  contacts.servers_file  contacts.servers
        contacts.keyfiles  contacts.identities  contacts.lookup
        contacts
    """,
    # The Twisted face of one connection.
    "protocol": """
        protocol.clock  protocol.log_names  protocol.unread  protocol.observing  protocol.context  protocol.producers
        protocol.direct
        protocol.sockets  protocol.ports  protocol.proxy_header  protocol.rounds  protocol.client_endpoints
        protocol.outbox  protocol.reading  protocol.no_hello
        protocol.farewell  protocol.lifecycle  protocol.census  protocol.base  protocol.server  protocol.draining
        protocol.client
        protocol.asking  protocol.answering  protocol.requests
        protocol.factories  protocol
    """,
    # What is made of it.
    "endpoints": """
        endpoints.transport  endpoints.tls  endpoints.ends  endpoints.streams  endpoints.connect  endpoints.reconnecting
        endpoints.wrappers
        endpoints.strings  endpoints
    """,
    "transfer": """
        transfer.acknowledgements  transfer.discarding  transfer.pipes  transfer.sources  transfer.disk
        transfer.partials  transfer.turns  transfer.shared_turn  transfer.uploads  transfer.stores  transfer.sender
        transfer.tree.messages
        transfer.tree.pieces
        transfer.tree.disk_thread
        transfer.tree.names
        transfer.tree.quota
        transfer.tree.charges
        transfer.tree.spelling
        transfer.tree.descriptors
        transfer.tree.folders
        transfer.tree.roots
        transfer.tree.system_calls
        transfer.tree.temporaries
        transfer.tree.digests
        transfer.tree.on_stored
        transfer.tree.growing
        transfer.tree.batches
        transfer.tree.renaming
        transfer.tree.placing
        transfer.tree.leftovers
        transfer.tree.present
        transfer.tree.deciding
        transfer.tree.arriving
        transfer.tree.settling
        transfer.tree.storing
        transfer.tree.channel
        transfer.tree.report
        transfer.tree.telling
        transfer.tree.receiving
        transfer.tree.walking
        transfer.tree.listing
        transfer.tree.reading
        transfer.tree.feeding
        transfer.tree.sending
        transfer.tree.place
        transfer.tree.work
        transfer.tree.storage
        transfer.tree.delivery
        transfer.tree.serving
        transfer.tree.server_end
        transfer.tree.client
        transfer.tree
        transfer.receiver
        transfer
    """,
    "tunnel": "tunnel",
    "package": "testing  __init__",
    # What whoever is on call needs.
    "operation": """
        operation.companions  operation.redis_store  operation.certificates  operation.notify  operation.logs
        operation.lines  operation.orders  operation.folders  operation.adopting  operation.share  operation.workers
        operation.values  operation.histograms  operation.lag  operation.status  operation.metrics
        operation.exposition  operation.service_status  operation.workers_status  operation.page  operation.recent
        operation.site
        operation
    """,
    # Programs.
    "programs": """
        programs.interrupts  programs.exits  programs.output  programs.pidfile  programs.service_user
        programs.sizes  programs.settings  programs.silent_servers  programs.refusals  programs.without_tls
        programs.completers  programs.options  programs.configuration  programs.check
        programs.rereading  programs.service_options
        programs.completion_words  programs.completion_bash  programs.completion_fish  programs.completion_zsh
        programs.completion
        programs.asking  programs.server_options  programs.server_arguments
        programs.descriptors
        programs.leftovers  programs.place_options  programs.places
        programs.endpoint_strings  programs.renewing
        programs.inherited  programs.listening  programs.store_options  programs.status_companion  programs.accompanying
        programs.shown_commands  programs.door  programs.services  programs.tap  programs.tunneltap
        programs.worker  programs.running  programs.keys
        programs.passwd  programs.inviting  programs.durations  programs.reached
        programs.command_options  programs.key_options  programs.bars
        programs.progress  programs.commands  programs.streams  programs.sessions  programs.files
        programs.standard_output  programs.pipe
        programs.client_options  programs.join  programs.book  programs.book_options
        programs.demo  programs.cli  programs  __main__
    """,
}

#: These stand side by side: none imports from another.
SIDE_BY_SIDE = ("endpoints", "transfer", "tunnel")

ORDER = [name for names in FOLDERS.values() for name in names.split()]
FOLDER_OF = {name: folder for folder, names in FOLDERS.items() for name in names.split()}


def name_of(path: Path) -> str:
    """The name of a module within the package: ``core.wire``, ``core``, ``__init__``."""
    names = list(path.relative_to(PACKAGE).with_suffix("").parts)
    if len(names) > 1 and names[-1] == "__init__":
        names.pop()
    return ".".join(names)


class WithoutTypes(ast.NodeTransformer):
    """Leaves out what only type checkers see."""

    def visit_If(self, node: ast.If) -> ast.AST:
        if ast.unparse(node.test).removeprefix("typing.") == "TYPE_CHECKING":
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
        self.assertIn("core.states", own_imports("core.server"))
        self.assertEqual(own_imports("__main__"), {"programs.cli", "programs.interrupts"})
        self.assertIn("__init__", own_imports("programs.options"))

    def test_nothing_is_imported_by_its_name(self) -> None:
        """The scan would not see that. What a door looks up that way, it has as an import for type checkers, too."""
        for name, path in MODULES.items():
            if name != "lazy_names":
                self.assertNotRegex(path.read_text(encoding="utf-8"), r"\bimport_module\b|\b__import__\b", name)


class FolderTests(SynchronousTestCase):
    """
    Imports point down the list of folders.
    """

    def test_every_module_has_its_place(self) -> None:
        """In its folder, but for the few files that lie beside the folders."""
        self.assertEqual(sorted(ORDER), sorted(MODULES))
        for name, folder in FOLDER_OF.items():
            if "." in name:
                self.assertEqual(name.partition(".")[0], folder, name)

    def test_imports_point_down(self) -> None:
        """From folder to folder and within each, be it for types alone. So there are no circles."""
        up = [
            f"{name} imports {other}"
            for name in MODULES
            for other in own_imports(name)
            if ORDER.index(other) >= ORDER.index(name)
        ]
        self.assertEqual(up, [])

    def test_side_by_side(self) -> None:
        """Files, streams and tunnels know nothing of each other."""
        across = [
            f"{name} imports {other}"
            for name in MODULES
            for other in own_imports(name)
            if FOLDER_OF[name] != FOLDER_OF[other] and {FOLDER_OF[name], FOLDER_OF[other]} <= set(SIDE_BY_SIDE)
        ]
        self.assertEqual(across, [])

    def test_versions_are_the_cores_own(self) -> None:
        """Nothing above the core knows which version is spoken."""
        self.assertEqual({name for name in importers("sodiumtwist.core.v1") if not inside(name, "core")}, set())


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
        core = {"core.keys", "core.sodium", "core.v1.secretstream", "core.v1.public_bindings", "core.v1.handshake"}
        core |= {
            "core.v2.agreement",
            "core.v2.handshake",
            "core.v2.public_bindings",
            "core.v2.session",
            "core.v2.veil",
        }
        self.assertEqual(importers("nacl"), core | {"admission.passwords", "admission.argon2"})

    def test_inner_bindings_of_pynacl(self) -> None:
        """One file knows it, however it is reached."""
        paths = [*MODULES.values(), PLUGIN]
        naming = [path.name for path in paths if re.search(r"\b_sodium\b", path.read_text(encoding="utf-8"))]
        self.assertEqual(naming, ["sodium.py"])

    def test_messages_know_no_state(self) -> None:
        """The structures are below the connection, the errors below everything."""
        self.assertEqual(own_imports("core.errors"), set())
        self.assertEqual(own_imports("core.v1.messages"), {"core.errors", "core.credentials", "core.keys"})
        self.assertEqual(own_imports("core.states"), set())
        users = [name for name in MODULES if "core.v1.handshake" in own_imports(name)]
        self.assertEqual(users, ["core.client", "core.server"])


class ReactorTests(SynchronousTestCase):
    """
    Importing us chooses no reactor.
    """

    def loaded(self, *modules: str, then: str = "pass") -> set[str]:
        """Import in a fresh interpreter; return the modules that are loaded then."""
        output = subprocess.run(
            [sys.executable, "-c", f"import sys, {', '.join(modules)}; {then}; print(*sorted(sys.modules))"],
            env={**os.environ, "PYTHONPATH": str(ROOT)},
            stdout=subprocess.PIPE,
            check=True,
        ).stdout
        return set(output.decode().split())

    def test_package(self) -> None:
        """Nor does using any name of it; importing it loads nothing else of ours."""
        modules = self.loaded("sodiumtwist")
        self.assertEqual(
            {name for name in modules if inside(name, "sodiumtwist")}, {"sodiumtwist", "sodiumtwist.lazy_names"}
        )
        names = "; ".join(f"sodiumtwist.{name}" for name in sodiumtwist.__all__)
        modules = self.loaded("sodiumtwist", then=names)
        self.assertIn("sodiumtwist.core.connection", modules)
        self.assertNotIn("twisted.internet.reactor", modules)

    def test_every_module(self) -> None:
        names = [f"sodiumtwist.{name}" for name in MODULES if name != "__init__"]
        self.assertNotIn("twisted.internet.reactor", self.loaded(*names))

    def test_core_without_twisted(self) -> None:
        """The core loads where there is no Twisted."""
        program = "import sys; sys.modules['twisted'] = sys.modules['zope'] = None; import sodiumtwist.core.connection"
        subprocess.run([sys.executable, "-c", program], env={**os.environ, "PYTHONPATH": str(ROOT)}, check=True)


class PluginDirectoryTests(SynchronousTestCase):
    """
    ``twisted/`` beside us holds a plugin, and is no package: it would hide Twisted, or the plugin.
    """

    def test_no_init(self) -> None:
        self.assertTrue(PLUGIN.is_file())
        self.assertEqual(list((ROOT / "twisted").rglob("__init__.py*")), [])
