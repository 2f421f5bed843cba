"""
Which server is meant by a text: the name of one that is known, or its URL.
"""

from __future__ import annotations

import re
from collections.abc import Collection

from ..core.errors import LocalProtocolError
from ..core.keys import KEY_SIZE, KeyPair
from ..keyfiles import read_key_file, read_passphrase_file
from .servers import KnownServer, check_name, read_servers
from .urls import is_url, parse_url

_KEY = re.compile(rf"[0-9A-Fa-f]{{{2 * KEY_SIZE}}}")


def can_be_name(text: str) -> bool:
    """Tell whether a text can be the name of a server. 64 hex digits are taken for a key."""
    try:
        check_name(text)
    except LocalProtocolError:
        return False
    return _KEY.fullmatch(text) is None


def look_up(text: str) -> KnownServer | None:
    """
    Find the server that a text means.

    :param text: a name, or an URL.
    :return: the server, without a name when it has an URL; ``None`` for what is neither a name that is known nor an
        URL: an address, an endpoint string, a key.
    :raises OSError: when the file of servers can't be read.
    :raises LocalProtocolError: when it is not as it should be, when an URL is none, and for an invitation.
    :raises InvalidKey: when the key in an URL can be none of a server.
    """
    if is_url(text):
        url = parse_url(text)
        # Its secret works once, and whoever sees it may be first.
        if url.secret is not None:
            raise LocalProtocolError("this is an invitation; run: sodiumtwist join 'URL'")
        return KnownServer("", url.endpoint, url.server_key, url.login or "")
    return read_servers().get(text) if can_be_name(text) else None


def read_identity(server: KnownServer | None, owners: Collection[int] = ()) -> KeyPair | None:
    """
    Read our key pair for a server.

    :param server: ``None`` for one that is not known.
    :param owners: as in :func:`~sodiumtwist.keyfiles.read_key_file`.
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
    :param owners: as in :func:`~sodiumtwist.keyfiles.read_key_file`.
    :return: the passphrase, ``None`` when none is kept for it; and a warning, or ``None``, about a file that others
        can read.
    :raises OSError: when the file can't be read.
    :raises LocalProtocolError: when it is not as it should be.
    """
    if server is None or server.passphrase_file is None:
        return None, None
    return read_passphrase_file(server.passphrase_file, owners)
