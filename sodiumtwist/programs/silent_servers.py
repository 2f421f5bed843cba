"""
What to try when a server does not answer, in terms of the command line.
"""

from __future__ import annotations

from typing import NoReturn

from twisted.internet.defer import TimeoutError

from ..core.client import NO_ANSWER
from ..core.errors import AuthenticationTimeout
from ..describe.fingerprints import fingerprint


def too_late(result: object, seconds: float) -> NoReturn:
    """
    Say that the time for connecting is up, to ``Deferred.addTimeout()``.

    :param seconds: how much it was.
    :raises TimeoutError: always.
    """
    raise TimeoutError(
        f"there was no answer within {seconds:g} seconds: the host is gone, or a firewall lets nothing through to it; "
        "--timeout waits longer"
    )


def explain_silence(error: BaseException, version: int, known_as: str | None = None, server_key: bytes = b"") -> str:
    """
    Say why there is no connection, and what to try. Nothing tries another version by itself: whoever stands between
    could make it.

    :param error: why there is none.
    :param version: of the protocol, which was spoken.
    :param known_as: the name by which the server is known here; ``None`` for another one.
    :param server_key: the key that it is known with.
    :return: the error with that; empty for one of another kind.
    """
    line = str(error)
    changed = "" if known_as is None else _key_changed(known_as, server_key)
    if NO_ANSWER in line:
        if not changed:
            return f"{line}, by --protocol 1"
        # What is likely comes first, and once.
        otherwise = "both clocks may differ by more than a day, and only a C program wants --protocol 1"
        return line.replace(NO_ANSWER, f"{changed}; if not, {otherwise}")
    if version == 1 and isinstance(error, AuthenticationTimeout):
        tip = "it may also speak version 2 alone: give --protocol 2"
        return f"{line}; {tip}" + (changed and f"; {changed}")
    return ""


def _key_changed(known_as: str, server_key: bytes) -> str:
    return (
        f"{known_as} may have a new key, or somebody stands in for it: kept is fingerprint {fingerprint(server_key)}; "
        f"ask its owner, and if it has another one now, run sodiumtwist forget {known_as}, and join or add it anew"
    )
