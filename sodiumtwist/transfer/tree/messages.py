"""
What the two ends of the file dialogue say to each other, but for the files' bytes: MessagePack maps, each with its
``type``. Fields that are not known are passed over, so that later releases may say more.

The *client* asks to send or to fetch. Then one end is the *sender* of files, and the other their *receiver*: with
:class:`StoreFiles` the client sends, with :class:`FetchFiles` the server does. What follows is the same in both
directions. The sender asks by REQUEST, and the receiver answers; what became of the files comes as DATA from the
receiver, and their bytes as DATA from the sender, see :mod:`~sodiumtwist.transfer.tree.pieces`.
"""

from __future__ import annotations

import re
from typing import Annotated, Any, Literal, Union

from msgspec import Meta as Is, MsgspecError, Struct
from msgspec.msgpack import Decoder, Encoder

from ...core.errors import RemoteProtocolError

#: How many entries are announced in one message, at most.
ENTRIES = 1024

#: How many bytes the paths of one announcement have together, at most. So the whole of it leaves in one part: what
#: leaves in several may be overtaken by the next one, see :mod:`~sodiumtwist.core.v2.outgoing`.
ANNOUNCEMENT_SIZE = 40_000

#: How many entries may be announced and not settled yet. The receiver refuses what is beyond that.
UNSETTLED = 16384

#: How many bytes the paths of these may have together.
UNSETTLED_SIZE = 16 * 1024 * 1024

#: The longest path in bytes: 64 parts of 255 bytes, and what is between them.
PATH_LIMIT = 64 * 256

#: What is wrong with a message that has bytes for a text.
NOT_UTF_8 = "a text that is not UTF-8"

#: The longest text in bytes of UTF-8 when all of its characters are of one byte, as a line of the protocol.
LINE_LIMIT = 1024

#: How many paths may be fetched by one request.
FETCHED_PATHS = 1024

#: How many bytes a digest has: BLAKE2b.
DIGEST_SIZE = 32

_Size = Annotated[int, Is(ge=0, le=(1 << 63) - 1)]
_Count = Annotated[int, Is(ge=0, le=0xFFFFFFFF)]
_Time = Annotated[int, Is(ge=-(1 << 63), le=(1 << 63) - 1)]
_Path = Annotated[bytes, Is(max_length=PATH_LIMIT)]
_Line = Annotated[str, Is(max_length=LINE_LIMIT)]
_Digest = Annotated[bytes, Is(max_length=DIGEST_SIZE)]

#: Kinds of entries. A stream has no size beforehand, and its path may be empty: then the receiver finds a name.
FILE, FOLDER, STREAM = 0, 1, 2

#: Verdicts: send it from the beginning; there is a beginning, see its offset and digest; it is there; refused.
SEND, RESUME, HAVE, REFUSED = 0, 1, 2, 3


class Entry(Struct, array_like=True, frozen=True):
    """
    One file or folder that is announced.

    :ivar kind: :data:`FILE`, :data:`FOLDER` or :data:`STREAM`.
    :ivar path: its parts with ``/`` between them, relative, as the sender's file system has them.
    :ivar size: in bytes.
    :ivar mtime: when it was last written to, in nanoseconds since the epoch.
    :ivar executable: whether its owner may run it.
    """

    kind: Annotated[int, Is(ge=0, le=2)]
    path: _Path
    size: _Size = 0
    mtime: _Time = 0
    executable: bool = False


class Verdict(Struct, array_like=True, frozen=True):
    """
    What shall become of an entry.

    :ivar what: :data:`SEND`, :data:`RESUME`, :data:`HAVE` or :data:`REFUSED`. With the last two it is settled.
    :ivar offset: with :data:`RESUME`, how many bytes are there.
    :ivar digest: with :data:`RESUME`, the BLAKE2b digest of these.
    :ivar code: with :data:`REFUSED`, one of the protocol's.
    :ivar text: with :data:`REFUSED` why, for a person; with :data:`HAVE` nothing.
    :ivar name: with :data:`HAVE`, under which path it is there, where that is not the announced one.
    """

    what: Annotated[int, Is(ge=0, le=3)]
    offset: _Size = 0
    digest: _Digest = b""
    code: _Count = 0
    text: _Line = ""
    name: _Path = b""


class Settled(Struct, array_like=True, frozen=True):
    """
    What became of one file.

    :ivar number: the entry's.
    :ivar code: 0 when it is stored, and with ``sync`` on the disk; else why not, one of the protocol's.
    :ivar text: why it is not stored; or what is to be told of one that is.
    :ivar name: under which path it is stored, where that is not the announced one.
    :ivar digest: the BLAKE2b digest of all of it, where digests were asked for; else empty.
    :ivar size: how many bytes it has.
    """

    number: _Count
    code: _Count = 0
    text: _Line = ""
    name: _Path = b""
    digest: _Digest = b""
    size: _Size = 0


class Listed(Struct, array_like=True, frozen=True):
    """
    One entry of a folder that is listed.

    :ivar kind: :data:`FILE` or :data:`FOLDER`.
    :ivar name: in its folder.
    :ivar size: in bytes; 0 for a folder.
    :ivar mtime: in nanoseconds since the epoch.
    :ivar executable: whether its owner may run it.
    """

    kind: Annotated[int, Is(ge=0, le=1)]
    name: _Path
    size: _Size = 0
    mtime: _Time = 0
    executable: bool = False


class Trouble(Struct, array_like=True, frozen=True):
    """
    What can't be sent.

    :ivar path: which; or the one that was asked for.
    :ivar text: why.
    """

    path: _Path
    text: _Line


# What the client asks.


class StoreFiles(Struct, frozen=True, tag="store"):
    """
    The client wants to send files. The answer is a :class:`Place`; the client need not wait for it to announce.

    :ivar dry: whether nothing shall be stored: verdicts alone.
    :ivar digests: whether digests are wanted of what is stored.
    :ivar resume: whether what is there already of a file may be used.
    """

    dry: bool = False
    digests: bool = False
    resume: bool = True


class FetchFiles(Struct, frozen=True, tag="fetch"):
    """
    The client wants to get files. The answer is a :class:`Found`; then the server announces.

    :ivar paths: of files and folders, relative to what the server shares; an empty one is all of that.
    """

    paths: Annotated[list[_Path], Is(max_length=FETCHED_PATHS)]


class ListFolder(Struct, frozen=True, tag="list"):
    """
    The client wants to know what is in a folder, or of a file. The answer is a :class:`Listing`.

    :ivar path: relative to what the server shares; empty for that.
    :ivar after: the last name of the part before this one; empty for the first.
    """

    path: _Path = b""
    after: _Path = b""


# What the sender asks.


class Announce(Struct, frozen=True, tag="announce"):
    """
    Files and folders that are to be sent; a folder comes before what is in it. The answer is a :class:`Verdicts`.

    :ivar first: the number of the first entry. The first of all is 0, and each has the next number.
    :ivar entries: what is announced.
    """

    first: _Count
    entries: Annotated[list[Entry], Is(min_length=1, max_length=ENTRIES)]


class SetTimes(Struct, frozen=True, tag="times"):
    """
    When folders were last written to. It comes behind all that is in them. The answer is a :class:`Done`.

    :ivar folders: paths as announced, and times in nanoseconds since the epoch.
    """

    folders: Annotated[list[tuple[_Path, _Time]], Is(max_length=ENTRIES)]


class Finish(Struct, frozen=True, tag="finish"):
    """
    All is announced, and all bytes are sent. The answer, a :class:`Done`, comes when all is settled.

    :ivar links: how many links were left out.
    :ivar others: how many devices, sockets and unfinished files were left out.
    :ivar troubles: what could not be read; not all of it, if that is much.
    :ivar untold: how many such there are beside these.
    """

    links: _Count = 0
    others: _Count = 0
    troubles: Annotated[list[Trouble], Is(max_length=ENTRIES)] = []
    untold: _Count = 0


# Answers.


class Place(Struct, frozen=True, tag="place"):
    """
    Where the client's files go.

    :ivar keeps: ``files`` when they are stored under their names. ``stream`` when there is a place for one stream, and
        ``nothing`` when what comes is thrown away: then one file is sent as one stream, in the dialogue of DATA.
    :ivar max_size: how many bytes a file may have.
    :ivar synced: whether the disk has what is confirmed.
    """

    keeps: Literal["files", "stream", "nothing"]
    max_size: _Size = (1 << 63) - 1
    synced: bool = True


class Found(Struct, frozen=True, tag="found"):
    """
    What will be sent.

    :ivar missing: which paths will not, and why.
    """

    missing: Annotated[list[Trouble], Is(max_length=FETCHED_PATHS)] = []


class Listing(Struct, frozen=True, tag="listing"):
    """
    Entries of a folder, sorted by name; or the one file that was asked for.

    :ivar entries: those of this part.
    :ivar more: whether there are others behind the last one.
    :ivar folder: whether it is a folder that was asked for.
    """

    entries: Annotated[list[Listed], Is(max_length=ENTRIES)]
    more: bool = False
    folder: bool = True


class Verdicts(Struct, frozen=True, tag="verdicts"):
    """
    The answer to an announcement.

    :ivar verdicts: one for each entry, in its order.
    """

    verdicts: Annotated[list[Verdict], Is(max_length=ENTRIES)]


class Done(Struct, frozen=True, tag="done"):
    """
    It is done.
    """


# What the receiver says by DATA.


class Outcome(Struct, frozen=True, tag="outcome"):
    """
    How far the receiver is.

    :ivar written: how many bytes of files were written so far, of all of them; not what was there before.
    :ivar files: which are settled since the last one.
    """

    written: _Size = 0
    files: Annotated[list[Settled], Is(max_length=ENTRIES)] = []


Request = Union[StoreFiles, FetchFiles, ListFolder, Announce, SetTimes, Finish]
Answer = Union[Place, Found, Listing, Verdicts, Done]
Message = Union[Request, Answer, Outcome]

#: Makes the bytes of any message.
encode = Encoder().encode

_requests: Decoder[Any] = Decoder(Request)
_outcomes: Decoder[Outcome] = Decoder(Outcome)
_answers: dict[type, Decoder[Any]] = {kind: Decoder(kind) for kind in (Place, Found, Listing, Verdicts, Done)}


def decode_request(payload: bytes) -> Request:
    """
    Read what a REQUEST asks.

    :raises RemoteProtocolError: when it is none of this dialogue, or breaks its rules.
    """
    request: Request = _decode(_requests, payload, "a request that is none of the file dialogue")
    return request


def decode_answer(kind: type[Any], payload: bytes) -> Any:
    """
    Read the ANSWER to a request.

    :param kind: which message it has to be.
    :raises RemoteProtocolError: when it is not, or breaks the rules.
    """
    return _decode(_answers[kind], payload, "an answer that is none of the file dialogue")


def decode_outcome(payload: bytes) -> Outcome:
    """
    Read a DATA of the receiver.

    :raises RemoteProtocolError: when it is none of this dialogue, or breaks its rules.
    """
    outcome: Outcome = _decode(_outcomes, payload, "a DATA that is none of the file dialogue")
    return outcome


def _decode(decoder: Decoder[Any], payload: bytes, what: str) -> Any:
    try:
        return decoder.decode(payload)
    except MsgspecError as error:
        # Its words name fields and types. A value that the peer has put there is left out.
        why = re.sub("(?<=value) .*(?= - at `)", "", str(error), flags=re.DOTALL)
        # So says msgspec from 0.23 on; before, it let through what Python raises.
        if why.startswith("Invalid UTF-8"):
            why = NOT_UTF_8
    except UnicodeDecodeError:
        why = NOT_UTF_8
    except RecursionError:
        # In fields that are passed over, too.
        why = "too deep"
    raise RemoteProtocolError(f"{what}: {why}")
