"""
URLs of servers. One has all that a client needs to know of a server, on one line::

    sodium://ann@example.org:5555/#7b4e…3f13
    sodium://ann@example.org:5555/#7b4e…3f13.9c41…07aa

The login may be missing. Behind ``#`` stands the server's public key, 64 hex digits. With a dot and 32 hex digits
behind it, the secret of an invitation, the URL lets its owner in, once. ``sodium+tls://`` is a server under TLS.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field, replace
from urllib.parse import quote, unquote, urlsplit

from ..admission.invitations import SECRET_SIZE
from ..core.credentials import LOGIN_SIZE, encode_text
from ..core.errors import InvalidKey, LocalProtocolError
from ..core.keys import check_server_key
from .addresses import Address, parse_address

SCHEME = "sodium"
TLS_SCHEME = "sodium+tls"

# With the words before the key that keygen and a server's log have there, and somebody may have copied.
_FRAGMENT = re.compile(r"(?:publickey:)?([0-9a-fA-F]{64})(?:\.([0-9a-fA-F]{32}))?")

# No host has other characters than these, or letters of all languages. They mean something to a shell: a URL may come
# from anybody, and stands in commands that are shown to be copied.
_HOST = re.compile(r"(?:[\w.:%-]|[^\x00-\x7f])+")


@dataclass(frozen=True)
class ServerURL:
    """
    What a URL says.

    :ivar address: where the server is.
    :ivar server_key: its public key, 32 bytes.
    :ivar login: whom the URL is for; ``None`` when it does not say.
    :ivar secret: of an invitation, 16 bytes; ``None`` in a URL without one.
    :ivar tls: whether the server is under TLS.
    """

    address: Address
    server_key: bytes
    login: str | None = None
    secret: bytes | None = field(default=None, repr=False)
    tls: bool = False

    def __post_init__(self) -> None:
        """
        Check the host.

        :raises LocalProtocolError: when it can be none.
        """
        host = self.address.host
        if not (_HOST.fullmatch(host) and host.isprintable()):
            raise LocalProtocolError(f"the URL names {host!r}, and no host is called so")

    def __str__(self) -> str:
        """The URL without its secret, fit to be shown."""
        return replace(self, secret=None).whole

    @property
    def whole(self) -> str:
        """The URL, with its secret if it has one."""
        login = "" if self.login is None else f"{quote(self.login, safe='')}@"
        secret = "" if self.secret is None else f".{self.secret.hex()}"
        scheme = TLS_SCHEME if self.tls else SCHEME
        return f"{scheme}://{login}{self.address}/#{self.server_key.hex()}{secret}"

    @property
    def endpoint(self) -> str:
        """Where a client connects: its address, or an endpoint string."""
        # As an address it is looked up for IPv6, too; TLS does that by itself.
        return f"tls{self.address.client_description.removeprefix('tcp')}" if self.tls else str(self.address)


def is_url(text: str) -> bool:
    """Tell whether a text is meant as the URL of a server."""
    return text.lower().startswith((f"{SCHEME}://", f"{TLS_SCHEME}://"))


def parse_url(text: str) -> ServerURL:
    """
    Read the URL of a server.

    :raises LocalProtocolError: when it is none, with what is wrong with it. The error shows nothing behind ``#``.
    :raises InvalidKey: when the key in it can be none of a server.
    """
    # All of it on one line: a mail program may have folded it.
    text = "".join(text.split())
    if not is_url(text):
        raise LocalProtocolError(f"a URL of a server begins with {SCHEME}:// or {TLS_SCHEME}://")
    try:
        parts = urlsplit(text)
    # It has brackets that are no pair, or characters that look like others.
    except ValueError:
        raise LocalProtocolError("the URL names no HOST:PORT") from None
    found = _FRAGMENT.fullmatch(parts.fragment)
    if found is None:
        raise LocalProtocolError(
            "the URL is not whole: behind # stands the server's public key, 64 hex digits, and in an invitation a dot "
            f"and {2 * SECRET_SIZE} more; copy all of it, in quotes"
        )
    user, _, place = parts.netloc.rpartition("@")
    address = parse_address(place)
    if address is None or parts.path not in ("", "/") or parts.query:
        raise LocalProtocolError(f"the URL names no HOST:PORT but {place!r}, or has more than / behind that")
    try:
        login = unquote(user, errors="strict") or None
    except UnicodeDecodeError:
        raise LocalProtocolError("the login in the URL is not UTF-8") from None
    if login is not None:
        encode_text("login", login, LOGIN_SIZE)
    key = bytes.fromhex(found[1])
    try:
        check_server_key(key)
    # That tells of files, where nobody has one.
    except InvalidKey:
        raise InvalidKey(
            "the key in the URL is no public key: it has typing errors, or is a private one; copy the URL anew"
        ) from None
    secret = None if found[2] is None else bytes.fromhex(found[2])
    return ServerURL(address, key, login, secret, parts.scheme == TLS_SCHEME)


def parse_card(text: str, what: str = "this") -> ServerURL:
    """
    Read the URL of a server where an invitation has no place: its secret works once, and whoever sees it may be first.

    :param what: what errors call an invitation.
    :raises LocalProtocolError: for an invitation, and as :func:`parse_url` does.
    :raises InvalidKey: when the key in it can be none of a server.
    """
    url = parse_url(text)
    if url.secret is not None:
        raise LocalProtocolError(f"{what} is an invitation; run: sodiumtwist join 'URL'")
    return url
