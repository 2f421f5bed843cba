"""
The ciphers that records are sealed with, by their numbers on the wire.
"""

from __future__ import annotations

AEGIS_256 = 1
CHACHA20_POLY1305 = 2
