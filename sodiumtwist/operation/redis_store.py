"""
What several servers remember together, on a server of Redis.

What is asked while an answer is on its way goes out together, behind it: so one connection, and one thread that waits
for it, will do for any number of logins.
"""

from __future__ import annotations

import hashlib
import math
import re
from collections import deque
from collections.abc import Callable
from functools import partial
from threading import Thread
from typing import Any

from twisted.internet.defer import CancelledError, Deferred, fail
from twisted.internet.interfaces import IDelayedCall
from twisted.internet.threads import deferToThreadPool
from twisted.python.failure import Failure
from twisted.python.threadpool import ThreadPool
from zope.interface import implementer

from ..admission.shared_store import ISharedStore, StoreDown
from ..core.errors import LocalProtocolError
from ..describe import masked, printable
from ..describe.log import Logger
from ..protocol.clock import steady_clock
from .companions import Companion

#: Seconds within which Redis has to answer.
STORE_SECONDS = 1.0

#: Seconds between two tries to reach it while it is down; and the most, where it goes down again soon each time.
RETRY = 1.0
RETRY_MOST = 60.0

#: How many questions may wait. What is beyond fails at once.
QUEUE = 10_000

#: How many go out together.
TOGETHER = 500

#: How many handshakes it remembers when nothing else is said: they take some 150 MB there.
REPLAYS_LIMIT = 1_000_000

#: For how many addresses, and for how many logins, failures are counted there at once. More are counted by each server
#: alone; nobody is forgotten for them before the time.
FAILURES_SIZE = 100_000

#: Remembers a handshake, and forgets the oldest beyond a limit: no more than 100 with one login, as a database does.
_REMEMBER = """
local new = redis.call('ZADD', KEYS[1], 'NX', redis.call('INCR', KEYS[2]), ARGV[1])
if new == 1 then
  local excess = redis.call('ZCARD', KEYS[1]) - tonumber(ARGV[2])
  if excess > 0 then
    redis.call('ZREMRANGEBYRANK', KEYS[1], 0, math.min(excess, 100) - 1)
    return 2
  end
end
return new
"""

#: The time of Redis, in milliseconds: one clock for all servers.
_NOW = """
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
"""

#: Counts a failure, by address and by login. What is forgotten with it is what ended: two at most are added.
_FAILED = f"""{_NOW}
local seconds, size = tonumber(ARGV[1]), tonumber(ARGV[2])
for i = 1, 2 do
  local ends, counts, member = KEYS[2 * i - 1], KEYS[2 * i], ARGV[2 + i]
  local old = redis.call('ZRANGEBYSCORE', ends, '-inf', now, 'LIMIT', 0, 100)
  if #old > 0 then
    redis.call('ZREM', ends, unpack(old))
    redis.call('HDEL', counts, unpack(old))
  end
  if member ~= '' then
    local score = redis.call('ZSCORE', ends, member)
    if score and tonumber(score) > now then
      redis.call('HINCRBY', counts, member, 1)
    elseif score or redis.call('ZCARD', ends) < size then
      redis.call('ZADD', ends, now + seconds, member)
      redis.call('HSET', counts, member, 1)
      redis.call('PEXPIREAT', ends, now + seconds)
      redis.call('PEXPIREAT', counts, now + seconds)
    end
  end
end
return 1
"""

_FAILURES = f"""{_NOW}
local found = {{}}
for i = 1, 2 do
  local score = redis.call('ZSCORE', KEYS[2 * i - 1], ARGV[i])
  found[i] = score and tonumber(score) > now and redis.call('HGET', KEYS[2 * i], ARGV[i]) or 0
end
return found
"""


def _short(text: str) -> str:
    # A login may have 255 bytes, and a key in a table is no place for them.
    return hashlib.blake2b(text.encode(errors="backslashreplace"), digest_size=16).hexdigest()


@implementer(ISharedStore)
class RedisStore(Companion):
    """
    Remembers on a server of Redis.

    :param url: of that server, as ``redis://:PASSWORD@HOST:PORT/DATABASE``.
    :param scope: whose memory it is; servers with another one share nothing with these.
    :param reactor: has threads, and the clock.
    :param failure_seconds: for how long a login that failed is counted.
    :param replays: how many handshakes to remember.
    :param seconds: within which there has to be an answer.
    :raises LocalProtocolError: when the URL is none, or the package ``redis`` is missing.
    :ivar limit: how many handshakes it remembers.
    :ivar why_down: why it is down; empty while it answers.
    """

    _log = Logger()

    def __init__(
        self,
        url: str,
        scope: str,
        reactor: Any,
        failure_seconds: float = 60.0,
        replays: int = REPLAYS_LIMIT,
        seconds: float = STORE_SECONDS,
    ) -> None:
        self._make_client = _client_maker(url, seconds)
        self.where = masked(url)
        self.change(scope, failure_seconds)
        self.limit = replays
        self._seconds = seconds
        self._reactor = reactor
        self._clock = steady_clock(reactor)
        self._client: Any = None
        self._waiting: deque[tuple[tuple[Any, ...], Deferred[Any]]] = deque()
        self._busy = self._closed = False
        self._trying: IDelayedCall | None = None
        self._when_back: list[Callable[[], object]] = []
        self._warned = False
        self._pause, self._back_since = RETRY, -math.inf
        self.why_down = ""
        # It starts with the first question, behind a daemon's fork. It is a daemon thread, so that a program can end
        # while a question is not answered.
        self._pool = ThreadPool(0, 1, "shared-store")
        self._pool.threadFactory = partial(Thread, daemon=True)  # type: ignore[assignment]  # it is only called
        self._pool.start()

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.where}>"

    def change(self, scope: str, failure_seconds: float) -> None:
        """
        Remember something else from now on. The parameters are those of the class.
        """
        prefix = f"sodiumtwist:{{{scope}}}"
        self._replays = (f"{prefix}:replays", f"{prefix}:replays:count")
        self._failures = [f"{prefix}:{what}:{kind}" for what in ("addresses", "logins") for kind in ("ends", "counts")]
        probes = [f"{prefix}:probe:{number}" for number in range(4)]
        self._probe: list[tuple[Any, ...]] = [
            ("EVAL", _REMEMBER, 2, *probes[:2], b"", 1),
            ("EVAL", _FAILED, 4, *probes[2:], *probes[2:], 1000, 1, "", _short("")),
            ("DEL", *probes),
        ]
        self._failure_time = int(failure_seconds * 1000)

    # What it is asked

    def knows(self, fingerprint: bytes) -> Deferred[bool]:
        """Tell whether a handshake is remembered, see :class:`~sodiumtwist.admission.shared_store.ISharedStore`."""
        return self._ask("ZSCORE", self._replays[0], fingerprint).addCallback(lambda score: score is not None)

    def remember(self, fingerprint: bytes) -> Deferred[bool]:
        """Remember a handshake, see :class:`~sodiumtwist.admission.shared_store.ISharedStore`."""
        asked = self._ask("EVAL", _REMEMBER, 2, *self._replays, fingerprint, self.limit)
        return asked.addCallback(self._remembered).addErrback(self._nonsense)

    def _nonsense(self, reason: Failure) -> Failure:
        if not reason.check(TypeError, ValueError, LookupError):
            return reason
        self._lose("it does not answer as Redis does")
        return Failure(StoreDown(self.why_down))

    def _remembered(self, new: int) -> bool:
        if new == 2 and not self._warned:
            self._warned = True
            self._log.warn(
                "more than {limit} handshakes are remembered in {store}; the oldest are forgotten from now on, and "
                "recordings of them would be let in again",
                event="replays_forgotten",
                limit=self.limit,
                store=self.where,
            )
        return new > 0

    def counted(self) -> Deferred[int]:
        """Tell how many handshakes are remembered, see :class:`~sodiumtwist.admission.shared_store.ISharedStore`."""
        return self._ask("ZCARD", self._replays[0])

    def failures(self, address: str | None, login: str | None) -> Deferred[tuple[int, int]]:
        """Tell how many logins failed, see :class:`~sodiumtwist.admission.shared_store.ISharedStore`."""
        asked = self._ask("EVAL", _FAILURES, 4, *self._failures, *self._members(address, login))
        return asked.addCallback(lambda counts: (int(counts[0]), int(counts[1]))).addErrback(self._nonsense)

    def failed(self, address: str | None, login: str | None) -> Deferred[Any]:
        """Count a login that failed, see :class:`~sodiumtwist.admission.shared_store.ISharedStore`."""
        members = self._members(address, login)
        return self._ask("EVAL", _FAILED, 4, *self._failures, self._failure_time, FAILURES_SIZE, *members)

    @staticmethod
    def _members(address: str | None, login: str | None) -> tuple[str, str]:
        return address or "", "" if login is None else _short(login)

    def when_back(self, call: Callable[[], object]) -> None:
        """Ask to be told, see :class:`~sodiumtwist.admission.shared_store.ISharedStore`."""
        self._when_back.append(call)

    # In the reactor's thread

    def _ask(self, *command: Any) -> Deferred[Any]:
        if self._closed:
            return fail(Failure(StoreDown(f"the shared store {self.where} is closed")))
        if self.why_down:
            return fail(Failure(StoreDown(self.why_down)))
        if len(self._waiting) >= QUEUE:
            return fail(Failure(StoreDown(f"too many wait for the shared store {self.where}")))
        asked: Deferred[Any] = Deferred()
        self._waiting.append((command, asked))
        asked.addTimeout(self._seconds, self._clock).addErrback(self._too_late)
        if not self._busy:
            self._send()
        return asked

    def _too_late(self, reason: Failure) -> Failure:
        # Also when nobody wants to know any more; that says nothing about the store.
        if reason.check(StoreDown, CancelledError):
            return reason
        self._cut_off()
        self._lose(f"no answer within {self._seconds:g} s")
        return Failure(StoreDown(self.why_down))

    def _send(self) -> None:
        batch: list[tuple[tuple[Any, ...], Deferred[Any]]] = []
        while self._waiting and len(batch) < TOGETHER:
            command, asked = self._waiting.popleft()
            # Nobody waits for it any more.
            if not asked.called:
                batch.append((command, asked))
        if not batch:
            return
        self._busy = True
        talking = self._in_thread(self._talk, [command for command, _ in batch])
        talking.addCallbacks(self._take_answers, self._fail_all, callbackArgs=(batch,), errbackArgs=(batch,))

    def _in_thread(self, work: Callable[..., Any], *arguments: Any) -> Deferred[Any]:
        return deferToThreadPool(self._reactor, self._pool, work, *arguments)

    def _take_answers(self, answers: list[Any], batch: list[tuple[Any, Deferred[Any]]]) -> None:
        self._busy = False
        for (_, asked), answer in zip(batch, answers, strict=True):
            if isinstance(answer, Exception):
                self._lose(_explain(answer))
                answer = Failure(StoreDown(self.why_down))
            # What came too late is not wanted.
            if not asked.called:
                asked.callback(answer)
        self._send()

    def _fail_all(self, reason: Failure, batch: list[tuple[Any, Deferred[Any]]]) -> None:
        self._busy = False
        self._lose(_explain(reason.value))
        for _, asked in batch:
            if not asked.called:
                asked.errback(Failure(StoreDown(self.why_down)))
        self._send()

    def _cut_off(self) -> None:
        """Let the thread wait no longer for the rest of an answer, which may have no end."""
        client = self._client
        if client is not None:
            client.connection_pool.disconnect()

    def _lose(self, why: str) -> None:
        """It is down: whoever asks from now on hears so at once, until it answers again."""
        if self.why_down or self._closed:
            return
        self.why_down = f"the shared store {self.where} is down: {why}"
        self._log.warn("{line}", event="store_down", line=self.why_down, store=self.where, why=why)
        waiting, self._waiting = self._waiting, deque()
        for _, asked in waiting:
            if not asked.called:
                asked.errback(Failure(StoreDown(self.why_down)))
        # Where it comes back and goes down again each time, that is not to be two lines a second.
        quiet = self._clock.seconds() - self._back_since >= RETRY_MOST
        self._pause = RETRY if quiet else min(2 * self._pause, RETRY_MOST)
        self._try_later()

    def _try_again(self) -> None:
        self._trying = None
        # All that is asked of it, since a Redis that is full, or a copy of another one, answers some of it.
        trying = self._in_thread(self._talk, self._probe).addTimeout(self._seconds, self._clock)
        trying.addCallbacks(self._look_again, self._stays_down)

    def _look_again(self, answers: list[Any]) -> None:
        if self._closed:
            return
        if any(isinstance(answer, Exception) for answer in answers):
            self._try_later()
            return
        self.why_down = ""
        self._back_since = self._clock.seconds()
        self._log.info("the shared store {store} answers again", event="store_back", store=self.where)
        for call in self._when_back:
            call()

    def _stays_down(self, reason: Failure) -> None:
        self._cut_off()
        self._try_later()

    def _try_later(self) -> None:
        if not self._closed:
            self._trying = self._clock.callLater(self._pause, self._try_again)

    # In the thread that talks to Redis

    def _talk(self, commands: list[tuple[Any, ...]]) -> list[Any]:
        try:
            if self._client is None:
                self._client = self._make_client()
            pipeline = self._client.pipeline(transaction=False)
            for command in commands:
                pipeline.execute_command(*command)
            answers: list[Any] = pipeline.execute(raise_on_error=False)
            return answers
        except BaseException:
            self._disconnect()
            raise

    def _disconnect(self) -> None:
        client, self._client = self._client, None
        if client is not None:
            client.close()

    # From start to end

    def look(self) -> None:
        """
        Ask whether it is there, and wait for the answer. It changes nothing there.

        :raises LocalProtocolError: when waiting would not cure what is wrong. What it may is warned of in the log.
        """
        import redis

        try:
            client = self._make_client()
            try:
                client.ping()
            finally:
                client.close()
        except redis.AuthenticationError as error:  # a ConnectionError, too
            raise self._wrong(error) from None
        except (redis.ConnectionError, redis.TimeoutError, OSError) as error:
            self._log.warn(
                "the shared store {store} is down: {why}", event="store_down", store=self.where, why=_explain(error)
            )
        except (redis.RedisError, ValueError) as error:
            raise self._wrong(error) from None

    def _wrong(self, error: BaseException) -> LocalProtocolError:
        return LocalProtocolError(f"--shared-store: {self.where}: {_explain(error)}")

    def stopped(self) -> Deferred[None] | None:
        """
        Ask nothing any more.

        :return: fires when the connection is closed; ``None`` when it was said before.
        """
        if self._closed:
            return None
        self._closed = True
        if self._trying is not None:
            self._trying.cancel()
            self._trying = None
        waiting, self._waiting = self._waiting, deque()
        for _, asked in waiting:
            if not asked.called:
                asked.errback(Failure(StoreDown(f"the shared store {self.where} is closed")))
        # Behind what is on its way.
        return (
            self._in_thread(self._disconnect)
            .addTimeout(self._seconds, self._clock)
            .addCallbacks(lambda result: self._pool.stop(), self._leave_behind)
        )

    def _leave_behind(self, reason: Failure) -> None:
        # Nor is the thread waited for, which may look for the address of a name.
        self._cut_off()


def _explain(error: BaseException | None) -> str:
    text = " ".join(str(error).split()).rstrip(".")
    return printable(text or type(error).__name__)


def _client_maker(url: str, seconds: float) -> Callable[[], Any]:
    """
    Look at a URL, and return what connects to its server.

    :raises LocalProtocolError: when it is none, or the package is missing.
    """
    try:
        # Not at the top: most services need none of it.
        import redis
        from redis.backoff import NoBackoff
        from redis.retry import Retry
    except ImportError:
        raise LocalProtocolError("--shared-store needs the package redis: pip install redis") from None

    def connect() -> Any:
        return redis.Redis.from_url(
            url,
            socket_timeout=seconds,
            socket_connect_timeout=seconds,
            # Whoever asks has no time to wait for a second try.
            retry=Retry(NoBackoff(), 0),
            client_name="sodiumtwist",
            # Understood by all that there are; and what is wrong with a password is told in plain words.
            protocol=2,
        )

    try:
        connect().close()
    # What is in a URL may be a secret, also in one that lacks a part; and the error quotes it, where a password has a
    # mark that ends it for a parser.
    except (ValueError, TypeError) as error:
        shown, why = masked(url if "://" in url else re.sub(".*@", "…@", url)), _explain(error)
        hidden = re.sub("'[^']*'", "'…'", why) if "…" in shown else why
        if hidden != why:
            hidden += "; in a password, / ? # [ ] @ and : are written %2F %3F %23 and so on"
        raise LocalProtocolError(f"--shared-store {shown}: {hidden}") from None
    return connect
