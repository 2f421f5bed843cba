"""
Logins that are verified against a file of Argon2id strings: in threads, a few at once.
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
from .watched import GRACE, WatchedFile

#: How many verifications run at once. Each takes some 64 MiB.
CONCURRENCY = 2

#: How many more may wait. With 80 ms for each, two at a time, the last of them has its turn after 5 seconds, within
#: the time that a client has to log in.
QUEUE = 128

# Decides what a decoy costs. Secret, or anyone could calculate what an unknown login must cost and so find the others.
_DECOY_KEY = os.urandom(32)


class _Passwords:
    """
    The logins of a file, and a decoy for each login that it does not have. A decoy costs what one of the file's
    strings costs, and always the same for the same login. So a clock does not tell which logins the file has.
    """

    def __init__(self, text: str) -> None:
        self.strings = parse_passwords(text)
        # For a file without logins.
        usual = pwhash.argon2id.OPSLIMIT_INTERACTIVE, pwhash.argon2id.MEMLIMIT_INTERACTIVE // 1024
        self._costs = [verification_cost(string) for string in self.strings.values()] or [usual]

    def string_for(self, login: bytes) -> tuple[str, bool]:
        """
        Find what to verify a login against.

        :return: a string, and whether it is the login's own.
        """
        # Other protocols that use this checker may give bytes that are no UTF-8; no file has such a login.
        string = self.strings.get(login.decode("utf-8", "replace"))
        if string is not None:
            return string, True
        # Calculated, not drawn: a login whose cost changed from one try to the next would be known for an unknown one.
        number = int.from_bytes(blake2b(login, key=_DECOY_KEY, digest_size=8).digest(), "big")
        return make_decoy(*self._costs[number % len(self._costs)]), False


@implementer(ICredentialsChecker)
class Argon2File:
    """
    Lets in the logins of a file, see :mod:`sodiumtwist.admission.passwords`; ``sodiumtwist passwd`` makes such files.
    The file is read again when it has changed. When it is broken, missing or can't be read, the log says so, and the
    old logins hold for a minute more; then nobody is let in.

    A verification at the usual cost takes some 80 ms and 64 MiB. It runs in the reactor's thread pool,
    so the reactor goes on. A login that the file does not have costs as much as a wrong passphrase for a login
    that it has, so the time does not tell them apart.

    :param path: of the file, at most 1 MiB.
    :param concurrency: how many verifications run at once.
    :param queue: how many more may wait. When so many wait, the next login is refused without verifying it.
    :param reactor: an ``IReactorThreads``; ``None`` for the global one.
    :param grace: for how many seconds the old logins hold.
    :ivar file: the file, as it is watched.
    :raises OSError: when the file can't be read.
    :raises LocalProtocolError: when the file is no such file (the error tells the number of the line), when others
        can read it or write to it, when ``concurrency`` is below 1, and when ``queue`` is below 0.
    """

    credentialInterfaces = (IUsernamePassword,)

    def __init__(
        self,
        path: str,
        concurrency: int = CONCURRENCY,
        queue: int = QUEUE,
        reactor: Any = None,
        grace: float = GRACE,
    ) -> None:
        if concurrency < 1 or queue < 0:
            raise LocalProtocolError(f"verifying {concurrency} logins at once, with {queue} waiting, verifies none")
        self.file = WatchedFile(path, _Passwords, "password file", private=True)
        self.file.grace = grace
        self._semaphore = DeferredSemaphore(concurrency)
        self._queue = queue
        self._reactor = reactor

    def requestAvatarId(self, credentials: UsernamePassword) -> Deferred[bytes | tuple[()]]:
        """
        Verify a login.

        :return: fires with the login. Fails with ``UnauthorizedLogin`` when the login or the passphrase is wrong,
            without saying which, and with :class:`~sodiumtwist.admission.checkers.LoginNotChecked` when the queue
            is full, or the file has not been good for too long. To cancel it gives its place in the queue back.
        """
        return Deferred.fromCoroutine(self._verify(credentials.username, credentials.password))

    async def _verify(self, login: bytes, passphrase: bytes) -> bytes:
        # Both: with a free place nobody has to wait, so a queue of 0 lets logins be verified all the same.
        if not self._semaphore.tokens and len(self._semaphore.waiting) >= self._queue:
            raise LoginNotChecked("too many logins are being verified")
        await self._semaphore.acquire()
        try:
            string, known = self.file.current().string_for(login)
            working = self._in_thread(string, passphrase)
        # Whatever fails here, the place must be given back, or after a few failures nobody could log in.
        except BaseException:
            self._semaphore.release()
            raise
        # A decoy is verified first, for the time that takes; but it never lets anybody in.
        if not await self._release_when_done(working) or not known:
            raise UnauthorizedLogin("login or passphrase is wrong")
        return login

    def _in_thread(self, string: str, passphrase: bytes) -> Deferred[bool]:
        # Not at import time: that would install a reactor, and the program may want another one.
        if self._reactor is None:
            from twisted.internet import reactor

            self._reactor = reactor
        return deferToThreadPool(self._reactor, self._reactor.getThreadPool(), verify_passphrase, string, passphrase)

    def _release_when_done(self, working: Deferred[bool]) -> Deferred[bool]:
        # A thread can't be stopped. Its place is free when it is done, not when the caller no longer waits.
        result: Deferred[bool] = Deferred(lambda cancelled: None)

        def done(outcome: bool | Failure) -> None:
            self._semaphore.release()
            # Cancelled meanwhile: nobody wants the outcome.
            if not result.called:
                result.callback(outcome)

        working.addBoth(done)
        return result


# The path may have colons, so only settings at the very end are settings. All texts match, as the path may be anything.
_ARGUMENT = re.compile(r"(.*?)((?::(?:concurrency|queue)=\d{1,6})*)", re.DOTALL)


def from_argument(argument: str) -> Argon2File:
    """
    Make the checker that ``--auth argon2:FILE[:concurrency=2][:queue=128]`` names.

    :param argument: what stands behind ``argon2:``.
    :raises OSError: when the file can't be read.
    :raises LocalProtocolError: when no file is named, a setting is given twice, or :class:`Argon2File` refuses
        the file or a number.
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
