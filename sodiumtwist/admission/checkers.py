"""
Checkers of logins: one login, one of several checkers, and those of ``twisted.cred``.
"""

from __future__ import annotations

import hmac
import os
from collections.abc import Collection, Sequence
from functools import partial
from typing import Any

from twisted.cred.checkers import ICredentialsChecker
from twisted.cred.credentials import IUsernamePassword, UsernamePassword
from twisted.cred.error import LoginFailed, UnauthorizedLogin
from twisted.internet.defer import CancelledError, Deferred, maybeDeferred
from twisted.internet.interfaces import IAddress
from zope.interface import implementer

from ..core.version import VERSIONS
from .marks import allows, check_login_size, check_passphrase_size, check_versions, composed

#: What the log says, and no client. It does not depend on the passphrase.
WRONG_VERSION = "the login is not for this version of the protocol"


class LoginRefused(UnauthorizedLogin):
    """A login is wrong. The text says what is wrong with it, and may be logged."""


class LoginNotChecked(UnauthorizedLogin):
    """A login could not be checked, so nobody knows whether it is right. The text says why, and may be logged."""


class ClientLogin(UsernamePassword):
    """
    What a client logs in with, and from where. Checkers and portals that know ``IUsernamePassword`` take it; those that
    share something out can see whom it is for.

    :ivar address: as ``getPeer()`` returns it.
    :ivar version: of the protocol that the client speaks. In version 1, whoever gets the server's key some day can
        read the passphrase in a recording: a checker can have logins for version 2 alone.
    :ivar bound_key: whether the client's key is listed for this login. In version 1 it is not proven yet.
    """

    address: IAddress | None = None
    version: int = 1
    bound_key: bool = False


class LoginUnknown(UnauthorizedLogin):
    """A checker does not have this login, so no passphrase of its was tried. Clients are never told."""


@implementer(ICredentialsChecker)
class SingleLogin:
    """
    Lets in whoever knows one login and its passphrase.

    :param login: up to 255 bytes of UTF-8, no NUL. With more than 128, only clients of version 2 can give it.
    :param passphrase: up to 4096 bytes of UTF-8, no NUL. With more than 128, only clients of version 2 can give it.
    :param versions: of the protocol, which the login is for. In any other it is refused, with the right passphrase,
        too.
    :raises LocalProtocolError: when one of the two can't be given in these versions, and when there are none.
    """

    credentialInterfaces = (IUsernamePassword,)

    def __init__(self, login: str, passphrase: str, versions: Collection[int] = VERSIONS) -> None:
        self._versions = check_versions("login", versions)
        check_login_size(login, self._versions)
        check_passphrase_size(passphrase, self._versions)
        # Not the texts, which this object would keep for as long as it lives, but digests of them: all have one size,
        # so that comparing takes the same time for any.
        self._digest = partial(hmac.digest, os.urandom(32), digest="sha256")
        self._typed = self._digest(login.encode()), self._digest(passphrase.encode())
        self._composed = self._digest(composed(login).encode()), self._digest(composed(passphrase).encode())

    # ICredentialsChecker lets this return the login at once. Only its annotation wants a Deferred.
    def requestAvatarId(self, credentials: UsernamePassword) -> bytes:  # type: ignore[override]
        """
        Compare, in a time that does not tell in what the texts differ.

        :return: the login.
        :raises twisted.cred.error.UnauthorizedLogin: when the login or the passphrase is wrong, or the login is not for
            the version that the client speaks. The error's text does not say which of the two is wrong.
        """
        version = getattr(credentials, "version", None)
        login, passphrase = self._composed if version == 2 else self._typed
        # Both, always.
        ours = hmac.compare_digest(self._digest(credentials.username), login)
        right = hmac.compare_digest(self._digest(credentials.password), passphrase)
        # Most have a version that is right: only for others it is to be found out whether the login is for any.
        if ours and version not in self._versions and not allows(self._versions, version):
            raise LoginRefused(WRONG_VERSION)
        if ours and right:
            return credentials.username
        raise (UnauthorizedLogin if ours else LoginUnknown)("login or passphrase is wrong")

    def bars(self, credentials: UsernamePassword) -> bool:
        """Tell whether this is the login, and it is not for the version that the client speaks."""
        version = getattr(credentials, "version", None)
        login, _ = self._composed if version == 2 else self._typed
        ours = hmac.compare_digest(self._digest(credentials.username), login)
        return ours and not allows(self._versions, version)


@implementer(ICredentialsChecker)
class AnyLogin:
    """
    Lets in whoever one of several checkers lets in. They are asked one after the other, until one accepts.

    A login that one of them has for version 2 alone is refused in version 1, also where another one would accept it:
    who has such checkers needs a method ``bars(credentials)`` in them, which tells that, at once or by a Deferred.

    :param checkers: checkers for ``IUsernamePassword``, in the order in which they are asked.
    """

    credentialInterfaces = (IUsernamePassword,)

    def __init__(self, checkers: Sequence[ICredentialsChecker]) -> None:
        self._checkers = tuple(checkers)

    def requestAvatarId(self, credentials: UsernamePassword) -> Deferred[Any]:
        """
        Ask the checkers.

        :return: fires with what the first checker says that accepts. Fails with ``UnauthorizedLogin`` when none
            accepts and at least one refuses, other than for not having the login. Fails with what went wrong when none
            else could decide.
        """

        async def asking() -> Any:
            refused = False
            failure: Exception | None = None
            barred = await self._barred(credentials)
            for checker in self._checkers:
                try:
                    avatar = await maybeDeferred(checker.requestAvatarId, credentials)
                    if not barred:
                        return avatar
                    # It goes on as with a wrong passphrase, or a clock would tell that this one is right.
                    refused = True
                # Nobody waits for the answer any more, so no further checker is asked.
                except CancelledError:
                    raise
                # Before LoginFailed, which it is, too: nobody has refused.
                except LoginNotChecked as error:
                    failure = error
                # Nothing was tried there. If it counted as a failed login where another checker has too much to do,
                # whoever keeps that one busy could have others' logins blocked.
                except LoginUnknown:
                    pass
                except LoginFailed:
                    refused = True
                # A checker that breaks must not keep out whoever another one lets in.
                except Exception as error:
                    failure = error
            # A refusal counts, also when another checker could not decide. What could not be decided is not counted as
            # a failed login; so whoever can make a checker fail could otherwise guess as often as they like.
            if failure is None or refused:
                if barred:
                    raise LoginRefused(WRONG_VERSION)
                raise UnauthorizedLogin("login or passphrase is wrong")
            raise failure

        return Deferred.fromCoroutine(asking())

    def bars(self, credentials: UsernamePassword) -> Deferred[bool]:
        """
        Tell whether one of the checkers has a login, and not for the version that the client speaks.

        :return: fires with the answer, and does not fail.
        """
        return Deferred.fromCoroutine(self._barred(credentials))

    async def _barred(self, credentials: UsernamePassword) -> bool:
        for checker in self._checkers:
            bars = getattr(checker, "bars", None)
            try:
                if bars is not None and await maybeDeferred(bars, credentials):
                    return True
            except CancelledError:
                raise
            # It has no logins now, and lets nobody in. Its turn to say so comes.
            except Exception:
                pass
        return False


def any_of(checkers: Sequence[ICredentialsChecker]) -> ICredentialsChecker:
    """
    Make one checker of several. It lets in whoever one of them lets in.

    :param checkers: at least one.
    """
    return checkers[0] if len(checkers) == 1 else AnyLogin(checkers)
