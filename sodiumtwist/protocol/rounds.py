"""
The rounds of a reactor: which sockets are ready, and whose turn it is.
"""

from __future__ import annotations

from select import EPOLLIN
from typing import Any

from twisted.internet.epollreactor import EPollReactor
from twisted.python import context, log
from twisted.python.log import ILogContext


def quicken(reactor: Any) -> None:
    """
    Have a reactor spend less on each socket that is ready. Twisted's names it in the log's context by four calls and
    two copies of that; here all of a round share one context, in which only the name changes. For programs, whose
    reactor is theirs.

    :param reactor: any. Those that are not Twisted's for epoll stay as they are.
    """
    if type(reactor) is not EPollReactor:
        return
    poll, selectables, work, disconnect = (
        reactor._poller.poll,
        reactor._selectables,
        reactor._doReadOrWrite,
        reactor._disconnectSelectable,
    )
    named: dict[str, Any] = {}
    layer = {ILogContext: named}

    def do_round(timeout: float | None) -> None:
        ready = poll(-1 if timeout is None else timeout, len(selectables))
        contexts = context.theContextTracker.currentContext().contexts
        named.update(context.get(ILogContext))
        contexts.append(layer)
        try:
            for fd, event in ready:
                selectable = selectables.get(fd)
                if selectable is None:
                    continue
                named["system"] = selectable.logPrefix()
                if event == EPOLLIN:
                    try:
                        why = selectable.doRead()
                    except BaseException as error:
                        why = error
                        log.err()
                    if why:
                        disconnect(selectable, why, True)
                else:
                    work(selectable, fd, event)
        finally:
            contexts.pop()
            named.clear()

    reactor.doIteration = reactor.doPoll = do_round
