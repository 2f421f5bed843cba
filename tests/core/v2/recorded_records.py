"""
The records of the sessions in ``vectors/v2.json``, which an implementation made that shares no code with ours.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from struct import pack

import tests

#: The types of PDUs that have a name there.
TYPES = {
    name: number + 1
    for number, name in enumerate(
        """
        WELCOME REFUSED DATA PING PONG REQUEST ANSWER FAILURE END PADDING DRAIN ABORT CANCEL
        """.split()
    )
}


@dataclass(frozen=True)
class Record:
    """
    One record.

    :ivar to: who received it, ``server`` or ``client``.
    :ivar wire: all its bytes, sealed.
    :ivar body: its PDUs as they are laid out.
    :ivar rekey: whether it is the last one under its key.
    """

    to: str
    wire: bytes
    body: bytes
    rekey: bool


@dataclass(frozen=True)
class Session:
    """
    What follows the handshake of one session.

    :ivar suite: the number of its cipher.
    :ivar keys: the record key of each direction, by who receives.
    :ivar records: in the order in which they were sent.
    """

    name: str
    suite: int
    keys: dict[str, bytes]
    records: tuple[Record, ...]

    def sent_to(self, side: str) -> list[Record]:
        """What ``side`` received, in order."""
        return [record for record in self.records if record.to == side]


def pdu(pdu_type: int | str, flags: int, pdu_id: int, payload: str) -> bytes:
    """Lay out a PDU: 12 bytes, then the payload, which is given in hexadecimal."""
    number = TYPES[pdu_type] if isinstance(pdu_type, str) else pdu_type
    content = bytes.fromhex(payload)
    return pack(">BBHII", number, flags, 0, pdu_id, len(content)) + content


@cache
def sessions() -> tuple[Session, ...]:
    """All of them."""
    path = Path(tests.__file__).with_name("vectors") / "v2.json"
    return tuple(
        Session(
            name=recording["name"],
            suite=recording["suite"],
            keys=dict(zip(("server", "client"), map(bytes.fromhex, recording["record_keys"]), strict=True)),
            records=tuple(
                Record(
                    step["to"],
                    bytes.fromhex(step["wire"]),
                    b"".join(pdu(*fields) for fields in record["pdus"]),
                    record["rekey"],
                )
                # Three messages of the handshake come first.
                for step, record in zip(recording["steps"][3:], recording["records"], strict=True)
            ),
        )
        for recording in json.loads(path.read_text(encoding="ascii"))["sessions"]
    )
