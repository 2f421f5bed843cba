"""
Recorded sessions with the reference programs.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import cache
from pathlib import Path


@dataclass(frozen=True)
class Step:
    """
    One PDU as it went over the wire.

    :ivar to: who received it, ``server`` or ``client``.
    :ivar type: the type field of its header.
    :ivar wire: all its bytes, sealed.
    :ivar plain: for a PDU of the handshake, the opened PDU with its header; empty for others.
    :ivar body: for a PDU of the stream, its decrypted body; empty for others.
    """

    to: str
    type: int
    wire: bytes
    plain: bytes
    body: bytes


@dataclass(frozen=True)
class Session:
    """
    One recorded session.

    :ivar to_server_key: the session key from client to server.
    :ivar to_client_key: the session key from server to client.
    :ivar client_secret_key: ``None`` when the client was the reference program, which does not tell it.
    """

    server_secret_key: bytes
    client_secret_key: bytes | None
    to_server_key: bytes
    to_client_key: bytes
    login: str
    passphrase: str
    steps: tuple[Step, ...]

    def sent_to(self, side: str) -> list[Step]:
        """The PDUs that ``side`` received, in order."""
        return [step for step in self.steps if step.to == side]

    def wire_to(self, side: str) -> bytes:
        """All bytes that ``side`` received."""
        return b"".join(step.wire for step in self.sent_to(side))

    @property
    def client_auth(self) -> bytes:
        """The 352 bytes of CLIENT_AUTH, opened."""
        return self.sent_to("server")[0].plain

    @property
    def server_helo(self) -> bytes:
        """The 188 bytes of SERVER_HELO, opened."""
        return self.sent_to("client")[0].plain


@cache
def load_session(peer: str) -> Session:
    """
    Load a recording.

    :param peer: which of the two was the reference program, ``server`` or ``client``.
    """
    path = Path(__file__).with_name("vectors") / f"reference-{peer}.json"
    recording = json.loads(path.read_text(encoding="ascii"))
    if "client_session_keys" in recording:
        to_server_key, to_client_key = recording["client_session_keys"]["tx"], recording["client_session_keys"]["rx"]
    else:
        to_server_key, to_client_key = recording["server_session_keys"]["rx"], recording["server_session_keys"]["tx"]
    client_secret_key = recording.get("client_secret_key")
    return Session(
        server_secret_key=bytes.fromhex(recording["server_secret_key"]),
        client_secret_key=None if client_secret_key is None else bytes.fromhex(client_secret_key),
        to_server_key=bytes.fromhex(to_server_key),
        to_client_key=bytes.fromhex(to_client_key),
        login=recording["login"],
        passphrase=recording["passphrase"],
        steps=tuple(
            Step(
                step["to"],
                step["type"],
                bytes.fromhex(step["wire"]),
                bytes.fromhex(step.get("plain", "")),
                bytes.fromhex(step.get("body", "")),
            )
            for step in recording["steps"]
        ),
    )
