"""
What several processes of one service count together, in memory that all of them have: connections, logins that fail,
and what was seen before.

Each process has a region of its own, in which it alone writes, and reads those of all. So there are no locks, nobody
waits for another, and a process that is killed leaves nothing half done. What two processes count in the same moment,
neither sees of the other: a limit may be passed by as many as that are.
"""

from __future__ import annotations

import math
import mmap
import os
import tempfile
from hashlib import blake2b

from ..core.connection import RecentSalts
from .count_min_sketch import ROWS, WIDTH, CountMinSketch

#: In how many parts the time is divided in which failures are counted. They are forgotten so much of it later at most.
PARTS = 4

#: How many parts there is room for: those that count, the one that has begun, and the one that is emptied next.
SLOTS = PARTS + 2

#: How many logins with the addresses from where they came in are remembered for other processes, and how many
#: handshakes that failed. A new one takes the place of whichever stands where it belongs.
REMEMBERED = 1 << 16

#: How many salts of first flights.
REMEMBERED_FLIGHTS = 1 << 17

_SECRET = 16
_HEADER = 64
_SKETCH = 4 * ROWS * WIDTH
_STAMPS = 8 * SLOTS

#: Where in the header what stands, in numbers of 4 bytes.
_SERVES, _CONNECTIONS, _UNAUTHENTICATED, _WAITING, _RECENT, _MOMENT = range(6)

#: Seconds in which what was accepted lately falls to a third of its weight, where processes are compared.
RECENTLY = 1.0

#: Moments are counted in thousandths of seconds, in numbers of 4 bytes.
_MOMENTS = 1 << 32

#: The bytes of one process: the header, connections by address, failures by address and by login, what was seen.
_REGION = _HEADER + _SKETCH + 2 * (_STAMPS + SLOTS * _SKETCH) + 2 * 8 * REMEMBERED + 8 * REMEMBERED_FLIGHTS


class SharedFailures:
    """
    Counts failures by key, an address or a login, in the time that has passed and up to a quarter more.

    :param own: a part of the region of this process.
    :param others: the same part of those of the others.
    :param secret: so that nobody can choose keys that share their counters.
    """

    def __init__(self, own: memoryview, others: list[memoryview], secret: bytes) -> None:
        self._stamps, self._sketches = self._split(own, secret)
        self._others = [self._split(other, secret) for other in others]
        self._places = self._sketches[0].places

    @staticmethod
    def _split(part: memoryview, secret: bytes) -> tuple[memoryview, list[CountMinSketch]]:
        starts = range(_STAMPS, len(part), _SKETCH)
        return part[:_STAMPS].cast("Q"), [
            CountMinSketch(secret, part[start : start + _SKETCH].cast("I")) for start in starts
        ]

    @staticmethod
    def _number(now: float, seconds: float) -> int:
        # Not 0, which stands where nothing was counted yet.
        return int(now * PARTS / seconds) + 1

    def add(self, key: str, now: float, seconds: float) -> None:
        """
        One more has failed here.

        :param now: seconds of a clock that all processes have.
        :param seconds: the time in which failures count.
        """
        number = self._number(now, seconds)
        slot = number % SLOTS
        if self._stamps[slot] != number:
            # What was never written takes no memory yet.
            if self._stamps[slot]:
                self._sketches[slot].clear()
            self._stamps[slot] = number
        self._sketches[slot].add(key)

    def count(self, key: str, now: float, seconds: float) -> int:
        """Tell how many have failed in the other processes, or some more."""
        newest = self._number(now, seconds) + 1  # another process may have looked at the clock behind us
        oldest = newest - 1 - PARTS
        places = self._places(key)
        return sum(
            sketch.count_at(places)
            for stamps, sketches in self._others
            for stamp, sketch in zip(stamps, sketches, strict=True)
            # What is later was counted while the time was another one: it would be as good as never too old.
            if oldest <= stamp <= newest
        )


class SharedMarks:
    """
    Remembers what was seen, for other processes.

    :param own: a part of the region of this process.
    :param others: the same part of those of the others.
    :param secret: so that nobody can choose what takes the place of what.
    """

    def __init__(self, own: memoryview, others: list[memoryview], secret: bytes) -> None:
        self._own = own.cast("Q")
        self._others = [other.cast("Q") for other in others]
        self._secret = secret

    def _mark(self, what: bytes) -> int:
        # 0 is an empty place.
        return int.from_bytes(blake2b(what, key=self._secret, digest_size=8).digest(), "big") or 1

    def add(self, what: bytes) -> None:
        """Remember it."""
        mark = self._mark(what)
        self._own[mark % len(self._own)] = mark

    def knows(self, what: bytes) -> bool:
        """Tell whether another process has seen it. What was pushed out is not known any more."""
        mark = self._mark(what)
        place = mark % len(self._own)
        return any(other[place] == mark for other in self._others)


class SharedCounts:
    """
    What one process counts, and what the others do.

    :param memory: of :func:`make_memory`.
    :param count: how many processes there are.
    :param own: which of them this is, from 0.
    :ivar by_address: failures by address.
    :ivar by_login: failures by login.
    :ivar regulars: logins, with from where they came in.
    :ivar failed: handshakes that failed.
    :ivar flights: salts of first flights of version 2.
    """

    def __init__(self, memory: mmap.mmap, count: int, own: int) -> None:
        self._count = count
        whole = memoryview(memory)
        secret = bytes(whole[:_SECRET])
        regions = [whole[start : start + _REGION] for start in range(_HEADER, _HEADER + count * _REGION, _REGION)]
        start = 0

        def cut(size: int) -> tuple[memoryview, list[memoryview]]:
            nonlocal start
            parts = [region[start : start + size] for region in regions]
            start += size
            return parts[own], [part for place, part in enumerate(parts) if place != own]

        header, headers = cut(_HEADER)
        self._header, self._headers = header.cast("I"), [each.cast("I") for each in headers]
        places, others = cut(_SKETCH)
        self._places = CountMinSketch(secret, places.cast("I"))
        self._others = [CountMinSketch(secret, other.cast("I")) for other in others]
        self.by_address = SharedFailures(*cut(_STAMPS + SLOTS * _SKETCH), secret)
        self.by_login = SharedFailures(*cut(_STAMPS + SLOTS * _SKETCH), secret)
        self.regulars = SharedMarks(*cut(8 * REMEMBERED), secret)
        self.failed = SharedMarks(*cut(8 * REMEMBERED), secret)
        self.flights = SharedMarks(*cut(8 * REMEMBERED_FLIGHTS), secret)

    # Connections

    def note(self, connections: int, unauthenticated: int) -> None:
        """Say how many this process has."""
        self._header[_CONNECTIONS] = connections
        self._header[_UNAUTHENTICATED] = unauthenticated

    def connections_elsewhere(self) -> int:
        """Tell how many connections the others have."""
        return sum(header[_CONNECTIONS] for header in self._headers)

    def unauthenticated_elsewhere(self) -> int:
        """Tell how many of those are not authenticated."""
        return sum(header[_UNAUTHENTICATED] for header in self._headers)

    def share(self, limit: int) -> int:
        """Tell how many this process may have in any case, of so many that are for all."""
        return limit // self._count

    def accepted(self, count: int, now: float) -> None:
        """
        Note that this process has accepted some.

        :param now: seconds of a clock that all processes have.
        """
        self._header[_RECENT] = min(round(1000 * count + self._recent(self._header, now)), _MOMENTS - 1)
        self._header[_MOMENT] = int(now * 1000) % _MOMENTS

    @staticmethod
    def _recent(header: memoryview, now: float) -> float:
        """Tell the weight of what a process has accepted lately, in thousandths."""
        passed = (int(now * 1000) - header[_MOMENT]) % _MOMENTS / 1000
        return float(header[_RECENT] * math.exp(-passed / RECENTLY))

    def ahead(self, now: float) -> float:
        """
        Compare this process to the one that has least to do, of those that serve: by connections, and by those that it
        has accepted lately, which may be gone again.

        :param now: seconds of a clock that all processes have.
        :return: by how many it is ahead.
        """
        others = [
            header[_CONNECTIONS] + self._recent(header, now) / 1000 for header in self._headers if header[_SERVES]
        ]
        if not others:
            return 0
        return self._header[_CONNECTIONS] + self._recent(self._header, now) / 1000 - min(others)

    def came(self, where: str) -> None:
        """This process has one more connection from an address."""
        self._places.change(where, 1)

    def went(self, where: str) -> None:
        """It has one less."""
        self._places.change(where, -1)

    def elsewhere_from(self, where: str) -> int:
        """Tell how many connections the others have from an address, or some more."""
        places = self._places.places(where)
        return sum(other.count_at(places) for other in self._others)

    # Turns

    def note_waiting(self, count: int) -> None:
        """Say how many uploads wait for their turn here."""
        self._header[_WAITING] = count

    def waiting_elsewhere(self) -> int:
        """Tell how many wait for it in the other processes."""
        return sum(header[_WAITING] for header in self._headers)


class SharedSalts(RecentSalts):
    """
    Remembers the first flights of version 2, so that the other processes know them, too: for as long as no other one
    takes its place there.

    :param counts: what is counted together.
    """

    def __init__(self, counts: SharedCounts) -> None:
        super().__init__()
        self._flights = counts.flights

    def seen(self, salt: bytes) -> bool:
        """As :class:`~sodiumtwist.core.connection.Salts` has it."""
        return super().seen(salt) or self._flights.knows(salt)

    def remember(self, salt: bytes) -> None:
        """As :class:`~sodiumtwist.core.connection.Salts` has it."""
        super().remember(salt)
        self._flights.add(salt)


class AllCounts:
    """
    What all processes count, for the one that supervises them.

    :param memory: of :func:`make_memory`.
    :param count: how many processes there are.
    """

    def __init__(self, memory: mmap.mmap, count: int) -> None:
        whole = memoryview(memory)
        starts = [_HEADER + place * _REGION for place in range(count)]
        self._headers = [whole[start : start + _HEADER].cast("I") for start in starts]
        self._places = [whole[start + _HEADER : start + _HEADER + _SKETCH] for start in starts]

    @property
    def connections(self) -> int:
        """How many connections there are."""
        return sum(header[_CONNECTIONS] for header in self._headers)

    @property
    def sessions(self) -> int:
        """How many of them are let in."""
        return self.connections - sum(header[_UNAUTHENTICATED] for header in self._headers)

    def serves(self, place: int) -> None:
        """A process accepts."""
        self._headers[place][_SERVES] = 1

    def gone(self, place: int) -> None:
        """A process is gone, and its connections with it. What has failed there still counts."""
        self._headers[place][:] = memoryview(bytes(_HEADER)).cast("I")
        self._places[place][:] = bytes(_SKETCH)


def make_memory(count: int) -> int:
    """
    Make memory for so many processes. It is in no folder, and gone with the last of them.

    :return: its descriptor, which they inherit.
    :raises OSError: when there is none.
    """
    if hasattr(os, "memfd_create"):
        descriptor = os.memfd_create("sodiumtwist")
    else:
        with tempfile.TemporaryFile() as file:
            descriptor = os.dup(file.fileno())
    os.ftruncate(descriptor, _HEADER + count * _REGION)
    os.pwrite(descriptor, os.urandom(_SECRET), 0)
    return descriptor


def open_memory(descriptor: int) -> mmap.mmap:
    """
    Open that memory. Of what nobody has written, nothing is taken.

    :param descriptor: of :func:`make_memory`.
    """
    return mmap.mmap(descriptor, 0)
