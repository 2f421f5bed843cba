"""
Who speaks something else, as far as the first bytes tell: those of TLS, say, come to a port without it, or the other
way. A peer of this protocol begins by such bytes about never: in version 2 once in 40,000 times, in version 1 less
often, and even then only an error says so that comes anyway.
"""

from __future__ import annotations

from .inbox import Buffer

#: With what an answer begins, and what that means.
_ANSWERS = {
    b"\x15\x03": "TLS is spoken at that port: connect by an endpoint with TLS, tls:HOST:PORT",
    b"HTTP/": "a web server answers at that port",
    b"SSH-": "an SSH server answers at that port",
}

#: How many bytes of an answer tell all that can be told.
LOOKED_AT = max(map(len, _ANSWERS))

#: With what a client of TLS begins.
_TLS_HELLO = b"\x16\x03"


def describe_answer(data: Buffer) -> str:
    """
    Say who answers, where that is no server of this protocol.

    :param data: what came first.
    """
    for beginning, meaning in _ANSWERS.items():
        if bytes(data[: len(beginning)]) == beginning:
            return meaning
    return "is there a server of this protocol?"


def describe_first_packet(data: Buffer) -> str:
    """
    Say who connects, where that is no client that knows our key.

    :param data: what came first.
    """
    if bytes(data[: len(_TLS_HELLO)]) == _TLS_HELLO:
        return "the first packet is that of TLS, which is not spoken at this port; tcp:HOST:PORT connects without"
    return "the first packet does not open; the peer has another server key, or does not speak this protocol"
