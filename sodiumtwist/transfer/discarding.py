"""
How a server says that it keeps nothing of what it acknowledges.

Nothing on the wire has a place for it but the message of the server's hello. So it ends that message, in words that
whoever reads it understands, and that our own client knows.
"""

from __future__ import annotations

from ..core.credentials import TEXT_SIZE, pack_text
from ..core.errors import LocalProtocolError

#: What ends the message of a server that discards uploads, and of no other.
DISCARDS = " (uploads are discarded)"


def hello_message(message: str, keeps: bool) -> str:
    """
    Make the message of a server's hello.

    :param message: what the server's user wants it to say.
    :param keeps: whether the server keeps uploads.
    :raises LocalProtocolError: when both together do not fit, and when a server that keeps uploads would say that it
        does not.
    """
    if keeps:
        if says_discarded(message):
            raise LocalProtocolError(f"the message ends in {DISCARDS!r}, which only a server may say that keeps none")
        return message
    # First by itself: a message that is wrong anyway is told as everywhere.
    if len(pack_text("message", message).rstrip(b"\0")) + len(DISCARDS) > TEXT_SIZE:
        room = TEXT_SIZE - len(DISCARDS)
        raise LocalProtocolError(
            f"the message has more than {room} bytes as UTF-8; a server that discards uploads adds {DISCARDS!r} to it"
        )
    return message + DISCARDS


def says_discarded(message: str) -> bool:
    """
    Tell whether the server of a hello discards uploads.

    :param message: of its hello.
    """
    return message.endswith(DISCARDS)
