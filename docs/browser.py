"""
Headless Chromium, told what to do through a pipe, by its DevTools protocol. Needs the program and nothing else.
"""

from __future__ import annotations

import base64
import json
import os
import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path
from tempfile import mkdtemp
from types import TracebackType
from typing import Any

#: Its names, as distributions have them.
NAMES = ("chromium", "chromium-browser", "google-chrome")

#: It talks to nobody, keeps nothing, and has no sandbox, which a container has no room for: it reads our own files.
OPTIONS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--hide-scrollbars",
    "--remote-debugging-pipe",
)


def find_browser() -> str | None:
    """Return the path of the program, or nothing when it is not installed."""
    return next(filter(None, map(shutil.which, NAMES)), None)


class Browser:
    """
    One page of a browser. As a context it starts, and is gone at the end.

    :param program: the path of Chromium.
    """

    def __init__(self, program: str) -> None:
        self._profile = mkdtemp(prefix="sodiumtwist-browser-")
        theirs, self._out = os.pipe()
        self._in, our = os.pipe()
        command = [program, *OPTIONS, f"--user-data-dir={self._profile}", "about:blank"]
        # It reads from descriptor 3 and writes to 4. Not by <&, behind which some shells take numbers up to 9 alone.
        self._process = subprocess.Popen(
            ["sh", "-c", f'exec "$0" "$@" 3</dev/fd/{theirs} 4>/dev/fd/{our}', *command],
            pass_fds=(theirs, our),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        os.close(theirs)
        os.close(our)
        self._received = b""
        self._number = 0
        self._events: list[Mapping[str, Any]] = []
        target = self.call("Target.createTarget", url="about:blank", session="")["targetId"]
        self._session = self.call("Target.attachToTarget", targetId=target, flatten=True, session="")["sessionId"]
        self.call("Page.enable")

    def __enter__(self) -> Browser:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._process.terminate()
        self._process.wait()
        os.close(self._in)
        os.close(self._out)
        shutil.rmtree(self._profile, ignore_errors=True)

    def _read(self) -> Mapping[str, Any]:
        while b"\0" not in self._received:
            more = os.read(self._in, 1 << 20)
            if not more:
                raise OSError("the browser has ended")
            self._received += more
        message, _, self._received = self._received.partition(b"\0")
        read: Mapping[str, Any] = json.loads(message)
        return read

    def call(self, method: str, *, session: str | None = None, **parameters: Any) -> Mapping[str, Any]:
        """
        Call a method of the protocol, and wait for what it answers.

        :raises OSError: when the browser has ended, or says that it failed.
        """
        self._number += 1
        message: dict[str, Any] = {"id": self._number, "method": method, "params": parameters}
        if session is None:
            message["sessionId"] = self._session
        os.write(self._out, json.dumps(message).encode() + b"\0")
        while True:
            answer = self._read()
            if answer.get("id") == self._number:
                if "error" in answer:
                    raise OSError(f"{method}: {answer['error']['message']}")
                result: Mapping[str, Any] = answer["result"]
                return result
            self._events.append(answer)

    def set_screen(self, width: int, height: int) -> None:
        """Have a screen of so many pixels. A narrow one is a telephone's."""
        self.call(
            "Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=width < 600
        )

    def open(self, place: Path | str) -> None:
        """Open a file or a URL, and wait until all that belongs to it is there."""
        self._events.clear()
        self.call("Page.navigate", url=place if isinstance(place, str) else place.resolve().as_uri())
        while not any(event.get("method") == "Page.loadEventFired" for event in self._events):
            self._events.append(self._read())

    def ask(self, script: str) -> Any:
        """
        Return what a function of JavaScript's returns on the page.

        :raises OSError: when it raises.
        """
        answer = self.call("Runtime.evaluate", expression=f"({script})()", returnByValue=True)
        if "exceptionDetails" in answer:
            raise OSError(str(answer["exceptionDetails"]))
        return answer["result"].get("value")

    def picture(self, path: Path) -> None:
        """Write the whole page as a PNG, also what lies below the screen."""
        size = self.call("Page.getLayoutMetrics")["cssContentSize"]
        clip = {"x": 0, "y": 0, "width": size["width"], "height": size["height"], "scale": 1}
        shot = self.call("Page.captureScreenshot", format="png", captureBeyondViewport=True, clip=clip)
        path.write_bytes(base64.b64decode(shot["data"]))
