"""
The log, in which nothing from outside can forge a line, and how it shows addresses.
"""

from __future__ import annotations

from typing import Any

from twisted.python.failure import Failure
from twisted.python.reflect import safe_str

from twisted import logger

from .words import SHOWN_LIMIT, printable


def describe_address(address: object) -> str:
    """
    Say where a peer or a listening port is, on one line.

    :param address: as ``getPeer()`` or ``getHost()`` return it.
    :return: ``127.0.0.1:5555``, ``[::1]:5555``, or the path of a UNIX socket.
    """
    host, port = getattr(address, "host", None), getattr(address, "port", None)
    if host is not None and port is not None:
        if not (host.isascii() and host.isprintable()):
            host = ascii(host)  # a proxy may name anything
        return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
    # A path may hold newlines and what terminals take for commands; repr() lets none of that into the log.
    name = getattr(address, "name", None)
    if name is not None:
        return repr(name.decode("utf-8", "replace") if isinstance(name, bytes) else name)
    # A client's end has no path.
    return "a UNIX socket" if hasattr(address, "name") else ascii(str(address))


def fit_for_log(failure: Failure) -> Failure:
    """
    Make a failure fit for the log: its traceback then holds nothing that could forge a line of the log, or that a
    terminal could take for a command. The text of an error may hold what a peer said.

    :param failure: the failure. It is changed.
    :return: the same failure.
    """
    said = _text_of(failure.value)
    text = failure.getTraceback()
    # Before the rest, and as a whole: a newline in it would pass for one of the traceback. It is the last that is
    # there; a short one may be found in many places before.
    before, found, after = text.rpartition(said) if said else ("", "", text)
    if found:
        left_out = len(said) - SHOWN_LIMIT
        cut = f"… ({left_out} characters more)" if left_out > 0 else ""
        text = f"{before}{ascii(said[:SHOWN_LIMIT])}{cut}{after}"
    shown = "".join(mark if mark == "\n" or mark.isprintable() else ascii(mark)[1:-1] for mark in text)
    # Twisted's log asks the failure for its traceback by this method.
    failure.getTraceback = lambda *arguments, **keywords: shown  # type: ignore[method-assign]
    return failure


def _text_of(value: object) -> str:
    # As Twisted's log does with what has no text: whatever an application raises, a line of the log must not raise.
    try:
        return str(value)
    except Exception:
        return str(safe_str(value))


class Logger(logger.Logger):
    """
    A logger all of whose fields pass :func:`~sodiumtwist.describe.printable`, wherever they come from: no call can
    forget that. In place of Twisted's, everywhere.
    """

    def emit(self, level: Any, format: str | None = None, **fields: Any) -> None:
        """
        Write a line.

        :param level: how urgent it is.
        :param format: the line. It is ours, and has the names of the fields in braces.
        :param fields: what goes into it.
        """
        for name, value in fields.items():
            if isinstance(value, str):
                # Looked at here, too: a login is logged, and most texts are as they should be.
                if len(value) > SHOWN_LIMIT or not value.isprintable():
                    fields[name] = printable(value)
            elif isinstance(value, Failure):
                fit_for_log(value)
            # Numbers hold nothing. The rest is shown as its text.
            elif not isinstance(value, (int, float)):
                fields[name] = printable(_text_of(value))
        super().emit(level, format, **fields)


#: How many characters of a traceback go to another process.
SENT_TRACEBACK = 20_000


def fit_for_process(event: logger.LogEvent) -> logger.LogEvent:
    """
    Make what was written to the log fit to be sent to another process of ours. A failure becomes the text of its
    traceback: what makes a failure fit for the log does not pass through JSON.

    :param event: the event. It stays as it is.
    """
    failure = event.get("log_failure")
    if not isinstance(failure, Failure):
        return event
    sent = {name: value for name, value in event.items() if name != "log_failure"}
    return {**sent, "traceback": failure.getTraceback()[-SENT_TRACEBACK:]}


def write_again(event: logger.LogEvent) -> None:
    """
    Write what another process of ours has written to its log.

    :param event: the event, all of it, as :func:`fit_for_process` has made it.
    """
    text = event.pop("traceback", None)
    if text is not None:
        failure = Failure(Exception())
        failure.getTraceback = lambda *arguments, **keywords: text  # type: ignore[method-assign]
        event["log_failure"] = failure
    # What Twisted has kept for such lines forgets how numbers are to be shown. Ours need nothing but their fields.
    if str(event.get("log_namespace")).startswith("sodiumtwist."):
        event.pop("log_flattened", None)
    logger.globalLogPublisher(event)
