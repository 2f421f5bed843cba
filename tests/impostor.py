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
    """Make a CLIENT_AUTH with somebody else's public key in it. Only the owner of that key could go on from there."""
    impostor = handshake.ClientHandshake(KeyPair.generate(), SERVER_PAIR.public, LOGIN, PASSPHRASE)
    auth = ClientAuth(bytes(24), impostor.push.header, CLIENT_PAIR.public, LOGIN, PASSPHRASE)
    return bindings.crypto_box_seal(pack_client_auth(auth), SERVER_PAIR.public)
