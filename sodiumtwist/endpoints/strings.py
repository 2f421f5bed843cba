"""
Endpoint strings ``sodium:…``.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar

from twisted.cred.checkers import ICredentialsChecker
from twisted.internet.endpoints import clientFromString, serverFromString
from twisted.internet.interfaces import (
    IReactorTime,
)
from twisted.logger import Logger

from ..admission.authorized import AuthorizedKeysFile
from ..admission.checkers import NO_CHECKER, SingleLogin, any_of, checker_from_string
from ..admission.replay_database import ReplayDatabase
from ..core.keys import parse_key
from ..describe import describe_endpoint_error, unknown_keywords
from ..keyfiles import KEY_VARIABLE, PASSPHRASE_VARIABLE, read_key, read_key_file, read_passphrase
from .wrappers import SodiumClientEndpoint, SodiumServerEndpoint

_log = Logger()


Read = TypeVar("Read")


SERVER_KEYWORDS = ("keyFile", "login", "passphraseFile", "auth", "authorizedKeys", "replayDB")


CLIENT_KEYWORDS = ("serverKey", "login", "passphraseFile", "identityFile")


#: Keywords that would show a secret to whoever sees the string.
SECRET_KEYWORDS = {"key": "keyFile", "privateKeyHex": "keyFile", "passphrase": "passphraseFile"}


def _quote(text: str) -> str:
    return re.sub(r"([\\:=])", r"\\\1", text)


def _inner(
    parse: Callable[[str], Any], keywords: Sequence[str], arguments: Sequence[str], values: Mapping[str, str]
) -> tuple[dict[str, str], Any]:
    """Split the keywords of ``sodium:`` from those of the endpoint below, and make that endpoint."""
    if not arguments:
        raise ValueError("sodium: which endpoint? one is for instance sodium:tcp:…")
    for secret, instead in SECRET_KEYWORDS.items():
        if secret in values and (secret != "key" or "keyFile" in keywords):
            raise ValueError(f"sodium: {secret}= would show a secret; put it into a file and use {instead}=")
    ours = {name: values[name] for name in keywords if name in values}
    others = [f"{_quote(name)}={_quote(value)}" for name, value in values.items() if name not in ours]
    below = ":".join([*map(_quote, arguments), *others])
    try:
        return ours, parse(below)
    except (TypeError, ValueError) as error:
        if unknown := unknown_keywords(error):
            raise ValueError(
                f"sodium: unknown keyword {', '.join(unknown)}; sodium takes {', '.join(keywords)}, "
                f"and {arguments[0]} takes none of that name"
            ) from None
        raise ValueError(f"sodium: {arguments[0]} is not understood: {describe_endpoint_error(error)}") from None


#: What may stand elsewhere than in the string, for those who miss it.
KEY_FILE = f"keyFile= (or ${KEY_VARIABLE})"


PASSPHRASE_FILE = f"passphraseFile= (or ${PASSPHRASE_VARIABLE})"


def _check_there(needed: Mapping[str, object]) -> None:
    missing = [name for name, value in needed.items() if not value]
    if missing:
        raise ValueError(f"sodium: missing: {', '.join(missing)}")


def _read(read: Callable[[str], Read], ours: Mapping[str, str], name: str) -> Read | None:
    """Read the file that a keyword names, if it does."""
    try:
        return read(ours[name]) if name in ours else None
    except OSError as error:
        raise ValueError(f"sodium: {name}={ours[name]}: {error.strerror}") from None


def _passphrase(ours: Mapping[str, str]) -> str | None:
    passphrase, warning = _read(
        lambda path: read_passphrase(path, "passphraseFile="), ours, "passphraseFile"
    ) or read_passphrase(None, "passphraseFile=")
    if warning:
        _log.warn("{line}", line=warning)
    return passphrase


def server_from_string(reactor: Any, arguments: Sequence[str], keywords: Mapping[str, str]) -> SodiumServerEndpoint:
    """
    Make what ``sodium:ENDPOINT:keyFile=…:login=…:passphraseFile=…`` names. The private key may also be
    in ``$SODIUMTWIST_KEY``, the passphrase in ``$SODIUMTWIST_PASSPHRASE``. ``auth=`` is a checker as for
    ``twistd sodium --auth``, besides or instead of login and passphrase; ``authorizedKeys=`` and
    ``replayDB=`` are files as for the options of these names.

    :param arguments: what stands behind ``sodium:``, without keywords.
    :param keywords: ours, and those of the endpoint below.
    :raises ValueError: for missing or unknown keywords and for files that can't be read; it names them.
    :raises InvalidKey: for a file that holds no key.
    :raises LocalProtocolError: for files that others can read, logins that do not fit.
    """
    ours, endpoint = _inner(lambda text: serverFromString(reactor, text), SERVER_KEYWORDS, arguments, keywords)
    auth, login = ours.get("auth"), ours.get("login")
    pair = _read(lambda path: read_key(path, "keyFile="), ours, "keyFile") or read_key(None, "keyFile=")
    needed: dict[str, object] = {KEY_FILE: pair}
    checkers: list[ICredentialsChecker] = []
    if auth == NO_CHECKER:
        if "login" in ours or "passphraseFile" in ours:
            raise ValueError("sodium: auth=none excludes login= and passphraseFile=")
        needed["authorizedKeys="] = ours.get("authorizedKeys")
        _check_there(needed)
    elif auth is not None and "login" not in ours and "passphraseFile" not in ours:
        _check_there(needed)
    else:
        passphrase = _passphrase(ours)
        _check_there({**needed, "login=": login, PASSPHRASE_FILE: passphrase})
        checkers.append(SingleLogin(login or "", passphrase or ""))
    if auth is not None and auth != NO_CHECKER:
        checkers.append(checker_from_string(auth))
    assert pair is not None
    return SodiumServerEndpoint(
        endpoint,
        pair,
        any_of(checkers) if checkers else None,
        clock=_clock(reactor),
        authorized_keys=_read(AuthorizedKeysFile, ours, "authorizedKeys"),
        replays=_read(ReplayDatabase, ours, "replayDB"),
    )


def client_from_string(reactor: Any, arguments: Sequence[str], keywords: Mapping[str, str]) -> SodiumClientEndpoint:
    """
    Make what ``sodium:ENDPOINT:serverKey=HEX:login=…:passphraseFile=…`` names. The passphrase may also
    be in ``$SODIUMTWIST_PASSPHRASE``. With ``identityFile=``, our private key, login and passphrase may
    be left out, for servers where the key decides.

    :param arguments: what stands behind ``sodium:``, without keywords.
    :param keywords: ours, and those of the endpoint below.
    :raises ValueError: for missing or unknown keywords and for files that can't be read; it names them.
    :raises InvalidKey: for a server key or a file that is none.
    :raises LocalProtocolError: for a login or passphrase that does not fit.
    """
    ours, endpoint = _inner(lambda text: clientFromString(reactor, text), CLIENT_KEYWORDS, arguments, keywords)
    pair, passphrase = _read(read_key_file, ours, "identityFile"), _passphrase(ours)
    needed: dict[str, object] = {"serverKey=": ours.get("serverKey")}
    if pair is None:
        needed.update({"login=": ours.get("login"), PASSPHRASE_FILE: passphrase})
    _check_there(needed)
    key = parse_key(ours["serverKey"], "serverKey")
    return SodiumClientEndpoint(endpoint, key, ours.get("login", ""), passphrase or "", pair, clock=_clock(reactor))


def _clock(reactor: Any) -> IReactorTime | None:
    return IReactorTime(reactor, None)
