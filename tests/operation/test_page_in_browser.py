"""
The page in a real browser: what a person sees there, and that it loads and runs nothing else.
"""

from __future__ import annotations

import importlib.util
import os
from pathlib import Path
from typing import Any

from twisted.internet import reactor
from twisted.internet.defer import Deferred
from twisted.internet.endpoints import TCP4ServerEndpoint
from twisted.internet.threads import deferToThread
from twisted.trial.unittest import SkipTest, TestCase

from sodiumtwist.operation.site import ShortConnections, StatusSite
from sodiumtwist.operation.status import Client, Clients

from ..ports import port_number
from .test_site import Told

HERE = Path(__file__).parents[2]

#: What a login may be, and what would be bad if it were taken for a part of the page.
EVIL = "<img src=x onerror=\"document.title='taken over'\"><script>document.title='taken over'</script>"

#: What the page is for a person: the texts, what the browser was asked to load for it, and whether anything is wider
#: than the screen.
LOOK = """() => ({
    title: document.title,
    cells: [...document.querySelectorAll("tbody tr")].map(row => [...row.cells].map(cell => cell.innerText)),
    heads: [...document.querySelectorAll("th")].map(cell => cell.innerText),
    state: document.querySelector(".state").innerText,
    images: document.images.length,
    scripts: document.scripts.length,
    loaded: performance.getEntriesByType("resource").map(entry => entry.name),
    refresh: document.querySelector("meta[http-equiv]").content,
    styled: getComputedStyle(document.querySelector("td")).borderBottomStyle,
    short: document.querySelector("tbody tr").getClientRects()[0].height,
    wide: document.documentElement.scrollWidth > window.innerWidth,
})"""

#: Tries what must not go: to run something, and to load something, from within the page.
TRY = """() => {
    const script = document.createElement("script");
    script.textContent = "document.title = 'taken over'";
    document.body.append(script);
    const image = document.createElement("img");
    image.src = "/healthz";
    document.body.append(image);
    return document.title;
}"""


def load_browser() -> Any:
    """The module of ``docs/``, which is no package."""
    spec = importlib.util.spec_from_file_location("browser", HERE / "docs" / "browser.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


class BrowserTests(TestCase):
    def test_page(self) -> Deferred[None]:
        return Deferred.fromCoroutine(self._test_page())

    async def _test_page(self) -> None:
        browsers = load_browser()
        program = browsers.find_browser()
        if program is None:
            told = "no Chromium is installed (Debian: apt-get install chromium)"
            assert not os.environ.get("CI"), told
            raise SkipTest(told)
        status = Told()
        status.here = Clients(
            2,
            [
                Client("anna", "192.0.2.1:4711", 2, 0.0, 1_500_000, 20),
                Client(EVIL, "192.0.2.2:4711", 1, 0.0, 0, 0),
            ],
        )
        site = ShortConnections(StatusSite(status, reactor, "sodium"), reactor, 64)
        port = await TCP4ServerEndpoint(reactor, 0, interface="127.0.0.1").listen(site)
        self.addCleanup(port.stopListening)
        self.addCleanup(site.drop)

        def look() -> tuple[Any, Any, Any]:
            with browsers.Browser(program) as browser:
                browser.open(f"http://127.0.0.1:{port_number(port)}/")
                seen = browser.ask(LOOK)
                tried = browser.ask(TRY)
                browser.set_screen(360, 640)
                return seen, tried, browser.ask(LOOK)

        seen, tried, narrow = await deferToThread(look)
        self.assertEqual(seen["title"], "twistd sodium")
        self.assertEqual(seen["heads"], ["login", "from", "since (UTC)", "for", "version", "received", "sent"])
        first, second = seen["cells"]
        self.assertEqual((first[0], first[1], first[4:]), ("anna", "192.0.2.1:4711", ["2", "1.5 MB", "20 B"]))
        self.assertEqual(second[0], EVIL)
        self.assertEqual((seen["images"], seen["scripts"]), (0, 0))
        # But for the icon that a browser asks for by itself.
        self.assertEqual([name for name in seen["loaded"] if not name.endswith("/favicon.ico")], [])
        self.assertEqual((seen["state"], seen["refresh"], seen["styled"]), ("ok", "10", "solid"))
        self.assertEqual(tried, "twistd sodium")
        # Also on a telephone: the table is moved to and fro, and not the page; but for logins no cell is broken.
        self.assertEqual((narrow["title"], narrow["wide"]), ("twistd sodium", False))
        self.assertLess(narrow["short"], 60)
