"""
The sender's half of the file dialogue, with a receiver and a thread in memory.
"""

from __future__ import annotations

import gc
import os
from collections.abc import Callable
from hashlib import blake2b
from typing import Any
from unittest.mock import patch
from weakref import ref

from twisted.internet.defer import Deferred
from twisted.internet.error import ConnectionLost
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase

from sodiumtwist.core.errors import LocalProtocolError, RemoteProtocolError, RequestFailed
from sodiumtwist.protocol.sockets import CHUNK_SIZE
from sodiumtwist.transfer.sources import RegularSource, Source
from sodiumtwist.transfer.tree import reading, sending, walking
from sodiumtwist.transfer.tree.messages import (
    ANNOUNCEMENT_SIZE,
    FILE,
    FOLDER,
    HAVE,
    REFUSED,
    RESUME,
    SEND,
    STREAM,
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
    encode,
)
from sodiumtwist.transfer.tree.pieces import PIECE_SIZE
from sodiumtwist.transfer.tree.report import (
    FAILED,
    REFUSED as WAS_REFUSED,
    STORED,
    THERE,
    WOULD_RESUME,
    WOULD_SEND,
    FileResult,
    Report,
)
from sodiumtwist.transfer.tree.sending import Sending, Stream
from sodiumtwist.transfer.tree.walking import Root, Walk

from .senders import ReceiverInHand, ThreadInHand, Told, make_tree, write


def digest(data: bytes) -> bytes:
    return blake2b(data, digest_size=32).digest()


class SendingTestCase(SynchronousTestCase):
    """Makes a folder, and what sends it."""

    def setUp(self) -> None:
        self.root = self.mktemp()
        make_tree(self.root)
        self.receiver = ReceiverInHand()
        self.thread = ThreadInHand()
        self.told = Told()

    def path(self, name: str) -> str:
        return os.path.join(self.root, name)

    def write(self, name: str, data: bytes) -> None:
        write(self.path(name), data)

    def start(self, dry: bool = False, digests: bool = False) -> Deferred[None]:
        return self.begin(Walk([Root(b"top", os.fsencode(self.root))]), dry, digests)

    def begin(self, found: Walk | Stream, dry: bool = False, digests: bool = False) -> Deferred[None]:
        self.sending = Sending(self.receiver, self.thread, found, self.told, dry, digests)
        return self.sending.start()

    def work(self) -> None:
        """Let the thread do all that waits for it."""
        while self.thread.waiting:
            self.thread.step()

    def take(self) -> None:
        """Let the receiver take all that was sent, and say so."""
        self.receiver.take()
        self.sending.data_received(self.receiver.outcome())

    def run_all(self) -> None:
        """Let both ends do what they can, until nothing is left."""
        while self.thread.waiting or self.receiver.questions or self.receiver.payloads:
            if self.thread.waiting:
                self.thread.step()
            elif self.receiver.payloads:
                self.take()
            else:
                self.receiver.answer()

    def outcomes(self) -> dict[bytes, str]:
        return {result.path: result.outcome for result in self.told.results}


class WholeTests(SendingTestCase):
    """
    From the first announcement to the last answer.
    """

    def test_tree(self) -> None:
        self.write("a", b"alpha")
        self.write("empty", b"")
        os.mkdir(os.path.join(self.root, "inside"))
        self.write("inside/large", b"0123456789" * 100_000)
        sent = self.start()
        self.run_all()
        self.successResultOf(sent)
        self.assertEqual(
            self.receiver.contents,
            {b"top/a": b"alpha", b"top/empty": b"", b"top/inside/large": b"0123456789" * 100_000},
        )
        self.assertEqual([result.path for result in self.told.results], [b"top/a", b"top/empty", b"top/inside/large"])
        self.assertEqual({result.outcome for result in self.told.results}, {STORED})
        self.assertEqual((self.told.files, self.told.size), (3, 1_000_005))
        self.assertEqual(self.told.bytes_written, 1_000_005)
        times = {
            path: os.stat(os.path.join(self.root, name)).st_mtime_ns
            for path, name in ((b"top", "."), (b"top/inside", "inside"))
        }
        self.assertEqual(self.receiver.times, times)
        self.assertIsNone(self.receiver.producer)

    def test_requests(self) -> None:
        """What is asked, in this order."""
        self.write("a", b"alpha")
        os.symlink("a", self.path("link"))
        os.mkfifo(self.path("fifo"))
        self.start()
        self.run_all()
        self.assertEqual([type(message) for message in self.receiver.asked], [Announce, SetTimes, Finish])
        self.assertEqual(self.receiver.finish, Finish(links=1, others=1))
        self.assertEqual([path for path, _ in self.told.not_sent], [b"top/fifo", b"top/link"])
        self.assertEqual(self.told.troubles, [])

    def test_trouble(self) -> None:
        """It is told to both sides, and the rest is sent."""
        self.write("a", b"alpha")
        sent = self.begin(Walk([Root(b"gone", b"/nowhere"), Root(b"a", os.fsencode(self.path("a")))]))
        self.run_all()
        self.successResultOf(sent)
        self.assertEqual(self.told.troubles, [(b"gone", "No such file or directory")])
        self.assertEqual(self.receiver.finish, Finish(troubles=[Trouble(b"gone", "No such file or directory")]))
        self.assertEqual(self.receiver.contents, {b"a": b"alpha"})

    def test_nothing(self) -> None:
        sent = self.begin(Walk([]))
        self.run_all()
        self.successResultOf(sent)
        self.assertEqual([type(message) for message in self.receiver.asked], [Finish])

    def test_results(self) -> None:
        """Under which name a file is stored, and what is told of it."""
        self.write("a", b"alpha")
        self.start()
        self.work()
        self.receiver.answer()
        self.work()
        settled = Settled(1, 0, "a word", b"top/a.1", digest(b"alpha"), 5)
        self.sending.data_received(encode(Outcome(5, [settled])))
        self.assertEqual(
            self.told.results,
            [FileResult(b"top/a", FILE, STORED, b"top/a.1", 5, digest(b"alpha").hex(), 0, "a word")],
        )

    def test_many_times(self) -> None:
        """Folders have their times in several requests, a few at once, and Finish goes behind all."""
        for number in range(30):
            os.mkdir(self.path(str(number)))
        with patch.object(walking, "ENTRIES", 3):
            sent = self.start()
            self.work()
            while type(self.receiver.questions[0][0]) is Announce:
                self.receiver.answer()
                self.work()
            self.assertEqual(len(self.receiver.questions), sending.ANNOUNCEMENTS)
            self.run_all()
        self.successResultOf(sent)
        self.assertEqual(len(self.receiver.times), 31)
        self.assertIs(type(self.receiver.asked[-1]), Finish)
        self.assertEqual([type(message) for message in self.receiver.asked].count(Finish), 1)


class VerdictTests(SendingTestCase):
    """
    The receiver says what shall become of each.
    """

    def test_there(self) -> None:
        """It is not read."""
        self.write("a", b"alpha")
        self.receiver.verdicts[b"top/a"] = Verdict(HAVE, name=b"top/a.2")
        self.start()
        self.run_all()
        self.assertEqual(self.told.results, [FileResult(b"top/a", FILE, THERE, b"top/a.2", 5)])
        self.assertEqual(self.told.begun, [(b"top/a", 5, 5)])
        self.assertEqual(self.receiver.numbers, [])

    def test_not_to_be_used(self) -> None:
        """Who says that nothing there is to be used has it sent: nobody may say that it is there."""
        self.write("a", b"alpha")
        for verdict in (Verdict(HAVE), Verdict(RESUME, 3, digest(b"alp"))):
            self.receiver, self.thread = ReceiverInHand(), ThreadInHand()
            self.receiver.verdicts[b"top/a"] = verdict
            found = Walk([Root(b"top", os.fsencode(self.root))])
            self.sending = Sending(self.receiver, self.thread, found, self.told, resume=False)
            sent = self.sending.start()
            self.work()
            self.receiver.answer()
            self.failureResultOf(sent, RemoteProtocolError)
        self.assertEqual(self.told.results, [])

    def test_refused(self) -> None:
        """A folder with all that is in it, whose time is not set then either."""
        os.mkdir(self.path("inner"))
        self.write("inner/a", b"alpha")
        self.write("b", b"beta")
        for path in (b"top/inner", b"top/inner/a"):
            self.receiver.verdicts[path] = Verdict(REFUSED, code=9, text="because")
        self.start()
        self.run_all()
        self.assertEqual(
            self.told.results[:2],
            [
                FileResult(b"top/inner", FOLDER, WAS_REFUSED, code=9, text="because"),
                FileResult(b"top/inner/a", FILE, WAS_REFUSED, code=9, text="because"),
            ],
        )
        self.assertEqual(self.receiver.contents, {b"top/b": b"beta"})
        self.assertEqual(list(self.receiver.times), [b"top"])

    def test_resume(self) -> None:
        self.write("same", b"alphabet")
        self.write("other", b"alphabet")
        self.receiver.there = {b"top/same": b"alpha", b"top/other": b"gamma"}
        self.start()
        self.run_all()
        self.assertEqual(self.receiver.contents, {b"top/same": b"alphabet", b"top/other": b"alphabet"})
        self.assertEqual(self.told.bytes_written, 11)
        self.assertEqual(sorted(self.told.begun), [(b"top/other", 8, 0), (b"top/same", 8, 5)])

    def test_dry(self) -> None:
        """Nothing is read or sent, and no time is set."""
        os.mkdir(self.path("inner"))
        for name in ("new", "begun", "there"):
            self.write(name, b"alphabet")
        self.receiver.there[b"top/begun"] = b"alpha"
        self.receiver.verdicts[b"top/there"] = Verdict(HAVE)
        sent = self.start(dry=True)
        self.run_all()
        self.successResultOf(sent)
        self.assertEqual(self.outcomes(), {b"top/new": WOULD_SEND, b"top/begun": WOULD_RESUME, b"top/there": THERE})
        self.assertEqual([type(message) for message in self.receiver.asked], [Announce, Finish])
        self.assertEqual(self.receiver.numbers, [])

    def test_answers_in_another_order(self) -> None:
        """Pieces go by their numbers all the same."""
        for number in range(8):
            self.write(str(number), b"x")
        with patch.object(walking, "ENTRIES", 3):
            sent = self.start()
            self.work()
            self.assertEqual(len(self.receiver.questions), 3)
            self.receiver.answer(last=True)
            self.receiver.answer(last=True)
            self.work()
            self.take()
            self.assertEqual(self.receiver.numbers, [])
            self.run_all()
        self.successResultOf(sent)
        self.assertEqual(self.receiver.numbers, list(range(1, 9)))


class BoundTests(SendingTestCase):
    """
    Nothing is read or announced that the other end does not take yet.
    """

    def test_announcements(self) -> None:
        """Some are under way at once, and not all."""
        for number in range(30):
            self.write(f"{number:02}", b"x")
        with patch.object(walking, "ENTRIES", 3):
            self.start()
            self.work()
            self.assertEqual(len(self.receiver.questions), sending.ANNOUNCEMENTS)
            self.receiver.answer()
            self.work()
            self.assertEqual(len(self.receiver.questions), sending.ANNOUNCEMENTS)

    def test_unsettled(self) -> None:
        """Until files are settled, no more than the window is announced."""
        for number in range(30):
            self.write(f"{number:02}", b"x")
        with patch.object(walking, "ENTRIES", 3), patch.object(sending, "ENTRIES", 3):
            with patch.object(sending, "WINDOW", 9):
                self.start()
                for _ in range(3):
                    self.work()
                    self.receiver.answer()
                self.work()
                # One of them is the folder, which is settled by its verdict. So there is room for no other three.
                self.assertEqual(len(self.receiver.entries), 9)
                self.assertEqual(len(self.receiver.questions), 0)
                self.take()
                self.work()
                self.assertEqual(len(self.receiver.questions), 3)

    def test_unsettled_paths(self) -> None:
        """Nor more bytes of paths, which the receiver has to keep."""
        for number in range(30):
            self.write(f"{number:0100}", b"x")
        with (
            patch.object(walking, "ENTRIES", 3),
            patch.object(sending, "PATHS_WINDOW", ANNOUNCEMENT_SIZE + 500),
        ):
            sent = self.start()
            self.work()
            self.assertEqual(len(self.receiver.questions), 2)
            self.run_all()
        self.successResultOf(sent)
        self.assertEqual(len(self.receiver.contents), 30)

    def test_transport_is_full(self) -> None:
        """At most two jobs are read ahead. What is read goes when there is room, and no faster."""
        self.write("large", bytes(50 * PIECE_SIZE))
        with (
            patch.object(reading, "JOB_SIZE", 4 * CHUNK_SIZE),
            patch("sodiumtwist.transfer.tree.feeding.JOB_SIZE", 4 * CHUNK_SIZE),
        ):
            sent = self.start()
            self.work()
            self.receiver.producer.pauseProducing()
            self.receiver.answer()
            self.work()
            self.assertEqual(len(self.receiver.payloads), 0)
            self.assertEqual(self.sending._feed.size, 4 * PIECE_SIZE)
            send_data = self.receiver.send_data

            def send_one(payload: Any) -> None:
                send_data(payload)
                self.receiver.producer.pauseProducing()

            self.receiver.send_data = send_one  # type: ignore[method-assign]
            self.receiver.producer.resumeProducing()
            self.assertEqual(len(self.receiver.payloads), 1)
            self.work()
            self.assertEqual(self.sending._feed.size, 8 * PIECE_SIZE)
            self.receiver.producer.resumeProducing()
            self.work()
            self.assertEqual(len(self.receiver.payloads), 2)
            self.assertEqual(self.sending._feed.size, 8 * PIECE_SIZE)
            self.receiver.send_data = send_data  # type: ignore[method-assign]
            self.receiver.producer.resumeProducing()
            self.run_all()
        self.successResultOf(sent)
        self.assertEqual(len(self.receiver.contents[b"top/large"]), 50 * PIECE_SIZE)

    def test_reading_goes_on_while_sending(self) -> None:
        """The next job is under way as soon as what waits is less than one."""
        self.write("large", bytes(50 * PIECE_SIZE))
        self.start()
        self.work()
        self.receiver.answer()
        self.thread.step()
        self.assertEqual(len(self.receiver.payloads), 9)
        self.assertEqual(len(self.thread.waiting), 1)


class FailureTests(SendingTestCase):
    """
    What goes wrong with one file concerns no other.
    """

    def test_unreadable(self) -> None:
        """It is told why, in our own words."""
        self.write("a", b"alpha")
        self.write("b", b"beta")
        sent = self.start()
        self.work()
        os.remove(self.path("a"))
        self.run_all()
        self.successResultOf(sent)
        why = "it can't be read: No such file or directory"
        self.assertEqual(self.receiver.voids, {b"top/a": why})
        self.assertEqual(self.told.results[0], FileResult(b"top/a", FILE, FAILED, code=9, text=why))
        self.assertEqual(self.receiver.contents, {b"top/b": b"beta"})

    def test_not_stored(self) -> None:
        """The disk of the receiver is full, for instance, in the middle of a file: no more of it is sent."""
        self.write("a", bytes(50 * PIECE_SIZE))
        self.write("b", b"beta")
        sent = self.start()
        self.work()
        self.receiver.answer()
        self.thread.step()
        self.receiver.take()
        self.sending.data_received(encode(Outcome(100, [Settled(1, 9, "the disk is full")])))
        self.receiver.settled.clear()
        self.work()
        self.receiver.take()
        self.assertLess(self.receiver.written, 30 * PIECE_SIZE)
        self.receiver.settled = [settled for settled in self.receiver.settled if settled.number != 1]
        self.sending.data_received(self.receiver.outcome())
        self.run_all()
        self.successResultOf(sent)
        self.assertEqual(self.told.results[0], FileResult(b"top/a", FILE, FAILED, code=9, text="the disk is full"))
        self.assertEqual(self.outcomes()[b"top/b"], STORED)

    def test_digests(self) -> None:
        """One that differs shows that what is stored is another file."""
        self.write("a", b"alpha")
        self.write("b", b"beta")
        self.start(digests=True)
        self.work()
        self.receiver.answer()
        self.work()
        stored = [Settled(1, digest=digest(b"alpha"), size=5), Settled(2, digest=digest(b"gamma"), size=5)]
        self.sending.data_received(encode(Outcome(9, stored)))
        self.assertEqual([result.outcome for result in self.told.results], [STORED, FAILED])
        self.assertEqual(self.told.results[0].digest, digest(b"alpha").hex())

    def test_sizes(self) -> None:
        """Where another number of bytes is stored than was sent, it is another file, too."""
        self.write("a", b"alpha")
        self.write("b", b"beta")
        self.write("c", bytes(2 * PIECE_SIZE))
        self.start()
        self.work()
        self.receiver.answer()
        self.work()
        size = 2 * PIECE_SIZE
        self.sending.data_received(encode(Outcome(9, [Settled(1, size=5), Settled(2, size=5), Settled(3, size=size)])))
        self.assertEqual([result.outcome for result in self.told.results], [STORED, FAILED, STORED])
        self.assertEqual(self.told.results[1].text, "4 bytes were sent, and what is stored has 5")

    def test_report_that_fails(self) -> None:
        """So does the whole, and not in silence."""
        self.write("a", b"alpha")

        class Failing(Report):
            def begins(self, path: bytes, size: int, offset: int) -> None:
                raise ValueError("of the report")

        self.told = Failing()  # type: ignore[assignment]
        sent = self.start()
        self.work()
        self.receiver.answer()
        self.work()
        self.failureResultOf(sent, ValueError)


class EndTests(SendingTestCase):
    """
    How it ends before all is settled.
    """

    def opened(self) -> int:
        return len(os.listdir("/dev/fd"))

    def test_lost(self) -> None:
        """Nothing is read any more, and nothing stays open."""
        # What others have left must not be closed meanwhile.
        gc.disable()
        self.addCleanup(gc.enable)
        before = self.opened()
        self.write("a", bytes(50 * PIECE_SIZE))
        sent = self.start()
        self.work()
        self.receiver.answer()
        self.thread.step()
        self.assertGreater(self.opened(), before)
        self.sending.lost(Failure(ConnectionLost()))
        self.failureResultOf(sent, ConnectionLost)
        self.work()
        self.assertEqual(self.opened(), before)
        self.assertIsNone(self.receiver.producer)
        self.sending.data_received(b"of which nothing is looked at")
        self.assertEqual(self.receiver.aborted, [])

    def test_lost_while_walking(self) -> None:
        """What the thread brings then is dropped."""
        sent = self.start()
        self.sending.lost(Failure(ConnectionLost()))
        self.failureResultOf(sent, ConnectionLost)
        self.work()
        self.assertEqual(self.receiver.asked, [])

    def test_lost_while_reading(self) -> None:
        """Nobody is told of it then."""
        self.write("a", b"alpha")
        sent = self.start()
        self.work()
        self.receiver.answer()
        self.sending.lost(Failure(ConnectionLost()))
        self.failureResultOf(sent, ConnectionLost)
        self.work()
        self.assertEqual((self.told.begun, len(self.receiver.payloads)), ([], 0))

    def test_about_to_be_lost(self) -> None:
        """The connection takes nothing any more, and does not say why before it is lost."""
        self.write("a", b"alpha")
        sent = self.start()
        self.work()

        def refuse(payload: Any) -> None:
            raise LocalProtocolError("the connection is over")

        self.receiver.send_data = refuse  # type: ignore[method-assign]
        self.receiver.answer()
        self.work()
        self.assertNoResult(sent)
        self.sending.lost(Failure(ConnectionLost()))
        self.failureResultOf(sent, ConnectionLost)

    def test_answered_when_lost(self) -> None:
        """It changes nothing."""
        sent = self.start()
        self.work()
        self.sending.lost(Failure(ConnectionLost()))
        self.failureResultOf(sent, ConnectionLost)
        self.receiver.questions.popleft()[1].callback(b"")
        self.assertEqual(self.receiver.aborted, [])

    def test_lost_when_all_is_over(self) -> None:
        sent = self.start()
        self.run_all()
        self.successResultOf(sent)
        self.sending.lost(Failure(ConnectionLost()))

    def test_refused(self) -> None:
        """The receiver does not go on."""
        sent = self.start()
        self.work()
        self.receiver.refuse(3, "no room")
        self.assertEqual(self.failureResultOf(sent, RequestFailed).value.code, 3)
        self.assertEqual(self.receiver.aborted, [])

    def test_nothing_stays_open(self) -> None:
        # What others have left must not be closed meanwhile.
        gc.disable()
        self.addCleanup(gc.enable)
        before = self.opened()
        self.write("a", b"alpha")
        self.start()
        self.run_all()
        self.assertEqual(self.opened(), before)

    def test_freed(self) -> None:
        """It is freed when nobody has it any more, without the collector: a server sends to a great many clients."""
        self.write("a", b"alpha")
        sent = self.start()
        self.run_all()
        self.successResultOf(sent)
        freed = ref(self.sending)
        gc.disable()
        self.addCleanup(gc.enable)
        del self.sending
        self.assertIsNone(freed())


class BrokenTests(SendingTestCase):
    """
    A receiver that breaks the rules ends the connection.
    """

    def broken(self, what: Callable[[], object], text: str) -> None:
        """Announce a folder and two files, of which the first is sent, and see that the rest breaks."""
        self.write("a", b"alpha")
        self.write("b", bytes(50 * PIECE_SIZE))
        sent = self.start()
        self.work()
        self.receiver.answer()
        self.thread.step()
        what()
        self.failureResultOf(sent, RemoteProtocolError)
        ((code, told),) = self.receiver.aborted
        self.assertEqual(code, 6)
        self.assertIn(text, told)

    def outcome(self, written: int, *files: Settled) -> Callable[[], object]:
        return lambda: self.sending.data_received(encode(Outcome(written, list(files))))

    def test_no_outcome(self) -> None:
        self.broken(lambda: self.sending.data_received(b"\xc1"), "none of the file dialogue")

    def test_more_than_was_sent(self) -> None:
        self.broken(self.outcome(1 << 40), "more than was sent")

    def test_less_than_before(self) -> None:
        def less() -> None:
            self.outcome(9)()
            self.outcome(8)()

        self.broken(less, "less than the last one")

    def test_folder(self) -> None:
        self.broken(self.outcome(0, Settled(0)), "does not wait")

    def test_twice(self) -> None:
        self.broken(self.outcome(0, Settled(1), Settled(1)), "does not wait")

    def test_not_announced(self) -> None:
        self.broken(self.outcome(0, Settled(77, 9)), "does not wait")

    def test_before_its_verdict(self) -> None:
        """Nothing is known of an entry whose announcement is not answered."""
        self.write("a", b"alpha")
        sent = self.start()
        self.work()
        self.sending.data_received(encode(Outcome(0, [Settled(1, 9)])))
        self.failureResultOf(sent, RemoteProtocolError)
        self.assertEqual(len(self.receiver.aborted), 1)

    def test_stored_before_it_was_sent(self) -> None:
        self.broken(self.outcome(0, Settled(2)), "not sent whole")

    def judged(self, answer: Any, text: str) -> None:
        """Answer the first announcement, of a folder and a file."""
        self.write("a", b"alpha")
        sent = self.start()
        self.work()
        self.receiver.questions.popleft()[1].callback(encode(answer))
        self.failureResultOf(sent, RemoteProtocolError)
        ((code, told),) = self.receiver.aborted
        self.assertEqual(code, 6)
        self.assertIn(text, told)

    def test_other_answer(self) -> None:
        self.judged(Done(), "none of the file dialogue")

    def test_other_number_of_verdicts(self) -> None:
        self.judged(Verdicts([Verdict(SEND)]), "another number of verdicts")

    def test_resumes_more_than_there_is(self) -> None:
        self.judged(Verdicts([Verdict(SEND), Verdict(RESUME, 6, bytes(32))]), "more than was announced")

    def test_resumes_without_digest(self) -> None:
        self.judged(Verdicts([Verdict(SEND), Verdict(RESUME, 3)]), "no digest")

    def finished(self, answer: Any, text: str) -> None:
        """Answer Finish while a file is not settled."""
        self.write("a", b"alpha")
        sent = self.start()
        self.work()
        while self.receiver.questions and type(self.receiver.questions[0][0]) is not Finish:
            self.receiver.answer()
            self.work()
        self.receiver.questions.popleft()[1].callback(encode(answer))
        self.failureResultOf(sent, RemoteProtocolError)
        self.assertIn(text, self.receiver.aborted[0][1])

    def test_done_before_all_is_settled(self) -> None:
        self.finished(Done(), "not said what became of all files")

    def test_other_answer_at_the_end(self) -> None:
        self.finished(Verdicts([]), "none of the file dialogue")


class HeldSource(Source):
    """
    Delivers what the test says.
    """

    def __init__(self) -> None:
        super().__init__(os.open(os.devnull, os.O_RDONLY))
        self.takes: list[str] = []

    def _read_on(self) -> None:
        self.takes.append("resumed")

    def pause(self) -> None:
        super().pause()
        self.takes.append("paused")

    def deliver(self, data: bytes) -> None:
        self._deliver(data)

    def end(self, error: OSError | None = None) -> None:
        self._ended(error)

    @property
    def closed(self) -> bool:
        return self._fd < 0


class StreamTests(SendingTestCase):
    """
    Standard input, or a FIFO.
    """

    def setUp(self) -> None:
        super().setUp()
        self.source = HeldSource()
        self.addCleanup(self.source.close)

    def stream(self, dry: bool = False) -> Deferred[None]:
        return self.begin(Stream(self.source, b"name"), dry)

    def test_stream(self) -> None:
        sent = self.stream()
        self.assertEqual(self.receiver.asked, [Announce(0, [Entry(STREAM, b"name")])])
        self.assertEqual(self.source.takes, [])
        self.receiver.answer()
        self.assertEqual(self.source.takes, ["resumed"])
        self.source.deliver(b"alpha")
        self.source.deliver(b"bet")
        self.take()
        self.assertEqual(self.told.bytes_written, 8)
        self.source.end()
        self.assertTrue(self.source.closed)
        self.run_all()
        self.successResultOf(sent)
        self.assertEqual(self.receiver.contents, {b"name": b"alphabet"})
        self.assertEqual(self.told.results, [FileResult(b"name", STREAM, STORED, b"name", 8)])
        self.assertEqual([type(message) for message in self.receiver.asked], [Announce, Finish])

    def test_no_thread(self) -> None:
        """The disk has nothing to do with it."""
        sent = self.stream()
        self.receiver.answer()
        self.sending.lost(Failure(ConnectionLost()))
        self.failureResultOf(sent, ConnectionLost)
        self.assertEqual(len(self.thread.waiting), 0)

    def test_empty(self) -> None:
        sent = self.stream()
        self.receiver.answer()
        self.source.end()
        self.run_all()
        self.successResultOf(sent)
        self.assertEqual(self.receiver.contents, {b"name": b""})

    def test_full(self) -> None:
        """It is read when there is room."""
        self.stream()
        self.receiver.producer.pauseProducing()
        self.receiver.answer()
        self.assertEqual(self.source.takes, ["paused"])
        self.receiver.producer.resumeProducing()
        self.assertEqual(self.source.takes, ["paused", "resumed"])

    def test_size_of_data(self) -> None:
        """With the header it is no longer than other DATA."""
        self.write("file", bytes(2 * CHUNK_SIZE))
        source = RegularSource(os.open(self.path("file"), os.O_RDONLY))
        sent = self.begin(Stream(source, b""))
        self.receiver.answer()
        self.assertEqual(max(map(len, self.receiver.payloads)), CHUNK_SIZE)
        self.run_all()
        self.successResultOf(sent)

    def test_unreadable(self) -> None:
        sent = self.stream()
        self.receiver.answer()
        self.source.deliver(b"alpha")
        self.source.end(OSError(5, "Input/output error"))
        self.run_all()
        self.successResultOf(sent)
        self.assertEqual(self.told.results[0].text, "it can't be read: Input/output error")
        self.assertEqual(self.receiver.contents, {})

    def test_refused(self) -> None:
        """Nothing of it is read."""
        self.receiver.verdicts[b"name"] = Verdict(REFUSED, code=9, text="because")
        sent = self.stream()
        self.run_all()
        self.successResultOf(sent)
        self.assertEqual(self.outcomes(), {b"name": WAS_REFUSED})
        self.assertNotIn("resumed", self.source.takes)
        self.assertTrue(self.source.closed)

    def test_dry(self) -> None:
        self.stream(dry=True)
        self.run_all()
        self.assertEqual(self.outcomes(), {b"name": WOULD_SEND})
        self.assertNotIn("resumed", self.source.takes)

    def test_there(self) -> None:
        """Nothing of a stream can be there: who believed that would throw away what was piped into it."""
        for verdict in (Verdict(RESUME, 0, bytes(32)), Verdict(HAVE)):
            self.setUp()
            self.receiver.verdicts[b"name"] = verdict
            sent = self.stream()
            self.receiver.answer()
            self.failureResultOf(sent, RemoteProtocolError)
            self.assertEqual(self.told.results, [])

    def test_not_stored(self) -> None:
        """No more of it is read."""
        sent = self.stream()
        self.receiver.answer()
        self.source.deliver(b"alpha")
        self.receiver.take()
        self.sending.data_received(encode(Outcome(5, [Settled(0, 9, "the disk is full")])))
        self.assertTrue(self.source.closed)
        self.receiver.take()
        self.receiver.settled.clear()
        self.run_all()
        self.successResultOf(sent)
        self.assertEqual(self.told.results, [FileResult(b"name", STREAM, FAILED, code=9, text="the disk is full")])

    def test_about_to_be_lost(self) -> None:
        """No error reaches what reads the stream."""
        sent = self.stream()
        self.receiver.answer()

        def refuse(payload: Any) -> None:
            raise LocalProtocolError("the connection is over")

        self.receiver.send_data = refuse  # type: ignore[method-assign]
        self.source.deliver(b"alpha")
        self.assertEqual(self.source.takes, ["resumed", "paused"])
        self.assertNoResult(sent)

    def test_lost(self) -> None:
        sent = self.stream()
        self.receiver.answer()
        self.sending.lost(Failure(ConnectionLost()))
        self.failureResultOf(sent, ConnectionLost)
        self.assertTrue(self.source.closed)


class ReportTests(SynchronousTestCase):
    """
    What is told does nothing by itself.
    """

    def test_report(self) -> None:
        report = Report()
        report.found(1, 2)
        report.begins(b"a", 1, 0)
        report.written(1)
        report.settled(FileResult(b"a", FILE, STORED))

    def test_trouble_is_left_out(self) -> None:
        """Who does not tell them apart is told both."""
        left_out = []

        class Both(Report):
            def left_out(self, path: bytes, why: str) -> None:
                left_out.append((path, why))

        Both().trouble(b"a", "because")
        self.assertEqual(left_out, [(b"a", "because")])
