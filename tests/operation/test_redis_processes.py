"""
``twistd sodium --shared-store``, with a real server of Redis.
"""

from __future__ import annotations

import re

from ..processes import Running
from ..programs.test_who_processes import RecordedTestCase
from ..redis_server import RedisServer


class SharedStoreTests(RecordedTestCase):
    """Two servers that share a store, and a session of version 1 that was recorded."""

    def setUp(self) -> None:
        super().setUp()
        self.redis = RedisServer("--requirepass", "open-sesame")
        self.addCleanup(self.redis.remove)
        self.url = self.redis.url.replace("unix://", "unix://:open-sesame@")

    def start_sharing(self, *options: str) -> Running:
        """Start a server. Where its store is stands in a file, since it has a password."""
        self.write("config.toml", f'discard = true\nshared-store = "{self.url}"\nuser = "username"\n')
        return self.start("--config", self.path("config.toml"), *options)

    def test_killed(self) -> None:
        """What one let in, the other does not. While the store is gone nobody is let in; then all goes on."""
        whole = len(self.session.wire_to("client"))
        one = self.start_sharing()
        self.assertEqual(self.play(), whole)
        other = self.start_sharing()
        self.assertEqual(self.play(), 0)
        other.wait_for("refused .* as 'username': the handshake was accepted before")
        self.redis.kill()
        # A client takes that for what may go well later.
        self.assertRaises(ConnectionResetError, self.play)
        other.wait_for("refused .*: the login could not be checked: 'the shared store unix://:…@.* is down: ")
        self.redis.start()
        other.wait_for("the shared store unix://:…@.* answers again")
        # It has lost all. The one that accepted the session knows it all the same; this one never did.
        self.assertEqual(self.play(), whole)
        for server in (one, other):
            server.stop()
            server.wait_for("Server Shut Down")
            self.assertNotIn("sesame", "\n".join(server.output))

    def test_local(self) -> None:
        """It may go on alone."""
        self.redis.kill()
        server = self.start_sharing("--shared-store-down", "local")
        server.wait_for("the shared store unix://:…@.* is down: ")
        self.assertEqual(self.play(), len(self.session.wire_to("client")))
        self.assertEqual(self.play(), 0)
        self.assertEqual(len([line for line in server.output if re.search("the shared store .* is down", line)]), 2)
        self.redis.start()
        server.wait_for("answers again")
