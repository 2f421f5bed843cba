"""
``send`` by version 1 of the protocol: one file as one stream. And what is told of a stream that was sent, also to
servers of version 2 that store a single one.
"""

from __future__ import annotations

import json
import shlex
from dataclasses import dataclass
from typing import Any

from twisted.internet.defer import CancelledError

from ..describe import describe_rate, describe_seconds, describe_size
from ..transfer.discarding import says_discarded
from ..transfer.sender import UploadSender
from ..transfer.sources import open_source
from .bars import counted
from .commands import abort, connect, explain_loss, leave, make_endpoint, tell_of_silence
from .exits import EXIT_BROKEN, EXIT_INTERRUPTED, EXIT_NOT_STORED, EXIT_USAGE, CommandFailed
from .output import print_error, tell, tell_as_it_is
from .settings import SendSettings


@dataclass
class Sent:
    """
    What :func:`send_stream` has done.

    :ivar size: how many bytes were sent; all are acknowledged.
    :ivar seconds: the time from the server's hello to the last acknowledgement.
    :ivar stored: false when the server says that it keeps nothing.
    :ivar grown: by how many bytes the file had grown at its end, which were not sent; negative when it had shrunk.
    :ivar version: of the protocol.
    """

    size: int
    seconds: float
    stored: bool
    grown: int
    version: int

    def __str__(self) -> str:
        rate = describe_rate(self.size, self.seconds)
        return f"sent {describe_size(self.size)} in {describe_seconds(self.seconds)} ({rate})"

    @property
    def rate(self) -> float:
        """Bytes per second."""
        return self.size / self.seconds if self.seconds else 0.0


def cannot_read(path: str, error: OSError) -> CommandFailed:
    """Make the status and the line for a file that can't be opened."""
    advice = ""
    if isinstance(error, IsADirectoryError):
        advice = f"; --protocol 1 sends no folders; send an archive: tar c {shlex.quote(path)} | sodiumtwist send … -"
    return CommandFailed(EXIT_USAGE, f"cannot read {path}: {error.strerror or error}{advice}")


def cannot_read_on(path: str, error: OSError, acknowledged: int) -> CommandFailed:
    """Make the status and the line for a stream that can't be read to its end."""
    return CommandFailed(
        EXIT_BROKEN, f"cannot read on in {path}: {error.strerror or error}; {describe_size(acknowledged)} acknowledged"
    )


def _acknowledged(client: UploadSender) -> str:
    return f"{describe_size(client.acknowledged)} acknowledged"


async def send_stream(reactor: Any, settings: SendSettings) -> Sent:
    """
    Connect to the server and send the file.

    :raises UsageError: when the endpoint string is not understood.
    :raises CommandFailed: when something did not go well, or this was cancelled.
    """
    # Before the file is opened, which is then closed whatever happens.
    endpoint = make_endpoint(reactor, settings)
    (path,) = settings.paths
    try:
        source = open_source(path, reactor)
    except OSError as error:
        raise cannot_read(path, error) from None
    with counted(source.size, settings.quiet) as progress:
        client = UploadSender(source, progress)
        try:
            with tell_of_silence(reactor, settings, client, settings.quiet):
                await connect(reactor, endpoint, settings, client)
                await client.finished
            await leave(reactor, client)
        except CancelledError:
            # First: nothing that comes from there now is to be sent, its end above all.
            source.close()
            await abort(client, client.lost)
            raise CommandFailed(EXIT_INTERRUPTED, f"interrupted, {_acknowledged(client)}") from None
        # From connect(), with its line.
        except CommandFailed:
            raise
        # From the file: Twisted's errors of connections are no OSError.
        except OSError as error:
            raise cannot_read_on(path, error, client.acknowledged) from None
        except Exception as reason:
            failed = explain_loss(settings, client, reason, _acknowledged(client))
            if client.message is None or not client.is_unanswered:
                raise failed from None
            # Version 1 has no word for it.
            raise CommandFailed(
                failed.status, f"{failed}; if it hands streams on, sodiumtwist pipe is for it"
            ) from None
        finally:
            source.close()
    stored = not says_discarded(client.message or "")
    return Sent(client.acknowledged, client.seconds, stored, source.grown, settings.version)


def error_as_json(status: int, line: str) -> str:
    """
    Give the failure of a whole command as a JSON object.

    :param status: the exit status.
    :param line: why.
    """
    return json.dumps({"event": "error", "status": status, "text": line})


def tell_sent(settings: SendSettings, sent: Sent) -> None:
    """
    Print the closing line.

    :raises CommandFailed: when the server keeps nothing of what it took.
    """
    (path,) = settings.paths
    # Not 0: a backup script must not take it for a backup.
    lost = CommandFailed(EXIT_NOT_STORED, "acknowledged, but not stored: this server discards uploads")
    if settings.json:
        if not sent.stored:
            tell_as_it_is(error_as_json(lost.status, str(lost)))
        closing = {"event": "summary", "bytes": sent.size, "seconds": sent.seconds, "bytes_per_second": sent.rate}
        tell(json.dumps({**closing, "stored": sent.stored, "grown": sent.grown, "protocol": sent.version}))
    else:
        tell(str(sent))
    if sent.grown > 0:
        print_error(f"{path} grew while it was sent; its last {describe_size(sent.grown)} came too late")
    elif sent.grown < 0:
        print_error(f"{path} lost {describe_size(-sent.grown)} while it was sent, after they were read")
    if not sent.stored:
        raise lost


async def send(reactor: Any, settings: SendSettings) -> None:
    """
    Run ``sodiumtwist send`` by version 1 of the protocol: send the file and print the closing line.

    :raises UsageError, CommandFailed: as :func:`send_stream` and :func:`tell_sent` do.
    """
    try:
        sent = await send_stream(reactor, settings)
    except CommandFailed as failed:
        if settings.json:
            tell_as_it_is(error_as_json(failed.status, str(failed)))
        raise
    tell_sent(settings, sent)
