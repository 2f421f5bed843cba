"""
Fingerprints of the keys of servers that we know, see :mod:`sodiumtwist.describe.fingerprints`.
"""

from __future__ import annotations

from ..describe.fingerprints import fingerprint as fingerprint
