"""
Logins and keys that are for one version of the protocol alone, and how logins are compared in each version.

In files, ``protocol=2`` marks those that are for version 2 alone. It stands where a program that does not know it finds
an error, or no login at all: it must not take such a line for one without the mark.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from unicodedata import is_normalized, normalize

from ..core.credentials import LOGIN_SIZE, PASSPHRASE_SIZE, TEXT_SIZE, encode_text
from ..core.version import VERSIONS, check_known

#: What stands in the lines of files.
MARK = "protocol=2"

EVERY_VERSION = frozenset(VERSIONS)

#: What a line with the mark is for.
MARKED = frozenset((2,))


def check_versions(what: str, versions: Collection[int]) -> frozenset[int]:
    """
    Check which versions of the protocol something is for.

    :param what: a word for the error.
    :raises LocalProtocolError: for none, and for one that there is not.
    """
    check_known(f"a {what} is for", versions)
    return frozenset(versions)


def allows(versions: frozenset[int], version: int | None) -> bool:
    """
    Tell whether something may be used in a version.

    :param versions: what it is for.
    :param version: ``None`` where credentials do not tell, as those of other protocols: nobody knows what these
        promise, so they are good for what is not restricted alone.
    """
    return version in versions or versions == EVERY_VERSION


def check_login_size(login: str, versions: frozenset[int] = EVERY_VERSION) -> None:
    """
    Check that a client can give a login.

    :param login: up to 255 bytes of UTF-8, no NUL; up to 128 where it is for version 1 alone.
    :raises LocalProtocolError: when it can't.
    """
    encode_text("login", login, LOGIN_SIZE if 2 in versions else TEXT_SIZE)


def check_passphrase_size(passphrase: str, versions: frozenset[int] = EVERY_VERSION) -> None:
    """
    Check that a client can give a passphrase.

    :param passphrase: up to 4096 bytes of UTF-8, no NUL; up to 128 where it is for version 1 alone.
    :raises LocalProtocolError: when it can't.
    """
    encode_text("passphrase", passphrase, PASSPHRASE_SIZE if 2 in versions else TEXT_SIZE)


def composed(text: str) -> str:
    """
    Give a text the form in which clients of version 2 send it: NFC. Those of version 1 send it as it was typed.

    :param text: a login or a passphrase.
    """
    # By far the most are ASCII.
    return text if text.isascii() else normalize("NFC", text)


def composed_bytes(encoded: bytes) -> bytes:
    """
    Do the same with UTF-8.

    :param encoded: a login or a passphrase.
    """
    return encoded if encoded.isascii() else normalize("NFC", encoded.decode()).encode()


def other_forms(logins: Iterable[str]) -> dict[str, str]:
    """
    Find the logins that clients of version 2 send in another form than they have.

    :param logins: as they stand in a file.
    :return: these, by the other form. Of several with the same one, the first counts.
    """
    found: dict[str, str] = {}
    for login in logins:
        if not login.isascii() and not is_normalized("NFC", login):
            found.setdefault(normalize("NFC", login), login)
    return found
