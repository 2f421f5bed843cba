"""
Checkers that decide when, and as, a test says.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Union

from twisted.cred.checkers import ICredentialsChecker
from twisted.cred.credentials import IUsernamePassword, UsernamePassword
from twisted.internet.defer import Deferred
from zope.interface import implementer

#: What checkers answer.
AvatarId = Union[bytes, tuple[()]]


@implementer(ICredentialsChecker)
class LateChecker:
    """
    Decides when the test says so.

    :ivar asked: the credentials, one for each question.
    :ivar answers: the Deferreds to fire.
    :ivar cancelled: those that were cancelled.
    """

    credentialInterfaces = (IUsernamePassword,)

    def __init__(self) -> None:
        self.asked: list[UsernamePassword] = []
        self.answers: list[Deferred[AvatarId]] = []
        self.cancelled: list[Deferred[AvatarId]] = []

    def requestAvatarId(self, credentials: UsernamePassword) -> Deferred[AvatarId]:
        self.asked.append(credentials)
        answer: Deferred[AvatarId] = Deferred(self.cancelled.append)
        self.answers.append(answer)
        return answer


@implementer(ICredentialsChecker)
class AnyChecker:
    """
    Does what a function does.

    :param decide: returns or raises at once, or returns a Deferred.
    """

    credentialInterfaces = (IUsernamePassword,)

    def __init__(self, decide: Callable[[UsernamePassword], bytes | Deferred[AvatarId]]) -> None:
        self._decide = decide

    # As ICredentialsChecker allows in its text, though not in its annotation.
    def requestAvatarId(self, credentials: UsernamePassword) -> bytes | Deferred[AvatarId]:  # type: ignore[override]
        return self._decide(credentials)


@implementer(ICredentialsChecker)
class Undecided:
    """A checker that never decides, and says when it was asked."""

    credentialInterfaces = (IUsernamePassword,)

    def __init__(self) -> None:
        self.asked: Deferred[None] = Deferred()
        self.deciding: Deferred[AvatarId] = Deferred()

    def requestAvatarId(self, credentials: UsernamePassword) -> Deferred[AvatarId]:
        self.asked.callback(None)
        return self.deciding
