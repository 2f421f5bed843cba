"""
Dialogues of version 2 as tests hold them: one end with PDUs written by hand, or two ends with each other.
"""

from __future__ import annotations

from struct import pack

from sodiumtwist.core.events import Event
from sodiumtwist.core.unsent import Unsent
from sodiumtwist.core.v2.dialogue import Dialogue
from sodiumtwist.core.v2.incoming import Bounds
from sodiumtwist.core.v2.pdus import PDU, read_body

#: The types of PDUs by name, as the document numbers them.
TYPES = {
    name: number + 1
    for number, name in enumerate(
        "WELCOME REFUSED DATA PING PONG REQUEST ANSWER FAILURE END PADDING DRAIN ABORT CANCEL".split()
    )
}
NAMES = {number: name for name, number in TYPES.items()}
#: The largest body of a record.
ROOM = 135168


def pdu(kind: str | int, payload: bytes = b"", id: int = 0, more: bool = False, spare: int = 0) -> bytes:
    """Lay out a PDU by hand."""
    number = TYPES[kind] if isinstance(kind, str) else kind
    return pack(">BBHII", number, more, spare, id, len(payload)) + payload


def reason(code: int, text: str = "") -> bytes:
    """Lay out the payload of a REFUSED, FAILURE or ABORT by hand."""
    return pack(">I", code) + text.encode()


def shown(pdus: list[PDU]) -> list[tuple[object, ...]]:
    """What was read, with names: type, whether it has MORE, id, payload."""
    return [(NAMES.get(kind >> 24, kind >> 24), bool(kind >> 16 & 1), id, payload) for kind, id, payload in pdus]


def read(body: bytes) -> list[tuple[object, ...]]:
    """Read a body that is right, as :func:`shown`."""
    pdus, error = read_body(body)
    assert error is None, error
    return shown(pdus)


class End:
    """
    One end of a dialogue.

    :ivar unsent: what it has to say.
    :ivar events: what it was told, in order.
    """

    def __init__(self, server: bool, bounds: Bounds = Bounds()) -> None:
        self.unsent = Unsent()
        self.dialogue = Dialogue(self.unsent, server, bounds)
        self.events: list[Event] = []

    def data(self, payload: bytes) -> None:
        """Send a DATA, as a connection does."""
        assert self.dialogue.may_send_data
        self.unsent.queue.append(payload)
        self.unsent.size += 12 + len(payload)

    def take(self, room: int = ROOM) -> bytes:
        """Take the body of one record."""
        before = self.unsent.size - len(self.unsent.packet)
        pieces, size = self.dialogue.take(room)
        body = b"".join(pieces)
        assert len(body) == size
        assert self.unsent.size >= 0
        assert size or not before, "something waits, and does not leave"
        return body

    def said(self, room: int = ROOM) -> list[tuple[object, ...]]:
        """Take the body of one record, as :func:`shown`."""
        return read(self.take(room))

    def all_said(self, room: int = ROOM) -> list[tuple[object, ...]]:
        """Take all that waits, as :func:`shown`."""
        said = []
        while self.unsent.size:
            said += self.said(room)
        assert not self.unsent.queue
        return said

    def hear(self, *pdus: bytes) -> list[Event]:
        """
        Take in PDUs, as one record.

        :return: the events.
        :raises RemoteProtocolError: for what is wrong; the events before it are kept.
        """
        read, error = read_body(memoryview(b"".join(pdus)))
        count = len(self.events)
        for one in read:
            event = self.dialogue.receive(one)
            if event is not None:
                self.events.append(event)
        if error is not None:
            raise error
        return self.events[count:]

    def hear_all(self, other: End, room: int = ROOM) -> list[Event]:
        """Take in all that another end has to say."""
        count = len(self.events)
        while other.unsent.size:
            self.hear(other.take(room))
        return self.events[count:]


def welcomed_client(bounds: Bounds = Bounds()) -> End:
    """A client whose server has let it in."""
    client = End(False, bounds)
    client.hear(pdu("WELCOME", b"Welcome."))
    client.events.clear()
    return client


def welcoming_server(bounds: Bounds = Bounds()) -> End:
    """A server that has let its client in, and has said so."""
    server = End(True, bounds)
    server.dialogue.welcome("Welcome.")
    assert server.said() == [("WELCOME", False, 0, b"Welcome.")]
    return server


def open_ends(client_bounds: Bounds = Bounds(), server_bounds: Bounds = Bounds()) -> tuple[End, End]:
    """A client and a server that has let it in."""
    client, server = End(False, client_bounds), End(True, server_bounds)
    server.dialogue.welcome("Welcome.")
    client.hear_all(server)
    client.events.clear()
    return client, server
