"""
One login, from what the client claims to a verdict. Nothing here knows of a connection: whoever asks acts on the
verdict.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from enum import Enum, auto
from typing import Any, Protocol

from twisted.cred.checkers import ICredentialsChecker
from twisted.cred.error import LoginFailed
from twisted.cred.portal import Portal
from twisted.internet.defer import CancelledError, Deferred, TimeoutError, maybeDeferred
from twisted.internet.interfaces import IAddress, IReactorTime
from twisted.python.failure import Failure

from ..core.connection import Code, describe_code
from ..core.errors import AuthenticationFailed, RemoteProtocolError, ReplayDetected
from ..core.events import AuthenticationRequested
from ..describe.fingerprints import fingerprint
from ..describe.log import Logger
from ..interfaces import ISodiumAvatar, Peer
from .authorized import AuthorizedKeys, AuthorizedKeysFile
from .checkers import ClientLogin, LoginNotChecked, LoginRefused
from .invitations import secret_of
from .joining import Finding, InvitationRefused, KeyNotStored, join
from .replays import IReplayMemory
from .shared_store import kept, result_of

TOO_MANY_FAILED = "too many logins failed, and none is checked for now"

#: What clients of version 2 are told. Of a wrong passphrase no more than of an unknown login, of a login that is not
#: for that version, or of a key that is not listed; and of what failed here, nothing but that it did.
TOLD = {
    Code.REFUSED: describe_code(Code.REFUSED),
    Code.TOO_MANY_FAILURES: "too many logins have failed, so this one was not checked; try again in some minutes",
    Code.NO_ROOM: "the server could not check the login now; try again later",
    Code.STORAGE: "the server could not store your key; its log says why",
}


class KeyNotListed(LoginRefused):
    """The key is none of those that get in, so its login's passphrase was not even tried."""


class TooManyFailed(LoginNotChecked):
    """It is not checked, since too many have failed."""

    def __init__(self) -> None:
        super().__init__(TOO_MANY_FAILED)


class Rules(Protocol):
    """
    What a login is judged by.

    :ivar checker: decides on login and passphrase; ``None`` where the clients' keys decide alone.
    :ivar authorized_keys: the clients' keys that get in; ``None`` for any.
    :ivar replays: remembers the handshakes of version 1 that were accepted. In version 2 none can be sent again.
    """

    checker: ICredentialsChecker | Portal | None
    authorized_keys: AuthorizedKeys | AuthorizedKeysFile | None
    replays: IReplayMemory


class Stake(Enum):
    """What a client is about to find out. When it leaves before it hears, that counts as a failed login."""

    NOTHING = auto()
    #: Its login is being checked.
    LOGIN = auto()
    #: It was accepted, and has yet to show that the key it claims is its own. In version 2 the handshake has shown it.
    KEY = auto()


@dataclass(frozen=True)
class Verdict:
    """
    What was decided.

    :ivar peer: who the client is, if it may come in; ``None`` otherwise.
    :ivar error: why it may not.
    :ivar unseen: whether its handshake was accepted before. It is then treated like one whose handshake does not
        open: it hears nothing.
    :ivar failed: whether that counts as a login that failed.
    :ivar login_tried: whether that says anything about the login, whose passphrase was then wrong; a key that is not
        listed says something about its address alone.
    :ivar failure: what went wrong with deciding, for the log.
    :ivar undecided: whether nobody knows if the login is right, so that a later try may go well.
    :ivar code: what a client of version 2 is told, where it may not come in.
    :ivar told: what the user is told who has the secret of an invitation; ``None`` where it is what all are told.
    """

    peer: Peer | None = None
    error: RemoteProtocolError | None = None
    unseen: bool = False
    failed: bool = False
    login_tried: bool = True
    failure: Failure | None = None
    undecided: bool = False
    code: Code = Code.REFUSED
    told: str | None = None

    @property
    def text(self) -> str:
        """What its user is told, where it may not come in."""
        return TOLD[self.code] if self.told is None else self.told


class Decision:
    """
    Decides on one login.

    :param rules: by these.
    :param claim: what the client says.
    :param address: where it says it from.
    :param may_log: tells whether a failure of the application may be logged.
    :ivar fingerprint: of its handshake.
    :ivar stake: what the client has at stake if it leaves now.
    :ivar logout: what a portal wants to be called when the connection is over.
    """

    __slots__ = ("_may_log", "_peer", "_rules", "_waiting", "fingerprint", "logout", "stake")

    _log = Logger()

    def __init__(
        self,
        rules: Rules,
        claim: AuthenticationRequested,
        address: IAddress,
        may_log: Callable[[Failure], bool] = lambda failure: True,
    ) -> None:
        self._rules = rules
        self._may_log = may_log
        self.fingerprint = claim.fingerprint
        self._peer = Peer(claim.login, claim.public_key, address, version=claim.version)
        self._waiting: Deferred[Verdict] | None = None
        self.logout: Callable[[], object] | None = None
        self.stake = Stake.NOTHING

    @property
    def is_open(self) -> bool:
        """Whether a verdict is to come."""
        return self._waiting is not None and not self._waiting.called

    def decide(
        self, claim: AuthenticationRequested, may_try: bool, others: Callable[[], Deferred[bool]] | None = None
    ) -> Deferred[Verdict]:
        """
        Find out whether the client may come in.

        :param claim: what the client says; it is not kept, for it holds a passphrase.
        :param may_try: whether its login may be checked; it may not where too many have failed.
        :param others: asks the same of all servers together; ``None`` where this one is alone.
        :return: fires with the verdict, and does not fail.
        """
        self._waiting = Deferred.fromCoroutine(self._find_out(claim, may_try, others))
        return self._waiting.addErrback(self._keep_out)

    def remember(self, seconds: float, clock: IReactorTime) -> Deferred[Verdict]:
        """
        Remember the handshake of a client that has shown that its key is its own.

        :param seconds: how long that may take.
        :param clock: by which.
        :return: fires with the verdict, and does not fail.
        """

        async def remembering() -> Verdict:
            await self._remember()
            # A decision outlives its verdict where there is a logout to come, and who then leaves has tried nothing.
            self.stake = Stake.NOTHING
            return Verdict(self._peer)

        self._waiting = Deferred.fromCoroutine(remembering()).addTimeout(seconds, clock)
        return self._waiting.addErrback(self._keep_out)

    async def _find_out(
        self, claim: AuthenticationRequested, may_try: bool, others: Callable[[], Deferred[bool]] | None
    ) -> Verdict:
        """
        Ask everybody; what costs little comes first.

        :raises ReplayDetected: when the handshake was accepted before.
        :raises twisted.cred.error.UnauthorizedLogin: when login, passphrase or key are wrong.
        """
        rules, peer = self._rules, self._peer
        allowed = None if others is None or not may_try else kept(others())
        # First, so that whoever sends a recording sees nothing of what follows, whatever its login and key are. Only
        # version 1 has recordings that would be let in.
        if claim.version == 1:
            if await maybeDeferred(rules.replays.knows, claim.fingerprint):
                raise ReplayDetected()
        if not may_try or (allowed is not None and not result_of(await allowed)):
            raise TooManyFailed()
        # Both now: they may be changed while somebody is asked, and half of the old rules with half of the new ones
        # could let in whom neither would.
        keys, checker = rules.authorized_keys, rules.checker
        if isinstance(keys, AuthorizedKeysFile):
            secret = secret_of(claim.passphrase)
            if secret is not None:
                if await self._join(keys, checker, secret) is not Finding.LISTED:
                    return Verdict(peer)
            keys = await keys.latest()
        if keys is not None and not keys.allows(claim.public_key, claim.login, claim.version):
            raise KeyNotListed(
                f"the key {claim.public_key.hex()} is not authorized, or not for this login; its fingerprint is "
                f"{fingerprint(claim.public_key)}"
            )
        if checker is not None:
            credentials = ClientLogin(claim.login.encode(), claim.passphrase.encode())
            credentials.address, credentials.version = peer.address, peer.version
            credentials.bound_key = keys is not None and keys.is_bound(claim.public_key, claim.login, claim.version)
            self.stake = Stake.LOGIN
            if isinstance(checker, Portal):
                peer = self._peer = replace(peer, avatar=await self._log_in(checker, credentials, peer))
            else:
                await maybeDeferred(checker.requestAvatarId, credentials)
            self.stake = Stake.NOTHING
        if claim.version != 1:
            # The handshake has proven the key, and can't be sent again.
            return Verdict(peer)
        if keys is None:
            if not await maybeDeferred(rules.replays.remember, claim.fingerprint):
                raise ReplayDetected()
        else:
            # The handshake is remembered later, when the key is proven. Now, anybody who knows a client's public key
            # could fill the memory.
            self.stake = Stake.KEY
        return Verdict(peer)

    async def _join(self, file: AuthorizedKeysFile, checker: object, secret: bytes) -> Finding:
        """The client has been invited, it says."""
        # Whoever gets our key some day could read the secret in a recording, and the key is not proven yet.
        if self._peer.version == 1:
            raise KeyNotListed("an invitation is for version 2 of the protocol alone")
        # Nobody but a portal gives what an application takes its users for.
        if isinstance(checker, Portal):
            raise InvitationRefused("the server takes no invitations, for its application has logins of its own")
        try:
            return await join(file, secret, self._peer)
        # Its key may get listed all the same. A client that hears that it was not looked at deletes its key.
        except CancelledError:
            raise LoginNotChecked(f"{TOO_MANY_FAILED}; the key may be listed all the same") from None

    async def _remember(self) -> None:
        if not await maybeDeferred(self._rules.replays.remember, self.fingerprint):
            raise ReplayDetected("the same handshake was accepted a moment ago")

    def _log_in(self, portal: Portal, credentials: ClientLogin, peer: Peer) -> Deferred[Any]:
        """
        Log in at a portal. It is not cancelled: it goes on when nobody waits for it any more. Whom it has logged in by
        then is logged out at once.
        """
        avatar: Deferred[Any] = Deferred(lambda cancelled: None)

        def logged_in(result: tuple[object, Any, Callable[[], object]]) -> None:
            try:
                _, made, self.logout = result
            except (TypeError, ValueError):
                failed(Failure())
                return
            if avatar.called:
                self.log_out()
            else:
                avatar.callback(made)

        def failed(reason: Failure) -> None:
            if not avatar.called:
                avatar.errback(reason)

        maybeDeferred(portal.login, credentials, peer, ISodiumAvatar).addCallbacks(logged_in, failed)
        return avatar

    def log_out(self) -> None:
        """The connection is over: tell a portal that let the client in."""
        logout, self.logout = self.logout, None
        if logout is not None:
            maybeDeferred(logout).addErrback(self._logout_failed)

    def _logout_failed(self, reason: Failure) -> None:
        if self._may_log(reason):
            self._log.failure(
                "the logout of {login} failed", reason, event="logout_failed", login=repr(self._peer.login)
            )

    def cancel(self) -> None:
        """Decide no longer: too many logins have failed meanwhile, or nobody waits for the verdict."""
        if self._waiting is not None:
            self._waiting.cancel()

    def _keep_out(self, reason: Failure) -> Verdict:
        """Make a verdict of what went wrong."""
        claimed_key, self.stake = self.stake is Stake.KEY, Stake.NOTHING
        error = reason.value
        if isinstance(error, ReplayDetected):
            # A key that was proven has an answer already, so there is nobody to hide from.
            return Verdict(error=error) if claimed_key else Verdict(unseen=True)
        code = Code.NO_ROOM
        if isinstance(error, LoginNotChecked):
            why = str(error)
            if isinstance(error, TooManyFailed):
                code = Code.TOO_MANY_FAILURES
            elif isinstance(error, KeyNotStored):
                code = Code.STORAGE
        elif isinstance(error, CancelledError):
            why, code = TOO_MANY_FAILED, Code.TOO_MANY_FAILURES
        elif isinstance(error, LoginFailed):
            # What other checkers than ours say may hold anything.
            why = str(error) if isinstance(error, LoginRefused) else "login or passphrase is wrong"
            return Verdict(
                error=AuthenticationFailed(why),
                failed=True,
                login_tried=not isinstance(error, (KeyNotListed, InvitationRefused)),
                told=why if isinstance(error, InvitationRefused) else None,
            )
        elif isinstance(error, TimeoutError):
            why = "the handshake could not be remembered in time"
        elif isinstance(error, OSError):
            why = f"the login could not be checked: {str(error)!r}"
        else:
            error = AuthenticationFailed("the login could not be checked")
            return Verdict(error=error, failure=reason, undecided=True, code=code)
        return Verdict(error=AuthenticationFailed(why), undecided=True, code=code)
