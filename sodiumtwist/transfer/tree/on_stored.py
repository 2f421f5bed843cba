"""
A command that a server runs for each file that it has stored.

The command is split into words once, and run without a shell: what clients name their files, or themselves, can't
become a part of it. It finds what it is about in its environment, where the server's secrets are not.
"""

from __future__ import annotations

import math
import os
import shlex
import shutil
import signal
import sys
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

from twisted.internet.defer import Deferred, succeed
from twisted.internet.error import ProcessExitedAlready
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.internet.protocol import ProcessProtocol
from twisted.python.failure import Failure

from ...admission.replacing import may
from ...admission.summed_lines import SummedLines
from ...core.errors import LocalProtocolError
from ...describe.log import Logger
from ...protocol.clock import steady_clock
from .digests import digest_of
from .disk_thread import DiskThread
from .names import show_path

#: Seconds that the command may take for one file. Then it is killed, and all that it has started.
ON_STORED_SECONDS = 300.0

#: How many commands run at once.
AT_ONCE = 4

#: How many files may wait for their command. For what is beyond, none is run, which the log tells: it is the last one
#: of the login that has most.
QUEUE = 32_768

#: How many bytes of the last line on its standard error the log shows.
LAST_LINE = 500

#: Seconds that are waited, when the command is over, for something else to close its standard error.
LAST_WORDS = 1.0

#: Variables with this beginning are ours. The key and the passphrase may be among them.
_OURS = "SODIUMTWIST_"

STOPPING = "the server is stopping"


def read_command(text: str) -> tuple[str, ...]:
    """
    Split a command into words, and find its program. To be called as the user that runs it later.

    :param text: as one types it into a shell, but for all that is more than words and quotes.
    :return: the words; the first is the program's absolute path.
    :raises LocalProtocolError: when it is no command, or there is no such program that may be run.
    """
    try:
        words = shlex.split(text)
    except ValueError as error:
        # Its first word alone, since others may be secrets.
        raise LocalProtocolError(f"{text.split()[0]!r} … is no command: {str(error).lower()}") from None
    if not words or not words[0]:
        raise LocalProtocolError("the command is empty")
    name, folders = words[0], [""]
    if "/" not in name:
        folders = [folder or "." for folder in os.environ.get("PATH", os.defpath).split(os.pathsep)]
    # Absolute, since a daemon changes its directory.
    paths = [os.path.abspath(os.path.join(folder, name)) for folder in folders]
    for path in paths:
        if os.path.isfile(path) and may(path, os.X_OK):
            return path, *words[1:]
    for path in filter(os.path.isfile, paths):
        raise LocalProtocolError(f"{name!r} can't be run; run: chmod +x {shlex.quote(path)}")
    raise LocalProtocolError(f"there is no program {name!r}")


def digest_of_file(path: bytes) -> bytes:
    """
    Make the digest of a file that is named.

    :raises OSError: when it can't be read.
    """
    # What has come into its place since is not followed, or waited for.
    fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        return digest_of(fd, os.fstat(fd).st_size)
    finally:
        os.close(fd)


def _in_own_group(words: Sequence[str]) -> list[str]:
    """Make the words that run a command in a session of its own: then all that it starts can be killed with it."""
    setsid = shutil.which("setsid")
    if setsid is not None:
        return [setsid, *words]
    return [sys.executable, "-ISc", "import os, sys; os.setsid(); os.execv(sys.argv[1], sys.argv[1:])", *words]


@dataclass
class _Job:
    """
    One file that was stored.

    :ivar done: fires with what is to be told.
    """

    login: str
    path: bytes
    digest: bytes | None
    size: int
    done: Deferred[str] = field(default_factory=Deferred)


class OnStored:
    """
    Runs the command. Of several logins each has its turn.

    :param reactor: starts processes, and has the clock.
    :param words: of :func:`read_command`.
    :param directory: which has a folder of files for each login, or files as they come; ``None`` where it is one file.
    :param seconds: that it may take for one file.
    :ivar lines: what may be logged of commands that failed; ``None`` for all.
    :raises LocalProtocolError: when the seconds make no sense.
    """

    _log = Logger()

    lines: SummedLines | None = None

    def __init__(
        self,
        reactor: Any,
        words: Sequence[str],
        directory: str | None = None,
        seconds: float = ON_STORED_SECONDS,
    ) -> None:
        # Not "seconds <= 0", which NaN is not.
        if not 0 < seconds < math.inf:
            raise LocalProtocolError(f"the limit on-stored-seconds takes a number over 0, not {seconds:g}")
        self._reactor = reactor
        self._clock = steady_clock(reactor)
        self._words = tuple(words)
        self._directory = None if directory is None else os.fsencode(os.path.join(directory, ""))
        self._seconds = seconds
        # Those of each login. Whose turn is next comes first.
        self._waiting: dict[str, deque[_Job]] = {}
        self._count = 0
        self._running: set[_Run] = set()
        self._reading = 0
        self._digests = DiskThread(reactor, "digests")
        self._stopped = self._looping = False
        self._idle: Deferred[None] | None = None

    @property
    def unfinished(self) -> int:
        """For how many files the command runs, or is to be run."""
        return len(self._running) + self._reading + self._count

    @property
    def is_idle(self) -> bool:
        """Whether no command runs, and no file waits for it."""
        return not self.unfinished

    def __call__(self, login: str, path: str | bytes, digest: bytes | None, size: int) -> Deferred[str]:
        """
        Run the command for a file, when its turn comes.

        :param login: whose file it is.
        :param path: where the file is.
        :param digest: the BLAKE2b digest of it; ``None`` to make it here, of what is there when its turn comes.
        :param size: of the file, in bytes.
        :return: fires with nothing when it is done, or with what is to be told to the client. It never fails.
        """
        job = _Job(login, os.fsencode(path), digest, size)
        if self._stopped:
            self._failed(job, STOPPING)
        else:
            self._waiting.setdefault(login, deque()).append(job)
            self._count += 1
            if self._count > QUEUE:
                self._drop_one()
            self._begin_next()
        return job.done

    def _drop_one(self) -> None:
        # Else one login could keep those of all others out.
        login, jobs = max(self._waiting.items(), key=lambda item: len(item[1]))
        self._count -= 1
        dropped = jobs.pop()
        if not jobs:
            del self._waiting[login]
        self._failed(dropped, f"{QUEUE} files wait for it already")

    def finish(self, seconds: float) -> Deferred[None]:
        """
        Wait until it is idle. To cancel that is to wait no longer.

        :param seconds: for which to wait at most.
        """
        if self.is_idle:
            return succeed(None)
        self._idle = Deferred()
        return self._idle.addTimeout(max(0.0, seconds), self._clock, lambda result, timeout: None)

    def stop(self) -> None:
        """Kill what runs, and begin no more."""
        self._stopped = True
        waiting, self._waiting, self._count = self._waiting, {}, 0
        for jobs in waiting.values():
            for job in jobs:
                self._failed(job, STOPPING)
        for run in list(self._running):
            run.kill(STOPPING)
        self._digests.close()
        self._look_if_idle()

    def _look_if_idle(self) -> None:
        if self._idle is not None and self.is_idle:
            idle, self._idle = self._idle, None
            idle.callback(None)

    def _begin_next(self) -> None:
        # What can't be begun is over at once, and then calls this again. The loop goes on with the next: thousands of
        # them, each within the call of the one before, would be too deep.
        if self._looping:
            return
        self._looping = True
        try:
            while self._count and len(self._running) + self._reading < AT_ONCE:
                self._begin(self._next())
        finally:
            self._looping = False
        self._look_if_idle()

    def _next(self) -> _Job:
        login = next(iter(self._waiting))
        jobs = self._waiting.pop(login)
        self._count -= 1
        job = jobs.popleft()
        # Behind all others.
        if jobs:
            self._waiting[login] = jobs
        return job

    def _begin(self, job: _Job) -> None:
        if job.digest:
            self._run(job, job.digest)
            return
        self._reading += 1
        self._digests.call(lambda: digest_of_file(job.path)).addBoth(self._read, job)

    def _read(self, digest: bytes | Failure, job: _Job) -> None:
        self._reading -= 1
        if isinstance(digest, Failure):
            error = digest.value
            why = (isinstance(error, OSError) and error.strerror) or str(error)
            self._failed(job, f"the file can't be read: {why}")
        elif self._stopped:
            self._failed(job, STOPPING)
        else:
            self._run(job, digest)
        self._begin_next()

    def _run(self, job: _Job, digest: bytes) -> None:
        run = _Run(self._clock, self._seconds)
        self._running.add(run)
        run.ended.addCallback(self._ended, run, job)
        null = -1
        try:
            null = os.open(os.devnull, os.O_RDWR | os.O_CLOEXEC)
            words = _in_own_group(self._words)
            environment = self._environment(job, digest)
            # It says what it has to say on standard error.
            self._reactor.spawnProcess(run, words[0], words, environment, childFDs={0: null, 1: null, 2: "r"})
        # There may be too many processes, or no memory; and what the environment can't hold raises a TypeError.
        except (OSError, TypeError, ValueError) as error:
            run.end(f"it can't be begun: {getattr(error, 'strerror', None) or error}")
        finally:
            if null >= 0:
                os.close(null)

    def _environment(self, job: _Job, digest: bytes) -> dict[bytes, bytes]:
        kept = {name: value for name, value in os.environ.items() if not name.startswith(_OURS)}
        ours = {
            "PATH": job.path,
            "NAME": self._name(job.path),
            "LOGIN": job.login.encode(),
            "DIGEST": digest.hex().encode(),
            "SIZE": str(job.size).encode(),
        }
        return {
            **{os.fsencode(name): os.fsencode(value) for name, value in kept.items()},
            **{f"{_OURS}{name}".encode(): value for name, value in ours.items()},
        }

    def _name(self, path: bytes) -> bytes:
        """Tell how a client would name a file that it has stored."""
        if self._directory is None or not path.startswith(self._directory):
            return os.path.basename(path)
        name = path[len(self._directory) :]
        # What is in no folder has come in version 1, under a name that we have made.
        return name.partition(b"/")[2] or name

    def _ended(self, why: str, run: _Run, job: _Job) -> None:
        self._running.discard(run)
        if why:
            self._failed(job, why, run.last_line())
        else:
            job.done.callback("")
        self._begin_next()

    def _failed(self, job: _Job, why: str, said: str = "") -> None:
        if self.lines is None or self.lines.write(f"the command of --on-stored failed: {why}"):
            self._log.error(
                "the command of --on-stored failed for {path} of {login}: {why}{said}",
                event="command_failed",
                path=show_path(job.path),
                login=repr(job.login),
                why=why,
                said=f"; it said: {said}" if said else "",
            )
        # No paths of ours, and nothing of what it has said: that is for who runs the server.
        job.done.callback(f"it is stored, but what the server does then has failed: {why}")


class _Run(ProcessProtocol):
    """
    The command, for one file.

    :ivar ended: fires at its end, with nothing or why it failed.
    """

    def __init__(self, clock: IReactorTime, seconds: float) -> None:
        self.ended: Deferred[str] = Deferred()
        self._said = b""
        self._why = ""
        self._clock = clock
        self._seconds = seconds
        self._limit: IDelayedCall | None = None

    def connectionMade(self) -> None:
        self._set_limit(self._seconds, lambda: self.kill(f"it took longer than {self._seconds:g} seconds"))

    def errReceived(self, data: bytes) -> None:
        # The end of it is enough.
        self._said = (self._said + data)[-LAST_LINE:]

    def last_line(self) -> str:
        """Tell what it said last."""
        lines = self._said.decode(errors="replace").split("\n")
        return next((line.strip() for line in reversed(lines) if line.strip()), "")

    def kill(self, why: str) -> None:
        """
        Kill it, with all that it has started.

        :param why: it has failed.
        """
        transport: Any = self.transport
        # It is over, and its number may be another's.
        if transport is None or transport.pid is None:
            return
        self._why = self._why or why
        # A group of that number is not there before it has begun its own.
        with suppress(OSError):
            os.killpg(transport.pid, signal.SIGKILL)
        with suppress(OSError, ProcessExitedAlready):
            transport.signalProcess("KILL")

    def processExited(self, reason: Failure) -> None:
        # What it has left in the background may have its standard error, and would be waited for.
        transport: Any = self.transport
        self._set_limit(LAST_WORDS, transport.loseConnection)

    def processEnded(self, reason: Failure) -> None:
        ended: Any = reason.value
        if ended.signal is not None:
            self.end(self._why or f"it was ended by signal {ended.signal}")
        else:
            self.end(self._why or (f"it ended with status {ended.exitCode}" if ended.exitCode else ""))

    def end(self, why: str) -> None:
        """
        It is over, or could not be begun.

        :param why: it has failed; nothing when it has not.
        """
        self._set_limit(0, None)
        if not self.ended.called:
            self.ended.callback(why)

    def _set_limit(self, seconds: float, call: Callable[[], object] | None) -> None:
        if self._limit is not None and self._limit.active():
            self._limit.cancel()
        self._limit = None if call is None else self._clock.callLater(seconds, call)
