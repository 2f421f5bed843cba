"""
``sodiumtwist passwd``.
"""

from __future__ import annotations

import os

from twisted.python.usage import UsageError

from ..admission.marks import composed
from ..admission.passwords import (
    BY_KEY,
    check_login,
    delete_password,
    hash_passphrase,
    read_passwords,
    set_password,
    verify_passphrase,
)
from ..contacts.keyfiles import read_passphrase_file
from ..core.credentials import TEXT_SIZE
from .asking import ask_passphrase
from .exits import EXIT_REFUSED, CommandFailed
from .interrupts import exit_on_signals, raise_again
from .output import print_error, tell
from .settings import PasswdSettings


def passwd(settings: PasswdSettings) -> None:
    """
    Change a file of logins, or verify a login against it.

    :raises UsageError: when there is no passphrase, or the two that were typed differ.
    :raises CommandFailed: when ``--verify`` finds that the login or the passphrase is wrong.
    :raises OSError: when a file can't be read or written.
    :raises LocalProtocolError: when a file is not as it should be, and when the login can't stand in such a file.
    """
    # Ctrl-C must not end this at once: the terminal may be set to show nothing, and a file may be half written.
    raise_again()
    exit_on_signals()
    path, login = settings.path, settings.login
    if settings.delete:
        delete_password(path, login, _warn)
        tell(f"deleted {login!r}")
    elif settings.verify:
        passwords = read_passwords(path)
        string = passwords.get(login)
        if string == BY_KEY:
            raise CommandFailed(EXIT_REFUSED, f"{login!r} has no passphrase: it comes in by its key alone")
        passphrase = _as_sent(_passphrase(settings), login in passwords.marked)
        if string is None or not verify_passphrase(string, passphrase.encode()):
            raise CommandFailed(EXIT_REFUSED, "login or passphrase is wrong")
        tell("right")
    else:
        # Says what is wrong with the login and the file now, before anybody types a passphrase for nothing.
        check_login(login)
        marked = settings.mark or (os.path.exists(path) and login in read_passwords(path).marked)
        passphrase = _as_sent(_passphrase(settings), marked)
        changed = set_password(path, login, hash_passphrase(passphrase), _warn, mark=settings.mark)
        tell(f"{'changed' if changed else 'added'} {login!r}")
        if not marked:
            _tell_versions(login, passphrase)


def _as_sent(passphrase: str, marked: bool) -> str:
    """
    Give a passphrase as clients send it.

    :param marked: whether the login is for version 2 alone. In version 1 it is sent as it is typed.
    """
    return composed(passphrase) if marked else passphrase


def _tell_versions(login: str, passphrase: str) -> None:
    """Warn when clients of one version can't give a login or its passphrase, of a login that is for both."""
    for what, text in (("login", login), ("passphrase", passphrase)):
        size = len(text.encode())
        if size > TEXT_SIZE:
            _warn(f"the {what} has {size} bytes, so only clients of version 2 can give it; {TEXT_SIZE} fit version 1")
    if composed(passphrase) != passphrase:
        _warn(
            "the passphrase holds accents apart from their letters, so only clients of version 1 can give it: those of "
            "version 2 send them together; type it so, or use --protocol 2"
        )


def _warn(line: str) -> None:
    print_error(f"warning: {line}")


def _passphrase(settings: PasswdSettings) -> str:
    if settings.passphrase_file is not None:
        passphrase, warning = read_passphrase_file(settings.passphrase_file)
        if warning:
            _warn(warning)
        return passphrase
    passphrase = ask_passphrase()
    # A slip would keep the login out. When verifying, it does no harm.
    if not settings.verify and ask_passphrase("Again: ") != passphrase:
        raise UsageError("the two differ")
    return passphrase
