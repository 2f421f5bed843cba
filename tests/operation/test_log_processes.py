"""
The log of a service that runs, moved away by logrotate. The service is another user where root runs the tests.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
from pathlib import Path
from typing import Any

from ..outside import find_program
from ..processes import SECRET, TWISTD, ProcessTestCase, unmeasured, wait_until

ROOT = Path(__file__).resolve().parent.parent.parent


class LogrotateTests(ProcessTestCase):
    """The example of the page on logs."""

    def events(self, name: str) -> list[dict[str, Any]]:
        try:
            return [json.loads(line) for line in self.read(name).splitlines()]
        except FileNotFoundError:
            return []

    def wait_for_event(self, name: str, event: str) -> dict[str, Any]:
        found: list[dict[str, Any]] = []

        def look() -> bool:
            found[:] = [each for each in self.events(name) if each["event"] == event]
            return bool(found)

        wait_until(look, f"{event} in {name}")
        return found[0]

    def rotate(self, user: str, pid: int) -> None:
        """Run logrotate with what the page has, here."""
        logrotate = find_program("logrotate", "logrotate")
        text = (ROOT / "docs/howto/logrotate.conf").read_text(encoding="utf-8")
        for there, here in (
            ("/var/log/sodiumtwist/*.log", self.path("*.log")),
            ("create 0640 sodiumtwist adm", f"create 0640{user and ' '}{user}"),
            ("systemctl kill --kill-whom=main --signal=HUP sodiumtwist.service", f"kill -HUP {pid}"),
        ):
            self.assertIn(there, text)
            text = text.replace(there, here)
        with open(self.path("logrotate.conf"), "w") as file:
            file.write(text)
        os.chmod(self.path("logrotate.conf"), 0o644)
        command = [logrotate, "--force", "--state", self.path("state"), self.path("logrotate.conf")]
        subprocess.run(command, check=True, capture_output=True, timeout=30)

    def test_moved(self) -> None:
        """All that was logged is in one file or the other, and the server is not disturbed."""
        find_program("logrotate", "logrotate")
        user = "nobody" if os.geteuid() == 0 else ""
        # In a folder in which the service can't make files.
        os.chmod(self.directory, 0o755)
        with open(self.path("server.log"), "w"):
            pass
        if user:
            shutil.chown(self.path("server.log"), user)
        server = self.run_process(
            [
                *(*TWISTD, "-n", "--pidfile=", "--logfile", "server.log", *(["--uid", user] if user else [])),
                *("sodium", "--key", SECRET, "--discard", "--log-format", "json", "--limit", "log-size=0"),
                *("--endpoint", "tcp:0:interface=127.0.0.1"),
            ],
            env=unmeasured(),
        )
        address = self.wait_for_event("server.log", "listening")["address"]
        host, _, port = address.rpartition(":")
        with socket.create_connection((host, int(port))):
            first = self.wait_for_event("server.log", "client_connected")
            self.rotate(user, server.pid)
            self.wait_for_event("server.log", "reloaded")
        gone = self.wait_for_event("server.log", "client_refused")
        self.assertEqual((gone["peer"], gone["outcome"]), (first["peer"], "left"))
        self.assertEqual(self.events("server.log")[0]["event"], "logs_reopened")
        self.assertIn(first, self.events("server.log.1"))
        self.assertNotIn(first, self.events("server.log"))
        # Where another program rotates, this changes nothing that matters, and ends nothing.
        os.kill(server.pid, signal.SIGUSR1)
        self.assertIn(server.stop(), (0, -signal.SIGTERM))
        self.assertEqual(self.events("server.log")[-1]["message"], "Server Shut Down.")
        self.assertEqual(server.errors, [])
