"""
What to try when a server does not answer, in terms of the command line.
"""

from __future__ import annotations

from ..core.client import NO_ANSWER
from ..core.errors import AuthenticationTimeout


def no_answer(seconds: float) -> str:
    """
    Say that the time for connecting is up.

    :param seconds: how much it was.
    """
    return (
        f"there was no answer within {seconds:g} seconds: the host is gone, or a firewall lets nothing through to it; "
        "--timeout waits longer"
    )


def advice(error: BaseException, version: int) -> str:
    """
    Say what to try. Nothing tries another version by itself: whoever stands between could make it.

    :param error: why there is no connection.
    :param version: of the protocol, which was spoken.
    :return: what to put behind the error; empty for one of another kind.
    """
    if NO_ANSWER in str(error):
        return ", by --protocol 1"
    if version == 1 and isinstance(error, AuthenticationTimeout):
        return "; it may also speak version 2 alone: give --protocol 2"
    return ""
