"""
Endpoint strings: what they mean, and who may come in.
"""

from __future__ import annotations

import os
import sqlite3
import sys
import textwrap
import time
from contextlib import closing
from typing import Any

from twisted.internet import endpoints, reactor
from twisted.internet.defer import ensureDeferred
from twisted.internet.endpoints import clientFromString, quoteStringArgument, serverFromString
from twisted.internet.protocol import Factory
from twisted.protocols.wire import Echo
from twisted.python.systemd import ListenFDs
from twisted.trial.unittest import SynchronousTestCase, TestCase

from sodiumtwist import KeyPair, ReplayDatabase, SodiumClientEndpoint, SodiumServerEndpoint
from sodiumtwist.admission.invitations import Invitation, hash_secret, make_secret, passphrase_of
from sodiumtwist.admission.joining import add_invitation
from sodiumtwist.contacts.keyfiles import write_key_file
from sodiumtwist.core.errors import AuthenticationFailed, InvalidKey, LocalProtocolError
from sodiumtwist.core.version import VERSIONS
from sodiumtwist.endpoints import strings
from sodiumtwist.endpoints.strings import client_from_string, server_from_string
from sodiumtwist.protocol.factories import VERSION

from ..certificates import Authority
from ..endpoint_files import EndpointFiles, hide_secrets
from ..lines import connect_lines
from ..pair import LOGIN, PASSPHRASE, SERVER_PAIR
from ..ports import port_number
from ..processes import ProcessTestCase
from ..versions import each_version, only, spoken


class StringTests(SynchronousTestCase):
    """What the strings mean."""

    def setUp(self) -> None:
        self.files = EndpointFiles(self.mktemp())
        hide_secrets(self)

    def make_server(self, string: str) -> Any:
        return serverFromString(reactor, string)._endpoint

    def make_client(self, string: str) -> Any:
        return clientFromString(reactor, string)._endpoint

    def test_server(self) -> None:
        """The inner endpoint is what it would be alone, wherever our keywords stand."""
        for string in (
            f"sodium:tcp:5555:interface=127.0.0.1:{self.files.for_server}",
            f"sodium:tcp:{self.files.for_server}:5555:interface=127.0.0.1",
            f"sodium:{self.files.for_server}:tcp:port=5555:interface=127.0.0.1",
        ):
            inner = self.make_server(string)
            self.assertEqual((inner._port, inner._interface), (5555, "127.0.0.1"))
        self.assertEqual(self.make_server(f"sodium:unix:a\\:b\\=c\\\\d:{self.files.for_server}")._address, "a:b=c\\d")
        inner = self.make_server(f"sodium:unix:address=a\\:b=c:mode=600:{self.files.for_server}")
        self.assertEqual((inner._address, inner._mode), ("a:b=c", 0o600))
        proxied = self.make_server(f"sodium:haproxy:tcp:5555:{self.files.for_server}")
        self.assertEqual(proxied._wrappedEndpoint._port, 5555)
        proxied = self.make_server(f"sodium:haproxy:unix:a\\:b:{self.files.for_server}")
        self.assertEqual(proxied._wrappedEndpoint._address, "a:b")

    def test_server_addresses(self) -> None:
        """Behind ``sodium:`` an address does, as people write it."""
        for where, expected in (
            ("127.0.0.1:5555", (5555, "127.0.0.1")),
            ("tcp:127.0.0.1:5555", (5555, "127.0.0.1")),
            ("[::1]:5555", (5555, "::1")),
            ("tcp:[::1]:5555", (5555, "::1")),
            ("5555", (5555, "127.0.0.1")),
            ("*:5555", (5555, "")),
        ):
            inner = self.make_server(f"sodium:{where}:{self.files.for_server}")
            self.assertEqual((inner._port, inner._interface), expected)
        inner = self.make_server(f"sodium:[::1]:5555:{self.files.for_server}:backlog=7")
        self.assertEqual((inner._interface, inner._backlog), ("::1", 7))

    def test_client_addresses(self) -> None:
        for where, expected in (
            ("example.org:7000:timeout=7", ("example.org", 7000)),
            ("7000", ("127.0.0.1", 7000)),
            ("[::1]:7000", ("::1", 7000)),
            ("tcp:[::1]:7000", ("::1", 7000)),
            ("tcp6:[::1]:7000:timeout=7", ("::1", 7000)),
        ):
            inner = self.make_client(f"sodium:{where}:{self.files.for_client}")
            self.assertEqual((inner._host, inner._port), expected)
            self.assertEqual(inner._timeout, 7 if "timeout" in where else 30)
        inner = self.make_client(f"sodium:example.org:{self.files.for_client}")
        self.assertIsInstance(inner, endpoints.HostnameEndpoint)

    def test_server_under_tls(self) -> None:
        """``ssl:`` with its files, whose names may need quoting, and the ``tls:`` of newer Twisteds."""
        directory = os.path.abspath(self.mktemp())
        os.mkdir(directory)
        path = Authority("known").issue(os.path.join(directory, "a:b=c.pem"), "localhost")
        quoted = quoteStringArgument(path).replace("=", "\\=")
        inner = self.make_server(
            f"sodium:ssl:443:privateKey={quoted}:certKey={quoted}:interface=127.0.0.1:{self.files.for_server}"
        )
        self.assertEqual((inner._port, inner._interface), (443, "127.0.0.1"))
        if hasattr(endpoints, "_TLSServerEndpointParser"):
            inner = self.make_server(f"sodium:tls:{directory}:443:interface=127.0.0.1:{self.files.for_server}")
            self.assertIsNotNone(inner)

    def test_server_of_systemd(self) -> None:
        """A socket by its name, with a colon in it."""
        sockets = ListenFDs([3], ["web:x"])
        self.patch(endpoints._SystemdParser, "_sddaemon", sockets)
        inner = self.make_server(f"sodium:systemd:domain=INET:name=web\\:x:{self.files.for_server}")
        self.assertEqual(inner.fileno, 3)

    def test_client(self) -> None:
        inner = self.make_client(f"sodium:tcp:example.org:5555:timeout=7:{self.files.for_client}")
        self.assertEqual((inner._host, inner._port, inner._timeout), ("example.org", 5555, 7))
        inner = self.make_client(f"sodium:unix:path=a\\:b=c:{self.files.for_client}")
        self.assertEqual(inner._path, "a:b=c")
        inner = self.make_client(f"sodium:tls:example.org:443:timeout=7:{self.files.for_client}")
        below = inner._wrappedEndpoint
        self.assertEqual((below._hostText, below._port), ("example.org", 443))

    def test_line_of_keygen(self) -> None:
        """The server's key may be the whole line that ``keygen`` prints, with a backslash before its colon or not."""
        for colon in (":", "\\:"):
            line = f"public key{colon} {SERVER_PAIR.public.hex()}"
            string = self.files.for_client.replace(SERVER_PAIR.public.hex(), line)
            inner = self.make_client(f"sodium:tcp:example.org:5555:{string}")
            self.assertEqual((inner._host, inner._port), ("example.org", 5555))

    def test_mistakes(self) -> None:
        """The error names the keyword."""

        def without(name: str, string: str) -> str:
            return ":".join(part for part in string.split(":") if not part.startswith(name + "="))

        server = f"sodium:tcp:5555:login=me:passphraseFile={self.files.passphrase_file}"
        client = f"sodium:tcp:host:5555:{self.files.for_client}"
        for make, string, error, named in (
            (self.make_server, server, ValueError, "missing: keyFile= (or $SODIUMTWIST_KEY)"),
            (
                self.make_server,
                "sodium:tcp:5555",
                ValueError,
                "keyFile= (or $SODIUMTWIST_KEY), login=, passphraseFile= (or $SODIUMTWIST_PASSPHRASE)",
            ),
            (
                self.make_client,
                "sodium:tcp:host:5555",
                ValueError,
                "missing: serverKey=, login=, passphraseFile= (or $SODIUMTWIST_PASSPHRASE)",
            ),
            (
                self.make_client,
                f"sodium:tls:host:443:bogus=1:odd=2:{self.files.for_client}",
                ValueError,
                "bogus, odd; so",
            ),
            (self.make_client, f"sodium:tcp:a..b:1:{self.files.for_client}", ValueError, "can't be a host's name"),
            (
                self.make_server,
                f"sodium:tcp:5555:{without('login', self.files.for_server)}",
                ValueError,
                "missing: login=",
            ),
            (
                self.make_server,
                f"sodium:tcp:5555:{without('passphraseFile', self.files.for_server)}",
                ValueError,
                "missing: passphraseFile= (or $SODIUMTWIST_PASSPHRASE)",
            ),
            (
                self.make_server,
                f"sodium:tcp:5555:{self.files.for_server}:passphrase=x",
                ValueError,
                "use passphraseFile=",
            ),
            (self.make_server, f"sodium:tcp:5555:{self.files.for_server}:key=x", ValueError, "use keyFile="),
            (self.make_server, "sodium:tcp:5555:privateKeyHex=x", ValueError, "use keyFile="),
            (self.make_client, "sodium:tcp:host:5555:privateKeyHex=x", ValueError, "use identityFile="),
            (self.make_client, "sodium:tcp:host:5555:key=x", ValueError, "unknown keyword key; sodium takes serverKey"),
            (
                self.make_server,
                f"sodium:systemd:index=3:domain=INET:{self.files.for_server}",
                ValueError,
                "sodium: systemd is not understood: there is no socket of that index",
            ),
            (
                self.make_client,
                f"sodium:tcp:host:5555:serverKey={SERVER_PAIR.secret.hex()}:login=me",
                ValueError,
                "missing: passphraseFile=",
            ),
            (
                self.make_client,
                f"sodium:tcp:h:1:{without('serverKey', self.files.for_client)}:serverKey=private key\\: {'11' * 32}",
                InvalidKey,
                "the serverKey has to be a public key, not a private one",
            ),
            (
                self.make_client,
                f"sodium:tcp:h:1:{without('serverKey', self.files.for_client)}:serverKey=private key: {'11' * 32}",
                InvalidKey,
                "the serverKey has to be a public key, not a private one",
            ),
            (
                self.make_server,
                f"sodium:tcp:5555:{self.files.for_server}:keyFlie=x",
                ValueError,
                "unknown keyword keyFlie; sodium takes keyFile, login, passphraseFile, auth, authorizedKeys, replayDB, "
                "protocol, and tcp",
            ),
            (self.make_server, f"sodium:{self.files.for_server}", ValueError, "which endpoint"),
            (self.make_server, f"{server}:keyFile=missing", ValueError, "sodium: keyFile=missing: No such file"),
            (
                self.make_server,
                f"sodium:tcp:5555:{self.files.for_server}:auth=nobody",
                LocalProtocolError,
                "unknown kind",
            ),
            (
                self.make_server,
                f"sodium:tcp:5555:{self.files.for_server}:auth=none",
                ValueError,
                "auth=none excludes login=",
            ),
            (
                self.make_server,
                f"sodium:tcp:5555:{self.files.key_only}:auth=none",
                ValueError,
                "missing: authorizedKeys=",
            ),
            (
                self.make_server,
                f"sodium:tcp:5555:{self.files.for_server}:authorizedKeys=missing",
                ValueError,
                "sodium: authorizedKeys=missing: No such file",
            ),
            (
                self.make_server,
                f"sodium:tcp:5555:{self.files.for_server}:replayDB=missing/db",
                ValueError,
                "sodium: replayDB=missing/db: No such file",
            ),
            (self.make_client, f"{client}:identityFile=missing", ValueError, "sodium: identityFile=missing: No such"),
            (self.make_client, f"{client}:protocol=3", ValueError, "sodium: protocol=3: the versions are 1 and 2"),
            (self.make_client, f"{client}:protocol=", ValueError, "sodium: protocol=: the versions are 1 and 2"),
            (
                self.make_server,
                f"sodium:tcp:5555:{self.files.for_server}:protocol= 2",
                ValueError,
                "sodium: protocol= 2: the versions are 1 and 2",
            ),
            (self.make_server, f"{server}:keyFile={self.files.passphrase_file}", InvalidKey, "pass"),
            (
                self.make_client,
                f"sodium:tcp:host:http:{self.files.for_client}",
                ValueError,
                "sodium: tcp is not understood: 'http' is no number",
            ),
            (self.make_client, without("serverKey", client), ValueError, "missing: serverKey="),
            (self.make_client, without("login", client), ValueError, "missing: login="),
            (self.make_client, f"{client}:keyFile=x", ValueError, "unknown keyword keyFile"),
            (self.make_client, f"{without('serverKey', client)}:serverKey=12", InvalidKey, "serverKey"),
        ):
            self.assertIn(named, str(self.assertRaises(error, make, string)), string)

    def test_protocol(self) -> None:
        """Which versions are spoken; without the keyword a server takes all, and a client speaks what is usual."""
        for keyword, versions, version in (("", VERSIONS, VERSION), (":protocol=1", (1,), 1), (":protocol=2", (2,), 2)):
            server = serverFromString(reactor, f"sodium:tcp:5555:{self.files.for_server}{keyword}")
            self.assertEqual(server._make_factory(Factory()).versions, versions)
            client = clientFromString(reactor, f"sodium:tcp:host:5555:{self.files.for_client}{keyword}")
            self.assertEqual(client._make_factory(Factory()).version, version)

    def test_passphrase_of_one_version(self) -> None:
        """One that no client of the version can give is told at once."""
        self.patch(os, "environ", {**os.environ, "SODIUMTWIST_KEY": SERVER_PAIR.secret.hex()})
        os.environ["SODIUMTWIST_PASSPHRASE"] = "p" * 129
        server_from_string(reactor, ("tcp", "5555"), {"login": "me"})
        only_1 = {"login": "me", "protocol": "1"}
        error = self.assertRaises(LocalProtocolError, server_from_string, reactor, ("tcp", "5555"), only_1)
        self.assertIn("128", str(error))

    def test_environment(self) -> None:
        """Secrets may be there instead; in both places is a mistake."""
        given = {"SODIUMTWIST_KEY": SERVER_PAIR.secret.hex(), "SODIUMTWIST_PASSPHRASE": PASSPHRASE}
        self.patch(os, "environ", {**os.environ, **given})
        server = server_from_string(reactor, ("tcp", "5555"), {"login": "me"})
        self.assertIsInstance(server, SodiumServerEndpoint)
        client = {"login": "me", "serverKey": SERVER_PAIR.public.hex()}
        self.assertIsInstance(client_from_string(reactor, ("tcp", "host", "5555"), client), SodiumClientEndpoint)
        twice = {"login": "me", "keyFile": self.files.key_file}
        error = self.assertRaises(LocalProtocolError, server_from_string, reactor, ("tcp", "5555"), twice)
        self.assertIn("keyFile= and from $SODIUMTWIST_KEY; use one", str(error))

    def test_plugin_is_light(self) -> None:
        """Programs that only look for endpoint strings do not load the package."""
        program = """
            import sys
            import twisted.plugins.sodiumtwist_plugin
            sys.exit("sodiumtwist" in sys.modules)
        """
        case = ProcessTestCase()
        case.setUp()
        self.addCleanup(case.doCleanups)
        self.assertEqual(case.run_process([sys.executable, "-c", textwrap.dedent(program)]).wait(), 0)


@each_version
class WhoStringTests(TestCase):
    """Strings that say who may come in, end to end."""

    def setUp(self) -> None:
        self.files = EndpointFiles(self.mktemp())
        hide_secrets(self)

    async def talk(self, server: str, client: str) -> None:
        port = await serverFromString(reactor, f"sodium:tcp:0:interface=127.0.0.1:{server}").listen(
            Factory.forProtocol(Echo)
        )
        self.addCleanup(port.stopListening)
        if "protocol=" not in client:
            client += f":protocol={spoken()}"
        endpoint = clientFromString(reactor, f"sodium:tcp:127.0.0.1:{port_number(port)}:{client}")
        lines = await connect_lines(endpoint)
        lines.sendLine(b"hello")
        self.assertEqual(await lines.answered, b"hello")
        lines.transport.loseConnection()
        await lines.lost

    async def test_key_alone(self) -> None:
        """``auth=none`` and a list of keys: neither login nor passphrase on either side."""
        server = f"{self.files.key_only}:auth=none:authorizedKeys={self.files.list_file}"
        client = f"serverKey={SERVER_PAIR.public.hex()}:identityFile={self.files.identity_file}"
        await self.talk(server, client)
        await self.assertFailure(ensureDeferred(self.talk(server, self.files.for_client)), AuthenticationFailed)

    async def test_key_and_login(self) -> None:
        """Both count."""
        server = f"{self.files.for_server}:authorizedKeys={self.files.list_file}"
        await self.talk(server, f"{self.files.for_client}:identityFile={self.files.identity_file}")
        for client in (
            self.files.for_client,
            f"serverKey={SERVER_PAIR.public.hex()}:identityFile={self.files.identity_file}",
        ):
            await self.assertFailure(ensureDeferred(self.talk(server, client)), AuthenticationFailed)

    @only(2)
    async def test_invitation(self) -> None:
        """Whoever gives one gets its key listed, and comes in by that from then on."""
        secret = make_secret()
        invitation = Invitation(hash_secret(secret), LOGIN, int(time.time()) + 60)
        add_invitation(self.files.list_file, invitation, time.time())
        with open(self.files.passphrase_file, "w") as file:
            file.write(passphrase_of(secret))
        joining, identity = KeyPair.generate(), self.files.identity_file + "2"
        write_key_file(identity, joining)
        server = f"{self.files.key_only}:auth=none:authorizedKeys={self.files.list_file}"
        await self.talk(server, f"{self.files.for_client}:identityFile={identity}")
        with open(self.files.list_file) as file:
            self.assertIn(f"protocol=2 {joining.public.hex()} {LOGIN}", file.read())
        await self.talk(server, f"login={LOGIN}:serverKey={SERVER_PAIR.public.hex()}:identityFile={identity}")
        await self.assertFailure(ensureDeferred(self.talk(server, self.files.for_client)), AuthenticationFailed)

    async def test_checker(self) -> None:
        """``auth=`` takes what ``--auth`` takes, and stands beside a login."""
        users = os.path.join(os.path.dirname(self.files.list_file), "users")
        with open(users, "w", opener=lambda name, flags: os.open(name, flags, 0o600)) as file:
            file.write("ann:secret\n")
        with open(self.files.passphrase_file + "2", "w") as file:
            file.write("secret")
        as_ann = f"login=ann:passphraseFile={self.files.passphrase_file}2:serverKey={SERVER_PAIR.public.hex()}"
        await self.talk(f"{self.files.key_only}:auth=file\\:{users}", as_ann)
        for client in (as_ann, self.files.for_client):
            await self.talk(f"{self.files.for_server}:auth=file\\:{users}", client)
        refused = ensureDeferred(self.talk(f"{self.files.key_only}:auth=file\\:{users}", self.files.for_client))
        await self.assertFailure(refused, AuthenticationFailed)

    @only(2)
    async def test_replay_database(self) -> None:
        """It serves both versions."""
        path = os.path.join(os.path.dirname(self.files.list_file), "replays")
        databases: list[ReplayDatabase] = []

        def opened(path: str) -> ReplayDatabase:
            databases.append(ReplayDatabase(path))
            return databases[-1]

        self.patch(strings, "ReplayDatabase", opened)
        for version in VERSIONS:
            client = f"{self.files.for_client}:protocol={version}"
            await self.talk(f"{self.files.for_server}:replayDB={path}", client)
            await databases[-1].close()
        with closing(sqlite3.connect(path)) as database:
            for table in ("handshakes", "salts"):
                self.assertEqual(list(database.execute(f"SELECT count(*) FROM {table}")), [(1,)])
