"""
What a connection can tell: small records, in the order in which things happened on the wire.

Their ``repr`` shows no passphrase and no payload.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Union

from .credentials import pack_credentials, pad_credentials, same_credentials


@dataclass(slots=True)
class AuthenticationRequested:
    """
    Server: a client asks to be let in. Answer with ``accept()``, ``reject()`` or, when its fingerprint was
    accepted before, with ``ignore()``, now or later.

    :ivar login: what the client says its login is.
    :ivar passphrase: the passphrase it gave.
    :ivar public_key: the client's public key, 32 bytes; in version 1 not yet proven to be its own.
    :ivar fingerprint: 16 bytes that no other handshake has, however often this one is sent. In version 1,
        BLAKE2b of its 400 bytes on the wire, in which nobody can change any and have it open.
    :ivar version: the version of the protocol that the client speaks.
    """

    login: str
    passphrase: str = field(repr=False)
    public_key: bytes
    fingerprint: bytes = field(default=b"", compare=False, repr=False)
    version: int = 1

    def matches(self, login: str, passphrase: str) -> bool:
        """
        Compare with the right login and passphrase, in a time that does not depend on the texts.

        :raises LocalProtocolError: when one of those given does not fit its field: 128 bytes each in version 1, 255 and
            4096 in version 2.
        """
        pack = pack_credentials if self.version == 1 else pad_credentials
        return same_credentials(pack(self.login, self.passphrase), pack(login, passphrase))


@dataclass(slots=True)
class KeyProven:
    """
    Server: the client that was accepted with ``prove=True`` has sent something that only the owner of
    its key can. It may be served now.
    """


@dataclass(slots=True)
class HandshakeComplete:
    """
    Client, version 2: the server has shown that it has its key. PDUs may be sent from now on; what becomes of them
    is known when it has let us in.
    """


@dataclass(slots=True)
class Authenticated:
    """
    Client: the server let us in.

    :ivar message: the server's line for the user.
    """

    message: str


@dataclass(slots=True)
class DataReceived:
    """
    A DATA came.

    :ivar payload: 0 to 131070 bytes; in version 2 up to 135156.
    """

    payload: bytes = field(repr=False)


@dataclass(slots=True)
class PingReceived:
    """
    A PING came; answer with ``send_pong()``.

    :ivar timestamp: the sender's wall clock in nanoseconds since the epoch; in version 2, where a PING may hold
        anything, 0 for what is no such number.
    """

    timestamp: int


@dataclass(slots=True)
class PongReceived:
    """
    The answer to a PING of ours came: in version 1 to the oldest one.

    :ivar timestamp: the answerer's wall clock in nanoseconds since the epoch; in version 2 our own, as it stood in the
        PING.
    :ivar latency: seconds from our PING to this.
    :ivar asked: whether that PING was the caller's own, and not one that ``ping_due()`` had asked for.
    :ivar passed_over: how many older PINGs have no answer yet.
    """

    timestamp: int
    latency: float
    asked: bool = field(default=False, compare=False)
    passed_over: int = field(default=0, compare=False, repr=False)


@dataclass(slots=True)
class RequestReceived:
    """
    A REQUEST came, whole. Answer it with ``send_answer()`` or ``send_failure()``, in any order.

    :ivar id: the peer's number for it, from 0 to 4294967295.
    :ivar payload: the question.
    """

    id: int
    payload: bytes = field(repr=False)


@dataclass(slots=True)
class AnswerReceived:
    """
    The answer to a request of ours came, whole.

    :ivar id: what ``send_request()`` returned.
    :ivar payload: the answer.
    """

    id: int
    payload: bytes = field(repr=False)


@dataclass(slots=True)
class FailureReceived:
    """
    A request of ours failed.

    :ivar id: what ``send_request()`` returned.
    :ivar code: why, see :class:`~sodiumtwist.core.v2.pdus.Code`; from 0x80000000 on it is the application's.
    :ivar text: the same for a person. It may hold any characters, so show it with care.
    :ivar answered: whether the peer has answered, and this end has dropped that for what the code says.
    """

    id: int
    code: int
    text: str
    answered: bool = field(default=False, compare=False)


@dataclass(slots=True)
class RequestCancelled:
    """
    The peer does not want the answer to its request any more. It is still to be answered, or to fail.

    :ivar id: of the :class:`RequestReceived`.
    """

    id: int


@dataclass(slots=True)
class EndReceived:
    """The peer sends no data and asks nothing any more. It still answers."""


@dataclass(slots=True)
class DrainReceived:
    """The peer is about to stop: ask it nothing new, and close when all is done."""


@dataclass(slots=True)
class Refused:
    """
    Client: the server does not let us in. Nothing that was sent was acted on.

    :ivar code: why, see :class:`~sodiumtwist.core.v2.pdus.Code`.
    :ivar text: the same for a person. It may hold any characters, so show it with care.
    """

    code: int
    text: str


@dataclass(slots=True)
class Aborted:
    """
    The peer closes now, whatever is under way.

    :ivar code: why, see :class:`~sodiumtwist.core.v2.pdus.Code`; from 0x80000000 on it is the application's.
    :ivar text: the same for a person. It may hold any characters, so show it with care.
    """

    code: int
    text: str


@dataclass(slots=True)
class ConnectionOver:
    """Both ends have sent all they had, every request is answered: close the transport."""


Event = Union[
    AuthenticationRequested,
    KeyProven,
    HandshakeComplete,
    Authenticated,
    DataReceived,
    PingReceived,
    PongReceived,
    RequestReceived,
    AnswerReceived,
    FailureReceived,
    RequestCancelled,
    EndReceived,
    DrainReceived,
    Refused,
    Aborted,
    ConnectionOver,
]
