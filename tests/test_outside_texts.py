"""
Texts from outside, on their way to the log and to terminals. ``tests.describe.test_log`` and
``tests.programs.test_output`` see to it that no line goes another way.
"""

from __future__ import annotations

import contextlib
import io
import os
import time
from collections.abc import Callable
from functools import partial
from typing import Any, cast

from service_identity import VerificationError
from service_identity.exceptions import DNSMismatch
from twisted.cred.credentials import UsernamePassword
from twisted.cred.error import UnauthorizedLogin
from twisted.internet.address import IPv4Address
from twisted.internet.defer import Deferred, ensureDeferred, fail, succeed
from twisted.internet.error import DNSLookupError, ProcessTerminated
from twisted.internet.interfaces import IProtocol, IProtocolFactory
from twisted.internet.testing import MemoryReactorClock
from twisted.logger import formatEvent
from twisted.protocols.haproxy._wrapper import HAProxyWrappingFactory
from twisted.python.failure import Failure

from sodiumtwist import Limits, Peer, SodiumClientFactory
from sodiumtwist.admission import joining, updating
from sodiumtwist.admission.authorized import AuthorizedKeysFile
from sodiumtwist.admission.invitations import Invitation, hash_secret
from sodiumtwist.core.v1 import handshake
from sodiumtwist.programs import cli, commands, files, output, sessions, streams
from sodiumtwist.programs.exits import CommandFailed
from sodiumtwist.programs.leftovers import clean_directory, note_cleaned, note_database, note_uploads
from sodiumtwist.programs.output import print_error
from sodiumtwist.programs.settings import ConnectSettings, Credentials, PingSettings, SendSettings
from sodiumtwist.programs.tap import Options, makeService
from sodiumtwist.transfer.receiver import UploadFactory
from sodiumtwist.transfer.stores import DirectoryStore, FileStore
from sodiumtwist.transfer.tree.names import temporary_name
from sodiumtwist.transfer.tree.on_stored import OnStored

from .admission.test_reading_apart import Threads
from .checkers import AnyChecker, AvatarId
from .observed import ObservedTestCase
from .pair import (
    CLIENT_PAIR,
    LOGIN,
    PASSPHRASE,
    SERVER_PAIR,
    Boom,
    MemoryTransport,
    Pair,
    make_client_factory,
    make_server_factory,
)
from .signals import as_at_start
from .versions import spoken

#: What a terminal could obey, and what could begin a line. With what stands behind it the tests find it again.
EVIL = "\x1b[2J\r\n\x9b1m\u202e\u2028evil"


def give(answer: Deferred[AvatarId], credentials: UsernamePassword) -> Deferred[AvatarId]:
    return answer


class OutsideTextTests(ObservedTestCase):
    """Each test feeds one source."""

    def setUp(self) -> None:
        super().setUp()
        self.printed, self.errors = io.StringIO(), io.StringIO()
        self.where = os.path.realpath(self.mktemp())
        os.mkdir(self.where)
        # Programs change how signals are taken, and what descriptor 1 is.
        as_at_start(self)
        self.patch(output, "discard_standard_output", lambda: None)
        self.patch(cli, "prepare_outputs", lambda: None)

    def run_program(self, program: Callable[[], object]) -> None:
        """Run a program, or a part of one, with all that it prints."""
        with contextlib.redirect_stdout(self.printed), contextlib.redirect_stderr(self.errors):
            try:
                program()
            except SystemExit as ended:
                if isinstance(ended.code, str):
                    # As Python does.
                    self.errors.write(f"{ended.code}\n")

    def assert_shown(self, times: int = 1) -> None:
        """It was shown so often at least, and each time fit for that."""
        lines = [formatEvent(event) for event in self.events if "log_failure" not in event]
        lines += self.printed.getvalue().split("\n") + self.errors.getvalue().split("\n")
        self.assertGreaterEqual(sum("evil" in line for line in lines), times, lines)
        for line in lines:
            self.assertTrue(line.isprintable(), ascii(line))
            # What was cut in two would be printable, too.
            self.assertFalse(line.startswith(("evil", "[2J")), line)

    def behind_proxy(self, header: bytes, data: bytes = b"?", limits: Limits | None = None) -> None:
        factory = HAProxyWrappingFactory(make_server_factory(self.clock, limits=limits))
        end = factory.buildProtocol(IPv4Address("TCP", "127.0.0.1", 1))
        transport = MemoryTransport(end)
        end.makeConnection(transport)
        end.dataReceived(header)
        end.dataReceived(data)
        transport.lose(transport.farewell)

    def test_proxy_version_1(self) -> None:
        """The host of an address: refused, and named as where failed logins come from."""
        # Neither a blank nor a newline can be in it.
        header = f"PROXY TCP4 {EVIL.replace(chr(13), '')} 192.0.2.1 1 2\r\n".encode()
        wrong = handshake.ClientHandshake(CLIENT_PAIR, SERVER_PAIR.public, LOGIN, "wrong").client_auth
        right = handshake.ClientHandshake(CLIENT_PAIR, SERVER_PAIR.public, LOGIN, PASSPHRASE).client_auth
        self.behind_proxy(header)
        self.behind_proxy(header, wrong, Limits(failures_per_address=1))
        self.behind_proxy(header, right)
        self.clock.advance(100)
        self.assert_shown(5)

    def test_proxy_version_2(self) -> None:
        """The path of a UNIX socket."""
        header = b"\r\n\r\n\0\r\nQUIT\n\x21\x31" + (216).to_bytes(2, "big") + EVIL.encode().ljust(216, b"\0")
        self.behind_proxy(header)
        self.assert_shown()

    def test_login(self) -> None:
        """Refused, let in, and blocked."""
        answers: tuple[Deferred[AvatarId], ...] = (succeed(b"x"), fail(UnauthorizedLogin(EVIL)))
        for answer in answers:
            factory = make_server_factory(
                self.clock,
                checker=AnyChecker(partial(give, answer)),
            )
            Pair(factory, make_client_factory(self.clock, login=EVIL)).flush()
        factory = make_server_factory(self.clock, limits=Limits(failures_per_login=1))
        Pair(factory, make_client_factory(self.clock, login=EVIL)).flush()
        self.clock.advance(100)
        self.assert_shown(4)

    def test_exceptions(self) -> None:
        """What a checker says, and an application: also in their tracebacks, where newlines are."""
        checker = AnyChecker(lambda credentials: fail(OSError(5, EVIL)))
        Pair(make_server_factory(self.clock, checker=checker), make_client_factory(self.clock)).flush()
        self.assert_shown()
        checker = AnyChecker(lambda credentials: fail(Boom(EVIL)))
        Pair(make_server_factory(self.clock, checker=checker), make_client_factory(self.clock)).flush()
        pair = Pair(make_server_factory(self.clock), make_client_factory(self.clock))
        pair.flush()

        def raising(payload: bytes) -> None:
            raise Boom(EVIL)

        self.patch(pair.server, "payload_received", raising)
        pair.client.send_data(b"x")
        pair.flush()
        failures = self.flushLoggedErrors(Boom)
        self.assertEqual(len(failures), 2)
        for failure in failures:
            for line in failure.getTraceback().split("\n"):
                self.assertTrue(line.isprintable(), ascii(line))

    def command(self, run: Callable[..., Any], settings: Any, message: str, connected: bool = True) -> None:
        """Run a command whose server is in memory."""
        pairs: list[Any] = []

        class Endpoint:
            def connect(self, factory: IProtocolFactory) -> Deferred[IProtocol]:
                if not connected:
                    return fail(DNSLookupError(f"no such name: {EVIL}"))
                server = make_server_factory(clock, message=message)
                pairs.append(Pair(server, cast(SodiumClientFactory, factory)))
                return succeed(pairs[0].client)

        clock = self.clock
        for module in (commands, streams, sessions):
            self.patch(module, "make_endpoint", lambda reactor, settings: Endpoint())

        def running() -> None:
            result = ensureDeferred(run(clock, settings))
            if pairs:
                pairs[0].flush()
                pairs[0].server.abort()
                pairs[0].flush()
                clock.advance(1)
            print_error(self.failureResultOf(result, CommandFailed).getErrorMessage())

        self.run_program(running)

    def test_hello(self) -> None:
        """The message of a server."""
        us = Credentials(LOGIN, PASSPHRASE, False, None)
        self.command(commands.ping, PingSettings("tcp:host:1", SERVER_PAIR.public, us, spoken(), 3, 1.0), EVIL)
        self.assert_shown()

    def test_names(self) -> None:
        """What a server of names says, and the names of hosts and files on the command line."""
        us = Credentials(LOGIN, PASSPHRASE, False, None)
        endpoint = f"tcp:{EVIL}:1"
        path = os.path.join(self.where, EVIL)
        ping = PingSettings(endpoint, SERVER_PAIR.public, us, spoken(), 3, 1.0)
        self.command(commands.ping, ping, "", connected=False)
        send = streams.send if spoken() == 1 else files.send
        self.command(send, SendSettings(endpoint, SERVER_PAIR.public, us, spoken(), (path,)), "")
        lines: list[list[str]] = [
            ["pubkey", path],
            ["keygen", "--output", os.path.join(path, EVIL)],
            ["passwd", "--delete", path, EVIL],
            [EVIL],
            ["send", "--key", EVIL, EVIL],
            ["send", "--key", "11" * 32, "--passphrase-file", path, EVIL],
            ["ping", "--interval", EVIL],
        ]
        for arguments in lines:
            self.run_program(partial(cli.main, arguments))
        self.assert_shown(6)

    def test_services(self) -> None:
        """Those of twistd, whose errors Python prints."""
        key = ["--key", "5e" * 32]
        for arguments in (
            [f"--{EVIL}"],
            [EVIL],
            ["--key-file", os.path.join(self.where, EVIL), "--discard"],
            [*key, "--auth", EVIL],
            [*key, "--auth", f"file:{self.where}/{EVIL}"],
            [*key, "--authorized-keys", EVIL, "--discard"],
            [*key, "--limit", EVIL],
            [*key, "--directory", os.path.join(self.where, EVIL, EVIL)],
            [*key, "--discard", "--endpoint", EVIL],
            [*key, "--forward", EVIL],
            [*key, "--max-upload", EVIL, "--discard"],
        ):

            def run(arguments: list[str] = arguments) -> None:
                options = Options()
                options.parseOptions(arguments)
                makeService(options, MemoryReactorClock())

            self.run_program(run)
        self.assert_shown(11)

    def test_certificate(self) -> None:
        """The names for which a certificate is not."""
        error = VerificationError(errors=[DNSMismatch(mismatched_id=type("Id", (), {"hostname": EVIL.encode()})())])
        us = Credentials(LOGIN, PASSPHRASE, False, None)
        failed = commands.explain_loss(
            ConnectSettings(EVIL, SERVER_PAIR.public, us, spoken()), commands._Pinger(), error, ""
        )
        self.run_program(lambda: print_error(str(failed)))
        self.assert_shown()

    def test_stored_files(self) -> None:
        """Where uploads go, and what stands there already."""
        for store in (FileStore(os.path.join(self.where, EVIL)), DirectoryStore(os.path.join(self.where, f"d{EVIL}"))):
            factory = UploadFactory(store, SERVER_PAIR, AnyChecker(lambda credentials: b"x"), clock=self.clock)
            pair = Pair(factory, make_client_factory(self.clock, login=EVIL))
            pair.flush()
            for payload in (b"", b"content", b""):
                pair.client.send_data(payload)
            pair.flush()
            pair = Pair(factory, make_client_factory(self.clock, login=EVIL))
            pair.flush()
            pair.client.send_data(b"content")
            pair.client.abort()
            pair.flush()
        with open(os.path.join(self.where, f".{EVIL}.0123abcd.part"), "w"):
            pass
        note_uploads(None, self.where)
        path = os.path.join(self.where, EVIL)
        with open(f"{path}-wal", "w") as file:
            file.write("x")
        note_database(path)
        self.assert_shown(4)

    def test_files_of_logins(self) -> None:
        """What a command for stored files says, whose they are and what they are called; what was left of some."""
        run = OnStored(self.clock, ("sh",))

        def begin(process: Any, *arguments: object, **keywords: object) -> None:
            process.errReceived(EVIL.encode())
            process.processEnded(Failure(ProcessTerminated(1)))

        vars(self.clock)["spawnProcess"] = begin
        self.successResultOf(run(EVIL, os.path.join(self.where, EVIL), bytes(32), 5))
        folder = os.path.join(self.where, EVIL)
        os.mkdir(folder)
        with open(os.path.join(folder, os.fsdecode(temporary_name(EVIL.encode()))), "w"):
            pass
        note_cleaned(folder, 0, *clean_directory(folder, 0, time.time() + 10))
        self.assert_shown(2)

    def test_invitations(self) -> None:
        """The name of their list, and who joins by one. No such login can be invited, but somebody can write it."""
        path = os.path.join(self.where, EVIL)
        line = Invitation(hash_secret(bytes(16)), "evil\x1b[2J", int(time.time()) + 60).line
        with open(path, "w", opener=lambda name, flags: os.open(name, flags, 0o600)) as file:
            file.write(f"{line}\n")
        threads = Threads()
        keys = AuthorizedKeysFile(path, reactor=threads)
        self.patch(joining, "may", lambda path, what: False)
        joining.look_if_writable(keys)
        peer = Peer("evil\x1b[2J", bytes(32), IPv4Address("TCP", EVIL, 1), version=2)
        for _ in range(2):
            joined = joining.join(keys, bytes(16), peer)
            if threads.jobs:
                self.patch(updating, "sync_directory", partial(self.break_disk, path))
                threads.work()
            self.successResultOf(joined)
        self.assert_shown(3)
        self.run_program(lambda: cli.main(["invite", EVIL, "--keys", path, "--endpoint", EVIL, "--key-file", EVIL]))
        self.run_program(lambda: cli.main(["url", "--endpoint", "host", "--key-file", EVIL]))
        self.assert_shown(4)

    @staticmethod
    def break_disk(path: str, folder: str) -> None:
        raise OSError(5, "Input/output error", path)

    def test_lists(self) -> None:
        """The name of a list, and what is in it."""
        path = os.path.join(self.where, EVIL)
        with open(path, "w"):
            pass
        keys = AuthorizedKeysFile(path)
        with open(path, "w", opener=lambda name, flags: os.open(name, flags, 0o600)) as file:
            file.write(f"{EVIL}\n")
        keys.file.look()
        os.unlink(path)
        self.clock.advance(100)
        keys.file.look()
        self.assert_shown(2)
        users = os.path.join(self.where, "users")
        with open(users, "w", opener=lambda name, flags: os.open(name, flags, 0o600)) as file:
            file.write(f"{EVIL}:x\n")
        self.run_program(lambda: cli.main(["passwd", "--delete", users, EVIL]))
        self.assert_shown(2)
