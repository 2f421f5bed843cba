"""
The reactor side of a receiver: what waits for the disk, what is answered and when, and what is told of files.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from queue import SimpleQueue
from threading import Event, current_thread
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from sodiumtwist.core.connection import Code
from sodiumtwist.core.errors import LocalProtocolError, RemoteProtocolError, RequestError
from sodiumtwist.transfer.tree import receiving
from sodiumtwist.transfer.tree.disk_thread import DiskThread
from sodiumtwist.transfer.tree.messages import (
    FILE,
    FOLDER,
    HAVE,
    REFUSED,
    SEND,
    STREAM,
    UNSETTLED,
    Announce,
    Done,
    Entry,
    Finish,
    Outcome,
    SetTimes,
    Settled,
    Trouble,
    Verdict,
    Verdicts,
    decode_answer,
    decode_outcome,
)
from sodiumtwist.transfer.tree.pieces import LAST, header
from sodiumtwist.transfer.tree.receiving import PROGRESS_SIZE, WAITING_LIMIT, Receiving
from sodiumtwist.transfer.tree.report import FAILED, REFUSED as WAS_REFUSED, STORED, THERE, WOULD_SEND, FileResult
from sodiumtwist.transfer.tree.storing import Rules, Storing

from .senders import ThreadInHand, Told
from .test_storing import TIME, piece


class FakeChannel:
    """
    A connection that keeps what it is asked to do.
    """

    def __init__(self) -> None:
        self.outcomes: list[Outcome] = []
        self.paused = self.over = False
        self.aborted: list[tuple[int, str, BaseException | None]] = []

    def request(self, payload: Any) -> Deferred[bytes]:
        raise NotImplementedError

    def send_data(self, payload: Any) -> None:
        if self.over:
            raise LocalProtocolError("it is over")
        assert len(payload) <= 131070
        self.outcomes.append(decode_outcome(payload))

    def registerProducer(self, producer: Any, streaming: bool) -> None:
        raise NotImplementedError

    def unregisterProducer(self) -> None:
        raise NotImplementedError

    def pauseProducing(self) -> None:
        assert not self.paused
        self.paused = True

    def resumeProducing(self) -> None:
        assert self.paused
        self.paused = False

    def abort_with(self, code: int, text: str, error: BaseException | None = None) -> None:
        self.aborted.append((code, text, error))


class FakeStoring:
    """
    Settles each file whose LAST has come, and stores nothing.
    """

    def __init__(self) -> None:
        self.rules = Rules()
        self.calls: list[str] = []
        self.taken: list[list[bytes]] = []
        self.written = 0
        self.settled: list[Settled] = []
        self.error: Exception | None = None
        self.given_up = False

    def announce(self, message: Announce) -> Verdicts:
        self.calls.append("announce")
        return Verdicts([Verdict(HAVE if each.kind == FOLDER else SEND) for each in message.entries])

    def take(self, payloads: list[bytes]) -> Outcome:
        self.calls.append("take")
        self.taken.append(payloads)
        if self.error is not None:
            raise self.error
        self.written += sum(map(len, payloads))
        settled, self.settled = self.settled, []
        return Outcome(self.written, settled)

    def commit(self) -> Outcome:
        self.calls.append("commit")
        settled, self.settled = self.settled, []
        return Outcome(self.written, settled)

    def set_times(self, message: SetTimes) -> None:
        self.calls.append("times")

    def finish(self) -> None:
        self.calls.append("finish")

    def give_up(self) -> None:
        self.given_up = True

    def abandon(self) -> None:
        self.calls.append("abandon")


class ReceivingTestCase(SynchronousTestCase):
    """
    A receiver with a thread that works when the test says so.
    """

    def setUp(self) -> None:
        self.clock = Clock()
        self.begin(FakeStoring())

    def begin(self, storing: Any, **keywords: Any) -> None:
        self.end = FakeChannel()
        self.thread = ThreadInHand()
        self.storing = storing
        self.receiving = Receiving(self.end, self.thread, storing, seconds=self.clock.seconds, **keywords)

    def begin_with_files(self, rules: Rules | None = None, **keywords: Any) -> None:
        """Begin with a real folder."""
        self.root = self.mktemp()
        storing = Storing(self.root, rules or Rules())
        self.addCleanup(storing.abandon)
        self.begin(storing, **keywords)

    def work(self) -> None:
        """Let the thread do all that it has to."""
        while self.thread.waiting:
            self.thread.step()

    def announce(self, *entries: Entry, first: int = 0) -> Sequence[Verdict]:
        answer = self.receiving.asked(Announce(first, list(entries)))
        self.work()
        return decode_answer(Verdicts, self.successResultOf(answer)).verdicts  # type: ignore[no-any-return]

    def announce_files(self, *names: bytes) -> None:
        self.announce(*[Entry(FILE, name, 1, TIME) for name in names])

    @property
    def told(self) -> list[Settled]:
        """What the sender was told of files."""
        return [settled for outcome in self.end.outcomes for settled in outcome.files]


class TurnTests(ReceivingTestCase):
    """What comes waits for the thread, bounded, and is handed over in turns."""

    def test_turns(self) -> None:
        """One turn at a time: what comes meanwhile is taken together, up to a bound, and then committed."""
        self.patch(receiving, "TURN_SIZE", 100)
        for number in range(4):
            self.receiving.data_received(b"%d" % number * 40)
        self.assertEqual(len(self.thread.waiting), 1)
        self.thread.step()
        self.assertEqual(self.storing.calls, ["take"])
        self.work()
        self.assertEqual([len(payloads) for payloads in self.storing.taken], [1, 2, 1])
        self.assertEqual(self.storing.calls, ["take", "take", "take", "commit"])
        self.receiving.data_received(b"x" * 200)
        self.work()
        self.assertEqual(self.storing.taken[-1], [b"x" * 200])

    def test_bounded(self) -> None:
        """When too much waits, nothing more is received until half of it is written. Tiny payloads count, too."""
        for size in (131000, 0):
            self.begin(FakeStoring())
            count = 0
            while not self.end.paused:
                self.receiving.data_received(bytes(size))
                count += 1
            self.assertLess(abs(count * (size + 12) - WAITING_LIMIT), 131012)
            self.receiving.data_received(bytes(size))
            sizes = []
            while self.end.paused:
                self.thread.step()
                sizes.append(self.receiving._waiting_size)
            self.assertLess(sizes[-1], WAITING_LIMIT // 2)
            self.work()
            self.assertEqual(self.receiving._waiting_size, 0)

    def test_gathered(self) -> None:
        """In the middle of a large file several DATA are a turn, unless they come slowly. Its end waits for nothing."""
        middle = header(0, 0, 0, 1000) + bytes(1000)
        self.patch(receiving, "GATHERED_SIZE", 3 * len(middle))

        def take(*payloads: bytes) -> list[list[bytes]]:
            before = len(self.storing.taken)
            for payload in payloads:
                self.receiving.data_received(payload)
            self.work()
            taken: list[list[bytes]] = self.storing.taken[before:]
            return taken

        self.assertEqual(take(middle), [[middle]])
        self.assertEqual(take(middle, middle), [])
        self.assertEqual(take(middle, middle), [[middle] * 3])
        # Nor is what has come during a turn a turn by itself.
        self.assertEqual(take(middle), [])
        self.clock.advance(receiving.GATHERED_TIME)
        self.assertEqual(take(middle), [[middle] * 3])
        self.clock.advance(receiving.GATHERED_TIME)
        self.assertEqual(take(middle), [[middle]])
        last = header(0, LAST, 0, 0)
        small = header(1, LAST, 0, 1) + b"x"
        for end in (last, middle + last, small, b"nonsense", middle[:-1]):
            self.assertEqual(take(middle, end), [[middle, end]])

    def test_gathered_and_lost(self) -> None:
        """What has come is written when the connection ends, or when the next turn begins in any case."""
        middle = header(0, 0, 0, 1000) + bytes(1000)
        for busy in (False, True):
            self.begin(FakeStoring())
            self.receiving.data_received(middle)
            if not busy:
                self.work()
            self.receiving.data_received(middle)
            over = self.receiving.lost()
            self.work()
            self.assertEqual(self.storing.taken, [[middle], [middle]])
            self.assertIsNone(self.successResultOf(over))

    def test_resumed(self) -> None:
        """What comes with the resuming begins a turn, and no second one beside it."""
        self.patch(receiving, "WAITING_LIMIT", 200)
        self.patch(receiving, "TURN_SIZE", 100)
        held = [b"held" * 10] * 3

        def resume() -> None:
            self.end.paused = False
            while held and not self.end.paused:
                self.receiving.data_received(held.pop())

        self.end.resumeProducing = resume  # type: ignore[method-assign]
        while not self.end.paused:
            self.receiving.data_received(b"first" * 10)
        while self.thread.waiting:
            self.assertEqual(len(self.thread.waiting), 1)
            self.thread.step()
        self.assertEqual(held, [])

    def test_progress(self) -> None:
        """The sender is told of each mebibyte that was written, and of less once a second at most."""
        half = bytes(PROGRESS_SIZE // 2)
        for _ in range(2):
            self.receiving.data_received(half)
            self.work()
        self.receiving.data_received(b"x")
        self.work()
        self.assertEqual(self.end.outcomes, [Outcome(PROGRESS_SIZE)])
        self.clock.advance(1)
        self.receiving.data_received(b"x")
        self.work()
        self.clock.advance(1)
        self.receiving.data_received(b"")
        self.work()
        self.assertEqual(self.end.outcomes[1:], [Outcome(PROGRESS_SIZE + 2)])

    def test_parts(self) -> None:
        """What is told of a great many files, with long names, fits DATA."""
        long = b"n" * 16000
        self.announce(*[Entry(FILE, b"%d" % number, 1, TIME) for number in range(1000)])
        self.storing.settled = [
            Settled(number, name=long if number % 50 == 0 else b"", text="" if number % 7 else "why \u20ac" * 200)
            for number in range(1000)
        ]
        self.receiving.data_received(b"x")
        self.work()
        self.assertEqual([each.number for each in self.told], list(range(1000)))
        self.assertGreater(len(self.end.outcomes), 3)


class AnswerTests(ReceivingTestCase):
    """What the sender asks."""

    def test_in_order(self) -> None:
        """Times are set, and the end is answered, behind all that has come; that is settled first."""
        self.announce_files(b"a")
        self.storing.settled = [Settled(0)]
        self.receiving.data_received(b"x")
        times = self.receiving.asked(SetTimes([(b"f", TIME)]))
        finished = self.receiving.asked(Finish())
        self.thread.step()
        self.assertNoResult(finished)
        self.assertEqual(self.told, [Settled(0)])
        self.work()
        self.assertEqual(self.storing.calls, ["announce", "take", "commit", "times", "finish"])
        for answer in (times, finished):
            self.assertEqual(decode_answer(Done, self.successResultOf(answer)), Done())

    def test_overtaken(self) -> None:
        """Requests overtake DATA for which nothing is read now: they wait until all that was announced is settled."""
        self.announce_files(b"a")
        times = self.receiving.asked(SetTimes([(b"f", TIME)]))
        finished = self.receiving.asked(Finish())
        self.work()
        self.assertNoResult(times)
        self.assertNoResult(finished)
        self.storing.settled = [Settled(0)]
        self.receiving.data_received(b"x")
        self.work()
        self.assertEqual(self.storing.calls, ["announce", "take", "commit", "times", "finish"])
        self.successResultOf(finished)

    def test_overtakes_verdicts(self) -> None:
        """So it is with what is not decided yet."""
        self.receiving.asked(Announce(0, [Entry(FOLDER, b"a")]))
        finished = self.receiving.asked(Finish())
        self.work()
        self.assertEqual(self.storing.calls, ["announce", "finish"])
        self.successResultOf(finished)

    def test_at_once(self) -> None:
        """Where nothing has come, they wait for nothing but the thread."""
        finished = self.receiving.asked(Finish())
        self.work()
        self.successResultOf(finished)

    def test_too_much_announced(self) -> None:
        """Beyond the bound an announcement fails, and the dialogue goes on: its numbers are not used."""
        entries = [Entry(FILE, b"%d" % number, 1, TIME) for number in range(1024)]
        for first in range(0, UNSETTLED, 1024):
            self.announce(*entries, first=first)
        answer = self.receiving.asked(Announce(UNSETTLED, [entries[0]]))
        error = self.failureResultOf(answer, RequestError).value
        self.assertEqual((error.code, error.text), (Code.NO_ROOM, "too much is announced and not settled"))
        self.storing.settled = [Settled(0)]
        self.receiving.data_received(b"x")
        self.work()
        self.announce(entries[0], first=UNSETTLED)

    def test_long_paths(self) -> None:
        """Paths are bounded by their bytes, too: those that are announced, and those of folders' times."""
        self.patch(receiving, "UNSETTLED_SIZE", 10)
        self.announce_files(b"seven77")
        answer = self.receiving.asked(Announce(1, [Entry(FILE, b"four")]))
        self.failureResultOf(answer, RequestError)
        times = self.receiving.asked(SetTimes([(b"abc", TIME)]))
        self.failureResultOf(self.receiving.asked(SetTimes([(b"abc", TIME)])), RequestError)
        self.storing.settled = [Settled(0)]
        self.receiving.data_received(b"x")
        self.work()
        self.successResultOf(times)
        self.announce(Entry(FILE, b"four"), first=1)

    def test_folders_are_settled(self) -> None:
        """What the verdict settles does not count any more."""
        self.announce(*[Entry(FOLDER, b"a")] * 1024)
        self.assertEqual((self.receiving._unsettled, self.receiving._paths_size), ({}, 0))

    def test_cancelled(self) -> None:
        """Who asked wants no answer any more. It is done all the same."""
        answer = self.receiving.asked(Announce(0, [Entry(FOLDER, b"a")]))
        answer.addErrback(lambda _: None)
        answer.cancel()
        self.work()
        self.assertEqual(self.receiving._unsettled, {})

    def test_folders_not_synced(self) -> None:
        """The disk does not take the names of folders: the end fails, and says why without a path."""

        def finish() -> None:
            raise OSError(5, "Input/output error", "/srv/secret")

        self.storing.finish = finish
        finished = self.receiving.asked(Finish())
        self.work()
        error = self.failureResultOf(finished, RequestError).value
        self.assertEqual((error.code, error.text), (Code.STORAGE, "Input/output error"))
        self.assertEqual(self.end.aborted, [])


class BrokenTests(ReceivingTestCase):
    """What ends the dialogue."""

    def test_rules_broken(self) -> None:
        """The sender is told what it did wrong. Nothing more is taken of it."""
        error = RemoteProtocolError("a piece too many")
        self.storing.error = error
        self.receiving.data_received(b"x")
        self.receiving.data_received(b"y")
        finished = self.receiving.asked(Finish())
        self.work()
        self.assertEqual(self.end.aborted, [(Code.PROTOCOL_BROKEN, "a piece too many", error)])
        self.receiving.data_received(b"z")
        self.work()
        self.assertEqual(self.storing.taken, [[b"x"]])
        self.assertNoResult(finished)
        self.failureResultOf(self.receiving.asked(Finish()), RequestError)
        lost = self.receiving.lost()
        self.work()
        self.successResultOf(lost)
        self.assertEqual(self.storing.calls, ["take", "commit", "abandon"])

    def test_wrong_numbers(self) -> None:
        """An announcement can break them, too."""
        for first in (0, 2):
            self.begin(FakeStoring())
            self.announce_files(b"a")
            self.receiving.asked(Announce(first, [Entry(FILE, b"a")]))
            self.work()
            self.assertEqual([code for code, _, _ in self.end.aborted], [Code.PROTOCOL_BROKEN])
            self.assertEqual(self.storing.calls, ["announce"])

    def test_mistake(self) -> None:
        """A mistake of ours is in the log; the sender is told no more than that there is one."""
        error = ZeroDivisionError("secret")
        self.storing.error = error
        self.receiving.data_received(b"x")
        self.work()
        self.assertEqual(self.end.aborted, [(Code.APPLICATION_FAILED, "the application failed", error)])
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)

    def test_broken_behind_the_end(self) -> None:
        """What is written behind the end of the connection may be wrong as well: nobody is told."""
        self.storing.error = RemoteProtocolError("a piece too many")
        self.receiving.data_received(b"x")
        lost = self.receiving.lost()
        self.work()
        self.successResultOf(lost)
        self.assertEqual((self.end.aborted, self.storing.calls), ([], ["take", "commit", "abandon"]))


class LostTests(ReceivingTestCase):
    """The connection is over."""

    def test_what_came_is_written(self) -> None:
        """What waits is written; then all is let go. Nothing is sent."""
        self.announce_files(b"a")
        for payload in (b"x", b"y"):
            self.receiving.data_received(payload)
        self.assertFalse(self.storing.given_up)
        lost = self.receiving.lost()
        self.assertTrue(self.storing.given_up)
        again = self.receiving.lost()
        self.storing.settled = [Settled(0)]
        self.work()
        self.assertEqual(self.storing.calls, ["announce", "take", "take", "commit", "commit", "abandon"])
        for each in (lost, again, self.receiving.lost()):
            self.successResultOf(each)
        self.assertEqual(self.end.outcomes, [])
        self.assertEqual(self.storing.taken, [[b"x"], [b"y"]])

    def test_paused(self) -> None:
        """A connection that is gone is not asked to go on."""
        while not self.end.paused:
            self.receiving.data_received(bytes(131000))
        self.receiving.lost()
        self.work()
        self.assertTrue(self.end.paused)

    def test_about_to_end(self) -> None:
        """A connection that takes nothing any more breaks nothing."""
        self.announce_files(b"a")
        self.end.over = True
        self.storing.settled = [Settled(0)]
        self.receiving.data_received(b"x")
        self.work()
        self.assertEqual(self.end.aborted, [])

    def test_partial_kept(self) -> None:
        """A file that broke off can go on in another session; a whole one is in its place."""
        self.begin_with_files()
        self.announce(Entry(FILE, b"a", 1, TIME), Entry(FILE, b"b", 6, TIME))
        self.receiving.data_received(piece(0, b"x") + piece(1, b"abc", 0, 0))
        self.receiving.lost()
        self.work()
        self.begin(Storing(self.root, Rules()))
        self.addCleanup(self.storing.abandon)
        verdicts = self.announce(Entry(FILE, b"a", 1, TIME), Entry(FILE, b"b", 6, TIME))
        self.assertEqual([(verdict.what, verdict.offset) for verdict in verdicts], [(HAVE, 0), (1, 3)])


class StoredTests(ReceivingTestCase):
    """What is called for each file that is stored."""

    def setUp(self) -> None:
        super().setUp()
        self.asked: list[tuple[Settled, bytes]] = []
        self.called: list[Deferred[str]] = []
        self.begin(FakeStoring(), stored=self.stored)

    def stored(self, settled: Settled, path: bytes) -> Deferred[str]:
        self.asked.append((settled, path))
        self.called.append(Deferred())
        return self.called[-1]

    def take(self, *settled: Settled) -> None:
        self.storing.settled = list(settled)
        self.receiving.data_received(b"x")
        self.work()

    def test_before_the_sender_is_told(self) -> None:
        """The sender is told behind it, with its words; of a file that is not stored at once."""
        self.announce_files(b"a", b"b", b"c")
        self.take(Settled(0), Settled(1, name=b"b.1"), Settled(2, 9, "no"))
        finished = self.receiving.asked(Finish())
        self.work()
        self.assertEqual([path for _, path in self.asked], [b"a", b"b.1"])
        self.assertEqual(self.told, [Settled(2, 9, "no")])
        self.called[1].callback("it looks bad")
        self.assertEqual(self.told[1:], [Settled(1, name=b"b.1", text="it looks bad")])
        self.assertNoResult(finished)
        self.called[0].callback("")
        self.assertEqual(self.told[2:], [Settled(0)])
        self.work()
        self.successResultOf(finished)

    def test_other_path(self) -> None:
        """A number that is announced twice breaks the rules, and no other path stands for what is stored meanwhile."""
        self.announce_files(b"a")
        self.storing.settled = [Settled(0)]
        self.receiving.data_received(b"x")
        self.receiving.asked(Announce(0, [Entry(FILE, b"../other/a", 1, TIME)]))
        self.work()
        self.assertEqual([path for _, path in self.asked], [b"a"])
        self.assertEqual([code for code, _, _ in self.end.aborted], [Code.PROTOCOL_BROKEN])

    def test_at_once(self) -> None:
        """Those that are done at once are told together."""
        self.begin(FakeStoring(), stored=lambda settled, path: "text")
        self.announce_files(b"a", b"b")
        self.take(Settled(0), Settled(1))
        self.assertEqual(self.end.outcomes, [Outcome(1, [Settled(0, text="text"), Settled(1, text="text")])])

    def test_fails(self) -> None:
        """Its failure is in the log, and the file is stored."""
        self.announce_files(b"a")
        self.take(Settled(0))
        self.called[0].errback(ZeroDivisionError())
        self.assertEqual(self.told, [Settled(0)])
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)

    def test_connection_lost(self) -> None:
        """It is called for files that are settled behind the end, too, but may take long and is not waited for."""
        self.announce_files(b"a")
        self.storing.settled = [Settled(0)]
        self.receiving.data_received(b"x")
        lost = self.receiving.lost()
        self.work()
        self.successResultOf(lost)
        self.assertEqual([path for _, path in self.asked], [b"a"])
        self.assertEqual(self.receiving._unsettled, {})
        self.called[0].callback("")
        self.assertEqual(self.told, [])


class ReportTests(ReceivingTestCase):
    """What people are told where files are received."""

    def setUp(self) -> None:
        super().setUp()
        self.report = Told()

    def test_files(self) -> None:
        """What is announced, what begins, what is written, and what becomes of each."""
        self.begin_with_files(report=self.report)
        os.makedirs(self.root)
        with open(os.path.join(self.root, "there"), "wb") as file:
            file.write(b"x")
        os.utime(os.path.join(self.root, "there"), ns=(TIME, TIME))
        self.announce(
            Entry(FOLDER, b"f"),
            Entry(FILE, b"there", 1, TIME),
            Entry(FILE, b"..", 2, TIME),
            Entry(FILE, b"a", 3, TIME),
            Entry(STREAM, b"s"),
        )
        self.assertEqual((self.report.files, self.report.size), (4, 6))
        self.receiving.data_received(piece(3, b"a", 0, 0))
        self.receiving.data_received(piece(3, b"bc", 1))
        self.receiving.data_received(piece(4, b"no", 0, 3))
        self.receiving.asked(Finish(troubles=[Trouble(b"t", "why")]))
        self.work()
        self.assertEqual(self.report.begun, [(b"a", 3, 0), (b"s", 0, 0)])
        self.assertEqual(self.report.bytes_written, 3)
        self.assertEqual(self.report.troubles, [(b"t", "why")])
        self.assertEqual(
            self.report.results,
            [
                FileResult(b"there", FILE, THERE, b"there", 1),
                FileResult(b"..", FILE, WAS_REFUSED, code=Code.STORAGE, text="it has '.' or '..' in it"),
                FileResult(b"s", STREAM, FAILED, code=Code.CANCELLED, text="no"),
                FileResult(b"a", FILE, STORED, b"a", 3),
            ],
        )

    def test_dry(self) -> None:
        """A sender that does not know of a dry run is told that nothing is wanted."""
        self.begin_with_files(Rules(dry=True), report=self.report, takes_nothing=True)
        verdicts = self.announce(Entry(FOLDER, b"f"), Entry(FILE, b"f/a", 1, TIME))
        self.assertEqual(verdicts, [Verdict(HAVE), Verdict(REFUSED, code=Code.CANCELLED, text="dry run")])
        self.assertEqual(self.report.results, [FileResult(b"f/a", FILE, WOULD_SEND, size=1)])
        finished = self.receiving.asked(Finish())
        self.work()
        self.successResultOf(finished)
        self.assertFalse(os.path.exists(self.root))

    def test_dry_where_the_sender_knows(self) -> None:
        """Then it is told what would be, and sends nothing."""
        self.begin_with_files(Rules(dry=True))
        self.assertEqual(self.announce(Entry(FILE, b"a", 1, TIME)), [Verdict(SEND)])
        self.assertEqual(self.receiving._unsettled, {})

    def test_given_up(self) -> None:
        """What was being looked at when the connection ended was refused by nobody."""
        self.begin(FakeStoring(), report=self.report)
        refused = Verdict(REFUSED, code=Code.STORAGE, text="nobody waits for it any more")
        self.patch(self.storing, "announce", lambda _: Verdicts([refused]))
        for number, ended in enumerate((False, True)):
            self.receiving.asked(Announce(number, [Entry(FILE, b"a", 1, TIME)]))
            if ended:
                self.receiving.lost()
            self.work()
            self.assertEqual(len(self.report.results), 1)

    def test_nothing_to_show(self) -> None:
        """What is no piece of an announced file is left to the thread to refuse."""
        self.begin(FakeStoring(), report=self.report)
        for payload in (b"", piece(7, b"x")):
            self.receiving.data_received(payload)
        self.assertEqual(self.report.begun, [])


class CallsFromThreads:
    """
    A reactor that does what threads ask of it when the test says so.
    """

    def __init__(self) -> None:
        self.calls: SimpleQueue[tuple[Any, tuple[Any, ...]]] = SimpleQueue()

    def callFromThread(self, call: Any, *arguments: Any) -> None:
        self.calls.put((call, arguments))

    def turn(self) -> None:
        """Wait for one call of a thread, and do it."""
        call, arguments = self.calls.get(timeout=10)
        call(*arguments)


class HungDiskTests(SynchronousTestCase):
    """A disk that hangs."""

    def test_others_go_on(self) -> None:
        """Only the session whose disk hangs waits for it; a bounded part of what it sends is in memory."""
        reactor = CallsFromThreads()
        hangs, released = Event(), Event()
        self.addCleanup(released.set)
        fsync = os.fsync
        sessions = []
        for name in ("hung", "other"):
            end, storing = FakeChannel(), Storing(self.mktemp(), Rules())
            thread = DiskThread(reactor, name)
            self.addCleanup(thread.close)
            sessions.append((end, storing, Receiving(end, thread, storing)))

        def sync(fd: int) -> None:
            if current_thread().name == "hung":
                hangs.set()
                released.wait()
            fsync(fd)

        self.patch(os, "fsync", sync)
        announced = [
            each.asked(Announce(0, [Entry(FILE, b"a", 3, TIME), Entry(FILE, b"b", 1 << 30, TIME)]))
            for _, _, each in sessions
        ]
        while not all(answer.called for answer in announced):
            reactor.turn()
        (end, _, hung), (other_end, _, other) = sessions
        hung.data_received(piece(0, b"one"))
        self.assertTrue(hangs.wait(10))
        offset = 0
        while not end.paused:
            hung.data_received(piece(1, bytes(100000), offset, 0))
            offset += 100000
        self.assertLess(offset, WAITING_LIMIT + 200000)
        other.data_received(piece(0, b"one") + piece(1, b"x", 0, 0))
        while not other_end.outcomes:
            reactor.turn()
        self.assertEqual(other_end.outcomes, [Outcome(4, [Settled(0, size=3)])])
        self.assertEqual(end.outcomes, [])
        lost = other.lost()
        while not lost.called:
            reactor.turn()
        # The disk is back.
        released.set()
        while end.paused:
            reactor.turn()
        self.assertEqual(end.outcomes[0].files, [Settled(0, size=3)])
        lost = hung.lost()
        while not lost.called:
            reactor.turn()
