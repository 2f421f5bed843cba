"""
What the README shows works as it stands.
"""

from __future__ import annotations

import os
import re
import socket
import sys
import textwrap

from sodiumtwist import KeyPair

from .processes import SODIUMTWIST, TWISTD, ProcessTestCase

README = os.path.join(os.path.dirname(os.path.dirname(__file__)), "README.rst")


def readme() -> str:
    with open(README, encoding="utf-8") as file:
        return file.read()


class ReadmeTests(ProcessTestCase):
    """The README's blocks."""

    def test_embedding(self) -> None:
        """The programs run."""
        blocks = re.findall(r"\.\. code-block:: python\n\n((?:    .*\n|\n)+)", readme())
        outputs = [
            ["b'HELLO, WORLD for me'", "0 s there and back"],
            ["connected to True"],
            ["HELLO, WORLD", "Connection was closed cleanly."],
        ]
        self.assertEqual(len(blocks), len(outputs))
        for block, output in zip(blocks, outputs, strict=True):
            with open(self.path("example.py"), "w") as file:
                file.write(textwrap.dedent(block).replace("5556", str(self.free_port())))
            example = self.run_process([sys.executable, "example.py"])
            self.assertEqual((example.wait(), example.errors), (0, []))
            self.assertEqual(example.output, output)

    def free_port(self) -> int:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            return probe.getsockname()[1]

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
