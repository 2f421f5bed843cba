"""
Records the session that the README shows: it runs the real programs as two users, who have a folder each, and draws
what they print::

    python docs/record.py

What they printed is kept in ``docs/session.json``, and the drawing of it in ``docs/images/session.svg``. With
``--check`` it writes neither, and ends with status 1 when a command fails or prints other lines than it did then. Keys,
times and rates differ from run to run, and do not count.

All runs on this machine. So that the picture shows a server on another one, the address of this one is written as
``server.example:5555``.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import shlex
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from drawing import text

ROOT = Path(__file__).resolve().parent.parent
RECORDED, DRAWN = ROOT / "docs" / "session.json", ROOT / "docs" / "images" / "session.svg"

#: What stands for the address of this machine.
ADDRESS = "server.example:5555"

SERVER, CLIENT = "the server", "Ann's machine"

#: The line that ``invite`` prints, in the command of ``join``.
INVITATION = "INVITATION"

#: Who types what. One that stays is shown by the lines of its log that fit, and is ended at last.
SESSION = (
    (SERVER, "sodiumtwist keygen --output server.key"),
    (SERVER, f"sodiumtwist invite ann --key-file server.key --keys keys.txt --endpoint {ADDRESS}"),
    (
        SERVER,
        "twistd -n sodium --key-file server.key --authorized-keys keys.txt --auth none --endpoint tcp:5555 "
        "--directory uploads --share uploads --share-per-login",
    ),
    (CLIENT, f"sodiumtwist join '{INVITATION}' home"),
    (CLIENT, "sodiumtwist send photos home:"),
    (CLIENT, "sodiumtwist list home:photos"),
)

#: Of the server's log: that it is ready, who has joined, and what has come. The time before it is left out.
SHOWN = re.compile(r"^\S+ \[\S+#info\] (listening on .*|.* has joined .*|.* stored .*)$")
READY = "listening on "

#: What is there to be sent.
PHOTOS = {"beach.jpg": 2_400_000, "2025/dunes.jpg": 3_100_000, "2025/sea.jpg": 1_800_000}


@dataclass(frozen=True)
class Typed:
    """
    A command, and what it printed.

    :ivar machine: where it was typed.
    :ivar lines: standard output and standard error, as a terminal shows them.
    """

    machine: str
    command: str
    lines: list[str]


@contextmanager
def _folders(top: str) -> Iterator[dict[str, dict[str, str]]]:
    """Make a folder for each machine, with a user of its own. Yields the environment of each."""
    programs = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    environments = {}
    for number, machine in enumerate((SERVER, CLIENT)):
        home = Path(top, str(number))
        home.mkdir()
        kept = {name: value for name, value in os.environ.items() if not name.startswith("SODIUMTWIST_")}
        own = {"HOME": str(home), "XDG_CONFIG_HOME": str(home / ".config"), "XDG_DATA_HOME": str(home / ".local")}
        more = {"PATH": programs, "PWD": str(home), "PYTHONUNBUFFERED": "1", "TZ": "UTC", "COLUMNS": "100"}
        environments[machine] = {**kept, **own, **more}
    for name, size in PHOTOS.items():
        photo = Path(top, "1", "photos", name)
        photo.parent.mkdir(parents=True, exist_ok=True)
        photo.write_bytes(os.urandom(size))
        os.utime(photo, (1767344645, 1767344645))
    yield environments


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def record() -> list[Typed]:
    """
    Run the session.

    :raises subprocess.CalledProcessError: when a command fails.
    :raises OSError: when the server does not start.
    """
    real = f"127.0.0.1:{_free_port()}"
    server: subprocess.Popen[str] | None = None
    log: list[str] = []
    typed: list[Typed] = []
    invitation = ""
    with TemporaryDirectory(prefix="sodiumtwist-session-") as top, _folders(top) as environments:
        try:
            for machine, command in SESSION:
                shown = command.replace(INVITATION, invitation)
                run = shown.replace(ADDRESS, real).replace("tcp:5555", f"tcp:{real[10:]}:interface=127.0.0.1")
                environment = environments[machine]
                words = shlex.split(run)
                words[0] = str(Path(sys.executable).parent / words[0])
                if words[0].endswith("twistd"):
                    server = subprocess.Popen(
                        words, stdout=subprocess.PIPE, text=True, env=environment, cwd=environment["HOME"]
                    )
                    typed.append(Typed(machine, shown, log))
                    log += _until_ready(server)
                    continue
                done = subprocess.run(
                    words,
                    stdin=subprocess.DEVNULL,
                    stdout=subprocess.PIPE,
                    stderr=subprocess.STDOUT,
                    text=True,
                    env=environment,
                    cwd=environment["HOME"],
                )
                if done.returncode:
                    raise subprocess.CalledProcessError(done.returncode, shown, done.stdout)
                lines = [line.replace(real, ADDRESS) for line in done.stdout.splitlines()]
                # It warns that others can't reach us by this address, which is that of all machines of this session.
                lines = [line for line in lines if "warning: 127.0.0.1" not in line]
                invitation = next((line for line in lines if line.startswith("sodium://ann@")), invitation)
                typed.append(Typed(machine, shown, lines))
        finally:
            if server is not None:
                server.send_signal(signal.SIGTERM)
                rest = server.communicate()[0]
    log += _shown(rest.splitlines())
    here = re.compile(r"127\.0\.0\.1:\d+")
    log[:] = [here.sub(lambda found: ADDRESS if found[0] == real else "203.0.113.7", line) for line in log]
    # The folder of the session is nothing that anybody would look for.
    log[:] = [re.sub(r", in \S+$", "", line) for line in log]
    return typed


def _shown(lines: Sequence[str]) -> list[str]:
    return [found[1] for line in lines if (found := SHOWN.match(line))]


def _until_ready(server: subprocess.Popen[str]) -> list[str]:
    assert server.stdout is not None
    lines: list[str] = []
    for line in server.stdout:
        lines += _shown([line.rstrip("\n")])
        if lines and lines[-1].startswith(READY):
            return lines
    raise OSError("the server does not start")


# What differs from run to run


def same(typed: Sequence[Typed]) -> list[list[str]]:
    """Return what must not change: the commands and lines, without keys, times and rates."""
    changing = (
        (r"[0-9a-f]{64}", "KEY"),
        (r"#KEY\.[0-9a-f]{32}", "#KEY.SECRET"),
        (r"(?:[a-z2-7]{4}-){4}[a-z2-7]{4}", "FINGERPRINT"),
        (r"\d{4}-\d\d-\d\d \d\d:\d\d(?::\d\d)?", "TIME"),
        (r"in [\d.]+ m?s \([\d.,]+ .B/s\)", "in TIME"),
    )
    compared = []
    for one in typed:
        lines = [one.machine, one.command, *one.lines]
        for pattern, word in changing:
            lines = [re.sub(pattern, word, line) for line in lines]
        compared.append(lines)
    return compared


# The drawing

COLUMNS, LETTER, LINE = 100, 7.25, 17
WIDTH, MARGIN = 780, 14

STYLE = """
text { font: 12px ui-monospace, SFMono-Regular, Menlo, Consolas, "DejaVu Sans Mono", monospace; fill: #d1d7e0 }
text { white-space: pre }
.page { fill: #151b23; stroke: #3d444d }
.bar { fill: #262c36 }
.title { font: bold 12px sans-serif; fill: #9198a1 }
.prompt { fill: #3fb950 }
.typed { fill: #ffffff; font-weight: bold }
"""


def _wrapped(line: str, width: int = COLUMNS) -> list[str]:
    """Break a line where a terminal does."""
    return [line[start : start + width] for start in range(0, len(line), width)] or [""]


def draw(typed: Sequence[Typed]) -> str:
    """Draw a terminal for each machine. The same lines make the same SVG."""
    drawn: list[str] = []
    y = 8.0
    for machine in (SERVER, CLIENT):
        top = y
        y += 24
        inside: list[str] = []
        for one in typed:
            if one.machine != machine:
                continue
            for number, part in enumerate(_wrapped(f"$ {one.command}")):
                y += LINE
                if number:
                    inside.append(text(8 + MARGIN, y, part, "typed"))
                else:
                    inside.append(text(8 + MARGIN, y, "$", "prompt"))
                    inside.append(text(8 + MARGIN + 2 * LETTER, y, part[2:], "typed"))
            for line in one.lines:
                for part in _wrapped(line):
                    y += LINE
                    inside.append(text(8 + MARGIN, y, part))
            y += 6
        y += 8
        drawn.append(f'<rect class="page" x="8" y="{top:g}" width="{WIDTH - 16}" height="{y - top:g}" rx="6"/>')
        drawn.append(f'<rect class="bar" x="8.5" y="{top + 0.5:g}" width="{WIDTH - 17}" height="22" rx="6"/>')
        drawn.append(text(WIDTH / 2, top + 16, machine, "title", "middle"))
        drawn += inside
        y += 12
    height = y - 4
    size = f'width="{WIDTH}" height="{height:g}"'
    return "\n".join(
        (
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height:g}" {size}>',
            "<title>A recorded session: invite, join, send</title>",
            f"<style>{STYLE}</style>",
            *drawn,
            "</svg>\n",
        )
    )


def read() -> list[Typed]:
    """Return what was recorded last."""
    return [Typed(**one) for one in json.loads(RECORDED.read_text(encoding="utf-8"))]


def main(arguments: Sequence[str]) -> int:
    """
    Record the session, or with ``--check`` compare one with what was recorded.

    :return: the exit status.
    """
    parser = argparse.ArgumentParser(description="Record the session that the README shows, by the real programs.")
    parser.add_argument("--check", action="store_true", help="write nothing; end with status 1 when it has changed")
    check = parser.parse_args(arguments).check
    try:
        typed = record()
    except subprocess.CalledProcessError as error:
        print(f"docs/record.py: status {error.returncode} of {error.cmd}\n{error.stdout}", end="")
        return 1
    if not check:
        RECORDED.write_text(json.dumps(list(map(asdict, typed)), indent=1) + "\n", encoding="utf-8")
        DRAWN.write_text(draw(typed), encoding="utf-8")
        return 0
    before, now = same(read()), same(typed)
    for old, new in zip(before, now, strict=False):
        if old != new:
            print("docs/record.py: it was", *old, "and is", *new, sep="\n  ")
    if before != now:
        print("to record it anew: python docs/record.py")
    return int(before != now)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
