"""
Looks for secrets in texts, however they are spelt there.
"""

from __future__ import annotations

from collections.abc import Iterable

from .pair import CLIENT_PAIR, PASSPHRASE, SERVER_PAIR

#: The passphrase and the private keys of the ends that tests make.
SECRETS = (PASSPHRASE.encode(), SERVER_PAIR.secret, CLIENT_PAIR.secret)


def secrets_in(text: str, secrets: Iterable[bytes] = SECRETS) -> list[str]:
    """Return how a text spells the secrets that it shows."""
    found = []
    for secret in secrets:
        spellings = {secret.hex(), secret.hex().upper(), repr(secret)[2:-1], repr(list(secret))[1:-1]}
        try:
            spellings |= {secret.decode(), ascii(secret.decode())[1:-1]}
        except UnicodeDecodeError:
            pass
        found += [spelling for spelling in spellings if spelling in text]
    return found
