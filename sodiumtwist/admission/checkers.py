"""
Checkers of logins: one login, one of several checkers, and those of ``twisted.cred``.
"""

from __future__ import annotations

import hmac
import os
from collections.abc import Sequence
from functools import partial
from typing import Any

from twisted.cred.checkers import ICredentialsChecker
from twisted.cred.credentials import IUsernamePassword, UsernamePassword
from twisted.cred.error import LoginFailed, UnauthorizedLogin
from twisted.internet.defer import CancelledError, Deferred, maybeDeferred
from twisted.internet.interfaces import IAddress
from zope.interface import implementer

from ..core.credentials import pad_credentials


class LoginRefused(UnauthorizedLogin):
    """A login is wrong. The text says what is wrong with it, and may be logged."""


class LoginNotChecked(UnauthorizedLogin):
    """A login could not be checked, so nobody knows whether it is right. The text says why, and may be logged."""


class ClientLogin(UsernamePassword):
    """
    What a client logs in with, and from where. Checkers and portals that know ``IUsernamePassword`` take it; those that
    share something out can see whom it is for.

    :ivar address: as ``getPeer()`` returns it.
    """

    address: IAddress | None = None


class LoginUnknown(UnauthorizedLogin):
    """A checker does not have this login, so no passphrase of its was tried. Clients are never told."""


@implementer(ICredentialsChecker)
class SingleLogin:
    """
    Lets in whoever knows one login and its passphrase.

    :param login: up to 255 bytes of UTF-8, no NUL. Above 128, only clients of version 2 can give it.
    :param passphrase: up to 4096 bytes of UTF-8, no NUL, with the same bound for version 1.
    :raises LocalProtocolError: when one of the two does not fit its field.
    """

    credentialInterfaces = (IUsernamePassword,)

    def __init__(self, login: str, passphrase: str) -> None:
        pad_credentials(login, passphrase)
        # Not the texts, which this object would keep for as long as it lives, but digests of them: all have one size,
        # so that comparing takes the same time for any.
        self._digest = partial(hmac.digest, os.urandom(32), digest="sha256")
        self._login, self._passphrase = self._digest(login.encode()), self._digest(passphrase.encode())

    # ICredentialsChecker lets this return the login at once. Only its annotation wants a Deferred.
    def requestAvatarId(self, credentials: UsernamePassword) -> bytes:  # type: ignore[override]
        """
        Compare, in a time that does not tell in what the texts differ.

        :return: the login.
        :raises twisted.cred.error.UnauthorizedLogin: when the login or the passphrase is wrong. The error's text does
            not say which.
        """
        # Both, always.
        ours = hmac.compare_digest(self._digest(credentials.username), self._login)
        right = hmac.compare_digest(self._digest(credentials.password), self._passphrase)
        if ours and right:
            return credentials.username
        raise (UnauthorizedLogin if ours else LoginUnknown)("login or passphrase is wrong")


@implementer(ICredentialsChecker)
class AnyLogin:
    """
    Lets in whoever one of several checkers lets in. They are asked one after the other, until one accepts.

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
            for checker in self._checkers:
                try:
                    return await maybeDeferred(checker.requestAvatarId, credentials)
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
                raise UnauthorizedLogin("login or passphrase is wrong")
            raise failure

        return Deferred.fromCoroutine(asking())


def any_of(checkers: Sequence[ICredentialsChecker]) -> ICredentialsChecker:
    """
    Make one checker of several. It lets in whoever one of them lets in.

    :param checkers: at least one.
    """
    return checkers[0] if len(checkers) == 1 else AnyLogin(checkers)
