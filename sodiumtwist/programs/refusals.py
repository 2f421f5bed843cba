"""
What to look at when a server does not let us in. It does not tell what was wrong with a login.
"""

from __future__ import annotations

from collections.abc import Iterator

from ..describe.fingerprints import fingerprint
from .settings import Credentials


def hints(credentials: Credentials) -> Iterator[str]:
    """
    Say what of us the server may not have liked.

    :param credentials: what it was shown.
    """
    if credentials.pair is None:
        # What was left out is worth a look.
        if credentials.default_passphrase:
            yield "no passphrase was given, so the default one was tried"
        yield "no --identity was given, which a server with --authorized-keys asks for"
    # Of a key in a file. It may be listed for another login, and then a passphrase would change nothing.
    elif credentials.identity is not None:
        yield (
            f"our key is that of {credentials.identity}, fingerprint {fingerprint(credentials.pair.public)}; is it "
            f"listed there, for the login {credentials.user}?"
        )
