"""
Files of logins and their passphrases as they are, one login a line: ``ann:secret``. ``twistd``'s checker ``file`` has
such files; :mod:`sodiumtwist.admission.argon2` has better ones.

A login that is for version 2 of the protocol alone stands in a line of another form, which has no colon::

    protocol=2 bob secret
    protocol=2 "bob at night" secret

So Twisted's checker, and earlier releases, have no such login.
"""

from __future__ import annotations

import hmac
import re
from typing import Any

from twisted.cred.checkers import ICredentialsChecker
from twisted.cred.credentials import IUsernamePassword, UsernamePassword
from twisted.cred.error import UnauthorizedLogin
from twisted.internet.defer import Deferred
from zope.interface import implementer

from ..core.errors import LocalProtocolError
from .checkers import WRONG_VERSION, LoginRefused, LoginUnknown
from .files import lines_of
from .marks import MARK, composed_bytes, other_forms
from .passwords import BY_KEY
from .watched import WatchedFile

# The mark, then a login with or without quotes, then the passphrase.
_MARKED = re.compile(rf'{MARK}[ \t]+(?:"((?:[^"]|"")*)"|([^\s"]+))[ \t]+(\S.*)')


class _Passphrases:
    """
    The logins of a file, and their passphrases, as :func:`parse_plaintext` reads them.

    :ivar by_login: the passphrases.
    :ivar marked: the logins that are for version 2 alone.
    """

    def __init__(self, text: str) -> None:
        self.by_login: dict[bytes, bytes] = {}
        self.marked: set[bytes] = set()
        for number, line in enumerate(lines_of(text), 1):
            line = line.rstrip()
            if line.startswith((f"{MARK} ", f"{MARK}\t")):
                self._add_marked(number, line)
                continue
            # Not at each colon: there may be millions, and all threads would wait.
            login, *more = line.split(":", 2)
            if more:
                # It would be a passphrase that everybody knows.
                if more[0] == f"{BY_KEY} {MARK}":
                    raise LocalProtocolError(
                        f"line {number}: a login that comes in by its key alone stands in a file for argon2:FILE"
                    )
                if login.encode() in self.marked:
                    raise LocalProtocolError(f"line {number}: a line with {MARK} has that login already")
                self.by_login.setdefault(login.encode(), more[0].encode())
        logins = (login.decode() for login in self.by_login)
        self._other_forms = {form.encode(): login.encode() for form, login in other_forms(logins).items()}

    def _add_marked(self, number: int, line: str) -> None:
        # Its text is not shown: there is a passphrase in it.
        found = _MARKED.fullmatch(line)
        # With a colon in it, Twisted's checker would find a login.
        if found is None or ":" in line:
            raise LocalProtocolError(
                f"line {number}: it is not {MARK}, a login, in double quotes when it holds white space or quotes, and "
                "a passphrase, all without a colon"
            )
        quoted, plain, passphrase = found.groups()
        login = (plain if quoted is None else quoted.replace('""', '"')).encode()
        if login in self.by_login:
            raise LocalProtocolError(f"line {number}: another line has that login already")
        self.by_login[login] = passphrase.encode()
        self.marked.add(login)

    def find(self, login: bytes, version: int | None) -> bytes | None:
        """
        Find a login.

        :param login: as a client gives it.
        :param version: of the protocol, that the client speaks.
        :return: the login as it stands in the file; ``None`` when it is not there.
        """
        if login in self.by_login:
            return login
        return self._other_forms.get(login) if version == 2 else None

    def bars(self, login: bytes, version: int | None) -> bool:
        """Tell whether a login is there, and is not for this version of the protocol."""
        return version != 2 and login in self.marked


def parse_plaintext(text: str) -> _Passphrases:
    """
    Read the text of a file, as Twisted's ``FilePasswordDB`` does: a line without a colon is skipped, what stands behind
    a second one is left out, and so is white space at the end; of lines with the same login the first counts. Lines
    that begin with ``protocol=2`` and white space are our own.

    :raises LocalProtocolError: when such a line is wrong, or another line has its login, too. The error tells the
        number of the line.
    """
    return _Passphrases(text)


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

        :return: fires with the login. Fails with ``UnauthorizedLogin`` when the login or the passphrase is wrong, the
            login is not for the version that the client speaks, or the file has not been good for too long.
        """

        async def comparing() -> bytes:
            login: bytes = credentials.username
            version: int | None = getattr(credentials, "version", None)
            passphrases = await self.file.latest()
            known = passphrases.find(login, version)
            if known is None:
                raise LoginUnknown("login or passphrase is wrong")
            if passphrases.bars(login, version):
                raise LoginRefused(WRONG_VERSION)
            passphrase = passphrases.by_login[known]
            if version == 2:
                passphrase = composed_bytes(passphrase)
            if not hmac.compare_digest(passphrase, credentials.password):
                raise UnauthorizedLogin("login or passphrase is wrong")
            return login

        return Deferred.fromCoroutine(comparing())

    def bars(self, credentials: UsernamePassword) -> Deferred[bool]:
        """
        Tell whether the file has a login for version 2 alone, and the client does not speak that.

        :return: fires with the answer. Fails when the file has not been good for too long.
        """

        async def asking() -> bool:
            version: int | None = getattr(credentials, "version", None)
            return (await self.file.latest()).bars(credentials.username, version)

        return Deferred.fromCoroutine(asking())
