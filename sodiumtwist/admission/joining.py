"""
Invitations in the file of clients' keys: they are added, and used. To use one lists a key and marks the invitation as
used in one replacement of the file, so neither is ever done without the other.
"""

from __future__ import annotations

from collections.abc import Callable

from twisted.internet.defer import Deferred
from twisted.internet.threads import deferToThreadPool
from twisted.python.failure import Failure

from ..core.errors import InvalidKey, LocalProtocolError
from ..describe import describe_os_error
from ..describe.fingerprints import fingerprint
from ..describe.log import Logger, describe_address
from ..interfaces import Peer
from .authorized import AuthorizedKeys, AuthorizedKeysFile, parse_authorized_keys
from .checkers import LoginNotChecked, LoginRefused
from .invitations import Invitation, hash_secret, is_invitation, parse_invitation, quoted_login, shown_day
from .marks import MARK
from .updating import ListKind, update_list

KEYS = ListKind("list of clients' keys", parse_authorized_keys, False, "take out keys that nobody needs")

#: What a client is told whose invitation is not in the file.
UNKNOWN = "the server knows no such invitation: it was withdrawn, or is another server's; ask for a new one"

OTHER_LOGIN = "the invitation is for another login; join with the whole URL, as it was given"

_log = Logger()


class InvitationRefused(LoginRefused):
    """An invitation lets nobody in, or not this client. The text says why, and is for whoever has the secret."""


class KeyNotStored(LoginNotChecked):
    """The file of keys could not be changed. The text says why, for the log."""


def must_be_used(keys: AuthorizedKeys, digest: bytes, login: str, public_key: bytes, now: float) -> bool:
    """
    Judge a client that gives the secret of an invitation.

    :param keys: what the file says.
    :param digest: the hash of the secret.
    :param login: the one that the client gives.
    :param public_key: the client's, 32 bytes.
    :param now: in seconds since 1970.
    :return: whether its key is yet to be listed; it is when this client has used the invitation a short time ago.
    :raises InvitationRefused: when it may not come in.
    """
    invitation = keys.invitations.get(digest)
    if invitation is None:
        raise InvitationRefused(UNKNOWN)
    if not invitation.is_for(login):
        raise InvitationRefused(OTHER_LOGIN)
    if invitation.was_used_by(public_key, now) and keys.allows(public_key, login, 2):
        return False
    refused = invitation.why_not(now)
    if refused is not None:
        raise InvitationRefused(refused)
    return True


def use_invitation(
    path: str,
    digest: bytes,
    login: str,
    public_key: bytes,
    now: float,
    tell: Callable[[str], object] | None = None,
) -> bool:
    """
    List the key of a client that gives the secret of an invitation, for the login of that, and note that it was used.

    :param path: of the file of keys.
    :param tell: called with a line about what could not be kept of the file.
    :return: whether the key was listed now. The other parameters, and what is raised, are those of
        :func:`must_be_used`.
    :raises OSError: when the file can't be read or replaced.
    :raises LocalProtocolError: when it is no such file, or another program has its folder locked for too long.
    """
    used = False

    def change(lines: list[str], keys: AuthorizedKeys) -> None:
        nonlocal used
        # Again: since the file was looked at, another server may have let somebody in by it.
        used = must_be_used(keys, digest, login, public_key, now)
        if not used:
            raise _Nothing
        invitation = keys.invitations[digest]
        (number,) = (number for number, line in enumerate(lines) if _digest_of(line) == digest)
        lines[number] = Invitation(digest, invitation.login, int(now), public_key).line
        # A line with the mark would take version 1 from a key that has it.
        if not keys.allows(public_key, login, 2):
            listed = f"{MARK} {public_key.hex()} {quoted_login(invitation.login)}  # joined {shown_day(now)}"
            lines.insert(number + 1, listed)

    try:
        update_list(path, KEYS, change, tell)
    except _Nothing:
        pass
    return used


class _Nothing(Exception):
    """There is nothing to change."""


def _digest_of(line: str) -> bytes | None:
    line = line.strip(" \t\r")
    return parse_invitation(line).digest if is_invitation(line) else None


def add_invitation(path: str, invitation: Invitation, now: float, tell: Callable[[str], object] | None = None) -> None:
    """
    Add an invitation to a file of keys, and take out those that nobody needs any more.

    :param path: of the file. One that is missing is made, with mode 0600.
    :param now: in seconds since 1970.
    :param tell: called with a line about what could not be kept of the file.
    :raises OSError: when the file can't be read or replaced.
    :raises SodiumError: when it is no such file, or another program has its folder locked for too long.
    """

    def change(lines: list[str], keys: AuthorizedKeys) -> None:
        lines[:] = [line for line in lines if not _is_over(line, now)]
        lines.append(f"{invitation.line}  # invited {shown_day(now)}")

    update_list(path, KEYS, change, tell)


def _is_over(line: str, now: float) -> bool:
    line = line.strip(" \t\r")
    return is_invitation(line) and parse_invitation(line).is_over(now)


def join(file: AuthorizedKeysFile, secret: bytes, peer: Peer) -> Deferred[None]:
    """
    Let in a client of version 2 that gives the secret of an invitation: its key is listed in the file, by a thread.
    Clients have their turn one after the other. To cancel it is to wait no longer; what a thread does is done all the
    same, and the client comes in when it tries again.

    :param file: of the keys.
    :param secret: 16 bytes.
    :param peer: the client; its key is proven.
    :return: fires when its key is listed, and the disk has it. Fails with :class:`InvitationRefused`, with
        :class:`KeyNotStored`, and with :class:`~sodiumtwist.admission.checkers.LoginNotChecked` when the file has not
        been good for too long.
    """
    joined: Deferred[None] = Deferred(lambda cancelled: None)

    def done(outcome: None | Failure) -> None:
        if not joined.called:
            joined.callback(outcome)
        elif isinstance(outcome, Failure) and not outcome.check(LoginRefused):
            _log.warn("the key of {login} is not listed: {why}", login=ascii(peer.login), why=outcome.getErrorMessage())

    Deferred.fromCoroutine(_join(file, hash_secret(secret), peer, joined)).addBoth(done)
    return joined


async def _join(file: AuthorizedKeysFile, digest: bytes, peer: Peer, joined: Deferred[None]) -> None:
    login = peer.login or ""
    # Most that are refused need no turn.
    if not must_be_used(await file.latest(), digest, login, peer.public_key, file.wall_clock()):
        return
    # One thread at most: each may wait for other programs, and there are few, which verify logins, too.
    await file.turn.acquire()
    try:
        now = file.wall_clock()
        # Whoever had a turn meanwhile may have used it. Nor is anything to be done for whom nobody waits any more.
        if joined.called or not must_be_used(await file.latest(), digest, login, peer.public_key, now):
            return
        used = await _in_thread(file, digest, login, peer.public_key, now)
    # It is nobody's fault who logs in.
    except (OSError, LocalProtocolError, InvalidKey) as error:
        why = describe_os_error(error) if isinstance(error, OSError) else str(error)
        raise KeyNotStored(f"the key could not be listed: {why}") from None
    finally:
        file.turn.release()
    if used:
        _log.info(
            "{login} has joined by an invitation, from {where}: key {key}, fingerprint {fingerprint}",
            login=ascii(login),
            where=describe_address(peer.address),
            key=peer.public_key.hex(),
            fingerprint=fingerprint(peer.public_key),
        )


def _in_thread(file: AuthorizedKeysFile, digest: bytes, login: str, public_key: bytes, now: float) -> Deferred[bool]:
    # Not at import time: that would install a reactor, and the program may want another one.
    if file.reactor is None:
        from twisted.internet import reactor

        file.reactor = reactor
    told: list[str] = []
    pool = file.reactor.getThreadPool()
    work = deferToThreadPool(
        file.reactor, pool, use_invitation, file.file.path, digest, login, public_key, now, told.append
    )

    def tell(used: bool) -> bool:
        for line in told:
            _log.warn("{line}", line=line)
        return used

    return work.addCallback(tell)
