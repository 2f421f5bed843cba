"""
A connection of version 2 on which files are sent, got or listed, from the first word to how it ended.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from contextlib import suppress
from time import perf_counter
from typing import Any, TypeVar

from twisted.internet.defer import CancelledError, TimeoutError
from twisted.python.failure import Failure

from ..core.connection import Code
from ..core.errors import RequestError, RequestFailed
from ..describe import describe_os_error
from ..transfer.tree.client import FileClient
from .commands import LEAVING, STATUS_OF_CODE, connect, explain_loss, leave, make_endpoint, tell_of_silence
from .exits import EXIT_BROKEN, EXIT_INTERRUPTED, EXIT_NOT_STORED, EXIT_REFUSED, EXIT_USAGE, CommandFailed
from .settings import ConnectSettings

T = TypeVar("T")


#: What a server is told that does not serve what it is asked for.
WANTED_FILES = "the client wanted files that are not served here"


class Session:
    """
    One connection to the server, and what is done there.

    :param reactor: for all that waits.
    :param settings: which server.
    :param quiet: whether to say nothing of a server that is silent.
    :ivar client: the client's end.
    :ivar reactor: for all that waits.
    """

    def __init__(self, reactor: Any, settings: ConnectSettings, quiet: bool = False) -> None:
        self.client = FileClient()
        self.reactor = reactor
        self._settings = settings
        self._quiet = quiet
        self._endpoint = make_endpoint(reactor, settings)
        self._let_in = self._left = 0.0
        self._why_not_in: BaseException | None = None

    @property
    def seconds(self) -> float:
        """The time from the server's hello to the end."""
        return (self._left or perf_counter()) - self._let_in if self._let_in else 0.0

    async def run(
        self, work: Callable[[FileClient], Awaitable[T]], done: Callable[[], str], again: Callable[[], str] = str
    ) -> T:
        """
        Connect, do something, and leave.

        :param work: what to do. It begins when the transport is connected: what it asks leaves with the login.
        :param done: says how far it has come, where it ends too early.
        :param again: says what another try would do then.
        :raises CommandFailed: when something did not go well, or this was cancelled.
        """
        client = self.client
        client.when_authenticated().addCallbacks(self._begin, self._not_let_in)
        try:
            with tell_of_silence(self.reactor, self._settings, client, self._quiet):
                await connect(self.reactor, self._endpoint, self._settings, client)
                result = await work(client)
            self._left = perf_counter()
            await leave(self.reactor, client)
            return result
        except CancelledError:
            self._left = perf_counter()
            await self._drop()
            raise CommandFailed(EXIT_INTERRUPTED, f"interrupted, {done()}{self._again(again)}") from None
        # It has its line.
        except CommandFailed:
            await self._drop()
            raise
        except RequestFailed as refused:
            # What serves no files may wait for more of what it takes us for. Its log tells why there was nothing.
            if refused.code == Code.NOT_SUPPORTED:
                client.abort_with(Code.NOT_SUPPORTED, WANTED_FILES)
                with suppress(TimeoutError):
                    await client.lost.addTimeout(LEAVING, self.reactor)
                await self._drop()
            else:
                await leave(self.reactor, client)
            # That of a disk which takes no stream is another.
            if refused.code == Code.STORAGE:
                status = EXIT_NOT_STORED
            else:
                status = STATUS_OF_CODE.get(refused.code, EXIT_REFUSED)
            raise CommandFailed(status, f"refused by {self._settings.endpoint}: {refused}") from None
        except RequestError as ours:
            # What was got is not all on our disk: the server was told, and goes on no more.
            await self._drop()
            status = EXIT_NOT_STORED if ours.code == Code.STORAGE else EXIT_BROKEN
            raise CommandFailed(status, f"not all is stored, {done()}: {ours}{self._again(again)}") from None
        # From our own disk: Twisted's errors of connections are no OSError.
        except OSError as error:
            await self._drop()
            raise CommandFailed(EXIT_USAGE, describe_os_error(error)) from None
        except Exception as reason:
            # Of one that was not let in, what was asked tells less than how the connection ended.
            failed = explain_loss(self._settings, client, self._why_not_in or reason, done())
            # A server that is about to stop has let us finish, and waits for our end.
            await (leave(self.reactor, client) if client.stopping else self._drop())
            raise CommandFailed(failed.status, f"{failed}{self._again(again)}") from None

    def _again(self, again: Callable[[], str]) -> str:
        # Nothing has come of who was not let in.
        return "" if self.client.message is None else again()

    async def _drop(self) -> None:
        """
        Drop the connection, if there is one, and wait until the disk has what has come. A disk that hangs is not
        waited for: what it has is a beginning to go on from.
        """
        # Without a transport there was no connection, and lost would never fire.
        if self.client.transport is not None:
            self.client.abort()
            with suppress(TimeoutError):
                await self.client.lost.addTimeout(LEAVING, self.reactor)

    def _begin(self, result: object) -> None:
        self._let_in = perf_counter()

    def _not_let_in(self, reason: Failure) -> None:
        self._why_not_in = reason.value
