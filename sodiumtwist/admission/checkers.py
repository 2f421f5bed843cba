"""
Who may come in.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from hashlib import blake2b
from hmac import compare_digest
from typing import Any

from twisted.cred.checkers import ICredentialsChecker
from twisted.cred.credentials import IUsernamePassword, UsernamePassword
from twisted.cred.error import LoginFailed, UnauthorizedLogin
from twisted.cred.strcred import InvalidAuthArgumentString, InvalidAuthType, makeChecker
from twisted.internet.defer import CancelledError, Deferred, maybeDeferred
from twisted.python.failure import Failure
from zope.interface import implementer

from ..core.credentials import pack_text
from ..core.errors import LocalProtocolError

#: In the place of a checker's description: the clients' keys decide alone.
NO_CHECKER = "none"

#: What the programs take when nothing is said, as the reference programs do.
DEFAULT_LOGIN = "username"
DEFAULT_PASSPHRASE = "passphrase"


class LoginRefused(UnauthorizedLogin):
    """A login is wrong, and the text, which may be logged, says what about it."""


class LoginNotChecked(UnauthorizedLogin):
    """Nobody knows whether a login is right, and the text, which may be logged, says why."""


@implementer(ICredentialsChecker)
class SingleLogin:
    """
    Lets in whoever knows one login and its passphrase.

    :param login: up to 128 bytes of UTF-8, no NUL.
    :param passphrase: up to 128 bytes of UTF-8, no NUL.
    :raises LocalProtocolError: when one of them does not fit its field.
    """

    credentialInterfaces = (IUsernamePassword,)

    def __init__(self, login: str, passphrase: str) -> None:
        pack_text("login", login)
        pack_text("passphrase", passphrase)
        # Not the texts, which this object would keep for as long as it lives, but a digest of them: two pairs of texts
        # never have the same one, and all have one size, so that comparing takes the same time for any.
        self._key = os.urandom(32)
        self._expected = self._digest(login.encode(), passphrase.encode())

    def _digest(self, login: bytes, passphrase: bytes) -> bytes:
        return blake2b(len(login).to_bytes(8, "big") + login + passphrase, key=self._key).digest()

    # As ICredentialsChecker allows in its text, though not in its annotation.
    def requestAvatarId(self, credentials: UsernamePassword) -> bytes:  # type: ignore[override]
        """
        Compare in a time that does not depend on the texts.

        :return: the login.
        :raises twisted.cred.error.UnauthorizedLogin: when either differs; which one is not said.
        """
        if not compare_digest(self._digest(credentials.username, credentials.password), self._expected):
            raise UnauthorizedLogin("login or passphrase is wrong")
        return credentials.username


@implementer(ICredentialsChecker)
class AnyLogin:
    """
    Lets in whom any of several checkers lets in. They are asked in their order, each when the one
    before has refused.

    :param checkers: for ``IUsernamePassword``.
    """

    credentialInterfaces = (IUsernamePassword,)

    def __init__(self, checkers: Sequence[ICredentialsChecker]) -> None:
        self._checkers = tuple(checkers)

    def requestAvatarId(self, credentials: UsernamePassword) -> Deferred[Any]:
        """
        Ask them.

        :return: fires with what the first one says that accepts. Fails with ``UnauthorizedLogin`` when
            one refuses and none accepts, and with what went wrong when none could decide.
        """

        async def asking() -> Any:
            refused = False
            failure: Exception | None = None
            for checker in self._checkers:
                try:
                    return await maybeDeferred(checker.requestAvatarId, credentials)
                except CancelledError:
                    raise
                except LoginNotChecked as error:
                    failure = error
                except LoginFailed:
                    refused = True
                except Exception as error:
                    failure = error
            if failure is None or refused:
                # A refusal counts, whatever others could not say; else their silence were a way to guess.
                raise UnauthorizedLogin("login or passphrase is wrong")
            raise failure

        return Deferred.fromCoroutine(asking())


def fit_for_log(failure: Failure) -> Failure:
    """
    Have a failure show its traceback without what could forge lines of a log or command a terminal: the
    text of a checker's error may be what a peer gave as its login.
    """
    said = str(failure.value)
    text = failure.getTraceback()
    if said:
        text = text.replace(said, ascii(said))
    shown = "".join(mark if mark == "\n" or mark.isprintable() else ascii(mark)[1:-1] for mark in text)
    failure.getTraceback = lambda *arguments, **keywords: shown  # type: ignore[method-assign]
    return failure


def checker_from_string(description: str) -> ICredentialsChecker:
    """
    Make a checker as strcred's ``--auth`` does, ``TYPE`` or ``TYPE:ARGUMENT``; ``twistd sodium
    --help-auth`` lists the types.

    :raises LocalProtocolError: with one line, when there is no such type, it checks no passphrases, or
        it can't be made.
    """
    kind = description.partition(":")[0]  # behind it, some have passphrases
    try:
        checker: ICredentialsChecker = makeChecker(description)
    except InvalidAuthType:
        raise LocalProtocolError(
            f"authentication of an unknown kind, {ascii(kind)}; see twistd sodium --help-auth"
        ) from None
    except (LocalProtocolError, OSError, InvalidAuthArgumentString) as error:
        raise LocalProtocolError(f"authentication by {ascii(kind)}: {error}") from None
    except Exception as error:
        raise LocalProtocolError(f"authentication by {ascii(kind)}: {type(error).__name__}") from None
    if not any(issubclass(IUsernamePassword, interface) for interface in checker.credentialInterfaces):
        raise LocalProtocolError(f"authentication by {ascii(kind)} does not check logins with passphrases")
    return checker


def any_of(checkers: Sequence[ICredentialsChecker]) -> ICredentialsChecker:
    """
    Make one checker of several, at least one: any that accepts lets in.
    """
    return checkers[0] if len(checkers) == 1 else AnyLogin(checkers)
