"""
Fingerprints of public keys: short enough to be compared aloud.
"""

from __future__ import annotations

import re
from base64 import b32encode
from hashlib import sha256

#: How many characters a fingerprint has, without the hyphens: five bits each, so 100 bits.
FINGERPRINT_SIZE = 20

#: How many characters stand together.
GROUP = 4


def fingerprint(public_key: bytes) -> str:
    """
    Make the fingerprint of a public key: the first 20 characters of the key's SHA-256 in base32 (RFC 4648), in small
    letters and in groups of four. Base32 has no 0, 1, 8 and 9, which could be taken for letters.

    :param public_key: 32 bytes.
    :return: such as ``mzxw-6ytb-oi3t-2k5q-a7ce``.
    """
    text = b32encode(sha256(public_key).digest()).decode("ascii").lower()
    return "-".join(text[start : start + GROUP] for start in range(0, FINGERPRINT_SIZE, GROUP))


def is_fingerprint(text: str) -> bool:
    """Tell whether a text is written as a fingerprint is."""
    return re.fullmatch(r"(?:fingerprint )?(?:[a-z2-7]{4}-){4}[a-z2-7]{4}", text.strip()) is not None
