"""
Checkers of logins by their descriptions, as ``twistd sodium --auth`` takes them.
"""

from __future__ import annotations

import shlex
from collections.abc import Callable
from functools import partial

from twisted.cred.checkers import ICredentialsChecker
from twisted.cred.credentials import IUsernamePassword
from twisted.cred.strcred import InvalidAuthArgumentString, InvalidAuthType, findCheckerFactory

from ..core.errors import LocalProtocolError
from ..describe import describe_os_error
from .plaintext import PlaintextFile

#: What stands in the place of a checker's description when the clients' keys decide alone.
NO_CHECKER = "none"

#: The type that Twisted has a checker of its own for. Ours is in its place: it has the same files.
PLAINTEXT = "file"


def checker_from_string(description: str) -> ICredentialsChecker:
    """
    Make a checker from its description, as ``twistd sodium --auth`` takes it; ``twistd sodium --help-auth`` lists the
    types.

    :param description: ``TYPE`` or ``TYPE:ARGUMENT``.
    :raises LocalProtocolError: with one line, when there is no such type, when it checks no passphrases, and when the
        checker can't be made.
    """
    return find_checker(description)()


def find_checker(description: str) -> Callable[[], ICredentialsChecker]:
    """
    Find the type of a checker, and make the checker later. To find it, folders of plugins are read, which may be closed
    to the user that the checker is made as.

    :param description: as :func:`checker_from_string` takes it.
    :return: makes the checker, and raises what that function raises.
    :raises LocalProtocolError: with one line, when there is no such type.
    """
    # No error may show more than the type: the arguments of some are passphrases.
    kind, _, argument = description.partition(":")
    if kind == PLAINTEXT:
        return partial(_make_checker, PlaintextFile, kind, argument)
    try:
        factory = findCheckerFactory(kind)
    except InvalidAuthType:
        raise LocalProtocolError(
            f"authentication of an unknown kind, {kind!r}; see twistd sodium --help-auth"
        ) from None
    # A folder of plugins that may not be read.
    except OSError as error:
        raise LocalProtocolError(
            f"authentication by {kind!r}: Twisted can't look for plugins: {describe_os_error(error)}"
        ) from None
    return partial(_make_checker, factory.generateChecker, kind, argument)


def _make_checker(make: Callable[[str], ICredentialsChecker], kind: str, argument: str) -> ICredentialsChecker:
    if kind == PLAINTEXT and not argument:
        raise LocalProtocolError(f"authentication by {kind!r}: which file? {kind}:FILE")
    try:
        checker = make(argument)
    # Their texts tell what is wrong with a file or an argument. Of any other error only the name is told.
    except OSError as error:
        why = describe_os_error(error)
        if kind == "argon2" and isinstance(error, FileNotFoundError):
            why += f"; to make it: sodiumtwist passwd {shlex.quote(argument)} LOGIN"
        raise LocalProtocolError(f"authentication by {kind!r}: {why}") from None
    except (LocalProtocolError, InvalidAuthArgumentString) as error:
        raise LocalProtocolError(f"authentication by {kind!r}: {error}") from None
    except Exception as error:
        raise LocalProtocolError(f"authentication by {kind!r}: {type(error).__name__}") from None
    if not any(issubclass(IUsernamePassword, interface) for interface in checker.credentialInterfaces):
        raise LocalProtocolError(f"authentication by {kind!r} does not check logins with passphrases")
    return checker
