"""
The PDUs that follow the handshake, as both ends seal and open them: each is two messages of a secretstream, the
header and the body.
"""

from __future__ import annotations

from ..events import DataReceived, Event, KeyProven, PingReceived, PongReceived
from ..inbox import Inbox
from ..unsent import Unsent
from .messages import (
    ENCRYPTED_HEADER_SIZE,
    HEADER_SIZE,
    PDU_OVERHEAD,
    STREAM_OVERHEAD,
    WINDOW,
    PDUType,
    pack_header,
    pack_timestamp,
    unpack_stream_header,
    unpack_timestamp,
)
from .secretstream import Pull, Push

try:
    from . import inner_bindings

    PushStream: type[Push] = inner_bindings.InnerPushStream
    PullStream: type[Pull] = inner_bindings.InnerPullStream
except ImportError:
    from . import public_bindings

    PushStream, PullStream = public_bindings.PublicPushStream, public_bindings.PublicPullStream

__all__ = ["Proof", "PullStream", "PushStream", "V1Records"]

_DATA = PDUType.DATA


class V1Records:
    """
    The two streams of one connection.

    :param push: to the peer.
    :param pull: from the peer; ``None`` where its stream header has not come yet, and when nothing more is received.
    """

    __slots__ = ("__weakref__", "_header", "_push", "pull")

    largest = WINDOW
    overhead = PDU_OVERHEAD
    #: An end of version 1 says only by closing that it has said all, and asks and answers in no way of its own.
    choked = over = ended = False
    dialogue = None

    def __init__(self, push: Push, pull: Pull | None = None) -> None:
        self._push = push
        self.pull = pull
        # The type and body size of a PDU whose header was opened: that can be done only once.
        self._header: tuple[PDUType, int] | None = None

    @property
    def inside(self) -> bool:
        """Whether the header of a PDU was opened, and its body has not come whole."""
        return self._header is not None

    # Receiving

    def receive(self, inbox: Inbox) -> Event | None:
        """
        Open the next PDU.

        :param inbox: what was received.
        :return: ``None`` when it has not come whole.
        :raises DecryptionFailed: when it was altered, or is not the next one.
        :raises RemoteProtocolError: for anything else in it that is wrong.
        """
        header = self._header
        if header is None:
            data, start = inbox.data, inbox.offset
            received = len(data)
            if inbox.part is None and start + PDU_OVERHEAD <= received:
                # As nearly all come: whole, in one read.
                pdu_type, size, body = self.pull.pull_pdu(data, start)  # type: ignore[union-attr]  # it is there by now
                if body is not None:
                    inbox.pdus_received += 1
                    end = start + size + PDU_OVERHEAD
                    if end == received:
                        inbox.data, inbox.offset = b"", 0
                    else:
                        inbox.offset = end
                    return DataReceived(body) if pdu_type is _DATA else self._event(pdu_type, body)
                self._header = header = pdu_type, size
                inbox.offset = start + ENCRYPTED_HEADER_SIZE
            else:
                header = self.receive_header(inbox)
                if header is None:
                    return None
        pdu_type, size = header
        taken = inbox.take(size + STREAM_OVERHEAD)
        if taken is None:
            return None
        assert self.pull is not None
        body = self.pull.pull(*taken, size)
        self._header = None
        inbox.pdus_received += 1
        return self._event(pdu_type, body)

    def get_buffer(self, inbox: Inbox) -> None:
        """Nothing is received in memory that is shared."""

    def received(self, inbox: Inbox, size: int) -> bool:
        """Nothing is received there."""
        raise NotImplementedError

    def receive_header(self, inbox: Inbox) -> tuple[PDUType, int] | None:
        """
        Open the header of the next PDU, and judge it before its body comes.

        :param inbox: what was received.
        :return: the type and the body's size, which are kept; ``None`` when too few bytes have come.
        :raises RemoteProtocolError: as :meth:`receive`.
        """
        taken = inbox.take(ENCRYPTED_HEADER_SIZE)
        if taken is None:
            return None
        assert self.pull is not None
        self._header = unpack_stream_header(self.pull.pull(*taken, HEADER_SIZE))
        return self._header

    @staticmethod
    def _event(pdu_type: PDUType, body: bytes) -> Event:
        if pdu_type is _DATA:
            return DataReceived(body)
        timestamp = unpack_timestamp(body)
        return PingReceived(timestamp) if pdu_type is PDUType.PING else PongReceived(timestamp, 0.0)

    # Sending

    def ping(self, unsent: Unsent, timestamp: int) -> None:
        """Queue a PING, see :class:`~sodiumtwist.core.version.Records`."""
        self._queue_up(unsent, PDUType.PING, pack_timestamp(timestamp))

    def pong(self, unsent: Unsent, timestamp: int) -> None:
        """Queue a PONG, see :class:`~sodiumtwist.core.version.Records`."""
        self._queue_up(unsent, PDUType.PONG, pack_timestamp(timestamp))

    @staticmethod
    def _queue_up(unsent: Unsent, pdu_type: PDUType, body: bytes) -> None:
        unsent.queue.append((pack_header(pdu_type, len(body)), body))
        unsent.size += len(body) + PDU_OVERHEAD

    def seal(self, unsent: Unsent, limit: int, passing: bool = False) -> bytes:
        """Seal PDUs that wait, see :class:`~sodiumtwist.core.version.Records`."""
        push, queue = self._push, unsent.queue
        item = queue.popleft()
        # Anything but a DATA is a header and a body.
        sealed = push.push_pdu(*item) if type(item) is tuple else push.push_data(item)
        if not queue:
            size = len(sealed)
            unsent.size -= size
            unsent.bytes_sent += size
            unsent.pdus_sent += 1
            return sealed
        pieces = [sealed]
        left = limit - len(sealed)
        while queue:
            item = queue[0]
            left -= PDU_OVERHEAD + len(item[1] if type(item) is tuple else item)
            if left < 0:
                break
            queue.popleft()
            pieces.append(push.push_pdu(*item) if type(item) is tuple else push.push_data(item))
        sealed = b"".join(pieces)
        size = len(sealed)
        unsent.size -= size
        unsent.bytes_sent += size
        unsent.pdus_sent += len(pieces)
        return sealed

    def drop_unsent(self, unsent: Unsent) -> None:
        """Forget what waits, see :class:`~sodiumtwist.core.version.Records`."""
        unsent.queue.clear()
        unsent.size = len(unsent.packet)

    def rekey(self) -> None:
        """Have the next PDU bring a new key."""
        self._push.rekey_in = 0

    def receive_no_more(self) -> None:
        """Forget the key to receive with."""
        self.pull = None


class Proof:
    """
    Waits for what shows that a client has the key it claims: a header that opens. What follows is a PDU like any
    other.

    :param records: of the connection.
    """

    def __init__(self, records: V1Records) -> None:
        self._records = records

    def receive(self, inbox: Inbox) -> Event | None:
        """
        Look for it.

        :param inbox: what was received.
        :return: ``None`` when too few bytes have come.
        :raises RemoteProtocolError: when what came is no PDU of the client's.
        """
        return None if self._records.receive_header(inbox) is None else KeyProven()
