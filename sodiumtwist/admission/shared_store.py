"""
What several servers with one key remember together: the handshakes of version 1 that were accepted, and the logins that
failed. It is kept elsewhere, by a store that each of them asks. What becomes of logins while that is down is chosen.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Any

from twisted.internet.defer import Deferred, DeferredList, maybeDeferred, succeed
from twisted.python.failure import Failure
from zope.interface import Attribute, Interface, implementer

from .replays import IReplayMemory

#: How many handshakes that were accepted while the store was down it is told when it is back.
UNSAID = 10_000

#: How many of them at once.
SAID_TOGETHER = 500


class StoreDown(OSError):
    """The store does not answer, or can't do what it is asked."""


def kept(asked: Deferred[bool]) -> Deferred[tuple[bool | Failure]]:
    """
    Keep what comes of a question until somebody looks at it, or nobody does. Failures are kept, too.

    :return: fires with what :func:`result_of` takes.
    """
    # A Deferred of its own. When the store is lost, all questions fail in turn. A login that waits for two of them goes
    # on with the first, and may then wait for the second while that is still calling its callbacks.
    answer: Deferred[tuple[bool | Failure]] = Deferred(lambda cancelled: asked.cancel())
    asked.addBoth(lambda result: answer.callback((result,)))
    return answer


def result_of(answer: tuple[bool | Failure]) -> bool:
    """
    Look at what was kept. When it is a failure, that is raised.
    """
    (result,) = answer
    if isinstance(result, Failure):
        result.raiseException()
    return bool(result)


class ISharedStore(Interface):
    """
    What is asked. Each Deferred fails with :exc:`StoreDown` when there is no answer in time.
    """

    why_down = Attribute("Why it is down; empty while it answers.")
    limit = Attribute("How many handshakes it remembers.")

    def counted() -> Deferred[int]:
        """Tell how many handshakes are remembered."""

    def knows(fingerprint: bytes) -> Deferred[bool]:
        """
        Tell whether a handshake is remembered.

        :param fingerprint: 16 bytes.
        """

    def remember(fingerprint: bytes) -> Deferred[bool]:
        """
        Remember a handshake.

        :param fingerprint: 16 bytes.
        :return: fires with whether it was new, to one of all who ask at the same time.
        """

    def failures(address: str | None, login: str | None) -> Deferred[tuple[int, int]]:
        """
        Tell how many logins have failed lately.

        :param address: from there; ``None`` to ask for none.
        :param login: of that one; ``None`` to ask for none.
        """

    def failed(address: str | None, login: str | None) -> Deferred[Any]:
        """
        One more login has failed.

        :param address: where it came from; ``None`` where that is no matter.
        :param login: which one; ``None`` where it says nothing about a login.
        """

    def when_back(call: Callable[[], object]) -> None:
        """
        Ask to be told each time when the store answers again.

        :param call: is called then.
        """


@implementer(IReplayMemory)
class SharedReplays:
    """
    Remembers handshakes here and in a store. What is remembered here is refused whatever the store says, so that one
    that lost what it had lets in none of them.

    :param store: an :class:`ISharedStore`.
    :param here: what this server remembers by itself.
    :param local: whether that decides alone while the store is down; if not, every client of version 1 is refused then.
    :ivar limit: how many the store remembers.
    """

    def __init__(self, store: Any, here: IReplayMemory, local: bool) -> None:
        self._store = store
        self._here = here
        self._local = local
        self.limit: int = store.limit
        # When there are too many, the first are forgotten.
        self._unsaid: deque[bytes] = deque(maxlen=UNSAID)
        store.when_back(self._say)

    def knows(self, fingerprint: bytes) -> Deferred[bool]:
        """Tell whether a handshake is remembered, see :meth:`~sodiumtwist.admission.replays.IReplayMemory.knows`."""
        return Deferred.fromCoroutine(self._knows(fingerprint))

    async def _knows(self, fingerprint: bytes) -> bool:
        # Both at once: the store is asked together with what else it is asked about this login.
        there: Deferred[bool] = self._store.knows(fingerprint)
        there_kept = kept(there.addErrback(self._without_store, False))
        if await maybeDeferred(self._here.knows, fingerprint):
            return True
        return result_of(await there_kept)

    def remember(self, fingerprint: bytes) -> Deferred[bool]:
        """Remember a handshake, see :meth:`~sodiumtwist.admission.replays.IReplayMemory.remember`."""
        return Deferred.fromCoroutine(self._remember(fingerprint))

    async def _remember(self, fingerprint: bytes) -> bool:
        if not await maybeDeferred(self._here.remember, fingerprint):
            return False

        def note(reason: Failure) -> bool:
            # Also of one who is refused for it: the store may have heard it.
            self._unsaid.append(fingerprint)
            return self._without_store(reason, True)

        there: Deferred[bool] = self._store.remember(fingerprint)
        new: bool = await there.addErrback(note)
        return new

    def _without_store(self, reason: Failure, answer: bool) -> bool:
        reason.trap(StoreDown)
        if not self._local:
            reason.raiseException()
        return answer

    def _say(self) -> None:
        # A few, and then the next ones: all of them at once would wait for each other until the store is taken for down
        # again, and leave no room for those who log in.
        some = [self._unsaid.popleft() for _ in range(min(SAID_TOGETHER, len(self._unsaid)))]
        if some:
            saying = [self._store.remember(each).addErrback(self._note_unsaid, each) for each in some]
            DeferredList(saying).addCallback(self._say_more)

    def _say_more(self, results: list[tuple[bool, bool | None]]) -> None:
        if all(new is not None for _, new in results):
            self._say()

    def _note_unsaid(self, reason: Failure, fingerprint: bytes) -> None:
        reason.trap(StoreDown)
        self._unsaid.append(fingerprint)

    def counted(self) -> Deferred[int]:
        """
        Tell how many the store remembers.

        :return: fires with the number, or fails with :exc:`StoreDown`.
        """
        count: Deferred[int] = self._store.counted()
        return count

    def close(self) -> Deferred[None]:
        """
        Close what is remembered here, when a service stops.

        :return: fires when it is closed.
        """
        close: Callable[[], Deferred[None]] | None = getattr(self._here, "close", None)
        return succeed(None) if close is None else close()


class FailuresTogether:
    """
    Asks a store whether too many logins have failed at all servers together. Each server counts by itself as well, and
    what it refuses by that it asks nobody about.

    :param store: an :class:`ISharedStore`.
    :param local: whether logins are checked while the store is down; if not, none is.
    """

    def __init__(self, store: Any, local: bool) -> None:
        self._store = store
        self._local = local

    @property
    def is_down(self) -> bool:
        """Whether nobody can be asked."""
        return bool(self._store.why_down)

    def allow(self, address: str | None, login: str | None, per_address: int, per_login: int) -> Deferred[bool]:
        """
        Tell whether a login may be checked.

        :param address: where it comes from; ``None`` where that is no matter.
        :param login: which one; ``None`` where it may be checked however often it has failed.
        :param per_address: how many failures block an address.
        :param per_login: how many block a login.
        :return: fires with the answer, or fails with :exc:`StoreDown`.
        """
        asked: Deferred[tuple[int, int]] = self._store.failures(address, login)
        return asked.addCallbacks(lambda counts: counts[0] < per_address and counts[1] < per_login, self._without_store)

    def _without_store(self, reason: Failure) -> bool:
        reason.trap(StoreDown)
        if not self._local:
            reason.raiseException()
        return True

    def failed(self, address: str | None, login: str | None) -> None:
        """
        One more login has failed. Nobody waits until the store has heard it.

        :param address: where it came from; ``None`` where that is no matter.
        :param login: which one; ``None`` where it says nothing about a login.
        """
        if address is not None or login is not None:
            # Whoever is down says so itself.
            self._store.failed(address, login).addErrback(lambda reason: reason.trap(StoreDown) and None)
