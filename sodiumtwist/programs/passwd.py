"""
``sodiumtwist passwd``.
"""

from __future__ import annotations

import getpass
import os
import sys
import warnings

from twisted.python.usage import UsageError

from ..admission.passwords import (
    check_login,
    delete_password,
    hash_passphrase,
    read_passwords,
    set_password,
    verify_passphrase,
)
from ..keyfiles import read_passphrase_file
from .exits import EXIT_REFUSED, CommandFailed
from .interrupts import raise_again
from .output import print_error
from .settings import PasswdSettings


def passwd(settings: PasswdSettings) -> None:
    """
    Change a file of logins, or look into it.

    :raises UsageError: when no passphrase can be had.
    :raises CommandFailed: when a passphrase is not the right one.
    :raises OSError, LocalProtocolError: for a file that is wrong, and for a login that can't stand in it.
    """
    raise_again()  # the terminal is to show again what is typed, and no half of a file to stay behind
    path, login = settings.path, settings.login
    if settings.delete:
        delete_password(path, login)
        print(f"deleted {ascii(login)}")
    elif settings.verify:
        string = read_passwords(path).get(login)
        if string is None or not verify_passphrase(string, _passphrase(settings).encode()):
            raise CommandFailed(EXIT_REFUSED, "login or passphrase is wrong")
        print("right")
    else:
        check_login(login)
        if os.path.exists(path):
            read_passwords(path)  # says what is wrong with it before anything is asked
        changed = set_password(path, login, hash_passphrase(_passphrase(settings)))
        print(f"{'changed' if changed else 'added'} {ascii(login)}")


def _passphrase(settings: PasswdSettings) -> str:
    if settings.passphrase_file is not None:
        passphrase, warning = read_passphrase_file(settings.passphrase_file)
        if warning:
            print_error(f"warning: {warning}")
        return passphrase
    passphrase = _ask("Passphrase: ")
    if not settings.verify and _ask("Again: ") != passphrase:
        raise UsageError("the two differ")
    return passphrase


def _ask(prompt: str) -> str:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", getpass.GetPassWarning)
            return getpass.getpass(prompt)
    except getpass.GetPassWarning:
        raise UsageError("there is no terminal to ask for the passphrase; use --passphrase-file") from None
    except EOFError:
        raise UsageError("no passphrase was typed") from None
    except UnicodeDecodeError:
        raise UsageError("what was typed is not UTF-8") from None
    except KeyboardInterrupt:
        print(file=sys.stderr)
        raise
