"""
What the README shows works as it stands.
"""

from __future__ import annotations

import importlib
import os
import re
import socket
import sys
import textwrap
from inspect import signature

from twisted.trial.unittest import SynchronousTestCase

from sodiumtwist import KeyPair, Limits, RekeyAfter, ReplayDatabase, ReplayMemory, Timeouts
from sodiumtwist.requests import CONCURRENCY, REQUEST_LIMIT
from sodiumtwist.tap import LIMITS

from .processes import SODIUMTWIST, TWISTD, ProcessTestCase

ROOT = os.path.dirname(os.path.dirname(__file__))
README = os.path.join(ROOT, "README.rst")


def readme() -> str:
    with open(README, encoding="utf-8") as file:
        return file.read()


class ReadmeTests(ProcessTestCase):
    """The README's blocks."""

    def test_embedding(self) -> None:
        """The programs run."""
        blocks = re.findall(r"\.\. code-block:: python\n\n((?:    .*\n|\n)+)", readme())
        outputs = [
            r"b'HELLO, WORLD for me'\n\d+\.\d ms there and back",
            "connected to True",
            r"HELLO, WORLD\nConnection was closed cleanly\.",
        ]
        self.assertEqual(len(blocks), len(outputs))
        for block, output in zip(blocks, outputs, strict=True):
            with open(self.path("example.py"), "w") as file:
                file.write(textwrap.dedent(block).replace("5556", str(self.free_port())))
            example = self.run_process([sys.executable, "example.py"])
            self.assertEqual((example.wait(), example.errors), (0, []))
            self.assertRegex("\n".join(example.output), f"^{output}$")

    def free_port(self) -> int:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            return probe.getsockname()[1]

    def test_key_alone(self) -> None:
        """The commands that let a key decide, with a loopback address for the host."""
        shown = [line.strip() for line in readme().splitlines()]
        keygen = next(line for line in shown if line.startswith("sodiumtwist keygen --output me.key"))
        serve = next(line for line in shown if line.startswith("twistd -n sodium") and "--auth none" in line)
        send = next(line for line in shown if line.startswith("sodiumtwist send") and "--identity" in line)
        made = self.run_process([*SODIUMTWIST, *keygen.split()[1:]])
        self.assertEqual(made.wait(), 0)
        with open(self.path("keys.txt"), "w") as file:
            file.write(made.output[0].removeprefix("public key: ") + " # me\n")
        server_made = self.run_process([*SODIUMTWIST, "keygen", "--output", "server.key"])
        self.assertEqual(server_made.wait(), 0)
        options = serve.replace("tcp:5555", "tcp:0:interface=127.0.0.1").split()[2:]
        server = self.run_process([*TWISTD, "-n", "--pidfile=", *options])
        port = server.wait_for(r"listening on 127\.0\.0\.1:(\d+)")[1]
        self.make_file("backup.tar", 300_000)
        key = server_made.output[0].removeprefix("public key: ")
        options = send.replace("PUBLICKEY", key).replace("HOST:5555", f"127.0.0.1:{port}").split()[1:]
        client = self.run_process([*SODIUMTWIST, *options])
        self.assertEqual((client.wait(), client.errors), (0, []))

    def test_two_machines(self) -> None:
        """The commands for two machines send a file, with a loopback address for the host."""
        shown = [line.strip() for line in readme().splitlines()]
        keygen = next(line for line in shown if line.startswith("sodiumtwist keygen"))
        passphrase = next(line for line in shown if line.startswith("(umask"))
        serve = next(line for line in shown if line.startswith("twistd -n sodium --key-file"))
        send = next(line for line in shown if line.startswith("sodiumtwist send --key PUBLICKEY --endpoint tcp:HOST"))
        made = self.run_process([*SODIUMTWIST, *keygen.split()[1:]])
        self.assertEqual(made.wait(), 0)
        key = made.output[0].removeprefix("public key: ")
        self.assertEqual(KeyPair.from_hex(self.read("server.key").decode()).public.hex(), key)
        self.assertEqual(self.run_process(["sh", "-c", passphrase]).wait(), 0)
        options = serve.replace("tcp:5555", "tcp:0:interface=127.0.0.1").split()[2:]
        server = self.run_process([*TWISTD, "-n", "--pidfile=", *options])
        port = server.wait_for(r"listening on 127\.0\.0\.1:(\d+)")[1]
        self.make_file("backup.tar", 300_000)
        options = send.replace("PUBLICKEY", key).replace("HOST:5555", f"127.0.0.1:{port}").split()[1:]
        client = self.run_process([*SODIUMTWIST, *options])
        self.assertEqual((client.wait(), client.errors), (0, []))
        (name,) = os.listdir(self.path("uploads"))
        self.assertTrue(self.read(os.path.join("uploads", name)) == self.read("backup.tar"))


class SecurityPageTests(SynchronousTestCase):
    """``SECURITY.rst``"""

    def test_tests_exist(self) -> None:
        """Each test that it names is there."""
        with open(os.path.join(ROOT, "SECURITY.rst"), encoding="utf-8") as file:
            named = re.findall(r"``([a-z_/0-9]+)\.py: (\w+)\.(\w+)``", file.read())
        self.assertGreater(len(named), 12)
        for path, case, method in named:
            module = importlib.import_module("tests." + path.replace("/", "."))
            self.assertTrue(callable(getattr(getattr(module, case), method)), (path, case, method))


class LimitTests(SynchronousTestCase):
    """The README's table."""

    def test_numbers(self) -> None:
        """It has the defaults of the code."""
        start = readme().index("Limits\n------")
        table = " ".join(readme()[start : readme().index("How fast")].split())
        limits, timeouts, rekey = Limits(), Timeouts(), RekeyAfter()
        for text in (
            f"Connections at once {limits.connections:,}",
            f"Not authenticated of these {limits.unauthenticated:,}",
            f"From one IPv4 address or IPv6 /64 {limits.per_address:,}",
            f"whose client leaves {limits.failures_per_login} each in {limits.failure_seconds:g} s",
            f"Before the login is accepted {timeouts.authentication:g} s",
            f"or nothing taken {timeouts.inactivity:g} s",
            f"PING after {timeouts.ping_interval:g} s",
            f"{ReplayMemory()._limit:,}; with ``--replay-db`` 10,000,000",
            f"after {rekey.size >> 30} GiB or an hour",
            f"Requests without answer, by a client {REQUEST_LIMIT}",
            f"Requests worked on at once, per connection {CONCURRENCY}",
        ):
            self.assertIn(text, table)
        for name in LIMITS:
            self.assertIn(f"{name}", table)
        self.assertEqual((limits.failures_per_address, rekey.seconds), (limits.failures_per_login, 3600))
        self.assertEqual(signature(ReplayDatabase).parameters["limit"].default, 10_000_000)
