"""
``sodiumtwist join``, with a server in memory that takes invitations, and with a real one.
"""

from __future__ import annotations

import contextlib
import fcntl
import io
import os
import re
import stat
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from typing import cast
from unittest.mock import patch

from twisted.internet.defer import Deferred, ensureDeferred, fail, succeed
from twisted.internet.error import ConnectionLost, ConnectionRefusedError
from twisted.internet.interfaces import IProtocol, IProtocolFactory
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from sodiumtwist import AuthorizedKeysFile, Limits, SodiumClientFactory
from sodiumtwist.admission.decision import TOLD
from sodiumtwist.admission.invitations import Invitation, hash_secret
from sodiumtwist.admission.joining import add_invitation
from sodiumtwist.contacts import identities
from sodiumtwist.contacts.identities import identity_for
from sodiumtwist.contacts.keyfiles import read_key_file
from sodiumtwist.contacts.servers import (
    KnownServer,
    ServerKeyChanged,
    add_server,
    forget_server,
    identities_folder,
    read_servers,
    servers_path,
)
from sodiumtwist.contacts.urls import parse_url
from sodiumtwist.core.connection import Code
from sodiumtwist.core.errors import LocalProtocolError
from sodiumtwist.describe.fingerprints import fingerprint
from sodiumtwist.programs import book_options, commands, join as join_module
from sodiumtwist.programs.cli import Options, main
from sodiumtwist.programs.exits import CommandFailed
from sodiumtwist.programs.settings import JoinSettings

from ..own_folders import folders, use_own_folders
from ..pair import CLIENT_PAIR, SERVER_PAIR, Pair, make_server_factory
from ..processes import PUBLIC, SODIUMTWIST, ProcessTestCase, clean_environment

SECRET = b"\x5e" * 16
URL = f"sodium://ann@example.org:5555/#{SERVER_PAIR.public.hex()}"
INVITATION = f"{URL}.{SECRET.hex()}"


class NoThreads:
    """A reactor whose threads do at once what they are given."""

    def getThreadPool(self) -> NoThreads:
        return self

    def callInThreadWithCallback(self, told: Callable[..., object], work: Callable[..., object], *rest: object) -> None:
        told(True, work(*rest))

    def callFromThread(self, work: Callable[..., object], *rest: object) -> None:
        work(*rest)


class JoinTestCase(SynchronousTestCase):
    """
    Has folders of its own, and a server in memory with one invitation.

    :ivar pairs: the connections so far.
    """

    def setUp(self) -> None:
        home = os.path.abspath(self.mktemp())
        os.mkdir(home)
        use_own_folders(self, home)
        self.keys = os.path.join(home, "keys.txt")
        self.now = 1_800_000_000.0
        add_invitation(self.keys, Invitation(hash_secret(SECRET), "ann", int(self.now) + 3600), self.now)
        self.clock = Clock()
        self.pairs: list[Pair] = []
        self.connects: Callable[[], Deferred[IProtocol]] | None = None
        file = AuthorizedKeysFile(self.keys, reactor=NoThreads(), wall_clock=lambda: self.now)
        self.factory = make_server_factory(self.clock, authorized_keys=file)
        self.patch(join_module, "make_endpoint", lambda reactor, settings: self)
        self.patch(sys, "stdout", io.StringIO())
        self.patch(sys, "stderr", io.StringIO())

    def connect(self, factory: IProtocolFactory) -> Deferred[IProtocol]:
        """Connect to the server, as an endpoint does."""
        if self.connects is not None:
            return self.connects()
        self.pairs.append(Pair(self.factory, cast(SodiumClientFactory, factory)))
        return succeed(self.pairs[-1].client)

    def settings(self, name: str = "home", url: str = INVITATION) -> JoinSettings:
        return JoinSettings(parse_url(url), "ann", parse_url(url).secret or b"", name)

    def begin(self, settings: JoinSettings | None = None) -> Deferred[None]:
        return ensureDeferred(join_module.join(self.clock, settings or self.settings()))

    def join(self, settings: JoinSettings | None = None) -> Deferred[None]:
        """Join, and let all arrive."""
        joining = self.begin(settings)
        for pair in self.pairs:
            pair.flush()
        return joining

    def begin_to_be_listed(self) -> Deferred[None]:
        """Begin to join; the server lists the key, and its answer does not arrive."""
        joining = self.begin()
        pair = self.pairs[-1]
        while not self.listed():
            pair._move(pair.server_transport, pair.client_transport)
            pair._move(pair.client_transport, pair.server_transport)
        return joining

    def failed(self, joining: Deferred[None]) -> CommandFailed:
        error = self.failureResultOf(joining, CommandFailed).value
        self.assertNotIn(SECRET.hex(), str(error))
        return cast(CommandFailed, error)

    def files(self) -> list[str]:
        """The names of the keys."""
        try:
            return sorted(os.listdir(identities_folder()))
        except FileNotFoundError:
            return []

    def listed(self) -> list[str]:
        """The keys that the server lets in."""
        with open(self.keys) as file:
            return re.findall("protocol=2 ([0-9a-f]{64}) ann", file.read())

    def assert_nothing_is_left(self) -> None:
        self.assertEqual(self.files(), [])
        self.assertEqual(read_servers(), {})


class JoinTests(JoinTestCase):
    """
    An invitation is used, once.
    """

    def test_joined(self) -> None:
        """The server has the key, which is for us alone, and its name is known. It is told what can be done now."""
        self.successResultOf(self.join())
        path = os.path.join(identities_folder(), "home.key")
        key = read_key_file(path)
        self.assertEqual(self.listed(), [key.public.hex()])
        self.assertEqual(stat.S_IMODE(os.stat(path).st_mode), 0o600)
        self.assertEqual(stat.S_IMODE(os.stat(identities_folder()).st_mode), 0o700)
        self.assertEqual(
            read_servers(), {"home": KnownServer("home", "example.org:5555", SERVER_PAIR.public, "ann", path)}
        )
        self.assertEqual(
            cast(io.StringIO, sys.stdout).getvalue().splitlines(),
            [
                f"joined home: ann@example.org:5555, fingerprint {fingerprint(SERVER_PAIR.public)}",
                "the server says: Welcome.",
                "to send there: sodiumtwist send PATH home:",
            ],
        )
        for text in (SECRET.hex(), key.secret.hex()):
            with open(servers_path()) as file:
                self.assertNotIn(text, file.read())

    def test_lost_answer(self) -> None:
        """When the answer is lost, the same command does the rest, with the same key."""
        joining = self.begin_to_be_listed()
        self.pairs[0].client_transport.lose(ConnectionLost())
        error = self.failed(joining)
        self.assertIn("the server may have taken the key all the same, so run the same command again", str(error))
        self.assertEqual((self.files(), read_servers()), (["home.key.joining"], {}))
        self.successResultOf(self.join())
        key = read_key_file(os.path.join(identities_folder(), "home.key"))
        self.assertEqual((self.listed(), self.files()), ([key.public.hex()], ["home.key"]))
        self.assertEqual(list(read_servers()), ["home"])

    def test_lost_answer_and_no_better_one(self) -> None:
        """Until the server has looked at the invitation again, the key stays: it may be listed."""
        self.begin_to_be_listed().addErrback(lambda reason: None)
        self.pairs[0].client_transport.lose(ConnectionLost())

        def stays(says: str) -> None:
            error = self.failed(self.join())
            self.assertRegex(str(error), f"{says}.*; the server may have taken the key .* run the same command again$")
            self.assertEqual(self.files(), ["home.key.joining"])

        self.connects = lambda: fail(ConnectionRefusedError())
        stays("nothing listens there")
        self.connects = lambda: Deferred()
        joining = self.begin()
        joining.cancel()
        self.assertRegex(str(self.failed(joining)), "^interrupted; the server may have taken the key")
        self.connects = None
        usual, self.factory = self.factory, make_server_factory(self.clock)
        stays("login, passphrase or key refused")
        self.factory = make_server_factory(self.clock, limits=Limits(failures_per_address=1))
        stays("login, passphrase or key refused")
        stays("too many logins have failed, so this one was not checked")
        self.factory = usual
        self.successResultOf(self.join())
        key = read_key_file(os.path.join(identities_folder(), "home.key"))
        self.assertEqual((self.listed(), self.files()), ([key.public.hex()], ["home.key"]))

    def test_lost_answer_and_withdrawn(self) -> None:
        """Once the server has looked at it, nothing is left of it."""
        self.begin_to_be_listed().addErrback(lambda reason: None)
        self.pairs[0].client_transport.lose(ConnectionLost())
        with open(self.keys, "w"):
            pass
        self.assertRegex(str(self.failed(self.join())), "the server knows no such invitation: .* ask for a new one$")
        self.assert_nothing_is_left()

    def test_other_name_then(self) -> None:
        """That may be under another name."""
        joining = self.begin_to_be_listed()
        joining.cancel()
        self.pairs[0].flush()
        self.assertRegex(str(self.failed(joining)), "^interrupted; the server may have taken the key")
        self.successResultOf(self.join(self.settings("office")))
        self.assertEqual(self.files(), ["home.key"])
        self.assertEqual(read_servers()["office"].identity, os.path.join(identities_folder(), "home.key"))

    def test_refused(self) -> None:
        """A server that takes the invitation not, or no longer, leaves nothing behind. It says why."""
        unknown = replace(parse_url(INVITATION), secret=b"\x01" * 16).whole
        for url, hours, why in (
            (unknown, 0, "the server knows no such invitation: .*"),
            (INVITATION, 2, "the invitation expired on 2027-01-15 09:00 UTC; ask for a new one"),
        ):
            self.now += hours * 3600
            error = self.failed(self.join(self.settings(url=url)))
            self.assertRegex(str(error), rf"^refused by example.org:5555: {why}$")
            self.assertEqual(error.status, 3)
            self.assert_nothing_is_left()

    def test_used_by_another(self) -> None:
        self.successResultOf(self.join())
        use_own_folders(self, os.path.abspath(self.mktemp()))
        error = self.failed(self.join())
        self.assertRegex(str(error), "the invitation was used on .* UTC; ask for a new one$")
        self.assert_nothing_is_left()

    def test_takes_none(self) -> None:
        """A server that knows no invitations takes it for a wrong passphrase."""
        self.assertEqual(TOLD[Code.REFUSED], join_module.LOGIN_REFUSED)
        self.factory = make_server_factory(self.clock)
        error = self.failed(self.join())
        self.assertRegex(str(error), "refused; it takes no invitations, .* its owner gives it --authorized-keys")
        self.assert_nothing_is_left()

    def test_cannot_store(self) -> None:
        """Where the server could not list the key, another try is worth it, with the same one."""
        os.chmod(os.path.dirname(self.keys), 0o777)
        error = self.failed(self.join())
        self.assertEqual(error.status, 10)
        self.assertRegex(str(error), "could not store your key; its log says why; .* run the same command again$")
        os.chmod(os.path.dirname(self.keys), 0o700)
        self.flushLoggedErrors()
        self.successResultOf(self.join())
        self.assertEqual(len(self.listed()), 1)

    def test_no_connection(self) -> None:
        """Then nothing is left behind, nor when that was interrupted."""
        self.connects = lambda: fail(ConnectionRefusedError())
        self.assertEqual(self.failed(self.join()).status, 2)
        self.assert_nothing_is_left()
        self.connects = lambda: Deferred()
        joining = self.join()
        joining.cancel()
        error = self.failed(joining)
        self.assertEqual((error.status, str(error)), (130, "interrupted"))
        self.assert_nothing_is_left()

    def test_silent_server(self) -> None:
        """One that has not shown that it has its key was not shown the secret. No other version is spoken of."""
        url = INVITATION.replace(SERVER_PAIR.public.hex(), PUBLIC)
        joining = self.join(self.settings(url=url))
        for _ in range(20):
            self.clock.advance(1)
            self.pairs[0].flush()
        error = self.failed(joining)
        self.assertRegex(str(error), "^refused by .*: the server says nothing to this invitation: it may be another")
        self.assertNotIn("protocol", str(error))
        self.assert_nothing_is_left()

    def test_known_otherwise(self) -> None:
        """What can't be kept is told before the server is asked, so the invitation is still good."""
        use = self.begin
        add_server(KnownServer("home", "example.com:5555", CLIENT_PAIR.public))
        error = self.failureResultOf(use(), LocalProtocolError).value
        self.assertEqual(str(error), "the name home is taken, by example.com:5555; choose another one")
        add_server(KnownServer("other", "example.org:5555", CLIENT_PAIR.public))
        error = self.failureResultOf(use(self.settings("new")), ServerKeyChanged).value
        for key in (SERVER_PAIR.public, CLIENT_PAIR.public):
            self.assertIn(fingerprint(key), str(error))
        with open(servers_path(), "a") as file:
            file.write("[")
        self.failureResultOf(use(), LocalProtocolError)
        os.unlink(servers_path())
        os.mkdir(servers_path())
        self.failureResultOf(use(), IsADirectoryError)
        self.assertEqual((self.pairs, self.files()), ([], []))

    def test_no_room_before(self) -> None:
        """So it is on a full disk, for either file."""
        real = os.fsync
        for count in range(3):
            left = [True] * count

            def full(fd: int, left: list[bool] = left) -> None:
                if not left:
                    raise OSError(28, "No space left on device")
                left.pop()
                real(fd)

            with patch.object(os, "fsync", full):
                error = self.failureResultOf(self.begin(), OSError).value
            self.assertIn(error.filename, (servers_path(), identities_folder()))
            self.assertEqual(self.pairs, [])
            self.assert_nothing_is_left()
        self.assertEqual(os.listdir(os.path.dirname(servers_path())), [])

    def test_not_kept_afterwards(self) -> None:
        """When the file of servers fails after all, the same command does the rest."""
        calls: list[bool] = []

        def fails(server: KnownServer, *, try_only: bool = False) -> None:
            calls.append(try_only)
            if len(calls) == 2:
                raise OSError(28, "it can't be written: No space left on device", servers_path())
            add_server(server, try_only=try_only)

        self.patch(join_module, "add_server", fails)
        error = self.failed(self.join())
        self.assertRegex(
            str(error), "^the server has let the key in, but .*: No space left .*; mend that, and run the same command"
        )
        self.assertEqual((error.status, self.files()), (5, ["home.key"]))
        self.successResultOf(self.join())
        self.assertEqual((calls, len(self.listed()), self.files()), ([True, False] * 2, 1, ["home.key"]))
        self.assertEqual(list(read_servers()), ["home"])

    def test_at_once(self) -> None:
        """One invitation is used by one program at a time."""
        first = self.begin()
        error = self.failureResultOf(self.begin(), LocalProtocolError).value
        self.assertEqual(str(error), "another program is using this invitation just now")
        self.pairs[0].flush()
        self.successResultOf(first)

    def test_gone_meanwhile(self) -> None:
        """Who finds a key that another program takes away just then does not use it."""
        with identity_for(SECRET, "home") as first:

            def late(fd: int, kind: int) -> None:
                first.delete()

            self.patch(identities, "locked_folder", contextlib.nullcontext)
            self.patch(fcntl, "flock", late)
            self.assertRaises(LocalProtocolError, identity_for(SECRET, "home").__enter__)

    def test_after_it_was_forgotten(self) -> None:
        """The key that stayed is used again."""
        self.successResultOf(self.join())
        before = forget_server("home")
        self.successResultOf(self.join())
        self.assertEqual(read_servers(), {"home": before})
        self.assertEqual(len(self.listed()), 1)

    def test_too_late_after_it_was_forgotten(self) -> None:
        """When the server takes the invitation no more, the key stays all the same, and it is told how to keep it."""
        self.successResultOf(self.join())
        forget_server("home")
        self.now += 30 * 24 * 3600
        path = os.path.join(identities_folder(), "home.key")
        error = self.failed(self.join())
        self.assertTrue(str(error).endswith(f"sodiumtwist add home '{URL}' --identity {path}"), str(error))
        self.assertEqual(self.files(), ["home.key"])

    def test_name_of_the_key(self) -> None:
        """Beside a key of that name, another one gets a number; none is overwritten."""
        os.makedirs(identities_folder())
        for name in ("home.key", "home-2.key.joining"):
            with open(os.path.join(identities_folder(), name), "w") as file:
                file.write("mine\n")
        self.successResultOf(self.join())
        self.assertEqual(self.files(), ["home-2.key.joining", "home-3.key", "home.key"])

    def test_keys_of_others(self) -> None:
        """What lies beside is looked at, and left: a folder, a FIFO, what can't be read."""
        os.makedirs(os.path.join(identities_folder(), "folder.key"))
        os.mkfifo(os.path.join(identities_folder(), "fifo.key"))
        os.symlink("nowhere", os.path.join(identities_folder(), "link.key"))
        self.successResultOf(self.join())
        self.assertEqual(self.files(), ["fifo.key", "folder.key", "home.key", "link.key"])

    def test_repr(self) -> None:
        """No log shows the secret."""
        self.assertNotIn(SECRET.hex(), repr(self.settings()))
        self.assertNotIn(SECRET.hex(), repr(parse_url(INVITATION)))


class CommandTests(JoinTestCase):
    """
    The command line.
    """

    def parse(self, *arguments: str) -> JoinSettings:
        options = Options()
        options.parseOptions(["join", *arguments])
        return cast(book_options.JoinOptions, options.subOptions).settings

    def fails(self, *arguments: str) -> str:
        """What a command says that fails."""
        self.patch(sys, "stderr", io.StringIO())
        self.patch(commands, "make_endpoint", lambda reactor, settings: self.fail("it would connect"))
        ended = self.assertRaises(SystemExit, main, ["join", *arguments])
        self.assertEqual(ended.code, 1)
        said = cast(io.StringIO, sys.stderr).getvalue()
        self.assertNotIn(SECRET.hex(), said)
        self.assertEqual(said.count("\n"), 1)
        return said

    def test_names(self) -> None:
        """Without a name, it is the host's first one. One that is taken gets a number."""
        self.assertEqual(self.parse(INVITATION, "office").name, "office")
        self.assertEqual(self.parse(INVITATION, "office:").name, "office")
        for host, name in {
            "example.org": "example",
            "localhost": "localhost",
            "192.0.2.7": "192.0.2.7",
            "[2001:db8::1]": "server",
            "tcp.example.org": "server",
            "-x.example.org": "server",
        }.items():
            self.assertEqual(self.parse(INVITATION.replace("example.org", host)).name, name)
        add_server(KnownServer("example", "example.com", CLIENT_PAIR.public))
        self.assertEqual(self.parse(INVITATION).name, "example-2")
        for number in range(2, 12):
            add_server(KnownServer(f"example-{number}", "example.com", CLIENT_PAIR.public))
        self.assertEqual(self.parse(INVITATION).name, "example-12")

    def test_long_name(self) -> None:
        host = "x" * 63 + ".example.org"
        self.assertEqual(self.parse(INVITATION.replace("example.org", host)).name, "x" * 63)
        add_server(KnownServer("x" * 63, "example.com", CLIENT_PAIR.public))
        self.assertEqual(self.parse(INVITATION.replace("example.org", host)).name, "x" * 60 + "-2")

    def test_refused(self) -> None:
        """What is no invitation is refused at once, and told what it is."""
        nasty = URL.replace("example", "a';id;'")
        for arguments, pattern in (
            ((), "INVITATION is missing"),
            ((INVITATION, "a", "b"), "unexpected argument 'b'"),
            (("example.org:5555",), "an invitation is a URL that begins with sodium://; - reads it from "),
            ((URL,), f"that URL invites nobody, having no secret; .* run: sodiumtwist add NAME '{URL}'"),
            # Whoever has sent it may want a command run that is copied from here.
            ((nasty,), "the URL names .*, and no host is called so"),
            ((INVITATION.replace("ann@", ""),), "the invitation names no login before its @"),
            ((INVITATION[:-1],), "the URL is not whole: .* copy all of it, in quotes"),
            ((INVITATION, "a b"), "a server can't be called 'a b'"),
            ((INVITATION, "tcp"), "a server can't be called tcp"),
            (("--timeout", "x", INVITATION), "--timeout takes a number of seconds"),
        ):
            self.assertRegex(self.fails(*arguments), f"^sodiumtwist: {pattern}")

    def test_timeout(self) -> None:
        self.assertEqual(self.parse("--timeout", "3", INVITATION).timeout, 3)

    def test_broken_file_of_servers(self) -> None:
        os.makedirs(os.path.dirname(servers_path()))
        with open(servers_path(), "w") as file:
            file.write("x\n")
        self.assertRegex(self.fails(INVITATION, "home"), "servers.toml: line 1: it is no TOML: ")

    def test_joined_before(self) -> None:
        """What was joined by the same invitation is told, and nobody is asked again."""
        self.successResultOf(self.join())
        self.patch(sys, "stdout", io.StringIO())
        main(["join", INVITATION, "other"])
        said = cast(io.StringIO, sys.stdout).getvalue()
        self.assertRegex(said, "^joined home before, by the same invitation: ann@example.org:5555, .*\nto send")

    def test_standard_input(self) -> None:
        """``-``: neither the list of processes nor the history of the shell has the invitation."""
        for text in (
            INVITATION,
            f"\n {INVITATION}\r\n",
            INVITATION.replace("/#", "/\n  #"),
            f"<{INVITATION}>",
            f"“{INVITATION}”,",
        ):
            self.patch(sys, "stdin", io.StringIO(text))
            self.assertEqual(self.parse("-").secret, SECRET)
        for text in ("", "\n"):
            self.patch(sys, "stdin", io.StringIO(text))
            self.assertIn("no invitation came from standard input", self.fails("-"))
        self.patch(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"\xff"), encoding="utf-8"))
        self.assertIn("what came from standard input is not UTF-8", self.fails("-"))
        self.patch(sys, "stdin", None)
        self.assertIn("standard input is closed", self.fails("-"))

    def test_terminal(self) -> None:
        """On a terminal it is asked for, and one line is enough."""

        class Terminal(io.StringIO):
            def isatty(self) -> bool:
                return True

        self.patch(sys, "stdin", Terminal(f"{INVITATION}\nmore\n"))
        self.assertEqual(self.parse("-").secret, SECRET)
        self.assertEqual(cast(io.StringIO, sys.stderr).getvalue(), "Invitation: ")


class ProcessTests(ProcessTestCase):
    """
    The real thing.
    """

    def test_join_and_send(self) -> None:
        """One line to invite, one to join, and then files go there by the server's name; the server runs on."""
        with open(os.open(self.path("keys.txt"), os.O_CREAT | os.O_WRONLY, 0o600), "w"):
            pass
        server = self.start_server("--authorized-keys", "keys.txt", "--auth", "none", "--directory", "up")
        port = self.endpoint.rpartition(":")[2]
        url = f"sodium://ann@127.0.0.1:{port}/#{PUBLIC}.{SECRET.hex()}"
        add_invitation(self.path("keys.txt"), Invitation(hash_secret(SECRET), "ann", 2**32), 0)
        environment = clean_environment(**folders(self.path("home")))
        joining = self.run_process([*SODIUMTWIST, "join", "-", "home"], env=environment, stdin=subprocess.PIPE)
        joining.stdin.write(url.encode())
        joining.stdin.close()
        self.assertEqual((joining.wait(), joining.errors), (0, []))
        self.assertEqual(joining.output[-1], "to send there: sodiumtwist send PATH home:")
        server.wait_for("'ann' has joined by an invitation")
        sending = self.run_process([*SODIUMTWIST, "send", self.make_file("in", 10), "home:"], env=environment)
        self.assertEqual((sending.wait(), sending.errors), (0, []))
        self.assertEqual(self.read("up/ann/in"), self.read("in"))
