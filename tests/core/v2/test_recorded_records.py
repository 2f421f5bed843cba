"""
The records of recorded sessions, opened by us and sealed again.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from hypothesis import given, strategies as st
from twisted.trial.unittest import SynchronousTestCase

from sodiumtwist.core.inbox import Inbox
from sodiumtwist.core.v2.inner_bindings import InnerOpener, InnerSealer
from sodiumtwist.core.v2.public_bindings import PublicOpener, PublicSealer
from sodiumtwist.core.v2.sealing import Opener, Sealer

from ..peers import cut
from .recorded_records import Record, Session, sessions

SEALERS: tuple[type[Sealer], ...] = (InnerSealer, PublicSealer)
OPENERS: tuple[type[Opener], ...] = (InnerOpener, PublicOpener)


def directions() -> Iterator[tuple[Session, bytes, list[Record]]]:
    """Each direction of each session: its key, and its records."""
    for session in sessions():
        for side, key in session.keys.items():
            yield session, key, session.sent_to(side)


class RecordedRecordsTests(SynchronousTestCase):
    """
    ``vectors/v2.json``
    """

    def test_sessions(self) -> None:
        """Both suites, both directions, a new key in each, an empty body and the largest."""
        self.assertEqual([session.suite for session in sessions()], [1, 2, 2, 1])
        records = [record for session in sessions() for record in session.records]
        self.assertEqual({record.to for record in records if record.rekey}, {"server", "client"})
        sizes = sorted(len(record.body) for record in records)
        self.assertEqual((sizes[0], sizes[-1]), (0, 135168))

    def test_sealed(self) -> None:
        """What we send has exactly the recorded bytes, whether the body is in one piece or in many."""
        for session, key, records in directions():
            for kind in SEALERS:
                for size in (135168, 7):
                    sealer = kind(session.suite, key)
                    for record in records:
                        if record.rekey:
                            sealer.rekey()
                        pieces = list(cut(record.body, [size] * 500))
                        sealed = sealer.seal(pieces, len(record.body))
                        self.assertTrue(sealed == record.wire, (session.name, kind, len(record.body)))

    def check(
        self, kind: type[Opener], session: Session, key: bytes, records: list[Record], pieces: Iterable[bytes]
    ) -> None:
        opener, inbox = kind(session.suite, key), Inbox()
        bodies = []
        for piece in pieces:
            inbox.put(piece)
            while inbox.data and (body := opener.receive(inbox)) is not None:
                bodies.append(bytes(body))
        self.assertTrue(bodies == [record.body for record in records], session.name)
        self.assertEqual((opener.inside, inbox.size), (False, 0))

    def test_opened_whole(self) -> None:
        for session, key, records in directions():
            for kind in OPENERS:
                self.check(kind, session, key, records, [b"".join(record.wire for record in records)])

    def test_opened_record_by_record(self) -> None:
        for session, key, records in directions():
            for kind in OPENERS:
                self.check(kind, session, key, records, [record.wire for record in records])

    def test_opened_byte_by_byte(self) -> None:
        """Of the largest, the first 5000."""
        for session, key, records in directions():
            for kind in OPENERS:
                pieces = (piece for record in records for piece in cut(record.wire, [1] * 5000))
                self.check(kind, session, key, records, pieces)

    @given(st.lists(st.integers(1, 3000), max_size=50), st.sampled_from(OPENERS))
    def test_opened_in_random_cuts(self, sizes: list[int], kind: type[Opener]) -> None:
        for session, key, records in directions():
            self.check(kind, session, key, records, cut(b"".join(record.wire for record in records), sizes))
