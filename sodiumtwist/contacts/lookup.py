"""
Which server is meant by a text: the name of one that is known, or its URL.
"""

from __future__ import annotations

from collections.abc import Callable, Collection

from ..core.errors import LocalProtocolError
from ..core.keys import KeyPair
from ..describe import describe_error
from ..describe.fingerprints import fingerprint
from .keyfiles import read_key_file, read_passphrase_file
from .servers import KnownServer, ServerKeyChanged, check_name, read_servers
from .urls import is_url, parse_card


def can_be_name(text: str) -> bool:
    """Tell whether a text can be the name of a server."""
    try:
        check_name(text)
    except LocalProtocolError:
        return False
    return True


def look_up(text: str, warn: Callable[[str], object] | None = None) -> KnownServer | None:
    """
    Find the server that a text means.

    :param text: a name, also as in the endpoint string ``sodium:NAME``, or a URL.
    :param warn: is called with a line when names can't be read, for who may do without them; ``None`` raises then.
    :return: the server, without a name when it has a URL; ``None`` for what is neither a name that is known nor a
        URL: an address, an endpoint string, a key.
    :raises OSError: when the file of servers can't be read.
    :raises LocalProtocolError: when it is not as it should be, when a URL is none, and for an invitation.
    :raises InvalidKey: when the key in a URL can be none of a server.
    """
    if is_url(text):
        return KnownServer.from_url("", parse_card(text))
    name = text.removeprefix("sodium:")
    if not can_be_name(name):
        return None
    try:
        return read_servers().get(name)
    except (OSError, LocalProtocolError) as error:
        if warn is None:
            raise
        warn(describe_error(error))
        return None


def check_same_key(server: KnownServer, key: bytes) -> None:
    """
    Check that a key that was given beside a server is the one that is known of it.

    :raises ServerKeyChanged: when it is not. Which of both is right, nobody knows here.
    """
    if key != server.server_key:
        raise ServerKeyChanged(
            f"{server.name or 'the URL'} has the key with fingerprint {fingerprint(server.server_key)}, and the one "
            f"given beside it has {fingerprint(key)}; give one of both"
        )


def read_identity(server: KnownServer | None, owners: Collection[int] = ()) -> KeyPair | None:
    """
    Read our key pair for a server.

    :param server: ``None`` for one that is not known.
    :param owners: as in :func:`~sodiumtwist.contacts.keyfiles.read_key_file`.
    :return: ``None`` when none is kept for it.
    :raises OSError: when the file can't be read.
    :raises InvalidKey: when it holds something else than a key.
    :raises LocalProtocolError: when it is not as it should be.
    """
    return None if server is None or server.identity is None else read_key_file(server.identity, owners)


def read_kept_passphrase(server: KnownServer | None, owners: Collection[int] = ()) -> tuple[str | None, str | None]:
    """
    Read our passphrase for a server.

    :param server: ``None`` for one that is not known.
    :param owners: as in :func:`~sodiumtwist.contacts.keyfiles.read_key_file`.
    :return: the passphrase, ``None`` when none is kept for it; and a warning, or ``None``, about a file that others
        can read.
    :raises OSError: when the file can't be read.
    :raises LocalProtocolError: when it is not as it should be.
    """
    if server is None or server.passphrase_file is None:
        return None, None
    return read_passphrase_file(server.passphrase_file, owners)
