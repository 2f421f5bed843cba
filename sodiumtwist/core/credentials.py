"""
Comparing logins and passphrases.
"""

from __future__ import annotations

import hmac

from .wire import pack_text


def pack_credentials(login: str, passphrase: str) -> bytes:
    """
    Lay both texts out as CLIENT_AUTH does: 256 bytes, NUL-padded.

    :raises LocalProtocolError: when one of them does not fit its 128 bytes.
    """
    return pack_text("login", login) + pack_text("passphrase", passphrase)


def same_credentials(packed: bytes, expected: bytes) -> bool:
    """
    Compare two results of :func:`pack_credentials` in a time that does not depend on them.
    """
    return hmac.compare_digest(packed, expected)
