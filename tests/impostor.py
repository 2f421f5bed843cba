"""
A handshake that claims somebody else's key.
"""

from __future__ import annotations

from nacl import bindings

from sodiumtwist import KeyPair
from sodiumtwist.core.v1 import handshake
from sodiumtwist.core.v1.messages import ClientAuth, pack_client_auth

from .pair import CLIENT_PAIR, LOGIN, PASSPHRASE, SERVER_PAIR


def claim() -> bytes:
    """A handshake with the key of somebody else."""
    impostor = handshake.ClientHandshake(KeyPair.generate(), SERVER_PAIR.public, LOGIN, PASSPHRASE)
    auth = ClientAuth(bytes(24), impostor.push.header, CLIENT_PAIR.public, LOGIN, PASSPHRASE)
    return bindings.crypto_box_seal(pack_client_auth(auth), SERVER_PAIR.public)
