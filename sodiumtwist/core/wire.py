"""
The structures of the wire, under the name by which the documentation has them: version 1's, see
:mod:`sodiumtwist.core.v1.messages`.
"""

from __future__ import annotations

from .v1.messages import (
    ENCRYPTED_HEADER_SIZE,
    HEADER_SIZE,
    PDU_OVERHEAD,
    SEALED_CLIENT_AUTH_SIZE,
    SEALED_SERVER_HELO_SIZE,
    WINDOW,
    PDUType,
)

__all__ = [
    "ENCRYPTED_HEADER_SIZE",
    "HEADER_SIZE",
    "PDU_OVERHEAD",
    "PDUType",
    "SEALED_CLIENT_AUTH_SIZE",
    "SEALED_SERVER_HELO_SIZE",
    "WINDOW",
]
