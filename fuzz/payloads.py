"""
What the three messages of version 2's handshake carry, with anything in it::

    python fuzz/payloads.py [libFuzzer's arguments] [folder for new inputs] fuzz/corpus/payloads
"""

if __name__ == "__main__":
    from program import run

    run("payloads")

from collections.abc import Callable
from typing import Any

from fuzz.harness import Input
from sodiumtwist.core.errors import MalformedPDU
from sodiumtwist.core.v2.messages import (
    Offer,
    pack_choice,
    pack_credentials,
    pack_offer,
    unpack_choice,
    unpack_credentials,
    unpack_offer,
)

# What each of these returns is read a second time here, another way, to compare with: None for what is malformed.


def extensions_in(rest: bytes) -> bool:
    """Tell whether right extensions stand at the front of the rest of a payload."""
    size, part = int.from_bytes(rest[:2], "big"), rest[2:]
    if len(rest) < 2 or len(part) < size:
        return False
    part = part[:size]
    while len(part) >= 3:
        end = 3 + int.from_bytes(part[1:3], "big")
        if end > len(part):
            return False
        part = part[end:]
    return not part


def offer_in(payload: bytes) -> tuple[int, list[int]] | None:
    """The time and the suites of message 1."""
    count = payload[8] if len(payload) > 8 else 0
    if not count or len(payload) < 9 + count or not extensions_in(payload[9 + count :]):
        return None
    return int.from_bytes(payload[:8], "big"), list(payload[9 : 9 + count])


def choice_in(payload: bytes) -> int | None:
    """The suite of message 2."""
    return payload[0] if payload and extensions_in(payload[1:]) else None


def credentials_in(payload: bytes) -> tuple[str, str] | None:
    """Login and passphrase of message 3."""
    if payload[:1] == b"\0":
        return ("", "") if extensions_in(payload[1:]) else None
    if payload[:1] != b"\1" or len(payload) < 2:
        return None
    login, rest = payload[2 : 2 + payload[1]], payload[2 + payload[1] :]
    size = int.from_bytes(rest[:2], "big")
    passphrase, behind = rest[2 : 2 + size], rest[2 + size :]
    # Where one is cut short, there is nothing left for what must stand behind it.
    if size > 4096 or b"\0" in login + passphrase or not extensions_in(behind):
        return None
    try:
        return login.decode(), passphrase.decode()
    except UnicodeDecodeError:
        return None


def or_none(read: Callable[[bytes], Any], payload: bytes) -> Any:
    try:
        return read(payload)
    except MalformedPDU:
        return None


def one_input(data: bytes) -> None:
    """
    Play one input.

    :param data: a byte that tells which message it is, and the payload.
    """
    source = Input(data)
    kind, payload = source.number() % 3, source.rest()
    if kind == 0:
        offer, expected_offer = or_none(unpack_offer, payload), offer_in(payload)
        if expected_offer is None:
            assert offer is None, offer
        else:
            assert offer == Offer(expected_offer[0], tuple(expected_offer[1])), offer
            assert unpack_offer(pack_offer(offer, len(payload))) == offer
    elif kind == 1:
        choice = or_none(unpack_choice, payload)
        assert choice == choice_in(payload), choice
        assert choice is None or unpack_choice(pack_choice(choice, len(payload))) == choice
    else:
        credentials = or_none(unpack_credentials, payload)
        assert credentials == credentials_in(payload), credentials
        if credentials is not None:
            packed = pack_credentials(*credentials)
            assert len(packed) % 512 == 0
            # Clients send NFC, which is the same when it is made again.
            assert pack_credentials(*unpack_credentials(packed)) == packed
