"""
Certificates of endpoints of TLS, and what a service takes of them while it runs.
"""

from __future__ import annotations

import os
import ssl
from typing import Any

from OpenSSL.crypto import Error
from OpenSSL.SSL import TLS_METHOD, Context
from twisted.internet import reactor
from twisted.internet.endpoints import quoteStringArgument
from twisted.internet.interfaces import IListeningPort, IOpenSSLServerConnectionCreator
from twisted.internet.protocol import Factory, Protocol
from twisted.internet.testing import MemoryReactorClock
from twisted.internet.threads import deferToThread
from twisted.logger import formatEvent
from twisted.trial.unittest import SynchronousTestCase, TestCase
from zope.interface import implementer

from sodiumtwist.describe import describe_endpoint_error
from sodiumtwist.operation.certificates import RenewedContext, RenewedEndpoint
from sodiumtwist.programs import tap

from ..certificates import Authority
from ..logs import logged
from ..ports import port_number
from ..processes import SECRET


def certificate_in(path: str) -> bytes:
    """Read the certificate of a file, as bytes of DER."""
    with open(path) as file:
        return ssl.PEM_cert_to_DER_cert("-----BEGIN CERT" + file.read().partition("-----BEGIN CERT")[2])


class CertificateTestCase(TestCase):
    def setUp(self) -> None:
        self.authority = Authority("known")
        self.path = self.authority.issue(self.mktemp(), "server.example")
        quoted = quoteStringArgument(self.path)
        self.files = f"privateKey={quoted}:certKey={quoted}"

    def issue(self) -> bytes:
        """Write another key and certificate into the same file; give the certificate."""
        self.authority.issue(f"{self.path}.new", "server.example")
        os.rename(f"{self.path}.new", self.path)
        return certificate_in(self.path)


class FileTests(CertificateTestCase):
    def test_words(self) -> None:
        """What OpenSSL finds wrong in a file is said in words."""
        with open(self.path, "rb") as file:
            key, mark, certificate = file.read().partition(b"-----BEGIN CERT")
        for text, words in (
            (b"", "no private key|no whole certificate"),
            (key, "no certificate in PEM"),
            (mark + certificate, "no private key"),
        ):
            with open(self.path, "wb") as file:
                file.write(text)
            error = self.assertRaises(Error, RenewedEndpoint, reactor, f"ssl:0:{self.files}")
            self.assertRegex(describe_endpoint_error(error), words)
        # Not by such a file: where there is a terminal, OpenSSL asks there.
        asked = [("UI routines", "", "processing error"), ("PEM routines", "", "bad password read")]
        self.assertRegex(describe_endpoint_error(ValueError(asked)), "the private key has a passphrase")


class PortTests(CertificateTestCase):
    """A port that stays open."""

    async def shown(self, port: IListeningPort) -> bytes:
        """Give the certificate that the next one who connects gets to see."""
        where = "127.0.0.1", port_number(port)
        return ssl.PEM_cert_to_DER_cert(await deferToThread(ssl.get_server_certificate, where))

    async def test_renewed(self) -> None:
        """
        New connections get what the file has by now. What is no certificate, or has another one's key, changes nothing,
        and is told in one line.
        """
        endpoint = RenewedEndpoint(reactor, f"ssl:0:interface=127.0.0.1:{self.files}")
        self.assertIsNone(endpoint.renew())
        port = await endpoint.listen(Factory.forProtocol(Protocol))
        self.addCleanup(port.stopListening)
        first = certificate_in(self.path)
        self.assertEqual(await self.shown(port), first)
        second = self.issue()
        self.assertEqual(await self.shown(port), first)
        self.assertIsNone(endpoint.renew())
        self.assertEqual(await self.shown(port), second)
        for text in ("nothing", self.halves()):
            with open(self.path, "w") as file:
                file.write(text)
            line = endpoint.renew()
            assert line is not None
            self.assertRegex(line, r"^the certificate of ssl:0:[^\n]*: [^\n]+$")
            self.assertEqual(await self.shown(port), second)
        os.unlink(self.path)
        self.assertRegex(endpoint.renew() or "", "No such file or directory$")
        third = self.issue()
        self.assertIsNone(endpoint.renew())
        self.assertEqual(await self.shown(port), third)

    def halves(self) -> str:
        """Give the key of one and the certificate of another, as they are while only one of two files is written."""
        with open(self.path) as file:
            key = file.read().partition("-----BEGIN CERT")[0]
        self.issue()
        with open(self.path) as file:
            return key + "".join(file.read().partition("-----BEGIN CERT")[1:])


class ContextTests(SynchronousTestCase):
    def test_creator(self) -> None:
        """What makes connections itself goes on to do that."""
        made: list[object] = []

        @implementer(IOpenSSLServerConnectionCreator)
        class Creator:
            def serverConnectionForTLS(self, protocol: object) -> Any:
                made.append(protocol)
                return "a connection"

        creator = Creator()
        self.assertEqual(RenewedContext(creator).serverConnectionForTLS("whose"), "a connection")
        self.assertEqual(made, ["whose"])

    def test_older_kind(self) -> None:
        """What has only settings for connections has one made of them."""
        context = Context(TLS_METHOD)

        class Settings:
            def getContext(self) -> Context:
                return context

        connection = RenewedContext(Settings()).serverConnectionForTLS("whose")
        self.assertIs(connection.get_context(), context)


class ServiceTests(CertificateTestCase):
    """``twistd sodium`` on endpoints of several kinds."""

    def contexts(self, clock: MemoryReactorClock) -> list[Any]:
        return [each[2] for each in clock.sslServers]

    def test_reload(self) -> None:
        """Each has its certificate renewed, also behind ``haproxy:`` and of its metrics; a broken one is told."""
        clock, events = MemoryReactorClock(), logged(self)
        options = tap.Options()
        words = ["-k", SECRET, "--discard", "-P", "first", "--message", "Hi."]
        for endpoint in (f"ssl:1:{self.files}", f"haproxy:ssl:2:{self.files}", "tcp:3"):
            words += ["-e", endpoint]
        words += ["--metrics", f"ssl:4:{self.files}"]
        options.parseOptions(words)
        service = tap.makeService(options, clock)
        service.startService()
        self.addCleanup(service.stopService)
        old = [context.context for context in self.contexts(clock)]
        self.assertEqual(len(old), 3)
        self.issue()
        self.assertTrue(service.reload())
        new = [context.context for context in self.contexts(clock)]
        self.assertFalse(set(old) & set(new))
        with open(self.path, "w") as file:
            file.write("nothing")
        service.options.words = tuple("Ho." if word == "Hi." else word for word in words)  # type: ignore[union-attr]
        self.assertFalse(service.reload())
        self.assertEqual([context.context for context in self.contexts(clock)], new)
        self.assertTrue(service._factory.message.startswith("Ho."))
        (line,) = [formatEvent(event) for event in events if event.get("event") == "reload_failed"]
        self.assertRegex(line, "before: the certificate of ssl:4:.*; .* of ssl:1:.*; .* of haproxy:ssl:2:")
