"""
Invitations in the file of clients' keys: they are added, and used. To use one lists a key and marks the invitation as
used in one replacement of the file, so neither is ever done without the other.
"""

from __future__ import annotations

import errno
import os
import pwd
from collections.abc import Sequence
from copy import copy
from dataclasses import dataclass, replace
from enum import Enum, auto
from typing import Union

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IAddress
from twisted.internet.threads import deferToThreadPool
from twisted.python.failure import Failure

from ..core.errors import InvalidKey, LocalProtocolError
from ..describe import describe_error, describe_os_error
from ..describe.fingerprints import fingerprint
from ..describe.log import Logger, describe_address
from ..interfaces import Peer
from .authorized import AuthorizedKeys, AuthorizedKeysFile, parse_authorized_keys
from .checkers import LoginNotChecked, LoginRefused
from .invitations import INVITATION, Invitation, hash_secret, parse_invitation, quoted_login, shown_day
from .marks import MARK
from .replacing import may
from .updating import ListKind, NotSynced, Tell, update_list

KEYS = ListKind("list of clients' keys", parse_authorized_keys, False, "take out keys that nobody needs")

#: What a client is told whose invitation is not in the file.
UNKNOWN = "the server knows no such invitation: it was withdrawn, or is another server's; ask for a new one"

OTHER_LOGIN = "the invitation is for another login; join with the whole URL, as it was given"

_log = Logger()


class InvitationRefused(LoginRefused):
    """An invitation lets nobody in, or not this client. The text says why, and is for whoever has the secret."""


class KeyNotStored(LoginNotChecked):
    """The file of keys could not be changed. The text says why, for the log."""


@dataclass(frozen=True)
class Claim:
    """
    What a client gives that has been invited.

    :ivar digest: the hash of its secret.
    :ivar login: its login, as it sends it.
    :ivar public_key: its key, 32 bytes, which is proven.
    """

    digest: bytes
    login: str
    public_key: bytes


class Finding(Enum):
    """What was found of a claim."""

    #: The invitation is open: the key is to be listed; or it is listed now.
    OPEN = auto()
    #: This client has used it a moment ago, and may not know that.
    AGAIN = auto()
    #: This client has used it long ago: it comes in by its key, as all do.
    LISTED = auto()


#: What comes of a claim: what was found, or why the client may not come in.
Outcome = Union[Finding, InvitationRefused]


def judge(keys: AuthorizedKeys, claim: Claim, now: float) -> Finding:
    """
    Judge a claim.

    :param keys: what the file says.
    :param now: in seconds since 1970.
    :raises InvitationRefused: when it may not come in.
    """
    invitation = keys.invitations.get(claim.digest)
    if invitation is None:
        raise InvitationRefused(UNKNOWN)
    if not invitation.is_for(claim.login):
        raise InvitationRefused(OTHER_LOGIN)
    if invitation.key == claim.public_key and keys.allows(claim.public_key, claim.login, 2):
        return Finding.AGAIN if invitation.is_recent(now) else Finding.LISTED
    refused = invitation.why_not(now)
    if refused is not None:
        raise InvitationRefused(refused)
    return Finding.OPEN


def use_invitations(
    path: str,
    claims: Sequence[Claim],
    now: float,
    tell: Tell | None = None,
    read: tuple[bytes | None, AuthorizedKeys | None] = (None, None),
) -> list[Outcome]:
    """
    List the keys of clients that were invited, for the logins of their invitations, and note that these were used.

    :param path: of the file of keys.
    :param claims: of these clients, in the order in which they came.
    :param now: in seconds since 1970.
    :param tell: called with a line about what could not be kept of the file.
    :param read: what was in the file when it was read last, and what was made of that: a large one need not be parsed
        again, which takes seconds.
    :return: what comes of each.
    :raises OSError: when the file can't be read or replaced.
    :raises SodiumError: when it is no such file, or another program has its folder locked for too long.
    """
    outcomes: list[Outcome] = []

    def parse(text: str) -> AuthorizedKeys:
        data, keys = read
        return keys if keys is not None and text.encode() == data else parse_authorized_keys(text)

    def change(lines: list[str], keys: AuthorizedKeys) -> None:
        outcomes.clear()
        listed: dict[bytes, Claim] = {}
        # What all go by is not changed before the file is.
        keys = copy(keys)
        keys.invitations = dict(keys.invitations)
        for claim in claims:
            # Two connections of one client, both of which are to come in.
            if listed.get(claim.digest) == claim:
                outcomes.append(Finding.AGAIN)
                continue
            try:
                # Again: since the file was looked at, another server may have let somebody in by it.
                found = judge(keys, claim, now)
            except InvitationRefused as refused:
                outcomes.append(refused)
                continue
            if found is Finding.OPEN:
                _list_key(lines, keys, claim, now)
                listed[claim.digest] = claim
            outcomes.append(found)
        if not listed:
            raise _NothingToDo

    # To update one that is missing would make it.
    os.stat(path)
    try:
        update_list(path, replace(KEYS, parse=parse), change, tell)
    except _NothingToDo:
        pass
    # All servers see it. It would be undone as a whole, and the client can do the same again then.
    except NotSynced as error:
        if tell is not None:
            tell(describe_os_error(error))
    return outcomes


class _NothingToDo(Exception):
    """The file stays as it is."""


def _list_key(lines: list[str], keys: AuthorizedKeys, claim: Claim, now: float) -> None:
    invitation = keys.invitations[claim.digest]
    used = keys.invitations[claim.digest] = replace(invitation, time=int(now), key=claim.public_key)
    number = next(number for number, line in enumerate(lines) if _invitation_in(line) == invitation)
    lines[number] = used.line
    # Where it is listed already, another line, with the mark, would take version 1 from it.
    if not keys.allows(claim.public_key, claim.login, 2):
        login = quoted_login(invitation.login)
        lines.insert(number + 1, f"{MARK} {claim.public_key.hex()} {login}  # joined {shown_day(now)}")


def _invitation_in(line: str) -> Invitation | None:
    line = line.strip(" \t\r")
    return parse_invitation(line) if line.startswith(INVITATION) else None


def add_invitation(path: str, invitation: Invitation, now: float, tell: Tell | None = None) -> None:
    """
    Add an invitation to a file of keys, and take out those that nobody needs any more.

    :param path: of the file. One that is missing is made, with mode 0600.
    :param now: in seconds since 1970.
    :param tell: called with a line about what could not be kept of the file.
    :raises OSError: when the file can't be read or replaced.
    :raises SodiumError: when it is no such file, or another program has its folder locked for too long.
    """

    def change(lines: list[str], keys: AuthorizedKeys) -> None:
        lines[:] = [line for line in lines if (old := _invitation_in(line)) is None or not old.is_over(now)]
        lines.append(replace(invitation, comment=f"  # invited {shown_day(now)}").line)

    update_list(path, KEYS, change, tell)


def withdraw_invitation(path: str, invitation: Invitation, tell: Tell | None = None) -> None:
    """
    Take an invitation out of a file of keys. The other parameters, and what is raised, are those of
    :func:`add_invitation`.
    """

    def change(lines: list[str], keys: AuthorizedKeys) -> None:
        lines[:] = [line for line in lines if _invitation_in(line) != invitation]

    update_list(path, KEYS, change, tell)


def look_if_writable(file: AuthorizedKeysFile) -> None:
    """
    Warn when a file of keys has open invitations, and this process could not list a key in it. The log tells it once
    for each time that this begins.

    :param file: of the keys, which was read.
    """
    folder = os.path.dirname(os.path.realpath(file.file.path))
    now = file.wall_clock()
    is_open = any(invitation.is_open(now) for invitation in file.file.value.invitations.values())
    closed = is_open and not may(folder, os.R_OK | os.W_OK | os.X_OK)
    if closed and not file.told_closed:
        _log.warn(
            "{path} has open invitations, but none can be used: {cure}",
            event="invitations_unusable",
            path=file.file.path,
            cure=_cure(file.file.path),
        )
    file.told_closed = closed


def _cure(path: str) -> str:
    user, folder = os.geteuid(), os.path.dirname(os.path.realpath(path))
    try:
        name = pwd.getpwuid(user).pw_name
    except KeyError:
        name = str(user)
    return (
        f"a key is listed by a new file in its place, and user {name}, as whom the server runs, can make none in "
        f"{folder}; give the list a folder of its own, which belongs to {name}"
    )


def join(file: AuthorizedKeysFile, secret: bytes, peer: Peer) -> Deferred[Finding]:
    """
    Let in a client of version 2 that gives the secret of an invitation: its key is listed in the file, by a thread. To
    cancel it is to wait no longer; what a thread does is done all the same, and the client comes in when it tries
    again.

    :param file: of the keys.
    :param secret: 16 bytes.
    :param peer: the client; its key is proven.
    :return: fires with what was found, when its key is listed and the disk has it. Fails with
        :class:`InvitationRefused`, with :class:`KeyNotStored`, and with
        :class:`~sodiumtwist.admission.checkers.LoginNotChecked` when the file has not been good for too long.
    """
    if file.joining is None:
        file.joining = _Joining(file)
    joining: _Joining = file.joining
    return joining.join(Claim(hash_secret(secret), peer.login or "", peer.public_key), peer.address)


class _Waiting:
    """
    A client that waits until its key is listed.

    :param claim: what it gives.
    :param address: where it is.
    :ivar joined: fires then.
    """

    def __init__(self, claim: Claim, address: IAddress) -> None:
        self.claim = claim
        self.address = address
        self.joined: Deferred[Finding] = Deferred(lambda cancelled: None)

    def tell(self, outcome: Finding | Failure) -> None:
        if not self.joined.called:
            self.joined.callback(outcome)


class _Joining:
    """
    Lets clients join a file of keys. One thread at most changes the file: it may wait for other programs, and there are
    few threads, which verify logins, too. Those that come meanwhile are listed together behind that.

    :param file: of the keys.
    """

    def __init__(self, file: AuthorizedKeysFile) -> None:
        self._file = file
        self._waiting: list[_Waiting] = []
        self._busy = False

    def join(self, claim: Claim, address: IAddress) -> Deferred[Finding]:
        """As :func:`join` does."""
        waiting = _Waiting(claim, address)
        Deferred.fromCoroutine(self._begin(waiting)).addErrback(waiting.tell)
        return waiting.joined

    async def _begin(self, waiting: _Waiting) -> None:
        # Most that are refused need no thread.
        found = judge(await self._file.latest(), waiting.claim, self._file.wall_clock())
        if found is not Finding.OPEN:
            waiting.tell(found)
            return
        self._waiting.append(waiting)
        if self._busy:
            return
        self._busy = True
        try:
            while self._waiting:
                # Nothing is done for whom nobody waits any more.
                together = [each for each in self._waiting if not each.joined.called]
                self._waiting.clear()
                try:
                    if together:
                        await self._list(together)
                except Exception:
                    failure = Failure()
                    for each in together:
                        each.tell(failure)
        finally:
            self._busy = False

    async def _list(self, together: list[_Waiting]) -> None:
        # Not at import time: that would install a reactor, and the program may want another one.
        if self._file.reactor is None:
            from twisted.internet import reactor

            self._file.reactor = reactor
        threads, path = self._file.reactor, self._file.file.path
        claims = [each.claim for each in together]
        told: list[str] = []
        try:
            outcomes: list[Outcome] = await deferToThreadPool(
                threads,
                threads.getThreadPool(),
                use_invitations,
                path,
                claims,
                self._file.wall_clock(),
                told.append,
                self._file.file.read_last,
            )
        # It is nobody's fault who logs in.
        except (OSError, LocalProtocolError, InvalidKey) as error:
            why = describe_error(error)
            if isinstance(error, OSError) and error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
                why = f"{why}; {_cure(path)}"
            # A container, or a root of its own, into which this file alone was mounted.
            elif isinstance(error, OSError) and error.errno == errno.EBUSY:
                why = f"{why}; nothing can take the place of a file that is mounted: mount its folder"
            raise KeyNotStored(f"the key could not be listed: {why}") from None
        finally:
            for line in told:
                _log.warn("{line}", event="joining_failed", line=line)
        for each, outcome in zip(together, outcomes, strict=True):
            if outcome is Finding.OPEN:
                self._note(each)
            each.tell(Failure(outcome) if isinstance(outcome, InvitationRefused) else outcome)

    def _note(self, waiting: _Waiting) -> None:
        # Also of one that has left meanwhile.
        claim = waiting.claim
        _log.info(
            "{login} has joined by an invitation, from {where}: key {key}, fingerprint {fingerprint}",
            event="client_joined",
            login=repr(claim.login),
            where=describe_address(waiting.address),
            key=claim.public_key.hex(),
            fingerprint=fingerprint(claim.public_key),
        )
