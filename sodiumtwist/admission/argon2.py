"""
Logins verified against a file of Argon2id strings, in threads, a few at once.
"""

from __future__ import annotations

import os
import re
from hashlib import blake2b
from typing import Any

from nacl import pwhash
from twisted.cred.checkers import ICredentialsChecker
from twisted.cred.credentials import IUsernamePassword, UsernamePassword
from twisted.cred.error import UnauthorizedLogin
from twisted.internet.defer import Deferred, DeferredSemaphore
from twisted.internet.threads import deferToThreadPool
from twisted.python.failure import Failure
from zope.interface import implementer

from ..core.errors import LocalProtocolError
from .checkers import LoginNotChecked
from .passwords import make_decoy, parse_passwords, verification_cost, verify_passphrase
from .watched import WatchedFile

#: How many verifications run at once, and how many may wait for that.
CONCURRENCY = 2
QUEUE = 128

#: Decides on the cost of decoys.
_DECOY_KEY = os.urandom(32)


class _Passwords:
    """
    What a file says, and a decoy for each login that it does not have. Its cost is that of one of the
    file's strings, always the same for a login, so that it can't be told from one that the file has.
    """

    def __init__(self, text: str) -> None:
        self.strings = parse_passwords(text)
        usual = pwhash.argon2id.OPSLIMIT_INTERACTIVE, pwhash.argon2id.MEMLIMIT_INTERACTIVE // 1024
        self._costs = [verification_cost(string) for string in self.strings.values()] or [usual]

    def string_for(self, login: bytes) -> tuple[str, bool]:
        """Give the string to verify, and tell whether it is the login's own."""
        string = self.strings.get(login.decode("utf-8", "replace"))
        if string is not None:
            return string, True
        number = int.from_bytes(blake2b(login, key=_DECOY_KEY, digest_size=8).digest(), "big")
        return make_decoy(*self._costs[number % len(self._costs)]), False


@implementer(ICredentialsChecker)
class Argon2File:
    """
    Lets in the logins of a file as ``sodiumtwist passwd`` makes it, see
    :mod:`sodiumtwist.admission.passwords`. The file is read
    again when it has changed; a broken or missing new version changes nothing but for a line in the log.

    A verification at the usual cost takes some 80 ms and 64 MiB. It runs in the reactor's thread pool,
    so the reactor goes on. A login that the file does not have costs as much as a wrong passphrase of one
    that it has, so that time does not tell them apart.

    :param path: of the file, at most 1 MiB.
    :param concurrency: how many verifications run at once.
    :param queue: how many more wait; beyond that a login is refused unverified.
    :param reactor: an ``IReactorThreads``; ``None`` for the global one.
    :raises OSError: when the file can't be read.
    :raises LocalProtocolError: when it is no such file, with the number of the line; when others can
        read it or write to it; and for numbers below 1, of the queue below 0.
    """

    credentialInterfaces = (IUsernamePassword,)

    def __init__(self, path: str, concurrency: int = CONCURRENCY, queue: int = QUEUE, reactor: Any = None) -> None:
        if concurrency < 1 or queue < 0:
            raise LocalProtocolError(f"verifying {concurrency} logins at once, with {queue} waiting, verifies none")
        self._file = WatchedFile(path, _Passwords, "password file", private=True)
        self._semaphore = DeferredSemaphore(concurrency)
        self._queue = queue
        self._reactor = reactor

    def requestAvatarId(self, credentials: UsernamePassword) -> Deferred[bytes | tuple[()]]:
        """
        Verify.

        :return: fires with the login. Fails with ``UnauthorizedLogin`` when it or the passphrase is wrong,
            which is not said, and with :class:`~sodiumtwist.admission.checkers.LoginNotChecked` when the queue is full.
            Cancelled, it gives its place in the queue back.
        """
        return Deferred.fromCoroutine(self._verify(credentials.username, credentials.password))

    async def _verify(self, login: bytes, passphrase: bytes) -> bytes:
        if not self._semaphore.tokens and len(self._semaphore.waiting) >= self._queue:
            raise LoginNotChecked("too many logins are being verified")
        await self._semaphore.acquire()
        try:
            string, known = self._file.current().string_for(login)
            working = self._in_thread(string, passphrase)
        except BaseException:
            self._semaphore.release()
            raise
        if not await self._release_behind(working) or not known:
            raise UnauthorizedLogin("login or passphrase is wrong")
        return login

    def _in_thread(self, string: str, passphrase: bytes) -> Deferred[bool]:
        if self._reactor is None:
            from twisted.internet import reactor

            self._reactor = reactor
        return deferToThreadPool(self._reactor, self._reactor.getThreadPool(), verify_passphrase, string, passphrase)

    def _release_behind(self, working: Deferred[bool]) -> Deferred[bool]:
        # A thread can't be stopped: the place is free when it is done, not when nobody waits for it.
        result: Deferred[bool] = Deferred(lambda cancelled: None)

        def done(outcome: bool | Failure) -> None:
            self._semaphore.release()
            if not result.called:
                result.callback(outcome)

        working.addBoth(done)
        return result


_ARGUMENT = re.compile(r"(.*?)((?::(?:concurrency|queue)=\d{1,6})*)", re.DOTALL)


def from_argument(argument: str) -> Argon2File:
    """
    Make what ``--auth argon2:FILE[:concurrency=2][:queue=128]`` names.

    :raises OSError, LocalProtocolError: as :class:`Argon2File`.
    """
    found = _ARGUMENT.fullmatch(argument)
    assert found is not None
    path, settings = found.groups()
    if not path:
        raise LocalProtocolError("which file? argon2:FILE")
    pairs = [setting.split("=") for setting in settings.split(":")[1:]]
    numbers = {name: int(number) for name, number in pairs}
    if len(numbers) < len(pairs):
        raise LocalProtocolError("concurrency= or queue= is given twice; give it once")
    return Argon2File(path, **numbers)
