"""
What both ends of a connection can say in version 2 and not in version 1: requests, an end that is told, reasons.
"""

from __future__ import annotations

from typing import Any

from .base import Connection
from .errors import LocalProtocolError
from .inbox import Buffer
from .states import Act
from .v2.incoming import Bounds
from .v2.session import Version2


class AskingConnection(Connection):
    """
    What both ends share, and requests of either to the other. In version 1 all these calls raise
    :exc:`~sodiumtwist.core.errors.LocalProtocolError`.
    """

    # Of a connection that is closed.
    _left_unanswered: tuple[int, ...] = ()
    _left_unsent: frozenset[int] = frozenset()
    _version_2: Version2 | None = None

    def _speaking(self) -> Any:
        if not self._may_speak:
            raise self._not_now(Act.SEND_STREAM_PDU)
        dialogue = self._records.dialogue  # type: ignore[union-attr]  # who may speak has records
        if dialogue is None:
            raise LocalProtocolError("version 1 of the protocol has only DATA, PING and PONG; speak version 2")
        return dialogue

    def send_request(self, payload: Buffer) -> int:
        """
        Ask the peer. It waits for :meth:`data_to_send`; a large one leaves in parts, among which others pass.

        :param payload: up to 16 MiB, or what the bounds say. It must not change until it has left.
        :return: its id, which the answer or the failure will have.
        :raises PayloadTooLarge: when it is longer.
        :raises LocalProtocolError: behind :meth:`send_end` or the peer's DRAIN, in a state to send nothing, and in
            version 1.
        """
        # As _speaking(), without the call: each request passes here.
        dialogue = self._records.dialogue if self._may_speak else None  # type: ignore[union-attr]  # as there
        return (dialogue or self._speaking()).request(payload)  # type: ignore[no-any-return]

    def send_answer(self, id: int, payload: Buffer) -> None:
        """
        Answer a request of the peer's; the requests may be answered in any order.

        :param id: of its :class:`~sodiumtwist.core.events.RequestReceived`.
        :param payload: as for :meth:`send_request`.
        :raises PayloadTooLarge: when it is longer.
        :raises LocalProtocolError: when there is no such request, or it has its answer; and as :meth:`send_request`.
        """
        dialogue = self._records.dialogue if self._may_speak else None  # type: ignore[union-attr]  # as _speaking()
        (dialogue or self._speaking()).answer(id, payload)

    def send_failure(self, id: int, code: int, text: str) -> None:
        """
        Answer a request of the peer's by a failure; also in place of an answer that has not left whole.

        :param id: of its :class:`~sodiumtwist.core.events.RequestReceived`.
        :param code: why; see :class:`~sodiumtwist.core.v2.pdus.Code`, from 0x80000000 on it is the application's.
        :param text: a line for a person, up to 1024 bytes of UTF-8.
        :raises LocalProtocolError: as :meth:`send_answer`, or for a longer text.
        """
        self._speaking().fail(id, code, text)

    def send_cancel(self, id: int) -> None:
        """
        Tell the peer that a request of ours needs no answer any more. An answer or a failure comes all the same.

        :param id: what :meth:`send_request` returned.
        :raises LocalProtocolError: when there is no such request, or it is answered; and as :meth:`send_request`.
        """
        self._speaking().cancel(id)

    def send_end(self) -> None:
        """
        Say that no DATA and no request comes any more. When both ends have said so, and all is answered,
        :class:`~sodiumtwist.core.events.ConnectionOver` comes: out of :meth:`events`, also where it was our own last
        bytes that were waited for.

        :raises LocalProtocolError: the second time; and as :meth:`send_request`.
        """
        self._speaking()
        self._records.end()  # type: ignore[union-attr]  # it speaks version 2
        self._may_send = False

    def send_drain(self) -> None:
        """
        Tell the peer that we are about to stop, so that it asks nothing new and ends the connection when all is done.

        :raises LocalProtocolError: the second time, or before the server has let us in; and as :meth:`send_request`.
        """
        self._speaking().drain()

    def abort(self, code: int, text: str) -> None:
        """
        Tell the peer why the connection ends at once, and end it: the last thing that :meth:`data_to_send` gives.

        :param code: why; see :class:`~sodiumtwist.core.v2.pdus.Code`, from 0x80000000 on it is the application's.
        :param text: a line for a person, up to 1024 bytes of UTF-8.
        :raises LocalProtocolError: before the server has let us in, and for a longer text; and as
            :meth:`send_request`.
        """
        self._speaking().abort(code, text)
        self.close()

    @property
    def _dialogue(self) -> Any:
        """That of version 2; ``None`` in version 1, and before the handshake is over."""
        return None if self._records is None else self._records.dialogue

    @property
    def over(self) -> bool:
        """
        Whether both ends have said all they had, and all is answered and has left. :meth:`events` then has
        :class:`~sodiumtwist.core.events.ConnectionOver`, also where it was our own last bytes that were waited for.
        """
        return self._may_speak and self._records.over  # type: ignore[union-attr]  # who may speak has records

    @property
    def settled(self) -> bool:
        """Whether the peer has, or gets, all that it needs to see that all is over; more may wait."""
        dialogue = self._dialogue
        return self._may_speak and dialogue is not None and dialogue.settled

    @property
    def ended(self) -> bool:
        """Whether :meth:`send_end` was called."""
        return self._dialogue is not None and self._records.ended  # type: ignore[union-attr]  # it is theirs

    @property
    def peer_ended(self) -> bool:
        """Whether the peer has said that it sends no DATA and asks nothing any more."""
        dialogue = self._dialogue
        return dialogue is not None and dialogue.peer_ended

    @property
    def draining(self) -> bool:
        """Whether one of the two ends has said that it is about to stop."""
        dialogue = self._dialogue
        return dialogue is not None and dialogue.draining

    @property
    def unanswered(self) -> tuple[int, ...]:
        """The ids of our requests that have no answer; where the connection was cut, what became of them is unknown."""
        dialogue = self._dialogue
        return self._left_unanswered if dialogue is None else dialogue.unanswered

    @property
    def not_sent(self) -> frozenset[int]:
        """
        The ids of our requests of which :meth:`data_to_send` has given nothing: nobody has acted on them.
        """
        dialogue = self._dialogue
        return self._left_unsent if dialogue is None else dialogue.not_sent

    @property
    def bounds(self) -> Bounds:
        """How much the peer may make us keep, in version 2."""
        return Bounds() if self._version_2 is None else self._version_2.bounds

    def _forget(self) -> None:
        # Whoever is told of a cut asks then which requests it has struck.
        self._left_unanswered, self._left_unsent = self.unanswered, self.not_sent
        super()._forget()

    @property
    def channel_binding(self) -> bytes | None:
        """
        32 bytes that both ends of this connection have and no other connection has, to bind to it what an application
        signs or proves; ``None`` in version 1, and before the handshake is over.
        """
        return getattr(self._records, "channel_binding", None)
