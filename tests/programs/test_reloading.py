"""
What a service takes of its files while it runs: SIGHUP, and what comes of it.
"""

from __future__ import annotations

import gc
import os
import weakref
from dataclasses import fields
from typing import Any

from twisted.internet.address import IPv4Address
from twisted.internet.testing import MemoryReactorClock
from twisted.logger import formatEvent
from twisted.python import usage

from sodiumtwist import (
    KeyPair,
    Limits,
    LocalProtocolError,
    SodiumClientFactory,
    SodiumServerFactory,
    SodiumServerProtocol,
    Timeouts,
)
from sodiumtwist.admission.limits import Admission
from sodiumtwist.admission.passwords import set_password
from sodiumtwist.admission.watched import GRACE
from sodiumtwist.contacts.keyfiles import write_key_file
from sodiumtwist.endpoints.streams import StreamServerFactory
from sodiumtwist.operation.companions import Companion
from sodiumtwist.programs import asking, configuration, tap, tunneltap
from sodiumtwist.programs.listening import ListeningService
from sodiumtwist.programs.services import SodiumService
from sodiumtwist.programs.tunneltap import AdvisedEndpoint, TunnelService
from sodiumtwist.transfer.receiver import UploadFactory
from sodiumtwist.tunnel import TunnelFactory, TunnelLimits

from ..admission.test_passwords import cheap
from ..certificates import Authority
from ..known_servers import know, write_servers
from ..logs import logged
from ..pair import Pair, RecordingClient
from ..processes import PUBLIC, SECRET, with_place
from ..test_tunnel import Backend
from .test_tap import TapTestCase

OTHER = KeyPair.generate()

HOLDS = "read again what files say; it holds for connections from now on"


class Told(Companion):
    """Notes what it is told."""

    def __init__(self) -> None:
        self.heard: list[str] = []

    def reloading(self) -> None:
        self.heard.append("reloading")

    def reloaded(self) -> None:
        self.heard.append("reloaded")


class ReloadTestCase(TapTestCase):
    def setUp(self) -> None:
        super().setUp()
        self.events = logged(self)
        self.reactor = MemoryReactorClock()

    def log(self, since: int = 0) -> list[str]:
        return [formatEvent(event) for event in self.events[since:]]

    def reload(self, service: ListeningService) -> list[str]:
        """Reload; return the lines that the log has of it."""
        began = len(self.events)
        whole = service.reload()
        lines = self.log(began)
        self.assertEqual(whole, not any("not all could be read" in line for line in lines), lines)
        return lines

    def rewrite(self, name: str, text: str) -> None:
        """Write a file as people are told to: another one that takes its name."""
        self.write(f"{name}.new", text)
        os.rename(f"{name}.new", name)


class ServerTests(ReloadTestCase):
    def start(self, *arguments: str, **twistd: object) -> SodiumService:
        options = tap.Options()
        if twistd:
            options.parent = usage.Options()
            options.parent.update(twistd)
        options.parseOptions(with_place(arguments))
        service = tap.makeService(options, self.reactor)
        service.startService()
        self.addCleanup(service.stopService)
        return service

    def let_in(
        self, service: SodiumService, key: bytes, passphrase: str, version: int = 2, login: str = "username"
    ) -> bool:
        """Tell whether a client gets in."""
        client_factory = SodiumClientFactory(
            key, login, passphrase, RecordingClient, clock=self.reactor, version=version
        )
        pair: Pair[SodiumServerProtocol, RecordingClient] = Pair(service._factory, client_factory)
        self.pair = pair
        pair.flush()
        return "authenticated" in pair.client.calls

    def test_key_and_passphrase(self) -> None:
        """New connections get what the files say now; those that are there go on. The log tells the new key."""
        write_key_file("key", KeyPair.from_hex(SECRET))
        self.write("pass", "first\n")
        service = self.start("--key-file", "key", "--passphrase-file", "pass")
        old = bytes.fromhex(PUBLIC)
        for version in (1, 2):
            self.assertTrue(self.let_in(service, old, "first", version))
        before = self.pair
        self.rewrite("key", OTHER.secret.hex())
        self.rewrite("pass", "second\n")
        lines = self.reload(service)
        self.assertEqual(lines[-1], HOLDS)
        self.assertIn(f"public key: {OTHER.public.hex()}", lines)
        for version in (1, 2):
            self.assertFalse(self.let_in(service, old, "second", version))
            self.assertFalse(self.let_in(service, OTHER.public, "first", version))
            self.assertTrue(self.let_in(service, OTHER.public, "second", version))
        before.client.send_data(b"still here")
        before.flush()
        self.assertFalse(before.client.why)
        self.assertEqual(service._settings.pair, OTHER)

    def test_nothing_new(self) -> None:
        """It says so much, and no more; checkers that watch a file stay, with who waits there."""
        set_password("users", "ann", cheap("secret"))
        self.write("keys", f"{PUBLIC}\n")
        service = self.start("-k", SECRET, "--auth", "argon2:users", "--authorized-keys", "keys")
        checker, keys = service._factory.checker, service._factory.authorized_keys
        for _ in range(2):
            self.assertEqual(self.reload(service), [HOLDS])
            self.assertIs(service._factory.checker, checker)
            self.assertIs(service._factory.authorized_keys, keys)
        assert service.options is not None
        self.assertIsNone(service.options.before)

    def test_configuration(self) -> None:
        """The file of ``--config`` is read again. A broken one, or one for root alone, leaves what was there."""
        self.write("config.toml", f'key = "{SECRET}"\nmessage = "one"\n')
        service = self.start("--config", "config.toml", "--limit", "connections=5")
        self.rewrite("config.toml", f'key = "{SECRET}"\nmessage = "two"\nmax-upload = 5\n[limit]\nconnections = 3\n')
        self.assertEqual(self.reload(service), [HOLDS, "these take effect when sodium is started again: --max-upload"])
        self.assertEqual((service._settings.message, service._settings.limits.connections), ("two", 5))
        self.rewrite("config.toml", 'mesage = "three"\n')
        (line,) = self.reload(service)
        self.assertRegex(line, "before: config.toml: line 1: there is no option 'mesage'; did you mean message")
        self.assertEqual(service._settings.message, "two")

        def refuse(path: str) -> None:
            raise PermissionError(13, "Permission denied", path)

        self.patch(configuration, "open_at_once", refuse)
        self.assertIn("config.toml: Permission denied", " ".join(self.reload(service)))
        self.assertEqual(service._settings.message, "two")

    def test_lists_are_looked_at(self) -> None:
        """The log has at once what is new in them, and what is wrong with them."""
        self.write("keys", f"{PUBLIC}\n")
        service = self.start("-k", SECRET, "--auth", "none", "--authorized-keys", "keys")
        self.rewrite("keys", f"{OTHER.public.hex()}\n")
        self.assertIn("was changed and read again", " ".join(self.reload(service)))
        self.rewrite("keys", "nonsense\n")
        lines = self.reload(service)
        self.assertRegex(" ".join(lines), "can't be used, so what it said before holds for 60 more seconds: .*line 1")
        self.assertEqual(len(lines), 2)

    def test_broken(self) -> None:
        """What was there before holds, all of it, and one line tells why."""
        write_key_file("key", KeyPair.from_hex(SECRET))
        self.write("pass", "first\n")
        service = self.start("--key-file", "key", "--passphrase-file", "pass")
        self.rewrite("pass", "second\n")
        for text, why in (("nonsense", "the private key has 8 characters"), (f"public key: {PUBLIC}", "public key")):
            self.rewrite("key", text)
            lines = self.reload(service)
            self.assertEqual(len(lines), 1)
            self.assertRegex(lines[0], f"^not all could be read again, so this is as it was before: key.*{why}")
            self.assertNotIn("sodium: ", lines[0])
            self.assertTrue(self.let_in(service, bytes.fromhex(PUBLIC), "first"))
        os.unlink("key")
        self.assertRegex(self.reload(service)[0], "before: .*key.*No such file")
        self.rewrite("key", OTHER.secret.hex())
        self.assertEqual(self.reload(service)[-1], HOLDS)
        self.assertTrue(self.let_in(service, OTHER.public, "second"))

    def test_broken_late(self) -> None:
        """The same where it is found when all files are read; it is no fault of the program."""
        self.write("keys", f"{PUBLIC}\n")
        words = ("-k", SECRET, "--auth", "none", "--authorized-keys", "keys", "--discard")
        self.write("config.toml", "")
        service = self.start("--config", "config.toml", *words)
        (file,) = service._settings.files
        for changed, why in (
            (f"message = '{'x' * 128}'\n", "the message has more than 104 bytes"),
            ("drain-timeout = -1\n[limit]\nfile-grace = 5\n", "config.toml: line 1: --drain-timeout"),
        ):
            self.rewrite("config.toml", changed)
            (line,) = self.reload(service)
            self.assertRegex(line, f"^not all could be read again, so this is as it was before: {why}")
            self.assertEqual(file.grace, GRACE)

    def test_files_of_root(self) -> None:
        """What its user can't read any more holds on, and the rest is taken."""
        write_key_file("key", KeyPair.from_hex(SECRET))
        self.write("pass", "first\n")
        service = self.start("--key-file", "key", "--passphrase-file", "pass")
        self.rewrite("pass", "second\n")

        def denied(*arguments: object) -> None:
            raise PermissionError(13, "Permission denied", "key")

        self.patch(tap, "read_key", denied)
        (line,) = self.reload(service)
        self.assertRegex(line, "^not all .* before: key: Permission denied")
        self.assertTrue(self.let_in(service, bytes.fromhex(PUBLIC), "second"))
        self.patch(tap, "read_passphrase", denied)
        self.reload(service)
        self.assertTrue(self.let_in(service, bytes.fromhex(PUBLIC), "second"))
        # At the start there is nothing that could hold.
        error = self.assertRaises(SystemExit, self.start, "--key-file", "key")
        self.assertIn("key: Permission denied", str(error.code))

    def test_fresh_key(self) -> None:
        """A key that was made for the run stays for the run."""
        service = self.start()
        pair = service._settings.pair
        self.assertEqual(self.reload(service), [HOLDS])
        self.assertEqual((service._settings.pair, service._settings.fresh_pair), (pair, True))

    def change_words(self, service: ListeningService, *arguments: str) -> list[str]:
        """Reload with other options, as a file of options may give them by then."""
        assert service.options is not None
        service.options.words = tuple(arguments)
        return self.reload(service)

    def test_other_options(self) -> None:
        """Those that are harmless are taken; others are named, each time until they are as at the start again."""
        service = self.start("-k", SECRET, "--discard", "--limit", "replays=5")
        self.assertIsInstance(service._factory, UploadFactory)
        common = ("-k", SECRET, "--discard", "--limit", "replays=5")
        lines = self.change_words(
            service,
            *common,
            *("--message", "Hi.", "--inactivity-timeout", "50", "--drain-timeout", "3", "--limit", "client-lines=7"),
            *("--limit", "unread=1000", "--limit", "failures-per-login=3", "--limit", "rekey-size=1000000"),
        )
        self.assertEqual(lines, [HOLDS])
        factory = service._factory
        # What says that uploads are kept nowhere stays.
        self.assertEqual(factory.message, "Hi. (uploads are discarded)")
        self.assertEqual((factory.timeouts.inactivity, service._settings.drain_timeout), (50, 3))
        self.assertEqual((factory.admission.limits.client_lines, factory._rekey.size), (7, 1_000_000))
        assert factory.unread is not None
        self.assertEqual(factory.unread.most, 1125)
        for _ in range(2):
            lines = self.change_words(
                service, "-k", SECRET, "--directory", "up", "-e", "127.0.0.1:5556", "--protocol", "2"
            )
            self.assertEqual(lines[0], HOLDS)
            self.assertEqual(
                lines[1:],
                [
                    "these take effect when sodium is started again: --discard, --directory, --protocol, --endpoint, "
                    "--limit replays"
                ],
            )
            self.assertTrue(service._settings.discard)
        self.assertEqual(self.change_words(service, *common), [HOLDS])

    def test_more_connections_than_room(self) -> None:
        """It made room for its connections when it started; fewer are taken."""
        service = self.start("-k", SECRET, "--limit", "connections=100")
        for asked, given in ((50, 50), (100_000, 100), (100, 100)):
            lines = self.change_words(service, *with_place(("-k", SECRET, "--limit", f"connections={asked}")))
            limits = service._factory.admission.limits
            self.assertEqual((limits.connections, limits.unauthenticated), (given, given))
            named = ["these take effect when sodium is started again: --limit connections"] * (asked > 100)
            self.assertEqual(lines, [HOLDS, *named])

    def test_default_passphrase(self) -> None:
        """By no change anybody else can reach a server whose passphrase everybody knows."""
        self.write("pass", "first\n")
        service = self.start("-k", SECRET, "--passphrase-file", "pass", "-e", "tcp:5555")
        (line,) = self.change_words(service, *with_place(("-k", SECRET, "-e", "tcp:5555")))
        self.assertRegex(line, "not all .* before: tcp:5555 can be reached from elsewhere, and the passphrase is")
        self.assertTrue(self.let_in(service, bytes.fromhex(PUBLIC), "first"))

    def test_default_passphrase_and_broken_certificate(self) -> None:
        """It is the certificate that is wrong, and nothing else is as before."""
        Authority("known").issue("cert", "server.example")
        at = ("-e", "ssl:1:interface=127.0.0.1:privateKey=cert:certKey=cert")
        service = self.start("-k", SECRET, *at)
        self.write("cert", "nothing")
        (line,) = self.change_words(service, *with_place(("-k", OTHER.secret.hex(), *at)))[-1:]
        self.assertRegex(line, "before: the certificate of ssl:1:[^;]*$")
        self.assertTrue(self.let_in(service, OTHER.public, "passphrase"))

    def test_other_checkers(self) -> None:
        """Others are made, and files that were not looked at before are from now on."""
        service = self.start("-k", SECRET, "-P", "first")
        self.assertFalse(service._looking.running)
        set_password("users", "ann", cheap("secret"))
        self.write("keys", f"{PUBLIC}\n")
        words = with_place(("-k", SECRET, "--auth", "argon2:users", "--authorized-keys", "keys"))
        self.assertEqual(self.change_words(service, *words), [HOLDS])
        self.assertTrue(service._looking.running)
        self.assertEqual(len(service._settings.files), 2)
        self.assertFalse(self.let_in(service, bytes.fromhex(PUBLIC), "first"))
        self.assertEqual(self.change_words(service, *with_place(("-k", SECRET, "-P", "first"))), [HOLDS])
        self.assertFalse(service._looking.running)
        self.assertTrue(self.let_in(service, bytes.fromhex(PUBLIC), "first"))

    def test_key_that_is_given_no_more(self) -> None:
        """It holds on: a fresh one would be a stranger's to all who know this one."""
        service = self.start("-k", SECRET)
        self.change_words(service, *with_place(()))
        self.assertEqual(service._settings.pair.public.hex(), PUBLIC)

    def test_elsewhere(self) -> None:
        """Paths begin where the service was started, though a daemon is elsewhere; where that is gone, all holds."""
        self.write("pass", "first\n")
        service = self.start("-k", SECRET, "--passphrase-file", "pass")
        self.rewrite("pass", "second\n")
        where = os.getcwd()
        os.chdir("/")
        self.assertEqual(self.reload(service), [HOLDS])
        self.assertEqual(os.getcwd(), "/")
        self.assertTrue(self.let_in(service, bytes.fromhex(PUBLIC), "second"))
        os.rename(where, f"{where}-gone")
        self.addCleanup(os.rename, f"{where}-gone", where)
        self.assertRegex(self.reload(service)[0], f"before: {where}: No such file or directory$")
        self.assertTrue(self.let_in(service, bytes.fromhex(PUBLIC), "second"))

    def test_nowhere(self) -> None:
        """The folder where it was started is gone: what has no relative path is read again all the same."""
        os.mkdir("gone")
        os.chdir("gone")
        os.rmdir(os.path.join(self.directory, "gone"))
        service = self.start("-k", SECRET)
        self.assertEqual(self.reload(service), [HOLDS])

    def test_companions(self) -> None:
        """They are told before and behind it; and a server that stops reads nothing again."""
        service = self.start("-k", SECRET)
        told = Told()
        service.companions.append(told)
        self.reload(service)
        self.assertEqual(told.heard, ["reloading", "reloaded"])
        service.stopService()
        self.assertFalse(service.reload())
        self.assertEqual(told.heard, ["reloading", "reloaded"])

    def test_own_pid_file(self) -> None:
        """It is no leftover, and the database of handshakes stays open as it is."""
        self.write("pid", str(os.getpid()))
        service = self.start("-k", SECRET, "--replay-db", "db")
        replays = service._factory.replays
        assert service.options is not None
        service.options.parent = usage.Options()
        service.options.parent.update({"pidfile": "pid"})
        self.assertEqual(self.reload(service), [HOLDS])
        self.assertTrue(os.path.exists("pid"))
        self.assertIs(service._factory.replays, replays)

    def test_nothing_piles_up(self) -> None:
        """However often it reads them, it has its first options, its last ones, and no more descriptors."""
        set_password("users", "ann", cheap("secret"))
        self.write("keys", f"{PUBLIC}\n")
        Authority("known").issue("cert", "server.example")
        words = ("--auth", "argon2:users", "--authorized-keys", "keys", "--replay-db", "db")
        service = self.start("-k", SECRET, *words, "-e", "ssl:1:privateKey=cert:certKey=cert")
        seen = [weakref.ref(service.options)]
        gc.collect()  # what tests before this one have left open is closed now, and not below
        began = os.listdir("/dev/fd")
        for _ in range(5):
            self.assertEqual(self.reload(service), [HOLDS])
            assert service.options is not None
            seen.append(weakref.ref(service.options))
        gc.collect()
        self.assertEqual([ref() is not None for ref in seen], [True, *[False] * 4, True])
        self.assertEqual(os.listdir("/dev/fd"), began)

    def test_fault(self) -> None:
        """One of the program's own ends nothing, either."""
        service = self.start("-k", SECRET)

        def fail(*arguments: object) -> None:
            raise ValueError("a fault")

        self.patch(tap, "read_key", fail)
        self.assertIn("it was before: a fault of the program", self.reload(service)[-1])
        self.assertEqual(len(self.flushLoggedErrors(ValueError)), 1)

    def test_forward(self) -> None:
        """Joined connections of a server that forwards have its limits and times, and the endpoint its files."""
        service = self.start("-k", SECRET, "--forward", "127.0.0.1:1")
        before = service._factory.application.endpoint  # type: ignore[attr-defined]
        more = ("--tcp-keepalive", "7", "--limit", "stranger-lines=3", "--limit", "connections=50")
        self.assertEqual(self.change_words(service, "-k", SECRET, "--forward", "127.0.0.1:1", *more), [HOLDS])
        assert isinstance(service._factory, StreamServerFactory)
        tunnel = service._factory.application
        assert isinstance(tunnel, TunnelFactory)
        self.assertEqual((tunnel.tcp_keepalive, tunnel.limit), (7, 50))
        self.assertIsNot(tunnel.endpoint, before)
        os.mkdir("roots")
        words = ("-k", SECRET, "--forward", "tls:192.0.2.1:1:trustRoots=roots")
        service = self.start(*words)
        os.rmdir("roots")
        self.assertRegex(self.reload(service)[0], "so this is as it was before: --forward: .*roots")


class FactoryTests(ReloadTestCase):
    def limits_of(self, thing: object) -> dict[str, object]:
        """Find all limits in an object and in what it is made of."""
        found: dict[str, object] = {}
        waiting = [("", thing)]
        while waiting:
            path, each = waiting.pop()
            names = [*getattr(each, "__slots__", ()), *getattr(each, "__dict__", ())]
            for name in names:
                value = getattr(each, name, None)
                if isinstance(value, (int, float)):
                    found[f"{path}.{name}"] = value
                elif type(value).__module__.startswith(("sodiumtwist.admission", "sodiumtwist.protocol.unread")):
                    waiting.append((f"{path}.{name}", value))
        return found

    def test_each_limit(self) -> None:
        """What has other limits has the same everywhere as what was made with them."""
        few = Limits(**{field.name: 3 + number for number, field in enumerate(fields(Limits))})
        changed, made = (Admission[Any](limits, lambda: self.reactor) for limits in (Limits(), few))
        changed.change(few)
        self.assertEqual(self.limits_of(changed), self.limits_of(made))
        self.assertGreater(len(self.limits_of(made)), 10)
        few_joined = TunnelLimits(3, 4, 5)
        times = Timeouts(inactivity=50, tcp_keepalive=7)
        tunnel = TunnelFactory(Backend(), "there", clock=self.reactor)
        tunnel.change(tunnel.endpoint, "there", few_joined, times)
        other = TunnelFactory(Backend(), "there", few_joined, self.reactor, times)
        self.assertEqual(self.limits_of(tunnel), self.limits_of(other))
        self.assertGreater(len(self.limits_of(other)), 4)

    def test_nothing_changes(self) -> None:
        """A factory that is to let in anybody, or to say what does not fit, stays as it is."""
        options = tap.Options()
        options.parseOptions(with_place(("-k", SECRET)))
        factory = tap.makeService(options, self.reactor)._factory
        assert isinstance(factory, SodiumServerFactory)
        before = dict(vars(factory))
        settings = options.settings
        for checker, message in ((None, "Hi."), (settings.checker, "x" * 129)):
            self.assertRaises(
                LocalProtocolError,
                factory.change,
                OTHER,
                checker,
                None,
                message,
                settings.timeouts,
                settings.limits,
                settings.rekey,
            )
            self.assertEqual(vars(factory), before)


class TunnelTests(ReloadTestCase):
    """``twistd sodium-tunnel``, and a server that is known by name."""

    def setUp(self) -> None:
        super().setUp()
        know(self, os.path.join(self.directory, "own"), home={"endpoint": "tcp:127.0.0.1:1"})

    def start(self, *arguments: str) -> TunnelService:
        options = tunneltap.Options()
        options.parseOptions(["--listen", "tcp:0", *arguments])
        service = tunneltap.makeService(options, self.reactor)
        service.startService()
        self.addCleanup(service.stopService)
        return service

    def connected_to(self, service: TunnelService) -> Any:
        """Have a local program connect; tell where to, and as whom."""
        entry = service._factory.buildProtocol(IPv4Address("TCP", "127.0.0.1", 1))
        endpoint = service._factory.endpoint
        assert entry is not None and isinstance(endpoint, AdvisedEndpoint)
        made = endpoint._endpoint._make_factory(service._factory)
        return made.server_key.hex(), made._credentials, made.pair and made.pair.public.hex()

    def test_known_server(self) -> None:
        """Its address, its key, our key for it and our login are those that the files have by now."""
        service = self.start("--to", "home")
        self.assertEqual(self.connected_to(service), (PUBLIC, ("username", "passphrase"), None))
        write_key_file("me", OTHER)
        theirs = KeyPair.generate().public.hex()
        identity = os.path.abspath("me")
        write_servers(home={"endpoint": "tcp:127.0.0.1:2", "server-key": theirs, "login": "ann", "identity": identity})
        lines = self.reload(service)
        self.assertEqual(lines, ["connections go to home (tcp:127.0.0.1:2)", HOLDS])
        self.assertEqual(self.connected_to(service), (theirs, ("ann", ""), OTHER.public.hex()))
        self.assertEqual(self.reload(service), [HOLDS])

    def test_broken(self) -> None:
        """A file of servers with mistakes, or without that server, changes nothing."""
        service = self.start("--to", "home")
        write_servers(other={"endpoint": "tcp:127.0.0.1:2"})
        self.assertRegex(self.reload(service)[0], "^not all .* before: .*home")
        write_servers(home={"endpoint": "tcp:127.0.0.1:2", "server-key": "zz"})
        self.assertRegex(self.reload(service)[0], "^not all .* before: ")
        self.assertEqual(self.connected_to(service)[0], PUBLIC)
        self.assertEqual(service._factory.where, "home (tcp:127.0.0.1:1)")

    def test_files_of_root(self) -> None:
        """What its user can't read holds on."""
        service = self.start("--to", "home")

        def denied(*arguments: object, **more: object) -> None:
            raise PermissionError(13, "Permission denied", "servers.toml")

        self.patch(tunneltap, "read_server", denied)
        self.assertRegex(self.reload(service)[0], "before: servers.toml: Permission denied")
        self.assertEqual(self.connected_to(service)[0], PUBLIC)

    def test_typed_passphrase(self) -> None:
        """Nobody is asked again; and who never was, is not now."""
        asked: list[str] = []

        def ask(prompt: str, instead: str) -> str:
            asked.append(prompt)
            return "typed"

        self.patch(asking, "ask_passphrase", ask)
        service = self.start("--to", "tcp:192.0.2.1:1", "--server-key", PUBLIC)
        for _ in range(2):
            self.assertEqual(self.reload(service), [HOLDS])
            self.assertEqual(self.connected_to(service)[1], ("username", "typed"))
        self.assertEqual(len(asked), 1)
        service = self.start("--to", "home")
        write_servers(home={"endpoint": "tcp:192.0.2.1:2"})
        self.assertRegex(self.reload(service)[0], "before: a tunnel that runs asks for no passphrase; use --pass")
        self.assertEqual(len(asked), 1)

    def test_limits(self) -> None:
        """Fewer connections are taken, more wait for the next start; so does another port."""
        service = self.start("--to", "home", "--limit", "connections=10")
        assert service.options is not None
        for asked, given in ((5, 5), (100_000, 10)):
            service.options.words = ("--listen", "tcp:1", "--to", "home", "--limit", f"connections={asked}")
            lines = self.reload(service)
            self.assertEqual(service._factory.limit, given)
            named = "--listen, --limit connections" if asked > 10 else "--listen"
            self.assertEqual(lines, [HOLDS, f"these take effect when sodium-tunnel is started again: {named}"])
