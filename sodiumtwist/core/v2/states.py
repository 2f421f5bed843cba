"""
What may be said when in version 2: a table for all that one end says, one for a request as its asker sees it, and one
as its answerer sees it. Nothing else decides that.

The acts are kinds of PDUs, sent or received.
"""

from __future__ import annotations

from enum import Enum, auto
from typing import Final

from .pdus import (
    ABORT,
    ANSWER,
    ANSWER_PART,
    CANCEL,
    DATA,
    DRAIN,
    END,
    FAILURE,
    PADDING,
    PING,
    PONG,
    REFUSED,
    REQUEST,
    REQUEST_PART,
    UNKNOWN,
    WELCOME,
)


class Saying(Enum):
    """How far one end is with what it says. Both ends keep that, of themselves and of the other."""

    #: A server that has neither welcomed nor refused its client.
    UNDECIDED = auto()
    #: A client to which the server has said nothing yet.
    EARLY = auto()
    #: The same, behind END.
    EARLY_ENDED = auto()
    #: It may say all.
    OPEN = auto()
    #: It has said DRAIN.
    DRAINING = auto()
    #: It has said END.
    ENDED = auto()
    #: It has said both.
    ENDED_DRAINING = auto()
    #: It says nothing any more: after REFUSED or ABORT, of either end.
    OVER = auto()

    __hash__ = object.__hash__  # each PDU asks, and that of Enum takes a call of Python


_EARLY = (PING, CANCEL, PADDING, UNKNOWN)
_ALWAYS = (*_EARLY, PONG, ANSWER, ANSWER_PART, FAILURE)
_NEW = (DATA, REQUEST, REQUEST_PART)

#: ``SAYING[state][kind]`` is the next state. A kind that is missing may not be said in that state.
SAYING: Final[dict[Saying, dict[int, Saying]]] = {
    # Nothing precedes them.
    Saying.UNDECIDED: {WELCOME: Saying.OPEN, REFUSED: Saying.OVER},
    # It was asked nothing yet. A server that is about to stop, or has to close, has not even decided.
    Saying.EARLY: {**dict.fromkeys((*_EARLY, *_NEW), Saying.EARLY), END: Saying.EARLY_ENDED},
    Saying.EARLY_ENDED: dict.fromkeys(_EARLY, Saying.EARLY_ENDED),
    Saying.OPEN: {
        **dict.fromkeys((*_ALWAYS, *_NEW), Saying.OPEN),
        END: Saying.ENDED,
        DRAIN: Saying.DRAINING,
        ABORT: Saying.OVER,
    },
    # Who drains may still ask.
    Saying.DRAINING: {
        **dict.fromkeys((*_ALWAYS, *_NEW), Saying.DRAINING),
        END: Saying.ENDED_DRAINING,
        ABORT: Saying.OVER,
    },
    Saying.ENDED: {
        **dict.fromkeys(_ALWAYS, Saying.ENDED),
        DRAIN: Saying.ENDED_DRAINING,
        ABORT: Saying.OVER,
    },
    Saying.ENDED_DRAINING: {**dict.fromkeys(_ALWAYS, Saying.ENDED_DRAINING), ABORT: Saying.OVER},
    Saying.OVER: {},
}

#: What WELCOME makes of what the client says.
WELCOMED: Final = {Saying.EARLY: Saying.OPEN, Saying.EARLY_ENDED: Saying.ENDED}

#: Who has said DRAIN or ABORT is asked nothing new.
ASKED_NOTHING: Final = frozenset({Saying.DRAINING, Saying.ENDED_DRAINING, Saying.OVER})
#: Who is there has said DRAIN.
SAID_DRAIN: Final = frozenset({Saying.DRAINING, Saying.ENDED_DRAINING})
#: Who is there has said END.
SAID_END: Final = frozenset({Saying.EARLY_ENDED, Saying.ENDED, Saying.ENDED_DRAINING})


class Asked(Enum):
    """A request of our own. It is forgotten with its answer."""

    #: Its answer has not come whole.
    WAITING = auto()
    #: The same, and it is not wanted any more.
    CANCELLED = auto()
    #: Its answer is more than we keep, and is dropped as it comes.
    DROPPING = auto()
    #: It has its answer.
    DONE = auto()

    __hash__ = object.__hash__


#: The act of giving up a message that is more than we keep.
GIVE_UP: Final = 0

#: ``ASKER[state][act]``, with what is received, CANCEL that is sent, and :data:`GIVE_UP`.
ASKER: Final[dict[Asked, dict[int, Asked]]] = {
    Asked.WAITING: {
        ANSWER_PART: Asked.WAITING,
        ANSWER: Asked.DONE,
        FAILURE: Asked.DONE,
        CANCEL: Asked.CANCELLED,
        GIVE_UP: Asked.DROPPING,
    },
    # One answer still comes.
    Asked.CANCELLED: {
        ANSWER_PART: Asked.CANCELLED,
        ANSWER: Asked.DONE,
        FAILURE: Asked.DONE,
        CANCEL: Asked.CANCELLED,
        GIVE_UP: Asked.DROPPING,
    },
    Asked.DROPPING: {
        ANSWER_PART: Asked.DROPPING,
        ANSWER: Asked.DONE,
        FAILURE: Asked.DONE,
        CANCEL: Asked.DROPPING,
    },
    # An answer to nothing breaks the protocol.
    Asked.DONE: {},
}


class Received(Enum):
    """A request of the peer. Its id is free again when its last part came and its answer has left."""

    #: Not there: the id is free.
    FREE = auto()
    #: Parts of it came, and more are to come.
    COMING = auto()
    #: The application has it.
    WHOLE = auto()
    #: The application has it, and the peer does not want the answer any more.
    CANCELLED = auto()
    #: It failed before it was whole; what still comes of it is dropped.
    DROPPING = auto()
    #: The application has answered it; parts of the answer have not left.
    ANSWERING = auto()
    #: The last of its answer waits to be sealed.
    ANSWERED = auto()

    __hash__ = object.__hash__


#: ``ANSWERER[state][act]``, with what is received, and ANSWER, ANSWER in parts and FAILURE that are sent, and
#: :data:`GIVE_UP`. When the last of an answer leaves, the id is FREE.
ANSWERER: Final[dict[Received, dict[int, Received]]] = {
    # A CANCEL may cross the answer, so one to nothing is passed over.
    Received.FREE: {
        REQUEST_PART: Received.COMING,
        REQUEST: Received.WHOLE,
        GIVE_UP: Received.DROPPING,
        CANCEL: Received.FREE,
    },
    # The application does not know of it yet, so nobody but us can answer.
    Received.COMING: {
        REQUEST_PART: Received.COMING,
        REQUEST: Received.WHOLE,
        GIVE_UP: Received.DROPPING,
        CANCEL: Received.DROPPING,
    },
    Received.WHOLE: {
        ANSWER: Received.ANSWERED,
        ANSWER_PART: Received.ANSWERING,
        FAILURE: Received.ANSWERED,
        CANCEL: Received.CANCELLED,
    },
    Received.CANCELLED: {
        ANSWER: Received.ANSWERED,
        ANSWER_PART: Received.ANSWERING,
        FAILURE: Received.ANSWERED,
        CANCEL: Received.CANCELLED,
    },
    Received.DROPPING: {
        REQUEST_PART: Received.DROPPING,
        REQUEST: Received.ANSWERED,
        CANCEL: Received.DROPPING,
    },
    # A failure voids the parts that have left. Who cancels wants no more of them.
    Received.ANSWERING: {
        FAILURE: Received.ANSWERED,
        CANCEL: Received.ANSWERED,
    },
    Received.ANSWERED: {CANCEL: Received.ANSWERED},
}
