"""
Endpoints: ``connect()`` for requests, wrappers that encrypt any stream endpoint, and the endpoint
strings ``sodium:…``.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar, cast

from twisted.cred.checkers import ICredentialsChecker
from twisted.cred.portal import Portal
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.endpoints import clientFromString, serverFromString
from twisted.internet.interfaces import (
    IListeningPort,
    IProtocol,
    IProtocolFactory,
    IReactorTime,
    IStreamClientEndpoint,
    IStreamServerEndpoint,
)
from twisted.internet.protocol import Factory
from twisted.logger import Logger
from zope.interface import implementer

from .addresses import describe_bad_endpoint, describe_endpoint_error, unknown_keywords
from .auth import NO_CHECKER, SingleLogin, any_of, checker_from_string
from .authorized import AuthorizedKeys, AuthorizedKeysFile
from .core.keepalive import Timeouts
from .core.keys import KeyPair, parse_key
from .core.secretstream import RekeyAfter
from .factories import SodiumClientFactory
from .keyfiles import KEY_VARIABLE, PASSPHRASE_VARIABLE, read_key, read_key_file, read_passphrase
from .limits import Limits
from .replays import IReplayMemory, ReplayDatabase
from .requests import REQUEST_LIMIT, RequestClient
from .streams import ClientStream, StreamClientFactory, StreamServerFactory

_log = Logger()

Read = TypeVar("Read")


def _client_from_string(reactor: Any, description: str) -> IStreamClientEndpoint:
    try:
        endpoint: IStreamClientEndpoint = clientFromString(reactor, description)
    except (TypeError, ValueError) as error:
        raise ValueError(describe_bad_endpoint("endpoint", description, "tcp:HOST:PORT", error)) from None
    return endpoint


async def _connect_authenticated(endpoint: IStreamClientEndpoint, factory: SodiumClientFactory) -> Any:
    protocol: Any = await endpoint.connect(factory)
    try:
        await protocol.when_authenticated()
    except CancelledError:
        protocol.abort()
        raise
    return protocol


def connect(
    reactor: Any,
    endpoint: str | IStreamClientEndpoint,
    server_key: bytes,
    login: str = "",
    passphrase: str = "",
    *,
    early: bool = False,
    limit: int = REQUEST_LIMIT,
    pair: KeyPair | None = None,
    timeouts: Timeouts | None = None,
) -> Deferred[RequestClient]:
    """
    Connect to a server to make requests.

    With ``early`` the result is there as soon as the transport is connected, before the server has
    answered. A request made at once then travels behind the login, in the same segment, and saves a
    round trip. It is as confidential as any other, and a server that remembers handshakes refuses it
    when somebody sends a recording of it again. But it is made before the server has shown that it
    is there and has let us in: when it has not, the request fails with the reason.

    :param reactor: an ``IReactorTime`` and what the endpoint needs.
    :param endpoint: a client endpoint or its string, for instance ``tcp:host:5555``.
    :param server_key: the server's public key, 32 bytes; :func:`parse_key` reads 64 hex digits.
    :param login: up to 128 bytes of UTF-8, no NUL.
    :param passphrase: likewise.
    :param early: do not wait for the server's hello.
    :param limit: how many requests may be unanswered at once.
    :param pair: the client's key pair, for servers that know its public key; ``None`` makes a fresh one.
    :param timeouts: the deadlines; the default is ``Timeouts()``.
    :return: fires with the client. Fails with what the endpoint raises, with
        :exc:`AuthenticationFailed` when the server refuses, with another :exc:`RemoteProtocolError`
        when it breaks the protocol, with :exc:`InvalidKey` or :exc:`LocalProtocolError` for wrong
        arguments, and with ``ValueError`` for a wrong string. Cancelling it drops the connection.
    """

    async def connecting() -> RequestClient:
        factory = SodiumClientFactory(
            server_key, login, passphrase, lambda: RequestClient(limit), pair, timeouts, reactor
        )
        RequestClient(limit)  # says now what is wrong with the limit
        where = _client_from_string(reactor, endpoint) if isinstance(endpoint, str) else endpoint
        if early:
            return cast(RequestClient, await where.connect(factory))
        client: RequestClient = await _connect_authenticated(where, factory)
        return client

    return Deferred.fromCoroutine(connecting())


@implementer(IStreamServerEndpoint)
class SodiumServerEndpoint:
    """
    Listens where another endpoint listens, and lets applications see authenticated clients alone.

    :param endpoint: where to listen.
    :param pair: the server's key pair.
    :param checker: decides on logins; this and what follows are as in
        :class:`~sodiumtwist.factories.SodiumServerFactory`.
    :raises LocalProtocolError: likewise.
    """

    def __init__(
        self,
        endpoint: IStreamServerEndpoint,
        pair: KeyPair,
        checker: ICredentialsChecker | Portal | None,
        message: str = "Welcome.",
        timeouts: Timeouts | None = None,
        clock: IReactorTime | None = None,
        authorized_keys: AuthorizedKeys | AuthorizedKeysFile | None = None,
        replays: IReplayMemory | None = None,
        limits: Limits | None = None,
        rekey: RekeyAfter | None = None,
    ) -> None:
        self._endpoint = endpoint

        def make_factory(application: IProtocolFactory) -> StreamServerFactory:
            return StreamServerFactory(
                application,
                pair,
                checker,
                message=message,
                timeouts=timeouts,
                clock=clock,
                authorized_keys=authorized_keys,
                replays=replays,
                limits=limits,
                rekey=rekey,
            )

        self._make_factory = make_factory
        make_factory(Factory())  # says now what is wrong with the arguments

    def listen(self, protocolFactory: IProtocolFactory) -> Deferred[IListeningPort]:
        """
        Listen. The factory's protocols have an
        :class:`~sodiumtwist.interfaces.ISodiumTransport`.

        :return: as that of the endpoint below.
        """
        return self._endpoint.listen(self._make_factory(protocolFactory))


@implementer(IStreamClientEndpoint)
class SodiumClientEndpoint:
    """
    Connects where another endpoint connects, and lets applications see the server when it has let us in.

    :param endpoint: where to connect.
    :param server_key: the server's public key, 32 bytes.
    :param login: up to 128 bytes of UTF-8, no NUL.
    :param passphrase: likewise.
    :param pair: the client's key pair, for servers that know its public key; ``None`` makes a fresh one
        for each connection.
    :param timeouts: the deadlines; the default is ``Timeouts()``.
    :param clock: an ``IReactorTime``; ``None`` for the global reactor.
    :param rekey: when to send with a new key; the default is ``RekeyAfter()``.
    :raises InvalidKey: for a server key that can't be one.
    :raises LocalProtocolError: for a login or passphrase that does not fit its field.
    """

    def __init__(
        self,
        endpoint: IStreamClientEndpoint,
        server_key: bytes,
        login: str = "",
        passphrase: str = "",
        pair: KeyPair | None = None,
        timeouts: Timeouts | None = None,
        clock: IReactorTime | None = None,
        rekey: RekeyAfter | None = None,
    ) -> None:
        self._endpoint = endpoint

        def make_factory(application: IProtocolFactory) -> StreamClientFactory:
            return StreamClientFactory(
                application, server_key, login, passphrase, pair=pair, timeouts=timeouts, clock=clock, rekey=rekey
            )

        self._make_factory = make_factory
        make_factory(Factory())  # says now what is wrong with the arguments

    def connect(self, protocolFactory: IProtocolFactory) -> Deferred[IProtocol]:
        """
        Connect.

        :return: fires with the factory's protocol when the server has let us in. Fails with what
            the endpoint below raises, with :exc:`AuthenticationFailed` when the server refuses, and
            with another :exc:`RemoteProtocolError` when it breaks the protocol. Cancelling it drops
            the connection.
        """

        async def connecting() -> IProtocol:
            stream: ClientStream = await _connect_authenticated(self._endpoint, self._make_factory(protocolFactory))
            return cast(IProtocol, stream.application)

        return Deferred.fromCoroutine(connecting())


# Endpoint strings

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
