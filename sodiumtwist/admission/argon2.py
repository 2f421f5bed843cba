"""
Logins that are verified against a file of Argon2id strings: in threads, a few at once.
"""

from __future__ import annotations

import os
import re
import time
from collections.abc import Callable
from contextlib import suppress
from hashlib import blake2b
from typing import Any

from nacl import pwhash
from twisted.cred.checkers import ICredentialsChecker
from twisted.cred.credentials import IUsernamePassword, UsernamePassword
from twisted.cred.error import UnauthorizedLogin
from twisted.internet.defer import Deferred
from twisted.internet.threads import deferToThreadPool
from twisted.python.failure import Failure
from zope.interface import implementer

from ..core.errors import LocalProtocolError
from ..describe.log import Logger
from .checkers import WRONG_VERSION, LoginNotChecked, LoginRefused, LoginUnknown
from .fair_queue import Asker, FairQueue
from .marks import other_forms
from .networks import network
from .passwords import BY_KEY, make_decoy, parse_passwords, verification_cost, verify_passphrase
from .watched import GRACE, WatchedFile

#: How many verifications run at once. Each takes some 64 MiB.
CONCURRENCY = 2

#: How many more may wait. With 80 ms for each, two at a time, all of them have their turn within 5 seconds, and so
#: within the time that a client has to log in.
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
        self._other_forms = other_forms(self.strings)
        # For a file without logins.
        usual = pwhash.argon2id.OPSLIMIT_INTERACTIVE, pwhash.argon2id.MEMLIMIT_INTERACTIVE // 1024
        strings = self.strings.values()
        self._costs = [verification_cost(string) for string in strings if string != BY_KEY] or [usual]

    def find(self, login: bytes, version: int | None) -> str | None:
        """
        Find a login.

        :param login: as a client gives it.
        :param version: of the protocol, that the client speaks.
        :return: the login as it stands in the file; ``None`` when it is not there.
        """
        # Other protocols that use this checker may give bytes that are no UTF-8. No file has such a login, and none may
        # be taken for it.
        with suppress(UnicodeDecodeError):
            given = login.decode("utf-8")
            if given in self.strings:
                return given
            if version == 2:
                return self._other_forms.get(given)
        return None

    def bars(self, login: bytes, version: int | None) -> bool:
        """Tell whether a login is there, and is not for this version of the protocol."""
        return version != 2 and self.find(login, version) in self.strings.marked

    def has_by_key(self, login: bytes) -> bool:
        """Tell whether a login of a client of version 2 is there, and comes in by its key alone."""
        return self.strings.get(self.find(login, 2) or "") == BY_KEY

    def string_for(self, login: bytes, version: int | None) -> tuple[str, bool]:
        """
        Find what to verify a login against.

        :return: a string, and whether it is the login's own.
        """
        known = self.find(login, version)
        if known is not None and self.strings[known] != BY_KEY:
            return self.strings[known], True
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

    Those that wait are served in turn, by address and then by login, see :mod:`sodiumtwist.admission.fair_queue`. When
    too many wait, one gives way of those that have had most. The log says so once, and once when nobody waits any more.

    :param path: of the file, at most 32 MiB.
    :param concurrency: how many verifications run at once.
    :param queue: how many more may wait. One more, and one of them is refused without verifying it.
    :param reactor: an ``IReactorThreads``; ``None`` for the global one.
    :param grace: for how many seconds the old logins hold.
    :param clock: returns seconds, which never go back.
    :ivar file: the file, as it is watched.
    :raises OSError: when the file can't be read.
    :raises LocalProtocolError: when the file is no such file (the error tells the number of the line), when others
        can read it or write to it, when ``concurrency`` is below 1, and when ``queue`` is below 0.
    """

    credentialInterfaces = (IUsernamePassword,)

    _log = Logger()

    #: How many gave way since nobody waited.
    _gave_way = 0
    #: How many places are free and not given on yet.
    _freed = 0

    def __init__(
        self,
        path: str,
        concurrency: int = CONCURRENCY,
        queue: int = QUEUE,
        reactor: Any = None,
        grace: float = GRACE,
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        if concurrency < 1 or queue < 0:
            raise LocalProtocolError(f"verifying {concurrency} logins at once, with {queue} waiting, verifies none")
        self.file = WatchedFile(path, _Passwords, "password file", private=True, reactor=reactor)
        self.file.grace = grace
        self._queue: FairQueue[Deferred[None]] = FairQueue(concurrency, queue, clock)
        self._reactor = reactor

    def requestAvatarId(self, credentials: UsernamePassword) -> Deferred[bytes | tuple[()]]:
        """
        Verify a login.

        :param credentials: a :class:`~sodiumtwist.admission.checkers.ClientLogin` tells where it comes from, and which
            version of the protocol it speaks. All others count as coming from one place, and as no version.
        :return: fires with the login. Fails with ``UnauthorizedLogin`` when the login or the passphrase is wrong,
            without saying which, and for a login that is not for that version; with
            :class:`~sodiumtwist.admission.checkers.LoginNotChecked` when it gave way because too many wait, or the file
            has not been good for too long. To cancel it gives its place in the queue back.
        """
        return Deferred.fromCoroutine(self._verify(credentials))

    async def _verify(self, credentials: UsernamePassword) -> bytes:
        login: bytes = credentials.username
        version: int | None = getattr(credentials, "version", None)
        # A passphrase is not asked for, so there is nothing to verify.
        by_key = version == 2 and getattr(credentials, "bound_key", False)
        if by_key and (await self.file.latest()).has_by_key(login):
            return login
        asker = self._queue.asker(login, network(getattr(credentials, "address", None)))
        if not self._queue.take_place(asker):
            await self._wait(asker)
        try:
            passwords = await self.file.latest()
            string, known = passwords.string_for(login, version)
            barred = passwords.bars(login, version)
            working = self._in_thread(string, credentials.password)
        # Whatever fails here, the place must be given back, or after a few failures nobody could log in.
        except BaseException:
            self._next()
            raise
        # A decoy is verified first, for the time that takes; but it never lets anybody in.
        right = await self._next_when_done(working)
        # Not earlier, and whatever the passphrase is: it takes as long, and says the same.
        if barred:
            raise LoginRefused(WRONG_VERSION)
        if not right or not known:
            raise (UnauthorizedLogin if known else LoginUnknown)("login or passphrase is wrong")
        self._queue.came_in(asker)
        return login

    async def _bars(self, credentials: UsernamePassword) -> bool:
        version: int | None = getattr(credentials, "version", None)
        return (await self.file.latest()).bars(credentials.username, version)

    def bars(self, credentials: UsernamePassword) -> Deferred[bool]:
        """
        Tell whether the file has a login for version 2 alone, and the client does not speak that.

        :return: fires with the answer. Fails when the file has not been good for too long.
        """
        return Deferred.fromCoroutine(self._bars(credentials))

    def _wait(self, asker: Asker) -> Deferred[None]:
        """Fires when it has a place. Fails when it gave way."""
        place: Deferred[None] = Deferred(lambda cancelled: self._queue.leave(asker, cancelled))
        gives_way = self._queue.join(asker, place)
        if gives_way is not None:
            waiting, whose = gives_way
            if not self._gave_way:
                self._log.warn(
                    "{count} logins wait to be verified, and that is the limit; of more, those give way that have had "
                    "most, the first from {where} as {login}",
                    event="checks_full",
                    count=len(self._queue),
                    where=whose.where or "no address",
                    login=repr(whose.login),
                )
            self._gave_way += 1
            waiting.errback(LoginNotChecked("too many logins are being verified"))
        return place

    def _next(self) -> None:
        """Somebody's place is free."""
        self._freed += 1
        # Whoever gets a place may give it back at once, when its verification can't begin. Done within this call, each
        # that waits would be some calls deeper.
        if self._freed > 1:
            return
        while self._freed:
            place = self._queue.give_place()
            if self._gave_way and not self._queue:
                self._log.info(
                    "no more logins wait to be verified than may; {count} gave way",
                    event="checks_eased",
                    count=self._gave_way,
                )
                self._gave_way = 0
            if place is not None:
                place.callback(None)
            self._freed -= 1

    def _in_thread(self, string: str, passphrase: bytes) -> Deferred[bool]:
        # Not at import time: that would install a reactor, and the program may want another one.
        if self._reactor is None:
            from twisted.internet import reactor

            self._reactor = reactor
        return deferToThreadPool(self._reactor, self._reactor.getThreadPool(), verify_passphrase, string, passphrase)

    def _next_when_done(self, working: Deferred[bool]) -> Deferred[bool]:
        # A thread can't be stopped. Its place is free when it is done, not when the caller no longer waits.
        result: Deferred[bool] = Deferred(lambda cancelled: None)

        def done(outcome: bool | Failure) -> None:
            self._next()
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
    return Argon2File(path, numbers.get("concurrency", CONCURRENCY), numbers.get("queue", QUEUE))
