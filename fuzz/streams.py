"""
Anything that a peer with the right keys can send after the handshake, to either end::

    python fuzz/streams.py [libFuzzer's arguments] [folder for new inputs] fuzz/corpus/streams
"""

if __name__ == "__main__":
    from program import run

    run("streams")

from struct import unpack

from nacl.exceptions import CryptoError

from fuzz.harness import Connection, Input, Watched
from sodiumtwist.core.connection import ServerConnection
from sodiumtwist.core.errors import MalformedPDU
from sodiumtwist.core.events import AuthenticationRequested, DataReceived, Event, KeyProven, PingReceived, PongReceived
from sodiumtwist.core.states import State
from tests.core.peers import (
    CLOCK,
    CLOCK_BODY,
    DATA,
    MAGIC,
    NOW,
    PING,
    PONG,
    SERVER_PAIR,
    TAG_FINAL,
    TAG_MESSAGE,
    TAG_PUSH,
    TAG_REKEY,
    WINDOW,
    PlainClient,
    PlainPull,
    PlainPush,
    PlainServer,
    cut,
    flip,
    open_client,
    pack_header,
    wire_of,
)

TO_CLIENT, PROVE, LATE, LEAVES = 0x01, 0x02, 0x04, 0x08
TAGS = [TAG_MESSAGE, TAG_PUSH, TAG_REKEY, TAG_FINAL]


class RecordedStream:
    """The key and the header of a sending stream, to open it again from its start, and its messages."""

    def __init__(self, push: PlainPush) -> None:
        self.push = push
        self.messages: list[bytes] = []

    def message(self, plain: bytes, tag: int = TAG_MESSAGE) -> None:
        self.messages.append(self.push.message(plain, tag))

    def pdu(self, pdu_type: int, body: bytes, tag: int = TAG_MESSAGE) -> None:
        self.message(pack_header(pdu_type, len(body)))
        self.message(body, tag)


def write(source: Input, stream: RecordedStream) -> None:
    """
    Write what the input says: up to 32 instructions, each of a byte and what belongs to it. Only one may be large, for
    large ones take time.
    """
    largest = WINDOW + 1
    for _ in range(32):
        if not source:
            return
        instruction = source.number()
        kind, tag, place = instruction & 7, TAGS[instruction >> 3 & 3], instruction >> 5
        if kind == 0:
            stream.pdu(DATA, source.take(source.number()), tag)
        elif kind == 1:
            stream.pdu(DATA, bytes(source.number(3) % (largest + 1)), tag)
            largest = 500
        elif kind == 2:
            stream.pdu(PONG if instruction & 0x80 else PING, source.over(CLOCK_BODY)[: 12 + place % 4 * 2], tag)
        elif kind == 3:
            header = source.over(pack_header(DATA, 2))
            stream.message(header, tag)
            stream.message(source.take(source.number()))
        elif kind == 4:
            stream.message(source.take(source.number() & 0x1F), tag)
        elif stream.messages:
            index = -1 - place % len(stream.messages)
            message = stream.messages[index]
            if kind == 5:
                stream.messages[index] = flip(message, source.number() % len(message), source.number())
            elif kind == 6:
                stream.messages.append(message)
            else:
                stream.messages[index] = message[source.number() % len(message) :]


def judge(wire: bytes, pull: PlainPull, pings: int, prove: bool) -> tuple[list[Event], bool, bool]:
    """
    Read a whole stream at once, to compare with.

    :param pings: how many PONGs may come.
    :param prove: whether the first header proves the key.
    :return: the events that it makes; whether an error ends them; whether the end of the stream would be one.
    """
    events: list[Event] = []
    while len(wire) >= 29:
        try:
            header, tag = pull.message(wire[:29])
            magic, pdu_type, size = unpack(">III", header)
            if tag == TAG_FINAL or magic != MAGIC or size > WINDOW:
                return events, True, False
            if pdu_type != DATA and (pdu_type not in (PING, PONG) or size not in (12, 16)):
                return events, True, False
            if prove:
                events.append(KeyProven())
                prove = False
            if len(wire) < 46 + size:
                return events, False, True
            body, tag = pull.message(wire[29 : 46 + size])
        except CryptoError:
            return events, True, False
        if tag == TAG_FINAL or (pdu_type == PONG and not pings):
            return events, True, False
        if pdu_type == DATA:
            events.append(DataReceived(body))
        else:
            seconds, nanoseconds = unpack(">QI", body[:12])
            timestamp = seconds * 10**9 + nanoseconds
            events.append(PingReceived(timestamp) if pdu_type == PING else PongReceived(timestamp, 0))
            pings -= pdu_type == PONG
        wire = wire[46 + size :]
    return events, False, bool(wire)


def one_input(data: bytes) -> None:
    """
    Play one input.

    :param data: a byte of options with the number of PINGs that were sent before, the cuts, and the instructions.
    """
    source = Input(data)
    options = source.number()
    sizes = source.sizes()
    is_server = not options & TO_CLIENT
    prove = is_server and bool(options & PROVE)
    pings = 0 if prove else options >> 6

    def ping() -> None:
        for _ in range(pings):
            peer.pull.pdus(wire_of(connection.send_ping, NOW, CLOCK))

    def decide() -> None:
        assert isinstance(connection, ServerConnection) and isinstance(peer, PlainClient)
        peer.read_server_helo(wire_of(connection.accept, NOW, prove=prove))
        ping()

    connection: Connection
    peer: PlainClient | PlainServer
    before = b""
    if is_server:
        connection, peer = ServerConnection(SERVER_PAIR, NOW), PlainClient()
        before = peer.client_auth()
    else:
        connection, peer = open_client()
        ping()
    watched = Watched(connection, (lambda: None) if options & LATE else decide)
    stream = RecordedStream(peer.push)
    write(source, stream)
    wire = b"".join(stream.messages)
    expected, fails, waits = judge(wire, PlainPull(peer.send_key, peer.push.header), pings, prove)
    watched.feed(cut(before + wire, sizes))
    if is_server and options & LATE:
        assert len(watched.events) == 1 and watched.error is None, "more than the request before the decision"
        watched.decide_now(decide)
    events = watched.events
    if is_server:
        assert isinstance(events[0], AuthenticationRequested)
        events = events[1:]
    assert events == expected, (events, expected)
    assert (watched.error is not None) is fails, watched.error
    if not fails:
        if connection.state is State.OPEN:
            assert peer.pull.pdus(wire_of(connection.send_data, b"answer")) == [(DATA, b"answer")]
        else:
            assert connection.state is State.AWAITING_PROOF and len(wire) < 29
    leaves = bool(options & LEAVES)
    if leaves and not fails and connection.state is State.OPEN:
        assert isinstance(watched.finish(False), MalformedPDU) is waits
    else:
        watched.finish(not leaves)
