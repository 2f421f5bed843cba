"""
What happens on a day, besides clients who come and go.
"""

from __future__ import annotations

import os
import re
import signal
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import suppress

from ..operation.balanced import SERVERS
from .processes import family
from .site import ALL_DAY, SERVES, Site

#: One after the other: each yields until it is over.
Happening = Iterator[None]


class Happenings:
    """
    What can happen at a site.

    :param site: where.
    :param disk: how many bytes the file system has where files are kept; 0 where it can't be filled up.
    :ivar counts: how often something has happened.
    """

    def __init__(self, site: Site, disk: int) -> None:
        self.counts: Counter[str] = Counter()
        self._site = site
        self._disk = disk

    def restart(self, group: str, name: str, number: int) -> Happening:
        """
        End a server, and start it again.

        :param number: the signal that ends it.
        """
        self.counts["servers that were killed" if number == signal.SIGKILL else "servers that drained"] += 1
        server = self._site.groups[group].servers[name]
        server.kill(number)
        while not server.ended:
            yield
        self._site.serve(group, name)

    def lose_worker(self) -> Happening:
        """Kill one of the processes of a server that has several."""
        self.counts["workers that were killed"] += 1
        supervisor = self._site.groups["files"].servers[ALL_DAY]
        serving = sum(SERVES in line for line in supervisor.lines())
        os.kill(family(supervisor.pid)[-1], signal.SIGKILL)
        while sum(SERVES in line for line in supervisor.lines()) == serving:
            yield

    def reload(self) -> Happening:
        """Tell all servers to read anew what files say."""
        self.counts["servers that read files anew"] += len(SERVERS) * 2
        for group in ("files", "streams"):
            for server in self._site.groups[group].servers.values():
                server.kill(signal.SIGHUP)
        yield

    def fill(self) -> Happening:
        """Fill up the disk."""
        if not self._disk:
            return
        self.counts["disks that were full"] += 1
        with open(os.path.join(self._site.place, "ballast"), "wb", buffering=0) as file, suppress(OSError):
            while file.write(bytes(1 << 20)):
                pass
        yield

    def make_room(self) -> Happening:
        """Take away what has filled it up."""
        with suppress(FileNotFoundError):
            os.unlink(os.path.join(self._site.place, "ballast"))
        yield

    def rebalance(self, without: str) -> Happening:
        """
        Give HAProxy another configuration, while clients are connected.

        :param without: a server that is not in it; nothing for all of them.
        """
        self.counts["configurations of HAProxy"] += len(self._site.groups)
        for group in self._site.groups.values():
            group.configure(lambda text: re.sub(rf"\n *server {without} .*", "", text) if without else text)
            assert group.haproxy is not None
            os.kill(group.haproxy.pid, signal.SIGUSR2)
        yield

    def lose_balancer(self, group: str) -> Happening:
        """Kill HAProxy, and start it again."""
        self.counts["HAProxy killed"] += 1
        balanced = self._site.groups[group]
        balanced.lose()
        yield
        balanced.balance()

    def of_a_day(self) -> list[tuple[float, Callable[[], Happening]]]:
        """List what happens on one day, with the part of it that is over then."""
        drain, kill = signal.SIGTERM, signal.SIGKILL
        return [
            (0.05, lambda: self.restart("files", "one", drain)),
            (0.10, lambda: self.restart("requests", "one", kill)),
            (0.15, lambda: self.restart("streams", "one", kill)),
            (0.19, self.lose_worker),
            (0.22, self.reload),
            (0.30, self.fill),
            (0.38, self.make_room),
            (0.45, lambda: self.rebalance("two")),
            (0.52, lambda: self.rebalance("")),
            (0.58, lambda: self.restart("requests", "two", drain)),
            (0.62, lambda: self.restart("streams", "two", drain)),
            (0.66, lambda: self.restart("files", "two", kill)),
            (0.74, lambda: self.lose_balancer("files")),
            (0.80, lambda: self.restart("files", "one", kill)),
            (0.86, lambda: self.restart("streams", "one", drain)),
            (0.92, self.reload),
        ]
