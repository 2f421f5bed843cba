"""
Addresses for people: in log lines and in commands to copy.
"""

from __future__ import annotations

import re
import sys
from typing import Any


def describe_address(address: object) -> str:
    """
    Say where a peer or a listening port is, on one line.

    :param address: as ``getPeer()`` or ``getHost()`` return it.
    :return: ``127.0.0.1:5555``, ``[::1]:5555``, or the path of a UNIX socket.
    """
    host, port = getattr(address, "host", None), getattr(address, "port", None)
    if host is not None and port is not None:
        return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
    name = getattr(address, "name", None)
    if name is not None:
        return ascii(name.decode("utf-8", "replace") if isinstance(name, bytes) else name)
    return "a UNIX socket" if hasattr(address, "name") else ascii(str(address))


# Also where a name is mistaken, or a colon is written without its backslash: up to the next name.
_SECRETS = re.compile(
    r"\b(auth|key|pass(?!phraseFile=)\w*|pwd?|secret\w*|privateKeyHex)=(?:[^:\\]|\\.|:(?!\w+=))*", re.IGNORECASE
)


def masked(description: str) -> str:
    """
    Make an endpoint string fit for logs: without the values that may be secrets.
    """
    return _SECRETS.sub(r"\1=…", description)


#: What Twisted says of a string, and Python of a call that it does not fit or of a number in it, and what that means.
_MEANINGS = {
    r"Unknown endpoint type: (.*)": r"there is no type \1",
    r".*missing \d+ required positional arguments?: (.*)": r"it lacks \1",
    r".*got multiple values for argument (.*)": r"it has \1 twice",
    r"invalid literal for int\(\) with base 10: (.*)": r"\1 is no number",
    r"invalid literal for int\(\) with base 8: (.*)": r"\1 is no octal number",
    r"\w+\(\): (port must be 0-65535)\.?": r"the \1",
    r"generator raised StopIteration": "it ends with a backslash",
    r"list index out of range": "there is no socket of that index",
}


def unknown_keywords(error: object) -> list[str]:
    """
    Tell which keywords of an endpoint string its parser does not know; none when something else is wrong.

    :param error: what it raised.
    """
    found = re.search(r"unexpected keyword argument '([^']*)'", str(error))
    if found is not None:
        return [found[1]]
    # As the parser of tls: says it.
    arguments: tuple[Any, ...] = getattr(error, "args", ())
    return arguments[1] if len(arguments) == 2 and isinstance(arguments[1], list) else []


def describe_endpoint_error(error: object) -> str:
    """
    Say on one line, in words that are not Python's, why an endpoint can't be made or used.

    :param error: what parsing its string raised, or connecting or listening; Twisted has a mere text for some.
    """
    if isinstance(error, OSError) and error.strerror:
        return f"{ascii(error.filename)}: {error.strerror}" if error.filename else error.strerror
    if unknown := unknown_keywords(error):
        return f"it takes no {', '.join(f'{name}=' for name in unknown)}"
    text = " ".join(str(error).split()).rstrip(".") or type(error).__name__
    for said, meant in _MEANINGS.items():
        if found := re.fullmatch(said, text):
            return found.expand(meant)
    return text


def describe_bad_endpoint(where: str, description: str, example: str, error: BaseException) -> str:
    """
    Say on one line that an endpoint string is not understood, and why.

    :param where: what it was given as.
    :param example: of a right one.
    :param error: what parsing it raised.
    """
    shown, whole = masked(description), description.replace("\\", "")

    def unmasked(quoted: re.Match[str]) -> str:
        return "'…'" if quoted[1] in whole and quoted[1] not in shown else quoted[0]

    # What is masked in the string is not quoted from it, either.
    why = re.sub(r"'([^']*)'", unmasked, describe_endpoint_error(error))
    if why.startswith("it lacks ") and description.count(":") > 2:
        why += r"; a colon within a name or number is written \:"
    return f"{where}: bad endpoint string {ascii(shown)}: {why}; a right one is for instance {example}"


def describe_os_error(error: OSError) -> str:
    """Say on one line what went wrong, and with which file."""
    text = error.strerror or str(error)
    return f"{error.filename}: {text}" if error.filename else text


def printable(text: str) -> str:
    """Replace what a terminal could take for a command."""
    return "".join(character if character.isprintable() else "?" for character in text)


def describe_tls_error(error: BaseException | None) -> str | None:
    """
    Say on one line what went wrong with TLS, and what to do.

    :param error: the reason that a connection was lost for.
    :return: ``None`` when it is no error of TLS.
    """
    # Where TLS was used, these were imported; else there is nothing to explain.
    identity, ssl = sys.modules.get("service_identity"), sys.modules.get("OpenSSL.SSL")
    if identity is not None and isinstance(error, identity.VerificationError):
        return f"the server's certificate is not for the name {_name(error)}; connect by a name that it is for"
    if ssl is None or not isinstance(error, ssl.Error):
        return None
    reasons = [str(entry[-1]) for entry in error.args[0]] if error.args and isinstance(error.args[0], list) else []
    text = "; ".join(filter(None, reasons))
    if "certificate verify failed" in text:
        return (
            "the server's certificate is not trusted: it is out of its dates, or no authority known here has "
            "signed it (trustRoots=DIRECTORY names more)"
        )
    if "wrong version number" in text or "record layer failure" in text or "packet length too long" in text:
        return "what came is not TLS; is this the right port, and an endpoint with TLS?"
    return f"TLS failed: {text}" if text else "TLS failed: the connection was closed in it"


def _name(error: BaseException) -> str:
    for mismatch in getattr(error, "errors", ()):
        wanted = mismatch.mismatched_id
        name = getattr(wanted, "hostname", None) or getattr(wanted, "ip", None)
        if name is not None:
            return ascii(name.decode("ascii", "replace") if isinstance(name, bytes) else str(name))
    return "it was asked for by"
