"""
The states of a connection, and what each end may do in each: a table for each end. Nothing else decides that.
"""

from __future__ import annotations

from enum import Enum, auto


class State(Enum):
    """Where a connection stands."""

    #: Client: nothing sent yet.
    NEW = auto()
    #: Server of both versions: waiting for the bytes that tell which one the client speaks.
    AWAITING_VERSION = auto()
    #: Server, version 2: waiting for the client's first flight.
    AWAITING_MESSAGE_1 = auto()
    #: Server, version 2: answered, waiting for the message with the client's credentials.
    AWAITING_MESSAGE_3 = auto()
    #: Client, version 2: waiting for the server's flight.
    AWAITING_MESSAGE_2 = auto()
    #: Client, version 2: the handshake is over, the server has not let us in yet.
    AWAITING_WELCOME = auto()
    #: Server: waiting for the 400 bytes of CLIENT_AUTH.
    AWAITING_CLIENT_AUTH = auto()
    #: Server: the client's credentials opened, waiting for ``accept()`` or ``reject()``.
    DECIDING = auto()
    #: Server: the handshake does not open, or was accepted before; what comes is dropped until the deadline.
    SILENT = auto()
    #: Server: SERVER_HELO sent, waiting for the PDU that shows that the client has the secret key.
    AWAITING_PROOF = auto()
    #: Client: waiting for the 236 bytes of SERVER_HELO.
    AWAITING_SERVER_HELO = auto()
    #: Both: authenticated.
    OPEN = auto()
    #: Both: over, by an error or a call of ``close()``.
    CLOSED = auto()

    __hash__ = object.__hash__  # each step of a handshake looks things up by it, and that of Enum is a call of Python


class Act(Enum):
    """What can happen to a connection."""

    RECEIVE_VERSION_1 = "receive no first flight of version 2"
    RECEIVE_VERSION_2 = "receive the beginning of a first flight of version 2"
    SEND_MESSAGE_1 = "send message 1"
    RECEIVE_MESSAGE_1 = "receive message 1"
    RECEIVE_MESSAGE_2 = "receive message 2"
    RECEIVE_MESSAGE_3 = "receive message 3"
    RECEIVE_MALFORMED_MESSAGE_3 = "receive a message 3 that opens and is malformed"
    RECEIVE_WELCOME = "receive WELCOME"
    RECEIVE_REFUSED = "receive REFUSED"
    SEND_CLIENT_AUTH = "send CLIENT_AUTH"
    RECEIVE_CLIENT_AUTH = "receive CLIENT_AUTH"
    RECEIVE_GARBAGE = "receive what does not open"
    ACCEPT = "accept a login"
    ACCEPT_UNPROVEN = "accept a login whose key is to be proven"
    REJECT = "reject a login"
    IGNORE = "ignore a handshake"
    RECEIVE_SERVER_HELO = "receive SERVER_HELO"
    SEND_STREAM_PDU = "send DATA, PING or PONG"
    RECEIVE_STREAM_PDU = "receive DATA, PING or PONG"
    FINISH = "see that both ends have said all"
    CLOSE = "close"

    __hash__ = object.__hash__


Table = dict[State, dict[Act, State]]

# Every state has CLOSE, CLOSED as well: close() may be called at any time, and twice.

#: A server of both versions, until it is told which one is spoken; then the table of that one.
VERSION: Table = {
    State.AWAITING_VERSION: {
        Act.RECEIVE_VERSION_1: State.AWAITING_CLIENT_AUTH,
        Act.RECEIVE_VERSION_2: State.AWAITING_MESSAGE_1,
        Act.CLOSE: State.CLOSED,
    },
    State.CLOSED: {Act.CLOSE: State.CLOSED},
}

#: ``SERVER[state][act]`` is the next state. An act that is missing is not allowed in that state.
SERVER: Table = {
    State.AWAITING_CLIENT_AUTH: {
        Act.RECEIVE_CLIENT_AUTH: State.DECIDING,
        Act.RECEIVE_GARBAGE: State.SILENT,
        Act.CLOSE: State.CLOSED,
    },
    State.DECIDING: {
        Act.ACCEPT: State.OPEN,
        Act.ACCEPT_UNPROVEN: State.AWAITING_PROOF,
        Act.REJECT: State.CLOSED,
        Act.IGNORE: State.SILENT,
        Act.CLOSE: State.CLOSED,
    },
    # A peer that does not know our key must see what it would see had it said nothing: no answer, no early end.
    State.SILENT: {Act.CLOSE: State.CLOSED},
    # No sending yet: anyone can claim any public key, so it is not known yet who is let in.
    State.AWAITING_PROOF: {
        Act.RECEIVE_STREAM_PDU: State.OPEN,
        Act.CLOSE: State.CLOSED,
    },
    State.OPEN: {
        Act.SEND_STREAM_PDU: State.OPEN,
        Act.RECEIVE_STREAM_PDU: State.OPEN,
        Act.CLOSE: State.CLOSED,
    },
    State.CLOSED: {Act.CLOSE: State.CLOSED},
}

#: ``CLIENT[state][act]``, as for ``SERVER``.
CLIENT: Table = {
    State.NEW: {
        Act.SEND_CLIENT_AUTH: State.AWAITING_SERVER_HELO,
        Act.CLOSE: State.CLOSED,
    },
    State.AWAITING_SERVER_HELO: {
        Act.RECEIVE_SERVER_HELO: State.OPEN,
        # A client's stream is ready when its CLIENT_AUTH is made, so it may send before the server has answered.
        Act.SEND_STREAM_PDU: State.AWAITING_SERVER_HELO,
        Act.CLOSE: State.CLOSED,
    },
    State.OPEN: {
        Act.SEND_STREAM_PDU: State.OPEN,
        Act.RECEIVE_STREAM_PDU: State.OPEN,
        Act.CLOSE: State.CLOSED,
    },
    State.CLOSED: {Act.CLOSE: State.CLOSED},
}

#: As ``SERVER``, for version 2.
SERVER_2: Table = {
    State.AWAITING_MESSAGE_1: {
        Act.RECEIVE_MESSAGE_1: State.AWAITING_MESSAGE_3,
        Act.RECEIVE_GARBAGE: State.SILENT,
        Act.CLOSE: State.CLOSED,
    },
    State.AWAITING_MESSAGE_3: {
        Act.RECEIVE_MESSAGE_3: State.DECIDING,
        # Who comes so far has our public key, and is told.
        Act.RECEIVE_MALFORMED_MESSAGE_3: State.CLOSED,
        Act.RECEIVE_GARBAGE: State.SILENT,
        Act.CLOSE: State.CLOSED,
    },
    State.DECIDING: {
        Act.ACCEPT: State.OPEN,
        Act.REJECT: State.CLOSED,
        Act.CLOSE: State.CLOSED,
    },
    State.SILENT: {Act.CLOSE: State.CLOSED},
    State.OPEN: {
        Act.SEND_STREAM_PDU: State.OPEN,
        Act.RECEIVE_STREAM_PDU: State.OPEN,
        Act.FINISH: State.CLOSED,
        Act.CLOSE: State.CLOSED,
    },
    State.CLOSED: {Act.CLOSE: State.CLOSED},
}

#: As ``CLIENT``, for version 2.
CLIENT_2: Table = {
    State.NEW: {
        Act.SEND_MESSAGE_1: State.AWAITING_MESSAGE_2,
        Act.CLOSE: State.CLOSED,
    },
    State.AWAITING_MESSAGE_2: {
        Act.RECEIVE_MESSAGE_2: State.AWAITING_WELCOME,
        Act.CLOSE: State.CLOSED,
    },
    State.AWAITING_WELCOME: {
        # The server keeps what comes before it has decided, and looks at it then.
        Act.SEND_STREAM_PDU: State.AWAITING_WELCOME,
        Act.RECEIVE_WELCOME: State.OPEN,
        Act.RECEIVE_REFUSED: State.CLOSED,
        Act.CLOSE: State.CLOSED,
    },
    State.OPEN: {
        Act.SEND_STREAM_PDU: State.OPEN,
        Act.RECEIVE_STREAM_PDU: State.OPEN,
        Act.FINISH: State.CLOSED,
        Act.CLOSE: State.CLOSED,
    },
    State.CLOSED: {Act.CLOSE: State.CLOSED},
}
