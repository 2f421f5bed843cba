"""
A server's end that answers requests about files, where its client makes any.
"""

from __future__ import annotations

from typing import Any, Protocol

from twisted.internet.defer import Deferred
from twisted.python.failure import Failure

from ...admission.networks import network
from ...core.connection import Code
from ...core.errors import ClosedByPeer, LocalProtocolError, RequestError
from ...core.events import Event, RequestReceived
from ...interfaces import Peer
from ...protocol.answering import AnsweringByNumber, Respond
from ...protocol.asking import REQUEST_LIMIT, AskingByNumber
from ...protocol.context import ServerContext
from ...protocol.lifecycle import Stage
from ...protocol.observing import timed
from ...protocol.requests import CLOSED_BY_PEER, RequestEnd
from ...protocol.server import SodiumServerProtocol
from ..stores import Store
from .channel import ASKED_AT_ONCE
from .messages import LINE_LIMIT
from .place import Files
from .report import STORED
from .serving import FileSession, Threads


class FilesContext(ServerContext, Protocol):
    """
    What a :class:`FileServerEnd` needs of its factory.

    :ivar store: takes what comes as one stream.
    :ivar files: what the server does with files.
    :ivar threads: for their disk.
    :ivar receiving: the ends that have something under way; they may outlive their connection.
    """

    store: Store
    files: Files
    threads: Threads
    receiving: set[Any]


class FileServerEnd(RequestEnd, SodiumServerProtocol):
    """
    Answers requests about files in version 2. Without any it is as light as an end that answers none.
    """

    factory: FilesContext
    peer: Peer  # nothing is received before it is there

    _session: FileSession | None = None
    _closing_may_fail = False

    def _uploads(self) -> bool:
        """Tell whether an upload in the dialogue of DATA is under way."""
        return False

    # What the session needs

    @property
    def is_stopping(self) -> bool:
        return self.is_draining or self._lifecycle.stage is not Stage.OPEN

    def break_off(self, code: int, text: str, error: BaseException) -> None:
        # The second time, it would drop what the client is told of the first.
        if not self._lifecycle.over:
            self.abort_with(code, text.encode(errors="replace")[:LINE_LIMIT].decode(errors="ignore"), error)

    def files_over(self, line: str, warns: bool, **fields: object) -> None:
        login = repr(self.peer.login)
        if self.factory.admission.lines.uploads.write(f"files of {login}", network(self.peer.address)):
            tell, event = (self._log.warn, "files_broken") if warns else (self._log.info, "files_over")
            tell(line, event=event, login=login, peer=self._describe_peer(), **fields)

    def files_counted(self, done: str, outcome: str, count: int, size: int) -> None:
        observer = self.factory.observer
        if observer is not None:
            (observer.uploaded if done == STORED else observer.fetched)(outcome, count, size)

    def files_failed(self, reason: Failure) -> None:
        if self._may_log_failure(reason):
            self._log.failure(
                "cannot store or send files of {asker}", reason, event="storage_failed", asker=self._describe_asker()
            )

    def files_changed(self) -> None:
        factory = self.factory
        if self._session is not None and self._session.busy:
            factory.receiving.add(self)
            return
        self._let_session_go()
        if not self._uploads():
            factory.receiving.discard(self)
        if self._connection.peer_ended:
            self._end_if_idle()  # it has waited for the disk
        # Its connection may have been the last, and was over before.
        if not factory.connections and not factory.receiving:
            factory.admission.nobody_left()

    # What the base calls

    def _not_asked(self) -> LocalProtocolError:
        if self.is_authenticated and self._connection.version == 2:
            return LocalProtocolError("a client that stores or fetches no files is asked nothing")
        return super()._not_asked()

    def _stops_reading_when_blocked(self) -> bool:
        # A request would then overtake DATA before it; and two ends that both send would wait for each other.
        return self._session is None or not self._session.begun

    def _take_event(self, event: Event) -> None:
        if type(event) is RequestReceived and self._answering is None and self._end is None:
            self._begin_to_answer()
        super()._take_event(event)

    def _begin_to_answer(self) -> None:
        factory, login = self.factory, self.peer.login
        assert login is not None  # clients have one
        self._session = FileSession(self, login, factory.files, factory.files.place(factory.store), factory.threads)
        self._asking = AskingByNumber(self, REQUEST_LIMIT)
        self._asking.may_speak()
        respond: Respond = self._answer_request
        if factory.observer is not None:
            respond = timed(respond, factory.observer, self._clock.seconds)
        self._answering = AnsweringByNumber(self, self.peer, respond, ASKED_AT_ONCE)

    def _answer_request(self, peer: Peer, payload: bytes) -> bytes | Deferred[bytes]:
        assert self._session is not None
        if self._uploads():
            raise RequestError(Code.NO_ROOM, "an upload is under way on this connection")
        return self._session.asked(payload)

    def _describe_asker(self) -> str:
        return f"{self.peer.login!r} from {self._describe_peer()}"

    def _idle(self) -> bool:
        return super()._idle() and (self._session is None or not self._session.busy)

    def end_received(self) -> None:
        if self._session is not None:
            self._session.lost(Failure(ClosedByPeer(CLOSED_BY_PEER)))
        super().end_received()

    def connection_lost(self, reason: Failure) -> None:
        if self._session is not None:
            self._session.lost(reason)
            self._let_session_go()

    def _let_session_go(self) -> None:
        if self._end is not None and self._session is not None and not self._session.busy:
            self._session = None  # which has us
