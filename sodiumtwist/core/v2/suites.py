"""
The suites: which AEAD seals the records. Each end has ChaCha20-Poly1305, and AEGIS-256 where it is fast.
"""

from __future__ import annotations

from ..sodium import lib

#: The numbers of the suites on the wire.
AEGIS_256 = 1
CHACHA20_POLY1305 = 2


def available() -> tuple[int, ...]:
    """
    Tell which suites this end has, the one to prefer first.

    AEGIS-256 is among them where libsodium says that the processor has AES instructions: without these it would take
    hundreds of times as long.
    """
    # Importing ``lib`` has initialised libsodium; before that it would say no, and seal without these instructions.
    if hasattr(lib, "crypto_aead_aegis256_encrypt") and lib.crypto_aead_aes256gcm_is_available():
        return AEGIS_256, CHACHA20_POLY1305
    return (CHACHA20_POLY1305,)
