"""
The life of one connection on Twisted, from its transport to its end: one table, the only one.

It says what may happen when. Who is about to do something asks it first, and does nothing when the answer is no;
so nothing is done twice, and nothing when it is too late.
"""

from __future__ import annotations

from enum import Enum, auto
from typing import Any, NoReturn

from ..core.errors import LocalProtocolError


class Stage(Enum):
    """How far a connection has come."""

    #: There is no transport yet.
    UNMADE = auto()
    #: The two ends get to know each other; nothing is to be decided.
    HANDSHAKE = auto()
    #: Server: it is being decided whether the client may come in.
    ADMITTING = auto()
    #: Authenticated: the application sends and receives.
    OPEN = auto()
    #: Version 2: this end has said that it sends no more DATA and asks nothing, because it was closed here or because
    #: the peer had said so. What was asked is still answered, and the peer's end waited for.
    ENDING = auto()
    #: Closed in order here: what was sent before is handed to the transport, as fast as the peer takes it.
    DELIVERING = auto()
    #: All was handed over, and our direction is shut; what the peer still sends is dropped until it closes, too.
    LINGERING = auto()
    #: The transport was told to close.
    LEAVING = auto()
    #: The transport has ended, and the application, which has paused, has yet to take what came before.
    HELD = auto()
    #: Broken off here: what was not delivered is dropped.
    CUT = auto()
    #: It is over, and the application was told.
    GONE = auto()

    __hash__ = object.__hash__  # that of Enum is a call of Python for each look at the table


class Turn(Enum):
    """What can happen to a connection."""

    MADE = "the transport is there"
    ASKED = "a login is to be decided on"
    ANSWERED = "it is not let in, or not yet"
    AUTHENTICATED = "it is authenticated"
    END = "say that no more follows, and wait for the peer to say so"
    CLOSE = "close in order"
    DELIVERED = "all is handed over, and our direction shut"
    LEAVE = "close the transport"
    ABORT = "break off"
    HELD_BACK = "the transport ends before the application has taken all"
    LOST = "the transport has ended"

    __hash__ = object.__hash__


Table = dict[Stage, dict[Turn, Stage]]

#: ``TABLE[stage][turn]`` is the next stage; a turn that is missing does not happen.
TABLE: Table = {
    Stage.UNMADE: {
        Turn.MADE: Stage.HANDSHAKE,
    },
    Stage.HANDSHAKE: {
        Turn.ASKED: Stage.ADMITTING,
        Turn.AUTHENTICATED: Stage.OPEN,
        # A client that has sent something early: it is to be delivered.
        Turn.END: Stage.ENDING,
        Turn.CLOSE: Stage.DELIVERING,
        Turn.ABORT: Stage.CUT,
        Turn.HELD_BACK: Stage.HELD,
        Turn.LOST: Stage.GONE,
    },
    Stage.ADMITTING: {
        Turn.ANSWERED: Stage.HANDSHAKE,
        Turn.AUTHENTICATED: Stage.OPEN,
        Turn.CLOSE: Stage.DELIVERING,
        Turn.ABORT: Stage.CUT,
        # Never held: the decision may take for ever, and who has left does not hear of it.
        Turn.LOST: Stage.GONE,
    },
    Stage.OPEN: {
        Turn.END: Stage.ENDING,
        Turn.CLOSE: Stage.DELIVERING,
        Turn.ABORT: Stage.CUT,
        Turn.HELD_BACK: Stage.HELD,
        Turn.LOST: Stage.GONE,
    },
    Stage.ENDING: {
        Turn.AUTHENTICATED: Stage.ENDING,
        Turn.CLOSE: Stage.DELIVERING,
        Turn.ABORT: Stage.CUT,
        # Never held: what still comes of DATA is dropped.
        Turn.LOST: Stage.GONE,
    },
    Stage.DELIVERING: {
        Turn.DELIVERED: Stage.LINGERING,
        Turn.LEAVE: Stage.LEAVING,
        Turn.ABORT: Stage.CUT,
        Turn.LOST: Stage.GONE,
    },
    Stage.LINGERING: {
        Turn.LEAVE: Stage.LEAVING,
        Turn.ABORT: Stage.CUT,
        Turn.LOST: Stage.GONE,
    },
    Stage.LEAVING: {
        Turn.ABORT: Stage.CUT,
        Turn.LOST: Stage.GONE,
    },
    Stage.HELD: {
        # What was held back may hold the end of a handshake.
        Turn.ASKED: Stage.HELD,
        Turn.ANSWERED: Stage.HELD,
        Turn.AUTHENTICATED: Stage.HELD,
        Turn.CLOSE: Stage.GONE,
        Turn.ABORT: Stage.GONE,
        Turn.LOST: Stage.GONE,
    },
    Stage.CUT: {
        Turn.LOST: Stage.GONE,
    },
    Stage.GONE: {},
}

#: From these on the application neither receives nor sends.
_OVER = frozenset({Stage.DELIVERING, Stage.LINGERING, Stage.LEAVING, Stage.CUT, Stage.GONE})


class Lifecycle:
    """
    Where one connection stands.

    :ivar stage: that.
    :ivar over: whether the application is done with it: it neither receives nor sends any more.
    """

    __slots__ = ("over", "stage")

    def __init__(self) -> None:
        self.stage = Stage.UNMADE
        self.over = False

    def take(self, turn: Turn) -> bool:
        """
        Take a turn, if it may be taken now.

        :return: whether it was; if not, nothing has changed.
        """
        following = TABLE[self.stage].get(turn)
        if following is None:
            return False
        self.stage = following
        self.over = following in _OVER
        return True


class Unmade:
    """
    Stands where the parts of an end will be. Whoever calls the end before it has a transport comes to one of them, and
    is told; so no call has to look first.
    """

    __slots__ = ()

    def __getattr__(self, name: str) -> NoReturn:
        raise not_yet()


#: The one of which there need be no more.
UNMADE: Any = Unmade()


def not_yet() -> LocalProtocolError:
    """Make the error about a call that needs a connection."""
    return LocalProtocolError("there is no connection yet; wait for connectionMade() or authenticated()")
