"""
What the command line of ``twistd sodium`` says about what several servers remember together.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from twisted.python import usage

from ..admission.replays import IReplayMemory, ReplayMemory
from ..admission.shared_store import FailuresTogether, SharedReplays
from ..operation.redis_store import REPLAYS_LIMIT, STORE_SECONDS, RedisStore
from ..protocol.factories import SodiumServerFactory
from .completers import CompleteWords
from .service_options import LimitNames
from .settings import ServerSettings, StoreSettings

#: What becomes of logins while the store is down.
WHEN_DOWN = ("deny", "local")

#: The most seconds that it may take to answer: each login waits for it.
STORE_SECONDS_LIMIT = 5.0

STORE_PARAMETERS = [
    ["shared-store", None, None, "redis://HOST that servers of one key share"],
    ["shared-store-down", None, None, "deny logins without it, or local memory"],
]

STORE_COMPLETIONS = {"shared-store-down": CompleteWords(WHEN_DOWN)}

#: Options that say something about others.
STORE_NEEDS = {"shared-store-down": ("shared-store",)}

#: What ``--limit`` may name.
STORE_LIMITS: LimitNames = {"shared-store-seconds": (StoreSettings, "seconds")}


def read_store(options: usage.Options, given_limits: Callable[[type], dict[str, Any]]) -> StoreSettings | None:
    """
    Read these options.

    :param options: parsed.
    :param given_limits: tells what ``--limit`` has given for a class.
    :return: ``None`` where this server is alone.
    :raises UsageError: when one is wrong.
    """
    url, down = options["shared-store"], options["shared-store-down"]
    if url is None:
        if down is not None:
            raise usage.UsageError("--shared-store-down goes with --shared-store")
        return None
    if down not in (None, *WHEN_DOWN):
        raise usage.UsageError(f"--shared-store-down takes {' or '.join(WHEN_DOWN)}, not {down!r}")
    seconds: float = given_limits(StoreSettings).get("seconds", STORE_SECONDS)
    # Not "seconds <= 0", which NaN is not.
    if not 0 < seconds <= STORE_SECONDS_LIMIT:
        raise usage.UsageError(
            f"--limit shared-store-seconds= takes a number of seconds up to {STORE_SECONDS_LIMIT:g}, not {seconds:g}"
        )
    replays: int = given_limits(ReplayMemory).get("limit", REPLAYS_LIMIT)
    return StoreSettings(url, down == "local", seconds, replays)


def open_store(settings: ServerSettings, reactor: Any) -> RedisStore | None:
    """
    Make what the settings ask for, and look whether it is there. One that is not may come later, which the log says.

    :param reactor: has threads, and the clock.
    :raises LocalProtocolError: when the URL is none, the package ``redis`` is missing, or what is there is of no use.
    """
    store = settings.store
    if store is None:
        return None
    seconds = settings.limits.failure_seconds
    made = RedisStore(store.url, settings.scope, reactor, seconds, store.replays, store.seconds)
    # Now, while a mistake can be told to whoever starts the service.
    made.look()
    return made


def remembering(settings: ServerSettings, store: RedisStore | None) -> IReplayMemory:
    """
    Give what remembers the handshakes of version 1.

    :param store: where several servers do so together; ``None`` where this one is alone.
    """
    if store is None or settings.store is None:
        return settings.replays
    return SharedReplays(store, settings.replays, settings.store.local)


def count_with_others(factory: SodiumServerFactory, settings: ServerSettings, store: RedisStore) -> None:
    """
    Let a server count the logins that fail together with others.

    :param factory: of the server, which counts.
    :param settings: that ask for it.
    :param store: where they are counted.
    """
    assert settings.store is not None
    factory.admission.others = FailuresTogether(store, settings.store.local)
