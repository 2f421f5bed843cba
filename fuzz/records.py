"""
Anything that a peer with the right key can send in records of version 2::

    python fuzz/records.py [libFuzzer's arguments] [folder for new inputs] fuzz/corpus/records
"""

if __name__ == "__main__":
    from program import run

    run("records")

from fuzz.harness import Input
from sodiumtwist.core.errors import DecryptionFailed, MalformedPDU
from sodiumtwist.core.inbox import Inbox
from sodiumtwist.core.v2.inner_bindings import InnerOpener, InnerSealer
from sodiumtwist.core.v2.public_bindings import PublicOpener, PublicSealer
from tests.core.peers import cut, flip
from tests.core.v2.plain_records import AEGIS, CHACHA, LARGEST, REKEY, CannotOpen, PlainOpener, PlainSealer

KEY = b"\x42" * 32
OTHER_SUITE, PUBLIC = 0x01, 0x02


def write(source: Input, sealer: PlainSealer) -> tuple[bytes, list[tuple[bytes, bool]]]:
    """
    Write what the input says: up to 32 instructions, each of a byte and what belongs to it. Only one may be large, for
    large ones take time.

    :return: all that is sent; and the body of each right record, with whether a new key comes behind it.
    """
    messages: list[bytes] = []
    records: list[tuple[bytes, bool]] = []
    largest = LARGEST + 1

    def record(body: bytes, rekey: bool) -> None:
        middle = 4 + sealer.tag_size
        sealed = sealer.record(body, rekey)
        messages.extend((sealed[:middle], sealed[middle:]))
        records.append((body, rekey))

    for _ in range(32):
        if not source:
            break
        instruction = source.number()
        kind, rekey, place = instruction & 7, bool(instruction & 8), instruction >> 4
        if kind == 0:
            record(source.take(source.number()), rekey)
        elif kind == 1:
            record(bytes(source.number(3) % (largest + 1)), rekey)
            largest = 500
        elif kind == 2:
            messages.append(sealer.message(source.over(bytes(4))))
            messages.append(sealer.message(source.take(source.number())))
        elif kind == 3:
            messages.append(sealer.message(source.take(source.number() & 0x1F)))
        elif kind == 4:
            messages.append(source.take(source.number()))
        elif messages:
            index = -1 - place % len(messages)
            message = messages[index] or b"\0"
            if kind == 5:
                messages[index] = flip(message, source.number() % len(message), source.number())
            elif kind == 6:
                messages.append(message)
            else:
                messages[index] = message[source.number() % len(message) :]
    return b"".join(messages), records


def judge(wire: bytes, opener: PlainOpener) -> tuple[list[bytes], type[Exception] | None, bool]:
    """
    Read all at once, to compare with.

    :return: the bodies; the error behind them, if there is one; whether a head has come whose body has not.
    """
    bodies: list[bytes] = []
    middle = 4 + opener.tag_size
    try:
        while len(wire) >= middle:
            head = int.from_bytes(opener.message(wire[:middle]), "big")
            size = head & ~REKEY
            if size > LARGEST:
                return bodies, MalformedPDU, False
            end = middle + size + opener.tag_size
            if len(wire) < end:
                return bodies, None, True
            bodies.append(opener.message(wire[middle:end]))
            if head & REKEY:
                opener.rekey()
            wire = wire[end:]
    except CannotOpen:
        return bodies, DecryptionFailed, False
    return bodies, None, False


def one_input(data: bytes) -> None:
    """
    Play one input.

    :param data: a byte of options, the cuts, and the instructions.
    """
    source = Input(data)
    options = source.number()
    sizes = source.sizes()
    suite = CHACHA if options & OTHER_SUITE else AEGIS
    sealer_kind, opener_kind = (PublicSealer, PublicOpener) if options & PUBLIC else (InnerSealer, InnerOpener)
    wire, records = write(source, PlainSealer(suite, KEY))
    expected, error, inside = judge(wire, PlainOpener(suite, KEY))
    opener, inbox = opener_kind(suite, KEY), Inbox()
    bodies: list[bytes] = []
    raised = None
    try:
        for piece in cut(wire, sizes):
            inbox.put(piece)
            while inbox.data and (body := opener.receive(inbox)) is not None:
                bodies.append(bytes(body))
            assert inbox.size < LARGEST + opener.overhead, "more waits than a record has"
    except (DecryptionFailed, MalformedPDU) as failure:
        raised = type(failure)
    assert bodies == expected, (bodies, expected)
    assert raised is error, raised
    assert error is not None or opener.inside is inside
    sealer, plain = sealer_kind(suite, KEY), PlainSealer(suite, KEY)
    for body, rekey in records:
        if len(body) > LARGEST:
            return
        if rekey:
            sealer.rekey()
        assert sealer.seal([body[:3], body[3:]], len(body)) == plain.record(body, rekey)
