"""
What a server that runs takes of what its options say by now.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from twisted.internet.interfaces import IStreamClientEndpoint

from ..admission.limits import Limits
from ..describe import masked, printable
from .endpoint_strings import is_local, parse_connecting
from .settings import ServerSettings

#: Where the server listens when nothing is said. On loopback, since everybody knows the default passphrase.
DEFAULT_LISTEN = "127.0.0.1:5555"

#: The settings that a running server takes. All others are those of its start.
RENEWED = (
    *("pair", "fresh_pair", "user", "default_passphrase", "other_logins", "checker", "authorized_keys", "files"),
    *("limits", "rekey", "timeouts", "message", "warning", "drain_timeout"),
)


def check_default_passphrase(settings: ServerSettings, description: str) -> None:
    """
    Check that nobody else can reach a server whose passphrase everybody knows.

    :param settings: of the server.
    :param description: the endpoint string of where it listens.
    :raises SystemExit: with one line, when somebody can.
    """
    if settings.default_passphrase and not is_local(description):
        raise SystemExit(
            printable(
                f"sodium: {masked(description)} can be reached from elsewhere, and the passphrase is the default "
                "one, which everybody knows; choose one with --passphrase-file, use --auth, or listen on loopback "
                f"only ({DEFAULT_LISTEN})"
            )
        )


def forward_endpoint(settings: ServerSettings, reactor: Any) -> IStreamClientEndpoint:
    """
    Make the endpoint that streams are handed to.

    :param settings: of a server that forwards streams.
    :param reactor: what it will connect with.
    :raises SystemExit: with one line, when it can't be had.
    """
    assert settings.forward is not None
    return parse_connecting(reactor, "sodium", "--forward", settings.forward, "127.0.0.1:6379", settings.runs_as)


def renewed(old: ServerSettings, new: ServerSettings) -> ServerSettings:
    """
    Give the settings that a running server goes on with.

    :param old: those that it has.
    :param new: those that its options ask for by now.
    """
    return replace(old, **{name: getattr(new, name) for name in RENEWED})


def within(limits: Limits, connections: int) -> Limits:
    """
    Give limits for which a running server has descriptors. It made room for its connections when it started.

    :param limits: those that its options ask for by now.
    :param connections: for how many it has room.
    """
    fewer = min(limits.connections, connections)
    return replace(limits, connections=fewer, unauthenticated=min(limits.unauthenticated, fewer))
