"""
Every example runs as it stands.
"""

from __future__ import annotations

import os
import sys

from .processes import ProcessTestCase, Running

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))


class ExamplesTests(ProcessTestCase):
    def start(self, name: str, *arguments: str) -> Running:
        return self.run_process([sys.executable, os.path.join("examples", name), *arguments], cwd=ROOT)

    def assert_prints(self, running: Running, *lines: str) -> None:
        """It ends well, and says what it should."""
        self.assertEqual((running.wait(), running.errors), (0, []))
        self.assertEqual(running.output, list(lines))

    def test_all_are_run(self) -> None:
        """The tests below name each of them."""
        with open(__file__, encoding="utf-8") as file:
            text = file.read()
        for name in os.listdir(os.path.join(ROOT, "examples")):
            if name.endswith(".py"):
                self.assertIn(f'"{name}"', text)

    def test_requests(self) -> None:
        server = self.start("request_server.py")
        command = server.wait_for(r"^python examples/(request_client\.py) (\S+) (\S+)$")
        client = self.start("request_client.py", command[2], command[3])
        self.assertEqual(command[1], "request_client.py")
        lines = ["1000000 bytes from me", "1000000 bytes of tea", "failed with code 0x80000000: neither get nor put"]
        self.assert_prints(client, *lines)

    def test_asking_server(self) -> None:
        self.assert_prints(self.start("asking_server.py"), "hello, Ann")

    def test_amp(self) -> None:
        self.assert_prints(self.start("amp_over_sodium.py"), "{'total': 94, 'login': 'me'}")

    def test_web(self) -> None:
        self.assert_prints(self.start("web_over_sodium.py"), "200 hello, me")

    def test_reconnecting(self) -> None:
        lines = [f"hello, the {number}. time" for number in (1, 2, 3)]
        self.assert_prints(self.start("reconnecting_client.py"), *lines)

    def test_asyncio(self) -> None:
        self.assert_prints(self.start("core_with_asyncio.py"), "HELLO, WORLD")
