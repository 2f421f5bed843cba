"""
Endpoint strings that begin with ``sodium:``.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, TypeVar

from twisted.cred.checkers import ICredentialsChecker
from twisted.internet.endpoints import serverFromString
from twisted.internet.interfaces import IReactorTime

from ..admission.authorized import AuthorizedKeysFile
from ..admission.checker_strings import NO_CHECKER, checker_from_string
from ..admission.checkers import SingleLogin, any_of
from ..admission.replay_database import ReplayDatabase
from ..contacts.addresses import client_description, server_description
from ..contacts.keyfiles import (
    KEY_VARIABLE,
    PASSPHRASE_VARIABLE,
    read_key,
    read_key_file,
    read_passphrase,
    read_server_key,
)
from ..contacts.lookup import can_be_name, check_same_key, look_up, read_identity, read_kept_passphrase
from ..contacts.servers import KnownServer, find_server
from ..contacts.urls import SCHEME
from ..core.version import VERSIONS, version_of
from ..describe import describe_endpoint_error, printable, unknown_keywords
from ..describe.log import Logger
from ..protocol.client_endpoints import client_endpoint
from ..protocol.factories import VERSION
from .wrappers import SodiumClientEndpoint, SodiumServerEndpoint

_log = Logger()

Read = TypeVar("Read")

SERVER_KEYWORDS = ("keyFile", "login", "passphraseFile", "auth", "authorizedKeys", "replayDB", "protocol")
CLIENT_KEYWORDS = ("serverKey", "login", "passphraseFile", "identityFile", "protocol")

#: Keywords whose values would be secrets, each with those to use instead, on a server or on a client: strings are seen
#: by others, in the output of ps for instance. A client has no key= that could be meant.
SECRET_KEYWORDS = {
    "key": ("keyFile",),
    "privateKeyHex": ("keyFile", "identityFile"),
    "passphrase": ("passphraseFile",),
}


def _quote(text: str) -> str:
    """Put back the backslashes that the parser of the whole string has taken off."""
    return re.sub(r"([\\:=])", r"\\\1", text)


def _joined(arguments: Sequence[str]) -> str:
    return ":".join(map(_quote, arguments))


def _inner(
    parse: Callable[[str], Any],
    describe: Callable[[str], str],
    below: str,
    keywords: Sequence[str],
    arguments: Sequence[str],
    values: Mapping[str, str],
) -> tuple[dict[str, str], Any]:
    """
    Split the keywords of ``sodium:`` from those of the endpoint below, and make that endpoint.

    :param parse: makes an endpoint from its string.
    :param describe: makes an endpoint string of an address, to which keywords can be added.
    :param below: the string of the endpoint below, or an address, without its keywords.
    :param keywords: which keywords are ours.
    :param arguments: what stands in the string without keywords.
    :param values: all keywords of the string.
    :return: our keywords, and the endpoint.
    :raises ValueError: when there is no endpoint, when a keyword would be a secret or is unknown, and when the endpoint
        is not understood.
    """
    if not arguments:
        raise ValueError("sodium: which endpoint? one is for instance sodium:tcp:…")
    for secret, files in SECRET_KEYWORDS.items():
        instead = [name for name in files if name in keywords]
        if secret in values and instead:
            raise ValueError(f"sodium: {secret}= would show a secret; put it into a file and use {instead[0]}=")
    ours = {name: values[name] for name in keywords if name in values}
    others = [f"{_quote(name)}={_quote(value)}" for name, value in values.items() if name not in ours]
    try:
        return ours, parse(":".join([describe(below), *others]) if others else below)
    # Twisted raises whatever its parser stumbles over: ValueError, TypeError, IndexError, RuntimeError.
    except Exception as error:
        # It is an error of the endpoint below, which knows nothing of our keywords.
        if unknown := unknown_keywords(error):
            raise ValueError(
                f"sodium: unknown keyword {', '.join(unknown)}; sodium takes {', '.join(keywords)}, "
                f"and {arguments[0]} takes none of that name"
            ) from None
        raise ValueError(f"sodium: {arguments[0]} is not understood: {describe_endpoint_error(error)}") from None


#: What errors call a keyword that may be missing, since the environment may have it instead.
KEY_FILE = f"keyFile= (or ${KEY_VARIABLE})"
PASSPHRASE_FILE = f"passphraseFile= (or ${PASSPHRASE_VARIABLE})"


def _check_there(needed: Mapping[str, object]) -> None:
    # All that is missing is told at once. A keyword with an empty value is missing, too.
    missing = [name for name, value in needed.items() if not value]
    if missing:
        raise ValueError(f"sodium: missing: {', '.join(missing)}")


def _read(read: Callable[[str], Read], ours: Mapping[str, str], name: str) -> Read | None:
    """
    Read the file that a keyword names.

    :param read: reads a file, by its path.
    :param ours: our keywords.
    :param name: the keyword.
    :return: what ``read`` returns; ``None`` when the keyword is not there.
    :raises ValueError: when the file can't be read.
    """
    try:
        return read(ours[name]) if name in ours else None
    except OSError as error:
        raise ValueError(f"sodium: {name}={ours[name]}: {error.strerror}") from None


def _version(ours: Mapping[str, str]) -> int | None:
    given = ours.get("protocol")
    if given is None:
        return None
    version = version_of(given)
    if version is None:
        raise ValueError(f"sodium: protocol={printable(given)}: the versions are {' and '.join(map(str, VERSIONS))}")
    return version


def _warn(line: str) -> None:
    _log.warn("{line}", event="client_warning", line=line)


def _passphrase(ours: Mapping[str, str]) -> str | None:
    # Without the keyword, the environment may have it.
    passphrase, warning = _read(
        lambda path: read_passphrase(path, "passphraseFile="), ours, "passphraseFile"
    ) or read_passphrase(None, "passphraseFile=")
    if warning:
        _warn(warning)
    return passphrase


def server_from_string(reactor: Any, arguments: Sequence[str], keywords: Mapping[str, str]) -> SodiumServerEndpoint:
    """
    Make the endpoint that ``sodium:ENDPOINT:keyFile=…:login=…:passphraseFile=…`` names.

    The private key may also be in ``$SODIUMTWIST_KEY``, the passphrase in ``$SODIUMTWIST_PASSPHRASE``. ``auth=``
    names a checker as ``twistd sodium --auth`` does, beside login and passphrase or in their place.
    ``authorizedKeys=`` and ``replayDB=`` name files, as the options ``--authorized-keys`` and ``--replay-db`` do.
    ``protocol=1`` or ``protocol=2`` lets only clients of that version in.

    :param reactor: what to listen with.
    :param arguments: what stands behind ``sodium:`` without keywords.
    :param keywords: our keywords, and those of the endpoint below.
    :raises ValueError: when a keyword is missing or unknown, when a file can't be read, and when there is no such
        version. It names them.
    :raises InvalidKey: when the key file holds something else than a key.
    :raises LocalProtocolError: when a file is not as it should be, when the login or the passphrase does not fit its
        field, and when there is no such checker.
    """
    if arguments and arguments[0].startswith("//"):
        raise ValueError("sodium: a URL tells clients where a server is; the server itself takes sodium:tcp:… and such")
    ours, endpoint = _inner(
        lambda text: serverFromString(reactor, server_description(text)),
        server_description,
        _joined(arguments),
        SERVER_KEYWORDS,
        arguments,
        keywords,
    )
    auth, login, version = ours.get("auth"), ours.get("login"), _version(ours)
    versions = VERSIONS if version is None else (version,)
    pair = _read(lambda path: read_key(path, "keyFile=", warn=_warn), ours, "keyFile") or read_key(
        None, "keyFile=", warn=_warn
    )
    needed: dict[str, object] = {KEY_FILE: pair}
    checkers: list[ICredentialsChecker] = []
    if auth == NO_CHECKER:
        if "login" in ours or "passphraseFile" in ours:
            raise ValueError("sodium: auth=none excludes login= and passphraseFile=")
        needed["authorizedKeys="] = ours.get("authorizedKeys")
        _check_there(needed)
    # A checker has logins of its own. One login more may stand beside it, but need not.
    elif auth is not None and "login" not in ours and "passphraseFile" not in ours:
        _check_there(needed)
    else:
        passphrase = _passphrase(ours)
        _check_there({**needed, "login=": login, PASSPHRASE_FILE: passphrase})
        checkers.append(SingleLogin(login or "", passphrase or "", versions))
    if auth is not None and auth != NO_CHECKER:
        checkers.append(checker_from_string(auth))
    assert pair is not None
    database = _read(ReplayDatabase, ours, "replayDB")
    return SodiumServerEndpoint(
        endpoint,
        pair,
        any_of(checkers) if checkers else None,
        clock=_clock(reactor),
        authorized_keys=_read(AuthorizedKeysFile, ours, "authorizedKeys"),
        replays=database,
        salts=None if database is None else database.salts,
        versions=versions,
    )


def client_from_string(
    reactor: Any, arguments: Sequence[str], keywords: Mapping[str, str], scheme: str = SCHEME
) -> SodiumClientEndpoint:
    """
    Make the endpoint that ``sodium:ENDPOINT:serverKey=HEX:login=…:passphraseFile=…`` names, or ``sodium:NAME`` for a
    server that is known by name, or the URL of a server, ``sodium://…``. What is known of a server may be left out.

    The passphrase may also be in ``$SODIUMTWIST_PASSPHRASE``. ``identityFile=`` names the file with our private key.
    With it, login and passphrase may be left out, for servers where the key decides. ``protocol=1`` is for servers
    that are the C program.

    :param reactor: what to connect with.
    :param arguments: what stands behind ``sodium:`` without keywords.
    :param keywords: our keywords, and those of the endpoint below.
    :param scheme: what stands before the first colon, of a URL.
    :raises ValueError: when a keyword is missing or unknown, when a file can't be read, and when there is no such
        version. It names them.
    :raises InvalidKey: when the server's key, or what the file holds, is something else than a key; and when a known
        server has another key than ``serverKey=``.
    :raises LocalProtocolError: when a file is not as it should be, when the login or the passphrase does not fit
        its field, and for a URL that is none.
    """
    arguments, keywords = _with_whole_key(arguments, keywords)
    server = _known_server(arguments, scheme)
    below = _joined(arguments) if server is None else server.endpoint
    ours, endpoint = _inner(
        partial(client_endpoint, reactor), client_description, below, CLIENT_KEYWORDS, arguments, keywords
    )
    version = _version(ours)
    if version is None:
        version = VERSION if server is None else server.protocol
    pair, passphrase = _read(read_key_file, ours, "identityFile"), _passphrase(ours)
    if pair is None and server is not None:
        pair = _kept(read_identity, server, "identity", server.identity)
    if passphrase is None and server is not None:
        passphrase, warning = _kept(read_kept_passphrase, server, "passphrase-file", server.passphrase_file)
        if warning:
            _warn(warning)
    login = ours.get("login") or (server.login if server is not None else None)
    needed: dict[str, object] = {"serverKey=": ours.get("serverKey") or server}
    # With a key of our own, the server may not look at login and passphrase.
    if pair is None:
        needed.update({"login=": login, PASSPHRASE_FILE: passphrase})
    if len(arguments) == 1 and not needed["serverKey="] and can_be_name(arguments[0]):
        find_server(arguments[0])  # raises, and tells which are known
    _check_there(needed)
    if "serverKey" in ours:
        given = _read(lambda text: read_server_key(text, "serverKey", pair), ours, "serverKey")
        assert given is not None
        key = given
        if server is not None:
            check_same_key(server, key)
    else:
        assert server is not None
        key = server.server_key
    return SodiumClientEndpoint(
        endpoint,
        key,
        login or "",
        passphrase or "",
        pair,
        clock=_clock(reactor),
        version=version,
    )


def _with_whole_key(arguments: Sequence[str], keywords: Mapping[str, str]) -> tuple[Sequence[str], Mapping[str, str]]:
    # Somebody has put in the whole line of keygen, "public key: …". Twisted has split it at its colon.
    label = keywords.get("serverKey", "").strip()
    if arguments and re.fullmatch(r"(?i)(public|private) key", label):
        return arguments[:-1], {**keywords, "serverKey": f"{label}:{arguments[-1]}"}
    return arguments, keywords


def _kept(read: Callable[[KnownServer], Read], server: KnownServer, name: str, path: str | None) -> Read:
    """
    Read a file that is kept for a known server.

    :param name: what ``servers.toml`` calls it.
    :param path: of the file.
    :raises ValueError: when the file can't be read.
    """
    try:
        return read(server)
    except OSError as error:
        raise ValueError(f"sodium: {name}={path}: {error.strerror}") from None


def _known_server(arguments: Sequence[str], scheme: str) -> KnownServer | None:
    # Twisted has split a URL at its colons.
    if arguments and arguments[0].startswith("//"):
        return look_up(f"{scheme}:{':'.join(arguments)}")
    return look_up(arguments[0]) if len(arguments) == 1 else None


def _clock(reactor: Any) -> IReactorTime | None:
    # twistd sodium parses a string with a stand-in for the reactor first, which has no clock.
    return IReactorTime(reactor, None)
