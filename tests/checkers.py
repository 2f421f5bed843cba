"""
Checkers whose decisions a test makes.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Union

from twisted.cred.checkers import ICredentialsChecker
from twisted.cred.credentials import IUsernamePassword, UsernamePassword
from twisted.internet.defer import Deferred
from zope.interface import implementer

#: What a checker answers: the login, or ``()`` for an anonymous one.
AvatarId = Union[bytes, tuple[()]]


@implementer(ICredentialsChecker)
class LateChecker:
    """
    Decides when the test fires its Deferreds.

    :ivar asked: the credentials of each question.
    :ivar answers: the Deferred of each question, for the test to fire.
    :ivar cancelled: the Deferreds that were cancelled.
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
    Asks a function.

    :param decide: answers or raises at once, or returns a Deferred.
    """

    credentialInterfaces = (IUsernamePassword,)

    def __init__(self, decide: Callable[[UsernamePassword], bytes | Deferred[AvatarId]]) -> None:
        self._decide = decide

    # As ICredentialsChecker allows in its text, though not in its annotation.
    def requestAvatarId(self, credentials: UsernamePassword) -> bytes | Deferred[AvatarId]:  # type: ignore[override]
        return self._decide(credentials)


@implementer(ICredentialsChecker)
class Undecided:
    """
    Never decides.

    :ivar asked: fires when it is asked.
    :ivar deciding: the Deferred that it returned; nobody fires it.
    """

    credentialInterfaces = (IUsernamePassword,)

    def __init__(self) -> None:
        self.asked: Deferred[None] = Deferred()
        self.deciding: Deferred[AvatarId] = Deferred()

    def requestAvatarId(self, credentials: UsernamePassword) -> Deferred[AvatarId]:
        self.asked.callback(None)
        return self.deciding
