"""
The page for a browser: what it shows, and that it shows others' texts as text.
"""

from __future__ import annotations

from typing import Any

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase
from twisted.web.template import flattenString

from sodiumtwist.operation.page import PAGE_BATCH, Page, describe_since
from sodiumtwist.operation.status import Client, Clients, Health

NOW = 1_000_000_000.0


def client(login: str | None = "anna", address: str = "192.0.2.1:4711") -> Client:
    return Client(login, address, None if login is None else 2, NOW - 3700, 1_234_567, 999)


class Counting(Clock):
    """Counts what is to be called later."""

    later = 0

    def callLater(self, *arguments: Any, **keywords: Any) -> Any:
        self.later += 1
        return super().callLater(*arguments, **keywords)


class PageTests(SynchronousTestCase):
    def render(self, clients: Clients, health: Health = Health()) -> str:
        self.clock = Counting()
        rendered = flattenString(None, Page("sodium", health, clients, NOW, self.clock))
        self.clock.advance(0)
        return self.successResultOf(rendered).decode()

    def test_client(self) -> None:
        page = self.render(Clients(1, [client()]))
        for text in ("anna", "192.0.2.1:4711", "2001-09-09 00:45:00", "1 h 1 min", "1.2 MB", "999 B", "1 connected"):
            self.assertIn(f">{text}<", page)
        self.assertIn('<span class="state">ok</span>', page)
        self.assertIn('http-equiv="refresh" content="10"', page)
        self.assertIn("as of 2001-09-09 01:46:40 UTC", page)

    def test_text(self) -> None:
        """Nothing that a client says is taken for a part of the page, nor hides what stands beside it."""
        page = self.render(Clients(1, [client("<script>alert(1)</script>\u202e", "<img>")]))
        self.assertNotIn("<script", page)
        self.assertNotIn("<img", page)
        self.assertIn("&lt;script&gt;alert(1)&lt;/script&gt;?", page)

    def test_nothing_from_outside(self) -> None:
        """It names no other place to load anything from, and has no script."""
        page = self.render(Clients(1, [client()]))
        for part in ("http://", "https://", "//", "src=", "<script", "<link", "url(", "@import"):
            self.assertNotIn(part, page)

    def test_tunnel(self) -> None:
        """A tunnel's connections have no login and no version."""
        page = self.render(Clients(1, [client(None)]))
        self.assertNotIn(">login<", page)
        self.assertNotIn(">version<", page)
        self.assertIn(">192.0.2.1:4711<", page)

    def test_late(self) -> None:
        """How busy the service is, where that is known."""
        page = self.render(Clients(), Health(late=0.0123))
        self.assertIn("2001-09-09 01:46:40 UTC; its event loop was 12 ms late at most in the last minute<", page)

    def test_states(self) -> None:
        for health, word in (
            (Health(draining=True, listening=False), "draining"),
            (Health(listening=False), "not listening"),
        ):
            self.assertIn(f'<span class="state">{word}</span>', self.render(Clients(), health))

    def test_many(self) -> None:
        """Many are shown in turns, and it is said that there are more."""
        page = self.render(Clients(5000, [client(f"user{number}") for number in range(3 * PAGE_BATCH)]))
        self.assertIn(f"5000 connected; the first {3 * PAGE_BATCH} of them", page)
        self.assertEqual(page.count("<tr>"), 3 * PAGE_BATCH + 1)
        self.assertLess(page.index(">user0<"), page.index(f">user{3 * PAGE_BATCH - 1}<"))
        # Others have their turn between so many clients.
        self.assertEqual(self.clock.later, 3)


class SinceTests(SynchronousTestCase):
    def test_units(self) -> None:
        for seconds, text in (
            (-1, "0 s"),
            (0, "0 s"),
            (59.9, "59 s"),
            (61, "1 min 1 s"),
            (3600, "1 h 0 min"),
            (3 * 86_400 + 5, "3 d 0 h"),
        ):
            self.assertEqual(describe_since(seconds), text)
