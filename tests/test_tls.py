"""
Under TLS, where a network lets only that through: real processes, and an authority made here.
"""

from __future__ import annotations

import os
import signal
import subprocess

from twisted.internet import endpoints
from twisted.trial.unittest import SynchronousTestCase

from sodiumtwist.describe import describe_tls_error

from .certificates import Authority
from .processes import PUBLIC, TWISTD, ProcessTestCase, Running


class TLSTests(ProcessTestCase):
    """A server behind ``ssl:``, a client through ``tls:``."""

    def setUp(self) -> None:
        super().setUp()
        self.authority = Authority("known")
        self.roots = self.authority.publish(self.path("roots"))

    def start(self, certificate: str, *options: str) -> Running:
        """Start a server with a certificate; ``endpoint`` then names it for clients who trust the authority."""
        server = self.start_server(
            "--endpoint", f"ssl:0:interface=127.0.0.1:privateKey={certificate}:certKey={certificate}", *options
        )
        ports = [line.rpartition(":")[2] for line in server.output if "] listening on" in line]
        while len(ports) < 2:
            server.wait_for(rf"listening on 127\.0\.0\.1:(?!{ports[0]}$)\d+")
            ports = [line.rpartition(":")[2] for line in server.output if "] listening on" in line]
        self.endpoint = f"tls:localhost:{ports[1]}:trustRoots={self.roots}"
        return server

    def send(self, size: int = 3_000_000) -> Running:
        client = self.start_client("send", self.make_file("file", size))
        client.wait()
        return client

    def test_right_name(self) -> None:
        """The file arrives, and the log shows an endpoint with TLS to copy."""
        server = self.start(self.authority.issue(self.path("cert"), "localhost"), "--file", "out")
        client = self.send()
        self.assertEqual((client.wait(), client.errors), (0, []))
        self.assertTrue(self.read("out") == self.read("file"))
        server.wait_for("--to tls:127.0.0.1:")

    def test_renewed(self) -> None:
        """Behind SIGHUP who comes sees the new certificate; who is there goes on with the old one, on the same port."""
        server = self.start(self.authority.issue(self.path("cert"), "localhost"), "--directory", "up")
        client = self.start_client("send", "--name", "long", "-", stdin=subprocess.PIPE)
        client.stdin.write(b"begun ")
        client.stdin.flush()
        server.wait_for("is authenticated as 'username'")
        other = Authority("other")
        other.issue(self.path("next"), "localhost")
        os.rename(self.path("next"), self.path("cert"))
        server.process.send_signal(signal.SIGHUP)
        server.wait_for("read again what files say")
        known, self.endpoint = self.endpoint, self.endpoint.replace(self.roots, other.publish(self.path("others")))
        self.assertEqual(self.start_client("ping", "-c", "1").wait(), 0)
        self.endpoint = known
        refused = self.start_client("ping", "-c", "1")
        self.assertEqual(refused.wait(), 2)
        client.stdin.write(b"and ended")
        client.stdin.close()
        self.assertEqual((client.wait(), client.errors), (0, []))
        self.assertEqual(self.read("up/username/long"), b"begun and ended")

    def assert_refused(self, certificate: str, line: str) -> None:
        server = self.start(certificate, "--file", "out")
        client = self.send()
        self.assertEqual(client.wait(), 2)
        self.assert_one_line(client.errors, rf"^sodiumtwist: cannot connect to tls:localhost.*: {line}")
        server.wait_for("refused 127.0.0.1")
        self.assertFalse([text for text in server.output + server.errors if "Traceback" in text])

    def test_wrong_name(self) -> None:
        self.assert_refused(
            self.authority.issue(self.path("cert"), "other.example"),
            "the server's certificate is not for the name 'localhost'; connect by a name that it is for$",
        )

    def test_expired(self) -> None:
        self.assert_refused(
            self.authority.issue(self.path("cert"), "localhost", -1),
            "the server's certificate is not trusted: it is out of its dates, or ",
        )

    def test_unknown_authority(self) -> None:
        self.assert_refused(
            Authority("unknown").issue(self.path("cert"), "localhost"),
            "the server's certificate is not trusted: .* no authority known here has signed it",
        )

    def test_no_tls(self) -> None:
        """A client without TLS at a port with it is told how that is reached, and the log says why."""
        server = self.start(self.authority.issue(self.path("cert"), "localhost"), "--file", "out")
        tls_port = self.endpoint.split(":")[2]
        self.endpoint = f"tcp:127.0.0.1:{tls_port}"
        client = self.send()
        self.assertEqual(client.wait(), 2)
        self.assert_one_line(
            client.errors, "cannot connect to tcp:127.0.0.1.* where TLS is spoken at that port, tls:HOST:PORT connects"
        )
        server.wait_for("refused 127.0.0.1:.* what came is not TLS")

    def test_tls_alone(self) -> None:
        """A client with TLS at a port without it is told so, and so is who reads the log."""
        server = self.start_server("--file", "out")
        port = self.endpoint.split(":")[2]
        self.endpoint = f"tls:localhost:{port}:trustRoots={self.roots}"
        client = self.start_client("send", "--timeout", "1", self.make_file("file", 10))
        self.assertEqual(client.wait(), 2)
        self.assert_one_line(client.errors, "TLS handshake.*; is TLS spoken at that port.* tcp:HOST:PORT connects")
        server.wait_for("refused 127.0.0.1:.* the first packet is that of TLS, which is not spoken at this port")

    def test_tunnel(self) -> None:
        """Streams go through TLS, too, and one that fails says why."""
        backend = self.start_server("--file", "out")
        there = self.endpoint
        self.start(self.authority.issue(self.path("cert"), "localhost"), "--forward", there)
        file = self.make_file("file", 3_000_000)
        for roots, status in ((self.roots, 0), (Authority("unknown").publish(self.path("others")), 2)):
            to = self.endpoint.replace(self.roots, roots)
            tunnel = self.run_process(
                [*TWISTD, "-n", "--pidfile=", "sodium-tunnel", "--listen", "tcp:127.0.0.1:0", "--to", to]
                + ["--server-key", PUBLIC]
            )
            port = tunnel.wait_for(r"listening on 127\.0\.0\.1:(\d+)")[1]
            endpoint, self.endpoint = self.endpoint, f"tcp:127.0.0.1:{port}"
            client = self.start_client("send", file)
            self.endpoint = endpoint
            self.assertEqual(client.wait(), status, client.errors)
        tunnel.wait_for("cannot connect .*: the server's certificate is not trusted")
        self.assertTrue(self.read("out") == self.read("file"))
        self.assertFalse([line for line in backend.output if "Traceback" in line])

    if hasattr(endpoints, "_TLSServerEndpointParser"):

        def test_directory_of_certificates(self) -> None:
            """Twisted's ``tls:`` server endpoint serves, too."""
            os.mkdir(self.path("certificates"))
            self.authority.issue(self.path("certificates", "localhost.pem"), "localhost")
            server = self.start_server(
                "--endpoint", f"tls:{self.path('certificates')}:0:interface=127.0.0.1", "--file", "out"
            )
            first = self.endpoint.rpartition(":")[2]
            port = server.wait_for(rf"listening on (?:\[::ffff:)?127\.0\.0\.1\]?:(?!{first}$)(\d+)")[1]
            self.endpoint = f"tls:localhost:{port}:trustRoots={self.roots}"
            client = self.send()
            self.assertEqual((client.wait(), client.errors), (0, []))
            self.assertTrue(self.read("out") == self.read("file"))


class DescribeTests(SynchronousTestCase):
    def test_others(self) -> None:
        """What is no error of TLS is left to others."""
        self.assertIsNone(describe_tls_error(ValueError("x")))
