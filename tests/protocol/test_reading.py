"""
Why nothing is read, and what the transport is told of it.
"""

from __future__ import annotations

from hypothesis import given, strategies as st
from twisted.trial.unittest import SynchronousTestCase

from sodiumtwist.core.v1.messages import PDU_OVERHEAD
from sodiumtwist.protocol.reading import APPLICATION, BEHIND, LOGIN, OVER, WRITING, Reading

REASONS = (APPLICATION, WRITING, LOGIN, OVER)


class ReadingTests(SynchronousTestCase):
    """Reasons, and whether the transport is paused for them."""

    def test_reasons_are_told_apart(self) -> None:
        """Each is a bit of its own."""
        reasons = (*REASONS, BEHIND)
        self.assertEqual([bin(reason).count("1") for reason in reasons], [1] * 5)
        self.assertEqual(len(set(reasons)), 5)

    def test_at_first(self) -> None:
        """There is none, and the transport reads, as a new one does."""
        reading = Reading()
        self.assertEqual((reading.reasons, reading.paused, reading.regulate()), (0, False, False))

    def test_one(self) -> None:
        """The transport is told once that there is a reason, and once that there no longer is."""
        for reason in (APPLICATION, WRITING, LOGIN):
            reading = Reading()
            told = []
            for step in (reading.stop, reading.stop, reading.allow, reading.allow):
                step(reason)
                told.append((reading.regulate(), reading.paused))
            self.assertEqual(told, [(True, True), (False, True), (True, False), (False, False)])

    def test_several(self) -> None:
        """It reads again when the last has gone, whichever that is."""
        for last in (APPLICATION, WRITING, LOGIN):
            reading = Reading()
            for reason in (APPLICATION, WRITING, LOGIN):
                reading.stop(reason)
            self.assertTrue(reading.regulate())
            for reason in {APPLICATION, WRITING, LOGIN} - {last}:
                reading.allow(reason)
                # That the application is not what keeps it is worth telling, too.
                self.assertIs(reading.regulate(), reason == APPLICATION)
                self.assertTrue(reading.paused)
            self.assertEqual(reading.reasons, last)
            reading.allow(last)
            self.assertTrue(reading.regulate())
            self.assertFalse(reading.paused)

    def test_come_and_gone_untold(self) -> None:
        """What is over before the transport was told need not be told."""
        reading = Reading()
        reading.stop(APPLICATION)
        reading.allow(APPLICATION)
        self.assertFalse(reading.regulate())

    def test_deaf(self) -> None:
        """The transport reads nothing, and the application is why, or one reason why."""
        reading = Reading()
        for step, reason, deaf in (
            (reading.stop, WRITING, False),
            (reading.stop, APPLICATION, True),
            (reading.allow, WRITING, True),
            (reading.stop, WRITING, True),
            (reading.allow, APPLICATION, False),
            (reading.allow, WRITING, False),
        ):
            step(reason)
            reading.regulate()
            self.assertIs(reading.deaf, deaf)
            self.assertIs(reading.paused, reading.reasons != 0)

    def test_read_ahead(self) -> None:
        """With room, the transport reads on for an application that has paused, until what is held fills it."""
        for reason in (APPLICATION, WRITING):
            reading = Reading()
            reading.room = 2 * (PDU_OVERHEAD + 10)
            reading.stop(reason)
            for payload in (b"0123456789", b""):
                self.assertFalse(reading.regulate())
                self.assertTrue(reading.may_read_ahead)
                reading.hold(payload)
            reading.hold(b"0123456789")
            self.assertTrue(reading.regulate())
            self.assertEqual(
                (reading.paused, reading.deaf, reading.may_read_ahead), (True, reason == APPLICATION, False)
            )
            # As soon as there is room it reads again, whether the application goes on or takes one at a time.
            self.assertEqual(reading.release(), b"0123456789")
            self.assertTrue(reading.regulate())
            self.assertEqual((reading.paused, reading.deaf), (False, False))
            self.assertTrue(reading.stopped)

    def test_what_was_held_comes_first(self) -> None:
        """While something is, that is a reason not to take what comes; but none not to read."""
        reading = Reading()
        reading.room = room = 1000
        reading.stop(APPLICATION)
        for payload in (b"1", b"", b"2"):
            reading.hold(payload)
        reading.allow(APPLICATION)
        self.assertEqual((reading.reasons, reading.stopped, reading.regulate()), (BEHIND, False, False))
        self.assertEqual([reading.release() for _ in range(3)], [b"1", b"", b"2"])
        self.assertEqual((reading.reasons, reading.room), (0, room))

    def test_nothing_is_read_ahead_for_strangers(self) -> None:
        """Nor while a login is undecided, nor when it is over."""
        reading = Reading()
        self.assertFalse(reading.may_read_ahead)
        reading.room = 1000
        reading.stop(LOGIN)
        self.assertFalse(reading.may_read_ahead)
        reading.allow(LOGIN)
        reading.hold(b"1")
        reading.finish()
        self.assertEqual((reading.reasons, reading.may_read_ahead), (OVER, False))

    def test_over(self) -> None:
        """Then the transport stays as it is: paused, or so that the end is seen."""
        for paused in (False, True):
            reading = Reading()
            if paused:
                reading.stop(APPLICATION)
                reading.regulate()
            reading.stop(OVER)
            self.assertTrue(reading.reasons)
            reading.allow(APPLICATION)
            self.assertFalse(reading.regulate())
            reading.stop(WRITING)
            self.assertFalse(reading.regulate())
            self.assertIs(reading.paused, paused)

    def test_read_on(self) -> None:
        """Whatever the reasons; the transport is told if it was paused, and only then."""
        for paused in (False, True):
            reading = Reading()
            if paused:
                reading.stop(WRITING)
                reading.regulate()
            reading.stop(OVER)
            self.assertIs(reading.read_on(), paused)
            self.assertFalse(reading.paused)
            self.assertFalse(reading.read_on())

    @given(
        st.lists(st.tuples(st.sampled_from(["stop", "allow", "regulate", "on"]), st.sampled_from(REASONS)), max_size=30)
    )
    def test_any_steps(self, steps: list[tuple[str, int]]) -> None:
        """The reasons are a set, and the transport, told of each change, knows what ``paused`` says."""
        reading, reasons, transport_paused = Reading(), set[int](), False
        for step, reason in steps:
            if step == "stop":
                reading.stop(reason)
                reasons.add(reason)
            elif step == "allow":
                reading.allow(reason)
                reasons.discard(reason)
            elif step == "on":
                if reading.read_on():
                    transport_paused = False
            else:
                if reading.regulate():
                    transport_paused = reading.paused
                if OVER not in reasons:
                    self.assertIs(transport_paused, bool(reasons))
            self.assertEqual(reading.reasons, sum(reasons))
            self.assertIs(reading.paused, transport_paused)
