"""
Comparing logins and passphrases.
"""

from __future__ import annotations

import hmac

from .errors import LocalProtocolError

#: Login, passphrase and message each have a field of this size.
TEXT_SIZE = 128


def pack_text(what: str, text: str) -> bytes:
    """
    Lay a text out as its NUL-padded field of 128 bytes.

    :param what: the field's name, for the error.
    :raises LocalProtocolError: when it is over 128 bytes of UTF-8, holds a NUL, is no UTF-8 or no ``str``.
    """
    if not isinstance(text, str):
        raise LocalProtocolError(f"the {what} is of type {type(text).__name__}; give it as str")
    try:
        encoded = text.encode("utf-8")
    except UnicodeEncodeError:
        raise LocalProtocolError(f"the {what} cannot be written as UTF-8; use other characters") from None
    if b"\0" in encoded:
        raise LocalProtocolError(f"the {what} holds a NUL character; leave it out")
    if len(encoded) > TEXT_SIZE:
        raise LocalProtocolError(f"the {what} is {len(encoded)} bytes long as UTF-8; at most {TEXT_SIZE} bytes fit")
    return encoded.ljust(TEXT_SIZE, b"\0")


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
