"""
The page for a browser: who is connected, since when, and how much has come and gone. It loads nothing, runs nothing,
and all that others have chosen is text on it.
"""

from __future__ import annotations

import time
from collections.abc import Generator

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import deferLater
from twisted.web.iweb import IRequest
from twisted.web.template import Element, Tag, XMLString, renderer, tags

from ..describe import describe_size, printable
from .status import Client, Clients, Health

#: Seconds until the page is loaded anew.
PAGE_REFRESH = 10

#: How many clients it shows before others have their turn.
PAGE_BATCH = 25

_PAGE = """\
<html lang="en" xmlns:t="http://twistedmatrix.com/ns/twisted.web.template/0.1">
<head>
<meta charset="utf-8"/>
<meta name="viewport" content="width=device-width, initial-scale=1"/>
<meta http-equiv="refresh" t:render="refresh"/>
<title t:render="title"/>
<style>
:root { color-scheme: light dark; }
body { font: 16px/1.5 system-ui, sans-serif; margin: 1.5rem auto; max-width: 70rem; padding: 0 1rem; }
h1 { font-size: 1.4rem; margin-bottom: .2rem; }
table { border-collapse: collapse; width: 100%; }
caption { text-align: left; padding: .5rem 0; font-weight: 600; }
th, td { text-align: left; padding: .3rem 1.2rem .3rem 0; border-bottom: 1px solid #8886; white-space: nowrap; }
th.number, td.number { text-align: right; }
td.login { min-width: 8rem; white-space: normal; overflow-wrap: anywhere; }
.state { padding: .1rem .6rem; border-radius: 1rem; border: 1px solid; }
.wide { overflow-x: auto; }
</style>
</head>
<body>
<h1 t:render="title"/>
<p><span class="state" t:render="state"/> <span t:render="loaded"/></p>
<div class="wide">
<table>
<caption t:render="count"/>
<thead t:render="head"/>
<tbody t:render="rows"/>
</table>
</div>
<p><a href="metrics">metrics</a> · <a href="healthz">health</a></p>
</body>
</html>
"""


def describe_since(seconds: float) -> str:
    """
    Say for how long something lasts, in the two largest units.

    :param seconds: any number from 0.
    """
    left = max(0, int(seconds))
    parts: list[str] = []
    for unit, size in (("d", 86_400), ("h", 3_600), ("min", 60), ("s", 1)):
        count, left = divmod(left, size)
        if count or parts or size == 1:
            parts.append(f"{count} {unit}")
    return " ".join(parts[:2])


def _describe_time(seconds: float) -> str:
    return time.strftime("%Y-%m-%d %H:%M:%S", time.gmtime(seconds))


class Page(Element):
    """
    The page as it is now.

    :param program: the name of the service.
    :param health: whether it takes clients.
    :param clients: who is connected.
    :param now: seconds since the epoch.
    :param clock: gives others their turn while many clients are shown.
    """

    loader = XMLString(_PAGE)

    def __init__(self, program: str, health: Health, clients: Clients, now: float, clock: IReactorTime) -> None:
        super().__init__()
        self._program = program
        self._health = health
        self._clients = clients
        self._now = now
        self._clock = clock
        self._has_logins = any(client.login is not None for client in clients.shown)

    @renderer
    def title(self, request: IRequest | None, tag: Tag) -> Tag:
        """Say what the page is about."""
        return tag(f"twistd {self._program}")

    @renderer
    def refresh(self, request: IRequest | None, tag: Tag) -> Tag:
        """Have the browser load it again."""
        return tag(content=str(PAGE_REFRESH))

    @renderer
    def loaded(self, request: IRequest | None, tag: Tag) -> Tag:
        """Say how old it is, and how late the service was."""
        late = self._health.late
        busy = "" if late is None else f"; its event loop was {late * 1000:.0f} ms late at most in the last minute"
        return tag(f"as of {_describe_time(self._now)} UTC{busy}")

    @renderer
    def count(self, request: IRequest | None, tag: Tag) -> Tag:
        """Say how many are connected."""
        count, shown = self._clients.count, len(self._clients.shown)
        return tag(f"{count} connected" + (f"; the first {shown} of them" if shown < count else ""))

    @renderer
    def state(self, request: IRequest | None, tag: Tag) -> Tag:
        """Say whether new clients are taken."""
        return tag(self._health.word)

    @renderer
    def head(self, request: IRequest | None, tag: Tag) -> Tag:
        """Name the columns."""
        names = [*(["login"] if self._has_logins else []), "from", "since (UTC)", "for"]
        numbers = [*(["version"] if self._has_logins else []), "received", "sent"]
        cells = [tags.th(name) for name in names]
        return tag(tags.tr(*cells, *(tags.th(name, class_="number") for name in numbers)))

    @renderer
    def rows(self, request: IRequest | None, tag: Tag) -> Tag:
        """Show each client."""
        return tag(self._batches())

    def _batches(self) -> Generator[Deferred[list[Tag]], None, None]:
        shown = self._clients.shown
        for start in range(0, len(shown), PAGE_BATCH):
            # To render a thousand rows takes a third of a second, in which others would wait.
            turn: Deferred[list[Tag]] = deferLater(self._clock, 0, self._rows, shown[start : start + PAGE_BATCH])
            yield turn

    def _rows(self, clients: list[Client]) -> list[Tag]:
        return [self._row(client) for client in clients]

    def _row(self, client: Client) -> Tag:
        login = [tags.td(printable(client.login or ""), class_="login")] if self._has_logins else []
        texts = [printable(client.address), _describe_time(client.since), describe_since(self._now - client.since)]
        numbers = [str(client.version or "")] if self._has_logins else []
        numbers += [describe_size(client.bytes_received), describe_size(client.bytes_sent)]
        return tags.tr(
            *login, *(tags.td(text) for text in texts), *(tags.td(number, class_="number") for number in numbers)
        )
