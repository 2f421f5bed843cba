"""
What has become of all that clients were told was done, and what servers have taken for it.
"""

from __future__ import annotations

import os
from collections import Counter
from contextlib import suppress
from statistics import median

from ..transfer.tree.forked import Forked
from .processes import family, lasting_descriptors, memory
from .senders import digest_of
from .site import Site

#: How many files that a client has sent stay where they are stored.
KEPT = 600


class Account:
    """
    Keeps account of a day.

    :param site: of all that runs there.
    :param growth: how much more memory a server may have at the end of the day than before noon, in bytes.
    :ivar problems: what should not be.
    :ivar figures: what came of it, by names.
    """

    def __init__(self, site: Site, growth: float) -> None:
        self.problems: list[str] = []
        self.figures: dict[str, object] = {}
        self._site = site
        self._growth = growth
        self._morning: dict[str, Counter[str]] = {}
        self._memory: dict[str, list[tuple[float, int]]] = {}
        self._answered: list[str] = []
        self._failed: Counter[str] = Counter()
        self._lines: Counter[str] = Counter()
        self._heard: dict[Forked, float] = {}
        self._longest: dict[str, float] = {}
        self._put_away = 0

    def begin(self) -> None:
        """Look at those who are there all day, before the first clients come."""
        self._morning = {name: lasting_descriptors(pid) for name, pid in self._site.those_of_all_day()}

    def look(self, part: float) -> None:
        """
        Look how much memory they have.

        :param part: of the day that is over.
        """
        for name, pid in self._site.those_of_all_day():
            self._memory.setdefault(name, []).append((part, memory(pid)))

    def put_away(self) -> None:
        """Take away what was stored long ago, as whoever it is for does. The disk would be full before the evening."""
        for sender in self._site.senders:
            while sender.version == 2 and len(sender.confirmed) > KEPT:
                name = next(iter(sender.confirmed))
                self._check_stored(name, sender.confirmed.pop(name))
                self._put_away += 1
                with suppress(FileNotFoundError):
                    os.unlink(os.path.join(self._site.place, "username", name))

    def listen(self, now: float) -> None:
        """
        Hear what clients tell.

        :param now: seconds of a clock.
        """
        for asker, tail in self._site.asking.items():
            for line in tail.lines():
                what, name, *why = line.split()
                if what == "answered" and not why:
                    self._answered.append(name)
                    self._hear("a request was answered", asker, now)
                elif what == "failed":
                    self._failed[why[0]] += 1
                else:
                    self.problems.append(f"requests: {line}")
        for talker, tail in self._site.talking.items():
            for line in tail.lines():
                what = line.split()[0]
                self._lines[what] += 1
                if what == "said":
                    self._hear("a line came back", talker, now)
                elif what == "wrong":
                    self.problems.append(f"streams: {line}")

    def _hear(self, what: str, client: Forked, now: float) -> None:
        self._longest[what] = max(self._longest.get(what, 0.0), round(now - self._heard.get(client, now), 1))
        self._heard[client] = now

    def close(self) -> None:
        """Look what is left when the last clients have gone."""
        self._close_files()
        self._close_requests()
        self.figures["lines that came back"] = self._lines["said"]
        self.figures["streams that began"] = self._lines["connected"]
        for what, seconds in self._longest.items():
            self.figures[f"longest time until {what}, in seconds"] = seconds
        evening = {name: lasting_descriptors(pid) for name, pid in self._site.those_of_all_day()}
        for name, pid in self._site.those_of_all_day():
            morning, pids = self._morning[name], len(family(pid))
            more = evening[name] - morning
            for path in [each for each in more if each.startswith("/") and evening[name][each] <= pids]:
                del more[path]  # one that a process has opened when it was needed first
            self.figures[f"descriptors of {name}"] = f"{morning.total()} and {evening[name].total()}"
            if more:
                self.problems.append(f"descriptors of {name} that are left: {dict(more)}")
        for name, seen in self._memory.items():
            before = median([size for part, size in seen if 0.2 <= part < 0.5] or [0])
            behind = median([size for part, size in seen if part >= 0.8] or [0])
            self.figures[f"memory of {name}"] = f"{before / 1e6:.1f} and {behind / 1e6:.1f} MB"
            if behind - before > self._growth:
                self.problems.append(f"memory of {name} has grown by {(behind - before) / 1e6:.1f} MB")

    def _close_requests(self) -> None:
        with open(os.path.join(self._site.directory, "journal")) as file:
            done = file.read().split()
        self.figures["requests answered"] = len(self._answered)
        self.figures["requests of which the outcome is unknown"] = dict(self._failed)
        for what, twice in (("acted on", done), ("answered", self._answered)):
            if len(set(twice)) < len(twice):
                self.problems.append(f"requests {what} twice: {len(twice) - len(set(twice))}")
        if lost := set(self._answered) - set(done):
            self.problems.append(f"requests that were answered, and not acted on: {len(lost)}")
        if known := set(self._failed) - {"ConnectionCut"}:
            self.problems.append(f"requests that failed for another reason: {known}")

    def _close_files(self) -> None:
        senders, place = self._site.senders, self._site.place
        # Those of version 1 have names of the server's.
        loose = Counter(
            digest_of(entry.path) for entry in os.scandir(place) if entry.is_file() and not entry.name.startswith(".")
        )
        statuses: Counter[int] = Counter()
        for sender in senders:
            self.problems += sender.problems
            statuses += sender.statuses
            for name, digest in sender.confirmed.items():
                if sender.version == 2:
                    self._check_stored(name, digest)
                elif not loose[digest]:
                    self.problems.append(f"lost, though it was confirmed: {name}")
        self.figures["files confirmed"] = self._put_away + sum(len(sender.confirmed) for sender in senders)
        self.figures["bytes confirmed"] = sum(sender.size for sender in senders)
        self.figures["commands by status"] = dict(sorted(statuses.items()))
        self.figures["unfinished files left by version 1"] = sum(name.endswith(".part") for name in os.listdir(place))
        left = [name for _, _, names in os.walk(os.path.join(place, "username")) for name in names if name[0] == "."]
        if left:
            self.problems.append(f"unfinished files that are left: {left[:5]}")

    def _check_stored(self, name: str, digest: str) -> None:
        found = ""
        with suppress(OSError):
            found = digest_of(os.path.join(self._site.place, "username", name))
        if found != digest:
            self.problems.append(f"lost, though it was confirmed: {name}")
