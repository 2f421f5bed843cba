"""
``twistd sodium``: its options, and how it starts and stops.
"""

from __future__ import annotations

import errno
import io
import itertools
import os
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from twisted.cred.credentials import UsernamePassword
from twisted.cred.error import UnauthorizedLogin
from twisted.cred.strcred import findCheckerFactory
from twisted.internet.address import IPv4Address, IPv6Address, UNIXAddress
from twisted.internet.defer import Deferred, fail, succeed
from twisted.internet.error import CannotListenError, ConnectionDone
from twisted.internet.testing import MemoryReactorClock
from twisted.logger import formatEvent
from twisted.trial.unittest import SynchronousTestCase

from sodiumtwist import (
    KeyPair,
    PeerAborted,
    ReplayDatabase,
    SingleLogin,
    SodiumClientFactory,
    SodiumServerFactory,
    SodiumServerProtocol,
)
from sodiumtwist.admission import joining
from sodiumtwist.admission.invitations import Invitation
from sodiumtwist.admission.joining import add_invitation
from sodiumtwist.admission.passwords import set_password
from sodiumtwist.admission.replays import ReplayMemory
from sodiumtwist.admission.stored_salts import StoredSalts
from sodiumtwist.contacts.keyfiles import write_key_file
from sodiumtwist.core.connection import RecentSalts
from sodiumtwist.core.errors import UnsupportedProtocol
from sodiumtwist.programs import interrupts, options, services, shown_commands
from sodiumtwist.programs.door import DOOR_TIME
from sodiumtwist.programs.endpoint_strings import is_local, path_of_socket, socket_remedy
from sodiumtwist.programs.listening import SAME_SIGNAL
from sodiumtwist.programs.services import SodiumService
from sodiumtwist.programs.settings import ServerSettings
from sodiumtwist.programs.shown_commands import invite_command, pipe_command, send_command, tunnel_command
from sodiumtwist.programs.tap import Options, makeService
from sodiumtwist.protocol.draining import DRAIN_TIMEOUT
from sodiumtwist.transfer.receiver import UploadFactory
from sodiumtwist.transfer.stores import DirectoryStore

from .. import NO_FOLDERS
from ..admission.test_passwords import cheap
from ..logs import logged
from ..pair import MemoryTransport, Pair, RecordingClient, build
from ..processes import PUBLIC, SECRET, with_place
from ..signals import as_at_start, come
from ..threads import HereAndNow
from ..uploads import MemoryStore


def lacks_ml_kem() -> None:
    """In place of :func:`~sodiumtwist.core.v2.agreement.check_supported`, on a machine that is too old."""
    raise UnsupportedProtocol("version 2 needs ML-KEM-768, which is missing from cryptography 41.0.0 with OpenSSL 3.0")


def only(version: int) -> str:
    """What the command for a client adds where the server speaks one version alone."""
    return "" if version == int(options.DEFAULT_PROTOCOL) else f" --protocol {version}"


class TapTestCase(SynchronousTestCase):
    """Has a directory of its own as the working directory, and no variables of ours."""

    def setUp(self) -> None:
        self.directory = tempfile.mkdtemp(prefix="sodiumtwist-test-")
        self.addCleanup(shutil.rmtree, self.directory)
        self.addCleanup(os.chdir, os.getcwd())
        os.chdir(self.directory)
        self.patch(os, "environ", {"PATH": os.environ["PATH"], **NO_FOLDERS})

    def write(self, name: str, text: str, mode: int = 0o600) -> None:
        with open(name, "w") as file:
            file.write(text)
        os.chmod(name, mode)

    def parse(self, *arguments: str) -> Options:
        options = Options()
        options.parseOptions(with_place(arguments))
        return options


class OptionsTests(TapTestCase):
    """The command line."""

    def test_defaults(self) -> None:
        """They are the reference program's, on loopback."""
        settings = self.parse().settings
        self.assertEqual(settings.endpoints, ("127.0.0.1:5555",))
        self.assert_lets_in(settings, "username", "passphrase")
        self.assertEqual((settings.user, settings.default_passphrase), ("username", True))
        self.assertEqual(settings.message, "Welcome.")
        timeouts = settings.timeouts
        self.assertEqual((timeouts.authentication, timeouts.inactivity, timeouts.ping_interval), (10, 180, 60))
        self.assertTrue(settings.fresh_pair)

    def test_pings_follow_the_inactivity_time(self) -> None:
        """Where they are not set: an idle connection must live. What is set must go together."""
        for arguments, expected in (
            (["--inactivity-timeout", "3"], (3, 1)),
            (["--inactivity-timeout", "1000"], (1000, 60)),
            (["--inactivity-timeout", "4", "--ping-interval", "1"], (4, 1)),
            (["--inactivity-timeout", "120", "--ping-interval", "60"], (120, 60)),
        ):
            timeouts = self.parse(*arguments).settings.timeouts
            self.assertEqual((timeouts.inactivity, timeouts.ping_interval), expected)

    def assert_lets_in(self, settings: ServerSettings, login: str, passphrase: str) -> None:
        """With this login and passphrase a client gets in, with another passphrase not."""
        assert isinstance(settings.checker, SingleLogin)
        right, wrong = (UsernamePassword(login.encode(), text.encode()) for text in (passphrase, f"{passphrase}x"))
        self.assertEqual(settings.checker.requestAvatarId(right), login.encode())
        self.assertRaises(UnauthorizedLogin, settings.checker.requestAvatarId, wrong)

    def test_key_sources(self) -> None:
        """The key comes from an option, a file or the environment."""
        pair = KeyPair.from_hex(SECRET)
        self.assertEqual(self.parse("-k", SECRET).settings.pair, pair)
        write_key_file("server.key", pair)
        self.assertEqual(self.parse("--key-file", "server.key").settings.pair, pair)
        os.environ["SODIUMTWIST_KEY"] = SECRET
        self.assertEqual(self.parse().settings.pair, pair)
        self.assertFalse(self.parse().settings.fresh_pair)

    def test_more_than_one_key(self) -> None:
        """Any two sources of the key exclude each other."""
        write_key_file("server.key", KeyPair.generate())
        both = ["-k", SECRET, "--key-file", "server.key"]
        os.environ["SODIUMTWIST_KEY"] = SECRET
        for arguments in (both, both[:2], both[2:]):
            error = self.assertRaises(SystemExit, self.parse, *arguments)
            self.assertIn("the private key comes from", str(error))
            self.assertNotIn(SECRET, str(error))

    def test_passphrase_file(self) -> None:
        """Its first line counts, and a file that others can read is warned of."""
        self.write("pass", "zwei W\u00f6rter\nmore\n")
        settings = self.parse("--passphrase-file", "pass").settings
        self.assert_lets_in(settings, "username", "zwei W\u00f6rter")
        self.assertEqual((settings.default_passphrase, settings.warning), (False, None))
        self.write("pass", "x\r\n", 0o644)
        settings = self.parse("--passphrase-file", "pass").settings
        self.assert_lets_in(settings, "username", "x")
        assert settings.warning is not None
        self.assertIn("chmod 600 pass", settings.warning)

    def test_endpoints(self) -> None:
        """--endpoint may be repeated, and replaces the default."""
        settings = self.parse("-e", "unix:a", "--endpoint", "unix:b").settings
        self.assertEqual(settings.endpoints, ("unix:a", "unix:b"))

    def test_file_grace(self) -> None:
        """Each file of who may come in gets it, whatever stands first on the command line."""
        set_password("users", "ann", cheap("secret"))
        self.write("keys", "")
        files = ("--auth", "argon2:users", "--authorized-keys", "keys")
        grace = ("--limit", "file-grace=2.5")
        for arguments, seconds in [((*files, *grace), 2.5), ((*grace, *files), 2.5), (files, 60.0)]:
            settings = self.parse(*arguments).settings
            self.assertEqual([file.grace for file in settings.files], [seconds] * 2)
        self.assertEqual(self.parse(*grace).settings.files, ())
        for wrong in ("-1", "nan", "inf"):
            self.assertRaises(SystemExit, self.parse, *files, "--limit", f"file-grace={wrong}")

    def test_plaintext_passphrases(self) -> None:
        """Their file must be there, and stays the same behind twistd --rundir. Twisted says nothing of its own."""
        self.write("plain", "ann:secret\n")
        checker = self.parse("--auth", "file:plain").settings.checker
        os.mkdir("other")
        os.chdir("other")
        assert checker is not None
        login = checker.requestAvatarId(UsernamePassword(b"ann", b"secret"))
        self.assertEqual(self.successResultOf(login), b"ann")
        said = io.StringIO()
        self.patch(findCheckerFactory("file"), "errorOutput", said)
        error = self.assertRaises(SystemExit, self.parse, "--auth", "file:missing")
        self.assertRegex(
            str(error), "^sodium: authentication by 'file': /.*/other/missing: No such file or directory; see "
        )
        self.assertEqual(said.getvalue(), "")

    def make_service(self, *arguments: str) -> None:
        makeService(self.parse(*arguments), MemoryReactorClock())

    def test_versions(self) -> None:
        """Clients speak what they like, unless one version alone is asked for; its clocks may be a day apart."""
        for arguments, versions, tolerance in (
            ([], (1, 2), 86400),
            (["--protocol", "1"], (1,), 86400),
            (["--protocol", "2", "--limit", "clock-tolerance=0.5"], (2,), 0.5),
        ):
            options = self.parse(*arguments)
            settings = options.settings
            self.assertEqual((settings.versions, settings.tolerance), (versions, tolerance))
            factory = makeService(options, MemoryReactorClock())._factory
            self.assertEqual(factory.versions, versions)
            connection = factory.make_connection(0)
            self.assertEqual(
                connection._version_2 and connection._version_2.tolerance, tolerance if 2 in versions else None
            )

    def test_one_memory(self) -> None:
        """A database serves both versions: handshakes of the first, first flights of the second."""
        for arguments, stored in (([], False), (["--replay-db", "db", "--limit", "clock-tolerance=5"], True)):
            options = self.parse(*arguments)
            factory = makeService(options, MemoryReactorClock())._factory
            version_2 = factory.make_connection(0)._version_2
            assert version_2 is not None
            salts = version_2.salts
            self.assertIsInstance(salts, StoredSalts if stored else RecentSalts)
            self.assertIs(getattr(options.settings.replays, "salts", None), salts if stored else None)

    def test_long_passphrase(self) -> None:
        """A token fits where version 2 is spoken, in a file, too."""
        token = "x" * 4096
        self.write("pass", f"{token}\nmore\n")
        for arguments in (["-P", token], ["--passphrase-file", "pass", "--protocol", "2"]):
            self.assert_lets_in(self.parse(*arguments).settings, "username", token)
        self.write("pass", f"{token}\n{'more' * 1024}")
        self.assertRaises(SystemExit, self.parse, "--passphrase-file", "pass")

    def test_no_ml_kem(self) -> None:
        """Where it is missing, nothing starts that needs it; the one line tells the way out."""
        self.patch(options, "check_supported", lacks_ml_kem)
        for arguments in ([], ["--protocol", "2"]):
            error = self.assertRaises(SystemExit, self.parse, *arguments)
            self.assertRegex(str(error), r"^sodium: version 2 needs ML-KEM-768, .*; .* give --protocol 1, [^\n]*$")
        self.parse("--protocol", "1")

    def test_mistakes(self) -> None:
        """Each mistake is one line that says what is wrong; none shows a secret."""
        self.write("open.key", SECRET, 0o644)
        self.write("group.key", SECRET, 0o640)
        self.write("short.key", "abc")
        self.write("long.key", "a" * 5000)
        self.write("empty.pass", "\nsecond")
        self.write("taken", "")
        self.write("keys", "nonsense\n")
        for arguments, line in [
            (["-k", "zz"], "the private key has 2 characters; it is 64 hex digits"),
            (["-k", "g" * 64], "the private key holds characters other than 0-9 and a-f"),
            (["--key-file", "missing"], "missing: No such file or directory"),
            (["--key-file", "open.key"], "others can read the key file open.key (mode 644); run: chmod 600 open.key"),
            (["--key-file", "group.key"], "chmod 600 group.key"),
            (["--key-file", "short.key"], "short.key: the private key has 3 characters"),
            (["--key-file", "long.key"], "long.key is over 4 KiB long"),
            (["-e", "nonsense:x"], "--endpoint: bad endpoint string 'nonsense:x'"),
            (["-e", "tcp"], "'tcp': it lacks 'port'; a right one is for instance 127.0.0.1:5555"),
            (["--forward", "tcp:host"], "--forward: bad endpoint string 'tcp:host': it lacks 'port'"),
            (["--forward", "tcp:a..b:1"], "--forward: bad endpoint string 'tcp:a..b:1': 'a..b' can't be a host's name"),
            (["-e", "tcp:5555"], "choose one with --passphrase-file"),
            (["-e", "tcp:5555:interface=0.0.0.0", "-U", "me"], "choose one with --passphrase-file"),
            (["-e", "0.0.0.0:5555"], "tcp:5555:interface=0.0.0.0 can be reached from elsewhere, and the passphrase is"),
            (["-e", "*:5555"], "tcp:5555 can be reached from elsewhere, and the passphrase is the default one"),
            (["-e", "[::]:5555"], r"tcp:5555:interface=\:\: can be reached from elsewhere"),
            (["-e", "example.org"], "tcp:5555:interface=example.org can be reached from elsewhere"),
            (
                ["-e", "127.0.0.1:5555", "-e", "10.1.2.3:5555"],
                "tcp:5555:interface=10.1.2.3 can be reached from elsewhere",
            ),
            (["-e", "::1:5555"], "an IPv6 address stands in brackets"),
            (["-e", "tcp:5555", "-P", "passphrase"], "choose one with --passphrase-file"),
            (["-P", "a", "--passphrase-file", "b"], "from --passphrase and from --passphrase-file; use one"),
            (["--passphrase-file", "empty.pass"], "begins with an empty line"),
            (["--passphrase-file", "missing"], "missing: No such file or directory"),
            (["-f", "a", "-d", "b"], "exclude each other"),
            (["-f", "a", "--discard"], "--file and --discard exclude each other"),
            (["--forward", "tcp:h:1", "--discard"], "--forward and --discard exclude each other"),
            (["-f", "."], "cannot write to .: it is a directory; use --directory"),
            (["-f", "missing/out"], "/missing: No such file or directory"),
            (["-d", "taken"], "/taken: it is no directory; use --file"),
            (["--max-upload", "0"], "--max-upload takes a size from 1, such as 500M or 10G, not '0'"),
            (["--max-upload", "much"], "--max-upload takes a size from 1, such as 500M or 10G, not 'much'"),
            (["--min-free", "-1"], "--min-free takes a size from 0, such as 500M or 10G, not '-1'"),
            (["-d", "missing/up"], "/missing: No such file or directory"),
            (["-U", "x" * 256], "the login is 256 bytes long as UTF-8; at most 255 bytes fit"),
            (["-U", "x" * 129, "-P", "p", "--protocol", "1"], "the login is 129 bytes long as UTF-8; at most 128"),
            (["-P", ""], "--passphrase is empty; give a passphrase, or leave it out"),
            (["-P", "x" * 4097], "the passphrase is 4097 bytes long"),
            (
                ["-P", "x" * 129, "--protocol", "1"],
                "the passphrase is 129 bytes long as UTF-8; at most 128 bytes fit with --protocol 1; version 2 takes ",
            ),
            (["--protocol", "3"], "--protocol takes 1 or 2, not '3'"),
            (["--limit", "clock-tolerance=-1"], "takes a number of seconds, or 0 for any clock, not -1"),
            (["--limit", "clock-tolerance=nan"], "takes a number of seconds, or 0 for any clock, not nan"),
            (["--message", "x" * 129], "the message is 129 bytes long"),
            (["--message", "x" * 105], "the message has more than 104 bytes as UTF-8; a server that discards"),
            (["--message", "Hi. (uploads are discarded)", "-d", "up"], "which only a server may say that keeps none"),
            (["--auth-timeout", "0"], "the authentication time takes a number of seconds over 0"),
            (["--ping-interval", "nan"], "the ping interval time takes a number of seconds over 0"),
            (
                ["--inactivity-timeout", "3", "--ping-interval", "2"],
                "with a PING every 2 to 3.96667 seconds, a connection on which nothing else is sent would not live "
                "with an inactivity time of 3 seconds; take an inactivity time of at least 4 or a PING interval of at "
                "most 1.5 seconds",
            ),
            (["--ping-interval", "91"], "an inactivity time of 180 seconds; take an inactivity time of at least 182"),
            (["--ping-interval", "often"], "--ping-interval takes a number of seconds, not 'often'"),
            (["--inactivity-timeout", "soon"], "--inactivity-timeout takes a number of seconds, not 'soon'"),
            (["--tcp-keepalive", "soon"], "--tcp-keepalive takes a number of seconds, not 'soon'"),
            (["--tcp-keepalive", "40000"], "TCP keepalive takes 1 to 32767 seconds, or 0 for none, not 40000.0"),
            (["--auth", "none"], "--auth none lets anybody in; give --authorized-keys, too"),
            (["--auth", "none", "--passphrase", "x"], "--auth none excludes"),
            (["--auth", "argon2:missing"], "missing"),
            (["--auth", "oracle"], "unknown kind"),
            (["--authorized-keys", "missing"], "missing: No such file"),
            (["--authorized-keys", "keys"], "line 1: "),
            (["--limit", "conections=1"], "--limit takes one of connections, unauthenticated, per-address"),
            (["--limit", "connections=many"], "--limit connections= takes a number, not 'many'"),
            (["--limit", "connections=0"], "the limit connections takes a whole number from 1, not 0"),
            (["--limit", "rekey-size=0"], "a new key takes a size from 1 byte"),
            (["stray"], "unexpected argument 'stray'"),
            (["--nonsense"], "--nonsense"),
        ]:
            error = self.assertRaises(SystemExit, self.make_service, *arguments)
            self.assertIn(line, str(error))
            self.assertTrue(str(error).startswith("sodium: "))
            self.assertNotIn("\n", str(error))
            self.assertNotIn(SECRET, str(error))
        error = self.assertRaises(SystemExit, Options().parseOptions, [])
        self.assertIn(
            "nothing says where uploads go; give --directory, --file, --forward, or --discard to keep none", str(error)
        )


class LocalTests(SynchronousTestCase):
    """With the default login only this machine may connect."""

    def test_is_local(self) -> None:
        """Loopback and UNIX sockets are local; all else, and what can't be known, is not."""
        for description, local in [
            ("tcp:5555:interface=127.0.0.1", True),
            ("tcp:5555:interface=127.1.2.3", True),
            ("tcp:5555:interface=localhost", True),
            (r"tcp6:5555:interface=\:\:1", True),
            ("unix:/run/sodium", True),
            ("haproxy:tcp:5555:interface=127.0.0.1", True),
            ("tcp:5555", False),
            ("tcp:5555:interface=0.0.0.0", False),
            ("tcp:5555:interface=192.0.2.1", False),
            ("tcp:5555:interface=example.org", False),
            ("tcp6:5555", False),
            ("haproxy:tcp:5555", False),
            ("fd:domain=INET:index=3", False),
        ]:
            self.assertIs(is_local(description), local, description)


class ClosingMemory(ReplayMemory):
    """
    One that is closed.

    :ivar closings: how often it was asked to.
    """

    def __init__(self, closed: Deferred[None]) -> None:
        super().__init__()
        self.closings = 0
        self._closed = closed

    def close(self) -> Deferred[None]:
        self.closings += 1
        return self._closed


class ServiceTests(TapTestCase):
    """Starting and stopping without a network."""

    def setUp(self) -> None:
        super().setUp()
        self.patch(services, "DiskThread", HereAndNow)

    def make(self, *arguments: str) -> SodiumService:
        self.reactor = MemoryReactorClock()
        return makeService(self.parse(*arguments), self.reactor)

    def test_listens_once(self) -> None:
        """twistd calls both start methods, twist only one; each makes it listen once."""
        for methods in (["privilegedStartService", "startService"], ["startService"]):
            service = self.make("-k", SECRET)
            for method in methods:
                getattr(service, method)()
            self.assertEqual([server[0] for server in self.reactor.tcpServers], [5555])
            self.assertEqual(self.reactor.tcpServers[0][3], "127.0.0.1")

    def test_addresses(self) -> None:
        """An address is the interface alone that has it; a port alone is on loopback."""
        for where, expected in (
            (["-e", "7000"], [(7000, "127.0.0.1")]),
            (["-e", ":7000"], [(7000, "127.0.0.1")]),
            (["-e", "127.0.0.1:7000", "-e", "[::1]:7001"], [(7000, "127.0.0.1"), (7001, "::1")]),
            (["-e", "localhost"], [(5555, "localhost")]),
            (["-e", "0.0.0.0:7000", "-P", "secret"], [(7000, "0.0.0.0")]),
            (["-e", "[::]:7000", "-P", "secret"], [(7000, "::")]),
            (["-e", "*:7000", "-P", "secret"], [(7000, "")]),
            (["-e", "tcp6:[::1]:7000"], [(7000, "::1")]),
        ):
            self.make("-k", SECRET, *where).startService()
            self.assertEqual([(server[0], server[3]) for server in self.reactor.tcpServers], expected)

    def test_forward(self) -> None:
        """Streams go to an address, as clients write it; a port alone is of this machine."""
        for where, expected in (
            ("6379", ("127.0.0.1", 6379)),
            ("10.1.2.3:6379", ("10.1.2.3", 6379)),
            ("[::1]:6379", ("::1", 6379)),
            ("tcp:[::1]:6379", ("::1", 6379)),
        ):
            options = Options()
            options.parseOptions(["-k", SECRET, "--forward", where])
            tunnels: Any = makeService(options, MemoryReactorClock())._factory
            endpoint = tunnels.application.endpoint
            self.assertEqual((endpoint._host, endpoint._port), expected)

    def test_not_an_address_of_ours(self) -> None:
        """Who writes down what others connect to, behind a router, is told what is meant."""
        for error, helps in (
            (OSError(errno.EADDRNOTAVAIL, "Cannot assign requested address"), True),
            (socket.gaierror(socket.EAI_NONAME, "Name or service not known"), True),
            (OSError(errno.EADDRINUSE, "Address already in use"), False),
        ):
            events = logged(self)
            service = self.make("-k", SECRET, "-P", "secret", "-e", "192.0.2.1:7000")
            taken: Deferred[None] = fail(CannotListenError("192.0.2.1", 7000, error))
            self.patch(service._endpoints[0][1], "listen", lambda factory, taken=taken: taken)
            self.assertRaises(SystemExit, service.startService)
            told = formatEvent(events[-1])
            line = f"sodium: cannot listen on tcp:7000:interface=192.0.2.1: {error.strerror}"
            remedy = "; a server's address is one of this machine's own, and 0.0.0.0:PORT is all of them"
            self.assertEqual(told, line + remedy * helps)

    def test_nowhere(self) -> None:
        """Nothing is thrown away unless somebody says so; and then each client hears of it, as from /dev/null."""
        error = self.assertRaises(SystemExit, Options().parseOptions, ["-k", SECRET])
        choices = "give --directory, --file, --forward, or --discard to keep none"
        self.assertIn(f"sodium: nothing says where uploads go; {choices}", str(error))
        for arguments, told in [
            (["--discard"], True),
            (["--file", "/dev/null"], True),
            (["--file", "out"], False),
            (["--directory", "up"], False),
        ]:
            factory = self.make("--message", "x" * 104, *arguments)._factory
            self.assertEqual(factory.message, "x" * 104 + " (uploads are discarded)" * told)

    def test_disk(self) -> None:
        """What the options say about the disk is what the store does; what is not synced is said in the log."""
        for arguments, max_upload, min_free, sync in [
            ([], 1 << 40, None, True),
            (["--max-upload", "500M", "--min-free", "0", "--no-sync"], 500 << 20, 0, False),
        ]:
            events = logged(self)
            service = self.make("-k", SECRET, "--directory", "up", *arguments)
            service.startService()
            assert isinstance(service._factory, UploadFactory)
            store = service._factory.store
            assert isinstance(store, DirectoryStore)
            self.assertEqual(store.max_upload, max_upload)
            self.assertEqual((store._disk.sync, store._disk._min_free), (sync, min_free))
            told = [formatEvent(event) for event in events]
            line = "uploads are stored, but not synced: a loss of power may take what was confirmed"
            self.assertEqual(line in told, not sync)

    def test_stop(self) -> None:
        """Stopping fires when nothing is connected, and leaves no timer."""
        service = self.make("-k", SECRET)
        service.startService()
        stopped = service.stopService()
        self.reactor.advance(5)
        self.assertIsNone(self.successResultOf(stopped))
        self.assertEqual(self.reactor.getDelayedCalls(), [])

    def test_stop_in_time(self) -> None:
        """A port, a connection and a database that do not close take five seconds, however many of them do not."""
        for stuck in itertools.product((True, False), repeat=3):
            if not any(stuck):
                break
            port, connection, database = stuck
            service = self.make("-k", SECRET)
            service.startService()
            service._factory.replays = replays = ClosingMemory(Deferred() if database else succeed(None))
            if port:
                self.patch(service._ports[0], "stopListening", Deferred)
            if connection:
                protocol = build(service._factory, SodiumServerProtocol)
                protocol.makeConnection(MemoryTransport(protocol))
            stopped = service.stopService()
            # The connection might still have logged in.
            self.reactor.advance(DOOR_TIME if connection else 0)
            self.reactor.advance(4)
            self.assertNoResult(stopped)
            self.reactor.advance(1)
            self.assertIsNone(self.successResultOf(stopped), stuck)
            self.assertEqual(replays.closings, 1)
            self.assertEqual(self.reactor.getDelayedCalls(), [])

    def connect(self, service: SodiumService) -> Pair[SodiumServerProtocol, RecordingClient]:
        """Let a client of version 2 in that takes no notice of a server that is about to stop."""
        client_factory = SodiumClientFactory(
            bytes.fromhex(PUBLIC), "username", "passphrase", RecordingClient, clock=self.reactor, version=2
        )
        pair: Pair[SodiumServerProtocol, RecordingClient] = Pair(service._factory, client_factory)
        pair.flush()
        self.assertEqual(pair.client.calls, ["authenticated"])
        return pair

    def test_stop_lets_finish(self) -> None:
        """Clients may finish when it stops; then it is over."""
        events = logged(self)
        service = self.make("-k", SECRET)
        service.startService()
        pair = self.connect(service)
        stopped = service.stopService()
        pair.flush()
        self.assertTrue(pair.client.is_draining)
        line = "stopping; clients that get 10 seconds to finish, unless SIGTERM or Ctrl-C comes again: 1"
        self.assertIn(line, [formatEvent(event) for event in events])
        self.reactor.pump([0.1] * 80)
        self.assertNoResult(stopped)
        pair.client.close()
        for _ in range(20):
            pair.flush()
            self.reactor.advance(0.1)
        self.assertIs(pair.client.why, ConnectionDone)
        self.assertIsNone(self.successResultOf(stopped))
        self.assertEqual(self.reactor.getDelayedCalls(), [])

    def stop_held(self, *, signal_at: float | None) -> float:
        """
        Stop with a client that never finishes.

        :param signal_at: when another signal comes.
        :return: how many seconds it took.
        """
        service = self.make("-k", SECRET)
        service._note_another()  # nothing stops yet
        service.startService()
        pair = self.connect(service)
        began = self.reactor.seconds()
        stopped = service.stopService()
        while not stopped.called:
            passed = self.reactor.seconds() - began
            if signal_at is not None and passed > signal_at:
                service._note_another()
            pair.flush()
            self.reactor.advance(0.1)
            self.assertLess(passed, 100)
        self.assertIs(pair.client.why, PeerAborted)
        self.assertEqual(self.reactor.getDelayedCalls(), [])
        return self.reactor.seconds() - began

    def test_stop_held(self) -> None:
        """A client that never finishes is told that it is over when its time is, or another signal comes."""
        # So soon behind the first one it is the same once more.
        for signal_at, ends in ((None, DRAIN_TIMEOUT), (3, 3), (0, SAME_SIGNAL)):
            took = self.stop_held(signal_at=signal_at)
            self.assertTrue(ends <= took < ends + 0.5, (signal_at, took))

    def test_upload_may_end(self) -> None:
        """An upload that is under way when it stops may end; one that does not is kept as far as it came."""
        for ends in (True, False):
            service = self.make("-k", SECRET, "--file", "up")
            service.startService()
            assert isinstance(service._factory, UploadFactory)
            service._factory.store = store = MemoryStore()
            pair = self.connect(service)
            pair.client.send_data(b"before, ")
            pair.flush()
            stopped = service.stopService()
            self.reactor.advance(2)
            pair.client.send_data(b"behind")
            if ends:
                pair.client.close()
            while not stopped.called:
                pair.flush()
                self.reactor.advance(0.1)
            (upload,) = store.uploads
            self.assertEqual(upload.content, b"before, behind")
            self.assertEqual(upload.outcome, "finished" if ends else "abandoned")
            self.assertIs(pair.client.why, ConnectionDone if ends else PeerAborted)

    def test_another_signal(self) -> None:
        """What the reactor hears of a second signal it tells the service."""
        as_at_start(self)
        service = self.make("-k", SECRET)
        service.startService()
        vars(self.reactor)["callFromThread"] = lambda call: call()
        hurried: list[float] = []
        self.patch(service, "hurry", lambda: hurried.append(self.reactor.seconds()))
        signal.signal(signal.SIGTERM, lambda number, frame: service.stopService())
        self.connect(service)
        for call, arguments, keywords in self.reactor.whenRunningHooks:
            call(*arguments, **keywords)
        come(signal.SIGTERM)
        come(signal.SIGTERM)
        self.reactor.advance(2)
        self.assertEqual(hurried, [])
        come(signal.SIGHUP)
        self.assertEqual(hurried, [])
        come(signal.SIGTERM)
        self.assertEqual(hurried, [2])
        self.reactor.pump([0.1] * 200)

    def test_looks_at_files(self) -> None:
        """The log tells of a file that is gone though nobody logs in; when the service stops, nobody looks."""
        set_password("users", "ann", cheap("secret"))
        service = self.make("-k", SECRET, "--auth", "argon2:users")
        (file,) = service._settings.files
        looks: list[float] = []
        self.patch(file, "look", lambda: looks.append(self.reactor.seconds()))
        service.startService()
        self.reactor.pump([5] * 12)
        self.assertEqual(looks, [15, 30, 45, 60])
        stopped = service.stopService()
        self.assertIsNone(self.successResultOf(stopped))
        self.assertEqual(self.reactor.getDelayedCalls(), [])

    def test_no_list_of_keys(self) -> None:
        """The error tells how to make one, where its folder is there."""
        for path, cure in (("keys", "'sodiumtwist invite --keys keys' makes it and invites somebody"), ("no/keys", "")):
            error = self.assertRaises(SystemExit, self.parse, "--authorized-keys", path, "--auth", "none")
            self.assertRegex(str(error.code), rf"^sodium: .*{path}: No such file or directory; {cure or 'see twistd'}")

    def test_invitations_in_vain(self) -> None:
        """That no key could be listed is told at the start, as its user, and when the first invitation comes later."""
        self.write("keys", "")
        acting: list[str] = []

        @contextmanager
        def act(user: object) -> Iterator[None]:
            acting.append("begins")
            yield
            acting.append("ends")

        def may(path: str, what: int) -> bool:
            acting.append("asks")
            return False

        self.patch(services, "acting_as", act)
        self.patch(joining, "may", may)
        events = logged(self)
        service = self.make("-k", SECRET, "--authorized-keys", "keys", "--auth", "none")
        service.startService()
        self.assertEqual(acting, ["begins", "ends"])
        add_invitation("keys", Invitation(bytes(32), "ann", int(time.time()) + 60), time.time())
        self.reactor.pump([15, 15])
        self.assertEqual(acting[2:], ["asks", "asks"])
        service.stopService()
        del acting[:]
        self.make("-k", SECRET, "--authorized-keys", "keys", "--auth", "none").announce()
        self.assertEqual(acting, ["begins", "asks", "ends"])
        told = [line for line in map(formatEvent, events) if line and "has open invitations" in line]
        self.assertEqual(len(told), 2)

    def test_short_grace(self) -> None:
        """Files are not looked at more often than each second."""
        self.write("keys", "")
        service = self.make("-k", SECRET, "--authorized-keys", "keys", "--limit", "file-grace=0")
        service.startService()
        (call,) = self.reactor.getDelayedCalls()
        self.assertEqual(call.getTime(), 1)
        service.stopService()

    def test_signals(self) -> None:
        """The service takes them when the reactor runs, and tells why SIGHUP ends it."""
        as_at_start(self)
        there = [True]
        self.patch(interrupts, "has_terminal", lambda: there[0])
        events = logged(self)
        service = self.make("-k", SECRET)
        service.startService()
        self.assertIs(signal.getsignal(signal.SIGHUP), signal.SIG_DFL)
        vars(self.reactor)["callFromThread"] = lambda call: call()
        came: list[int] = []
        signal.signal(signal.SIGTERM, lambda number, frame: came.append(number))
        for call, arguments, keywords in self.reactor.whenRunningHooks:
            call(*arguments, **keywords)
        come(signal.SIGHUP)
        self.assertEqual(came, [])
        there[0] = False
        come(signal.SIGHUP)
        self.assertEqual(came, [signal.SIGHUP])
        log = [formatEvent(each) for each in events]
        self.assertEqual(log[-2], "read again what files say; it holds for connections from now on")
        self.assertEqual(log[-1], "the terminal is gone, which ends sodium in order, as SIGTERM does")

    def test_leftovers(self) -> None:
        """What a server that was killed has left is named when the next one starts."""
        events = logged(self)
        os.mkdir("up")
        self.write("up/.one.01234567.part", "")
        self.write("db.01234567.new", "")
        self.make("-k", SECRET, "-d", "up", "--replay-db", "db")
        said = "\n".join(formatEvent(each) for each in events)
        self.assertIn("1 unfinished uploads in ", said)
        self.assertIn("1 files of databases that were never finished in ", said)

    def test_replay_database(self) -> None:
        """What it remembers of either version is for the server, and for as long as a client's clock may be off."""
        for arguments, path in ((("-d", "up"), "db"), (("--forward", "tcp:127.0.0.1:1"), "other")):
            more = ["--replay-db", path, "--limit", "clock-tolerance=100"]
            factory = self.make("-k", SECRET, *arguments, *more)._factory
            assert isinstance(factory, SodiumServerFactory) and isinstance(factory.replays, ReplayDatabase)
            assert factory._version_2 is not None
            self.assertIs(factory._version_2.salts, factory.replays.salts)
            self.assertEqual(factory.replays.salts._age, 200)

    def test_abandoned_socket(self) -> None:
        """Who left a socket is told, and what to do where it can't be made anew."""
        events = logged(self)
        gone = subprocess.Popen([sys.executable, "-c", ""])
        gone.wait()
        # As a server leaves them that is killed.
        with socket.socket(socket.AF_UNIX) as left:
            left.bind("sock")
        os.symlink(str(gone.pid), "sock.lock")
        self.make("-k", SECRET, "-e", "unix:sock").startService()
        said = "\n".join(formatEvent(each) for each in events)
        self.assertIn(
            f"the socket 'sock' and its lock are left of process {gone.pid}, which was killed; they are", said
        )
        self.assertEqual(
            socket_remedy("sock"),
            "; nobody listens there, so a service that was killed has left it; run: rm sock sock.lock",
        )
        os.unlink("sock.lock")
        self.assertEqual(
            socket_remedy("sock"), "; nobody listens there, so a service that was killed has left it; run: rm sock"
        )
        os.unlink("sock")
        os.symlink(str(os.getppid()), "sock.lock")
        self.assertEqual(socket_remedy("sock"), f"; process {os.getppid()} holds sock.lock")
        self.assertEqual(socket_remedy("x" * 200), "")
        self.assertEqual(socket_remedy("missing"), "")
        # That is nobody's to remove.
        self.write("file", "")
        self.assertEqual(socket_remedy("file"), "; another kind of file has that path; choose another path")
        with socket.socket(socket.AF_UNIX) as used:
            used.bind("used")
            used.listen()
            self.assertEqual(socket_remedy("used"), "")

    def test_paths(self) -> None:
        """Only what is a file in a folder has a path."""
        for description, path in [
            ("unix:/run/sock", "/run/sock"),
            ("haproxy:unix:sock", "sock"),
            ("unix:\0name", None),
            ("tcp:1", None),
        ]:
            self.assertEqual(path_of_socket(description), path)

    def test_fresh_key(self) -> None:
        """Without a key each service has another one."""
        first, second = self.make(), self.make()
        self.assertNotEqual(first._settings.pair, second._settings.pair)

    def test_send_command(self) -> None:
        """It names address, key and login, and never the passphrase."""
        self.patch(shown_commands, "gethostname", lambda: "here")
        for arguments, description, address, where, more in [
            ([], "tcp:1", IPv4Address("TCP", "127.0.0.1", 1), "127.0.0.1:1", ""),
            ([], "tcp:1", IPv4Address("TCP", "0.0.0.0", 1), "here:1", ""),
            ([], "tcp6:1", IPv6Address("TCP", "::1", 1), "'[::1]:1'", ""),
            ([], "ssl:1", IPv4Address("TCP", "0.0.0.0", 1), "tls:here:1", ""),
            ([], "unix:/a b", UNIXAddress("/a b"), "'unix:/a b'", ""),
            (
                ["-P", "geheim"],
                "tcp:1",
                IPv4Address("TCP", "127.0.0.1", 1),
                "127.0.0.1:1",
                " --passphrase-file PASSPHRASEFILE",
            ),
            (["-U", "me"], "tcp:1", IPv4Address("TCP", "127.0.0.1", 1), "127.0.0.1:1", " --user me"),
            (["--protocol", "2"], "tcp:1", IPv4Address("TCP", "127.0.0.1", 1), "127.0.0.1:1", only(2)),
            (["--protocol", "1"], "tcp:1", IPv4Address("TCP", "127.0.0.1", 1), "127.0.0.1:1", only(1)),
        ]:
            settings = self.parse("-k", SECRET, *arguments).settings
            server = f"--to {where} --server-key {PUBLIC}{more}"
            self.assertEqual(send_command(description, address, settings), f"sodiumtwist send {server} FILE")
            self.assertEqual(
                tunnel_command(description, address, settings), f"twistd -n sodium-tunnel --listen LOCALPORT {server}"
            )
            self.assertEqual(pipe_command(description, address, settings), f"sodiumtwist pipe {server}")
            self.assertIsNone(invite_command(description, address, settings))

    def test_invite_command(self) -> None:
        """Where a list of keys decides, the log tells how to invite; not where invitations can't be used."""
        with open("a list", "w", encoding="ascii"):
            self.addCleanup(os.unlink, "a list")
        who = "-k", SECRET, "--authorized-keys", "a list", "--auth", "none"
        settings = self.parse(*who).settings
        keys = shlex.quote(os.path.abspath("a list"))
        command = f"sodiumtwist invite --key-file SERVERKEYFILE --keys {keys} --endpoint '[::1]:1' LOGIN"
        address = IPv6Address("TCP", "::1", 1)
        self.assertEqual(invite_command("tcp6:1", address, settings), command)
        self.assertIsNone(invite_command("unix:/a", UNIXAddress("/a"), settings))
        self.assertIsNone(invite_command("tcp6:1", address, self.parse(*who, "--protocol", "1").settings))
        for place in ("--forward", "tcp:127.0.0.1:1"), ("--discard",):
            service = self.make(*who, *place)
            events = logged(self)
            service.listens("tcp6:1", address)
            lines = [line for event in events if (line := formatEvent(event))]
            self.assertEqual(lines[0], f"to let somebody in: {command}")
