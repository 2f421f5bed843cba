"""
All drawings of the pages, by their names. Numbers, states and names in them are those of the code.

``python docs/from_code.py`` writes them into ``docs/images/``, and where a page says ``.. from code: drawn NAME`` it
puts the drawing there, with the same in words for those who do not see it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from functools import partial
from typing import Any

from drawing import (
    MARGIN,
    WIDTH,
    Drawing,
    Field,
    Place,
    Row,
    Step,
    arrow,
    exchange,
    finish,
    layers,
    layout,
    machine,
    path,
    text,
)

from sodiumtwist.core import states
from sodiumtwist.core.v1 import messages
from sodiumtwist.core.v2 import pdus, sealing, states as saying, veil
from sodiumtwist.protocol import lifecycle
from sodiumtwist.transfer.tree import pieces

# States


def act_name(act: Any) -> str:
    if isinstance(act, str):
        return act
    return act.value if isinstance(act.value, str) else str(act.name)


def states_of(title: str, table: Mapping[Any, Mapping[Any, Any]]) -> Drawing:
    """
    Draw a table of states.

    :param table: ``table[state][act]`` is the next state, and all are members of enumerations.
    """
    named = {
        state.name: [(act_name(act), following.name) for act, following in acts.items()]
        for state, acts in table.items()
    }
    return machine(title, named)


def _kind(kind: int) -> str:
    if kind == pdus.UNKNOWN:
        return "one that is not known"
    return pdus.name_of(kind) + (" with MORE" if kind & pdus.MORE else "")


def _said(
    table: Mapping[Any, Mapping[int, Any]], others: Mapping[Any, Mapping[str, Any]], sent: Iterable[int] | None = None
) -> Mapping[Any, Mapping[str, Any]]:
    """
    Name the acts of a table whose acts are kinds of PDUs. Those that lead to the same state stand together, and a kind
    that does so with MORE and without stands there once.

    :param others: what else leads from a state to another.
    :param sent: of a table that has both, the kinds that are sent; the others are received.
    """
    named: dict[Any, dict[str, Any]] = {}
    for state, acts in table.items():
        groups: dict[tuple[str, Any], list[int]] = {}
        for kind, following in acts.items():
            if kind == saying.GIVE_UP:
                verb = "have no room for it"
            elif sent is None:
                verb = ""
            else:
                verb = "send" if kind & ~pdus.MORE in sent else "receive"
            groups.setdefault((verb, following), []).append(kind)
        named[state] = {}
        for (verb, following), kinds in groups.items():
            names = [
                _kind(kind) for kind in sorted(kinds) if kind and kind & ~pdus.MORE not in kinds[: kinds.index(kind)]
            ]
            named[state][f"{verb} {', '.join(names)}".strip()] = following
        named[state].update(others.get(state, {}))
    return named


_LEFT = {"the last of the answer leaves": saying.Received.FREE}

#: The tables of states that are drawn, with their titles.
TABLES: Mapping[str, tuple[str, Mapping[Any, Mapping[Any, Any]]]] = {
    "version": ("A server that does not know the version yet", states.VERSION),
    "server-states": ("A server's end, version 1", states.SERVER),
    "client-states": ("A client's end, version 1", states.CLIENT),
    "server-states-2": ("A server's end, version 2", states.SERVER_2),
    "client-states-2": ("A client's end, version 2", states.CLIENT_2),
    "lifecycle": ("A connection of Twisted's", lifecycle.TABLE),
    "sayings": (
        "What one end may say",
        _said(
            saying.SAYING,
            {state: {"the server's WELCOME": following} for state, following in saying.WELCOMED.items()},
        ),
    ),
    "asker": ("A request, at the end that asks", _said(saying.ASKER, {}, {pdus.CANCEL})),
    "answerer": (
        "A request, at the end that answers",
        _said(
            saying.ANSWERER,
            {saying.Received.ANSWERING: _LEFT, saying.Received.ANSWERED: _LEFT},
            {pdus.ANSWER, pdus.FAILURE},
        ),
    ),
}

# The wire

_ENDS = ("client", "server")


def _wire_2_session() -> Drawing:
    return exchange(
        "A session of version 2",
        _ENDS,
        [
            Step(">", ("salt (32), frame with message 1: {time, suites}",), "opens it, or stays silent"),
            Step("<", ("salt' (32), frame with message 2: {the suite chosen}",)),
            Step(">", ("frame with message 3: {login, passphrase}",), "checks them"),
            Step(">", ("records at once, if it likes",)),
            Step("<", ("records: first comes WELCOME or REFUSED",)),
        ],
    )


def _veil() -> Drawing:
    salt, size = veil.SALT_SIZE, veil.SEALED_SIZE_SIZE
    frame = (
        Field("size, sealed", 24, above=f"{size}"),
        Field("message, sealed", 40, above="size + 16"),
    )
    return layout(
        "Frames of the veil",
        [
            Row("a client's first frame, a server's frame", (Field("salt", 28, above=f"{salt}"), *frame)),
            Row("a client's second frame", frame, skip=28),
        ],
    )


def _record() -> Drawing:
    return layout(
        "A record",
        [
            Row(
                "A record, with a tag of T bytes",
                (
                    Field("head, sealed with c", 40, above=f"{sealing.HEAD_SIZE} + T"),
                    Field("body, sealed with c + 1", 60, above="size + T"),
                ),
            ),
            Row(
                "The bits of the head",
                (
                    Field("REKEY", 14, above="31"),
                    Field("zero", 24, above="30 – 24"),
                    Field("size of the body", 62, above="23 – 0"),
                ),
            ),
        ],
    )


def _pdu() -> Drawing:
    return layout(
        "A PDU of version 2",
        [
            Row(
                "",
                (
                    Field("type", 9, at="0"),
                    Field("flags", 9, at="1"),
                    Field("zero", 16, at="2"),
                    Field("id", 20, at="4"),
                    Field("size", 20, at="8"),
                    Field("payload", 36, at=f"{pdus.HEADER_SIZE}"),
                ),
            )
        ],
    )


def _end() -> Drawing:
    return exchange(
        "How a connection ends in order",
        _ENDS,
        [
            Step(">", ("REQUEST 0, REQUEST 1, END",)),
            Step("<", ("ANSWER 1, DRAIN, END",), "one answer is missing"),
            Step("<", ("ANSWER 0",), "over: both close"),
        ],
    )


def _wire_1_session() -> Drawing:
    return exchange(
        "A session of version 1",
        _ENDS,
        [
            Step("-", ("the client connects",)),
            Step(
                ">",
                (f"CLIENT_AUTH, sealed to the server's key: {messages.SEALED_CLIENT_AUTH_SIZE} bytes",),
                "opens it, looks whether it was accepted before, checks login, passphrase, key",
            ),
            Step("-", ("(DATA may follow at once, in the client's stream)",)),
            Step("<", (f"SERVER_HELO, sealed to the client's key: {messages.SEALED_SERVER_HELO_SIZE} bytes",)),
            Step(">", ("DATA, PING, PONG in the client's stream",)),
            Step("<", ("DATA, PING, PONG in the server's stream",)),
        ],
    )


def _pdu_1() -> Drawing:
    types = list(messages.PDUType)
    return layout(
        "A PDU of version 1",
        [
            Row(
                "",
                (
                    Field("magic", 20, at="0", below=f"{messages.MAGIC:X}"),
                    Field("type", 20, at="4", below=f"{min(types)} to {max(types)}"),
                    Field("size", 20, at="8"),
                    Field("body", 40, at=f"{messages.HEADER_SIZE}", below=f"0 to {messages.WINDOW} bytes"),
                ),
            )
        ],
        ["Types: " + ", ".join(f"{kind.value} {kind.name}" for kind in types)],
    )


def _stream_1() -> Drawing:
    return layout(
        "A PDU in the stream of version 1",
        [
            Row(
                "",
                (
                    Field("header, encrypted", 46, above=f"{messages.ENCRYPTED_HEADER_SIZE}"),
                    Field("body, encrypted", 54, above=f"size + {messages.STREAM_OVERHEAD}"),
                ),
            )
        ],
    )


def _session_keys() -> Drawing:
    ours = Place(MARGIN, MARGIN, 250, ("At the client", "client's private key", "server's public key"))
    theirs = Place(MARGIN, MARGIN + 84, 250, ("At the server", "server's private key", "client's public key"))
    keys = Place(
        WIDTH - MARGIN - 240, MARGIN + 42, 240, ("Two keys, the same at both", "client to server", "server to client")
    )
    middle = 320
    drawn = [*ours.drawn(), *theirs.drawn(), *keys.drawn()]
    for place in (ours, theirs):
        drawn.append(path(f"M{place.x + place.width:g} {place.middle:g}H{middle}V{keys.middle:g}"))
    drawn += arrow(middle, keys.middle, keys.x)
    told = "The client's private key with the server's public key, and the server's private key with the client's "
    told += "public key, make the same two keys: one from client to server, one from server to client."
    return finish("How the session keys of version 1 are made", drawn, MARGIN * 2 + 84 + theirs.height, told)


# Files


def _send_files() -> Drawing:
    return exchange(
        "Files are sent",
        ("client, the sender", "server, the receiver"),
        [
            Step(
                ">",
                ("REQUEST store {dry, digests, resume}", "REQUEST announce {0: a/, 1: a/x, 2: a/y}"),
                "looks what is there",
            ),
            Step(
                "<", ("ANSWER place {keeps: files}", "ANSWER verdicts {0: have, 1: send, 2: resume at 9, its digest}")
            ),
            Step(
                ">",
                (
                    "DATA 1: the bytes of x, LAST",
                    "DATA 2: the bytes of y from 9 on, LAST",
                    "REQUEST times {a/}, then REQUEST finish",
                ),
                "writes, syncs, puts in place",
            ),
            Step("<", ("DATA outcome {1, 2}", "ANSWER done, twice; nothing more")),
            Step("-", ("END of both",)),
        ],
    )


def _fetch_files() -> Drawing:
    return exchange(
        "Files are fetched",
        ("client, the receiver", "server, the sender"),
        [
            Step(">", ("REQUEST fetch {photos}",), "looks what is there"),
            Step("<", ("ANSWER found {}", "REQUEST announce {0: photos/, 1: photos/x}")),
            Step(">", ("ANSWER verdicts {0: have, 1: send}",)),
            Step("<", ("DATA 1: the bytes of x, LAST", "REQUEST times, REQUEST finish")),
            Step(">", ("DATA outcome {1}, ANSWER done, twice",)),
        ],
    )


def _piece() -> Drawing:
    return layout(
        "A piece of a file, in one DATA",
        [
            Row(
                "",
                (
                    Field("number", 18, at="0"),
                    Field("flags", 11, at="4"),
                    Field("zero", 15, at="5"),
                    Field("offset", 24, at="8"),
                    Field("size", 18, at="16"),
                    Field("data", 26, at=f"{pieces.HEADER.size}"),
                ),
            )
        ],
    )


# The source

#: The folders, the highest first, with the modules to begin with.
FOLDERS = (
    ("programs", "cli, settings, commands, tap, tunneltap, services"),
    ("operation", "companions"),
    ("package", "testing, __init__"),
    ("tunnel", "tunnel"),
    ("transfer", "sender, receiver, stores, uploads, sources"),
    ("endpoints", "connect, wrappers, streams, ends, strings"),
    ("protocol", "base, server, client, factories, requests"),
    ("contacts", "addresses, urls, servers, keyfiles, lookup"),
    ("admission", "checkers, authorized, joining, limits, replays, replay_database, replacing"),
    ("describe", "words, log, fingerprints, interfaces"),
    (
        "core",
        "connection, server, client, asking, base, states, events, v1.handshake, v2.handshake, v2.dialogue",
    ),
)

# What it is for


def _pipe(left: float, right: float, y: float, lines: tuple[str, ...]) -> list[str]:
    """Draw what nobody can read: the encrypted connection."""
    height = 16 + 17 * len(lines)
    drawn = [
        f'<rect class="pipe" x="{left:g}" y="{y - height / 2:g}" width="{right - left:g}" height="{height}" '
        f'rx="{height / 2:g}"/>'
    ]
    for number, line in enumerate(lines):
        kind = "note" if number else ""
        drawn.append(text((left + right) / 2, y - height / 2 + 21 + 17 * number, line, kind, "middle"))
    return drawn


def _overview() -> Drawing:
    left = [
        ("Files and folders", "sodiumtwist send, get, list"),
        ("Any program", "sodiumtwist pipe, twistd sodium-tunnel"),
        ("Your Twisted program", "connect(), or an endpoint string"),
    ]
    right = [
        ("A folder", "twistd sodium --directory"),
        ("Any TCP service", "twistd sodium --forward"),
        ("Your Twisted server", "SodiumServerFactory"),
    ]
    drawn = []
    wide = 196
    y = MARGIN + 8.0
    for (what, how), (there, by) in zip(left, right, strict=True):
        ours, theirs = [(what, *_in_lines(how))], [(there, *_in_lines(by))]
        one = Place(MARGIN, y, wide, ours[0])
        other = Place(WIDTH - MARGIN - wide, y, wide, theirs[0])
        tall = max(one.height, other.height)
        one = Place(one.x, y + (tall - one.height) / 2, wide, one.lines)
        other = Place(other.x, y + (tall - other.height) / 2, wide, other.lines)
        drawn += [*one.drawn(), *other.drawn()]
        drawn += _pipe(MARGIN + wide + 6, WIDTH - MARGIN - wide - 6, y + tall / 2, ("encrypted",))
        y += tall + 18
    note = "One TCP port. Who listens on the way sees random bytes, sizes and times."
    drawn.append(text(WIDTH / 2, y + 12, note, "note", "middle"))
    told = "; ".join(f"{what} ({how}) to {there} ({by})" for (what, how), (there, by) in zip(left, right, strict=True))
    return finish("What runs over it", drawn, y + 12 + MARGIN, f"{told}. {note}")


def _in_lines(words: str) -> list[str]:
    head, comma, rest = words.partition(", ")
    return [f"{head},", rest] if comma and len(words) > 28 else [words]


def _first_contact() -> Drawing:
    return exchange(
        "First contact",
        ("the machine that joins", "the server"),
        [
            Step(
                "<",
                ("by mail, chat or paper: an invitation, one line", "sodium://ann@HOST:5555/#KEY.SECRET"),
                "keeps a hash of the secret, and until when",
            ),
            Step(
                ">",
                ("ann, her new public key, the secret: encrypted to that server alone",),
                "finds the hash; lists her key for ann; the secret is used up",
            ),
            Step("<", ("welcome",)),
            Step(">", ("from now on: the key, and no secret",), "lets her in"),
        ],
    )


def _tunnel() -> Drawing:
    wide, gap = 104, 20
    y = MARGIN + 24
    program = Place(MARGIN, y, wide, ("redis-cli", "any program"))
    near = Place(MARGIN + wide + gap, y, wide + 14, ("sodium-tunnel", "port 7000"))
    far = Place(WIDTH - MARGIN - 2 * wide - gap, y, wide, ("sodium", "port 5555"))
    service = Place(WIDTH - MARGIN - wide, y, wide, ("Redis", "port 6379"))
    drawn = [text(MARGIN, MARGIN + 10, "one machine", "note"), text(far.x, MARGIN + 10, "the other machine", "note")]
    for place in (program, near, far, service):
        drawn += place.drawn()
    drawn += arrow(program.x + wide, near.middle, near.x)
    drawn += arrow(far.x + wide, far.middle, service.x)
    drawn += _pipe(near.x + near.width + 3, far.x - 3, near.middle, ("encrypted",))
    told = "A program connects to the local port of sodium-tunnel, which goes on encrypted to the server sodium on the "
    told += "other machine, and that connects to the service."
    return finish("A tunnel", drawn, y + near.height + MARGIN, told)


#: All drawings, by the names of their files.
DRAWINGS: Mapping[str, Callable[[], Drawing]] = {
    "overview": _overview,
    "first-contact": _first_contact,
    "tunnel": _tunnel,
    "wire-2-session": _wire_2_session,
    "wire-2-veil": _veil,
    "wire-2-record": _record,
    "wire-2-pdu": _pdu,
    "wire-2-end": _end,
    "wire-1-session": _wire_1_session,
    "wire-1-pdu": _pdu_1,
    "wire-1-stream": _stream_1,
    "wire-1-keys": _session_keys,
    "files-sent": _send_files,
    "files-fetched": _fetch_files,
    "files-piece": _piece,
    "folders": partial(
        layers, "The folders of the source", FOLDERS, "Imports point down only, from folder to folder and within each."
    ),
    **{name: partial(states_of, title, table) for name, (title, table) in TABLES.items()},
}
