"""
Records, as both ends seal and open them: the quick way over libsodium where it is there, and else the other.
"""

from __future__ import annotations

from .sealing import MAX_BODY, Opener as AnyOpener, Sealer as AnySealer

try:
    from . import inner_bindings

    Sealer: type[AnySealer] = inner_bindings.InnerSealer
    Opener: type[AnyOpener] = inner_bindings.InnerOpener
except ImportError:
    from . import public_bindings

    Sealer, Opener = public_bindings.PublicSealer, public_bindings.PublicOpener

__all__ = ["MAX_BODY", "Opener", "Sealer"]
