"""
``twistd sodium --shared-store``: its options, and what a service makes of them.
"""

from __future__ import annotations

import io
import sys

from twisted.internet.testing import MemoryReactorClock
from twisted.logger import formatEvent

from sodiumtwist import KeyPair
from sodiumtwist.admission.replays import ReplayMemory
from sodiumtwist.admission.shared_store import SharedReplays
from sodiumtwist.operation.redis_store import REPLAYS_LIMIT, STORE_SECONDS, RedisStore
from sodiumtwist.programs.store_options import STORE_SECONDS_LIMIT
from sodiumtwist.programs.tap import makeService

from ..logs import logged
from ..processes import PUBLIC, SECRET
from ..redis_server import RedisServer
from .test_tap import TapTestCase

#: Nothing listens there.
URL = "unix://:sesame@/nonexistent/redis.sock"


class StoreOptionsTests(TapTestCase):
    """The command line."""

    def test_default(self) -> None:
        """A server is alone."""
        options = self.parse()
        self.assertIsNone(options.settings.store)
        factory = makeService(options, MemoryReactorClock())._factory
        self.assertIsNone(factory.admission.others)
        self.assertIsInstance(factory.replays, ReplayMemory)

    def test_settings(self) -> None:
        """What is asked for; the password is not shown."""
        store = self.parse("--shared-store", URL).settings.store
        assert store is not None
        self.assertEqual((store.local, store.seconds, store.replays), (False, STORE_SECONDS, REPLAYS_LIMIT))
        self.assertNotIn("sesame", repr(store))
        words = ["--shared-store-down", "local", "--limit", "shared-store-seconds=0.5", "--limit", "replays=9"]
        store = self.parse("--shared-store", URL, *words).settings.store
        assert store is not None
        self.assertEqual((store.local, store.seconds, store.replays), (True, 0.5, 9))

    def test_mistakes(self) -> None:
        for words, why in (
            (["--shared-store-down", "local"], "--shared-store-down goes with --shared-store"),
            (["--shared-store", URL, "--shared-store-down", "x"], "--shared-store-down takes deny or local, not 'x'"),
            *(
                (
                    ["--shared-store", URL, "--limit", f"shared-store-seconds={seconds}"],
                    "takes a number of seconds up to 5",
                )
                for seconds in ("0", "nan", STORE_SECONDS_LIMIT + 1)
            ),
        ):
            ended = self.assertRaises(SystemExit, self.parse, *words)
            self.assertIn(why, str(ended.code))
        ended = self.assertRaises(
            SystemExit, makeService, self.parse("--shared-store", "http://:sesame@h"), MemoryReactorClock()
        )
        self.assertRegex(str(ended.code), "^sodium: --shared-store http://:…@h: ")

    def test_service(self) -> None:
        """It starts without the store, and says so. Uploads and streams have it, and the service closes it."""
        for place in (["--discard"], ["--forward", "127.0.0.1:1"]):
            events = logged(self)
            options = self.parse(*place, "--key", SECRET, "--shared-store", URL)
            service = makeService(options, MemoryReactorClock())
            said = [formatEvent(event) for event in events if event.get("event") == "store_down"]
            self.assertEqual(len(said), 1)
            self.assertRegex(said[0], r"^the shared store unix://:…@/nonexistent/redis.sock is down: .*No such file")
            factory = service._factory
            self.assertIsInstance(factory.replays, SharedReplays)
            self.assertIsNotNone(factory.admission.others)
            (store,) = (each for each in service.companions if isinstance(each, RedisStore))
            self.assertIn(PUBLIC[:16], store._replays[0])

    def test_reload(self) -> None:
        """A server with another key shares with those that have it, and counts failures for the time that holds now."""
        self.write("server.key", SECRET)
        words = f"key-file = 'server.key'\ndiscard = true\nshared-store = '{URL}'\n"
        self.write("config.toml", words)
        service = makeService(self.parse("--config", "config.toml"), MemoryReactorClock())
        (store,) = (each for each in service.companions if isinstance(each, RedisStore))
        other = KeyPair.generate()
        self.write("server.key", other.secret.hex())
        self.write("config.toml", f"{words}[limit]\nfailure-seconds = 600\n")
        self.assertTrue(service.reload())
        self.assertIn(other.public.hex()[:16], store._replays[0])
        self.assertEqual(store._failure_time, 600_000)

    def test_wrong_password(self) -> None:
        """A server ends at its start, before it is a daemon; ``--check`` finds it, too."""
        redis = RedisServer("--requirepass", "open-sesame")
        self.addCleanup(redis.remove)
        self.patch(sys, "stdout", io.StringIO())

        def configure(password: str) -> None:
            url = redis.url.replace("://", f"://:{password}@")
            self.write("config.toml", f'discard = true\nshared-store = "{url}"\n')

        configure("sesam")
        checked = self.assertRaises(SystemExit, self.parse, "--config", "config.toml", "--check")
        self.assertRegex(str(checked.code), "^sodium: --shared-store: unix://:…@.*: .*password")
        options = self.parse("--config", "config.toml")
        started = self.assertRaises(SystemExit, makeService, options, MemoryReactorClock())
        self.assertEqual(started.code, checked.code)
        configure("open-sesame")
        self.assertEqual(self.assertRaises(SystemExit, self.parse, "--config", "config.toml", "--check").code, 0)
