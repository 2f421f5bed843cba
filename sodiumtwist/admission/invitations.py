"""
Invitations: lines of a list of clients' keys, each for one login and one use. An invitation has a secret, of which the
line holds a hash alone; whoever gives the secret gets a key listed for that login::

    invitation=4c9e…07aa expires=2026-11-30T07:12:00Z ann  # invited 2026-11-29

Once used, the line says when, and which key was listed::

    invitation=4c9e…07aa used=2026-11-29T08:00:00Z 7b4e…3f13 ann

A client gives the secret as its passphrase, by version 2 of the protocol alone.

This imports no Twisted, so that commands that only need the words start at once.
"""

from __future__ import annotations

import re
import secrets
from dataclasses import dataclass, field
from datetime import datetime, timezone
from hashlib import blake2b

from ..core.errors import LocalProtocolError
from ..core.keys import parse_key
from .marks import MARK, check_login_size, composed

#: The size of a secret in bytes: 128 bits can't be guessed.
SECRET_SIZE = 16

#: The size of the hash of a secret in bytes. As the secret is random and as long as a key, a hash that takes no time
#: is as good as a slow one, which is for what people choose.
HASH_SIZE = 32

#: What stands before the secret, as 32 hex digits, in the passphrase that a client gives.
PREFIX = "invitation:"

#: Seconds for which the client that has used an invitation comes in by it again: the answer may have been lost on the
#: way. Later it comes in as all do.
AGAIN = 3600

#: Seconds for which one can be good: who forgets it must not leave a door open for years.
VALID_LIMIT = 365 * 24 * 3600

#: Seconds for which the line of an invitation stays that has expired or was used: for as long it can be told which.
KEPT = 30 * 24 * 3600

# Apart from all other hashes.
_PERSON = b"sodiumtwist-inv"

#: What a line of a list of keys begins with that is an invitation.
INVITATION = "invitation="
_PASSPHRASE = re.compile(rf"{PREFIX}([0-9a-fA-F]{{{2 * SECRET_SIZE}}})")
_TIME = "%Y-%m-%dT%H:%M:%SZ"
_TIME_FORM = re.compile(r"([0-9]{4})-([0-9]{2})-([0-9]{2})T([0-9]{2}):([0-9]{2}):([0-9]{2})Z")
_LINE = re.compile(
    rf"{INVITATION}([0-9a-fA-F]{{{2 * HASH_SIZE}}})[ \t]+(?:expires=(\S+)|used=(\S+)[ \t]+([0-9a-fA-F]+))"
    r'[ \t]+(?:"((?:[^"]|"")*)"|([^\s"#]+))([ \t]+#.*)?'
)

# What stands in a line without quotes and is not taken for something else.
_PLAIN = re.compile(r'[^\s"#]+')


def make_secret() -> bytes:
    """Make the secret of an invitation."""
    return secrets.token_bytes(SECRET_SIZE)


def hash_secret(secret: bytes) -> bytes:
    """
    Make the hash by which the server knows an invitation.

    :param secret: 16 bytes.
    :return: 32 bytes.
    """
    return blake2b(secret, digest_size=HASH_SIZE, person=_PERSON).digest()


def passphrase_of(secret: bytes) -> str:
    """
    Make the passphrase that a client gives to use an invitation.

    :param secret: 16 bytes.
    """
    return PREFIX + secret.hex()


def secret_of(passphrase: str) -> bytes | None:
    """
    Read the secret in a passphrase.

    :return: 16 bytes; ``None`` when it is any other passphrase.
    """
    found = _PASSPHRASE.fullmatch(passphrase)
    return None if found is None else bytes.fromhex(found[1])


def shown_time(seconds: float) -> str:
    """
    Give a time as people read it.

    :param seconds: since 1970.
    :return: such as ``2026-11-29 08:00 UTC``.
    """
    return _utc(seconds).strftime("%Y-%m-%d %H:%M UTC")


def shown_day(seconds: float) -> str:
    """
    Give the day of a time.

    :param seconds: since 1970.
    :return: such as ``2026-11-29``.
    """
    return _utc(seconds).strftime("%Y-%m-%d")


def _utc(seconds: float) -> datetime:
    return datetime.fromtimestamp(int(seconds), timezone.utc)


def _parse_time(text: str) -> int:
    # Not by strptime(), which imports a module at its first call: behind --chroot, or as another user, it may not find
    # that.
    found = _TIME_FORM.fullmatch(text)
    if found is not None:
        year, month, day, hour, minute, second = map(int, found.groups())
        try:
            return int(datetime(year, month, day, hour, minute, second, tzinfo=timezone.utc).timestamp())
        except ValueError:
            pass
    raise LocalProtocolError(f"{text[:40]!r} is no time such as 2026-11-30T07:12:00Z")


def quoted_login(login: str) -> str:
    """
    Give a login as it stands in a line of a list of keys.

    :param login: nothing that can't be printed is in it.
    """
    if _PLAIN.fullmatch(login) and login != MARK:
        return login
    doubled = login.replace('"', '""')
    return f'"{doubled}"'


@dataclass(frozen=True)
class Invitation:
    """
    One invitation, as its line says.

    :ivar digest: the hash of its secret, 32 bytes.
    :ivar login: whom it is for.
    :ivar time: when it expires; once used, when that was. In seconds since 1970.
    :ivar key: the key that was listed, 32 bytes; ``None`` before it is used.
    :ivar comment: what stands behind it, from the blanks before ``#`` on.
    """

    digest: bytes
    login: str
    time: int
    key: bytes | None = None
    comment: str = field(default="", compare=False)

    @property
    def line(self) -> str:
        """The line, with its comment."""
        time = _utc(self.time).strftime(_TIME)
        state = f"expires={time}" if self.key is None else f"used={time} {self.key.hex()}"
        return f"{INVITATION}{self.digest.hex()} {state} {quoted_login(self.login)}{self.comment}"

    def is_open(self, now: float) -> bool:
        """
        Tell whether it can be used.

        :param now: in seconds since 1970.
        """
        return self.key is None and now < self.time

    def is_over(self, now: float) -> bool:
        """
        Tell whether nobody needs its line any more.

        :param now: in seconds since 1970.
        """
        return now >= self.time + KEPT

    def is_for(self, login: str) -> bool:
        """
        Tell whether it is for a login.

        :param login: as a client of version 2 sends it.
        """
        return composed(self.login) == login

    def is_recent(self, now: float) -> bool:
        """
        Tell of one that was used whether that was a short time ago.

        :param now: in seconds since 1970.
        """
        return now < self.time + AGAIN

    def why_not(self, now: float) -> str | None:
        """
        Say why it can't be used.

        :param now: in seconds since 1970.
        :return: a line for whoever has the secret; ``None`` when it can be used.
        """
        if self.key is not None:
            return f"the invitation was used on {shown_time(self.time)}; ask for a new one"
        if now >= self.time:
            return f"the invitation expired on {shown_time(self.time)}; ask for a new one"
        return None


def parse_invitation(line: str) -> Invitation:
    """
    Read a line.

    :param line: of a list of keys, without white space at its ends.
    :raises InvalidKey: when the key in it is wrong.
    :raises LocalProtocolError: when something else is wrong.
    """
    found = _LINE.fullmatch(line)
    if found is None:
        raise LocalProtocolError(
            f"it is no invitation: behind {INVITATION} stand {2 * HASH_SIZE} hex digits, then expires=TIME, or "
            "used=TIME and a key, then a login, then perhaps a # comment; sodiumtwist invite makes such lines"
        )
    digest, expires, used, key, quoted, plain, comment = found.groups()
    login: str = plain if quoted is None else quoted.replace('""', '"')
    check_login_size(login)
    return Invitation(
        bytes.fromhex(digest),
        login,
        _parse_time(expires or used),
        None if key is None else parse_key(key, "client's key"),
        comment or "",
    )
