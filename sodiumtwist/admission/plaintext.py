"""
Files of logins and their passphrases as they are, one login a line: ``ann:secret``. ``twistd``'s checker ``file`` has
such files; :mod:`sodiumtwist.admission.argon2` has better ones.
"""

from __future__ import annotations

import hmac
from typing import Any

from twisted.cred.checkers import ICredentialsChecker
from twisted.cred.credentials import IUsernamePassword, UsernamePassword
from twisted.cred.error import UnauthorizedLogin
from twisted.internet.defer import Deferred
from zope.interface import implementer

from .checkers import LoginUnknown
from .files import lines_of
from .watched import WatchedFile


def parse_plaintext(text: str) -> dict[bytes, bytes]:
    """
    Read the text of a file, as Twisted's ``FilePasswordDB`` does: a line without a colon is skipped, what stands behind
    a second one is left out, and so is white space at the end; of lines with the same login the first counts.

    :return: the passphrases by login, both as clients give them.
    """
    passphrases: dict[bytes, bytes] = {}
    for line in lines_of(text):
        # Not at each colon: there may be millions, and all threads would wait.
        login, *more = line.rstrip().split(":", 2)
        if more:
            passphrases.setdefault(login.encode(), more[0].encode())
    return passphrases


@implementer(ICredentialsChecker)
class PlaintextFile:
    """
    Lets in the logins of a file, see :func:`parse_plaintext`. In place of Twisted's checker, which takes a file that
    others can change, and reads it anew at each login, while the reactor waits.

    :param path: of the file, UTF-8 and at most 32 MiB.
    :param reactor: an ``IReactorThreads``, for files that are not small; ``None`` for the global one.
    :ivar file: the file, as it is watched.
    :raises OSError: when the file can't be read.
    :raises LocalProtocolError: when it is no small text, and when others can read it, write to it or replace it, or own
        it.
    """

    credentialInterfaces = (IUsernamePassword,)

    def __init__(self, path: str, *, reactor: Any = None) -> None:
        self.file = WatchedFile(path, parse_plaintext, "password file", private=True, reactor=reactor)

    def requestAvatarId(self, credentials: UsernamePassword) -> Deferred[bytes | tuple[()]]:
        """
        Compare with the file as it is now.

        :return: fires with the login. Fails with ``UnauthorizedLogin`` when the login or the passphrase is wrong, or
            the file has not been good for too long.
        """

        async def comparing() -> bytes:
            login: bytes = credentials.username
            passphrase = (await self.file.latest()).get(login)
            if passphrase is None:
                raise LoginUnknown("login or passphrase is wrong")
            if not hmac.compare_digest(passphrase, credentials.password):
                raise UnauthorizedLogin("login or passphrase is wrong")
            return login

        return Deferred.fromCoroutine(comparing())
