"""
Anything that a peer can say in the file dialogue: messages, and the pieces of files in DATA::

    python fuzz/files.py [libFuzzer's arguments] [folder for new inputs] fuzz/corpus/files
"""

if __name__ == "__main__":
    from program import run

    run("files", "transfer")

from collections.abc import Callable
from functools import partial
from typing import Any

import msgspec

from fuzz.harness import Input
from sodiumtwist.core.errors import RemoteProtocolError
from sodiumtwist.transfer.tree import messages, pieces

READERS: list[Callable[[bytes], Any]] = [
    messages.decode_request,
    messages.decode_outcome,
    *(
        partial(messages.decode_answer, kind)
        for kind in (messages.Place, messages.Found, messages.Listing, messages.Verdicts, messages.Done)
    ),
]

# What is read is looked at a second time here, another way, to compare with.


def check_message(message: Any, payload: bytes) -> None:
    """Check that a message has nothing but what its bytes say, and keeps to the page's limits."""
    plain, said = msgspec.msgpack.decode(messages.encode(message)), None
    try:
        said = msgspec.msgpack.decode(payload)
    except (msgspec.MsgspecError, UnicodeDecodeError, TypeError):
        pass  # for what stands in fields that are passed over
    if said is not None:
        for name, field in plain.items():
            if name in said and name != "type":
                check_field(field, said[name])
    for field in plain.values():
        check_size(field)


def check_field(field: Any, said: Any) -> None:
    """Check one field against what was said; of lists, what was said may be longer or shorter than what is known."""
    if isinstance(field, list):
        for one, other in zip(field, said, strict=False):
            check_field(one, other)
    else:
        assert field == said and type(field) is type(said), (field, said)


def check_size(field: Any) -> None:
    if isinstance(field, list):
        assert len(field) <= 1024, len(field)
        for one in field:
            check_size(one)
    elif isinstance(field, bytes):
        assert len(field) <= 64 * 256, len(field)
    elif isinstance(field, str):
        assert len(field) <= 1024, len(field)
    elif isinstance(field, int):
        assert -(1 << 63) <= field < 1 << 63, field


def pieces_in(payload: bytes) -> tuple[list[tuple[int, int, int, bytes]], bool]:
    """The pieces at the front of a DATA, and whether there is nothing else in it."""
    found: list[tuple[int, int, int, bytes]] = []
    while len(payload) >= 20:
        number, flags, offset, size = (
            int.from_bytes(payload[a:b], "big") for a, b in ((0, 4), (4, 8), (8, 16), (16, 20))
        )
        data, payload = payload[20 : 20 + size], payload[20 + size :]
        if flags not in (0, 1 << 24, 3 << 24) or len(data) < size or offset + size > (1 << 63) - 1:
            return found, False
        found.append((number, flags >> 24, offset, data))
    return found, bool(found) and not payload


def one_input(data: bytes) -> None:
    """
    Play one input.

    :param data: a byte that tells what it is, and the payload.
    """
    source = Input(data)
    kind, payload = source.number() % (len(READERS) + 1), source.rest()
    if kind < len(READERS):
        try:
            message = READERS[kind](payload)
        except RemoteProtocolError:
            return
        assert READERS[kind](messages.encode(message)) == message
        check_message(message, payload)
        return
    found: list[tuple[int, int, int, bytes]] = []
    right = True
    try:
        for number, flags, offset, piece in pieces.split(payload):
            found.append((number, flags, offset, bytes(piece)))
    except RemoteProtocolError:
        right = False
    assert (found, right) == pieces_in(payload), found
    if right:
        again = b"".join(pieces.header(n, flags, offset, len(piece)) + piece for n, flags, offset, piece in found)
        assert again == payload
