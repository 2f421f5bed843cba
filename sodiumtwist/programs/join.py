"""
``sodiumtwist join``: uses an invitation up, and keeps the server and a key for it.
"""

from __future__ import annotations

import shlex
from typing import Any

from twisted.internet.defer import CancelledError, Deferred
from twisted.python.failure import Failure

from ..admission.invitations import passphrase_of
from ..contacts.identities import Identity, find_identity, identity_for
from ..contacts.servers import KnownServer, add_server, read_servers
from ..core.client import NO_ANSWER
from ..core.connection import Code, describe_code
from ..core.errors import AuthenticationFailed, NotDone, SodiumError
from ..describe import describe_error
from ..describe.fingerprints import fingerprint
from ..protocol.client import REFUSES, SodiumClientProtocol
from .commands import STATUS_OF_CODE, abort, connect, explain_loss, leave, make_endpoint, tell_of_silence
from .exits import EXIT_INTERRUPTED, EXIT_NOT_STORED, EXIT_REFUSED, CommandFailed
from .output import tell
from .settings import ConnectSettings, Credentials, JoinSettings

#: What is told in place of why it does not take the invitation by a server that has not looked at it.
LOGIN_REFUSED = describe_code(Code.REFUSED)

TAKES_NONE = "; it takes no invitations, or not for this login: its owner gives it --authorized-keys for that"

AGAIN = "; the server may have taken the key all the same, so run the same command again"


class _Joiner(SodiumClientProtocol):
    """
    Shows the invitation, and leaves.

    :ivar shown: whether the secret may have left. Before that, the server has shown that it has its key.
    :ivar lost: fires when the connection is gone.
    """

    shown = stopping = False

    def __init__(self) -> None:
        self.lost: Deferred[None] = Deferred()

    def _may_speak_now(self) -> None:
        self.shown = True

    def drain_received(self) -> None:
        self.stopping = True
        self.close()

    def connection_lost(self, reason: Failure) -> None:
        self.lost.callback(None)


def find_joined(settings: JoinSettings) -> KnownServer | None:
    """
    Find the server that was joined by an invitation before.

    :raises OSError, SodiumError: as :func:`read_servers` does.
    """
    path = find_identity(settings.secret)
    return next((server for server in read_servers().values() if path and server.identity == path), None)


async def join(reactor: Any, settings: JoinSettings) -> None:
    """
    Run ``sodiumtwist join``.

    :raises UsageError: when the endpoint string is not understood.
    :raises CommandFailed: when something did not go well, or this was cancelled.
    :raises OSError: when a file can't be written.
    :raises SodiumError: when another program uses the invitation, and for a server that is known otherwise.
    """
    # The invitation can be used once. What could go wrong here afterwards is tried before; with any path for that of
    # the key, which is not made yet: a server of that name that is known without one would be in the way then.
    add_server(KnownServer.from_url(settings.name, settings.url, settings.name), try_only=True)
    with identity_for(settings.secret, settings.name) as identity:
        message = await _use(reactor, settings, identity)
        try:
            identity.keep()
            server = KnownServer.from_url(settings.name, settings.url, identity.path)
            add_server(server)
        except (OSError, SodiumError) as error:
            why = describe_error(error)
            raise CommandFailed(
                EXIT_NOT_STORED, f"the server has let the key in, but {why}; mend that, and run the same command again"
            ) from None
    tell_joined(server, message)


def tell_joined(server: KnownServer, message: str = "", before: bool = False) -> None:
    """
    Say who was joined, and what can be done now.

    :param message: the server's line.
    :param before: whether nothing was done now: the invitation was used here before, perhaps under another name.
    """
    when = " before, by the same invitation" if before else ""
    tell(f"joined {server.name}{when}: {server}, fingerprint {fingerprint(server.server_key)}")
    if message:
        tell(f"the server says: {message}")
    tell(f"to send there: sodiumtwist send PATH {server.name}:")


async def _use(reactor: Any, settings: JoinSettings, identity: Identity) -> str:
    """
    Show the invitation to the server, and the key that it is for.

    :return: what the server says.
    :raises CommandFailed: when it does not let us in, or this was cancelled.
    """
    client = _Joiner()
    us = Credentials(settings.login, passphrase_of(settings.secret), False, identity.pair)
    url = settings.url
    connecting = ConnectSettings(url.endpoint, url.server_key, us, 2, timeout=settings.timeout)
    try:
        endpoint = make_endpoint(reactor, connecting)
        with tell_of_silence(reactor, connecting, client):
            await connect(reactor, endpoint, connecting, client)
            await client.when_authenticated()
    except BaseException as error:
        undecided = _may_be_listed(identity, client, error)
        if not undecided:
            identity.delete()
        if isinstance(error, CancelledError):
            await abort(client, client.lost)
            failed = CommandFailed(EXIT_INTERRUPTED, "interrupted")
        # There was no connection.
        elif isinstance(error, CommandFailed):
            failed = error
        elif isinstance(error, NotDone):
            failed = _explain(connecting, client, error)
        else:
            raise
        tip = AGAIN if undecided else ""
        # It was let in before; only the server's name was lost here, or forgotten.
        if identity.joined:
            words = ["sodiumtwist", "add", settings.name, str(url), "--identity", identity.path]
            tip = f"; to keep the key of before: {shlex.join(words)}"
        raise CommandFailed(failed.status, f"{failed}{tip}") from None
    await leave(reactor, client)
    return client.message or ""


def _may_be_listed(identity: Identity, client: _Joiner, error: BaseException) -> bool:
    """Tell whether the server may have listed the key all the same."""
    code = error.code if isinstance(error, NotDone) else None
    # It has looked at the invitation, and so for this key.
    if code == Code.REFUSED and not str(error).endswith(LOGIN_REFUSED):
        return False
    # An earlier try may have been answered, whatever becomes of this one.
    return identity.used or (client.shown and code not in (Code.REFUSED, Code.TOO_MANY_FAILURES))


def _explain(connecting: ConnectSettings, client: _Joiner, error: NotDone) -> CommandFailed:
    # What a server says that does not let us in.
    if isinstance(error, AuthenticationFailed) and error.code is not None:
        why = str(error).removeprefix(REFUSES) + (TAKES_NONE if str(error).endswith(LOGIN_REFUSED) else "")
        return CommandFailed(STATUS_OF_CODE.get(error.code, EXIT_REFUSED), f"refused by {connecting.endpoint}: {why}")
    if NO_ANSWER in str(error):
        return CommandFailed(
            EXIT_REFUSED,
            f"refused by {connecting.endpoint}: the server says nothing to this invitation: it may be another server "
            "there, one with a new key, or one of version 1; or its clock and ours differ by more than a day",
        )
    return explain_loss(connecting, client, error, "joining")
