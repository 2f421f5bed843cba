"""
Tests of the session keys in :mod:`sodiumtwist.core.v1.handshake`.
"""

from __future__ import annotations

from hashlib import blake2b

from nacl import bindings
from twisted.trial.unittest import SynchronousTestCase

from sodiumtwist.core.errors import InvalidKey
from sodiumtwist.core.keys import KeyPair
from sodiumtwist.core.v1.handshake import SessionKeys, client_session_keys, server_session_keys

from ..peers import WEAK_KEYS


class SessionKeyTests(SynchronousTestCase):
    """
    The keys of one connection.
    """

    def setUp(self) -> None:
        self.client, self.server = KeyPair.generate(), KeyPair.generate()

    def test_definition(self) -> None:
        """``crypto_kx``: the halves of BLAKE2b-512 of the shared secret and both public keys."""
        shared = bindings.crypto_scalarmult(self.client.secret, self.server.public)
        digest = blake2b(shared + self.client.public + self.server.public).digest()
        self.assertEqual(
            client_session_keys(self.client, self.server.public), SessionKeys(receive=digest[:32], send=digest[32:])
        )
        self.assertEqual(
            server_session_keys(self.server, self.client.public), SessionKeys(receive=digest[32:], send=digest[:32])
        )

    def test_directions_differ(self) -> None:
        keys = client_session_keys(self.client, self.server.public)
        self.assertNotEqual(keys.receive, keys.send)

    def test_weak_keys(self) -> None:
        for key in WEAK_KEYS:
            with self.assertRaises(InvalidKey):
                client_session_keys(self.client, key)
            with self.assertRaises(InvalidKey):
                server_session_keys(self.server, key)

    def test_wrong_size(self) -> None:
        for size in (0, 31, 33):
            for agree in (client_session_keys, server_session_keys):
                error = self.assertRaises(InvalidKey, agree, self.client, b"\x09" * size)
                self.assertIn("public key", str(error))
                self.assertIn(f"{size} bytes", str(error))

    def test_repr_hides_keys(self) -> None:
        keys = client_session_keys(self.client, self.server.public)
        for key in (keys.receive, keys.send):
            self.assertNotIn(repr(key)[2:-1], repr(keys))
            self.assertNotIn(key.hex(), repr(keys))
