"""
Endpoint strings, ``connect()`` and ``ReconnectingClient`` for a server's name or URL.
"""

from __future__ import annotations

import os
from typing import Any

from twisted.internet import reactor
from twisted.internet.endpoints import clientFromString, quoteStringArgument, serverFromString
from twisted.internet.protocol import Factory
from twisted.logger import formatEvent
from twisted.protocols.wire import Echo
from twisted.trial.unittest import SynchronousTestCase, TestCase

from sodiumtwist import (
    InvalidKey,
    KeyPair,
    LocalProtocolError,
    Peer,
    ReconnectingClient,
    SingleLogin,
    SodiumServerFactory,
    connect,
)
from sodiumtwist.contacts.servers import ServerKeyChanged, servers_path
from sodiumtwist.contacts.urls import ServerURL, parse_url
from sodiumtwist.endpoints.connect import introduce
from sodiumtwist.protocol.requests import Responder

from ..endpoint_files import EndpointFiles, hide_secrets
from ..known_servers import know, write_servers
from ..lines import connect_lines
from ..logs import logged
from ..pair import LOGIN, PASSPHRASE, SERVER_PAIR
from ..ports import port_number

KEY = SERVER_PAIR.public.hex()
OTHER = KeyPair.generate().public
URL = f"sodium://example.net:7000/#{KEY}"


def place(endpoint: Any) -> tuple[str, int]:
    """Where a client's endpoint connects to. One for names looks for the fastest address."""
    return getattr(endpoint, "_hostText", None) or endpoint._host, endpoint._port


class KnownTestCase(SynchronousTestCase):
    """Knows a server by name; its files are those of :class:`EndpointFiles`."""

    def setUp(self) -> None:
        hide_secrets(self)
        self.directory = os.path.abspath(self.mktemp())
        self.files = EndpointFiles(self.directory)
        know(self, self.directory, home=self.known("example.org:5555"))

    def known(self, endpoint: str) -> dict[str, str | int]:
        return {
            "endpoint": endpoint,
            "server-key": KEY,
            "login": LOGIN,
            "passphrase-file": self.files.passphrase_file,
            "identity": self.files.identity_file,
        }


class StringTests(KnownTestCase):
    """What the strings mean."""

    def made(self, string: str) -> tuple[Any, Any]:
        """The endpoint below, and the factory of the client's ends."""
        endpoint: Any = clientFromString(reactor, string)
        return endpoint._endpoint, endpoint._make_factory(Factory())

    def assert_ours(self, factory: Any, login: str = LOGIN, passphrase: str = PASSPHRASE) -> None:
        self.assertEqual((factory.server_key.hex(), factory._credentials), (KEY, (login, passphrase)))

    def test_name(self) -> None:
        """All that is known need not be said."""
        below, factory = self.made("sodium:home")
        self.assertEqual(place(below), ("example.org", 5555))
        self.assert_ours(factory)
        self.assertEqual(factory.pair, self.files.identity)

    def test_keywords(self) -> None:
        """What is said counts more; and the endpoint below has its own."""
        below, factory = self.made("sodium:home:timeout=7:protocol=1:login=bob")
        self.assertEqual((place(below), below._timeout, factory.version), (("example.org", 5555), 7, 1))
        self.assert_ours(factory, login="bob")
        write_servers(home={**self.known("example.org:5555"), "protocol": 1})
        self.assertEqual(self.made("sodium:home")[1].version, 1)
        self.assertEqual(self.made("sodium:home:protocol=2")[1].version, 2)
        os.environ["SODIUMTWIST_PASSPHRASE"] = "p"
        self.assert_ours(self.made(f"sodium:home:serverKey={KEY}")[1], passphrase="p")

    def test_url(self) -> None:
        """Twisted splits it at its colons. Login and passphrase may stand in keywords behind it."""
        quoted = quoteStringArgument(self.files.passphrase_file)
        for url, host, port in (
            (f"sodium://{LOGIN}@example.net:7000/#{KEY}", "example.net", 7000),
            (f"sodium://{LOGIN}@[::1]:7000/#{KEY}", "::1", 7000),
            (f"sodium://{LOGIN}@example.net/#{KEY}", "example.net", 5555),
            (f"sodium://example.net:7000/#{KEY}:login={LOGIN}", "example.net", 7000),
        ):
            below, factory = self.made(f"{url}:passphraseFile={quoted}")
            self.assertEqual(place(below), (host, port))
            self.assert_ours(factory)
        odd = ServerURL(parse_url(URL).address, SERVER_PAIR.public, "a:b=c@d")
        self.assert_ours(self.made(f"{odd}:passphraseFile={quoted}")[1], login="a:b=c@d")

    def test_url_with_tls(self) -> None:
        below, factory = self.made(
            f"sodium+tls://{LOGIN}@example.net:443/#{KEY}:identityFile={self.files.identity_file}"
        )
        self.assertEqual(place(below._wrappedEndpoint), ("example.net", 443))
        self.assert_ours(factory, passphrase="")

    def test_mistakes(self) -> None:
        """One line, that shows no secret."""
        secret = "ab" * 16
        for string, kind, said in (
            ("sodium:hoem", LocalProtocolError, "no server is known by the name 'hoem', but home"),
            (f"sodium:home:serverKey={OTHER.hex()}", ServerKeyChanged, "home has the key with fingerprint "),
            ("sodium:home:bogus=1", ValueError, "unknown keyword bogus; sodium takes "),
            (f"sodium://h:1/#{KEY}.{secret}", LocalProtocolError, "this is an invitation; run: sodiumtwist join 'URL'"),
            (f"sodium://h:1/#{KEY[1:]}", LocalProtocolError, "the URL is not whole"),
            (f"sodium://h:1/#{KEY}", ValueError, "missing: login=, passphraseFile="),
            (f"sodium://h:1/#{'0' * 64}", InvalidKey, "the key in the URL is no public key: "),
            ("sodium:tcp:home:1", ValueError, "missing: serverKey="),
        ):
            line = str(self.assertRaises(kind, clientFromString, reactor, string))
            self.assertIn(said, line)
            self.assertNotIn(secret, line)

    def test_no_place_to_listen(self) -> None:
        """A URL is for clients."""
        line = str(self.assertRaises(ValueError, serverFromString, reactor, URL))
        self.assertRegex(line, "^sodium: a URL tells clients where a server is; ")

    def test_files_that_are_gone(self) -> None:
        for name, file in (("identity", self.files.identity_file), ("passphrase-file", self.files.passphrase_file)):
            os.rename(file, f"{file}.old")
            line = str(self.assertRaises(ValueError, clientFromString, reactor, "sodium:home"))
            self.assertEqual(line, f"sodium: {name}={file}: No such file or directory")
            os.rename(f"{file}.old", file)

    def test_no_names_are_needed(self) -> None:
        """A file of servers with mistakes is in nobody's way who needs none of them."""
        with open(servers_path(), "a") as file:
            file.write("nonsense\n")
        self.made(f"sodium:tcp:h:1:{self.files.for_client}")
        self.made(f"sodium://h:1/#{KEY}:identityFile={self.files.identity_file}")
        line = str(self.assertRaises(LocalProtocolError, clientFromString, reactor, "sodium:home"))
        self.assertRegex(line, r"servers\.toml: line \d+: ")


class ConnectTests(KnownTestCase, TestCase):
    """``connect()`` and ``ReconnectingClient``, over loopback sockets."""

    timeout = 10

    async def listen(self) -> str:
        """Listen until the test is over; return HOST:PORT."""

        def respond(peer: Peer, payload: bytes) -> bytes:
            return f"{peer.login} {peer.public_key == self.files.identity.public}".encode()

        factory = SodiumServerFactory(SERVER_PAIR, SingleLogin(LOGIN, PASSPHRASE), respond)
        factory.protocol = Responder
        port = await serverFromString(reactor, "tcp:0:interface=127.0.0.1").listen(factory)
        self.addCleanup(port.stopListening)
        where = f"127.0.0.1:{port_number(port)}"
        write_servers(home=self.known(where))
        return where

    async def test_name(self) -> None:
        """All that is known need not be given."""
        await self.listen()
        async with connect(reactor, "home") as client:
            self.assertEqual(await client.request(b""), f"{LOGIN} True".encode())

    async def test_url(self) -> None:
        """A URL has all but a secret of ours."""
        where = await self.listen()
        url = f"sodium://{LOGIN}@{where}/#{KEY}"
        async with connect(reactor, url, passphrase=PASSPHRASE) as client:
            self.assertEqual(await client.request(b""), f"{LOGIN} False".encode())
        async with connect(reactor, url, SERVER_PAIR.public, LOGIN, PASSPHRASE) as client:
            self.assertEqual(await client.request(b""), f"{LOGIN} False".encode())

    async def test_arguments_go_first(self) -> None:
        """What is given counts more than what is known."""
        await self.listen()
        pair = KeyPair.generate()
        async with connect(reactor, "home", pair=pair, version=1) as client:
            self.assertEqual(await client.request(b""), f"{LOGIN} False".encode())
            self.assertEqual(client.version, 1)

    async def test_mistakes(self) -> None:
        """The Deferred fails, as with all else that is wrong."""
        for arguments, kind, said in (
            (("hoem",), LocalProtocolError, "no server is known by the name 'hoem', but home"),
            (("example.org:5555",), LocalProtocolError, "server_key is missing"),
            (("tcp:h:1",), LocalProtocolError, "server_key is missing"),
            (("home", OTHER), ServerKeyChanged, "home has the key with fingerprint "),
            ((f"sodium://h:1/#{KEY}.{'ab' * 16}",), LocalProtocolError, "this is an invitation"),
        ):
            error = await self.assertFailure(connect(reactor, *arguments), kind)
            self.assertIn(said, str(error))

    def test_host_without_names(self) -> None:
        """With a key, a file of servers with mistakes is only a line of the log."""
        write_servers(localhost={"nonsense": 1})
        self.assertRaises(LocalProtocolError, introduce, reactor, "localhost", None, "", "", None, None)
        events = logged(self)
        made: Any = introduce(reactor, "localhost", OTHER, LOGIN, PASSPHRASE, None, None)
        self.assertEqual((place(made.endpoint), made.server_key, made.version), (("localhost", 5555), OTHER, 2))
        self.assertRegex(formatEvent(events[0]), r"servers\.toml: line \d+: ")

    def test_passphrase_that_others_can_read(self) -> None:
        """That is a line of the log, too."""
        os.chmod(self.files.passphrase_file, 0o644)
        events = logged(self)
        self.assertEqual(introduce(reactor, "home", None, "", "", None, None).passphrase, PASSPHRASE)
        self.assertIn("chmod 600", formatEvent(events[0]))

    async def test_reconnecting(self) -> None:
        """The same for the one that connects again."""
        await self.listen()
        client = ReconnectingClient(reactor, "home")
        self.addCleanup(client.stopService)
        client.startService()
        self.assertEqual(await client.request(b""), f"{LOGIN} True".encode())
        for arguments, kind in ((("hoem",), LocalProtocolError), (("home", OTHER), ServerKeyChanged)):
            self.assertRaises(kind, ReconnectingClient, reactor, *arguments)

    async def test_stream(self) -> None:
        """A string with a name, end to end."""
        files = self.files
        server = f"{files.key_only}:auth=none:authorizedKeys={files.list_file}"
        port = await serverFromString(reactor, f"sodium:tcp:0:interface=127.0.0.1:{server}").listen(
            Factory.forProtocol(Echo)
        )
        self.addCleanup(port.stopListening)
        write_servers(
            home={
                "endpoint": f"127.0.0.1:{port_number(port)}",
                "server-key": KEY,
                "identity": os.path.abspath(files.identity_file),
            }
        )
        lines = await connect_lines(clientFromString(reactor, "sodium:home"))
        lines.sendLine(b"hello")
        self.assertEqual(await lines.answered, b"hello")
        lines.transport.loseConnection()
        await lines.lost
