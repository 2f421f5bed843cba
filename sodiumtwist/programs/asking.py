"""
Which passphrase a client gives, and how one is asked for on the terminal.
"""

from __future__ import annotations

import sys
import warnings
from collections.abc import Callable

from twisted.python.usage import UsageError

from ..contacts.addresses import is_local_client
from ..describe import describe_bad_endpoint, masked, printable
from .interrupts import as_before, exit_on_signals, raise_again
from .options import DEFAULT_PASSPHRASE
from .without_tls import load_endpoints

#: Asks for a passphrase. It gets the prompt, and what else can give the passphrase, for the error.
Ask = Callable[[str, str], str]


def choose_passphrase(
    given: str | None, has_identity: bool, login: str, endpoint: str, ask: Ask | None = None
) -> tuple[str, bool]:
    """
    Choose the passphrase of a client. Without one that was given it is the default one for a server on this machine; an
    empty one where the client has a key of its own, which may be enough; else it is asked for. The default one, which
    everybody knows, goes to no other machine: no server there should let anybody in by it.

    :param given: by an option, the environment, or what is known of the server; ``None`` when there is none.
    :param has_identity: whether the client has a key of its own.
    :param login: for the question.
    :param endpoint: where the server is, as :func:`~sodiumtwist.contacts.addresses.client_description` takes it.
    :param ask: asks for it; ``None`` for :func:`ask_passphrase`.
    :return: the passphrase, and whether it is the default one in place of another.
    :raises UsageError: when it has to be asked for, and can't be; also when the endpoint is not understood.
    """
    if given is not None:
        return given, False
    if is_local_client(endpoint):
        return DEFAULT_PASSPHRASE, True
    if has_identity:
        return "", False
    _check_endpoint(endpoint)
    asked = (ask or ask_passphrase)(
        printable(f"Passphrase of {login} at {masked(endpoint)}: "),
        "--passphrase-file, or --identity where the server knows our key",
    )
    if not asked:
        raise UsageError("no passphrase was typed")
    return asked, False


def _check_endpoint(endpoint: str) -> None:
    """
    See that an endpoint is understood, before anybody types a passphrase for it.

    :raises UsageError: when it is not.
    """
    load_endpoints(endpoint)
    # Not at the top: hardly any command asks, and to import it takes long.
    from ..protocol.client_endpoints import client_endpoint

    try:
        # Twisted warns of stand-ins for a reactor. What is made of it connects nowhere.
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            client_endpoint(object(), endpoint)
    except Exception as error:
        raise UsageError(describe_bad_endpoint("--to", endpoint, "HOST:5555", error)) from None


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
    # Not at the top: hardly any command asks.
    import getpass

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
