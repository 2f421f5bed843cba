"""
Checkers that decide when, and as, a test says.
"""

from __future__ import annotations

from typing import Any

from twisted.cred.checkers import ICredentialsChecker
from twisted.cred.credentials import IUsernamePassword
from twisted.internet.defer import Deferred
from zope.interface import implementer

from sodiumtwist import SingleLogin


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
        self.asked: list[Any] = []
        self.answers: list[Deferred[Any]] = []
        self.cancelled: list[Deferred[Any]] = []

    def requestAvatarId(self, credentials: Any) -> Deferred[Any]:
        self.asked.append(credentials)
        answer: Deferred[Any] = Deferred(self.cancelled.append)
        self.answers.append(answer)
        return answer


@implementer(ICredentialsChecker)
class AnyChecker:
    """Does what a function does."""

    credentialInterfaces = (IUsernamePassword,)

    def __init__(self, decide: Any) -> None:
        self.requestAvatarId = decide


class Undecided:
    """A checker that never decides, and says when it was asked."""

    credentialInterfaces = SingleLogin.credentialInterfaces

    def __init__(self) -> None:
        self.asked: Deferred[None] = Deferred()
        self.deciding: Deferred[bytes] = Deferred()

    def requestAvatarId(self, credentials: Any) -> Deferred[bytes]:
        self.asked.callback(None)
        return self.deciding
