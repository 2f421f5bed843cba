"""
The rounds of a reactor: which sockets are ready, and whose turn it is.
"""

from __future__ import annotations

from typing import Any

from twisted.python import context, log
from twisted.python.log import ILogContext

# Neither has types.
_context: Any = context
_log: Any = log


def quicken(reactor: Any) -> None:
    """
    Have a reactor spend less on each socket that is ready. Twisted's names it in the log's context by four calls; here
    a round puts the names there itself. For programs, whose reactor is theirs.

    :param reactor: any. Those that are not Twisted's for epoll stay as they are.
    """
    # By its name: not all systems have that module. One that is made of Twisted's own may do something else.
    kind = type(reactor)
    if (kind.__module__, kind.__name__) != ("twisted.internet.epollreactor", "EPollReactor"):
        return
    poll, selectables, work, disconnect = (
        reactor._poller.poll,
        reactor._selectables,
        reactor._doReadOrWrite,
        reactor._disconnectSelectable,
    )
    readable = reactor._POLL_IN

    def do_round(timeout: float | None) -> None:
        ready = poll(-1 if timeout is None else timeout, len(selectables))
        contexts = _context.theContextTracker.currentContext().contexts
        around = _context.get(ILogContext)
        contexts.append({})
        try:
            for fd, event in ready:
                selectable = selectables.get(fd)
                if selectable is None:
                    continue
                try:
                    # A new one for each: what is begun here in a thread keeps it, and has its name there.
                    contexts[-1] = {ILogContext: {**around, "system": selectable.logPrefix()}}
                except Exception:
                    _log.callWithLogger(selectable, work, selectable, fd, event)  # it says so, and goes on
                    continue
                try:
                    if event == readable:
                        try:
                            why, read = selectable.doRead(), True
                        except BaseException as error:
                            why, read = error, False
                            _log.err()
                        if why:
                            disconnect(selectable, why, read)
                    else:
                        work(selectable, fd, event)
                except KeyboardInterrupt:
                    raise
                except BaseException:
                    _log.err()  # the others have their turn
        finally:
            contexts.pop()

    for name in ("doIteration", "doPoll"):
        setattr(reactor, name, do_round)
