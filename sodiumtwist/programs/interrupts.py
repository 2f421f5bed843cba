"""
What signals do to our programs: Ctrl-C while there is nothing to undo, which is above all during imports, and what ends
a program in order.
"""

from __future__ import annotations

import errno
import os
import signal
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from functools import partial
from types import FrameType
from typing import Any, NoReturn

#: What ends a program before it is done: Ctrl-C, ``kill``, and a terminal that closes.
ENDING_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)

#: Seconds between two looks whether the terminal is there. One that is missed twice has closed before a SIGHUP.
TERMINAL_LOOK = 10.0

#: Seconds from a SIGHUP until a look whether the terminal was closed behind it.
SECOND_LOOK = 1.0


def _end(number: int, frame: object) -> NoReturn:
    # No exception: in the middle of an import it could get lost, or be shown as a traceback.
    try:
        os.write(2, b"sodiumtwist: interrupted\n")
    # With standard error closed, the status alone has to tell.
    except OSError:
        pass
    # Without the interpreter's own end: nothing was begun that must be undone.
    os._exit(128 + number)


def end_at_once() -> None:
    """Have Ctrl-C end the process at once, with a line on standard error. Where Ctrl-C is ignored, it stays so."""
    # nohup and shells have it ignored in what runs in the background.
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, _end)


def raise_again() -> None:
    """Have Ctrl-C raise ``KeyboardInterrupt``. To be called before something begins that must be undone."""
    # Only what end_at_once() did is taken back: where Ctrl-C is ignored, or somebody else's, it stays so.
    if signal.getsignal(signal.SIGINT) is _end:
        signal.signal(signal.SIGINT, signal.default_int_handler)


def exit_on_signals() -> None:
    """
    Have SIGTERM and SIGHUP raise ``SystemExit``, for a command without a reactor that has something to undo: a file
    that is half written, a terminal that shows nothing. Where they are ignored, they stay so.
    """
    for number in (signal.SIGTERM, signal.SIGHUP):
        if signal.getsignal(number) is signal.SIG_DFL:
            signal.signal(number, _exit)


def _exit(number: int, frame: object) -> NoReturn:
    raise SystemExit(128 + number)


@contextmanager
def as_before() -> Iterator[None]:
    """Have signals do, when this is over, what they did before: for what :func:`exit_on_signals` is wanted in part."""
    before = {number: signal.getsignal(number) for number in ENDING_SIGNALS}
    try:
        yield
    finally:
        for number, what in before.items():
            # What is not Python's own can't be set from here, and was not changed.
            if what is not None:
                signal.signal(number, what)


class _Waiting:
    """
    What signals do before the reactor runs: they come again then.

    :param reactor: the one that will run.
    """

    def __init__(self, reactor: Any) -> None:
        self._reactor = reactor

    def __call__(self, number: int, frame: object) -> None:
        self._reactor.callFromThread(os.kill, os.getpid(), number)


def _is_free(number: signal.Signals) -> bool:
    """Tell whether a signal would kill, or waits. It is not ignored then, as by ``nohup``, nor somebody else's."""
    what = signal.getsignal(number)
    return what in (signal.SIG_DFL, signal.default_int_handler) or isinstance(what, _Waiting)


def wait_for_reactor(reactor: Any) -> None:
    """
    Have signals wait until the reactor runs and :func:`end_in_order` was called. For a service that listens before: it
    must not be killed with its sockets and its pid file in place.

    :param reactor: the one that will run.
    """
    for number in ENDING_SIGNALS:
        if _is_free(number):
            signal.signal(number, _Waiting(reactor))


def take_hangup(end: Callable[[int, FrameType | None], Any]) -> None:
    """
    Have SIGHUP, as of a terminal that closes, do something else than kill the process. Twisted leaves it alone. Where
    it is ignored, as by ``nohup``, or somebody else's, it stays so.

    :param end: called with the signal, as by :func:`signal.signal`.
    """
    if _is_free(signal.SIGHUP):
        signal.signal(signal.SIGHUP, end)


def _do_nothing(number: int, frame: object) -> None:
    """Stand in for a function that has done what there is to do."""


def take_one_signal(
    again: Callable[[int, FrameType | None], object] = _do_nothing,
    numbers: Iterable[signal.Signals] = ENDING_SIGNALS,
) -> None:
    """
    Have the first signal do what it does now, and the others nothing: one is enough. Another would break off what is
    being undone, and Twisted complains of a reactor that is stopped twice.

    :param again: what the others do instead.
    :param numbers: those that may be the first.
    """
    taken = False

    def take(number: int, frame: FrameType | None, handle: Callable[[int, FrameType | None], Any]) -> None:
        nonlocal taken
        if not taken:
            taken = True
            # Not SIG_IGN: of two that came at once, Python complains of the one that is ignored by the time it looks.
            for each in ENDING_SIGNALS:
                signal.signal(each, again)
            handle(number, frame)

    for number in numbers:
        handle = signal.getsignal(number)
        if callable(handle):
            signal.signal(number, partial(take, handle=handle))


def has_terminal() -> bool:
    """Tell whether this process is under the control of a terminal that is open."""
    try:
        os.close(os.open("/dev/tty", os.O_RDONLY | os.O_NOCTTY | os.O_NONBLOCK | os.O_CLOEXEC))
    except OSError as error:
        # Anything else, as that there are no more descriptors, says nothing of the terminal.
        return error.errno not in (errno.ENXIO, errno.EIO, errno.ENOENT)
    return True


class _Terminal:
    """
    The one from which the process was started. A daemon has none, nor has what systemd starts: nothing closes for them.

    :param reactor: the one that runs.
    :ivar is_there: whether it was there when it was looked at last.
    """

    def __init__(self, reactor: Any) -> None:
        self._reactor = reactor
        self.is_there = has_terminal()
        # One that closed long ago, as where somebody has logged out and left the process, closes no more.
        self._may_close = self.is_there

    def look(self) -> None:
        """Look now and then whether it is there, as long as it may close."""
        self._may_close, self.is_there = self.is_there, has_terminal()
        if self._may_close:
            self._reactor.callLater(TERMINAL_LOOK, self.look)

    def closes(self) -> bool:
        """Tell whether it has just closed."""
        return self._may_close and not has_terminal()


def end_in_order(
    reactor: Any,
    reload: Callable[[], object],
    note_hangup: Callable[[], object],
    note_another: Callable[[], object] = lambda: None,
) -> None:
    """
    Have one signal be enough to end a running reactor. SIGHUP has files read again; only when the terminal closes from
    which the process was started, it ends the reactor as SIGTERM does. SIGUSR1 kills nothing where no log is there
    that it begins anew.

    :param reactor: the one that runs.
    :param reload: called for each SIGHUP that ends nothing, out of the reactor.
    :param note_hangup: called before SIGHUP ends it.
    :param note_another: called for each further SIGTERM and Ctrl-C, out of the reactor.
    """
    # Without a function of the reactor for SIGTERM, whoever runs it deals with signals: they can be set in the main
    # thread alone.
    if not callable(signal.getsignal(signal.SIGTERM)) or threading.current_thread() is not threading.main_thread():
        return
    # The reactor takes it over from Python's own function alone.
    if isinstance(signal.getsignal(signal.SIGINT), _Waiting):
        signal.signal(signal.SIGINT, reactor.sigInt)

    def another(number: int, frame: FrameType | None) -> None:
        # A terminal that closes, or systemd, sends SIGHUP besides: that is no second wish.
        if number != signal.SIGHUP:
            reactor.callFromThread(note_another)

    take_one_signal(another, (signal.SIGINT, signal.SIGTERM))
    end: Callable[[int, FrameType | None], Any] = signal.getsignal(signal.SIGTERM)  # type: ignore[assignment]
    terminal = _Terminal(reactor)
    terminal.look()

    def end_if_closed() -> bool:
        if not terminal.closes() or signal.getsignal(signal.SIGTERM) is not end:
            return False
        note_hangup()
        end(signal.SIGHUP, None)
        return True

    def hung_up() -> None:
        if end_if_closed():
            return
        reload()
        # A shell that ends tells its jobs while the terminal is still there, and nobody tells them again.
        if terminal.is_there:
            reactor.callLater(SECOND_LOOK, end_if_closed)

    take_hangup(lambda number, frame: reactor.callFromThread(hung_up))
    # twistd takes it where it logs to a file. What rotates logs may send it all the same.
    if signal.getsignal(signal.SIGUSR1) is signal.SIG_DFL:
        signal.signal(signal.SIGUSR1, signal.SIG_IGN)
