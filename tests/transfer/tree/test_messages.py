"""
Tests of :mod:`sodiumtwist.transfer.tree.messages`. Sentences in quotes are those of the page on files.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import msgspec
from hypothesis import given, strategies as st
from twisted.trial.unittest import SynchronousTestCase

from sodiumtwist.core.errors import RemoteProtocolError
from sodiumtwist.core.v2.outgoing import PART_SIZE
from sodiumtwist.transfer.tree import messages
from sodiumtwist.transfer.tree.messages import (
    ANNOUNCEMENT_SIZE,
    ENTRIES,
    FETCHED_PATHS,
    FILE,
    FOLDER,
    HAVE,
    LINE_LIMIT,
    PATH_LIMIT,
    REFUSED,
    RESUME,
    SEND,
    Announce,
    Done,
    Entry,
    FetchFiles,
    Finish,
    Found,
    Listed,
    ListFolder,
    Listing,
    Message,
    Outcome,
    Place,
    SetTimes,
    Settled,
    StoreFiles,
    Trouble,
    Verdict,
    Verdicts,
    decode_answer,
    decode_outcome,
    decode_request,
    encode,
)

from ...texts import UTF8

REQUESTS = (StoreFiles, FetchFiles, ListFolder, Announce, SetTimes, Finish)
ANSWERS = (Place, Found, Listing, Verdicts, Done)

BYTES = msgspec.msgpack.encode

sizes = st.integers(0, (1 << 63) - 1)
counts = st.integers(0, 0xFFFFFFFF)
times = st.integers(-(1 << 63), (1 << 63) - 1)
paths = st.binary(max_size=40)
lines = st.text(st.characters(exclude_categories=["Cs"]), max_size=40)
digests = st.binary(max_size=32)


def several(strategy: st.SearchStrategy[Any], least: int = 0) -> st.SearchStrategy[list[Any]]:
    return st.lists(strategy, min_size=least, max_size=4)


troubles = st.builds(Trouble, paths, lines)

#: Any message of each type.
MESSAGES: dict[type, st.SearchStrategy[Any]] = {
    StoreFiles: st.builds(StoreFiles, st.booleans(), st.booleans(), st.booleans()),
    FetchFiles: st.builds(FetchFiles, several(paths)),
    ListFolder: st.builds(ListFolder, paths, paths),
    Announce: st.builds(
        Announce, counts, several(st.builds(Entry, st.integers(0, 2), paths, sizes, times, st.booleans()), 1)
    ),
    SetTimes: st.builds(SetTimes, several(st.tuples(paths, times))),
    Finish: st.builds(Finish, counts, counts, several(troubles), counts),
    Place: st.builds(Place, st.sampled_from(["files", "stream", "nothing"]), sizes, st.booleans()),
    Found: st.builds(Found, several(troubles)),
    Listing: st.builds(
        Listing,
        several(st.builds(Listed, st.integers(0, 1), paths, sizes, times, st.booleans())),
        st.booleans(),
        st.booleans(),
    ),
    Verdicts: st.builds(Verdicts, several(st.builds(Verdict, st.integers(0, 3), sizes, digests, counts, lines, paths))),
    Done: st.builds(Done),
    Outcome: st.builds(Outcome, sizes, several(st.builds(Settled, counts, counts, lines, paths, digests, sizes))),
}


def decoder(kind: type) -> Callable[[bytes], Any]:
    """What reads messages of a type."""
    if kind in REQUESTS:
        return decode_request
    return decode_outcome if kind is Outcome else lambda payload: decode_answer(kind, payload)


def type_of(kind: type) -> str:
    return str(kind.__struct_config__.tag)  # type: ignore[attr-defined]


class RoundTripTests(SynchronousTestCase):
    """What is said is what is heard."""

    @given(st.one_of(*MESSAGES.values()))
    def test_all(self, message: Message) -> None:
        self.assertEqual(decoder(type(message))(encode(message)), message)

    @given(st.one_of(*MESSAGES.values()), st.dictionaries(st.sampled_from(["a", "later", "zz"]), st.text(UTF8)))
    def test_unknown_fields(self, message: Message, unknown: dict[str, str]) -> None:
        """“Fields that are not known are passed over”, of messages and of what they list."""
        plain = msgspec.msgpack.decode(encode(message))
        for field in plain.values():
            for listed in field if isinstance(field, list) else ():
                # Folders with their times are pairs, and paths are no lists.
                if isinstance(listed, list) and not isinstance(message, SetTimes):
                    listed.append("later")
        self.assertEqual(decoder(type(message))(BYTES({**unknown, **plain})), message)

    def test_types(self) -> None:
        """The table above has all, and each has a type of its own."""
        known = {
            thing for thing in vars(messages).values() if isinstance(thing, type) and hasattr(thing, "__match_args__")
        }
        tagged = {kind for kind in known if kind.__struct_config__.tag is not None}  # type: ignore[attr-defined]
        self.assertEqual(set(MESSAGES), tagged)
        self.assertEqual(len({type_of(kind) for kind in tagged}), len(tagged))

    def test_defaults(self) -> None:
        """What is not said has its default, so that a short message is enough."""
        for least, message in (
            ({"type": "store"}, StoreFiles(False, False, True)),
            ({"type": "list"}, ListFolder(b"", b"")),
            ({"type": "finish"}, Finish(0, 0, [], 0)),
            ({"type": "announce", "first": 3, "entries": [[1, b"a"]]}, Announce(3, [Entry(FOLDER, b"a", 0, 0, False)])),
        ):
            self.assertEqual(decode_request(BYTES(least)), message)
        self.assertEqual(
            decode_answer(Verdicts, BYTES({"type": "verdicts", "verdicts": [[SEND]]})),
            Verdicts([Verdict(SEND, 0, b"", 0, "", b"")]),
        )
        self.assertEqual(decode_outcome(BYTES({"type": "outcome"})), Outcome(0, []))

    def test_layout(self) -> None:
        """The bytes: a map with its type, and what is listed as arrays, in the page's order."""
        self.assertEqual(
            encode(Announce(5, [Entry(FILE, b"a/b", 3, -1, True)])),
            b"\x83\xa4type\xa8announce\xa5first\x05\xa7entries\x91\x95\x00\xc4\x03a/b\x03\xff\xc3",
        )
        self.assertEqual(
            encode(Verdicts([Verdict(RESUME, 9, b"d"), Verdict(HAVE, name=b"a.1"), Verdict(REFUSED, 0, b"", 9, "no")])),
            b"\x82\xa4type\xa8verdicts\xa8verdicts\x93"
            b"\x96\x01\x09\xc4\x01d\x00\xa0\xc4\x00"
            b"\x96\x02\x00\xc4\x00\x00\xa0\xc4\x03a.1"
            b"\x96\x03\x00\xc4\x00\x09\xa2no\xc4\x00",
        )


class GarbageTests(SynchronousTestCase):
    """Whatever comes, it is a message or a :exc:`RemoteProtocolError`."""

    def read(self, payload: bytes) -> None:
        for kind in MESSAGES:
            try:
                message = decoder(kind)(payload)
            except RemoteProtocolError as error:
                # Of the types of all requests, one is long.
                self.assertLess(len(str(error)), 200)
            else:
                self.assertEqual(decoder(type(message))(encode(message)), message)

    @given(st.binary())
    def test_garbage(self, payload: bytes) -> None:
        self.read(payload)

    @given(st.one_of(*MESSAGES.values()), st.data())
    def test_damage(self, message: Message, data: st.DataObject) -> None:
        """A message with some bytes that are others, or cut."""
        payload = bytearray(encode(message))
        for place in data.draw(st.lists(st.integers(0, len(payload) - 1), max_size=4)):
            payload[place] = data.draw(st.integers(0, 255))
        self.read(bytes(payload[: data.draw(st.integers(0, len(payload)))]))
        self.read(bytes(payload))

    def refused(self, payload: bytes, read: Callable[[bytes], Any] = decode_request) -> str:
        return str(self.assertRaises(RemoteProtocolError, read, payload))

    def test_deep(self) -> None:
        """A field that is passed over may be deep."""
        self.assertRegex(self.refused(b"\x82\xa4type\xa5store\xa5later" + b"\x91" * 100_000 + b"\xc0"), ": too deep$")

    def test_not_utf8(self) -> None:
        self.assertRegex(self.refused(b"\x81\xa4type\xa5st\xffre"), ": a text that is not UTF-8$")

    def test_nothing_of_the_peers(self) -> None:
        """Why it is refused does not repeat what came: that may have any size, and anything in it."""
        secret = "it's 'secret'\n" * 1000
        for payload, read in (
            (BYTES({"type": secret}), decode_request),
            (BYTES({"type": secret}), decode_outcome),
            (BYTES({"type": "place", "keeps": secret}), decoder(Place)),
            (BYTES({"type": "store", "dry": secret}), decode_request),
        ):
            self.assertRegex(
                self.refused(payload, read), r"\Aa[\w ]+ that is none of the file dialogue: [\w ,`-]+`\$.\w+`\Z"
            )

    def test_another_answer(self) -> None:
        """An answer is that to the request; a request is no answer."""
        for kind in ANSWERS:
            for other in MESSAGES:
                if other is not kind:
                    self.refused(BYTES({"type": type_of(other)}), decoder(kind))
        for other in (*ANSWERS, Outcome):
            self.refused(BYTES({"type": type_of(other)}))

    def test_allocates_nothing(self) -> None:
        """A list says how long it is before its elements come, and is believed up to its limit."""
        for kind, field in ((Announce, "entries"), (FetchFiles, "paths"), (SetTimes, "folders"), (Finish, "troubles")):
            plain = BYTES({"type": type_of(kind), "first": 0, field: []})
            self.assertIn("of length <= 1024", self.refused(plain[:-1] + b"\xdd\xff\xff\xff\xff"))


@dataclass(frozen=True)
class Limit:
    """
    One limit, as a message made of a number.

    :ivar most: the largest that is taken.
    :ivar least: the smallest.
    """

    make: Callable[[int], Message]
    most: int
    least: int | None = None


LIMITS = {
    "entries of an announcement": Limit(lambda n: Announce(0, [Entry(0, b"a")] * n), ENTRIES, 1),
    "number of the first": Limit(lambda n: Announce(n, [Entry(0, b"a")]), 0xFFFFFFFF, 0),
    "kind": Limit(lambda n: Announce(0, [Entry(n, b"a")]), 2, 0),
    "path": Limit(lambda n: Announce(0, [Entry(0, bytes(n))]), PATH_LIMIT),
    "size": Limit(lambda n: Announce(0, [Entry(0, b"a", n)]), (1 << 63) - 1, 0),
    "mtime": Limit(lambda n: Announce(0, [Entry(0, b"a", 0, n)]), (1 << 63) - 1, -(1 << 63)),
    "paths to fetch": Limit(lambda n: FetchFiles([b""] * n), FETCHED_PATHS),
    "path to fetch": Limit(lambda n: FetchFiles([bytes(n)]), PATH_LIMIT),
    "path to list": Limit(lambda n: ListFolder(bytes(n)), PATH_LIMIT),
    "name to list behind": Limit(lambda n: ListFolder(b"", bytes(n)), PATH_LIMIT),
    "folders with times": Limit(lambda n: SetTimes([(b"a", 0)] * n), ENTRIES),
    "time of a folder": Limit(lambda n: SetTimes([(b"a", n)]), (1 << 63) - 1, -(1 << 63)),
    "links": Limit(lambda n: Finish(n), 0xFFFFFFFF, 0),
    "others": Limit(lambda n: Finish(0, n), 0xFFFFFFFF, 0),
    "troubles": Limit(lambda n: Finish(troubles=[Trouble(b"", "")] * n), ENTRIES),
    "untold troubles": Limit(lambda n: Finish(untold=n), 0xFFFFFFFF, 0),
    "line of a trouble": Limit(lambda n: Finish(troubles=[Trouble(b"", "a" * n)]), LINE_LIMIT),
    "largest file": Limit(lambda n: Place("files", n), (1 << 63) - 1, 0),
    "missing": Limit(lambda n: Found([Trouble(b"", "")] * n), FETCHED_PATHS),
    "listed": Limit(lambda n: Listing([Listed(0, b"")] * n), ENTRIES),
    "kind of what is listed": Limit(lambda n: Listing([Listed(n, b"")]), 1, 0),
    "verdicts": Limit(lambda n: Verdicts([Verdict(0)] * n), ENTRIES),
    "what a verdict says": Limit(lambda n: Verdicts([Verdict(n)]), 3, 0),
    "offset": Limit(lambda n: Verdicts([Verdict(1, n)]), (1 << 63) - 1, 0),
    "digest": Limit(lambda n: Verdicts([Verdict(1, 0, bytes(n))]), 32),
    "code": Limit(lambda n: Verdicts([Verdict(3, code=n)]), 0xFFFFFFFF, 0),
    "text of a verdict": Limit(lambda n: Verdicts([Verdict(3, text="a" * n)]), LINE_LIMIT),
    "name of what is there": Limit(lambda n: Verdicts([Verdict(2, name=bytes(n))]), PATH_LIMIT),
    "written": Limit(lambda n: Outcome(n), (1 << 63) - 1, 0),
    "settled": Limit(lambda n: Outcome(0, [Settled(0)] * n), ENTRIES),
    "number of what is settled": Limit(lambda n: Outcome(0, [Settled(n)]), 0xFFFFFFFF, 0),
    "text of what is settled": Limit(lambda n: Outcome(0, [Settled(0, 9, "a" * n)]), LINE_LIMIT),
}


class LimitTests(SynchronousTestCase):
    """“Limits on everything.”"""

    def test_each(self) -> None:
        """The largest and the smallest that may be are taken, and what is beyond is refused."""
        for name, limit in LIMITS.items():
            read = decoder(type(limit.make(limit.most)))
            for number in {limit.most, limit.most if limit.least is None else limit.least}:
                message = limit.make(number)
                self.assertEqual(read(encode(message)), message, name)
            for number in [limit.most + 1] + ([] if limit.least is None else [limit.least - 1]):
                # The encoder itself has no room for integers of more than 64 bits.
                if -(1 << 63) <= number < 1 << 64:
                    try:
                        read(encode(limit.make(number)))
                    except RemoteProtocolError:
                        continue
                    self.fail(f"{name}: {number} was taken")

    def test_in_one_part(self) -> None:
        """The largest announcement that our senders make leaves in one part, so that none is overtaken by the next."""
        path = bytes(ANNOUNCEMENT_SIZE // ENTRIES)
        largest = Entry(FILE, path, (1 << 63) - 1, -(1 << 63), True)
        for message in (
            Announce(0xFFFFFFFF, [largest] * ENTRIES),
            Announce(0xFFFFFFFF, [Entry(FILE, bytes(PATH_LIMIT))] * (ANNOUNCEMENT_SIZE // PATH_LIMIT)),
            SetTimes([(path, -(1 << 63))] * ENTRIES),
        ):
            self.assertLessEqual(len(encode(message)), PART_SIZE)
