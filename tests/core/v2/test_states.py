"""
Tests of :mod:`sodiumtwist.core.v2.states`: that the tables say what the wire document says. Sentences in quotes are
the document's.
"""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from sodiumtwist.core.v2.pdus import RULES, UNKNOWN, PDUType, Sender, name_of
from sodiumtwist.core.v2.states import (
    ANSWERER,
    ASKED_NOTHING,
    ASKER,
    GIVE_UP,
    SAID_END,
    SAYING,
    WELCOMED,
    Asked,
    Received,
    Saying,
)

#: Who has nothing more to ask or to tell may still say these.
ALWAYS = {"PING", "PONG", "ANSWER", "FAILURE", "PADDING", "CANCEL"}


def names(state: Saying) -> set[str]:
    """The types that may be said in a state, but for those that are not known."""
    return {name_of(kind) for kind in SAYING[state] if kind != UNKNOWN}


class SayingTests(SynchronousTestCase):
    """What an end says."""

    def test_states(self) -> None:
        """Each state has its row, and each row leads to states that there are."""
        self.assertEqual(set(SAYING), set(Saying))
        self.assertLessEqual(set(WELCOMED) | set(WELCOMED.values()), set(Saying))

    def test_undecided(self) -> None:
        """“Nothing precedes WELCOME or REFUSED”."""
        self.assertEqual(names(Saying.UNDECIDED), {"WELCOME", "REFUSED"})
        self.assertNotIn(UNKNOWN, SAYING[Saying.UNDECIDED])

    def test_from_the_server(self) -> None:
        """WELCOME and REFUSED are said in no other state, which are all that a client can be in."""
        server = {kind.name for kind in PDUType if RULES[kind].sender is Sender.SERVER}
        for state in set(Saying) - {Saying.UNDECIDED}:
            self.assertEqual(names(state) & server, set(), state)

    def test_open(self) -> None:
        self.assertEqual(names(Saying.OPEN), {kind.name for kind in PDUType if RULES[kind].sender is Sender.BOTH})

    def test_early(self) -> None:
        """“By its own rule no DRAIN or ABORT”, and no answers, for nothing was asked."""
        self.assertEqual(names(Saying.EARLY), {"DATA", "REQUEST", "PING", "CANCEL", "PADDING", "END"})
        self.assertEqual(names(Saying.EARLY_ENDED), {"PING", "CANCEL", "PADDING"})

    def test_end(self) -> None:
        """“No DATA, REQUEST or END from this side any more; all else may come”."""
        self.assertEqual(names(Saying.ENDED), ALWAYS | {"DRAIN", "ABORT"})
        self.assertEqual(names(Saying.ENDED_DRAINING), ALWAYS | {"ABORT"})

    def test_drain(self) -> None:
        """“Its sender may still ask”. DRAIN comes “once”."""
        self.assertEqual(names(Saying.DRAINING), names(Saying.OPEN) - {"DRAIN"})

    def test_over(self) -> None:
        """ABORT is “its last PDU”; so is REFUSED, but for a PADDING that goes with it."""
        self.assertEqual(names(Saying.OVER), set())
        for row in SAYING.values():
            for kind, state in row.items():
                self.assertEqual(state is Saying.OVER, name_of(kind) in ("REFUSED", "ABORT"))

    def test_groups(self) -> None:
        """What a name says of a state, its group has."""
        self.assertEqual(SAID_END, {state for state in Saying if "ENDED" in state.name})
        self.assertEqual(ASKED_NOTHING, {state for state in Saying if "DRAINING" in state.name} | {Saying.OVER})


class RequestTests(SynchronousTestCase):
    """The two tables of requests."""

    def test_states(self) -> None:
        self.assertEqual(set(ASKER), set(Asked))
        self.assertEqual(set(ANSWERER), set(Received))

    def test_one_answer_comes(self) -> None:
        """“One ANSWER or FAILURE still comes”, cancelled or not; none comes to nothing."""
        for state in Asked:
            acts = {name_of(act) for act in ASKER[state] if act != GIVE_UP}
            self.assertEqual(acts, set() if state is Asked.DONE else {"ANSWER", "FAILURE", "CANCEL"})

    def test_cancel_is_always_right(self) -> None:
        """“A CANCEL to nothing is passed over (it may cross its answer)”."""
        for state in Received:
            self.assertIn("CANCEL", {name_of(act) for act in ANSWERER[state] if act != GIVE_UP})

    def test_in_use(self) -> None:
        """A REQUEST may come with an id that is free, or of which parts are to come."""
        free = {state for state in Received if "REQUEST" in {name_of(act) for act in ANSWERER[state] if act != GIVE_UP}}
        self.assertEqual(free, {Received.FREE, Received.COMING, Received.DROPPING})
