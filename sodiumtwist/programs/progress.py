"""
What is shown of files on their way, and told of them: a progress bar, lines for people, or JSON.
"""

from __future__ import annotations

import base64
import json
from typing import TYPE_CHECKING, Any

from ..describe import describe_rate, describe_seconds, describe_size, printable
from ..transfer.tree.messages import FILE
from ..transfer.tree.report import FAILED, REFUSED, STORED, THERE, FileResult, Report
from ..transfer.tree.walking import A_DEVICE, A_LINK, UNFINISHED
from .bars import open_bar
from .output import print_error, tell, tell_as_it_is

if TYPE_CHECKING:
    from tqdm import tqdm

#: How many failures are told each by a line of its own, where nobody has asked for all of them.
FAILURES_TOLD = 20

#: How many characters of a file's name stand behind a progress bar.
NAME_WIDTH = 24

#: What becomes of what can't be read here, in place of what the other end would say.
CANNOT_READ = "cannot read"


class Bar(Report):
    """
    One progress bar for all files. It counts what the receiver has written, and has a total that grows as long as files
    are found. What was there already counts at once, and not for the rate.
    """

    def __init__(self) -> None:
        self._bar: tqdm[Any] | None = None
        #: Bytes: found, written, there before, and of files that are settled.
        self._found = self._written = self._there = self._settled = 0
        #: How much of each file was there, for those that go on.
        self._offsets: dict[bytes, int] = {}

    def clear(self) -> None:
        """Take the bar away, as something else is printed there. It comes back with what is written next."""
        if self._bar is not None:
            self._bar.clear()

    def close(self) -> None:
        """Leave the bar as it is."""
        if self._bar is not None:
            self._bar.close()

    def found(self, files: int, size: int) -> None:
        self._found += size
        if self._bar is None:
            # Not before: what is said of a server that is silent has the line for itself.
            self._bar = open_bar(self._found or None, False)
        elif self._found:
            self._bar.total = self._found

    def begins(self, path: bytes, size: int, offset: int) -> None:
        if offset:
            self._offsets[path] = offset
            self._was_there(offset)
        if self._bar is not None:
            self._bar.set_postfix_str(shortened(path), refresh=False)

    def written(self, size: int) -> None:
        self._written += size
        self._move()

    def settled(self, result: FileResult) -> None:
        offset = self._offsets.pop(result.path, 0) if self._offsets else 0
        if result.outcome == THERE:
            self._was_there(result.size - offset)
        if result.outcome in (STORED, THERE):
            self._settled += result.size
            self._move()

    def _was_there(self, size: int) -> None:
        self._there += size
        if self._bar is not None:
            self._bar.initial += size
        self._move()

    def _move(self) -> None:
        if self._bar is not None:
            # The holes of a file are not written, and are done with it.
            done = max(self._written + self._there, self._settled)
            self._bar.update(done - self._bar.n)


def shown(path: bytes) -> str:
    """Make a path fit for people; what is empty is a stream without a name."""
    return path.decode("utf-8", "backslashreplace") or "-"


def shortened(path: bytes) -> str:
    """Give the end of a path, for a progress bar."""
    text = printable(shown(path))
    return text if len(text) <= NAME_WIDTH else f"…{text[1 - NAME_WIDTH :]}"


class Told(Report):
    """
    Counts what becomes of files, and tells of those that are not stored.

    :param verb: what is done with them: ``send`` or ``get``.
    :param verbose: whether to tell of each file.
    :param quiet: whether to show no progress.
    :param dry: whether nothing is sent: then what would be is told in any case.
    :ivar stored: how many files are stored, or would be.
    :ivar size: how many bytes were written.
    :ivar there: how many files were there already.
    :ivar renamed: how many are stored under another name; ``name`` is the last of these names.
    :ivar failed: how many could not be read, or are not stored.
    :ivar links: how many links were left out, and ``others``: how many devices and the like.
    :ivar into: the folder that the last line names, where somebody may have meant something else by it; empty for none.
    :ivar over: whether the last line is printed.
    """

    into = ""
    over = False

    def __init__(self, verb: str = "send", verbose: bool = False, quiet: bool = False, dry: bool = False) -> None:
        self.stored = self.size = self.there = self.renamed = self.failed = self.links = self.others = 0
        self.name = b""
        self._verb = verb
        self._verbose = verbose
        self._dry = dry
        self._bar = None if quiet or dry else Bar()
        self._closed = False

    def close(self) -> None:
        """Leave the progress bar, and tell how many failures were not told."""
        if self._bar is not None:
            self._bar.close()
        if not self._verbose and not self._closed and self.failed > FAILURES_TOLD:
            print_error(f"{self.failed - FAILURES_TOLD} more like these; --verbose names all")
        self._closed = True

    def found(self, files: int, size: int) -> None:
        if self._bar is not None:
            self._bar.found(files, size)

    def begins(self, path: bytes, size: int, offset: int) -> None:
        if self._bar is not None:
            self._bar.begins(path, size, offset)

    def written(self, size: int) -> None:
        self.size += size
        if self._bar is not None:
            self._bar.written(size)

    def settled(self, result: FileResult) -> None:
        if self._bar is not None:
            self._bar.settled(result)
        if result.outcome in (REFUSED, FAILED):
            self.failed += 1
            self.tell_failure(result)
            return
        if result.outcome == THERE:
            self.there += 1
        else:
            self.stored += 1
            if self._dry:
                self.size += result.size
            elif result.name not in (b"", result.path):
                self.renamed += 1
                self.name = result.name
        self.tell_file(result)

    def left_out(self, path: bytes, why: str) -> None:
        if why == A_LINK:
            self.links += 1
            if self._verbose:
                self.tell_left_out(path, why)
        elif why in (A_DEVICE, UNFINISHED):
            self.others += 1
            if self._verbose or self.others <= FAILURES_TOLD:
                self.tell_left_out(path, why)

    def trouble(self, path: bytes, why: str) -> None:
        self.failed += 1
        self.tell_failure(FileResult(path, FILE, CANNOT_READ, text=why))

    def tell_file(self, result: FileResult) -> None:
        """Tell what became of a file that is stored or would be."""
        if self._verbose or self._dry:
            line = f"{self._outcome(result)} {shown(result.path)} ({describe_size(result.size)})"
            self._tell(line + (f" as {shown(result.name)}" if result.name not in (b"", result.path) else ""))
        if result.text:
            self._warn(f"warning: {shown(result.path)}: {result.text}")

    def tell_left_out(self, path: bytes, why: str) -> None:
        """Tell of a link, a device or the like."""
        self._warn(f"left out {shown(path)}: {why}")

    def tell_failure(self, result: FileResult) -> None:
        """Tell why a file could not be read, or is not stored."""
        if self._verbose or self.failed <= FAILURES_TOLD:
            self._warn(f"{result.outcome} {shown(result.path)}: {result.text}")

    def so_far(self) -> str:
        """Say how far it is, where it ends too early."""
        count = files(self.stored + self.there)
        return f"{count} looked at" if self._dry else f"{count} and {describe_size(self.size)} stored"

    def describe(self, seconds: float) -> str:
        """
        Sum it up.

        :param seconds: how long it took.
        """
        line = f"{files(self.stored)}, {describe_size(self.size)}"
        if self._dry:
            line = f"would {self._verb} {line}"
        else:
            line = f"{'sent' if self._verb == 'send' else 'got'} {line}"
            line += f" in {describe_seconds(seconds)} ({describe_rate(self.size, seconds)})"
        if self.into:
            line += f", into {self.into}"
        if self.renamed == 1:
            line += f"; stored as {shown(self.name)}"
        elif self.renamed:
            line += f"; {self.renamed} have new names"
        if self.there:
            line += f"; {files(self.there)} {'was' if self.there == 1 else 'were'} there already"
        if self.failed:
            line += f"; {files(self.failed)} failed"
        if self.links or self.others:
            left = [counted_as(self.links, "link"), counted_as(self.others, "other")]
            were = "was" if self.links + self.others == 1 else "were"
            line += f"; {' and '.join(filter(None, left))} {were} left out"
        return line

    def sum_up(self, seconds: float) -> None:
        """
        Tell the sum of it.

        :param seconds: how long it took.
        """
        self.over = True
        tell(self.describe(seconds))

    def fails(self, status: int, line: str) -> None:
        """
        All of it fails.

        :param status: the exit status.
        :param line: why. Who runs the command prints it.
        """

    def _outcome(self, result: FileResult) -> str:
        # The dialogue has one word for both directions.
        return result.outcome.replace("would send", f"would {self._verb}")

    def _tell(self, line: str) -> None:
        self._clear()
        tell(line)

    def _warn(self, line: str) -> None:
        self._clear()
        print_error(line)

    def _clear(self) -> None:
        if self._bar is not None:
            self._bar.clear()


class ToldAsJSON(Told):
    """
    The same, with a JSON object for each file, each failure, and the sum.
    """

    def __init__(self, verb: str = "send", quiet: bool = False, dry: bool = False) -> None:
        super().__init__(verb, True, quiet, dry)

    def tell_file(self, result: FileResult) -> None:
        event: dict[str, Any] = {
            "event": "file",
            **as_text("name", result.path),
            **as_text("stored_as", result.name or result.path),
        }
        event.update(bytes=result.size, digest=result.digest, outcome=self._outcome(result))
        if result.text:
            event["text"] = result.text
        self._tell_event(event)

    def tell_failure(self, result: FileResult) -> None:
        super().tell_failure(result)
        self._tell_error(result.path, result.outcome, result.text, result.code)

    def tell_left_out(self, path: bytes, why: str) -> None:
        self._tell_error(path, "left out", why)

    def sum_up(self, seconds: float) -> None:
        self._sum_up(seconds, not (self.failed or self._dry))

    def fails(self, status: int, line: str) -> None:
        if not self.over:
            self._tell_event({"event": "error", "status": status, "text": line})
            self._sum_up(0.0, False)

    def _sum_up(self, seconds: float, stored: bool) -> None:
        self.over = True
        counts = {name: getattr(self, name) for name in ("there", "renamed", "failed", "links", "others")}
        event: dict[str, Any] = {"event": "summary", "files": self.stored, "bytes": self.size, "seconds": seconds}
        event.update(bytes_per_second=rate(self.size, seconds), **counts)
        # A file under its name is not sent when it has grown meanwhile. Only streams have a part that is.
        self._tell_event({**event, "stored": stored, "grown": 0, "protocol": 2})

    def _tell_error(self, path: bytes, outcome: str, text: str, code: int = 0) -> None:
        self._tell_event({"event": "error", **as_text("name", path), "outcome": outcome, "code": code, "text": text})

    def _tell_event(self, event: dict[str, Any]) -> None:
        self._clear()
        tell_as_it_is(json.dumps(event))


def as_text(field: str, path: bytes) -> dict[str, str]:
    """
    Make the fields of JSON for a path: one, and where it is not UTF-8 another one with all of its bytes.
    """
    text = path.decode("utf-8", "backslashreplace")
    if text.encode() == path:
        return {field: text}
    return {field: text, f"{field}_base64": base64.b64encode(path).decode()}


def rate(size: int, seconds: float) -> float:
    """Bytes per second."""
    return size / seconds if seconds else 0.0


def counted_as(count: int, what: str) -> str:
    """Say how many there are of something; nothing when there are none."""
    return f"{count} {what}{'' if count == 1 else 's'}" if count else ""


def files(count: int) -> str:
    """Say how many files."""
    return counted_as(count, "file") or "0 files"
