"""
How commands start: what they load, and Ctrl-C while they load it.
"""

from __future__ import annotations

import os
import signal
import sys

from ..processes import PUBLIC, SECRET, SODIUMTWIST, ProcessTestCase, Running, unmeasured

#: Runs the command line, and tells on standard error what was loaded at its end, and whether circles are looked for.
TELLING = [
    sys.executable,
    "-c",
    "import atexit, gc, sys; "
    "atexit.register(lambda: print('loaded', *sys.modules, *['collecting'] * gc.isenabled(), file=sys.stderr)); "
    "from sodiumtwist.__main__ import main; main()",
]

#: What no command needs that does not connect: each takes long to load.
OF_CONNECTIONS = """
    asyncio cryptography msgspec OpenSSL service_identity sqlite3 tqdm twisted.application twisted.cred twisted.internet
    twisted.logger twisted.plugin zope sodiumtwist.endpoints sodiumtwist.protocol sodiumtwist.transfer
    sodiumtwist.programs.commands sodiumtwist.programs.files sodiumtwist.programs.listening
    sodiumtwist.programs.progress sodiumtwist.programs.running sodiumtwist.programs.service_options
    sodiumtwist.programs.streams
"""

#: What only those need that look up a server, or are given a URL. Of contacts, all but what reads key files.
OF_SERVERS = """
    platformdirs tomllib tomlkit sodiumtwist.contacts.addresses sodiumtwist.contacts.urls
    sodiumtwist.contacts.servers sodiumtwist.contacts.servers_file sodiumtwist.contacts.lookup
    sodiumtwist.contacts.identities sodiumtwist.admission.invitations
    sodiumtwist.programs.asking sodiumtwist.programs.server_arguments sodiumtwist.programs.server_options
"""

#: What a client that sends over plain TCP does not need, where no server has a name: TLS, the other commands, the
#: services, what draws on a terminal, and what reads a list of servers.
OF_OTHERS = """
    OpenSSL service_identity twisted.protocols.tls cryptography.x509 tomllib tomlkit
    getpass sqlite3 tqdm nacl.pwhash twisted.application sodiumtwist.admission.argon2 sodiumtwist.admission.passwords
    sodiumtwist.admission.replay_database sodiumtwist.endpoints sodiumtwist.tunnel sodiumtwist.transfer.receiver
    sodiumtwist.transfer.stores sodiumtwist.transfer.tree.serving sodiumtwist.transfer.tree.storing
    sodiumtwist.transfer.tree.receiving sodiumtwist.programs.demo sodiumtwist.programs.keys
    sodiumtwist.programs.listening sodiumtwist.programs.passwd sodiumtwist.programs.services sodiumtwist.programs.tap
"""

#: What a service does not need that was given none of their options: metrics, a store and a configuration file.
OF_OPERATION = "prometheus_client redis tomlkit tomllib twisted.web sodiumtwist.operation.site"

#: Makes both services as ``twistd`` does, and tells what was loaded.
SERVING = """
import sys
from twisted.internet.testing import MemoryReactorClock
from sodiumtwist.programs import tap, tunneltap
tunnel = ["--listen", "1", "--to", "127.0.0.1:1", "--server-key", sys.argv[1]]
for service, words in (tap, ["--discard"]), (tunneltap, tunnel):
    options = service.Options()
    options.parseOptions(words)
    service.makeService(options, MemoryReactorClock())
print("loaded", *sys.modules, file=sys.stderr)
"""

#: A ``sitecustomize`` that sends Ctrl-C at the import that ``$MOMENT`` names, the first being that of the command line.
#: It tells at the end how many there were.
INTERRUPTING = """
import atexit, os, signal, sys

moment, count = int(os.environ["MOMENT"]), 0

def heed(event, arguments):
    global count
    if event == "import" and (count or arguments[0] == "sodiumtwist.programs.cli"):
        count += 1
        if count == moment:
            os.kill(os.getpid(), signal.SIGINT)

sys.addaudithook(heed)
atexit.register(lambda: print(count, "imports", file=sys.stderr))
"""


class LoadedTests(ProcessTestCase):
    """What commands load. It is counted, since time depends on the machine."""

    def loaded(self, *arguments: str) -> set[str]:
        """The modules of a command that ends well."""
        command = self.run_process([*TELLING, *arguments], env=unmeasured())
        self.assertEqual(command.wait(), 0, command.errors)
        return set(command.wait_for("^loaded (.*)")[1].split())

    def assert_without(self, modules: set[str], packages: str) -> None:
        """None of the packages is loaded, nor anything in them."""
        self.assertIn("sodiumtwist.programs.cli", modules)
        for package in packages.split():
            found = {name for name in modules if name == package or name.startswith(f"{package}.")}
            self.assertEqual(found, set(), package)

    def test_without_connection(self) -> None:
        """What connects nowhere loads neither the reactor nor anything around it."""
        with open(os.open(self.path("k"), os.O_WRONLY | os.O_CREAT, 0o600), "w") as file:
            file.write(SECRET)
        with open(os.open(self.path("p"), os.O_WRONLY | os.O_CREAT, 0o600), "w") as file:
            file.write("open sesame")
        for arguments in (
            ["--version"],
            ["--help"],
            ["send", "--help"],
            ["keygen"],
            ["pubkey", "k"],
        ):
            self.assert_without(self.loaded(*arguments), f"{OF_CONNECTIONS} {OF_SERVERS}")
        passwd = self.loaded("passwd", "--passphrase-file", "p", "users", "ann")
        self.assert_without(passwd, OF_CONNECTIONS)

    def test_send(self) -> None:
        """What sends loads the reactor, and nothing that only others need."""
        self.start_server("--file", "out")
        modules = self.loaded("send", "--key", PUBLIC, "--endpoint", self.endpoint, self.make_file("in", 2))
        self.assertIn("twisted.internet.reactor", modules)
        # What loads may do without; what may run for hours must not.
        self.assertIn("collecting", modules)
        self.assert_without(modules, OF_OTHERS)
        # Version 1 knows nothing of files that have names.
        one = self.loaded("send", "--key", PUBLIC, "--endpoint", self.endpoint, "--protocol", "1", "in")
        self.assert_without(one, f"{OF_OTHERS} msgspec sodiumtwist.transfer.tree sodiumtwist.programs.files")

    def test_services(self) -> None:
        """A server and a tunnel load nothing for what they were not asked for."""
        command = self.run_process([sys.executable, "-c", SERVING, PUBLIC], env=unmeasured())
        self.assertEqual(command.wait(), 0, command.errors)
        modules = set(command.wait_for("^loaded (.*)")[1].split())
        self.assertIn("sodiumtwist.programs.status_companion", modules)
        for package in OF_OPERATION.split():
            self.assertEqual({name for name in modules if f"{name}.".startswith(f"{package}.")}, set())


class InterruptedTests(ProcessTestCase):
    """Ctrl-C during the start."""

    def setUp(self) -> None:
        super().setUp()
        os.mkdir(self.path("site"))
        with open(self.path("site", "sitecustomize.py"), "w") as file:
            file.write(INTERRUPTING)
        self.make_file("in", 2)

    def start(self, moment: int, *arguments: str, disposition: signal.Handlers = signal.SIG_DFL) -> Running:
        """Start a command that gets Ctrl-C at an import, 0 for none; and say what Ctrl-C does to it by itself."""
        environment = unmeasured(PYTHONPATH=self.path("site"), MOMENT=str(moment))
        return self.run_process(
            [*SODIUMTWIST, *arguments], env=environment, preexec_fn=lambda: signal.signal(signal.SIGINT, disposition)
        )

    def test_any_moment(self) -> None:
        """One line and status 130, whatever is being imported."""
        nobody = ["--key", PUBLIC, "--endpoint", "tcp:127.0.0.1:1"]
        for arguments in (["--version"], ["send", *nobody, "in"]):
            whole = self.start(0, *arguments)
            last = int(whole.wait_for(r"^(\d+) imports$")[1])
            self.assertGreater(last, 20)
            step = last // 6
            # Two at a time; the last moments of all, when the interpreter ends, are not ours.
            for first in range(1, last - 2 * step, 2 * step):
                for interrupted in [self.start(first + later, *arguments) for later in (0, step)]:
                    self.assertEqual((interrupted.wait(), interrupted.output), (130, []), interrupted.errors)
                    told = [line for line in interrupted.errors if not line.endswith(" imports")]
                    self.assert_one_line(told, "^sodiumtwist: interrupted")

    def test_ignored(self) -> None:
        """Who has Ctrl-C ignored, as nohup and shells do for what runs in the background, goes on."""
        ignoring = self.start(10, "--version", disposition=signal.SIG_IGN)
        self.assertEqual(ignoring.wait(), 0)
        self.assertEqual(len(ignoring.output), 1)
