"""
What to try when a server does not answer, in terms of the command line.
"""

from __future__ import annotations

from ..core.client import NO_ANSWER
from ..core.errors import AuthenticationTimeout
from ..describe.fingerprints import fingerprint


def no_answer(seconds: float) -> str:
    """
    Say that the time for connecting is up.

    :param seconds: how much it was.
    """
    return (
        f"there was no answer within {seconds:g} seconds: the host is gone, or a firewall lets nothing through to it; "
        "--timeout waits longer"
    )


def advice(error: BaseException, version: int, known_as: str | None = None, server_key: bytes = b"") -> str:
    """
    Say what to try. Nothing tries another version by itself: whoever stands between could make it.

    :param error: why there is no connection.
    :param version: of the protocol, which was spoken.
    :param known_as: the name by which the server is known here; ``None`` for another one.
    :param server_key: the key that it is known with.
    :return: what to put behind the error; empty for one of another kind.
    """
    if NO_ANSWER in str(error):
        tip = ", by --protocol 1"
    elif version == 1 and isinstance(error, AuthenticationTimeout):
        tip = "; it may also speak version 2 alone: give --protocol 2"
    else:
        return ""
    if known_as is None:
        return tip
    return (
        f"{tip}; {known_as} may have a new key, or somebody stands in for it: kept is fingerprint "
        f"{fingerprint(server_key)}; ask its owner, and if it has another one now, run sodiumtwist forget {known_as} "
        "and add or join it anew"
    )
