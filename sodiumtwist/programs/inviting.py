"""
``sodiumtwist invite`` and ``sodiumtwist url``.
"""

from __future__ import annotations

import shlex
import time
from dataclasses import replace

from ..admission.invitations import Invitation, hash_secret, make_secret, shown_time
from ..admission.joining import add_invitation, withdraw_invitation
from ..admission.passwords import add_key_login
from ..contacts.addresses import is_loopback
from ..contacts.urls import ServerURL
from ..describe import printable
from ..describe.fingerprints import fingerprint
from .output import OutputLost, print_error, print_line, print_text
from .settings import InviteSettings


def invite(settings: InviteSettings) -> None:
    """
    Add an invitation to the server's list of keys, and print its URL.

    :raises OSError: when a file can't be read or written.
    :raises SodiumError: when a file is not as it should be, and when the login can't stand in it.
    :raises OutputLost: when the URL can't be printed.
    """
    login, now, secret = settings.login, time.time(), make_secret()
    has_passphrase = False
    # First: what is left of this when the other file can't be written lets nobody in.
    if settings.users is not None:
        has_passphrase = add_key_login(settings.users, login, _warn)
    expires = int(now) + settings.valid
    invitation = Invitation(hash_secret(secret), login, expires)
    add_invitation(settings.keys, invitation, now, _warn)
    try:
        # Nowhere else is the secret shown. Nothing in a URL can't be printed.
        print_text(replace(settings.server, secret=secret).whole)
    # Nobody has it, and nobody can have it any more.
    except OutputLost:
        withdraw_invitation(settings.keys, invitation)
        raise
    name = printable(login)
    until = shown_time(expires)
    print_error(f"whoever has this line first comes in as {name}, once, until {until}; send it to {name} alone")
    print_error(f"{name} runs: sodiumtwist join 'THE LINE', in quotes")
    logins = "none" if settings.users is None else f"argon2:{settings.users}"
    # With other logins beside the keys, who has joined would come in that once, and never again.
    print_error(f"the server runs with: {shlex.join(['--authorized-keys', settings.keys, '--auth', logins])}")
    _tell_server(settings.server)
    if has_passphrase:
        _warn(f"{name} has a passphrase in {settings.users}, so later both are asked for: key and passphrase")


def url(server: ServerURL) -> None:
    """
    Print the URL of a server.

    :raises OutputLost: when it can't be printed.
    """
    print_line(str(server))
    _tell_server(server)


def _tell_server(server: ServerURL) -> None:
    print_error(f"fingerprint of the server's key: {fingerprint(server.server_key)}")
    host = server.address.host
    if is_loopback(host):
        _warn(f"{host} is this machine alone: no other one reaches the server by that; give the server's own name")
    elif host == "HOST":
        _warn("HOST stands for the server's name or address, as others reach it; write that in its place")


def _warn(line: str) -> None:
    print_error(f"warning: {line}")
