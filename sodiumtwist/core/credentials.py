"""
Logins and passphrases: their fields on the wire, and how they are compared.
"""

from __future__ import annotations

import hmac

from .errors import LocalProtocolError

#: The size in bytes of each field for a text in version 1: login, passphrase and message.
TEXT_SIZE = 128
#: The most bytes of a login in version 2.
LOGIN_SIZE = 255
#: The most bytes of a passphrase in version 2, where it may be a token.
PASSPHRASE_SIZE = 4096


def encode_text(what: str, text: str, size: int) -> bytes:
    """
    Make the UTF-8 of a text.

    :param what: the field's name, for the error.
    :param size: the most bytes it may have.
    :raises LocalProtocolError: when the text does not fit, holds a NUL, can't be written as UTF-8 or is no ``str``.
    """
    # Many callers have bytes at hand. Without this check they would meet an AttributeError deep in here.
    if not isinstance(text, str):
        raise LocalProtocolError(f"the {what} is of type {type(text).__name__}; give it as str")
    try:
        encoded = text.encode("utf-8")
    # Without its cause: a UnicodeEncodeError shows the text, which may be a passphrase.
    except UnicodeEncodeError:
        raise LocalProtocolError(f"the {what} cannot be written as UTF-8; use other characters") from None
    # The peer may read up to the first NUL, so it would see another text than the one that was given.
    if b"\0" in encoded:
        raise LocalProtocolError(f"the {what} holds a NUL character; leave it out")
    if len(encoded) > size:
        raise LocalProtocolError(f"the {what} is {len(encoded)} bytes long as UTF-8; at most {size} bytes fit")
    return encoded


def pack_text(what: str, text: str) -> bytes:
    """
    Make the field of 128 bytes that holds a text: its UTF-8, then NULs.

    :param what: the field's name, for the error.
    :param text: up to 128 bytes of UTF-8, no NUL.
    :raises LocalProtocolError: when the text does not fit, holds a NUL, can't be written as UTF-8 or is no ``str``.
    """
    return encode_text(what, text, TEXT_SIZE).ljust(TEXT_SIZE, b"\0")


def pack_credentials(login: str, passphrase: str) -> bytes:
    """
    Make the two fields of a login, as CLIENT_AUTH holds them: 256 bytes.

    :param login: up to 128 bytes of UTF-8, no NUL.
    :param passphrase: up to 128 bytes of UTF-8, no NUL.
    :raises LocalProtocolError: when one of the two does not fit its field.
    """
    return pack_text("login", login) + pack_text("passphrase", passphrase)


def pad_credentials(login: str, passphrase: str) -> bytes:
    """
    Make two fields, as :func:`pack_credentials` does, for what version 2 allows: 4351 bytes. They are only compared.

    :param login: up to 255 bytes of UTF-8, no NUL.
    :param passphrase: up to 4096 bytes of UTF-8, no NUL.
    :raises LocalProtocolError: when one of the two does not fit its field.
    """
    return encode_text("login", login, LOGIN_SIZE).ljust(LOGIN_SIZE, b"\0") + encode_text(
        "passphrase", passphrase, PASSPHRASE_SIZE
    ).ljust(PASSPHRASE_SIZE, b"\0")


def same_credentials(packed: bytes, expected: bytes) -> bool:
    """
    Compare two results of :func:`pack_credentials`, or two of :func:`pad_credentials`. The time that it takes tells
    nothing about them.
    """
    # Padded fields, not the texts: compare_digest() takes a time that tells how long its arguments are.
    return hmac.compare_digest(packed, expected)
