"""
Printing, and what becomes of it when nobody takes it: no transfer ends by that, and none is called broken for it.
"""

from __future__ import annotations

import os
import sys
from contextlib import suppress
from typing import Any, TextIO

from ..describe import describe_os_error, printable
from .exits import EXIT_OUTPUT_GONE, EXIT_OUTPUT_LOST, CommandFailed


class OutputLost(CommandFailed):
    """
    Standard output did not take what was to be printed. For a command that does nothing else, this is its end.

    :param error: what writing raised.
    """

    def __init__(self, error: OSError) -> None:
        if isinstance(error, BrokenPipeError):
            # No line for it: who reads only the beginning, as head does, wants no message.
            super().__init__(EXIT_OUTPUT_GONE, "")
        else:
            super().__init__(EXIT_OUTPUT_LOST, f"standard output: {describe_os_error(error)}")


def prepare_outputs() -> None:
    """
    Make standard input, output and error fit for what our programs do with them. To be called before anything is
    opened: a file, a socket, or the reactor.
    """
    # The system gives the number of a closed descriptor to the next file or socket. What is meant for standard output
    # would then go into that; and a daemon, which lets these three lead nowhere, would close it.
    for descriptor in range(3):
        try:
            os.fstat(descriptor)
        except OSError:
            os.open(os.devnull, os.O_RDWR)
    # A server's words or a file's name may hold what the terminal's encoding has not. Of standard error Python says so.
    if hasattr(sys.stdout, "reconfigure"):
        sys.stdout.reconfigure(errors="backslashreplace")


def print_line(line: str) -> None:
    """
    Print one line to standard output, at once. What in it could make another line, or a command of the terminal, is
    replaced: a login, a file's name or a server's words may hold anything.

    :raises OutputLost: when standard output does not take it.
    """
    print_text(printable(line))


def print_text(text: str, end: str = "\n") -> None:
    """
    Print to standard output, at once. Without one, as when it was closed at the start, do nothing.

    :param text: one line or more, all of them ours.
    :param end: what is printed behind it.
    :raises OutputLost: when it takes nothing.
    """
    if sys.stdout is None:
        return
    try:
        # Flushed: a reader at the end of a pipe sees it at once, and what fails fails here.
        print(text, end=end, flush=True)
    except OSError as error:
        discard_standard_output()
        raise OutputLost(error) from None


class StandardOutput:
    """Standard output, for what of Twisted writes to a stream."""

    def write(self, text: str) -> None:
        """
        Print a text.

        :raises OutputLost: as :func:`print_text` does.
        """
        print_text(text, end="")


def tell(line: str) -> None:
    """
    Print to standard output, on one line, what has been done. It stays done when that takes nothing: a line on standard
    error has to be enough.
    """
    tell_as_it_is(printable(line))


def tell_as_it_is(line: str) -> None:
    """
    Do as :func:`tell` with a line that is fit to be shown, and may be long: JSON.
    """
    try:
        print_text(line)
    except OutputLost as lost:
        if str(lost):
            print_error(f"warning: {lost}; all is done that it would tell of")


class NeverFails:
    """
    A stream that takes all that is written: what the one beneath can't take is lost. For a progress bar, whose terminal
    may go while a file is sent.

    :param stream: the one beneath.
    """

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def write(self, text: str) -> None:
        """Write what can be written."""
        with suppress(OSError):
            self._stream.write(text)

    def flush(self) -> None:
        """Deliver what can be delivered."""
        with suppress(OSError):
            self._stream.flush()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


def print_error(line: str, program: str = "sodiumtwist") -> None:
    """
    Print one line to standard error, if there is one.

    :param program: who speaks.
    """
    if sys.stderr is not None:
        # There is no place left to tell of it; the exit status has to.
        with suppress(OSError):
            # A file's name or a server's words could hold what a terminal takes for a command.
            print(f"{program}: {printable(line)}", file=sys.stderr)


def discard_standard_output() -> None:
    """Let standard output lead nowhere, when what was printed can't be delivered."""
    # The interpreter flushes what is left at its end, and would complain then.
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
