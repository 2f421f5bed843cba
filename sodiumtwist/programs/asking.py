"""
Passphrases, asked for on the terminal.
"""

from __future__ import annotations

import getpass
import sys
import warnings

from twisted.python.usage import UsageError

from .interrupts import as_before, exit_on_signals, raise_again


def ask_passphrase(prompt: str = "Passphrase: ", instead: str = "--passphrase-file") -> str:
    """
    Ask for a passphrase on the terminal, where it does not show. Standard input is left alone.

    :param prompt: what to ask.
    :param instead: what else can give the passphrase, for the error.
    :return: what was typed; it may be empty.
    :raises UsageError: when there is no terminal, and when what was typed is no text.
    :raises KeyboardInterrupt: for Ctrl-C.
    """
    with as_before():
        # Nothing may end the process at once: the terminal would show nothing from then on.
        raise_again()
        exit_on_signals()
        return _ask(prompt, instead)


def _ask(prompt: str, instead: str) -> str:
    try:
        # Without a terminal, getpass() warns, and then reads standard input and may show what is typed.
        with warnings.catch_warnings():
            warnings.simplefilter("error", getpass.GetPassWarning)
            return getpass.getpass(prompt)
    except getpass.GetPassWarning:
        raise UsageError(f"there is no terminal to ask for the passphrase; use {instead}") from None
    except EOFError:
        raise UsageError("no passphrase was typed") from None
    # Without its cause: a UnicodeDecodeError shows what was typed.
    except UnicodeDecodeError:
        raise UsageError("what was typed is not UTF-8") from None
    # The cursor stands behind the prompt; the message begins on a line of its own.
    except KeyboardInterrupt:
        print(file=sys.stderr)
        raise
