"""
What both ends say once the handshake is over: requests in any order, their end, the reasons for stopping. It knows
nothing of keys and records; :mod:`~sodiumtwist.core.v2.pdus` reads and lays out what it says.
"""

from __future__ import annotations

from ..errors import RemoteProtocolError
from ..events import Event
from ..inbox import Buffer
from ..unsent import Unsent
from .incoming import Bounds
from .pdus import PDU


class Dialogue:
    """
    One end of a dialogue.

    What is sent waits in ``unsent``. Of DATA, the connection itself puts the payload there, and counts it and
    the 12 bytes of its header.

    :param unsent: what waits to be sealed.
    :param server: whether this is the server's end.
    :param bounds: how much the peer may make us keep.
    :ivar may_send_data: whether a DATA may be sent now.
    """

    may_send_data: bool

    def __init__(self, unsent: Unsent, server: bool, bounds: Bounds = Bounds()) -> None:
        raise NotImplementedError

    # What can be asked

    @property
    def over(self) -> bool:
        """
        Whether all is done on both sides: END was sent and received, every request is answered, nothing waits to be
        sent. Only then does anyone close in order.
        """
        raise NotImplementedError

    @property
    def unanswered(self) -> tuple[int, ...]:
        """The ids of our own requests whose answer has not come whole."""
        raise NotImplementedError

    @property
    def pongs_owed(self) -> int:
        """How many PINGs came whose PONG has not left. At :attr:`Bounds.pongs` the connection reads no more."""
        raise NotImplementedError

    # Sending

    def welcome(self, text: str, padding: int | None = None) -> None:
        """
        Server: let the client in. It goes before all else.

        :param text: a line, up to 1024 bytes of UTF-8.
        :param padding: the size of a PADDING that goes right behind it, ``None`` for no PADDING.
        :raises LocalProtocolError: when the client was let in or refused before, or the text is too long.
        """
        raise NotImplementedError

    def refuse(self, code: int, text: str, padding: int | None = None) -> None:
        """
        Server: don't let the client in. Nothing can be sent behind it.

        :param code: why.
        :param text: a line, up to 1024 bytes of UTF-8.
        :param padding: as for :meth:`welcome`.
        :raises LocalProtocolError: when the client was let in or refused before, or the text is too long.
        """
        raise NotImplementedError

    def request(self, payload: Buffer) -> int:
        """
        Ask the peer. More than 64 KiB leave in parts.

        :return: the id, which the answer or the failure will have.
        :raises PayloadTooLarge: when it is longer than :attr:`Bounds.message`.
        :raises LocalProtocolError: behind our END or the peer's DRAIN, or when nothing can be sent.
        """
        raise NotImplementedError

    def answer(self, id: int, payload: Buffer) -> None:
        """
        Answer a request of the peer. More than 64 KiB leave in parts.

        :raises PayloadTooLarge: when it is longer than :attr:`Bounds.message`.
        :raises LocalProtocolError: when there is no such request, or it has its answer.
        """
        raise NotImplementedError

    def fail(self, id: int, code: int, text: str) -> None:
        """
        Answer a request of the peer by a failure. It also takes back an answer, parts of which have not left yet.

        :param code: why.
        :param text: a line, up to 1024 bytes of UTF-8.
        :raises LocalProtocolError: when there is no such request, or its answer has left; or the text is too long.
        """
        raise NotImplementedError

    def cancel(self, id: int) -> None:
        """
        Tell the peer that no answer to a request of ours is wanted any more. An answer or a failure comes all the
        same. The second time this does nothing.

        :raises LocalProtocolError: when there is no such request, or its answer came.
        """
        raise NotImplementedError

    def ping(self, payload: bytes = b"") -> int:
        """
        Send a PING.

        :param payload: up to 64 bytes, which come back.
        :return: its id.
        :raises LocalProtocolError: when the payload is longer, or nothing can be sent.
        """
        raise NotImplementedError

    def pong(self) -> None:
        """
        Answer the oldest PING that has no PONG.

        :raises LocalProtocolError: when there is none, or nothing can be sent.
        """
        raise NotImplementedError

    def end(self, padding: int | None = None) -> None:
        """
        Say that no DATA and no request comes any more. It leaves behind all of them; answers still can be sent.

        :param padding: the size of a PADDING that goes right behind it, ``None`` for no PADDING.
        :raises LocalProtocolError: the second time, or when nothing can be sent.
        """
        raise NotImplementedError

    def drain(self) -> None:
        """
        Say that we are about to stop, so that the peer asks nothing new.

        :raises LocalProtocolError: the second time, before WELCOME, or when nothing can be sent.
        """
        raise NotImplementedError

    def abort(self, code: int, text: str) -> None:
        """
        Say why we close now. What waits of large messages is dropped, and nothing can be sent behind it.

        :param code: why.
        :param text: a line, up to 1024 bytes of UTF-8.
        :raises LocalProtocolError: before WELCOME, when nothing can be sent, or the text is too long.
        """
        raise NotImplementedError

    def broken(self, error: RemoteProtocolError) -> None:
        """
        Say that the peer broke the protocol, by an ABORT, unless it may not be answered: not behind its own ABORT,
        even a broken one, nor behind REFUSED. What waits of large messages is dropped, and nothing can be sent
        behind it.

        :param error: what :meth:`receive` raised, or ``read_body`` returned.
        """
        raise NotImplementedError

    def padding(self, size: int) -> None:
        """
        Send bytes that say nothing.

        :param size: how many, beyond the header.
        :raises LocalProtocolError: when nothing can be sent.
        """
        raise NotImplementedError

    def take(self, room: int) -> tuple[list[Buffer], int]:
        """
        Take the pieces of the next record's body off what waits.

        :param room: how many bytes the body may have; if the first PDU has more, it comes alone all the same.
        :return: the pieces, and how many bytes they have; none when nothing waits.
        """
        raise NotImplementedError

    def drop_unsent(self) -> None:
        """Forget what waits to be sealed, but for a packet of the handshake."""
        raise NotImplementedError

    # Receiving

    def receive(self, pdu: PDU) -> Event | None:
        """
        Take in a PDU.

        :param pdu: as ``read_body`` gives it.
        :return: what it tells the application; ``None`` for nothing, or not yet.
        :raises RemoteProtocolError: when the peer may not send it now; see :meth:`broken`.
        """
        raise NotImplementedError
