"""
Transfers between real processes that do not come to their end.
"""

from __future__ import annotations

import os
import resource
import signal
import socket
import subprocess
import time
from typing import TYPE_CHECKING

from sodiumtwist.describe import describe_size
from sodiumtwist.programs.listening import SAME_SIGNAL

from ..processes import ProcessOptions, ProcessTestCase, Running, wait_until

if TYPE_CHECKING:
    from typing_extensions import Unpack


class BrokenTests(ProcessTestCase):
    """Transfers that do not come to their end."""

    def begin(
        self, *options: str, size: int = 200_000, version: int = 2, **keywords: Unpack[ProcessOptions]
    ) -> tuple[Running, Running]:
        """A transfer whose first bytes have arrived and that waits for more to send."""
        server = self.start_server("--file", "out", *options, **keywords)
        client = self.start_client("send", "--protocol", str(version), "-", stdin=subprocess.PIPE)
        client.stdin.write(os.urandom(size))
        client.stdin.flush()
        wait_until(lambda: self.arrived() == size, "the first bytes")
        return server, client

    def arrived(self) -> int:
        return sum(os.stat(self.path(name)).st_size for name in os.listdir(self.directory) if name.endswith(".part"))

    def assert_partial(self, server: Running, size: int = 200_000) -> None:
        server.wait_for(rf"broke off: .*; kept {describe_size(size)} in .*/out\.partial")
        self.assertEqual(os.listdir(self.directory), ["out.partial"])
        self.assertEqual(os.stat(self.path("out.partial")).st_size, size)

    def test_client_killed(self) -> None:
        """What a killed client sent is kept as partial, though its end came between two PDUs."""
        server, client = self.begin()
        client.stop(signal.SIGKILL)
        self.assert_partial(server)

    def test_client_interrupted(self) -> None:
        """Ctrl-C ends the client with 130 and one line; the server keeps a partial upload."""
        server, client = self.begin()
        self.assertEqual(client.stop(signal.SIGINT), 130)
        self.assert_one_line(client.errors, "^sodiumtwist: interrupted, 200.0 kB acknowledged$")
        self.assertEqual(client.output, [])
        self.assert_partial(server)

    def test_client_terminated(self) -> None:
        """SIGTERM interrupts it, too, with a status of its own."""
        server, client = self.begin()
        self.assertEqual(client.stop(signal.SIGTERM), 143)
        self.assert_partial(server)

    def test_server_killed(self) -> None:
        """The client ends with 4 and says how much was acknowledged."""
        server, client = self.begin()
        server.stop(signal.SIGKILL)
        self.assertEqual(client.wait(), 4)
        self.assert_one_line(client.errors, "^sodiumtwist: broken on the way, 200.0 kB acknowledged: ")

    def test_server_stopped(self) -> None:
        """
        SIGTERM and Ctrl-C end it at once; in version 2 the second of them. The upload under way is kept as partial. A
        SIGHUP before makes no difference.
        """
        for number, version in ((signal.SIGTERM, 1), (signal.SIGINT, 2)):
            server, client = self.begin(version=version)
            server.process.send_signal(signal.SIGHUP)
            server.wait_for("read again what files say")
            if version == 2:
                server.process.send_signal(number)
                server.wait_for(
                    "stopping; clients that get 10 seconds to finish, unless SIGTERM or Ctrl-C comes again: 1"
                )
                time.sleep(SAME_SIGNAL)  # earlier it would be the same wish
            server.stop(number)
            self.assertEqual(client.wait(), 4 if version == 1 else 9)
            if version == 2:
                self.assert_one_line(client.errors, "200.0 kB acknowledged: the server says: the server is stopping$")
            self.assert_partial(server)
            os.unlink(self.path("out.partial"))

    def test_directory(self) -> None:
        """Version 1: in a directory the partial file has the name that the whole one would have had."""
        server = self.start_server("--directory", "up")
        client = self.start_client("send", "--protocol", "1", "-", stdin=subprocess.PIPE)
        client.stdin.write(b"some")
        client.stdin.flush()
        wait_until(lambda: any(os.stat(self.path("up", name)).st_size for name in os.listdir(self.path("up"))), "bytes")
        client.stop(signal.SIGKILL)
        name = server.wait_for(r"broke off: .*; kept 4 B in .*/up/(.*)$")[1]
        self.assertRegex(name, r"^\d{8}T\d{6}Z-username-[0-9a-f]{8}\.partial$")
        self.assertEqual(os.listdir(self.path("up")), [name])

    def test_existing_file_survives(self) -> None:
        """A broken upload leaves what the target held before."""
        self.make_file("out", 77)
        before = self.read("out")
        server, client = self.begin()
        client.stop(signal.SIGKILL)
        server.wait_for("broke off")
        self.assertEqual(self.read("out"), before)

    def test_disk_full(self) -> None:
        """The client is cut off, the log says why, and other sessions live on."""
        limit = 1_000_000
        server = self.start_server(
            "--file", "out", preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
        )
        other = self.start_client("send", "-", stdin=subprocess.PIPE)
        other.stdin.write(b"x")
        other.stdin.flush()
        wait_until(lambda: self.arrived() == 1, "the other session")
        path = self.make_file("in", 5_000_000)
        for version, status, told in (("1", 4, "the server closed"), ("2", 10, "the server says: File too large$")):
            client = self.start_client("send", "--protocol", version, path)
            self.assertEqual((client.wait(), client.output), (status, []))
            self.assert_one_line(client.errors, f"broken on the way, .*: {told}")
            acknowledged, unit = client.errors[0].partition("way, ")[2].split()[:2]
            # Less than the limit, which is 1.0 MB.
            self.assertIn((acknowledged, unit) if unit == "MB" else unit, [("1.0", "MB"), "kB", "B"])
            server.wait_for("cannot store an upload of 'username' .*: File too large")
        server.wait_for(rf"kept {describe_size(limit)} in .*/out\.partial")
        self.assertTrue(self.read("in").startswith(self.read("out.partial")))
        other.stdin.close()
        self.assertEqual((other.wait(), other.errors), (0, []))
        self.assertEqual(self.read("out"), b"x")

    def test_too_large(self) -> None:
        """What is larger than it may be is broken off, and leaves nothing."""
        server = self.start_server("--directory", "up", "--max-upload", "300K")
        path = self.make_file("in", 1_000_000)
        client = self.start_client("send", "--protocol", "2", path)
        self.assertEqual(client.wait(), 5)
        self.assert_one_line(client.errors, "^sodiumtwist: refused in: it is larger than 300 KiB$")
        self.assert_one_line(client.output, "^sent 0 files, 0 B in .*; 1 file failed$")
        client = self.start_client("send", "--protocol", "1", path)
        self.assertEqual((client.wait(), client.output), (4, []))
        server.wait_for("cannot store an upload of 'username' .*: it is larger than 300 KiB, see --max-upload")
        server.wait_for("broke off: .*; kept nothing, to make room")
        left = [name for _, _, names in os.walk(self.path("up")) for name in names]
        self.assertEqual(left, [])

    def test_forwarded(self) -> None:
        """A server that hands on streams takes no file, and does not look as if it had. It says what it is for."""
        with socket.create_server(("127.0.0.1", 0)) as backend:
            server = self.start_server("--forward", f"tcp:127.0.0.1:{backend.getsockname()[1]}")
            path = self.make_file("in", 1000)
            for version, status, told in (
                ("1", 4, "broken on the way, 0 B acknowledged: .*; if it hands streams on, sodiumtwist pipe is .*"),
                ("2", 3, "refused by tcp:.*: it hands streams on, and has no files; sodiumtwist pipe and twistd .*"),
            ):
                client = self.start_client("send", "--protocol", version, path)
                self.assertEqual((client.wait(), client.output), (status, []))
                self.assert_one_line(client.errors, f"^sodiumtwist: {told}$")
            server.wait_for("left and had sent nothing: the client wanted files that are not served here")

    def test_device_full(self) -> None:
        """A device that takes nothing: the client is cut off and can't believe the data is safe."""
        server = self.start_server("--file", "/dev/full")
        client = self.start_client("send", "--protocol", "2", self.make_file("in", 100_000))
        self.assertEqual(client.wait(), 10)
        self.assert_one_line(client.errors, "broken on the way, 0 B acknowledged: the server says: the disk is full$")
        server.wait_for("cannot store an upload .*: No space left on device")

    def test_fifo_reader_leaves(self) -> None:
        """A reader that goes away breaks the upload and not the server."""
        os.mkfifo(self.path("to"))
        server = self.start_server("--file", "to")
        client = self.start_client("send", "--protocol", "1", self.make_file("in", 10_000_000))
        with open(self.path("to"), "rb") as reader:
            reader.read(100_000)
        self.assertEqual(client.wait(), 4)
        server.wait_for("cannot store an upload .*: Broken pipe")
        self.assertEqual(self.start_client("ping", "--count", "1").wait(), 0)

    def test_server_stops_while_fifo_is_stuck(self) -> None:
        """A FIFO whose reader sleeps does not keep the server from stopping."""
        os.mkfifo(self.path("to"))
        server = self.start_server("--file", "to")
        client = self.start_client("send", "--protocol", "1", self.make_file("in", 10_000_000))
        with open(self.path("to"), "rb") as reader:
            reader.read(1)
            server.stop()
            self.assertEqual(client.wait(), 4)
        server.wait_for("broke off")

    def test_unreadable_input(self) -> None:
        """What can't be read is a usage error, before anything is connected."""
        self.endpoint = "tcp:127.0.0.1:1"
        for version, name, why in (("2", "missing", "No such file"), ("1", ".", "Is a directory")):
            client = self.start_client("send", "--protocol", version, name)
            self.assertEqual((client.wait(), client.output), (1, []))
            self.assert_one_line(client.errors, f"^sodiumtwist: cannot read {name}: {why}")
