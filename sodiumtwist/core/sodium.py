"""
PyNaCl's inner module, by which libsodium works on buffers of ours. Nothing else in the package may touch it:
its names can change with any release of PyNaCl.

:ivar ffi: makes and reads what C sees; ``None`` where there is no such module.
:ivar lib: libsodium's functions; ``None`` where there is none.
"""

from __future__ import annotations

# Whoever imports this first initialises libsodium, which then knows what the processor can do.
import nacl.bindings  # noqa: F401

__all__ = ["ffi", "lib"]

try:
    from nacl._sodium import ffi, lib
except ImportError:
    ffi = lib = None
